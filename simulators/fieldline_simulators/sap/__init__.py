"""An SAP system to practise and test on: OData V2 and V4 on the same records, the inbound port of IDocs, and faults.

`running` serves one in a thread; `Simulator.system` is the system itself.
"""

from fieldline_simulators.sap.business import MODEL
from fieldline_simulators.sap.command import main
from fieldline_simulators.sap.model import EntitySet, Model, Navigation, Property
from fieldline_simulators.sap.server import Simulator, open_system, running
from fieldline_simulators.sap.sessions import CLIENT_ID, CLIENT_SECRET, PASSWORD, USER
from fieldline_simulators.sap.system import V2_ROOT, V4_ROOT, Options, System

__all__ = [
    "CLIENT_ID",
    "CLIENT_SECRET",
    "MODEL",
    "PASSWORD",
    "USER",
    "V2_ROOT",
    "V4_ROOT",
    "EntitySet",
    "Model",
    "Navigation",
    "Options",
    "Property",
    "Simulator",
    "System",
    "main",
    "open_system",
    "running",
]

"""A FHIR R4 server to practise and test on, in the ways of four vendors: records, faults, subscriptions, exports, CDS Hooks.

`running` serves one in a thread; `Simulator.ehr` is the server itself.
"""

from fieldline_simulators.fhir.access import CLIENT_ID, CLIENT_SECRET, FIXED_TOKEN, PASSWORD, USER, Client
from fieldline_simulators.fhir.command import main
from fieldline_simulators.fhir.ehr import Ehr, Options
from fieldline_simulators.fhir.profiles import PROFILES, Profile
from fieldline_simulators.fhir.seed import load_bundles
from fieldline_simulators.fhir.server import Simulator, open_ehr, running
from fieldline_simulators.fhir.topics import TOPICS

__all__ = [
    "CLIENT_ID",
    "CLIENT_SECRET",
    "FIXED_TOKEN",
    "PASSWORD",
    "PROFILES",
    "TOPICS",
    "USER",
    "Client",
    "Ehr",
    "Options",
    "Profile",
    "Simulator",
    "load_bundles",
    "main",
    "open_ehr",
    "running",
]

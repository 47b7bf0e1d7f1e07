"""Services of OData V2 and V4: SAP S/4HANA, Dynamics 365, and any other."""

from fieldline_connectors.odata.config import OdataConfig, OdataQuery, OdataTarget
from fieldline_connectors.odata.connector import Odata

__all__ = ["Odata", "OdataConfig", "OdataQuery", "OdataTarget"]

"""Salesforce: read with SOQL, by REST or Bulk API 2.0, and written back record by record."""

from fieldline_connectors.salesforce.config import (
    ClientCredentials,
    JwtBearer,
    SalesforceConfig,
    SalesforceQuery,
    SalesforceTarget,
)
from fieldline_connectors.salesforce.connector import Salesforce
from fieldline_connectors.salesforce.pubsub_topic import SalesforceTopic

__all__ = [
    "ClientCredentials",
    "JwtBearer",
    "Salesforce",
    "SalesforceConfig",
    "SalesforceQuery",
    "SalesforceTarget",
    "SalesforceTopic",
]

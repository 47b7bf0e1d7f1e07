"""Databases through ODBC: read by key, written back as a set, each effect once."""

from fieldline_connectors.odbc.config import OdbcConfig, OdbcQuery, OdbcTarget
from fieldline_connectors.odbc.connector import Odbc

__all__ = ["Odbc", "OdbcConfig", "OdbcQuery", "OdbcTarget"]

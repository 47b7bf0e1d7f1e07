"""The store: PostgreSQL, one dialect, SQL in named queries."""

from fieldline_core.store.database import TENANT, Row, Store, Transaction
from fieldline_core.store.decisions import append_decisions, uuid_array
from fieldline_core.store.migrate import migrate, missing

__all__ = ["TENANT", "Row", "Store", "Transaction", "append_decisions", "migrate", "missing", "uuid_array"]

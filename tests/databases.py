"""Real databases behind ODBC, as the tests see them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from fieldline_connectors.odbc import Odbc, OdbcConfig, OdbcTarget
from fieldline_core.batch import Batch
from fieldline_core.ports import Slice
from fieldline_core.secret import Secret


@dataclass(frozen=True)
class Erp:
    """A database of a test: how the connector reaches it, and how the test itself does."""

    kind: str
    settings: Mapping[str, Any]
    password: str = ""

    def connector(self, **settings: Any) -> Odbc:
        """A connector to the database."""
        password = {"password": Secret(self.password)} if self.password else {}
        return Odbc(OdbcConfig(**{**self.settings, **password, **settings}))

    def open(self, **options: Any) -> Any:
        """A connection of the test's own."""
        import pyodbc

        user = self.settings.get("user")
        login = f";UID={user};PWD={self.password}" if user else ""
        connection = pyodbc.connect(f"{self.settings['connection_string']}{login}", **options)
        if self.kind == "mariadb":
            connection.setencoding("utf-8")
        return connection

    def run(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        """Runs a statement by itself and gives its rows, if it has any."""
        connection = self.open(autocommit=True)
        try:
            cursor = connection.execute(sql, *params)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
        finally:
            connection.close()


def effect(
    target: OdbcTarget,
    keys: Sequence[str],
    before: Mapping[str, Any] | None = None,
    *,
    key: str = "first",
    fence: int = 1,
    **fields: Any,
) -> Slice:
    """A slice that writes these columns."""
    was = pl.DataFrame(before) if before is not None else None
    return Slice(hashlib.sha256(key.encode()).hexdigest(), fence, target, Batch.of(list(keys), pl.DataFrame(fields)), was)

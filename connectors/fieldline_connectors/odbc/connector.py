"""The connector `odbc`: PostgreSQL, MariaDB, SQLite, SQL Server, Oracle, SAP HANA through their ODBC drivers."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from fieldline_connectors.odbc.config import OdbcConfig, OdbcQuery, OdbcTarget
from fieldline_connectors.odbc.connections import Connections, Purpose
from fieldline_connectors.odbc.discover import catalog
from fieldline_connectors.odbc.pages import pages
from fieldline_connectors.odbc.read import children, lookup
from fieldline_connectors.odbc.write import Writer
from fieldline_core.batch import Batch
from fieldline_core.ports import Cursor, Dedupe, Page, Slice
from fieldline_core.receipts import Receipts
from fieldline_core.schema import Catalog

_MAX_ROWS = 10_000


class Odbc:
    """Reads and writes the tables of a database; may be used by several threads at once."""

    name: ClassVar[str] = "odbc"
    Config: ClassVar[type[OdbcConfig]] = OdbcConfig
    Query: ClassVar[type[OdbcQuery]] = OdbcQuery
    Target: ClassVar[type[OdbcTarget]] = OdbcTarget

    def __init__(self, config: OdbcConfig) -> None:
        self.config = config
        self._connections = Connections(config)
        self._writer = Writer(self._connections)

    def check(self) -> None:
        """Returns where the database lets us in and answers; raises Misconfigured or Unavailable."""
        with self._connections.use(Purpose.WRITE) as connection:
            connection.execute(f"SELECT 1{' FROM ' + row if (row := self._connections.dialect.one_row) else ''}").close()  # noqa: S608

    def close(self) -> None:
        """Closes the connections that are kept open."""
        self._connections.close()

    def discover(self) -> Catalog:
        """Tables, columns, types, keys, row counts (estimates where the database keeps them) and sample values."""
        return catalog(self._connections)

    def read(self, query: OdbcQuery, after: Cursor | None, limit: int) -> Iterator[Page]:
        """Pages of at most `limit` rows behind `after`, in the order of the key or the watermark."""
        return pages(self._connections, query, after, limit)

    def lookup(self, query: OdbcQuery, keys: Sequence[str]) -> Batch:
        """The rows with these keys; keys that are not there are left out."""
        return lookup(self._connections, query, keys)

    def children(self, query: OdbcQuery, keys: Sequence[str]) -> Batch:
        """The rows with these keys, which need not be unique: those of a child table by its foreign key."""
        return children(self._connections, query, keys)

    def dedupe(self, target: OdbcTarget) -> Dedupe:
        """LEDGER where the ledger's table may be used, else QUERY (values are compared) or NONE (plain inserts)."""
        return self._writer.dedupe(target)

    def max_rows(self, target: OdbcTarget) -> int:
        """The most rows that one call of this operation takes."""
        return _MAX_ROWS

    def write(self, slice: Slice) -> Receipts:
        """Writes the slice in one transaction, or says that it was written before."""
        return self._writer.write(slice)

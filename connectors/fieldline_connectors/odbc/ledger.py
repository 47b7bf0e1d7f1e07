"""The ledger in the target: one row for each write operation, in the transaction that writes, so a repeat finds it.

A worker that lost its lease and wakes up later finds the row of its successor (or the successor finds the zombie's), and
answers what was answered then. What is stored is never overwritten, whatever fence comes later.
"""

import json
import logging
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from fieldline_connectors.odbc.connections import Connections
from fieldline_connectors.odbc.dialects import Connection
from fieldline_connectors.odbc.errors import Fault, fault, odbc, state_of, translated
from fieldline_core.ports import Slice
from fieldline_core.receipts import Receipts

_log = logging.getLogger("fieldline.odbc")
_PRUNE_EVERY_S = 3600
_ASK_EVERY_S = 300
_TEXT: Mapping[str, str] = {"mariadb": "LONGTEXT", "sqlserver": "NVARCHAR(MAX)", "oracle": "CLOB", "hana": "NCLOB"}
_BIG: Mapping[str, str] = {"oracle": "NUMBER(19)"}


def create_statement(table: str, dialect: str) -> str:
    """The statement that makes the ledger; an administrator may run it instead of us."""
    text, big = _TEXT.get(dialect, "TEXT"), _BIG.get(dialect, "BIGINT")
    ending = " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4" if dialect == "mariadb" else ""
    return (
        f"CREATE TABLE {table} (effect_key CHAR(64) NOT NULL PRIMARY KEY, fence {big} NOT NULL, row_count INTEGER NOT NULL, "
        f"outcome {text} NOT NULL, written_at VARCHAR(20) NOT NULL){ending}"
    )


class Ledger:
    """The table `fieldline_effect` of one target."""

    def __init__(self, connections: Connections) -> None:
        config = connections.config
        self._connections = connections
        self._wanted = config.ledger
        self._keep = timedelta(days=config.ledger_retention_days)
        self.name = config.ledger_table
        self._usable: bool | None = None if config.ledger else False
        self._asked_at = 0.0
        self._pruned_at = 0.0
        self._lock = threading.Lock()

    @property
    def table(self) -> str:
        """The table's name as an identifier."""
        return self._connections.dialect.table(self.name)

    def usable(self, connection: Connection) -> bool:
        """Whether the table is there; it is made where it is missing and that is allowed.

        After a refusal it is looked for again every few minutes, because an administrator may have made it since.
        """
        with self._lock:
            if self._usable is None:
                self._usable = self._there(connection) or self._made(connection)
                self._asked_at = time.monotonic()
            elif not self._usable and self._wanted and time.monotonic() - self._asked_at > _ASK_EVERY_S:
                self._usable = self._there(connection)
                self._asked_at = time.monotonic()
            return self._usable

    def claim(self, connection: Connection, slice: Slice, receipts: Receipts) -> Receipts | None:
        """Stores the receipts in the open transaction, or gives those that an earlier attempt stored."""
        outcome = json.dumps(receipts.to_json(), ensure_ascii=False)
        sql = f"INSERT INTO {self.table} (effect_key, fence, row_count, outcome, written_at) VALUES (?, ?, ?, ?, ?)"  # noqa: S608
        try:
            connection.execute(sql, slice.effect_key, slice.fence, receipts.rows, outcome, _stamp(datetime.now(UTC))).close()
        except odbc().Error as error:
            if fault(error) is not Fault.ROW:
                raise
            connection.rollback()
            stored = self.stored(connection, slice.effect_key)
            if stored is None:
                raise translated(error, f"the ledger {self.name}") from None
            return stored
        return None

    def stored(self, connection: Connection, effect_key: str) -> Receipts | None:
        """The receipts of an earlier attempt."""
        row = connection.execute(f"SELECT outcome FROM {self.table} WHERE effect_key = ?", effect_key).fetchone()  # noqa: S608
        if row is None:
            return None
        found = Receipts.from_json(json.loads(row[0]))
        return Receipts(found.rows, found.usual, found.others, {**found.detail, "repeat": True})

    def prune(self, connection: Connection) -> None:
        """Deletes what is older than its retention, at most once an hour; a failure is logged and waits for the next time."""
        now = time.monotonic()
        if not self._usable or (self._pruned_at and now - self._pruned_at < _PRUNE_EVERY_S):
            return
        self._pruned_at = now
        try:
            connection.execute(f"DELETE FROM {self.table} WHERE written_at < ?", _stamp(datetime.now(UTC) - self._keep)).close()  # noqa: S608
            connection.commit()
        except odbc().Error as error:
            connection.rollback()
            _log.warning("old rows of the ledger %s could not be deleted [%s]", self.name, state_of(error))

    def _there(self, connection: Connection) -> bool:
        try:
            connection.execute(f"SELECT effect_key, fence, row_count, outcome, written_at FROM {self.table} WHERE 1 = 0").close()  # noqa: S608
        except odbc().Error as error:
            connection.rollback()
            if fault(error) not in (Fault.MISSING_TABLE, Fault.CONFIG):
                raise
            return False
        connection.rollback()
        return True

    def _made(self, connection: Connection) -> bool:
        statement = create_statement(self.table, self._connections.dialect.name)
        try:
            connection.execute(statement).close()
            connection.commit()
        except odbc().Error as error:
            connection.rollback()
            if fault(error) in (Fault.LOST, Fault.BUSY):
                raise
            if self._there(connection):
                return True
            _log.warning(
                "the ledger %s may not be made [%s]: repeats are noticed only by comparing values; have it made by: %s",
                self.name, state_of(error), statement,
            )  # fmt: skip
            return False
        return True


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

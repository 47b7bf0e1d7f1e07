"""Writing a slice: one transaction with its ledger row; bad rows and rows that people changed are set aside, the others written."""

from collections.abc import Callable
from typing import Any

import polars as pl

from fieldline_connectors.odbc.config import OdbcTarget
from fieldline_connectors.odbc.connections import Connections, Purpose
from fieldline_connectors.odbc.dialects import Connection
from fieldline_connectors.odbc.errors import Fault, fault, odbc, reason, translated
from fieldline_connectors.odbc.ledger import Ledger
from fieldline_connectors.odbc.rows import NO_ROW, ready, refused, without
from fieldline_connectors.odbc.statements import STATEMENTS, Shape, Statements
from fieldline_connectors.odbc.table import Table
from fieldline_core import crash
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.ports import Dedupe, Slice
from fieldline_core.receipts import Outcome, Receipts, RowReceipt

_ATTEMPTS = 5
_TRIES = 256
_CHANGED = RowReceipt(Outcome.CHANGED_BY_PERSON, "somebody changed the row since it was read")


class Writer:
    """Writes slices to the tables of one database."""

    def __init__(self, connections: Connections) -> None:
        self.ledger = Ledger(connections)
        self._connections = connections
        self._tables: dict[str, Table] = {}

    def dedupe(self, target: OdbcTarget) -> Dedupe:
        """How a repeat is made harmless: by the ledger; without one by comparing values, or by the effect's key in the rows."""
        with self._connections.use(Purpose.WRITE) as connection:
            if self.ledger.usable(connection):
                return Dedupe.LEDGER
        return Dedupe.QUERY if target.operation != "insert" or target.effect_key else Dedupe.NONE

    def write(self, slice: Slice) -> Receipts:
        """Writes the slice, or says that it was written before."""
        target: Any = slice.target
        place = f"writing to {target.table}"
        with self._connections.use(Purpose.WRITE) as connection:
            try:
                ledger = self.ledger.usable(connection)
                table = self._table(connection, target)
            except odbc().Error as error:
                raise translated(error, place) from None
            attempt = _Attempt(self, connection, slice, table, ledger)
            try:
                receipts = attempt.settle()
            except odbc().Error as error:
                self._tables.clear()
                raise translated(error, place, sent=attempt.sent) from None
            self.ledger.prune(connection)
            return receipts

    def zone(self) -> str:
        """The zone of the database's naive times."""
        return self._connections.config.timezone

    def _table(self, connection: Connection, target: OdbcTarget) -> Table:
        name = target.model_dump_json()
        if name not in self._tables:
            self._tables[name] = Table(target, self._connections.dialect, connection)
            connection.rollback()
        return self._tables[name]


class _Attempt:
    """One call of `write`: `sent` turns true with the first statement that changes anything."""

    def __init__(self, writer: Writer, connection: Connection, slice: Slice, table: Table, ledger: bool) -> None:
        self.sent = False
        self._ledger = writer.ledger if ledger else None
        self._connection = connection
        self._slice = slice
        self._target = table.target
        self._shape: Shape = table.shape(slice, writer.zone())
        self._statements: Statements = STATEMENTS[table.dialect.name](table.dialect)
        self._rows, self._others = ready(slice, self._shape, writer.zone())

    def settle(self) -> Receipts:
        """Writes what can be written: a transaction in which some row fails is rolled back, and goes on without that row."""
        for _ in range(_ATTEMPTS):
            try:
                receipts = self._transact()
                if receipts is not None:
                    return receipts
                aside = self._uncovered()
            except odbc().Error as error:
                if fault(error) is not Fault.ROW:
                    raise
                self._connection.rollback()
                aside = bad_rows(self._rows, self._refusal)
            self._others.update(aside)
            self._rows = without(self._rows, aside)
        raise Unavailable(f"writing to {self._target.table}: its rows keep changing while they are written")

    def _transact(self) -> Receipts | None:
        """Writes all rows and the ledger's, and commits; rolls back and answers None where some row was not covered."""
        for statement in self._statements.dialect.begin():
            self._connection.execute(statement).close()
        receipts = Receipts(
            len(self._slice.batch), Outcome.WRITTEN, dict(self._others), {"ledger": self._ledger.name if self._ledger else None}
        )
        self.sent = True
        if stored := self._repeated(receipts):
            return stored
        covered = self._apply(self._rows)
        if covered > self._rows.height:
            self._connection.rollback()
            raise Misconfigured(
                f"{self._target.table}: the key {', '.join(self._target.key)} names more than one row, so nothing was written"
            )
        if covered < self._rows.height:
            self._connection.rollback()
            return None
        crash.point("target.commit:before")
        self._connection.commit()
        crash.point("target.commit:after")
        self._confirm()
        return receipts

    def _confirm(self) -> None:
        """Sees that the transaction is there: psqlodbc's commit() succeeds on a connection that was lost under it."""
        if self._ledger:
            there = self._ledger.stored(self._connection, self._slice.effect_key) is not None
        else:
            row = self._statements.dialect.one_row
            self._connection.execute(f"SELECT 1{f' FROM {row}' if row else ''}").close()  # noqa: S608
            there = True
        self._connection.rollback()
        if not there:
            raise Unavailable(f"writing to {self._target.table}: the database did not keep what it had accepted", sent=True)

    def _repeated(self, receipts: Receipts) -> Receipts | None:
        """The receipts of an earlier attempt, if there was one."""
        if self._ledger:
            return self._ledger.claim(self._connection, self._slice, receipts)
        if self._target.operation == "insert" and self._target.effect_key:
            column = self._statements.dialect.quote(self._target.effect_key)
            sql = f"SELECT COUNT(*) FROM {self._shape.table} WHERE {column} = ?"  # noqa: S608
            if self._connection.execute(sql, self._slice.effect_key).fetchone()[0]:
                self._connection.rollback()
                return Receipts(receipts.rows, receipts.usual, receipts.others, {**receipts.detail, "repeat": True})
        return None

    def _apply(self, rows: pl.DataFrame) -> int:
        """Runs the statements for these rows in the open transaction; answers how many rows they covered."""
        statements, covered = self._statements, 0
        for piece in statements.pieces(rows) if rows.height else ():
            if self._target.operation == "insert":
                covered += self._run(*statements.insert(self._shape, piece))
                continue
            done = self._run(*statements.update(self._shape, piece))
            if self._target.operation == "upsert" and done < piece.height:
                done += self._run(*statements.insert(self._shape, piece, missing_only=True))
            covered += done
        return covered

    def _run(self, sql: str, params: list[Any]) -> int:
        cursor = self._connection.execute(sql, *params)
        count = int(cursor.rowcount)
        cursor.close()
        if count < 0:
            raise Misconfigured(
                f"the ODBC driver does not say how many rows of {self._target.table} it wrote, so no receipt can be given"
            )
        return count

    def _uncovered(self) -> dict[int, RowReceipt]:
        """The rows that the update left alone, and why."""
        found: dict[int, int] = {}
        for piece in self._statements.pieces(self._rows):
            sql, params = self._statements.states(self._shape, piece)
            found.update({int(row[0]): int(row[1]) for row in self._connection.execute(sql, *params).fetchall()})
        self._connection.rollback()
        aside = {position: _CHANGED for position, same in found.items() if not same}
        if self._target.operation == "update":
            aside.update({position: NO_ROW for position in self._rows["i"] if position not in found})
        return aside

    def _refusal(self, rows: pl.DataFrame) -> str | None:
        """Why the table refuses these rows, found by a try that is rolled back; None where it takes them."""
        try:
            for statement in self._statements.dialect.begin():
                self._connection.execute(statement).close()
            self._apply(rows)
        except odbc().Error as error:
            if fault(error) is not Fault.ROW:
                raise
            return reason(error)
        finally:
            self._connection.rollback()
        return None


def bad_rows(rows: pl.DataFrame, refusal: Callable[[pl.DataFrame], str | None]) -> dict[int, RowReceipt]:
    """The rows that are refused, by halving what fails; after 256 tries, what is still in doubt is refused unseen."""
    bad: dict[int, RowReceipt] = {}
    doubtful, tries = [rows], 0
    while doubtful:
        part = doubtful.pop()
        if tries >= _TRIES:
            bad.update(
                dict.fromkeys(part["i"], refused("not tried alone: too many rows of the same write were refused by the table"))
            )
            continue
        tries += 1
        why = refusal(part)
        if why is None:
            continue
        if part.height == 1:
            bad[int(part["i"][0])] = refused(why)
        else:
            half = part.height // 2
            doubtful += [part.slice(half), part.slice(0, half)]
    return bad

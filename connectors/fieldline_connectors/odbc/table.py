"""What must be known of a target's table before anything is written to it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from fieldline_connectors.odbc.config import OdbcTarget
from fieldline_connectors.odbc.dialects import Column, Connection, Dialect
from fieldline_connectors.odbc.statements import Shape
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Slice
from fieldline_core.schema import FieldType

_UNIQUE_IN_POSTGRESQL = """
SELECT i.indexrelid::bigint, a.attname FROM pg_index i
JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place) ON k.place <= i.indnkeyatts
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
WHERE i.indrelid = to_regclass(?) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL"""
_CHARSETS_IN_MARIADB = """
SELECT column_name, collation_name FROM information_schema.columns
WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? AND collation_name IS NOT NULL"""
_ENGINE_IN_MARIADB = """
SELECT e.transactions, t.engine FROM information_schema.tables t JOIN information_schema.engines e ON e.engine = t.engine
WHERE t.table_schema = COALESCE(?, DATABASE()) AND t.table_name = ?"""


class Table:
    """A target's table, as its database describes it; checked against the target when it is made."""

    def __init__(self, target: OdbcTarget, dialect: Dialect, connection: Connection) -> None:
        self.target = target
        self.dialect = dialect
        self.name = dialect.table(target.table)
        found = dialect.columns(connection, f"{self.name} q", ())
        self.columns = {column.name: column for column in found}
        self._has(target.key, target.fields, filter(None, (target.written_at, target.effect_key)))
        self.charsets: dict[str, str] = {}
        if dialect.name == "mariadb":
            self._ask_mariadb(connection)
        if target.operation != "insert" and not target.key_is_unique:
            self._must_be_unique(connection)

    def shape(self, slice: Slice, zone: str) -> Shape:
        """The columns that this slice is written to, and compared with."""
        target, frame = self.target, slice.batch.frame
        if unset := [name for name in target.fields if name not in frame.columns]:
            raise Misconfigured(f"{target.table}: the mapping gives no value for {', '.join(unset)}")
        known = slice.before.columns if slice.before is not None and target.check_before and target.operation != "insert" else ()
        fields = {f"f{number}": self.columns[name] for number, name in enumerate(target.fields)}
        return Shape(
            table=self.name,
            keys={f"k{number}": self.columns[name] for number, name in enumerate(target.key)},
            fields=fields,
            befores={f"b{part[1:]}": column for part, column in fields.items() if column.name in known},
            constants=[*self._constants(slice, zone)] if target.operation == "insert" else (),
            charsets=self.charsets,
        )

    def _constants(self, slice: Slice, zone: str) -> Iterator[tuple[Column, Any]]:
        if name := self.target.written_at:
            column = self.columns[name]
            now = datetime.now(UTC if column.aware else ZoneInfo(zone)).replace(tzinfo=None)
            as_text = self.dialect.name in ("postgresql", "mariadb", "sqlite")
            yield column, now.isoformat(" ", "microseconds") if as_text else now
        if name := self.target.effect_key:
            yield self.columns[name], slice.effect_key

    def _has(self, *groups: Sequence[str] | Any) -> None:
        missing = [name for group in groups for name in group if name not in self.columns]
        if missing:
            raise Misconfigured(f"{self.target.table} has no column {', '.join(missing)}; it has {', '.join(self.columns)}"[:1000])
        inexact = [name for name in self.target.key if self.columns[name].type in (None, FieldType.NUMBER)]
        if inexact:
            raise Misconfigured(
                f"{self.target.table}: the key column {', '.join(inexact)} names no row exactly (its type is a float or binary)"
            )

    def _ask_mariadb(self, connection: Connection) -> None:
        place = _place(self.target.table)
        self.charsets = {row[0]: row[1] for row in connection.execute(_CHARSETS_IN_MARIADB, *place).fetchall()}
        engine = connection.execute(_ENGINE_IN_MARIADB, *place).fetchone()
        if engine is not None and engine[0] != "YES":
            raise Misconfigured(
                f"{self.target.table} is stored by {engine[1]}, which has no transactions, so a write could be half done: "
                f"ALTER TABLE {self.target.table} ENGINE=InnoDB"
            )

    def _must_be_unique(self, connection: Connection) -> None:
        key = set(self.target.key)
        if not any(index <= key for index in self._unique_indexes(connection)):
            raise Misconfigured(
                f"{self.target.table}: no unique index covers the key {', '.join(self.target.key)}, "
                "so one decision could change many rows: "
                "add one, or set `key_is_unique: true` where you know it (a view)"
            )

    def _unique_indexes(self, connection: Connection) -> list[set[str]]:
        """The sets of columns that are unique together."""
        if self.dialect.name == "postgresql":
            rows = [(row[0], row[1]) for row in connection.execute(_UNIQUE_IN_POSTGRESQL, self.name).fetchall()]
        else:
            schema, table = _place(self.target.table)
            where = {"catalog": schema} if self.dialect.name == "mariadb" else {"schema": schema}
            cursor = connection.cursor()
            rows = [("primary", row.column_name) for row in cursor.primaryKeys(table, **where)]
            rows += [(row.index_name, row.column_name) for row in cursor.statistics(table, unique=True, **where) if row.column_name]
        indexes: dict[Any, set[str]] = {}
        for index, column in rows:
            indexes.setdefault(index, set()).add(column)
        return [*indexes.values()]


def _place(name: str) -> tuple[str | None, str]:
    """Schema and table of a table's name."""
    schema, _, table = name.rpartition(".")
    return schema.rpartition(".")[2] or None, table

"""Reading in the order of a key: pages that are resumed exactly, and only what is new where there is a watermark."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import polars as pl

from fieldline_connectors.odbc.columns import key_series, raw_series, series
from fieldline_connectors.odbc.config import OdbcQuery
from fieldline_connectors.odbc.connections import Connections, Purpose
from fieldline_connectors.odbc.dialects import Column, Connection, Dialect
from fieldline_core.batch import Batch, key_parts
from fieldline_core.errors import Misconfigured
from fieldline_core.schema import FieldType

Condition: TypeAlias = tuple[str, Sequence[Any]]
"""A condition in SQL and the values of its question marks."""

_MOST_FOUND = 2_000_000
_KEYS_AT_ONCE = 500
_GROWING = (FieldType.DATE, FieldType.DATETIME, FieldType.INTEGER, FieldType.DECIMAL)


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows as they were fetched, and the texts of the last row's position in the reading order.

    `more` says that others may follow.
    """

    batch: Batch
    raw: dict[str, pl.Series]
    position: tuple[str, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """A query with the types of its columns: what is needed to ask for pages of it."""

    query: OdbcQuery
    dialect: Dialect
    zone: str
    relation: str
    columns: dict[str, Column]

    @classmethod
    def of(cls, query: OdbcQuery, connections: Connections, connection: Connection) -> "Reading":
        """The query, checked against the columns that the database has."""
        dialect = connections.dialect
        relation = _relation(query, dialect)
        found = dialect.columns(connection, relation, query.params if query.sql else ())
        columns = _chosen(query, found)
        return cls(query, dialect, connections.config.timezone, relation, columns)

    @property
    def keys(self) -> list[Column]:
        """The columns of the key."""
        return [self.columns[name] for name in self.query.key]

    def select(self, conditions: Sequence[Condition], order: Sequence[Column], rows: int | None) -> tuple[str, list[Any]]:
        """The statement for the rows under these conditions, and its parameters."""
        own: list[Condition] = [(self.query.where, self.query.params)] if self.query.where and self.query.table else []
        params = list(self.query.params) if self.query.sql else []
        every = [*own, *conditions]
        where = " AND ".join(f"({text}\n)" for text, _ in every)
        listed = ", ".join(self.dialect.selected(column) for column in self.columns.values())
        ordered = ", ".join(f"q.{self.dialect.quote(column.name)}" for column in order)
        sql = f"SELECT {listed} FROM {self.relation}{' WHERE ' + where if where else ''}{' ORDER BY ' + ordered if ordered else ''}"  # noqa: S608
        return self.dialect.limited(sql, rows), params + [value for _, values in every for value in values]

    def behind(self, position: Sequence[str], order: Sequence[Column]) -> Condition:
        """The condition that a row comes after that position."""
        text, places = self.dialect.after_key(order)
        return text, [self.bound(order[place], position[place]) for place in places]

    def bound(self, column: Column, text: str) -> Any:
        """A value from a cursor as the driver takes it; raises Misconfigured where the cursor is not of this query."""
        try:
            return self.dialect.bound(column, text)
        except (ValueError, ArithmeticError):
            raise Misconfigured(f"the cursor does not fit the column {column.name}: it was made by another query") from None

    def batch(self, fetched: Sequence[Sequence[Any]], order: Sequence[Column], *, more: bool = False) -> Rows:
        """Typed rows from the driver's."""
        values = list(zip(*fetched, strict=True)) if fetched else [()] * len(self.columns)
        raw = {name: raw_series(column, cells) for (name, column), cells in zip(self.columns.items(), values, strict=True)}
        keys = key_series([raw[name] for name in self.query.key])
        shown = self.query.columns or tuple(self.columns)
        frame = pl.DataFrame([series(self.columns[name], raw[name], self.zone, self.query.unreadable_dates) for name in shown])
        position = tuple(str(raw[column.name][-1]) for column in order) if fetched else ()
        return Rows(Batch(keys, frame), raw, position, more)

    def stream(
        self,
        connections: Connections,
        fixed: Sequence[Condition],
        position: Sequence[str] | None,
        order: Sequence[Column],
        limit: int,
    ) -> Iterator[Rows]:
        """Rows under the fixed conditions and behind the position: a table is asked page by page, a SELECT once.

        No transaction stays open between the pages of a table, however long the caller takes.
        """
        last_key = None
        while True:
            conditions = [*fixed, *([self.behind(position, order)] if position else [])]
            rows = None
            for rows in self._statement(connections, conditions, order, limit):
                last_key = self._unique(rows.batch.keys, last_key)
                yield rows
                position = rows.position
            if self.query.sql or rows is None or not rows.more:
                return

    def _statement(
        self, connections: Connections, conditions: Sequence[Condition], order: Sequence[Column], limit: int
    ) -> Iterator[Rows]:
        sql, params = self.select(conditions, order, None if self.query.sql else limit + 1)
        with connections.use(Purpose.READ) as connection:
            cursor = connection.execute(sql, *params)
            while self.query.sql and (fetched := cursor.fetchmany(limit)):
                yield self.batch(fetched, order, more=len(fetched) == limit)
            # One row more than the page tells whether there is another page, and whether it begins with the same key.
            fetched = [] if self.query.sql else cursor.fetchall()
        if len(fetched) > limit and self._place(fetched[limit - 1], order) == self._place(fetched[limit], order):
            raise self._ambiguous()
        if fetched:
            yield self.batch(fetched[:limit], order, more=len(fetched) > limit)

    def _place(self, row: Sequence[Any], order: Sequence[Column]) -> list[Any]:
        names = list(self.columns)
        return [row[names.index(column.name)] for column in order]

    def _unique(self, keys: pl.Series, before: str | None) -> str:
        if keys.n_unique() < len(keys) or keys[0] == before:
            raise self._ambiguous()
        return str(keys[-1])

    def _ambiguous(self) -> Misconfigured:
        names, place = ", ".join(self.query.key), self.query.table or "the SELECT"
        return Misconfigured(f"the key {names} of {place} is not unique: name the columns that tell two rows apart")


def lookup(connections: Connections, query: OdbcQuery, keys: Sequence[str]) -> Batch:
    """The rows with these keys; those that are not there are left out."""
    found = children(connections, query, keys)
    if found.keys.n_unique() < len(found):
        raise Misconfigured(
            f"the key {', '.join(query.key)} of {query.table or 'the SELECT'} is not unique: a lookup needs one row for each key"
        )
    return found


def children(connections: Connections, query: OdbcQuery, keys: Sequence[str]) -> Batch:
    """The rows with these keys, several of which may have the same."""
    with connections.use(Purpose.READ) as connection:
        reading = Reading.of(query, connections, connection)
        wanted = [values for key in dict.fromkeys(keys) if (values := _bound_key(reading, key)) is not None]
        fetched: list[Sequence[Any]] = []
        step = max(1, _KEYS_AT_ONCE // len(query.key))
        for start in range(0, len(wanted), step):
            sql, params = reading.select([_any_of(reading, wanted[start : start + step])], (), None)
            fetched += connection.execute(sql, *params).fetchmany(_MOST_FOUND + 1 - len(fetched))
            if len(fetched) > _MOST_FOUND:
                what = query.table or "the SELECT"
                many = f"more than {_MOST_FOUND:,} rows of {what} belong to {len(keys):,} records"
                raise Misconfigured(f"{many}: narrow it by `where`")
    return reading.batch(fetched, ()).batch


def _bound_key(reading: Reading, key: str) -> list[Any] | None:
    """The parts of a key as the driver takes them; None where no row can have that key."""
    try:
        parts = key_parts(key, len(reading.keys))
        return [reading.dialect.bound(column, part) for column, part in zip(reading.keys, parts, strict=True)]
    except (ValueError, ArithmeticError):
        return None


def _any_of(reading: Reading, keys: Sequence[Sequence[Any]]) -> Condition:
    names = [f"q.{reading.dialect.quote(column.name)}" for column in reading.keys]
    marks = [reading.dialect.placeholder(column) for column in reading.keys]
    params = [part for key in keys for part in key]
    if len(names) == 1:
        return f"{names[0]} IN ({', '.join(marks * len(keys))})", params
    one = "(" + " AND ".join(f"{name} = {mark}" for name, mark in zip(names, marks, strict=True)) + ")"
    return " OR ".join([one] * len(keys)), params


def _relation(query: OdbcQuery, dialect: Dialect) -> str:
    """What stands behind FROM; a line break ends a comment that the trusted text may end with."""
    if query.table:
        return f"{dialect.table(query.table)} q"
    inner = f"({(query.sql or '').strip().rstrip(';')}\n)"
    return f"(SELECT * FROM {inner} s WHERE ({query.where}\n)) q" if query.where else f"{inner} q"  # noqa: S608


def _chosen(query: OdbcQuery, found: Sequence[Column]) -> dict[str, Column]:
    """The columns to fetch: those asked for, the key and the watermark."""
    by_name = {column.name: column for column in found}
    if len(by_name) < len(found):
        raise Misconfigured("two columns of the SELECT have the same name: give each its own with AS")
    needed = [*query.key, *([query.watermark] if query.watermark and query.watermark != "xmin" else [])]
    wanted = query.columns or tuple(name for name, column in by_name.items() if column.type)
    if missing := [name for name in [*wanted, *needed] if name not in by_name]:
        raise Misconfigured(f"{query.table or 'the SELECT'} has no column {', '.join(missing)}; it has {', '.join(by_name)}"[:1000])
    if unreadable := [name for name in [*wanted, *needed] if by_name[name].type is None]:
        raise Misconfigured(
            f"the column {', '.join(unreadable)} holds binary data, which cannot be read: leave it out of `columns`"
        )
    if inexact := [name for name in query.key if by_name[name].type is FieldType.NUMBER]:
        raise Misconfigured(
            f"the key column {', '.join(inexact)} is a floating-point number, which names no row exactly: cast it in `sql`"
        )
    if query.watermark in by_name and by_name[query.watermark].type not in _GROWING:
        raise Misconfigured(
            f"the watermark {query.watermark} is neither a time nor a number: name a column that grows with every change"
        )
    return {name: by_name[name] for name in dict.fromkeys([*wanted, *needed])}

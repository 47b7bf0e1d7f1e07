"""Tables in the memory of this process, for demos and tests."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any

import polars as pl
from pydantic import Field as Setting

from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Change, ConnectorConfig, Cursor, Dedupe, Heard, Page, Query, Slice, Target, Topic
from fieldline_core.receipts import Outcome, Receipts, RowReceipt
from fieldline_core.schema import POLARS_TYPES, Catalog, Entity, Field, FieldType

_MOST_ROWS = 10_000
_SAMPLES = 3
_LISTEN_S = 0.5


@dataclass(slots=True)
class Table:
    """Rows by key, with one type for each column."""

    types: dict[str, pl.DataType] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def put(self, batch: Batch) -> None:
        """Adds the rows, or replaces the fields that they bring; raises Misconfigured where a column has another type."""
        for name, dtype in batch.frame.schema.items():
            if self.types.setdefault(name, dtype) != dtype:
                raise Misconfigured(f"the column {name} holds {self.types[name]}, not {dtype}")
        for key, values in zip(batch.keys, batch.frame.rows(named=True), strict=True):
            self.rows.setdefault(key, {}).update(values)

    def batch(self, keys: Sequence[str]) -> Batch:
        """The rows with these keys, in that order."""
        columns = {name: [self.rows[key].get(name) for key in keys] for name in self.types}
        return Batch.of(list(keys), pl.DataFrame(columns, schema=self.types))


@dataclass(slots=True)
class Store:
    """Tables by name, and what each write operation answered."""

    tables: dict[str, Table] = field(default_factory=dict)
    effects: dict[str, Receipts] = field(default_factory=dict)
    changes: list[tuple[str, str, frozenset[str]]] = field(default_factory=list)
    """Table, key and fields of what was put, but for what is written by flows."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    changed: threading.Event = field(default_factory=threading.Event)

    def table(self, name: str) -> Table:
        """The table of that name; raises Misconfigured where there is none."""
        if name not in self.tables:
            raise Misconfigured(f"there is no table {name!r} in memory: it has {', '.join(sorted(self.tables)) or 'none'}")
        return self.tables[name]

    def put(self, name: str, batch: Batch) -> None:
        """Puts rows into a table, which is made where there is none."""
        with self.lock:
            self.tables.setdefault(name, Table()).put(batch)
            self.changes += [(name, key, frozenset(batch.frame.columns)) for key in batch.keys]
        self.changed.set()

    def rows(self, name: str) -> dict[str, dict[str, Any]]:
        """A copy of a table's rows by key; none where there is no such table."""
        with self.lock:
            return {key: dict(row) for key, row in self.tables.get(name, Table()).rows.items()}


_stores: dict[str, Store] = {}


def store(name: str) -> Store:
    """The tables that every connection with that `store` shares."""
    return _stores.setdefault(name, Store())


def forget() -> None:
    """Empties all stores: the next one of any name is new."""
    _stores.clear()


class Mode(StrEnum):
    """What happens to keys that the table does not hold."""

    UPDATE = "update"
    UPSERT = "upsert"


class MemoryConfig(ConnectorConfig):
    """Settings of a connection to tables in memory."""

    store: str = Setting(default="default", min_length=1)
    """Name of the store; connections with the same name see the same tables."""


class MemoryQuery(Query):
    """Reads a table in the order of its keys."""

    table: str
    """Name of the table."""
    by: str | None = None
    """For rows that belong to records: the column that holds the record's key."""


class MemoryTarget(Target):
    """Writes fields of a table's rows."""

    table: str
    """Name of the table; an upsert makes it."""
    mode: Mode = Mode.UPSERT
    """`upsert` adds keys that are new, `update` refuses them."""

    def overwrites(self, query: Query) -> tuple[str, ...]:
        """All fields, where the table that is read is the one that is written."""
        return tuple(self.fields) if isinstance(query, MemoryQuery) and query.table == self.table else ()

    def reading(self) -> MemoryQuery:
        """The table that is written."""
        return MemoryQuery(table=self.table)

    def existing(self) -> "MemoryTarget":
        """An update, which adds no row."""
        return self.model_copy(update={"mode": Mode.UPDATE})


class MemoryTopic(Topic):
    """What is put into a table, but for what flows write there."""

    table: str
    """Name of the table."""


class Memory:
    """Reads and writes tables in the memory of this process."""

    name = "memory"
    Config = MemoryConfig
    Query = MemoryQuery
    Target = MemoryTarget
    Topic = MemoryTopic

    def __init__(self, config: MemoryConfig) -> None:
        self.config = config
        self._store = store(config.store)

    def check(self) -> None:
        """Returns, because memory is always there."""

    def close(self) -> None:
        """Does nothing: the tables stay for other connections."""

    def discover(self) -> Catalog:
        """The tables with their columns."""
        with self._store.lock:
            return Catalog(entities=tuple(_entity(name, table) for name, table in sorted(self._store.tables.items())))

    def read(self, query: MemoryQuery, after: Cursor | None, limit: int) -> Iterator[Page]:
        """Pages in the order of keys, of the rows that are there when it begins."""
        with self._store.lock:
            table = self._store.table(query.table)
            behind = sorted(key for key in table.rows if after is None or key > after["key"])
        for start in range(0, len(behind), limit):
            keys = behind[start : start + limit]
            with self._store.lock:
                page = table.batch(keys)
            yield Page(page, {"key": keys[-1]})

    def lookup(self, query: MemoryQuery, keys: Sequence[str]) -> Batch:
        """The rows with these keys."""
        with self._store.lock:
            table = self._store.table(query.table)
            return table.batch([key for key in dict.fromkeys(keys) if key in table.rows])

    def children(self, query: MemoryQuery, keys: Sequence[str]) -> Batch:
        """The rows whose column `by` holds one of these keys; raises Misconfigured where the query names no such column."""
        if query.by is None:
            raise Misconfigured(f"the query of {query.table!r} does not say by which column its rows belong to records: write `by`")
        wanted = set(keys)
        with self._store.lock:
            table = self._store.table(query.table)
            found = table.batch([key for key, row in table.rows.items() if str(row.get(query.by)) in wanted])
        return Batch(found.frame[query.by].cast(pl.String).alias("key"), found.frame)

    def listen(self, topic: MemoryTopic, after: Cursor | None, stopped: Callable[[], bool]) -> Iterator[Heard]:
        """What is put into the table from now on, or behind `after`; a place that this memory never had is a gap."""
        with self._store.lock:
            end = len(self._store.changes)
        here = end if after is None else int(after["at"])
        if after is None or here > end:
            here = end
            yield Heard((), {"at": here}, gap=after is not None)
        while not stopped():
            self._store.changed.wait(_LISTEN_S)
            self._store.changed.clear()
            with self._store.lock:
                news = self._store.changes[here:]
            if news:
                found = [
                    Change(str(place), key, fields) for place, (table, key, fields) in enumerate(news, here) if table == topic.table
                ]
                here += len(news)
                yield Heard(found, {"at": here})

    def dedupe(self, target: MemoryTarget) -> Dedupe:
        """LEDGER: the effect key is kept beside the rows, under the same lock."""
        return Dedupe.LEDGER

    def max_rows(self, target: MemoryTarget) -> int:
        """As many rows as a page usually has."""
        return _MOST_ROWS

    def write(self, slice: Slice) -> Receipts:
        """Writes all rows at once, or answers as it did the first time."""
        target = slice.target
        assert isinstance(target, MemoryTarget)
        with self._store.lock:
            if slice.effect_key not in self._store.effects:
                self._store.effects[slice.effect_key] = self._written(target, slice)
            return self._store.effects[slice.effect_key]

    def _written(self, target: MemoryTarget, slice: Slice) -> Receipts:
        tables, batch = self._store.tables, slice.batch
        table = tables.setdefault(target.table, Table()) if target.mode is Mode.UPSERT else self._store.table(target.table)
        absent = [] if target.mode is Mode.UPSERT else [row for row, key in enumerate(batch.keys) if key not in table.rows]
        others = dict.fromkeys(absent, RowReceipt(Outcome.REFUSED, "the table does not hold its key"))
        others |= slice.overtaken_receipts()
        table.put(batch.without({row: receipt.reason for row, receipt in others.items()}))
        return Receipts(len(batch), others=others)


def _entity(name: str, table: Table) -> Entity:
    fields = tuple(_field(column, dtype, table.rows) for column, dtype in table.types.items())
    return Entity(name=name, label=_label(name), rows=len(table.rows), fields=fields)


def _field(name: str, dtype: pl.DataType, rows: Mapping[str, Mapping[str, Any]]) -> Field:
    values = (row.get(name) for row in rows.values())
    samples = tuple(str(value) for value in islice((value for value in values if value is not None), _SAMPLES))
    return Field(name=name, type=_field_type(dtype), label=_label(name), samples=samples)


def _field_type(dtype: pl.DataType) -> FieldType:
    if dtype.is_integer():
        return FieldType.INTEGER
    if dtype.is_float():
        return FieldType.NUMBER
    if dtype.is_nested():
        return FieldType.LIST
    found = (kind for kind, column in POLARS_TYPES.items() if column.base_type() == dtype.base_type())
    return next(found, FieldType.TEXT)


def _label(name: str) -> str:
    return name.replace("_", " ").strip().capitalize() or name

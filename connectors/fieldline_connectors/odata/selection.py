"""Which properties are asked for, and how the records of the answer become columns."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import polars as pl

from fieldline_connectors.odata import literals
from fieldline_connectors.odata.answers import Answer, Record, at, rows_at
from fieldline_connectors.odata.config import OdataQuery
from fieldline_connectors.odata.metadata import EntitySet, EntityType, Property, Service
from fieldline_core.batch import Batch, key_text
from fieldline_core.errors import Misconfigured
from fieldline_core.schema import POLARS_TYPES, FieldType

Rest: TypeAlias = Callable[[Answer], Iterator[Record]]
"""All child rows, those behind the links included."""


@dataclass(frozen=True, slots=True)
class Column:
    """One property on its way into a batch; `path` leads to it in a record."""

    name: str
    path: tuple[str, ...]
    kind: Property

    def series(self, records: Sequence[Any], zone: str) -> pl.Series:
        """The values of these records in the property's type."""
        assert self.kind.type is not None
        dtype = POLARS_TYPES[self.kind.type]
        if len(self.path) == 1:
            name = self.path[0]
            found = [record.get(name) for record in records]
        else:
            found = [at(record, self.path) for record in records]
        if self.kind.edm == "Edm.String" and all(type(value) is str or value is None for value in found):
            return pl.Series(self.name, found, dtype)
        try:
            return pl.Series(self.name, [literals.read(self.kind, value, zone) for value in found], dtype)
        except (literals.Unfit, OverflowError) as error:
            raise Misconfigured(f"{error}: leave the property out of the query") from None


@dataclass(frozen=True, slots=True)
class ListColumn:
    """A list of child rows on its way into a batch."""

    name: str
    columns: tuple[Column, ...]

    def series(self, records: Sequence[Record], zone: str, rest: Rest) -> pl.Series:
        """For each record its rows; none where it has none."""
        lists = [list(rest(rows_at(record, self.name))) for record in records]
        flat = [row for rows in lists for row in rows]
        frame = pl.DataFrame([column.series(flat, zone) for column in self.columns])
        structs = iter(frame.to_struct("row").to_list())
        dtype = pl.List(pl.Struct({column.name: POLARS_TYPES[column.kind.type or FieldType.TEXT] for column in self.columns}))
        return pl.Series(self.name, [[next(structs) for _ in rows] if rows else None for rows in lists], dtype)


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked of one entity set: columns that are shown, those of the key, and the query options for both."""

    entity_set: EntitySet
    keys: tuple[Column, ...]
    columns: tuple[Column, ...]
    lists: tuple[ListColumn, ...]
    options: tuple[tuple[str, str], ...]
    zone: str

    def key(self, record: Record) -> str:
        """The record's key, from which the same literals can be made again."""
        parts = [literals.read(column.kind, at(record, column.path), self.zone) for column in self.keys]
        if any(part is None for part in parts):
            names = ", ".join(column.name for column in self.keys)
            raise Misconfigured(f"a record of {self.entity_set.name} has no {names}, which is its key: name others as `key`")
        return key_text([literals.key_part(column.kind, part) for column, part in zip(self.keys, parts, strict=True)])

    def batch(self, records: Sequence[Record], rest: Rest) -> Batch:
        """The records as columns under their keys."""
        series = [column.series(records, self.zone) for column in self.columns]
        series += [column.series(records, self.zone, rest) for column in self.lists]
        return Batch.of([self.key(record) for record in records], pl.DataFrame(series))


def selection(service: Service, query: OdataQuery, zone: str, also: Sequence[str] = ()) -> Selection:
    """The query against what the service has; `also` are properties that are needed but not shown."""
    found = service.entity_set(query.entity_set)
    kind = found.type
    names = query.fields if query.fields is not None else tuple(name for name, each in kind.properties.items() if each.type)
    columns = tuple(_column(service, found, name) for name in names)
    keys = tuple(Column(each.name, tuple(each.name.split(".")), each) for each in found.key(query.key))
    own = (Column(name, (name,), found.property(name)) for name in (*kind.keys, *also))
    needed = {column.name: column for column in (*columns, *keys, *own)}
    lists = tuple(_list(service, kind, name, wanted) for name, wanted in query.expand.items())
    options = _options_v4 if service.v4 else _options_v2
    return Selection(found, keys, columns, lists, tuple(options(kind, list(needed.values()), lists)), zone)


def _column(service: Service, entity_set: EntitySet, name: str) -> Column:
    head, _, rest = name.partition(".")
    if name in entity_set.type.properties or head not in entity_set.type.navigations:
        return Column(name, tuple(name.split(".")), entity_set.property(name))
    navigation, target = service.target(entity_set.type, head)
    if navigation.many or rest not in target.properties or target.properties[rest].type is None:
        fix = "name it under `expand`" if navigation.many else f"name a property of {target.name} behind it"
        raise Misconfigured(f"{name} of {entity_set.name} is not one value: {fix}")
    return Column(name, tuple(name.split(".")), target.properties[rest])


def _list(service: Service, kind: EntityType, name: str, wanted: Sequence[str]) -> ListColumn:
    navigation, target = service.target(kind, name)
    if not navigation.many:
        raise Misconfigured(f"{name} of {kind.name} leads to one record: read its properties as {name}.Property, without `expand`")
    names = wanted or [each for each, found in target.properties.items() if found.type]
    if missing := [each for each in names if each not in target.properties or target.properties[each].type is None]:
        raise Misconfigured(f"{target.name} has no readable property {', '.join(missing)}: correct `expand`")
    return ListColumn(name, tuple(Column(each, tuple(each.split(".")), target.properties[each]) for each in names))


def _by_navigation(kind: EntityType, columns: Sequence[Column]) -> tuple[list[str], dict[str, list[str]]]:
    """The properties of the record itself (of a complex one its name), and those behind each navigation."""
    own: dict[str, None] = {}
    behind: dict[str, dict[str, None]] = {}
    for column in columns:
        head = column.path[0]
        if column.name not in kind.properties and head in kind.navigations:
            behind.setdefault(head, {})[column.path[1]] = None
        else:
            own[head] = None
    return list(own), {name: list(names) for name, names in behind.items()}


def _options_v2(kind: EntityType, columns: Sequence[Column], lists: Sequence[ListColumn]) -> list[tuple[str, str]]:
    own, behind = _by_navigation(kind, columns)
    behind |= {each.name: list(dict.fromkeys(column.path[0] for column in each.columns)) for each in lists}
    names = own + [f"{navigation}/{name}" for navigation, inner in behind.items() for name in inner]
    return [("$select", ",".join(names)), *([("$expand", ",".join(behind))] if behind else [])]


def _options_v4(kind: EntityType, columns: Sequence[Column], lists: Sequence[ListColumn]) -> list[tuple[str, str]]:
    own, behind = _by_navigation(kind, columns)
    behind |= {each.name: list(dict.fromkeys(column.path[0] for column in each.columns)) for each in lists}
    expands = ",".join(f"{navigation}($select={','.join(inner)})" for navigation, inner in behind.items())
    return [("$select", ",".join(own)), *([("$expand", expands)] if expands else [])]

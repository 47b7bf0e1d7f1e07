"""What a service holds, for people to choose from: entity sets, properties, labels, sample values."""

from collections.abc import Sequence

from fieldline_connectors.odata.answers import Record, at
from fieldline_connectors.odata.config import OdataQuery
from fieldline_connectors.odata.literals import Unfit, key_part, read
from fieldline_connectors.odata.metadata import EntitySet, Property
from fieldline_connectors.odata.selection import selection
from fieldline_connectors.odata.service import Client, path
from fieldline_core.errors import FieldlineError
from fieldline_core.schema import Catalog, Entity, Field, FieldType

_MOST_SAMPLED = 20
_SAMPLES = 3
_LONGEST_SAMPLE = 80


def catalog(client: Client) -> Catalog:
    """The entity sets of the service; sample values where there are few enough of them to ask each."""
    wanted = client.config.entity_sets
    names = [client.service.entity_set(name).name for name in wanted] if wanted else sorted(client.service.sets)
    sampled = len(names) <= _MOST_SAMPLED
    return Catalog(entities=tuple(_entity(client, client.service.sets[name], sampled) for name in names))


def _entity(client: Client, found: EntitySet, sampled: bool) -> Entity:
    records = _records(client, found) if sampled else []
    fields = [_field(client, found, kind, records) for kind in found.type.properties.values() if kind.type]
    lists = [
        Field(name=each.name, type=FieldType.LIST, label=each.name, updatable=False)
        for each in found.type.navigations.values()
        if each.many and each.name not in found.type.properties
    ]
    return Entity(name=found.name, label=found.label or found.name, fields=(*fields, *lists))


def _field(client: Client, found: EntitySet, kind: Property, records: Sequence[Record]) -> Field:
    assert kind.type is not None
    return Field(
        name=kind.name,
        type=kind.type,
        label=kind.label or kind.name,
        nullable=kind.nullable,
        key=kind.name in found.type.keys,
        updatable=found.updatable and kind.updatable and kind.name not in found.type.keys,
        length=kind.length,
        computed=not kind.creatable and not kind.updatable,
        samples=tuple(_samples(kind, records, client.config.timezone)),
    )


def _samples(kind: Property, records: Sequence[Record], zone: str) -> list[str]:
    texts: dict[str, None] = {}
    for record in records:
        try:
            value = read(kind, at(record, kind.name.split(".")), zone)
        except Unfit:
            continue
        if value is not None and value != "":
            texts[key_part(kind, value)[:_LONGEST_SAMPLE]] = None
    return list(texts)


def _records(client: Client, found: EntitySet) -> Sequence[Record]:
    """A few records; a set that cannot be asked like this (it wants a filter, or more rights) has no samples."""
    try:
        options = selection(client.service, OdataQuery(entity_set=found.name), client.config.timezone).options
        return client.ask(path(found.name, [*options, ("$top", str(_SAMPLES))])).records
    except FieldlineError:
        return []

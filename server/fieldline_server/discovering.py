"""What connected systems hold, as their connectors discover it."""

from typing import Any

from fieldline_core.errors import Misconfigured
from fieldline_core.findings import did_you_mean
from fieldline_core.pipeline.engine import Engine
from fieldline_core.ports import Discovers
from fieldline_core.schema import Catalog, Entity, FieldType


def catalog(engine: Engine, connection: str) -> Catalog:
    """The entities of a connection's system; raises Misconfigured where its connector cannot say."""
    connector = engine.parts.connector(connection)
    if not isinstance(connector, Discovers):
        raise Misconfigured(f"the connector of {connection!r} cannot say what its system holds")
    return connector.discover()


def entity_of(found: Catalog, connection: str, name: str) -> Entity:
    """The entity of that name, with or without its schema; raises Misconfigured where there is none."""
    exact = found.entity(name)
    ends = [each for each in found.entities if each.name.lower().endswith(f".{name.lower()}")]
    entity = exact or (ends[0] if len(ends) == 1 else None)
    if entity is None:
        meant = did_you_mean(name, [each.name for each in found.entities])
        raise Misconfigured(f"{connection} holds no {name!r}. {meant}".strip())
    return entity


def schema_of(entity: Entity) -> dict[str, Any]:
    """An entity's fields with their types, for scripts and the API; lists of rows apart, for their fields are not known."""
    types = {field.name: field.type.value for field in entity.fields if field.type is not FieldType.LIST}
    return {"name": entity.name, "record": types, "lists": [field.name for field in entity.fields if field.type is FieldType.LIST]}

"""What a system holds: entities, their fields, and the types that a mapping knows."""

from enum import StrEnum

import polars as pl
from pydantic import BaseModel, ConfigDict


class FieldType(StrEnum):
    """The types of values that cross between systems; `decimal` and `integer` keep their exact value."""

    TEXT = "text"
    NUMBER = "number"
    INTEGER = "integer"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    TIME = "time"
    LIST = "list"


POLARS_TYPES: dict[FieldType, pl.DataType] = {
    FieldType.TEXT: pl.String(),
    FieldType.NUMBER: pl.Float64(),
    FieldType.INTEGER: pl.Int64(),
    FieldType.DECIMAL: pl.String(),
    FieldType.BOOLEAN: pl.Boolean(),
    FieldType.DATE: pl.Date(),
    FieldType.DATETIME: pl.Datetime("us"),
    FieldType.TIME: pl.Time(),
}
"""The column type of each field type in a Batch; a decimal travels as its exact text, a datetime is naive UTC."""


class Field(BaseModel):
    """One field of an entity, as discovered."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: FieldType
    label: str = ""
    nullable: bool = True
    key: bool = False
    updatable: bool = True
    length: int | None = None
    samples: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    narrowed: dict[str, tuple[str, ...]] = {}
    """The choices that records of one kind have, where those are fewer; by the kind's name."""
    unique: bool = False
    external_id: bool = False
    computed: bool = False


class Entity(BaseModel):
    """One object, table or resource, as discovered."""

    model_config = ConfigDict(frozen=True)

    name: str
    label: str = ""
    rows: int | None = None
    fields: tuple[Field, ...] = ()


class Catalog(BaseModel):
    """What a connection offers to read and write."""

    model_config = ConfigDict(frozen=True)

    entities: tuple[Entity, ...] = ()

    def entity(self, name: str) -> Entity | None:
        """The entity of that name (case matters only where two differ by it)."""
        exact = [entity for entity in self.entities if entity.name == name]
        return next(iter(exact or [entity for entity in self.entities if entity.name.lower() == name.lower()]), None)

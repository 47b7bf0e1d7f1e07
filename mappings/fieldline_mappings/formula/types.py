"""The types of values in formulas."""

from enum import StrEnum

import polars as pl

from fieldline_core.schema import FieldType


class Type(StrEnum):
    """What a formula's value is; NULL is what the literal NULL is before it meets another type."""

    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    TIME = "time"
    ROWS = "list of rows"
    NULL = "blank"


DTYPES: dict[Type, pl.DataType] = {
    Type.NUMBER: pl.Float64(), Type.TEXT: pl.String(), Type.BOOLEAN: pl.Boolean(), Type.DATE: pl.Date(),
    Type.DATETIME: pl.Datetime("us"), Type.TIME: pl.Time(), Type.NULL: pl.String(),
}  # fmt: skip
"""The column type of each; datetimes are naive UTC."""

OF_FIELD: dict[FieldType, Type] = {
    FieldType.TEXT: Type.TEXT, FieldType.NUMBER: Type.NUMBER, FieldType.INTEGER: Type.NUMBER, FieldType.DECIMAL: Type.NUMBER,
    FieldType.BOOLEAN: Type.BOOLEAN, FieldType.DATE: Type.DATE, FieldType.DATETIME: Type.DATETIME, FieldType.TIME: Type.TIME,
}  # fmt: skip
"""What a record's field is in a formula."""

"""A slice made ready for its table: keys and values in the types that the table takes, unfit rows set aside first."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from fieldline_connectors.odbc.columns import from_utc
from fieldline_connectors.odbc.dialects import Column
from fieldline_connectors.odbc.statements import Shape
from fieldline_core.batch import key_parts
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Slice
from fieldline_core.receipts import Outcome, RowReceipt
from fieldline_core.schema import FieldType

Unfit = Mapping[int, RowReceipt]

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"
_WHOLE = r"^[+-]?\d{1,18}$"
NO_ROW = RowReceipt(Outcome.REFUSED, "the table has no row with this key")
"""The receipt of a row whose key is not in the table."""


def refused(why: str) -> RowReceipt:
    """The receipt of a row that was not written."""
    return RowReceipt(Outcome.REFUSED, why)


def ready(slice: Slice, shape: Shape, zone: str) -> tuple[pl.DataFrame, dict[int, RowReceipt]]:
    """The rows to write, with `i` and the short names of the statements, and the receipts of those that cannot be written."""
    unfit: dict[int, RowReceipt] = {}
    columns = [pl.int_range(len(slice.batch), eager=True).alias("i"), *_keys(slice.batch.keys, shape, unfit)]
    for part, column in shape.fields.items():
        columns.append(_fitted(slice.batch.frame[column.name], column, zone, unfit).alias(part))
    for part, column in shape.befores.items():
        assert slice.before is not None
        columns.append(_fitted(slice.before[column.name], column, zone, {}).alias(part))
    rows = pl.DataFrame(columns).rechunk()
    unfit |= slice.overtaken_receipts()
    for position in slice.batch.last_of_each_key()[1]:
        unfit[position] = RowReceipt(Outcome.SUPERSEDED, "a later row of the same write has this key")
    return without(rows, unfit), unfit


def without(rows: pl.DataFrame, unfit: Unfit) -> pl.DataFrame:
    """The rows that are not set aside."""
    return rows.filter(~pl.col("i").is_in(list(unfit))) if unfit else rows


def _keys(keys: pl.Series, shape: Shape, unfit: dict[int, RowReceipt]) -> list[pl.Series]:
    """The parts of the keys; a key that the column's type cannot hold names no row."""
    if len(shape.keys) == 1:
        texts = [keys]
    else:
        parts = [_parts(key, len(shape.keys)) for key in keys]
        texts = [pl.Series(column, dtype=pl.String) for column in zip(*parts, strict=True)] if parts else [keys] * len(shape.keys)
    fitted = []
    for (part, column), text in zip(shape.keys.items(), texts, strict=True):
        if column.type is FieldType.INTEGER:
            key = text.set(~text.str.contains(_WHOLE), None).cast(pl.Int64)
        elif column.type is FieldType.DECIMAL:
            key = text.set(~text.str.contains(_NUMBER), None)
        else:
            key = text
        _note(key.is_null(), NO_ROW, unfit)
        fitted.append(key.alias(part))
    return fitted


def _parts(key: str, size: int) -> list[Any]:
    try:
        return [*key_parts(key, size)]
    except ValueError:
        return [None] * size


def _fitted(values: pl.Series, column: Column, zone: str, unfit: dict[int, RowReceipt]) -> pl.Series:
    """The values as they are sent: whole numbers, floats, booleans or texts."""
    kind = values.dtype
    if kind.is_float():
        values = values.cast(pl.Float64)
        _note(~values.is_finite(), refused(f"the value for {column.name} is not a finite number"), unfit)
        return _whole(values, column, unfit) if column.type is FieldType.INTEGER else values
    if kind.is_integer() and kind != pl.UInt64:
        return values.cast(pl.Int64)
    if kind == pl.Boolean:
        return values.cast(pl.Int64) if column.type is FieldType.INTEGER else values
    if kind == pl.Datetime:
        local = values if column.aware or zone == "UTC" else from_utc(values, zone)
        return local.dt.to_string("%Y-%m-%d %H:%M:%S%.6f")
    if kind in (pl.Date, pl.Time, pl.Null, pl.UInt64, pl.Categorical) or kind.is_decimal():
        return values.cast(pl.String)
    if kind != pl.String:
        raise Misconfigured(
            f"the field for {column.name} is a {kind}, which no column of a table takes: write texts, numbers or dates"
        )
    if column.type is FieldType.DECIMAL:
        _note(~values.str.contains(_NUMBER), refused(f"the value for {column.name} is not a number"), unfit)
    return values


def _whole(values: pl.Series, column: Column, unfit: dict[int, RowReceipt]) -> pl.Series:
    _note(
        values != values.floor(), refused(f"the value for {column.name} has a fraction, and the column takes whole numbers"), unfit
    )
    return values.cast(pl.Int64, strict=False)


def _note(wrong: pl.Series, receipt: RowReceipt, unfit: dict[int, RowReceipt]) -> None:
    if wrong.any():
        unfit.update({int(position): unfit.get(int(position), receipt) for position in wrong.arg_true()})

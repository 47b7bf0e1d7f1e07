"""From the driver's rows to typed columns, and back to the texts that a database takes."""

from collections.abc import Sequence
from typing import Any, Literal

import polars as pl

from fieldline_connectors.odbc.dialects import Column
from fieldline_core.batch import key_text
from fieldline_core.errors import Misconfigured
from fieldline_core.schema import POLARS_TYPES, FieldType

_LAYOUTS = {FieldType.DATE: "%Y-%m-%d", FieldType.DATETIME: "%Y-%m-%d %H:%M:%S%.f", FieldType.TIME: "%H:%M:%S%.f"}


def raw_series(column: Column, values: Sequence[Any]) -> pl.Series:
    """The values as they were fetched; raises Misconfigured where they are not of the column's type."""
    kind = pl.String() if column.cast else POLARS_TYPES[column.type or FieldType.TEXT]
    if column.type is FieldType.DECIMAL and not column.cast:
        values = [None if value is None else str(value) for value in values]
    try:
        return pl.Series(column.name, values, dtype=kind)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        raise Misconfigured(
            f"the column {column.name} holds values that are not of its type, {column.type}: cast it in `sql`"
        ) from None


def series(column: Column, raw: pl.Series, zone: str, unreadable: Literal["refuse", "blank"]) -> pl.Series:
    """The column as a Batch has it: date-times in UTC; a date that no calendar has is refused, or blank where that is wanted."""
    if column.type not in _LAYOUTS:
        return raw
    read = _parsed(column, raw) if column.cast else raw
    if column.type is FieldType.DATETIME and not column.aware and zone != "UTC":
        read = to_utc(read, zone)
    if unreadable == "refuse" and read.null_count() > raw.null_count():
        lost = read.null_count() - raw.null_count()
        raise Misconfigured(
            f"the column {column.name} holds {lost} dates or times that no calendar has "
            "(such as infinity, 0000-00-00 or a skipped hour): "
            "leave those rows out by `where`, or set `unreadable_dates: blank` to read them as empty"
        )
    return read


def _parsed(column: Column, raw: pl.Series) -> pl.Series:
    """Times from their texts; what cannot be read is null."""
    text = raw.str.strip_suffix("+00") if column.aware else raw
    match column.type:
        case FieldType.DATE:
            return _of_calendar(text.str.to_date(_LAYOUTS[FieldType.DATE], strict=False))
        case FieldType.TIME:
            return text.str.to_time(_LAYOUTS[FieldType.TIME], strict=False)
    read = text.str.to_datetime(_LAYOUTS[FieldType.DATETIME], time_unit="us", strict=False)
    if read.null_count() > text.null_count():
        day = text.str.to_date(_LAYOUTS[FieldType.DATE], strict=False)
        read = pl.select(pl.coalesce(read, day.cast(pl.Datetime("us"))).alias(raw.name)).to_series()
    return _of_calendar(read)


def _of_calendar(read: pl.Series) -> pl.Series:
    """What lies in the years 1 to 9999, which are those that Python has; MariaDB has a year 0, PostgreSQL more."""
    return pl.select(pl.when(read.dt.year().is_between(1, 9999)).then(read).alias(read.name)).to_series()


def to_utc(times: pl.Series, zone: str) -> pl.Series:
    """Naive times of a zone as naive UTC; an hour that came twice counts as its first, one that was skipped is empty."""
    return (
        times.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        .dt.convert_time_zone("UTC")
        .dt.replace_time_zone(None)
    )


def from_utc(times: pl.Series, zone: str) -> pl.Series:
    """Naive UTC as naive times of a zone."""
    return times.dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.replace_time_zone(None)


def key_series(raw: Sequence[pl.Series]) -> pl.Series:
    """The key of each row as text; raises Misconfigured where a part is empty, because rows without a key cannot be told apart."""
    for part in raw:
        if part.null_count():
            raise Misconfigured(f"the key column {part.name} is empty in some rows: name columns that are never empty")
    texts = [part.cast(pl.String) for part in raw]
    if len(texts) == 1:
        return texts[0].alias("key")
    return pl.Series("key", [key_text(parts) for parts in zip(*texts, strict=True)], dtype=pl.String)

"""Columns of any type as the type that a feature asks for, value by value: read, blank, or unreadable."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from math import isfinite
from typing import Literal, NamedTuple, TypeAlias

import polars as pl

from fieldline_core.schema import FieldType
from fieldline_mappings.plain import plain_values

Kind: TypeAlias = Literal["number", "integer", "text", "boolean", "date", "datetime", "time"]
KINDS: dict[FieldType, Kind] = {
    FieldType.TEXT: "text", FieldType.NUMBER: "number", FieldType.INTEGER: "integer", FieldType.DECIMAL: "number",
    FieldType.BOOLEAN: "boolean", FieldType.DATE: "date", FieldType.DATETIME: "datetime", FieldType.TIME: "time",
}  # fmt: skip
"""How each type of field is read."""
_MOMENT = pl.Datetime("us")
_TYPES: dict[Kind, pl.DataType] = {
    "number": pl.Float64(), "integer": pl.Int64(), "text": pl.String(), "boolean": pl.Boolean(),
    "date": pl.Date(), "datetime": _MOMENT, "time": pl.Time(),
}  # fmt: skip
_FEW = 16
"""So many texts are read faster by Python than by Polars."""
_FIRST_DAY, _LAST_DAY = (date(1, 1, 2) - date(1970, 1, 1)).days, (date(9999, 12, 31) - date(1970, 1, 1)).days
_TICKS = {"date": 1, "datetime": 86_400_000_000}
_YES, _NO = ["true", "t", "yes", "y", "1"], ["false", "f", "no", "n", "0"]


class Steps(NamedTuple):
    """Columns to add, step by step: each step uses those of the one before, so that nothing is computed twice."""

    texts: tuple[pl.Expr, ...]
    values: tuple[pl.Expr, ...]
    flags: tuple[pl.Expr, ...]
    """The marks, where there may be something to mark."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A field read as a type; expressions over `value` and `unreadable` find what the `steps` made."""

    field: str
    type: Kind

    @property
    def value(self) -> pl.Expr:
        """The value, null where it is blank or cannot be read."""
        return pl.col(self.value_name)

    @property
    def unreadable(self) -> pl.Expr:
        """Whether there is a value that cannot be read; never null."""
        return pl.col(self.unreadable_name)

    @property
    def value_name(self) -> str:
        """The column of the value."""
        return f"{self.type}:{self.field}"

    @property
    def unreadable_name(self) -> str:
        """The column that marks what cannot be read."""
        return f"not {self.type}:{self.field}"

    def certain(self, dtype: pl.DataType | None) -> bool:
        """Whether every value of a source column of `dtype` can be read."""
        if dtype is None or dtype == pl.Null:
            return True
        match self.type:
            case "text":
                return not (dtype.is_nested() or dtype in (pl.Binary, pl.Object))
            case "number":
                return dtype.is_integer()
        return dtype == _TYPES[self.type] and self.type in ("integer", "boolean", "time")

    def at_once(self, column: pl.Series) -> pl.Series | None:
        """The values of a column of this type, or of a few plain texts, if all can be read; None where the `steps` are needed."""
        if column.dtype != _TYPES[self.type]:
            few = column.dtype == pl.String and len(column) <= _FEW
            values = plain_values(self.type, column.to_list()) if few else None
            return None if values is None else pl.Series(values, dtype=_TYPES[self.type])
        match self.type:
            # NaN and infinity show in the sum. (Methods such as is_finite take a way that is slow for one row.)
            case "number" if not isfinite(column.sum()):
                return None
            case "date" | "datetime" if column.null_count() < len(column):
                ticks, whole = _TICKS[self.type], column.cast(pl.Int64)
                if whole.min() < _FIRST_DAY * ticks or whole.max() > _LAST_DAY * ticks:  # type: ignore[operator]
                    return None
        return column

    def steps(self, dtype: pl.DataType | None, zone: str) -> Steps:
        """What makes both columns from a source column of `dtype` (None where there is none)."""
        value, unreadable = self.value_name, self.unreadable_name
        wanted = _TYPES[self.type]
        text = isinstance(dtype, pl.String | pl.Categorical | pl.Enum)
        if dtype is None:
            return Steps((), (pl.lit(None, wanted).alias(value),), ())
        if self.certain(dtype) and (self.type != "text" or text or dtype == pl.Null):
            return Steps((), (pl.col(self.field).cast(wanted).alias(value),), ())
        given = pl.col(f"words:{self.field}" if text else self.field)
        read = _READERS[self.type](given, pl.String() if text else dtype, zone)
        read = pl.lit(None, wanted) if read is None else read
        texts = (_trimmed(self.field),) if text else ()
        if self.type != "number":
            return Steps(texts, (read.alias(value),), ((given.is_not_null() & self.value.is_null()).alias(unreadable),))
        # NaN and infinity are no numbers of a record, though texts spell them, too.
        raw = pl.col(f"any {value}")
        finite = raw.is_finite()
        wrong = given.is_not_null() & ~finite.fill_null(False)
        return Steps(texts, (read.alias(f"any {value}"),), (pl.when(finite).then(raw).alias(value), wrong.alias(unreadable)))


def _trimmed(field: str) -> pl.Expr:
    """The text of a field without spaces around it, to be read as another type; empty text is blank."""
    trimmed = pl.col(field).cast(pl.String).str.strip_chars()
    return pl.when(trimmed != "").then(trimmed).alias(f"words:{field}")


def _number(given: pl.Expr, dtype: pl.DataType, zone: str) -> pl.Expr | None:
    return given.cast(pl.Float64, strict=False) if dtype.is_numeric() or dtype in (pl.String, pl.Boolean) else None


def _integer(given: pl.Expr, dtype: pl.DataType, zone: str) -> pl.Expr | None:
    if dtype == pl.String:
        # Databases give whole numbers of a decimal column as 12.00.
        return given.str.replace(r"\.0*$", "").cast(pl.Int64, strict=False)
    if dtype.is_float() or dtype.is_decimal():
        return pl.when(given == given.floor()).then(given.cast(pl.Int64, strict=False))
    return given.cast(pl.Int64, strict=False) if dtype.is_integer() or dtype == pl.Boolean else None


def _boolean(given: pl.Expr, dtype: pl.DataType, zone: str) -> pl.Expr | None:
    if dtype == pl.String:
        words = given.str.to_lowercase()
        return pl.when(words.is_in(_YES)).then(pl.lit(True)).when(words.is_in(_NO)).then(pl.lit(False))
    if dtype.is_numeric():
        return pl.when(given == 1).then(pl.lit(True)).when(given == 0).then(pl.lit(False))
    return given if dtype == pl.Boolean else None


def _words(given: pl.Expr, dtype: pl.DataType, zone: str) -> pl.Expr | None:
    if dtype == pl.String:
        return given
    return None if dtype.is_nested() or dtype in (pl.Binary, pl.Object) else given.cast(pl.String, strict=False)


def _date(given: pl.Expr, dtype: pl.DataType, zone: str) -> pl.Expr | None:
    if dtype == pl.Date:
        return _bounded(given, _FIRST_DAY, _LAST_DAY)
    if dtype == pl.String:
        return pl.coalesce(_day(given), local(_written_moment(given), zone).dt.date())
    return local(_utc(given, dtype), zone).dt.date() if isinstance(dtype, pl.Datetime) else None


def _datetime(given: pl.Expr, dtype: pl.DataType, zone: str) -> pl.Expr | None:
    if dtype == pl.String:
        return pl.coalesce(_written_moment(given), _midnight(_day(given), zone))
    if dtype == pl.Date:
        return _midnight(_bounded(given, _FIRST_DAY, _LAST_DAY), zone)
    return _utc(given, dtype) if isinstance(dtype, pl.Datetime) else None


def _time(given: pl.Expr, dtype: pl.DataType, zone: str) -> pl.Expr | None:
    if dtype == pl.Time:
        return given
    if dtype == pl.String:
        clock = [given.str.to_time(form, strict=False) for form in ("%H:%M:%S%.f", "%H:%M")]
        return pl.coalesce(*clock, local(_written_moment(given), zone).dt.time())
    return local(_utc(given, dtype), zone).dt.time() if isinstance(dtype, pl.Datetime) else None


def local(moment: pl.Expr, zone: str) -> pl.Expr:
    """A naive UTC datetime on the clocks of a zone."""
    return moment.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)


def _bounded(given: pl.Expr, first: int, last: int) -> pl.Expr:
    """Days or moments of the years 1 to 9999: beyond them one value would end the whole batch (a panic in chrono)."""
    return pl.when(given.to_physical().is_between(first, last)).then(given)


def _utc(given: pl.Expr, dtype: pl.Datetime) -> pl.Expr:
    ticks = {"ms": 86_400_000, "us": 86_400_000_000}
    if dtype.time_unit in ticks:
        given = _bounded(given, _FIRST_DAY * ticks[dtype.time_unit], _LAST_DAY * ticks[dtype.time_unit])
    return (given.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if dtype.time_zone else given).cast(_MOMENT)


def _midnight(day: pl.Expr, zone: str) -> pl.Expr:
    # Where clocks skip midnight the day has none; where they repeat it, the first counts.
    aware = day.cast(_MOMENT).dt.replace_time_zone(zone, non_existent="null", ambiguous="earliest")
    return aware.dt.convert_time_zone("UTC").dt.replace_time_zone(None)


def _day(given: pl.Expr) -> pl.Expr:
    short, length = pl.when(given.str.len_bytes() <= 10).then(given), given.str.len_bytes()
    basic = pl.when(length == 8).then(short)
    day = pl.coalesce(short.str.to_date("%Y-%m-%d", strict=False), basic.str.to_date("%Y%m%d", strict=False))
    return _bounded(day, _FIRST_DAY, _LAST_DAY)


def _written_moment(given: pl.Expr) -> pl.Expr:
    """ISO 8601 as systems write it: `T` or a space, seconds or none, offset or none (then it is UTC)."""
    iso = pl.when(given.str.len_bytes() > 10).then(given).str.replace(r"[ t](\d\d:)", "T$1").str.replace(" ", "", literal=True)
    seconds = iso.str.replace(r"T(\d\d:\d\d)([^:]|$)", "T${1}:00$2")
    zoned = seconds.str.replace(r"(T[\d:.]+)$", "${1}Z")
    moment = zoned.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False)
    ticks = _TICKS["datetime"]
    return _bounded(moment, _FIRST_DAY * ticks, _LAST_DAY * ticks).dt.replace_time_zone(None)


_READERS: dict[Kind, Callable[[pl.Expr, pl.DataType, str], pl.Expr | None]] = {
    "number": _number, "integer": _integer, "text": _words, "boolean": _boolean,
    "date": _date, "datetime": _datetime, "time": _time,
}  # fmt: skip

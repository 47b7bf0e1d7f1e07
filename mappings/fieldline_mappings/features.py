"""What each feature is: the columns it gives, the expressions that make them, and what keeps a row from having them.

This is the one place that knows how a feature is said; what else than a field it may come from is added here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import polars as pl

from fieldline_mappings.document import Feature
from fieldline_mappings.reading import TODAY, Reading, local


class Kind(StrEnum):
    """What a feature's values are, whatever input they fill."""

    NUMBER = "number"
    INTEGER = "integer"
    FLAG = "flag"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Column:
    """One value for each row: `feature` is its position in the document."""

    name: str
    kind: Kind
    feature: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Rows that a feature holds back (where `mask` is true), and why."""

    feature: int
    mask: pl.Expr
    reason: str


@dataclass(frozen=True, slots=True)
class Built:
    """A feature as expressions over the columns that its readings make."""

    reading: Reading
    values: tuple[pl.Expr, ...]
    problems: tuple[Problem, ...]


_EXPECTED = {
    "number": "a number", "integer": "a whole number", "text": "a text", "boolean": "true or false",
    "date": "a date (YYYY-MM-DD)", "datetime": "a date and time (YYYY-MM-DDThh:mm:ss)", "time": "a time (hh:mm:ss)",
}  # fmt: skip


def columns(feature: Feature, position: int) -> tuple[Column, ...]:
    """The columns that a feature gives, in order."""
    flag = [Column(f"{feature.name}_blank", Kind.FLAG, position)] if feature.if_blank == "flag" else []
    if feature.encoding == "onehot":
        own = [Column(f"{feature.name}={category}", Kind.FLAG, position) for category in feature.categories]
    else:
        own = [Column(feature.name, _kind(feature), position)]
    return (*own, *flag)


def build(feature: Feature, position: int, zone: str, dtypes: Mapping[str, str]) -> Built:
    """The feature's expressions; `dtypes` says which of its columns fill an input of which type."""
    reading = Reading(feature.field, feature.type)
    blank = reading.value.is_null()
    own = _values(feature, reading.value, zone)
    flag = [blank.cast(pl.UInt8)] if feature.if_blank == "flag" else []
    names = [column.name for column in columns(feature, position)]
    values = tuple(expression.alias(name) for expression, name in zip([*own, *flag], names, strict=True))

    where = f"feature {feature.name!r}: field {feature.field!r}"
    problems = [Problem(position, reading.unreadable, f"{where} is not {_EXPECTED[feature.type]}")]
    if feature.if_blank == "hold":
        problems.append(Problem(position, blank & ~reading.unreadable, f"{where} is blank"))
    if feature.categories and feature.if_unknown == "hold":
        unknown = ~reading.value.is_in(list(feature.categories))
        problems.append(Problem(position, unknown, f"{where} is not one of its {len(feature.categories)} categories"))
    if bounds := _bounds(feature, dtypes.get(feature.name)):
        words = f"{where} is not a number that the model's {dtypes.get(feature.name, 'float64')} input can hold"
        problems.append(Problem(position, ~own[0].is_between(*bounds), words))
    return Built(reading, values, tuple(problems))


def _kind(feature: Feature) -> Kind:
    match feature.type, feature.encoding:
        case "text", "text":
            return Kind.TEXT
        case "number", _:
            return Kind.NUMBER
        case "boolean", _:
            return Kind.FLAG
    return Kind.INTEGER


def _values(feature: Feature, value: pl.Expr, zone: str) -> list[pl.Expr]:
    categories = list(feature.categories)
    filled = value.fill_null(feature.fill) if feature.fill is not None else value
    match feature.encoding:
        case "onehot":
            return [filled.eq_missing(category).cast(pl.UInt8) for category in categories]
        case "index":
            return [filled.replace_strict(categories, range(len(categories)), default=-1, return_dtype=pl.Int64)]
        case "text":
            return [filled.fill_null("") if feature.if_blank == "flag" else filled]
    # A date's replacement is in the feature's unit (days, year), so it is filled in behind the part.
    plain = _part(feature, value, zone)
    plain = plain.fill_null(0 if feature.fill is None else feature.fill) if feature.if_blank != "hold" else plain
    return [plain.cast(pl.UInt8) if feature.type == "boolean" else plain]


def _part(feature: Feature, value: pl.Expr, zone: str) -> pl.Expr:
    if feature.part is None:
        return value
    there = local(value, zone) if feature.type == "datetime" else value
    match feature.part:
        case "days_ago":
            whole = (pl.col(TODAY) - there.dt.date()).dt.total_days()
        case part:
            whole = getattr(there.dt, part)()
    return whole.cast(pl.Int64)


def _bounds(feature: Feature, dtype: str | None) -> tuple[float, float] | None:
    """The least and greatest value that the feature's input can hold; NaN and infinity lie outside of all bounds."""
    match _kind(feature), dtype:
        case Kind.NUMBER, ("float32" | "float64") as kind:
            return float(np.finfo(kind).min), float(np.finfo(kind).max)
        case Kind.NUMBER, _:
            return float(np.finfo("float64").min), float(np.finfo("float64").max)
        case Kind.INTEGER, ("int8" | "int16" | "int32" | "uint8" | "uint16" | "uint32" | "uint64") as kind:
            return int(np.iinfo(kind).min), int(np.iinfo(kind).max)
    return None

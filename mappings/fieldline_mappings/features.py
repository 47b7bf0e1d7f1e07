"""What each feature becomes: the columns it gives, the expressions that make them, and what keeps a row from having them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

import numpy as np
import polars as pl

from fieldline_mappings.document import Encoding, Feature, FeatureType

_FEW = 100
"""So many values are looked at faster by Python than by Polars."""


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
    blank: bool = False
    """Whether it is said of blank values; an error comes before that."""
    bounds: tuple[float, float] | None = None
    """The least and the greatest number, where it is said of numbers beyond them."""
    allowed: frozenset[str | float] | None = None
    """The values that it is not said of."""

    def possible(self, computed: pl.Series, value: pl.Series) -> bool:
        """Whether a row may have it, by what was computed and what the model is given: asked before its mask, which costs more."""
        if self.blank:
            return computed.null_count() > 0
        if self.allowed is not None and len(computed) <= _FEW:
            return not self.allowed.issuperset(computed.drop_nulls().to_list())
        if self.bounds is None:
            return True
        if value.dtype.is_float() and not isfinite(value.sum()):
            return True
        least, greatest = value.min(), value.max()
        return least is not None and not self.bounds[0] <= least <= greatest <= self.bounds[1]  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A feature's values and problems, as expressions over a frame where column `str(position)` holds what was computed."""

    values: tuple[pl.Expr, ...]
    without_blanks: tuple[pl.Expr, ...]
    """The same where no value is blank, in less time."""
    problems: tuple[Problem, ...]


def encoding(feature: Feature, type: FeatureType) -> Encoding | None:
    """How the categories or the text reach the model; None for plain numbers."""
    if feature.encode or type not in ("text", "integer"):
        return feature.encode
    return "onehot" if feature.categories else "text" if type == "text" else None


def columns(feature: Feature, type: FeatureType, position: int) -> tuple[Column, ...]:
    """The columns that a feature gives, in order."""
    flag = [Column(f"{feature.name}_blank", Kind.FLAG, position)] if feature.if_blank == "flag" else []
    if encoding(feature, type) == "onehot":
        own = [Column(f"{feature.name}={category}", Kind.FLAG, position) for category in feature.categories]
    else:
        own = [Column(feature.name, _kind(feature, type), position)]
    return (*own, *flag)


def encode(feature: Feature, type: FeatureType, position: int, dtypes: Mapping[str, str]) -> Encoded:
    """The feature from what was computed; `dtypes` says which of its columns fill an input of which type."""
    value = pl.col(str(position))
    blank = value.is_null()
    own = _values(feature, type, value, blanks=True)
    flag = [blank.cast(pl.UInt8)] if feature.if_blank == "flag" else []
    names = [column.name for column in columns(feature, type, position)]
    values, without_blanks = (
        tuple(expression.alias(name) for expression, name in zip([*each, *flag], names, strict=True))
        for each in (own, _values(feature, type, value, blanks=False))
    )
    return Encoded(values, without_blanks, tuple(_problems(feature, type, position, own[0], dtypes.get(feature.name))))


def where(feature: Feature) -> str:
    """What a reason begins with."""
    return f"feature {feature.name!r}" + (f": field {feature.field!r}" if feature.field else "")


def _problems(feature: Feature, type: FeatureType, position: int, own: pl.Expr, dtype: str | None) -> Iterator[Problem]:
    value, words = pl.col(str(position)), where(feature)
    if feature.if_blank == "hold":
        yield Problem(position, value.is_null(), f"{words} is blank", blank=True)
    if feature.categories and feature.if_unknown == "hold":
        unknown = ~(value.cast(pl.Int64, strict=False) if type == "integer" else value).is_in(list(feature.categories))
        reason, allowed = f"{words} is not one of its {len(feature.categories)} categories", frozenset(feature.categories)
        yield Problem(position, unknown, reason, allowed=allowed)
    yield from _checks(feature, type, position, words)
    if type == "integer" and feature.formula:
        # A number that no Int64 holds, or that is none: the bounds below would see what a cast made of it.
        yield Problem(position, ~((value == value.round(0)) & (value.abs() < 2.0**63)), f"{words} is not a whole number")
    if bounds := _bounds(_kind(feature, type), dtype):
        held = f"{words} is not a number that the model's {dtype or 'float64'} input can hold"
        yield Problem(position, ~own.is_between(*bounds), held, bounds=bounds)


def _checks(feature: Feature, type: FeatureType, position: int, words: str) -> Iterator[Problem]:
    value, check = pl.col(str(position)), feature.check
    if check.at_least is not None:
        yield Problem(position, value < check.at_least, f"{words} is less than {check.at_least:g}")
    if check.at_most is not None:
        yield Problem(position, value > check.at_most, f"{words} is more than {check.at_most:g}")
    if check.one_of:
        listed = (value if type == "text" else value.cast(pl.Float64)).is_in(list(check.one_of))
        yield Problem(position, ~listed, f"{words} is not one of the {len(check.one_of)} values allowed")
    if check.max_length is not None:
        yield Problem(position, value.str.len_chars() > check.max_length, f"{words} is longer than {check.max_length} characters")


def _kind(feature: Feature, type: FeatureType) -> Kind:
    match type, encoding(feature, type):
        case "text", "text":
            return Kind.TEXT
        case "number", _:
            return Kind.NUMBER
        case "boolean", _:
            return Kind.FLAG
    return Kind.INTEGER


def _values(feature: Feature, type: FeatureType, value: pl.Expr, *, blanks: bool) -> list[pl.Expr]:
    categories = list(feature.categories)
    value = value.cast(pl.Int64, strict=False) if type == "integer" and categories else value
    filled = value.fill_null(feature.fill) if blanks and feature.fill is not None else value
    match encoding(feature, type):
        case "onehot":
            return [filled.eq_missing(category).cast(pl.UInt8) for category in categories]
        case "index":
            return [filled.replace_strict(categories, range(len(categories)), default=-1, return_dtype=pl.Int64)]
        case "text":
            return [filled.fill_null("") if blanks and feature.if_blank == "flag" else filled]
    plain = value.fill_null(0 if feature.fill is None else feature.fill) if blanks and feature.if_blank != "hold" else value
    plain = plain.clip(*feature.clip) if feature.clip else plain
    if type == "boolean":
        return [plain.cast(pl.UInt8)]
    return [plain.cast(pl.Int64, strict=False)] if type == "integer" else [plain]


def _bounds(kind: Kind, dtype: str | None) -> tuple[float, float] | None:
    """The least and greatest value that the feature's input can hold; NaN and infinity lie outside of all bounds."""
    match kind, dtype:
        case Kind.NUMBER, ("float32" | "float64") as wide:
            return float(np.finfo(wide).min), float(np.finfo(wide).max)
        case Kind.NUMBER, _:
            return float(np.finfo("float64").min), float(np.finfo("float64").max)
        case Kind.INTEGER, ("int8" | "int16" | "int32" | "uint8" | "uint16" | "uint32" | "uint64") as whole:
            return int(np.iinfo(whole).min), int(np.iinfo(whole).max)
    return None

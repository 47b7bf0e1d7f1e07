"""Aggregates over the child rows of a record: one value from the rows that meet a condition.

A blank value is left out; a value or condition that cannot be computed makes the aggregate one that cannot. Sums are made row by
record, each by itself, so that a record's features are the same alone and among thousands.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldline_mappings.formula.types import Type

_ORDERED = frozenset({Type.NUMBER, Type.DATE, Type.DATETIME, Type.TIME})
_SINGLE = _ORDERED | {Type.TEXT, Type.BOOLEAN}


@dataclass(frozen=True, slots=True)
class Groups:
    """The chosen child rows of `count` records, in the order of the records: `record[i]` is the record of row i."""

    count: int
    record: NDArray[np.int64]

    def take(self, chosen: NDArray[np.bool_]) -> "Groups":
        """Some of the rows."""
        return Groups(self.count, self.record[chosen])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many rows each record has."""
        return np.bincount(self.record, minlength=self.count)

    def reduce(self, ufunc: np.ufunc, values: NDArray[np.generic]) -> tuple[NDArray[np.bool_], NDArray[np.generic]]:
        """Which records have rows, and for these the values of their rows, reduced."""
        filled = self.sizes > 0
        starts = np.concatenate(([0], np.cumsum(self.sizes)[:-1]))[filled]
        # A sum beyond what a number holds is infinite, and cannot be computed from then on.
        with np.errstate(over="ignore", invalid="ignore"):
            return filled, ufunc.reduceat(values, starts) if len(values) else values[:0]


Reduce = Callable[[pl.Series, pl.Series | None, Groups], pl.Series]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A function over a list: what it takes of the rows, in which order, and what it gives."""

    name: str
    values: int
    """How many arguments come before the condition: the value, and what orders the rows."""
    takes: frozenset[Type]
    orders: frozenset[Type]
    returns: Type | None
    """The result's type; None: the value's."""
    usage: str
    about: str
    example: str
    """A formula over the record of EXAMPLE."""
    gives: str
    """What the example gives, as text."""
    reduce: Reduce


AGGREGATES: dict[str, Aggregate] = {}
EXAMPLE = {
    "Orders": (
        {"amount": 30, "placed": "2024-01-10", "state": "paid"}, {"amount": 50, "placed": "2024-02-20", "state": "open"},
        {"amount": 40, "placed": "2024-03-05", "state": "paid"},
    )
}  # fmt: skip
"""The record that all examples are answered for."""


def _aggregate(
    name: str, takes: frozenset[Type], returns: Type | None, usage: str, about: str, example: str, gives: str, *,
    ordered: bool = False,
) -> Callable[[Reduce], Reduce]:  # fmt: skip
    def declare(reduce: Reduce) -> Reduce:
        values = 2 if ordered else 1
        AGGREGATES[name] = Aggregate(name, values, takes, _ORDERED, returns, usage, about, example, gives, reduce)
        return reduce

    return declare


def _known(values: pl.Series, groups: Groups) -> tuple[NDArray[np.generic], Groups]:
    chosen = values.is_not_null().to_numpy()
    return values.filter(values.is_not_null()).to_physical().to_numpy(), groups.take(chosen)


def _spread(filled: NDArray[np.bool_], values: NDArray[np.generic], default: float | None, dtype: pl.DataType) -> pl.Series:
    """The values at the records that have rows, and the default at the others."""
    whole = np.zeros(len(filled), values.dtype if len(values) else np.float64)
    whole[filled] = values
    series = pl.Series(whole)
    series = series.cast(pl.Int64).cast(dtype) if dtype.is_temporal() else series.cast(dtype)
    return series if default == 0.0 else series.zip_with(pl.Series(filled), pl.Series([None], dtype=dtype))


@_aggregate("COUNT", _SINGLE | {Type.ROWS}, Type.NUMBER, "COUNT(list, [condition])",
            "How many child rows meet the condition; COUNT(list.field) counts those where the field is not blank.",
            'COUNT(Orders, state = "paid")', "2")  # fmt: skip
def _count(values: pl.Series, order: pl.Series | None, groups: Groups) -> pl.Series:
    return pl.Series(groups.take(values.is_not_null().to_numpy()).sizes).cast(pl.Float64)


@_aggregate("SUM", frozenset({Type.NUMBER}), Type.NUMBER, "SUM(list.number, [condition])",
            "The sum of a number over the child rows; 0 where there are none.",
            'SUM(Orders.amount, state = "paid")', "70")  # fmt: skip
def _sum(values: pl.Series, order: pl.Series | None, groups: Groups) -> pl.Series:
    known, chosen = _known(values, groups)
    return _spread(*chosen.reduce(np.add, known), 0.0, pl.Float64())


@_aggregate("AVG", frozenset({Type.NUMBER}), Type.NUMBER, "AVG(list.number, [condition])",
            "The mean of a number over the child rows; blank where there are none.",
            "AVG(Orders.amount)", "40")  # fmt: skip
def _avg(values: pl.Series, order: pl.Series | None, groups: Groups) -> pl.Series:
    known, chosen = _known(values, groups)
    filled, sums = chosen.reduce(np.add, known)
    return _spread(filled, np.asarray(sums, np.float64) / chosen.sizes[filled], None, pl.Float64())


@_aggregate("STDDEV", frozenset({Type.NUMBER}), Type.NUMBER, "STDDEV(list.number, [condition])",
            "The sample standard deviation of a number over the child rows; blank for fewer than two.",
            "STDDEV(Orders.amount)", "10")  # fmt: skip
def _stddev(values: pl.Series, order: pl.Series | None, groups: Groups) -> pl.Series:
    known, chosen = _known(values, groups)
    filled, sums = chosen.reduce(np.add, known)
    sizes = chosen.sizes
    means = np.zeros(groups.count)
    means[filled] = np.asarray(sums, np.float64) / sizes[filled]
    with np.errstate(over="ignore", invalid="ignore"):
        deviations = np.square(np.asarray(known, np.float64) - means[chosen.record])
    _, squares = chosen.reduce(np.add, deviations)
    several = sizes > 1
    return _spread(several, np.sqrt(np.asarray(squares, np.float64)[several[filled]] / (sizes[several] - 1)), None, pl.Float64())


@_aggregate("MIN", _ORDERED, None, "MIN(list.field, [condition])",
            "The smallest or earliest value over the child rows; blank where there are none.",
            "MIN(Orders.amount)", "30")  # fmt: skip
def _min(values: pl.Series, order: pl.Series | None, groups: Groups) -> pl.Series:
    known, chosen = _known(values, groups)
    return _spread(*chosen.reduce(np.minimum, known), None, values.dtype)


@_aggregate("MAX", _ORDERED, None, "MAX(list.field, [condition])",
            "The greatest or latest value over the child rows; blank where there are none.",
            "MAX(Orders.placed)", "2024-03-05")  # fmt: skip
def _max(values: pl.Series, order: pl.Series | None, groups: Groups) -> pl.Series:
    known, chosen = _known(values, groups)
    return _spread(*chosen.reduce(np.maximum, known), None, values.dtype)


@_aggregate("FIRST", _SINGLE, None, "FIRST(list.field, list.date, [condition])",
            "The field of the child row that comes first by another field; a row where that one is blank is left out.",
            "FIRST(Orders.state, Orders.placed)", "paid", ordered=True)  # fmt: skip
def _first(values: pl.Series, order: pl.Series | None, groups: Groups) -> pl.Series:
    return _pick(values, order, groups, last=False)


@_aggregate("LATEST", _SINGLE, None, "LATEST(list.field, list.date, [condition])",
            "The field of the child row that comes last by another field; a row where that one is blank is left out.",
            "LATEST(Orders.amount, Orders.placed)", "40", ordered=True)  # fmt: skip
def _latest(values: pl.Series, order: pl.Series | None, groups: Groups) -> pl.Series:
    return _pick(values, order, groups, last=True)


def _pick(values: pl.Series, order: pl.Series | None, groups: Groups, *, last: bool) -> pl.Series:
    assert order is not None
    ranked = order.is_not_null()
    chosen = groups.take(ranked.to_numpy())
    by = order.filter(ranked).to_physical().to_numpy()
    # Stable: of rows that are equally late, the first or the last in the list.
    sorted_rows = np.lexsort((by, chosen.record))
    sizes = chosen.sizes
    ends = np.cumsum(sizes)
    places = (ends - 1 if last else ends - sizes)[sizes > 0]
    picked = values.filter(ranked).gather(pl.Series(sorted_rows[places], dtype=pl.UInt32))
    index = np.full(groups.count, -1, np.int64)
    index[sizes > 0] = np.arange(len(places))
    if not len(picked):
        return pl.Series([None] * groups.count, dtype=values.dtype)
    return picked.gather(pl.Series(index).replace(-1, None))

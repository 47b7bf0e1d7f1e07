"""What differs between the evidence of decisions and the same decisions made again, value by value."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from fieldline_core.lines import PARTS

TOLERANCE = 1e-6
"""How far a fraction that came out of a model may be off, relative to itself: the noise of float32."""
_EXACT, _COMPARED = "feature", ("feature", "output", "field", "held")


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not what it was; `part` is `features`, `outputs`, `fields`, `held`, `header` or `runtime`."""

    part: str
    name: str
    then: Any
    now: Any


def differing_facts(part: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    """The facts that differ between two headers, or parts of them."""
    for name in dict.fromkeys([*then, *now]):
        if then.get(name) != now.get(name):
            yield Difference(part, name, then.get(name), now.get(name))


def differing_values(then: pl.DataFrame, now: pl.DataFrame) -> dict[int, list[Difference]]:
    """For each row what differs: features to the bit, fractions among outputs and fields by more than the tolerance, others at all.

    Both are frames of evidence with the same rows. A column that is missing says the same as one without values.
    """
    found: dict[int, list[Difference]] = {}
    for name in dict.fromkeys([*then.columns, *now.columns]):
        prefix, _, member = name.partition(".")
        if prefix not in _COMPARED:
            continue
        one, other = (frame[name] if name in frame.columns else _nothing(frame.height) for frame in (then, now))
        typed = pl.Null not in (one.dtype, other.dtype) and one.dtype != other.dtype
        for row in _differs(one, other, exact=prefix == _EXACT).arg_true().to_list():
            values = (f"{_plain(each[row])} ({each.dtype})" if typed else _plain(each[row]) for each in (one, other))
            found.setdefault(row, []).append(Difference(PARTS[prefix], member, *values))
    return found


def _differs(then: pl.Series, now: pl.Series, *, exact: bool) -> pl.Series:
    blank, other_blank = then.is_null(), now.is_null()
    if pl.Null in (then.dtype, now.dtype):
        return blank != other_blank
    if then.dtype != now.dtype:
        # A value of another type is another value; a blank is one in any type.
        return ~(blank & other_blank)
    if not then.dtype.is_float():
        return then.ne_missing(now)
    numbers, others = then.to_numpy(), now.to_numpy()
    alike = _same_bits(numbers, others) if exact else np.isclose(numbers, others, rtol=TOLERANCE, atol=0, equal_nan=True)
    return (blank != other_blank) | ~pl.Series(alike)


def _same_bits(then: Any, now: Any) -> Any:
    bits = f"u{then.dtype.itemsize}"
    return (then.view(bits) == now.view(bits)) | (np.isnan(then) & np.isnan(now))


def _nothing(rows: int) -> pl.Series:
    return pl.repeat(None, rows, dtype=pl.Null, eager=True)


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)

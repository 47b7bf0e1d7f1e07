"""Images: what the writes on a record replaced and left behind, as the evidence has it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from math import isclose
from typing import Any, TypeAlias

import polars as pl

from fieldline_core.evidence import Envelope, unseal
from fieldline_core.keyring import Keyring
from fieldline_core.receipts import Outcome
from fieldline_core.store import Row

Values: TypeAlias = Mapping[str, Any]
"""Field of the target -> its value."""
_CLOSE = 1e-6
_AT_ONCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Image:
    """One write on one record: the values before it and after it; those before are None where they were not read."""

    chunk: int
    before: Values | None
    after: Values
    undo: bool = False
    """Whether it put back what an earlier write had replaced."""


@dataclass(frozen=True, slots=True)
class Written:
    """All writes of one step on the records of a chunk, by key and in their order, and the types of their columns."""

    images: Mapping[str, Sequence[Image]]
    answered: Mapping[str, str]
    """What the target answered last to the write itself, by key."""
    before: Mapping[str, pl.DataType]
    after: Mapping[str, pl.DataType]


def written(keyring: Keyring, chunk_id: int, stored: Iterable[Row], step: str, fields: Mapping[str, str]) -> Written:
    """What a write step wrote of a chunk, from all evidence of it; `fields` are those of the target and what fills each."""
    decided, images, answered, before = None, dict[str, list[Image]](), dict[str, str](), dict[str, pl.DataType]()
    for row in stored:
        envelope = unseal(keyring, row)
        if row["kind"] == "decisions":
            decided = envelope.frame
        elif envelope.header["write"] == step and decided is not None:
            if "undo" not in envelope.header:
                answered |= dict(envelope.frame.select("key", "outcome").drop_nulls().iter_rows())
            before |= {name: kind for name in fields if (kind := envelope.frame.schema.get(f"before.{name}")) is not None}
            for key, image in _images(chunk_id, envelope, decided, fields):
                images.setdefault(key, []).append(image)
    after = {} if decided is None else {name: decided.schema[f"field.{source}"] for name, source in fields.items()}
    return Written(images, answered, before, after)


def _images(chunk_id: int, receipts: Envelope, decided: pl.DataFrame, fields: Mapping[str, str]) -> Iterable[tuple[str, Image]]:
    frame = receipts.frame.filter(pl.col("outcome") == Outcome.WRITTEN, pl.col("key").is_not_null())
    undo = "undo" in receipts.header
    old = [f"before.{name}" for name in fields]
    befores = _rows(frame, old, fields) if set(old) <= set(frame.columns) else [None] * frame.height
    if undo:
        afters = _rows(frame, [f"field.{name}" for name in fields], fields)
    else:
        source = decided.select("key", *(pl.col(f"field.{each}").alias(f"field.{name}") for name, each in fields.items()))
        joined = frame.select("key").join(source, on="key", how="left", maintain_order="left")
        afters = _rows(joined, [f"field.{name}" for name in fields], fields)
    for key, before, after in zip(frame["key"], befores, afters, strict=True):
        yield key, Image(chunk_id, before, after, undo)


def _rows(frame: pl.DataFrame, columns: Sequence[str], names: Iterable[str]) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in frame.select(columns).iter_rows()]


def standing(images: Iterable[Image]) -> list[Image]:
    """The writes on one record that were not put back, the oldest first."""
    stack: list[Image] = []
    for image in images:
        if not image.undo:
            stack.append(image)
            continue
        # An undo took back the writes down to the one that had found what it put back.
        while stack and not same(stack.pop().before, image.after):
            pass
    return stack


def same(one: Values | None, other: Values | None) -> bool:
    """Whether two images hold the same values, though a system may have rounded or padded one of them."""
    if one is None or other is None:
        return False
    return one.keys() == other.keys() and all(same_value(value, other[name]) for name, value in one.items())


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are one, for a system that keeps fewer digits or pads its texts."""
    if one is None or other is None:
        return one is other
    if isinstance(one, datetime) and isinstance(other, datetime):
        return _seconds_apart(one, other) < _AT_ONCE_S
    texts = isinstance(one, str) and isinstance(other, str)
    first, second = (None, None) if texts else (_number(one), _number(other))
    if first is None or second is None:
        return str(one).rstrip() == str(other).rstrip()
    # A float has all the digits that it has; what is exact says how many its system keeps.
    kept = [number.as_tuple().exponent for number, value in ((first, one), (second, other)) if isinstance(value, Decimal | str)]
    places = [exponent for exponent in kept if isinstance(exponent, int)]
    rounded = bool(places) and abs(first - second) <= Decimal(5).scaleb(min(places) - 1)
    return rounded or isclose(first, second, rel_tol=_CLOSE)


def _seconds_apart(one: datetime, other: datetime) -> float:
    return abs((one.replace(tzinfo=None) - other.replace(tzinfo=None)).total_seconds())


def _number(value: Any) -> Decimal | None:
    if not isinstance(value, int | float | Decimal | str):
        return None
    try:
        number = Decimal(str(int(value) if isinstance(value, bool) else value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None

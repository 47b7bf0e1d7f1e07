"""The lines of a batch's evidence: one JSON text for each row, which its commitment in the log stands for.

A line is made anew from the stored frame whenever it is asked for, so it has to come out the same for ever: lines of version 1 are
written as `tests/unit/test_lines.py` spells them out, value by value.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import polars as pl

VERSION = 1
SALT_BYTES = 16
PARTS = {
    "source": "source", "feature": "features", "output": "outputs", "field": "fields", "held": "held", "before": "before",
}  # fmt: skip
"""Column `feature.x` of a batch's frame is the member `x` of `features` in a line; columns without a dot are members themselves."""
FAR_DAYS = 73_000_000
"""Dates and times further than this from 1970, about 200,000 years, are null in a line."""
_PER_DAY = {"ms": 86_400_000, "us": 86_400_000_000}
_COLUMN = pl.col("value")


def header_line(header: Mapping[str, Any]) -> bytes:
    """The line of what is said of the batch as a whole."""
    return json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def row_lines(frame: pl.DataFrame) -> list[bytes]:
    """The line of each row."""
    members: dict[str, dict[str, pl.Series]] = {}
    for column in frame.get_columns():
        part, dot, member = column.name.partition(".")
        members.setdefault(PARTS[part] if dot else column.name, {})[member] = _shown(column)
    # Put together from columns, not by expressions: those cost one row ten times as much.
    values = {part: each[""] if part in frame.columns else pl.DataFrame(each).to_struct() for part, each in members.items()}
    lines = pl.DataFrame(values).to_struct().struct.json_encode()
    return [line.encode() for line in lines.to_list()]


def _shown(column: pl.Series) -> pl.Series:
    if column.dtype.is_object():
        raise TypeError(f"the column {column.name!r} holds Python objects, which no line can hold")
    shown = _plain(_COLUMN, column.dtype)
    return column if shown is _COLUMN else column.alias(_COLUMN.meta.output_name()).to_frame().select(shown).to_series()


def _plain(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The value without what Polars panics at (bytes, far dates) and without time zones, as their rules change; mostly as it is."""
    if isinstance(dtype, pl.Binary):
        return value.bin.encode("hex")
    if isinstance(dtype, pl.Struct):
        return _plain_members(value, dtype)
    if isinstance(dtype, pl.List | pl.Array):
        element = pl.element()
        plain = _plain(element, dtype.inner)  # type: ignore[arg-type]
        items = value.arr.to_list() if isinstance(dtype, pl.Array) else value
        return value if plain is element else items.list.eval(plain)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        value = value.dt.convert_time_zone("UTC")
    if isinstance(dtype, pl.Date):
        return _near(value, FAR_DAYS)
    # What counts nanoseconds cannot say anything that is far.
    if isinstance(dtype, pl.Datetime | pl.Duration) and dtype.time_unit in _PER_DAY:
        return _near(value, FAR_DAYS * _PER_DAY[dtype.time_unit])
    return value


def _plain_members(value: pl.Expr, dtype: pl.Struct) -> pl.Expr:
    # By numbers, as a name may be one that Polars takes for a pattern.
    numbered = value.struct.rename_fields([str(number) for number in range(len(dtype.fields))])
    given = [numbered.struct.field(str(number)) for number in range(len(dtype.fields))]
    plain = [_plain(member, field.dtype) for member, field in zip(given, dtype.fields, strict=True)]  # type: ignore[arg-type]
    if all(one is other for one, other in zip(given, plain, strict=True)):
        return value
    named = [member.alias(field.name) for member, field in zip(plain, dtype.fields, strict=True)]
    return pl.when(value.is_not_null()).then(pl.struct(named))


def _near(value: pl.Expr, most: int) -> pl.Expr:
    return pl.when(value.to_physical().is_between(-most, most)).then(value)


def leaf_hashes(salts: bytes, lines: Sequence[bytes]) -> list[bytes]:
    """The commitment of each line: the hash of a leaf (RFC 6962) of its salt of 16 bytes and the line."""
    salted = zip(range(0, len(salts), SALT_BYTES), lines, strict=True)
    return [sha256(b"\x00" + salts[start : start + SALT_BYTES] + line).digest() for start, line in salted]

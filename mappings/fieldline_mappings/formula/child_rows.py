"""Lists of child rows as frames of their own: a list column of structs, or the text of a JSON array of objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import polars as pl

from fieldline_core.pipeline.records import scalar_text, value_at


@dataclass(frozen=True, slots=True)
class ChildRows:
    """The rows of all lists of a frame, one after another: `record[i]` is the position of row i's record (UInt32).

    `broken` marks the records whose list is none; it is None where there is no such record.
    """

    frame: pl.DataFrame
    record: pl.Series
    broken: pl.Series | None = None


def child_schema(dtype: pl.DataType | None, fields: Sequence[str]) -> Mapping[str, pl.DataType]:
    """The columns of the child rows; the fields of a JSON list are texts."""
    if isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Struct):
        return pl.Schema(dtype.inner.to_schema())
    return dict.fromkeys(fields, pl.String()) if dtype == pl.String else {}


def explode(frame: pl.DataFrame, name: str, fields: Sequence[str]) -> ChildRows:
    """The child rows of a list column; a record without a list has none."""
    dtype = frame.schema.get(name)
    if dtype == pl.String:
        return _from_json(frame[name], fields)
    if not (isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Struct)):
        absent = dtype in (None, pl.Null) or isinstance(dtype, pl.List)
        return _rows_of(pl.DataFrame(), pl.Series([], dtype=pl.UInt32), None if absent else frame[name].is_not_null())
    sizes = frame[name].list.len().fill_null(0)
    record = pl.Series(np.repeat(np.arange(frame.height, dtype=np.uint32), sizes.to_numpy()))
    return _rows_of(frame[name].filter(sizes > 0).explode().struct.unnest(), record)


def _from_json(lists: pl.Series, fields: Sequence[str]) -> ChildRows:
    columns: dict[str, list[str | None]] = {field: [] for field in fields}
    record: list[int] = []
    broken: list[int] = []
    for position, text in enumerate(lists):
        rows = _rows(text)
        if rows is None:
            broken.append(position)
            continue
        for row in rows:
            record.append(position)
            for field in fields:
                columns[field].append(_text(value_at(row, field)))
    mask = pl.repeat(False, len(lists), eager=True).scatter(broken, True) if broken else None
    frame = pl.DataFrame(columns, schema=dict.fromkeys(fields, pl.String()))
    return _rows_of(frame, pl.Series(record, dtype=pl.UInt32), mask)


def _rows_of(frame: pl.DataFrame, record: pl.Series, broken: pl.Series | None = None) -> ChildRows:
    # A frame without a column has no rows, however many there are to count.
    return ChildRows(pl.DataFrame([*frame.get_columns(), record.alias("record:")]), record, broken)


def _rows(text: str | None) -> list[Mapping[str, Any]] | None:
    """The objects of a JSON array; None where it is none."""
    if not text:
        return []
    try:
        found = orjson.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, list) and all(isinstance(row, Mapping) for row in found) else None


def _text(value: Any) -> str | None:
    try:
        return scalar_text(value)
    except ValueError:
        # A list or an object where one value is expected: no type reads this.
        return orjson.dumps(value).decode()

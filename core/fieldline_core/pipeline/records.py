"""JSON records of events, and rows that people edit, as batches."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from fieldline_core.batch import Batch
from fieldline_core.ports import Wanted
from fieldline_core.schema import FieldType


def value_at(record: Mapping[str, Any], path: str) -> Any:
    """The value at a path such as `customer.tier`, or None; a field whose own name has the dots wins."""
    if path in record:
        return record[path]
    value: Any = record
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def scalar_text(value: Any) -> str | None:
    """A JSON scalar as text, exact; raises ValueError for a list or an object."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return json.dumps(value)
    raise ValueError("is not a single value")


def rows_text(value: Any) -> str | None:
    """A list of child rows as JSON; raises ValueError where it is no list of objects."""
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
        raise ValueError("is not a list of rows")
    return json.dumps(value)


def batch_of(records: Sequence[tuple[str, Mapping[str, Any]]], fields: Wanted) -> tuple[Batch, dict[int, str]]:
    """Records under their keys as text columns (lists of child rows as JSON), and the rows with a field that is not one value."""
    held: dict[int, str] = {}
    columns: dict[str, list[str | None]] = {}
    for field, type in fields.items():
        text = scalar_text if isinstance(type, FieldType) else rows_text
        column: list[str | None] = []
        for row, (_, record) in enumerate(records):
            try:
                column.append(text(value_at(record, field)))
            except ValueError as error:
                held.setdefault(row, f"the field {field} {error}")
                column.append(None)
        columns[field] = column
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String()))
    return Batch.of([key for key, _ in records], frame), held

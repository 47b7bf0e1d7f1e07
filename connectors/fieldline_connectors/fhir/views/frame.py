"""Rows of a view as the columns of a batch."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import polars as pl

from fieldline_connectors.fhir.views.compiler import Row, ViewColumn
from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.schema import POLARS_TYPES, FieldType

TYPES: dict[str, FieldType] = {
    "boolean": FieldType.BOOLEAN, "integer": FieldType.INTEGER, "positiveInt": FieldType.INTEGER, "unsignedInt": FieldType.INTEGER,
    "integer64": FieldType.INTEGER, "decimal": FieldType.NUMBER, "date": FieldType.DATE, "dateTime": FieldType.DATETIME,
    "instant": FieldType.DATETIME, "time": FieldType.TIME,
}  # fmt: skip
"""The type of a column by its FHIR type; all others are texts, and what has elements of its own is its JSON."""
VALUE = "value"
"""The field of a list's rows, for a column with `collection: true`."""


class Partial(StrEnum):
    """What a date that is written without its month or day becomes in a date's column."""

    BLANK = "blank"
    REFUSE = "refuse"


class FrameMaker:
    """Makes frames of a view's rows; `zone` is that of date-times without one."""

    def __init__(self, columns: Sequence[ViewColumn], zone: str = "UTC", partial: Partial = Partial.BLANK) -> None:
        self._columns = [(column, _reading(column, ZoneInfo(zone), partial)) for column in columns]
        self.types: dict[str, FieldType | dict[str, FieldType]] = {
            column.name: {VALUE: _type(column)} if column.collection else _type(column) for column in columns
        }
        """The columns' types, in their order."""

    def frame(self, rows: Sequence[Row]) -> pl.DataFrame:
        """The rows as a frame; raises Misconfigured where a value is not of its column's type."""
        values = zip(*rows, strict=True) if rows else ((),) * len(self._columns)
        return pl.DataFrame([self._series(*column, cells) for column, cells in zip(self._columns, values, strict=True)])

    def _series(self, column: ViewColumn, read: Callable[[Any], Any], cells: Sequence[Any]) -> pl.Series:
        type_ = POLARS_TYPES[_type(column)]
        try:
            if not column.collection:
                return pl.Series(column.name, [None if cell is None else read(cell) for cell in cells], type_)
            lists = [None if cell is None else [{VALUE: read(one)} for one in cell] for cell in cells]
            return pl.Series(column.name, lists, pl.List(pl.Struct({VALUE: type_})))
        except (TypeError, ValueError, OverflowError):
            said = "" if column.type in TYPES else f" (as {column.type})"
            raise Misconfigured(
                f"the column {column.name} holds values that are no {_type(column)}{said}: correct its `type` in the view"
            ) from None


def _type(column: ViewColumn) -> FieldType:
    return TYPES.get(column.type, FieldType.TEXT)


def _reading(column: ViewColumn, zone: ZoneInfo, partial: Partial) -> Callable[[Any], Any]:
    def precise(cell: str) -> bool:
        if len(cell) < 10 and partial is Partial.REFUSE:
            raise Rejected(f"the column {column.name} holds a date without its month or day: write .lowBoundary() in its path")
        return len(cell) >= 10

    def day(cell: Any) -> date | None:
        return date.fromisoformat(cell) if precise(cell) else None

    def moment(cell: Any) -> datetime | None:
        if not precise(cell):
            return None
        found = datetime.fromisoformat(cell)
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC).replace(tzinfo=None)

    readers: dict[FieldType, Callable[[Any], Any]] = {
        FieldType.BOOLEAN: _boolean, FieldType.INTEGER: _integer, FieldType.NUMBER: _number, FieldType.DATE: day,
        FieldType.DATETIME: moment, FieldType.TIME: time.fromisoformat, FieldType.TEXT: _text,
    }  # fmt: skip
    return readers[_type(column)]


def _boolean(cell: Any) -> bool:
    if type(cell) is not bool:
        raise TypeError
    return cell


def _integer(cell: Any) -> int:
    if isinstance(cell, bool) or (isinstance(cell, float) and not cell.is_integer()):
        raise TypeError
    return int(cell)


def _number(cell: Any) -> float:
    if isinstance(cell, bool):
        raise TypeError
    return float(cell)


def _text(cell: Any) -> str:
    if isinstance(cell, str):
        return str(cell)
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return msgspec.json.encode(cell).decode() if isinstance(cell, dict | list) else repr(cell + 0)

"""Records as Salesforce sends them, in JSON or CSV, as typed columns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import polars as pl

from fieldline_core.batch import Batch
from fieldline_core.schema import POLARS_TYPES, FieldType


@dataclass(frozen=True, slots=True)
class Column:
    """A field on its way into a batch: `name` as it was asked for, `path` as Salesforce spells it."""

    name: str
    path: str
    type: FieldType

    def series(self, values: Sequence[Any]) -> pl.Series:
        """The values in the column's type; an empty text is none."""
        read = _READERS[self.type]
        return pl.Series(self.name, [None if value in (None, "") else read(value) for value in values], POLARS_TYPES[self.type])


@dataclass(frozen=True, slots=True)
class ListColumn:
    """The rows of a relationship on their way into a batch."""

    name: str
    relationship: str
    columns: tuple[Column, ...]

    def series(self, lists: Sequence[Sequence[Mapping[str, Any]] | None]) -> pl.Series:
        """For each record its rows; none where it has none."""
        flat = [row for rows in lists for row in rows or ()]
        frame = pl.DataFrame([column.series([at(row, column.path) for row in flat]) for column in self.columns])
        structs = iter(frame.to_struct("row").to_list() if self.columns else [{}] * len(flat))
        dtype = pl.List(pl.Struct({column.name: POLARS_TYPES[column.type] for column in self.columns}))
        return pl.Series(self.name, [[next(structs) for _ in rows] if rows else None for rows in lists], dtype)


def at(record: Mapping[str, Any], path: str) -> Any:
    """The value at a relationship path such as `Account.Industry`; None where the record points to nothing."""
    if path in record:
        return record[path]
    value: Any = record
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def batch(
    records: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    columns: Sequence[Column],
    lists: Sequence[ListColumn] = (),
    rest: Callable[[Mapping[str, Any]], list[dict[str, Any]]] | None = None,
) -> Batch:
    """The records as a batch; `rest` gives all rows of a subquery's answer."""
    series = [column.series([at(record, column.path) for record in records]) for column in columns]
    for column in lists:
        answers = [record.get(column.relationship) for record in records]
        series.append(column.series([rest(answer) if answer and rest else None for answer in answers]))
    return Batch.of(list(keys), pl.DataFrame(series))


def moment(text: str) -> datetime:
    """A date-time as Salesforce writes it, `2026-11-20T14:28:52.000+0000` or with Z, in UTC without a zone."""
    parsed = datetime.fromisoformat(text)
    return parsed.astimezone(UTC).replace(tzinfo=None) if parsed.tzinfo else parsed


def _number(value: Any) -> float:
    return float(value)


def _integer(value: Any) -> int:
    return int(Decimal(str(value)))


def _boolean(value: Any) -> bool:
    return value if isinstance(value, bool) else str(value).lower() in ("true", "1")


def _time(value: Any) -> time:
    return time.fromisoformat(str(value).removesuffix("Z"))


_READERS: Mapping[FieldType, Callable[[Any], Any]] = {
    FieldType.TEXT: str,
    FieldType.NUMBER: _number,
    FieldType.INTEGER: _integer,
    FieldType.BOOLEAN: _boolean,
    FieldType.DATE: lambda value: date.fromisoformat(str(value)[:10]),
    FieldType.DATETIME: lambda value: moment(str(value)),
    FieldType.TIME: _time,
}

"""The first and the last moment, or number, that an imprecise value may stand for."""

import calendar
from decimal import Decimal
from typing import Any

from fieldline_connectors.fhir.path.tree import PathError
from fieldline_connectors.fhir.path.values import Parts, Temporal, Written, is_number, parts_of


def boundary(value: Any, type: str | None, *, high: bool) -> Any:
    """The boundary of one value; `type` is its FHIR type where the expression tells it. None where there is none."""
    if isinstance(value, dict):
        return _period(value, high=high)
    if is_number(value):
        return _decimal(value, high=high)
    parts = parts_of(value) if isinstance(value, str) else None
    if parts is None:
        raise PathError("lowBoundary() and highBoundary() are for numbers, dates, times and periods")
    if parts.is_time:
        return Temporal(_time(parts.numbers, high=high))
    return Temporal(_date_time(value, parts, type, high=high))


def _period(value: dict[str, Any], *, high: bool) -> Any:
    end = value.get("end" if high else "start")
    return None if end is None else boundary(end, "dateTime", high=high)


def _decimal(value: float, *, high: bool) -> float:
    exact = Decimal(value.text if isinstance(value, Written) else repr(value))
    exponent = exact.as_tuple().exponent
    half = Decimal(5).scaleb(int(exponent) - 1)
    return float(exact + half if high else exact - half)


def _date_time(text: str, parts: Parts, type: str | None, *, high: bool) -> str:
    year, month, day = [*map(int, parts.numbers), *((12, 31) if high else (1, 1))[len(parts.numbers) - 1 :]][:3]
    if high and len(parts.numbers) < 3:
        day = calendar.monthrange(year, month)[1]
    date = f"{year:04d}-{month:02d}-{day:02d}"
    if type == "date":
        return date
    zone = text[-6:] if parts.offset is not None and not text.endswith("Z") else "Z" if parts.offset == 0 else ""
    return f"{date}T{_time(parts.numbers[3:], high=high)}{zone or ('-12:00' if high else '+14:00')}"


def _time(numbers: tuple[Decimal, ...], *, high: bool) -> str:
    hour, minute = [*map(int, numbers), *((23, 59) if high else (0, 0))[len(numbers) :]][:2]
    second = str(numbers[2]) if len(numbers) > 2 else "59" if high else "0"
    whole, _, fraction = second.partition(".")
    return f"{hour:02d}:{minute:02d}:{int(whole):02d}.{fraction[:3].ljust(3, '9' if high else '0')}"

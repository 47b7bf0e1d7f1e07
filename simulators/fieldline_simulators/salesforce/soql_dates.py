"""Date literals such as LAST_N_DAYS:30: each means a range of days, in UTC."""

import re
from collections.abc import Callable
from datetime import date, timedelta

_NAMED = re.compile(r"(LAST|THIS|NEXT)_(?:FISCAL_)?(WEEK|MONTH|QUARTER|YEAR)")
_COUNTED = re.compile(r"(LAST|NEXT)_N_(?:FISCAL_)?(DAY|WEEK|MONTH|QUARTER|YEAR)S:(\d{1,4})")
_AGO = re.compile(r"N_(?:FISCAL_)?(DAY|WEEK|MONTH|QUARTER|YEAR)S_AGO:(\d{1,4})")
_OFFSETS = {"LAST": -1, "THIS": 0, "NEXT": 1}


def days_of(literal: str, today: date) -> tuple[date, date] | None:
    """The first day of the range and the first behind it; None where the literal is not one, or leaves the calendar."""
    try:
        return _days_of(literal, today)
    except (ValueError, OverflowError):
        return None


def _days_of(literal: str, today: date) -> tuple[date, date] | None:
    single = {"YESTERDAY": -1, "TODAY": 0, "TOMORROW": 1}.get(literal)
    if single is not None:
        return _span("DAY", today, single, single + 1)
    if literal in ("LAST_90_DAYS", "NEXT_90_DAYS"):
        literal = literal.replace("90", "N") + ":90"
    if match := _NAMED.fullmatch(literal):
        offset = _OFFSETS[match[1]]
        return _span(match[2], today, offset, offset + 1)
    if match := _COUNTED.fullmatch(literal):
        return _counted(match[1], match[2], int(match[3]), today)
    if match := _AGO.fullmatch(literal):
        return _span(match[1], today, -int(match[2]), 1 - int(match[2]))
    return None


def _counted(which: str, unit: str, count: int, today: date) -> tuple[date, date]:
    if which == "NEXT":
        return _span(unit, today, 1, count + 1)
    # The last n days include today; the last n weeks, months, quarters and years end before the present one.
    return _span(unit, today, -count, 1 if unit == "DAY" else 0)


def _span(unit: str, today: date, first: int, behind: int) -> tuple[date, date]:
    begin = _BEGINS[unit]
    return begin(today, first), begin(today, behind)


def _week(today: date, offset: int) -> date:
    # A week begins on Sunday.
    return today - timedelta(days=(today.weekday() + 1) % 7) + timedelta(weeks=offset)


def _months(today: date, offset: int, size: int) -> date:
    months = today.year * 12 + (today.month - 1) // size * size + offset * size
    return date(months // 12, months % 12 + 1, 1)


_BEGINS: dict[str, Callable[[date, int], date]] = {
    "DAY": lambda today, offset: today + timedelta(days=offset),
    "WEEK": _week,
    "MONTH": lambda today, offset: _months(today, offset, 1),
    "QUARTER": lambda today, offset: _months(today, offset, 3),
    "YEAR": lambda today, offset: _months(today, offset, 12),
}

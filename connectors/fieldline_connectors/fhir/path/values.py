"""Values as FHIRPath compares them: texts, numbers, dates and times of any precision."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple, Self

from fieldline_connectors.fhir.path.tree import PathError

_DATE_TIME = re.compile(
    r"(?P<year>\d{4})(-(?P<month>\d\d)(-(?P<day>\d\d)"
    r"(T(?P<hour>\d\d)(:(?P<minute>\d\d)(:(?P<second>\d\d(\.\d+)?))?)?(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?T?"
)
_TIME = re.compile(r"T?(?P<hour>\d\d):(?P<minute>\d\d)(:(?P<second>\d\d(\.\d+)?))?|T(?P<alone>\d\d)")


class Written(float):
    """A decimal number that remembers how it was written: FHIR counts the digits."""

    text: str

    def __new__(cls, text: str) -> Self:
        """The number of that text."""
        number = super().__new__(cls, text)
        number.text = str(text)
        return number


class Temporal(str):
    """A text that is known to be a date, a date-time or a time."""

    @classmethod
    def literal(cls, text: str) -> Self:
        """The value of a literal, without its `@`; raises ValueError where it is none."""
        text = text.removeprefix("T") if text.startswith("T") else text.removesuffix("T")
        if parts_of(text) is None and not re.fullmatch(r"\d\d", text):
            raise ValueError("no date or time")
        return cls(text)


class Parts(NamedTuple):
    """A date or time as the numbers it is written with, from the largest on; `offset` in minutes where it has a zone."""

    numbers: tuple[Decimal, ...]
    is_time: bool
    offset: int | None


@lru_cache(maxsize=4096)
def parts_of(text: str) -> Parts | None:
    """The parts of a date, date-time or time; None where the text is none of these."""
    if found := _DATE_TIME.fullmatch(text):
        fields = found.group("year", "month", "day", "hour", "minute", "second")
    elif found := _TIME.fullmatch(text):
        fields = (found["hour"] or found["alone"], found["minute"], found["second"])
    else:
        return None
    numbers = tuple(Decimal(field) for field in fields if field is not None)
    is_time = len(fields) == 3
    try:
        if not is_time:
            year, month, day, hour, minute, second = [*map(int, numbers), *(1, 1, 1, 0, 0, 0)[len(numbers) :]]
            datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return Parts(numbers, is_time, None if is_time else _offset(found["zone"]))


def _offset(zone: str | None) -> int | None:
    if zone in (None, "Z"):
        return None if zone is None else 0
    minutes = int(zone[1:3]) * 60 + int(zone[4:])
    return -minutes if zone[0] == "-" else minutes


def _in_utc(parts: Parts) -> tuple[Decimal, ...]:
    """The numbers as they are in UTC; whole minutes only, so the second stays as it is."""
    if not parts.offset or len(parts.numbers) < 5:
        return parts.numbers
    year, month, day, hour, minute = (int(number) for number in parts.numbers[:5])
    try:
        moved = datetime(year, month, day, hour, minute, tzinfo=UTC) - timedelta(minutes=parts.offset)
    except OverflowError:
        return parts.numbers
    return (*map(Decimal, (moved.year, moved.month, moved.day, moved.hour, moved.minute)), *parts.numbers[5:])


def _order(left: Parts, right: Parts) -> int | None:
    """-1, 0 or 1; None where one is written less precisely than would be needed to tell, or they are of different kinds."""
    if left.is_time != right.is_time:
        return None
    zoned = len(left.numbers) > 3 and len(right.numbers) > 3
    ours, theirs = (_in_utc(left), _in_utc(right)) if zoned else (left.numbers, right.numbers)
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            return -1 if one < other else 1
    return 0 if len(ours) == len(theirs) else None


def is_number(value: Any) -> bool:
    """Whether it is a number; Python takes booleans for numbers too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _moments(left: str, right: str) -> tuple[Parts, Parts] | None:
    """Both as dates or times, where one is known to be so, or both are written so."""
    one, other = parts_of(left), parts_of(right)
    if one and other and (isinstance(left, Temporal) or isinstance(right, Temporal) or (len(left) > 4 and len(right) > 4)):
        return one, other
    return None


def equal(left: Any, right: Any) -> bool | None:
    """Whether two items are equal; None where their precision does not tell."""
    if isinstance(left, str) and isinstance(right, str):
        if str.__eq__(left, right):
            return True
        moments = _moments(left, right)
        if moments is None:
            return False
        order = _order(*moments)
        return None if order is None else order == 0
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    return bool(left == right)


def ordered(left: Any, right: Any) -> int | None:
    """-1, 0 or 1 as `left` comes before `right`; None where their precision does not tell. Raises PathError for unlike types."""
    if is_number(left) and is_number(right):
        return int(left > right) - int(left < right)
    if isinstance(left, str) and isinstance(right, str):
        moments = _moments(left, right)
        if moments is not None:
            return _order(*moments)
        if isinstance(left, Temporal) or isinstance(right, Temporal):
            return None
        return (left > right) - (left < right)
    raise PathError("two values of different types are compared: only numbers, texts, dates or times have an order")

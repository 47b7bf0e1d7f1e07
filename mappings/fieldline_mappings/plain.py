"""Texts in their plainest form, read one by one: for a few rows that takes a tenth of the time that Polars takes to begin."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_DATE = re.compile(r"[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}")
_DATETIME = re.compile(_DATE.pattern + r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z?")

_READERS: Mapping[str, tuple[re.Pattern[str], Callable[[str], Any]]] = {
    "number": (_NUMBER, float),
    "integer": (_INTEGER, int),
    "boolean": (re.compile("true|false"), "true".__eq__),
    "date": (_DATE, date.fromisoformat),
    "datetime": (_DATETIME, lambda text: datetime.fromisoformat(text.removesuffix("Z"))),
}


def plain_values(kind: str, texts: Sequence[str | None]) -> list[Any] | None:
    """What the texts say, datetimes naive in UTC; None where one of them is not in its plainest form."""
    pattern, value = _READERS.get(kind, (None, None))
    if pattern is None or value is None or not all(text is None or pattern.fullmatch(text) for text in texts):
        return None
    try:
        return [None if text is None else value(text) for text in texts]
    except ValueError:
        # There is no such day.
        return None

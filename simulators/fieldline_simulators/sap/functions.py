"""The functions of `$filter`: kinds of their arguments, the kind of their result, and what they do."""

from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any

Call = tuple[tuple[str, ...], str, Callable[..., Any]]

V2_ONLY = frozenset({"substringof", "replace"})
V4_ONLY = frozenset({"contains", "date"})


def _rounded(way: str) -> Callable[[Any], Decimal]:
    return lambda value: Decimal(str(value)).to_integral_value(way)


def _part(name: str) -> list[Call]:
    kinds = ("date", "moment") if name in ("year", "month", "day") else ("moment", "clock")
    return [((kind,), "number", lambda value: getattr(value, name)) for kind in kinds]


def _substring(text: str, start: Any, length: Any = None) -> str:
    begin = max(int(start), 0)
    return text[begin:] if length is None else text[begin : begin + max(int(length), 0)]


_TWO_TEXTS = ("text", "text")

CALLS: Mapping[str, list[Call]] = {
    "substringof": [(_TWO_TEXTS, "boolean", lambda part, text: part in text)],
    "contains": [(_TWO_TEXTS, "boolean", lambda text, part: part in text)],
    "startswith": [(_TWO_TEXTS, "boolean", lambda text, part: text.startswith(part))],
    "endswith": [(_TWO_TEXTS, "boolean", lambda text, part: text.endswith(part))],
    "indexof": [(_TWO_TEXTS, "number", lambda text, part: text.find(part))],
    "concat": [(_TWO_TEXTS, "text", lambda one, other: one + other)],
    "replace": [((*_TWO_TEXTS, "text"), "text", lambda text, old, new: text.replace(old, new)[:10_000] if old else text)],
    "length": [(("text",), "number", len)],
    "tolower": [(("text",), "text", str.lower)],
    "toupper": [(("text",), "text", str.upper)],
    "trim": [(("text",), "text", str.strip)],
    "substring": [(("text", "number"), "text", _substring), (("text", "number", "number"), "text", _substring)],
    "round": [(("number",), "number", _rounded(ROUND_HALF_UP))],
    "floor": [(("number",), "number", _rounded(ROUND_FLOOR))],
    "ceiling": [(("number",), "number", _rounded(ROUND_CEILING))],
    "date": [(("moment",), "date", lambda value: value.date())],
    **{name: _part(name) for name in ("year", "month", "day", "hour", "minute", "second")},
}
"""Each function in its forms; none takes null, whose result is null."""

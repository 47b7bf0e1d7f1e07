"""What resources hold as search sees it, and whether it fits what is asked."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from fieldline_simulators.fhir.parameters import Parameter

PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
_WHEN = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(Z|[+-]\d\d:\d\d)?)?)?)?"
)  # fmt: skip
_LOWEST, _HIGHEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Token:
    """A code or identifier with its system."""

    system: str | None
    code: str


def at(node: Any, path: str) -> list[Any]:
    """The values at a path of element names; lists are walked through."""
    found = [node]
    for name in path.split("."):
        nested = (each.get(name) for each in found if isinstance(each, dict))
        found = [item for value in nested if value is not None for item in (value if isinstance(value, list) else [value])]
    return found


def raw(resource: dict[str, Any], parameter: Parameter) -> list[Any]:
    """What stands in a resource where a parameter looks."""
    return [value for path in parameter.paths for value in at(resource, path)]


def tokens(value: Any) -> Iterator[Token]:
    """The tokens of a coding, concept, identifier, contact point, code or truth value."""
    if isinstance(value, bool):
        yield Token(None, str(value).lower())
    elif isinstance(value, str):
        yield Token(None, value)
    elif isinstance(value, dict):
        for coding in at(value, "coding"):
            yield from tokens(coding)
        code = value.get("code") or value.get("value")
        if isinstance(code, str):
            yield Token(value.get("system"), code)


def strings(value: Any) -> Iterator[str]:
    """The texts inside a name, an address or a text."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name not in ("use", "period", "type", "extension"):
                yield from strings(each)


def local_reference(value: Any) -> str | None:
    """`Type/id` of a reference, whatever server's address stands before it."""
    text = value.get("reference") if isinstance(value, dict) else value
    if not isinstance(text, str):
        return None
    parts = text.partition("/_history/")[0].split("/")
    return "/".join(parts[-2:]) if len(parts) > 1 else text


def span(text: Any) -> Span | None:
    """The time that a date or date-time covers, by its precision; None where it is no date."""
    match = _WHEN.fullmatch(text) if isinstance(text, str) else None
    if not match:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        low = datetime.fromisoformat(
            f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}"
            f".{(fraction or '0')[:6]:0<6}{zone or '+00:00'}"
        )  # fmt: skip
        if fraction:
            return low, low + timedelta(microseconds=10 ** max(0, 6 - len(fraction)))
        if hour:
            return low, low + timedelta(seconds=1 if second else 60)
        if day:
            return low, low + timedelta(days=1)
        return low, _month_after(low, 1 if month else 12)
    except (ValueError, OverflowError):
        return None


def spans(value: Any) -> Iterator[Span]:
    """The time that a value of a resource covers."""
    if isinstance(value, str) and (found := span(value)):
        yield found
    elif isinstance(value, dict) and ("start" in value or "end" in value):
        start, end = span(value.get("start")), span(value.get("end"))
        yield (start[0] if start else _LOWEST, end[1] if end else _HIGHEST)


def _month_after(low: datetime, months: int) -> datetime:
    total = low.year * 12 + low.month - 1 + months
    return low.replace(year=total // 12, month=total % 12 + 1)


def split_prefix(text: str) -> tuple[str, str]:
    """The comparison and what is compared with."""
    return (text[:2], text[2:]) if text[:2] in PREFIXES else ("eq", text)


def date_test(text: str) -> Callable[[Any], bool] | None:
    """The test for a date with its prefix; None where it is no date."""
    prefix, rest = split_prefix(text)
    asked = span(rest)
    if asked is None:
        return None
    low, high = asked
    near = abs(datetime.now(UTC) - low) / 10
    tests: dict[str, Callable[[Span], bool]] = {
        "eq": lambda own: low <= own[0] and own[1] <= high,
        "ne": lambda own: not (low <= own[0] and own[1] <= high),
        "gt": lambda own: own[1] > high,
        "lt": lambda own: own[0] < low,
        "ge": lambda own: own[1] > high or (low <= own[0] and own[1] <= high),
        "le": lambda own: own[0] < low or (low <= own[0] and own[1] <= high),
        "sa": lambda own: own[0] >= high,
        "eb": lambda own: own[1] <= low,
        "ap": lambda own: own[0] < high + near and own[1] > low - near,
    }
    return lambda value: any(tests[prefix](own) for own in spans(value))


def quantity_test(text: str) -> Callable[[Any], bool] | None:
    """The test for a number or quantity, `number|system|code`; None where it is none."""
    prefix, rest = split_prefix(text)
    number, _, unit = rest.partition("|")
    system, _, code = unit.partition("|")
    try:
        asked = Decimal(number)
    except InvalidOperation:
        return None
    exponent = asked.as_tuple().exponent
    if not isinstance(exponent, int):
        return None
    half = Decimal(5).scaleb(exponent - 1)
    compared: dict[str, Callable[[Decimal], bool]] = {
        "eq": lambda own: asked - half <= own < asked + half,
        "ne": lambda own: not asked - half <= own < asked + half,
        "gt": lambda own: own > asked,
        "lt": lambda own: own < asked,
        "ge": lambda own: own >= asked,
        "le": lambda own: own <= asked,
        "sa": lambda own: own > asked,
        "eb": lambda own: own < asked,
        "ap": lambda own: abs(own - asked) <= abs(asked) / 10,
    }

    def fits(value: Any) -> bool:
        own = value if isinstance(value, dict) else {"value": value}
        if not is_number(own.get("value")):
            return False
        in_unit = (not system or own.get("system") == system) and (not code or code in (own.get("code"), own.get("unit")))
        return in_unit and compared[prefix](Decimal(str(own["value"])))

    return fits


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def token_test(text: str) -> Callable[[Any], bool]:
    """The test for `code`, `system|code`, `|code` or `system|`."""
    system, bar, code = text.partition("|")
    if not bar:
        return lambda value: any(each.code == text for each in tokens(value))

    def fits(each: Token) -> bool:
        return (each.system or "") == system and (not code or each.code == code)

    return lambda value: any(fits(each) for each in tokens(value))


def plain(text: str) -> str:
    """A text without case and accents."""
    return "".join(each for each in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(each))


def string_test(text: str, modifier: str) -> Callable[[Any], bool]:
    """The test for a text: its beginning, or as the modifier says."""
    if modifier == "exact":
        return lambda value: text in strings(value)
    wanted = plain(text)
    if modifier == "contains":
        return lambda value: any(wanted in plain(each) for each in strings(value))
    return lambda value: any(plain(each).startswith(wanted) for each in strings(value))

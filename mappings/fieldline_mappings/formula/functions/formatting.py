"""Numbers, dates and documents as texts, and texts as numbers."""

import json
import re
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from math import isfinite
from string import ascii_uppercase
from typing import Any
from urllib.parse import quote_plus

import polars as pl

from fieldline_mappings.formula.library import function, number, of, text
from fieldline_mappings.formula.terms import Context, Term
from fieldline_mappings.formula.types import Type

MAX_TEXT = 100_000
"""The most characters that a function may make a text grow to."""
TOO_LONG = f"the text would be longer than {MAX_TEXT:,} characters"

_GROUP = "text"
_LONG = 2.0**63
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,10})?$"
_WHOLE = (
    "ADP-BEF-BIF-BYB-BYR-CLP-DJF-ESP-GNF-GRD-ISK-ITL-JPY-KMF-KRW-LUF-MGF-PYG-PTE-RWF-TPE-TRL-UGX-UYI-VND-VUV-XAF-XAG-XAU-XBA-XBB-XBC-"
    "XBD-XDR-XFO-XFU-XOF-XPD-XPF-XPT-XSU-XTS-XUA-XXX"
)
_DIGITS_OF = dict.fromkeys(_WHOLE.split("-"), 0) | dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3) | {"CLF": 4}
"""Currencies with other than two digits after the point, by their ISO 4217 codes."""
_STEP = re.compile(r"""\.([^.\[\]'"*?@()]+)|\[(-?[0-9]{1,9})\]|\['([^'\\]*)'\]|\["([^"\\]*)"\]""")
_MAX_STEPS = 100
_ID_SUFFIX = ascii_uppercase + "012345"


def _plain(value: float) -> str:
    """A number without exponent and without trailing zeros."""
    words = format(Decimal(repr(value)), "f")
    words = words.rstrip("0").rstrip(".") if "." in words else words
    return "0" if words == "-0" else words


@function("TEXT", _GROUP, [of("value", Type.NUMBER, Type.TEXT, Type.DATE, Type.DATETIME, Type.TIME)], Type.TEXT,
          "A number, a picklist's value, a date or a time as text; a date and time is written in UTC.",
          "TEXT(1234.50)", "1234.5")  # fmt: skip
def _text(ctx: Context, term: Term) -> Term:
    match term.type:
        case Type.NUMBER:
            return ctx.each(Type.TEXT, _plain, _snapped(ctx, term))
        case Type.DATE:
            value = term.value.dt.strftime("%Y-%m-%d").str.strip_chars_start("+")
        case Type.DATETIME:
            value = term.value.dt.strftime("%Y-%m-%d %H:%M:%SZ").str.strip_chars_start("+")
        case Type.TIME:
            value = term.value.dt.strftime("%H:%M:%S%.3f")
        case _:
            value = term.value
    return ctx.term(Type.TEXT, value, term)


def _snapped(ctx: Context, term: Term) -> Term:
    term = ctx.settled(term)
    return Term(Type.NUMBER, ctx.snapped(term), term.error, weight=term.weight + 1, error_weight=term.error_weight)


def _parsed(term: Term) -> pl.Expr:
    """The number that a text is, null where it is none; one too large for a number is none."""
    value = pl.when(term.value.str.contains(_NUMBER)).then(term.value).cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value)


@function("VALUE", _GROUP, [text("text")], Type.NUMBER, "The number that the text is; blank for a blank.", 'VALUE("1.5e3")', "1500")
def _value(ctx: Context, term: Term) -> Term:
    term = ctx.share(term)
    parsed = ctx.share(Term(Type.NUMBER, _parsed(term), weight=3)).value
    fails = [(parsed.is_null() & (term.value != ""), "the text is not a number")]
    return ctx.term(Type.NUMBER, parsed, term, fails=fails, exact=True)


@function("ISNUMBER", _GROUP, [text("text")], Type.BOOLEAN, "Whether the text is a number; a blank is none.",
          'ISNUMBER("1.5e3")', "true")  # fmt: skip
def _isnumber(ctx: Context, term: Term) -> Term:
    return ctx.term(Type.BOOLEAN, ctx.where_known(_parsed(ctx.share(term)).is_not_null(), term), term, definite=True)


def _currency(code: str | None, amount: float | None) -> str:
    if amount is None:
        return ""
    if not -_LONG <= amount < _LONG:
        raise ValueError
    digits = Decimal(1).scaleb(-_DIGITS_OF.get(code or "", 2))
    return f"{code or ''} {Decimal(repr(amount)).quantize(digits, ROUND_HALF_UP):,f}".strip()


@function("FORMATCURRENCY", _GROUP, [text("code"), number("amount")], Type.TEXT,
          "An amount with its ISO 4217 code, thousands commas and the currency's digits.",
          'FORMATCURRENCY("USD", 1234.5)', "USD 1,234.50")  # fmt: skip
def _formatcurrency(ctx: Context, code: Term, amount: Term) -> Term:
    return ctx.each(Type.TEXT, _currency, code, _snapped(ctx, amount), blanks=True, reason="the amount is too large")


def _duration_type(types: Sequence[Type]) -> Type | str:
    match list(types):
        case [Type.NUMBER] | [Type.NUMBER, Type.BOOLEAN] | [Type.DATETIME, Type.DATETIME] | [Type.TIME, Type.TIME]:
            return Type.TEXT
    return "FORMATDURATION takes seconds, seconds and whether to show days, two dates and times, or two times."


def _duration(seconds: float, days: bool) -> str:
    if abs(seconds) >= _LONG:
        raise ValueError
    minutes, rest = divmod(abs(int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24}:{hours % 24:02}:{minutes:02}:{rest:02}" if days else f"{hours:02}:{minutes:02}:{rest:02}"


@function("FORMATDURATION", _GROUP, [of("seconds_or_start", Type.NUMBER, Type.DATETIME, Type.TIME),
                                     of("days_or_end", Type.BOOLEAN, Type.DATETIME, Type.TIME, optional=True)], _duration_type,
          "Seconds, or the time between two moments, as hours:minutes:seconds; days come first where asked for.",
          "FORMATDURATION(3725)", "01:02:05")  # fmt: skip
def _formatduration(ctx: Context, first: Term, *others: Term) -> Term:
    if first.type is Type.NUMBER:
        seconds, days = _snapped(ctx, first), ctx.truth(others[0]) if others else ctx.literal(False, Type.BOOLEAN)
    else:
        span = (others[0].value - first.value).dt.total_milliseconds().abs() // 1000
        seconds = ctx.term(Type.NUMBER, span.cast(pl.Float64), first, *others, exact=True)
        days = ctx.literal(first.type is Type.DATETIME, Type.BOOLEAN)
    return ctx.each(Type.TEXT, _duration, ctx.share(seconds), ctx.share(days), reason="the duration is too long")


def _no_number(word: str) -> Any:
    raise ValueError(word)


def _document(words: str) -> Any:
    try:
        return json.loads(words, parse_constant=_no_number) if words.strip() else None
    except RecursionError as error:
        raise ValueError from error


def _json_text(value: Any) -> str:
    """A JSON value as text, blank for null; raises ValueError where there is no such text."""
    match value:
        case None:
            return ""
        case str():
            result = value
        case float():
            result = format(Decimal(repr(value)), "f") if isfinite(value) else _no_number("infinity")
        case _:
            result = json.dumps(value, ensure_ascii=False)
    result.encode()
    return result


def _at_key(words: str, key: str) -> str:
    document = _document(words)
    value = document.get(key) if isinstance(document, dict) else None
    return "" if isinstance(value, dict | list) else _json_text(value)


@function("JSONVALUE", _GROUP, [text("json"), text("key")], Type.TEXT,
          "The value at a key of a JSON object, as text; blank where it has none.",
          r'JSONVALUE("{\"Temperature\": 50}", "Temperature")', "50")  # fmt: skip
def _jsonvalue(ctx: Context, document: Term, key: Term) -> Term:
    return ctx.each(Type.TEXT, _at_key, ctx.share(document), ctx.share(key), reason="the text is not JSON")


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    rest = path.removeprefix("$") if path.startswith("$") else f".{path}"
    while rest:
        step = _STEP.match(rest)
        if step is None or len(steps) == _MAX_STEPS:
            raise ValueError
        name, index, *quoted = step.groups()
        steps.append(int(index) if index else next(part for part in (name, *quoted) if part is not None))
        rest = rest[step.end() :]
    return steps


def _at_path(words: str, path: str) -> str:
    steps = _steps(path)
    try:
        value: Any = _document(words)
        for step in steps:
            holder: type[Any] = list if isinstance(step, int) else dict
            if not isinstance(value, holder):
                return ""
            value = value[step]
        return _json_text(value)
    except (ValueError, LookupError, RecursionError):
        return ""


@function("JSONPATHVALUE", _GROUP, [text("json"), text("path")], Type.TEXT,
          "The value at a path of keys and positions in a JSON document, as text; blank where there is none.",
          r'JSONPATHVALUE("{\"a\": [{\"b\": 5}]}", "$.a[0].b")', "5")  # fmt: skip
def _jsonpathvalue(ctx: Context, document: Term, path: Term) -> Term:
    return ctx.each(Type.TEXT, _at_path, ctx.share(document), ctx.share(path), reason="the path has more than keys and positions")


def _case_safe(identifier: str) -> str:
    if len(identifier) in (0, 18):
        return identifier
    if len(identifier) != 15 or not (identifier.isascii() and identifier.isalnum()):
        raise ValueError
    blocks = (identifier[start : start + 5] for start in (0, 5, 10))
    capitals = (sum(character.isupper() << place for place, character in enumerate(block)) for block in blocks)
    return identifier + "".join(_ID_SUFFIX[bits] for bits in capitals)


@function("CASESAFEID", _GROUP, [text("id")], Type.TEXT,
          "A Salesforce id of 15 characters as one of 18, which does not depend on case.",
          'CASESAFEID("001A0000006Vm9r")', "001A0000006Vm9rIAC")  # fmt: skip
def _casesafeid(ctx: Context, term: Term) -> Term:
    return ctx.each(Type.TEXT, _case_safe, ctx.share(term), reason="the text is not an id of 15 or 18 characters")


def _url_encoded(words: str) -> str:
    encoded = quote_plus(words, safe="*").replace("~", "%7E")
    if len(encoded) > max(MAX_TEXT, len(words)):
        raise ValueError
    return encoded


@function("URLENCODE", _GROUP, [text("text")], Type.TEXT, "The text as it is written in a web address's query.",
          'URLENCODE("a b&c")', "a+b%26c")  # fmt: skip
def _urlencode(ctx: Context, term: Term) -> Term:
    return ctx.each(Type.TEXT, _url_encoded, ctx.share(term), reason=TOO_LONG)

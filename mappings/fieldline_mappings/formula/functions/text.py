"""Parts of texts, searches in them, and patterns.

A blank text and an empty one are the same. Positions and lengths count characters (code points), not the 16-bit units of
Salesforce's engine: they differ from it only in texts with characters beyond U+FFFF, such as emoji.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace

import polars as pl

from fieldline_mappings.formula.functions.formatting import MAX_TEXT, TOO_LONG
from fieldline_mappings.formula.library import function, number, text
from fieldline_mappings.formula.terms import Context, Term
from fieldline_mappings.formula.types import Type

_GROUP = "text"
_FAR = 2.0**53
_MAX_LIKE = 255
_MAX_REGEX = 1000
_DOTTED = ("tr", "az")
"""The languages that have an i with and one without a dot."""


def _filled(term: Term) -> pl.Expr:
    return term.value.fill_null("")


def _amount(ctx: Context, term: Term) -> Term:
    """A number to count with: settled, free of binary noise, and not beyond what an integer holds."""
    if term.constant is not None:
        return ctx.literal(min(max(float(term.constant), -_FAR), _FAR), Type.NUMBER)
    term = ctx.settled(term)
    return replace(term, value=ctx.snapped(term).clip(-_FAR, _FAR), weight=term.weight + 1)


def _whole(value: pl.Expr) -> pl.Expr:
    return value.cast(pl.Int64)


def _slice(value: pl.Expr, offset: pl.Expr, count: Term) -> pl.Expr:
    # Polars takes a null count for all that follows.
    return pl.when(count.value.is_not_null()).then(value.str.slice(offset, _whole(count.value).clip(0)))


def _truth(ctx: Context, value: pl.Expr, *args: Term) -> Term:
    return ctx.term(Type.BOOLEAN, ctx.where_known(value, *args), *args, definite=True)


@function("LEN", _GROUP, [text("text")], Type.NUMBER, "The number of characters; 0 for a blank.", 'LEN("abc")', "3")
def _len(ctx: Context, term: Term) -> Term:
    count = term.value.str.len_chars().cast(pl.Float64).fill_null(0.0)
    return ctx.term(Type.NUMBER, ctx.where_known(count, term), term, exact=True)


@function("LEFT", _GROUP, [text("text"), number("count")], Type.TEXT, "The first so many characters.", 'LEFT("abcde", 2)', "ab")
def _left(ctx: Context, term: Term, count: Term) -> Term:
    count = _amount(ctx, count)
    return ctx.term(Type.TEXT, term.value.str.head(_whole(count.value).clip(0)), term, count)


@function("RIGHT", _GROUP, [text("text"), number("count")], Type.TEXT, "The last so many characters.", 'RIGHT("abcde", 2)', "de")
def _right(ctx: Context, term: Term, count: Term) -> Term:
    count = _amount(ctx, count)
    return ctx.term(Type.TEXT, term.value.str.tail(_whole(count.value).clip(0)), term, count)


@function("MID", _GROUP, [text("text"), number("start"), number("count")], Type.TEXT,
          "So many characters from a position on; the first is 1, and a position before it counts as 1.",
          'MID("abcde", 2, 3)', "bcd")  # fmt: skip
def _mid(ctx: Context, term: Term, start: Term, count: Term) -> Term:
    start, count = _amount(ctx, start), ctx.share(_amount(ctx, count))
    return ctx.term(Type.TEXT, _slice(term.value, _whole(start.value).clip(1) - 1, count), term, start, count)


@function("SUBSTR", _GROUP, [text("text"), number("start"), number("count", optional=True)], Type.TEXT,
          "The characters from a position on, all or so many; a negative position counts from the end.",
          'SUBSTR("abcde", -3, 2)', "cd")  # fmt: skip
def _substr(ctx: Context, term: Term, start: Term, *counts: Term) -> Term:
    term, start = ctx.share(term), ctx.share(_amount(ctx, start))
    counts = tuple(ctx.share(_amount(ctx, count)) for count in counts)
    length, at = term.value.str.len_chars().cast(pl.Int64), _whole(start.value)
    offset = pl.when(start.value < 0).then(length + at).otherwise(at.clip(1) - 1)
    part = _slice(term.value, offset, counts[0]) if counts else term.value.str.slice(offset)
    return ctx.term(Type.TEXT, pl.when(start.value.abs() <= length).then(part), term, start, *counts)


@function("TRIM", _GROUP, [text("text")], Type.TEXT, "The text without spaces at its ends.", 'TRIM("  a b ")', "a b")
def _trim(ctx: Context, term: Term) -> Term:
    return ctx.term(Type.TEXT, term.value.str.strip_chars(" "), term)


def _cased(name: str, about: str, gives: str, convert: Callable[[pl.Expr], pl.Expr], turkic: dict[str, str]) -> None:
    def build(ctx: Context, term: Term, *locales: Term) -> Term:
        if not locales:
            return ctx.term(Type.TEXT, convert(term.value), term)
        term, locale = ctx.share(term), locales[0]
        dotted = _filled(locale).str.to_lowercase().str.slice(0, 2).is_in(_DOTTED)
        value = pl.when(dotted).then(convert(term.value.str.replace_many(turkic))).otherwise(convert(term.value))
        return ctx.term(Type.TEXT, ctx.where_known(value, locale), term, locale)

    function(name, _GROUP, [text("text"), text("locale", optional=True)], Type.TEXT, about, f'{name}("Abc")', gives)(build)


_cased("UPPER", 'The text in upper case; the locales "tr" and "az" keep the dot of an i.', "ABC",
       lambda value: value.str.to_uppercase(), {"i": "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}"})  # fmt: skip
_cased("LOWER", 'The text in lower case; the locales "tr" and "az" keep an I without its dot.', "abc",
       lambda value: value.str.to_lowercase(),
       {"\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}": "i", "I": "\N{LATIN SMALL LETTER DOTLESS I}"})  # fmt: skip


def _initcap_of(words: str) -> str:
    result: list[str] = []
    inside = False
    for character in words.lower():
        category = unicodedata.category(character)
        result.append(character.upper() if category == "Ll" and not inside else character)
        inside = category in ("Ll", "Lm", "Lu") or category.startswith("N")
    return "".join(result)


@function("INITCAP", _GROUP, [text("text")], Type.TEXT,
          "The text with each word's first letter in upper case, the rest in lower case.",
          'INITCAP("aNNA smith-jones")', "Anna Smith-Jones")  # fmt: skip
def _initcap(ctx: Context, term: Term) -> Term:
    return ctx.each(Type.TEXT, _initcap_of, term)


@function("REVERSE", _GROUP, [text("text")], Type.TEXT, "The characters in reverse order.", 'REVERSE("abc")', "cba")
def _reverse(ctx: Context, term: Term) -> Term:
    return ctx.each(Type.TEXT, lambda words: words[::-1], term)


def _part(term: Term) -> pl.Expr:
    """A text to look for: a constant is prepared once, where a column of it would be looked at row by row."""
    return pl.lit(term.constant) if isinstance(term.constant, str) else _filled(term)


@function("CONTAINS", _GROUP, [text("text"), text("part")], Type.BOOLEAN,
          "Whether the part occurs in the text, in the same case; a blank part does.",
          'CONTAINS("Golden", "old")', "true")  # fmt: skip
def _contains(ctx: Context, term: Term, part: Term) -> Term:
    return _truth(ctx, _filled(term).str.contains(_part(part), literal=True), term, part)


@function("BEGINS", _GROUP, [text("text"), text("part")], Type.BOOLEAN,
          "Whether the text begins with the part, in the same case.", 'BEGINS("Golden", "Gold")', "true")  # fmt: skip
def _begins(ctx: Context, term: Term, part: Term) -> Term:
    return _truth(ctx, _filled(term).str.starts_with(_part(part)), term, part)


@function("ENDS", _GROUP, [text("text"), text("part")], Type.BOOLEAN,
          "Whether the text ends with the part, in the same case.", 'ENDS("Golden", "den")', "true")  # fmt: skip
def _ends(ctx: Context, term: Term, part: Term) -> Term:
    return _truth(ctx, _filled(term).str.ends_with(_part(part)), term, part)


def _position(part: str | None, words: str | None, start: float | None = None) -> float:
    if not part or not words:
        return 0.0
    return float(words.find(part, max(int(start or 1) - 1, 0)) + 1)


@function("FIND", _GROUP, [text("part"), text("text"), number("start", optional=True)], Type.NUMBER,
          "The position of the part in the text, from a position on; 0 where it does not occur.",
          'FIND("l", "Golden")', "3")  # fmt: skip
def _find(ctx: Context, part: Term, term: Term, *starts: Term) -> Term:
    return ctx.each(Type.NUMBER, _position, part, term, *(_amount(ctx, start) for start in starts), blanks=True)


def _substituted(words: str | None, old: str | None, new: str | None) -> str:
    if not words or not old:
        return ""
    new = new or ""
    if len(words) + words.count(old) * (len(new) - len(old)) > max(MAX_TEXT, len(words)):
        raise ValueError
    return words.replace(old, new)


@function("SUBSTITUTE", _GROUP, [text("text"), text("old"), text("new")], Type.TEXT,
          "The text with a new part wherever the old one occurs; blank where the old part is.",
          'SUBSTITUTE("a-b-c", "-", ".")', "a.b.c")  # fmt: skip
def _substitute(ctx: Context, term: Term, old: Term, new: Term) -> Term:
    return ctx.each(Type.TEXT, _substituted, term, old, new, blanks=True, reason=TOO_LONG)


def _pad(name: str, about: str, gives: str, join: Callable[[str, str], str]) -> None:
    def padded(words: str | None, count: float | None, filler: str | None = None) -> str:
        length = int(count or 0)
        if not words or length <= len(words):
            return (words or "")[: max(length, 0)]
        if length > MAX_TEXT:
            raise ValueError
        filler, missing = filler or " ", length - len(words)
        return join((filler * (missing // len(filler) + 1))[:missing], words)

    def build(ctx: Context, term: Term, count: Term, *fillers: Term) -> Term:
        return ctx.each(Type.TEXT, padded, term, _amount(ctx, count), *fillers, blanks=True, reason=TOO_LONG)

    params = [text("text"), number("length"), text("filler", optional=True)]
    function(name, _GROUP, params, Type.TEXT, about, f'{name}("7", 3, "0")', gives)(build)


_pad("LPAD", "The text at this length: filled up on its left with a filler or spaces, or cut.", "007",
     lambda filler, words: filler + words)  # fmt: skip
_pad("RPAD", "The text at this length: filled up on its right with a filler or spaces, or cut.", "700",
     lambda filler, words: words + filler)  # fmt: skip


def _character(code: float) -> str:
    if not 1 <= code < 0x110000 or 0xD800 <= int(code) < 0xE000:
        return ""
    return chr(int(code))


@function("CHR", _GROUP, [number("code")], Type.TEXT, "The character with this Unicode code; blank where there is none.",
          "CHR(65)", "A")  # fmt: skip
def _chr(ctx: Context, code: Term) -> Term:
    return ctx.each(Type.TEXT, _character, _amount(ctx, code))


@function("ASCII", _GROUP, [text("text")], Type.NUMBER, "The Unicode code of the first character.", 'ASCII("A")', "65")
def _ascii(ctx: Context, term: Term) -> Term:
    return ctx.each(Type.NUMBER, lambda words: float(ord(words[0])) if words else None, term)


@function("BR", _GROUP, [], Type.TEXT, "A line break.", "LEN(BR())", "1")
def _br(ctx: Context) -> Term:
    return ctx.literal("\n", Type.TEXT)


def _matches(ctx: Context, term: Term, regex: Term, reason: str) -> Term:
    # Polars' engine takes linear time for any pattern; a pattern that it does not take, or that grows too large, gives null.
    found = ctx.where_known(_filled(term).str.contains(regex.value, strict=False), term, regex)
    found_once = ctx.share(Term(Type.BOOLEAN, found, weight=2)).value
    return ctx.term(Type.BOOLEAN, found_once, term, regex, fails=[(found_once.is_null(), reason)], definite=True)


def _regex_of_like(pattern: str | None) -> str:
    if len(pattern or "") > _MAX_LIKE:
        raise ValueError
    parts: list[str] = []
    characters = iter(pattern or "")
    for character in characters:
        if character in "%_":
            parts.append(".*" if character == "%" else ".")
            continue
        plain = next(characters, "\\") if character == "\\" else character
        parts.append(re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", plain))
    return rf"(?s)\A{''.join(parts)}\z"


@function("LIKE", _GROUP, [text("text"), text("pattern")], Type.BOOLEAN,
          r"Whether the whole text fits a pattern: % stands for any characters, _ for one, and \ makes the next one plain.",
          'LIKE("Howdy", "Ho%y")', "true")  # fmt: skip
def _like(ctx: Context, term: Term, pattern: Term) -> Term:
    reason = f"the pattern is longer than {_MAX_LIKE} characters"
    if isinstance(pattern.constant, str) and len(pattern.constant) <= _MAX_LIKE:
        return _matches(ctx, term, ctx.literal(_regex_of_like(pattern.constant), Type.TEXT), reason)
    return _matches(ctx, term, ctx.each(Type.TEXT, _regex_of_like, pattern, blanks=True), reason)


@function("REGEX", _GROUP, [text("text"), text("pattern", literal=True)], Type.BOOLEAN,
          "Whether the whole text fits a regular expression, which is a constant; look-around and back references are not known.",
          r'REGEX("12-34", "[0-9]{2}-[0-9]{2}")', "true")  # fmt: skip
def _regex(ctx: Context, term: Term, pattern: Term) -> Term:
    # The pattern has to be a constant: compiling a hostile one takes a tenth of a second, which no row of data may cost.
    words = pattern.constant or ""
    alone = pl.Series([""]).str.contains(words, strict=False)[0] is not None
    regex = rf"\A(?:{words})\z" if alone and len(words) <= _MAX_REGEX else None
    return _matches(ctx, term, ctx.literal(regex, Type.TEXT), "the pattern is too long or not a regular expression")


@function("ISPICKVAL", _GROUP, [text("text"), text("value")], Type.BOOLEAN,
          "Whether a picklist has this value; a blank has the value \"\".", 'ISPICKVAL("Hot", "Hot")', "true")  # fmt: skip
def _ispickval(ctx: Context, term: Term, value: Term) -> Term:
    return _truth(ctx, _filled(term) == _filled(value), term, value)


@function("INCLUDES", _GROUP, [text("text"), text("value")], Type.BOOLEAN,
          "Whether a multi-select picklist, values with semicolons between them, has this value.",
          'INCLUDES("Red;Green", "Green")', "true")  # fmt: skip
def _includes(ctx: Context, term: Term, value: Term) -> Term:
    return _truth(ctx, _filled(term).str.split(";").list.contains(_filled(value)), term, value)

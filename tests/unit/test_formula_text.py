"""Text functions of the formula language."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_core.schema import FieldType
from fieldline_mappings.formula import FUNCTIONS, Checker, FormulaError, Program, Scope
from fieldline_mappings.formula.functions import formatting, text
from fieldline_mappings.formula.library import Param
from fieldline_mappings.formula.program import Settings

NUMBER, TEXT, BOOLEAN = FieldType.NUMBER, FieldType.TEXT, FieldType.BOOLEAN
FIELDS = {"s": TEXT, "t": TEXT, "u": TEXT, "n": NUMBER, "m": NUMBER, "b": BOOLEAN}
COLUMNS = {"s": pl.String, "t": pl.String, "u": pl.String, "n": pl.Float64, "m": pl.Float64, "b": pl.Boolean}
OURS = sorted(name for name, each in FUNCTIONS.items() if each.build.__module__ in (text.__name__, formatting.__name__))
WORDS = st.text(max_size=12)


class Refused(Exception):
    """A value that cannot be computed, with its reason."""


def answers(formula: str, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The formula's value for each record of s, t, u (texts), n, m (numbers) and b (a boolean); reasons where it has none."""
    checker = Checker(Scope.of(FIELDS))
    position = checker.check(formula)
    frame = pl.DataFrame([{name: row.get(name) for name in FIELDS} for row in rows], schema=COLUMNS)
    program = Program(checker.parts, dict(frame.schema), Settings())
    term = program.term(position)
    wanted = {"value": term.value} | ({} if term.error is None else {"error": term.error})
    found = program.evaluate(program.read(frame, datetime(2026, 1, 1, tzinfo=UTC)), wanted)
    errors = found["error"] if "error" in found.columns else [None] * len(rows)
    results: list[Any] = []
    for value, error in zip(found["value"], errors, strict=True):
        assert value is None or error is None
        results.append(value if error is None else Refused(program.reasons.words[error - 1]))
    return results


def answer(formula: str, **fields: Any) -> Any:
    """The formula's value for one record, an empty text as a blank; raises Refused where it has none."""
    [value] = answers(formula, [fields])
    if isinstance(value, Refused):
        raise value
    return None if value == "" else value


@pytest.mark.parametrize("name", OURS)
def test_each_example_gives_what_its_description_says(name: str) -> None:
    value = answer(FUNCTIONS[name].example)
    words = str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0")
    assert words == FUNCTIONS[name].gives


@pytest.mark.parametrize("blank", [None, ""])
def test_a_blank_text_and_an_empty_one_are_alike(blank: str | None) -> None:
    assert answer("LEN(s)", s=blank) == 0
    for call in ("TRIM(s)", "UPPER(s)", "REVERSE(s)", "LEFT(s, 2)", "LPAD(s, 3)", "VALUE(s)", "ASCII(s)", "INITCAP(s)", "TEXT(s)"):
        assert answer(call, s=blank) is None
    assert answer('CONTAINS(s, "a")', s=blank) is False
    assert answer('CONTAINS("a", s)', s=blank) is True
    assert answer("BEGINS(s, t)", s=blank, t="a") is False
    assert answer("ENDS(s, t)", s="a", t=blank) is True
    assert answer("FIND(t, s)", s="abc", t=blank) == 0
    assert answer("ISNUMBER(s)", s=blank) is False
    assert answer("SUBSTITUTE(s, t, u)", s="abc", t=blank, u="x") is None
    assert answer("SUBSTITUTE(s, t, u)", s="abc", t="b", u=blank) == "ac"
    assert answer('ISPICKVAL(s, "")', s=blank) is True
    assert answer('LIKE(s, "%")', s=blank) is True
    assert answer('REGEX(s, "a?")', s=blank) is True


@given(WORDS, st.integers(-3, 15), st.integers(-3, 15))
def test_parts_of_a_text_are_counted_in_characters(words: str, start: int, count: int) -> None:
    row = {"s": words, "n": float(start), "m": float(count)}
    first = max(start, 1) - 1
    assert answer("LEFT(s, n)", **row) == (words[: max(start, 0)] or None)
    assert answer("RIGHT(s, n)", **row) == (words[max(len(words) - max(start, 0), 0) :] or None)
    assert answer("MID(s, n, m)", **row) == (words[first : first + max(count, 0)] or None)


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ('SUBSTR("abcdef", -2)', "ef"), ('SUBSTR("abcdef", -7)', None), ('SUBSTR("abcdef", 7)', None),
        ('SUBSTR("abcdef", 0, 2)', "ab"), ('MID("abc", 2, NULL)', None), ('LEFT("abc", 2.9)', "ab"),
        ('LEFT("abc", 0.1 * 3 / 0.1)', "abc"), ('RIGHT("abc", VALUE("1e300"))', "abc"), ('UPPER("straße")', "STRASSE"),
        ('UPPER("istanbul", "tr_TR")', "İSTANBUL"), ('LOWER("ISI", "tr")', "\u0131s\u0131"), ('LOWER("ISI", "en")', "isi"),
        ('INITCAP("o\'neill van 2nd")', "O'Neill Van 2nd"), ('FIND("b", "abcb", 3)', 4), ('FIND("b", "abc", 0)', 2),
        ('FIND("b", "ab", 9)', 0), ('LPAD("ab", 7, "xyz")', "xyzxyab"), ('RPAD("ab", 4)', "ab  "), ('RPAD("abc", 2, "x")', "ab"),
        ('LPAD("ab", -1)', None), ("CHR(0)", None), ("CHR(128512)", "😀"), ("CHR(55296)", None), ('CHR(VALUE("1e9"))', None),
        ("LEN(CHR(128512))", 1), ('INCLUDES("Red;Green", "Red;Green")', False), ('INCLUDES("Reddish", "Red")', False),
        ('ISPICKVAL("hot", "Hot")', False), ('TRIM("\t a ")', "\t a"), ('SUBSTITUTE("aaa", "aa", "b")', "ba"),
        ('REVERSE("añ😀")', "😀ña"),
    ],
)  # fmt: skip
def test_cutting_and_searching(formula: str, value: Any) -> None:
    assert answer(formula) == value


@pytest.mark.parametrize(
    ("words", "pattern", "fits"),
    [
        ("Howdy", "%dy", True), ("Howdy", "Ho_dy", True), ("Howdy", "ho%dy", False), ("a.c", "a.c", True), ("abc", "a.c", False),
        ("%", r"\%", True), ("x", r"\%", False), ("\\", r"\\", True), ("[a]", "[a]", True), ("a", "[a]", False),
        ("a\nb", "a%b", True), ("a|b", "a|b", True), ("a", "a|b", False), ("abc", "b", False), ("abc", "%b%", True),
        ("", "%%", True), ("", "_", False),
    ],
)  # fmt: skip
def test_like_fits_whole_texts(words: str, pattern: str, fits: bool) -> None:
    assert answer("LIKE(s, t)", s=words, t=pattern) is fits


@given(st.text("ab.%_\\", max_size=8), st.text("ab.%_", max_size=6))
def test_like_is_a_pattern_of_any_and_one(words: str, pattern: str) -> None:
    regex = "".join({"%": ".*", "_": "."}.get(character, re.escape(character)) for character in pattern)
    assert answer("LIKE(s, t)", s=words, t=pattern) is bool(re.fullmatch(regex, words, re.DOTALL))


def test_regex_fits_whole_texts_in_linear_time() -> None:
    rows = [{"s": "ab"}, {"s": "12"}, {"s": "123"}, {"s": "ab1"}]
    assert answers(r'REGEX(s, "[a-z]+|[0-9]{2}")', rows) == [True, True, False, False]
    assert answer('REGEX(s, "(a+)+")', s="a" * 5000 + "b") is False


@pytest.mark.parametrize("pattern", ["(", "a)|(b", "(?=a)", "(?:a{1000}){1000}", "a" * 1001])
def test_a_pattern_that_cannot_be_used_is_a_reason_and_no_crash(pattern: str) -> None:
    with pytest.raises(Refused, match="not a regular expression"):
        answer(f'REGEX(s, "{pattern}")', s="a")


def test_the_pattern_of_regex_has_to_be_a_constant() -> None:
    with pytest.raises(FormulaError, match="constant"):
        answer("REGEX(s, t)", s="a", t="a")


def test_a_long_like_pattern_is_refused() -> None:
    with pytest.raises(Refused, match="longer than 255"):
        answer("LIKE(s, t)", s="a", t="%" * 256)


@pytest.mark.parametrize(
    "formula",
    ['LPAD(s, VALUE("1e9"))', 'RPAD(s, VALUE("1e300"), "ab")', "SUBSTITUTE(s, t, LPAD(s, 90000))",
     'URLENCODE(RPAD(s, 50000, "é"))'],
)  # fmt: skip
def test_no_function_makes_a_text_grow_without_bound(formula: str) -> None:
    with pytest.raises(Refused, match="longer than 100,000 characters"):
        answer(formula, s="a-a-a", t="-")


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("1234", 1234), ("-1.234", -1.234), ("1.", 1), (".1", 0.1), ("+.1", 0.1), ("1.e-1", 0.1), (".1e+1", 1), ("1e-400", 0),
        ("--1", None), ("1-2", None), (".", None), ("-", None), ("1..1", None), (" 1", None), ("1_0", None), ("1e", None),
        ("inf", None), ("NaN", None), ("0x1", None), ("1e400", None), ("1,000", None),
    ],
)  # fmt: skip
def test_a_text_is_a_number_or_a_reason(words: str, number: float | None) -> None:
    assert answer("ISNUMBER(s)", s=words) is (number is not None)
    if number is not None:
        assert answer("VALUE(s)", s=words) == number
    else:
        with pytest.raises(Refused, match="the text is not a number"):
            answer("VALUE(s)", s=words)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_as_text_is_the_same_number_without_exponent(number: float) -> None:
    words = answer("TEXT(n)", n=number)
    assert re.fullmatch(r"-?(0|[1-9]\d*)(\.\d*[1-9])?", words)
    assert float(words) == number


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("TEXT(0.1 + 0.2)", "0.3"), ("TEXT(100)", "100"), ("TEXT(-0.0)", "0"), ('TEXT(VALUE("1e21"))', "1" + "0" * 21),
        ('TEXT(VALUE("5e-7"))', "0.0000005"), ("TEXT(DATE(2024, 2, 29))", "2024-02-29"),
        ('TEXT(DATETIMEVALUE("2013-12-31 01:02:03"))', "2013-12-31 01:02:03Z"),
        ('TEXT(TIMEVALUE("10:34:55.666"))', "10:34:55.666"), ('TEXT("Hot")', "Hot"),
        ('FORMATCURRENCY("USD", 1000.495)', "USD 1,000.50"), ('FORMATCURRENCY("JPY", -999999999)', "JPY -999,999,999"),
        ('FORMATCURRENCY("KWD", 15.1)', "KWD 15.100"), ('FORMATCURRENCY("", 1000)', "1,000.00"),
        ('FORMATCURRENCY("zzz", 2.345)', "zzz 2.35"), ('FORMATCURRENCY("USD", NULL)', None),
        ("FORMATDURATION(-1000000)", "277:46:40"), ("FORMATDURATION(1000000, TRUE)", "11:13:46:40"),
        ("FORMATDURATION(29.99)", "00:00:29"),
        ('FORMATDURATION(TIMEVALUE("01:00:00.000"), TIMEVALUE("00:00:29.590"))', "00:59:30"),
        ('FORMATDURATION(DATETIMEVALUE("2004-02-28 10:34:00"), DATETIMEVALUE("2004-03-01 00:00:00"))', "1:13:26:00"),
        ('URLENCODE("a~b c/é")', "a%7Eb+c%2F%C3%A9"), ('CASESAFEID("001A0000006Vm9rIAC")', "001A0000006Vm9rIAC"),
    ],
)  # fmt: skip
def test_values_as_texts(formula: str, value: str | None) -> None:
    assert answer(formula) == value


def test_a_blank_checkbox_shows_no_days() -> None:
    rows = [{"n": 86400.0, "b": True}, {"n": 86400.0}, {"b": True}]
    assert answers("FORMATDURATION(n, b)", rows) == ["1:00:00:00", "24:00:00", None]


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ('FORMATDURATION(VALUE("1e19"))', "the duration is too long"),
        ('FORMATCURRENCY("USD", VALUE("1e19"))', "the amount is too large"),
        ('CASESAFEID("001")', "not an id of 15 or 18"), ('TEXT(VALUE("1e308") * 10)', "too large or undefined"),
        ('LEFT(s, VALUE("1e308") * 10)', "too large"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_has_a_reason(formula: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        answer(formula, s="abc")


@pytest.mark.parametrize("formula", ["FORMATDURATION(TRUE)", "FORMATDURATION(n, n)", "FORMATDURATION(TIMEVALUE(s), NOW())"])
def test_types_that_do_not_fit_are_refused_before_anything_runs(formula: str) -> None:
    with pytest.raises(FormulaError):
        answer(formula)


@pytest.mark.parametrize(
    ("document", "value"),
    [
        ('{"a": 50}', "50"), ('{"a": "x"}', "x"), ('{"a": 45.50}', "45.5"), ('{"a": 1e22}', "1" + "0" * 22),
        ('{"a": true}', "true"), ('{"a": null}', None), ('{"b": 1}', None), ("{}", None), ("[1]", None), ("5", None),
        ("  ", None), ('{"a": {"b": 1}}', None), ('{"a": 123456789012345678901234567890}', "123456789012345678901234567890"),
    ],
)  # fmt: skip
def test_a_value_of_a_json_object(document: str, value: str | None) -> None:
    assert answer('JSONVALUE(s, "a")', s=document) == value


BROKEN = ["{", "{'a': 1}", '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', "[" * 100_000, '{"a":' + "9" * 5000 + "}"]


@pytest.mark.parametrize("document", BROKEN)
def test_what_is_not_json_is_a_reason_and_a_blank_at_a_path(document: str) -> None:
    with pytest.raises(Refused, match="the text is not JSON"):
        answer('JSONVALUE(s, "a")', s=document)
    assert answer('JSONPATHVALUE(s, "$.a")', s=document) is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$.a.b[0]", "1"), ("a.b[1]", "x"), ("$['a']['b'][-1]", "x"), ('$["a"]["n"]', None), ("$.a.b", '[1, "x"]'),
        ("$.a.b[2]", None), ("$.t[0]", None), ("$.a[0]", None), ("$.c", None), ("$['a b']", "2.5"),
    ],
)  # fmt: skip
def test_a_value_at_a_json_path(path: str, value: str | None) -> None:
    document = '{"a": {"b": [1, "x"], "n": null}, "t": "text", "a b": 2.5}'
    assert answer("JSONPATHVALUE(s, t)", s=document, t=path) == value


@pytest.mark.parametrize("path", ["$..a", "$.*", "$.a[?(@.b)]", "$.a[0:2]", "$a", "$.a" * 101])
def test_json_paths_have_only_keys_and_positions(path: str) -> None:
    with pytest.raises(Refused, match="more than keys and positions"):
        answer("JSONPATHVALUE(s, t)", s="{}", t=path)


CALLS = {
    "number": ("n", "VALUE(u)"), "text": ("s", "TEXT(VALUE(u))"), "boolean": ("b", "ISNUMBER(s)"), "date": ("DATEVALUE(s)",),
    "datetime": ("NOW()",), "time": ("TIMEVALUE(s)",),
}  # fmt: skip


VALUES = {
    "s": st.none() | WORDS, "u": st.none() | WORDS, "n": st.none() | st.floats(allow_nan=False), "b": st.none() | st.booleans(),
}  # fmt: skip


def _calls(param: Param) -> list[str]:
    return [call for type in sorted(param.types) for call in CALLS[type]]


@given(st.data())
def test_no_text_function_fails_on_any_input(data: st.DataObject) -> None:
    function = FUNCTIONS[data.draw(st.sampled_from([name for name in OURS if name not in ("FORMATDURATION", "REGEX")]))]
    count = data.draw(st.integers(function.least, 4 if function.most is None else function.most))
    args = [data.draw(st.sampled_from(_calls(param))) for param in function.shape(count)]
    rows = data.draw(st.lists(st.fixed_dictionaries(VALUES), max_size=4))
    assert len(answers(f"{function.name}({', '.join(args)})", rows)) == len(rows)


def test_a_reason_of_an_argument_is_the_reason_of_the_whole() -> None:
    for call in ("LEN(TEXT(VALUE(s)))", 'CONTAINS(TEXT(VALUE(s)), "1")', "LPAD(TEXT(VALUE(s)), 4)", 'LIKE(TEXT(VALUE(s)), "1%")'):
        good, bad = answers(call, [{"s": "1"}, {"s": "x"}])
        assert good is not None
        assert "the text is not a number in VALUE(s)" in str(bad)


def test_deeply_nested_calls_stay_small() -> None:
    formula = "s"
    for _ in range(29):
        formula = f'SUBSTITUTE(SUBSTR({formula}, 1, LEN(s)), "b", "c")'
    assert answer(formula, s="ab") == "ac"

"""A few texts are read by Python, many by Polars: nobody can tell which."""

from datetime import date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_core.schema import FieldType
from fieldline_mappings.formula import Slot, Type
from fieldline_mappings.formula.reader import Reader
from fieldline_mappings.formula.terms import Reasons
from fieldline_mappings.plain import plain_values
from fieldline_mappings.reading import KINDS

_TYPES = {
    FieldType.NUMBER: Type.NUMBER, FieldType.INTEGER: Type.NUMBER, FieldType.BOOLEAN: Type.BOOLEAN, FieldType.DATE: Type.DATE,
    FieldType.DATETIME: Type.DATETIME, FieldType.TIME: Type.TIME, FieldType.TEXT: Type.TEXT,
}  # fmt: skip
_DIGITS = st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,18})?", fullmatch=True)
_NUMBERS = _DIGITS | st.decimals(allow_nan=False, allow_infinity=False).map(str)
_MOMENTS = st.datetimes().map(lambda moment: moment.isoformat(timespec="seconds"))
_TEXTS = (
    st.none() | st.text(max_size=12) | _NUMBERS | st.dates().map(str) | _MOMENTS | _MOMENTS.map("{}Z".format)
    | st.sampled_from(["true", "false", "True", "-0", "0001-01-01", "0-1-1", "2025-02-30", "2025-01-01T24:00:00", " 1"])
)  # fmt: skip


def _read(field: FieldType, texts: list[str | None]) -> tuple[pl.Series, bool]:
    reader = Reader({"f": pl.String()}, "Europe/Berlin", zero_blanks=False)
    reader.term(Slot("f", _TYPES[field], field), Reasons())
    frame, readable = reader.read(pl.DataFrame({"f": texts}, schema={"f": pl.String}))
    return frame[f"{KINDS[field]}:f"], readable


@given(st.sampled_from(list(_TYPES)), _TEXTS)
def test_a_text_alone_says_what_it_says_among_many(field: FieldType, text: str | None) -> None:
    alone, readable = _read(field, [text])
    among, all_readable = _read(field, [text, *[None] * 50])
    assert alone.dtype == among.dtype
    assert repr(alone[0]) == repr(among[0])
    assert readable == all_readable


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("number", "-12.5", -12.5), ("integer", "900719925474099301", 900719925474099301), ("boolean", "true", True),
        ("date", "2026-02-28", date(2026, 2, 28)),
        ("datetime", "2026-02-28T07:30:00Z", datetime.fromisoformat("2026-02-28T07:30:00")),
    ],
)  # fmt: skip
def test_plain_texts_are_read_one_by_one(kind: str, text: str, value: object) -> None:
    assert plain_values(kind, [text, None]) == [value, None]


@pytest.mark.parametrize("text", ["0-1-1", "0000-12-31", "+10000-01-01", "0000-12-31T10:00:00Z"])
@pytest.mark.parametrize("field", [FieldType.DATE, FieldType.DATETIME])
def test_a_day_before_the_first_year_or_after_the_last_cannot_be_read(field: FieldType, text: str) -> None:
    values, readable = _read(field, [text, *[None] * 50])
    assert values.null_count() == len(values)
    assert not readable


@pytest.mark.parametrize("text", ["2026-02-30", "28.02.2026", "", "2026-02-28 "])
def test_one_that_is_not_plain_leaves_all_to_polars(text: str) -> None:
    assert plain_values("date", ["2026-02-28", text]) is None

# ruff: noqa: DTZ001
"""Values of OData V2 and V4: as they are read, written into a body, and compared in an address."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_connectors.odata.literals import Unfit, fitted, holds, literal, read, shown
from fieldline_connectors.odata.metadata import Property
from fieldline_core.batch import key_parts, key_text

GUID = "005056a5-09b1-1ed1-b9a8-fec11c21d78e"


def prop(edm: str, **facets: Any) -> Property:
    return Property("P", f"Edm.{edm}", **facets)


@pytest.mark.parametrize(
    ("edm", "written", "value"),
    [
        ("DateTime", "/Date(1709164800000)/", datetime(2024, 2, 29)),
        ("DateTime", "/Date(-86400000)/", datetime(1969, 12, 31)),
        ("DateTimeOffset", "/Date(1709164800000+0000)/", datetime(2024, 2, 29)),
        # The offset is in minutes, and the milliseconds are those of UTC all the same.
        ("DateTimeOffset", "/Date(1709164800000+0060)/", datetime(2024, 2, 29)),
        ("DateTimeOffset", "2024-02-29T01:00:00+01:00", datetime(2024, 2, 29)),
        ("DateTimeOffset", "2024-02-29T00:00:00.1234567Z", datetime(2024, 2, 29, 0, 0, 0, 123456)),
        ("Date", "2024-02-29", date(2024, 2, 29)),
        ("Time", "PT13H20M05S", time(13, 20, 5)),
        ("Time", "PT0S", time(0)),
        ("TimeOfDay", "13:20:05.5", time(13, 20, 5, 500_000)),
        ("Decimal", "98765432101234567.890", "98765432101234567.890"),
        ("Decimal", "1E+3", "1000"),
        ("Decimal", "", None),
        ("Int64", "9007199254740993", 2**53 + 1),
        ("Double", "1.5E-9", 1.5e-9),
        ("Guid", "005056A5-09B1-1ED1-B9A8-FEC11C21D78E", GUID),
        ("Boolean", True, True),
        ("String", "", ""),
    ],
)
def test_a_value_of_an_answer_is_read_exactly(edm: str, written: Any, value: Any) -> None:
    assert read(prop(edm), written) == value


def test_a_date_time_without_a_zone_is_of_the_connections_zone() -> None:
    summer = prop("DateTime")
    assert read(summer, "/Date(1720000000000)/", "Europe/Berlin") == datetime(2024, 7, 3, 7, 46, 40)
    assert shown(summer, datetime(2024, 7, 3, 7, 46, 40), "Europe/Berlin", False) == "/Date(1720000000000)/"
    assert literal(summer, datetime(2024, 7, 3, 7, 46, 40), "Europe/Berlin", False) == "datetime'2024-07-03T09:46:40'"


def test_a_value_that_no_calendar_has_is_refused() -> None:
    for edm, written in (("DateTime", "/Date(999999999999999)/"), ("Date", "0000-00-00"), ("Decimal", "NaN"), ("Time", "PT99H")):
        with pytest.raises(Unfit):
            read(prop(edm), written)


@pytest.mark.parametrize(
    ("edm", "value", "v2", "v4"),
    [
        ("String", "d'4", "'d''4'", "'d''4'"),
        ("Decimal", "100.5", "100.5M", "100.5"),
        ("Int64", 5, "5L", "5"),
        ("Int32", 5, "5", "5"),
        ("Double", 1.5, "1.5d", "1.5"),
        ("Guid", GUID.upper(), f"guid'{GUID}'", GUID),
        ("DateTimeOffset", datetime(2024, 2, 29, 1, 2, 3), "datetimeoffset'2024-02-29T01:02:03Z'", "2024-02-29T01:02:03Z"),
        ("Boolean", True, "true", "true"),
    ],
)  # fmt: skip
def test_a_literal_is_written_as_its_version_has_it(edm: str, value: Any, v2: str, v4: str) -> None:
    kind = prop(edm)
    assert literal(kind, fitted(kind, value), "UTC", False) == v2
    assert literal(kind, fitted(kind, value), "UTC", True) == v4


def test_dates_and_times_of_v2_have_literals_of_their_own() -> None:
    day = prop("DateTime", day=True)
    assert literal(day, fitted(day, "2024-02-29"), "Europe/Berlin", False) == "datetime'2024-02-29T00:00:00'"
    assert shown(day, date(2024, 2, 29), "Europe/Berlin", False) == "/Date(1709164800000)/"
    assert read(day, "/Date(1709164800000)/", "Europe/Berlin") == date(2024, 2, 29)
    assert literal(prop("Time"), time(13, 20, 5), "UTC", False) == "time'PT13H20M05S'"


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (prop("String", length=3), "four", "longer than its 3"),
        (prop("Decimal", precision=5, scale=2), "1000.00", "more than 5 digits"),
        (prop("Decimal", precision=5, scale=2), "1.234", "more than 2 decimal places"),
        (prop("Decimal"), float("nan"), "finite"),
        (prop("Double"), float("inf"), "finite"),
        (prop("Int32"), 2**31, "too large"),
        (prop("Int64"), 1.5, "fraction"),
        (prop("String", nullable=False), None, "must not be empty"),
        (prop("Guid"), "no guid", "no Edm.Guid"),
    ],
)
def test_a_value_that_a_property_cannot_hold_is_refused_without_being_repeated(kind: Property, value: Any, why: str) -> None:
    with pytest.raises(Unfit, match=why) as caught:
        fitted(kind, value)
    assert str(value) not in str(caught.value) or value is None


def test_a_float_is_rounded_to_the_scale_and_an_exact_number_is_not() -> None:
    kind = prop("Decimal", precision=30, scale=2)
    assert fitted(kind, 0.1 + 0.2) == Decimal("0.30")
    assert fitted(kind, "98765432101234567.89") == Decimal("98765432101234567.89")
    assert shown(kind, fitted(kind, "98765432101234567.89"), "UTC", True) == "98765432101234567.89"


def test_a_time_that_the_service_cut_to_milliseconds_is_still_the_same() -> None:
    kind = prop("DateTimeOffset", precision=7)
    written = datetime(2024, 3, 31, 1, 30, 0, 123456)
    assert holds(kind, datetime(2024, 3, 31, 1, 30, 0, 123000), written)
    assert not holds(kind, datetime(2024, 3, 31, 1, 30, 0, 125000), written)


def test_padding_and_emptiness_do_not_count_as_a_change() -> None:
    assert holds(prop("String"), "", None)
    assert holds(prop("String"), "A   ", "A")
    assert holds(prop("Decimal"), "1.50", Decimal("1.5"))
    assert not holds(prop("String"), "a", "A")


MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(9999, 1, 1)).map(lambda moment: moment.replace(microsecond=0))


@given(MOMENTS, st.booleans())
def test_a_moment_that_is_written_is_read_again(moment: datetime, v4: bool) -> None:
    for edm in ("DateTime", "DateTimeOffset"):
        kind = prop(edm)
        assert read(kind, shown(kind, moment, "UTC", v4)) == moment


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**25), max_value=10**25))
def test_a_decimal_keeps_every_digit(number: Decimal) -> None:
    kind = prop("Decimal")
    written = shown(kind, fitted(kind, format(number, "f")), "UTC", False)
    assert Decimal(read(kind, written)) == number


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=3))
def test_a_key_of_any_texts_is_taken_apart_again(parts: list[str]) -> None:
    assert key_parts(key_text(parts), len(parts)) == parts


def test_an_aware_time_is_written_in_utc() -> None:
    berlin = datetime(2024, 7, 3, 9, 0, tzinfo=UTC) + timedelta(0)
    assert shown(prop("DateTimeOffset"), fitted(prop("DateTimeOffset"), berlin), "UTC", True) == "2024-07-03T09:00:00Z"

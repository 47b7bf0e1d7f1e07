"""Dates and times in formulas."""

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldline_core.schema import FieldType
from fieldline_mappings.formula import Checker, Program, Scope
from fieldline_mappings.formula.program import Settings
from fieldline_mappings.formula.terms import CODE

CLOCK = datetime(2025, 3, 1, 23, 30, tzinfo=UTC)
DTYPES = {
    FieldType.NUMBER: pl.Float64(), FieldType.TEXT: pl.String(), FieldType.DATE: pl.Date(),
    FieldType.DATETIME: pl.Datetime("us"), FieldType.TIME: pl.Time(),
}  # fmt: skip
NUMBER, TEXT, DATE, DATETIME, TIME = DTYPES
ERROR = "cannot be computed"
DAYS = st.dates()
MOMENTS = st.datetimes()
NUMBERS = st.one_of(st.integers(-40_000, 40_000), st.floats(allow_nan=False, allow_infinity=False))
SETTINGS = settings(deadline=None, max_examples=40)
at = datetime.fromisoformat


def values(formula: str, zone: str = "UTC", **fields: tuple[FieldType, list[Any]]) -> list[Any]:
    """The formula's value for each row of these fields; ERROR where it has none."""
    columns = {name: pl.Series(given, dtype=DTYPES[type]) for name, (type, given) in fields.items()}
    frame = pl.DataFrame(columns or {"row": [0]})
    checker = Checker(Scope.of({name: type for name, (type, _) in fields.items()}))
    program = Program((position := checker.check(formula), checker.parts)[1], frame.schema, Settings(zone))
    term = program.term(position)
    wanted = {"value": term.value, "error": pl.lit(None, CODE) if term.error is None else term.error}
    results = program.evaluate(program.read(frame, CLOCK), wanted)
    return [value if error is None else ERROR for value, error in results.rows()]


def value(formula: str, zone: str = "UTC") -> Any:
    """The value of a formula without fields."""
    return values(formula, zone)[0]


@SETTINGS
@given(parts=st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=20))
def test_date_gives_the_day_with_these_whole_parts_or_fails(parts: list[tuple[float, float, float]]) -> None:
    def expected(year: float, month: float, day: float) -> Any:
        try:
            return date(int(year), int(month), int(day))
        except (ValueError, OverflowError):
            return ERROR

    years, months, days = ([*map(float, column)] for column in zip(*parts, strict=True))
    got = values("DATE(y, m, d)", y=(NUMBER, years), m=(NUMBER, months), d=(NUMBER, days))
    assert got == [expected(*row) for row in zip(years, months, days, strict=True)]


@SETTINGS
@given(day=DAYS)
def test_the_parts_of_a_date_make_it_again(day: date) -> None:
    assert values("DATE(YEAR(d), MONTH(d), DAY(d))", d=(DATE, [day, None])) == [day, None]
    assert values("WEEKDAY(d)", d=(DATE, [day])) == [day.isoweekday() % 7 + 1]
    assert values("DAYOFYEAR(d)", d=(DATE, [day])) == [day.timetuple().tm_yday]
    assert [*values("ISOYEAR(d)", d=(DATE, [day])), *values("ISOWEEK(d)", d=(DATE, [day]))] == [*day.isocalendar()[:2]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2005-1-2", date(2005, 1, 2)),
        ("2005-01-02T10:00:00Z", date(2005, 1, 2)),
        ("2005- 01-002", date(2005, 1, 2)),
        ("200-01-03", ERROR),
        (" 2005-01-03", ERROR),
        ("20050103", ERROR),
        ("2005-02-29", ERROR),
        ("0000-12-12", ERROR),
        ("2005-01-" + "9" * 5000, ERROR),
        ("", ERROR),
        (None, None),
    ],
)
def test_datevalue_reads_a_date_at_the_beginning_of_a_text(text: str | None, expected: Any) -> None:
    assert values("DATEVALUE(t)", t=(TEXT, [text])) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2012-2-7 5:2:3", at("2012-02-07 05:02:03")),
        ("2012-02-07  05:22:33 and more", at("2012-02-07 05:22:33")),
        ("2012-02-07T05:22:33", ERROR),
        ("2012-02-07 05:22", ERROR),
        ("2012-02-07 24:00:00", ERROR),
        ("2012-02-07 23:59:60", ERROR),
        (None, None),
    ],
)  # fmt: skip
def test_datetimevalue_reads_a_moment_in_utc(text: str | None, expected: Any) -> None:
    assert values("DATETIMEVALUE(t)", zone="America/New_York", t=(TEXT, [text])) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10:34:55.666", time(10, 34, 55, 666_000)),
        ("1:2:3.4", time(1, 2, 3, 4_000)),
        ("10:34:55", ERROR),
        ("10:34:55.666 ", ERROR),
        ("10:34:55.6666", ERROR),
        ("24:00:00.000", ERROR),
        (None, None),
    ],
)
def test_timevalue_reads_hours_minutes_seconds_and_milliseconds(text: str | None, expected: Any) -> None:
    assert values("TIMEVALUE(t)", t=(TEXT, [text])) == [expected]


def test_the_zone_says_on_which_day_and_at_which_hour_a_moment_lies() -> None:
    moment = 'DATETIMEVALUE("2024-03-01 02:30:00")'
    assert value(f"DATEVALUE({moment})", "America/New_York") == date(2024, 2, 29)
    assert value(f"HOUR(TIMEVALUE({moment}))", "America/New_York") == 21
    assert value(f"ISOWEEK({moment})", "America/New_York") == 9
    assert value("DATETIMEVALUE(DATE(2024, 2, 29))", "America/New_York") == at("2024-02-29 05:00:00")
    assert value("UNIXTIMESTAMP(DATE(1970, 1, 1))", "Asia/Kolkata") == -5.5 * 3600


def test_the_zone_says_which_day_today_is() -> None:
    assert [value("TODAY()", zone) for zone in ("UTC", "Asia/Tokyo")] == [date(2025, 3, 1), date(2025, 3, 2)]
    assert value("NOW()", "Asia/Tokyo") == CLOCK.replace(tzinfo=None)
    assert value("TIMENOW()", "Asia/Tokyo") == time(8, 30)
    assert value("DAYS_SINCE(DATE(2025, 2, 27))", "Asia/Tokyo") == 3
    assert value("DAYS_SINCE(NOW())", "Asia/Tokyo") == 0
    assert value("DAYS_SINCE(DATE(2025, 3, 11))") == -10


def test_a_day_whose_midnight_is_skipped_has_no_first_moment() -> None:
    assert value("DATETIMEVALUE(DATE(2018, 11, 4))", "America/Sao_Paulo") == ERROR


def test_a_midnight_that_is_repeated_is_the_earlier_one() -> None:
    assert value("DATETIMEVALUE(DATE(2018, 11, 4))", "America/Havana") == at("2018-11-04 04:00:00")


def months_later(day: date, months: int) -> Any:
    """The same day of a later month, counted in days after the one before."""
    try:
        before = day + timedelta(days=1)
        year, month = divmod(before.year * 12 + before.month - 1 + months, 12)
        return date(year, month + 1, min(before.day, monthrange(year, month + 1)[1])) - timedelta(days=1)
    except (ValueError, OverflowError):
        return ERROR


@SETTINGS
@given(day=st.dates(max_value=date(9999, 11, 30)), months=st.integers(-130_000, 130_000))
def test_addmonths_keeps_the_distance_to_the_end_of_the_month_before(day: date, months: int) -> None:
    expected = months_later(day, months)
    if months_later(day, months + 1) != ERROR:  # Python's calendar ends a day too early.
        assert values("ADDMONTHS(d, n)", d=(DATE, [day]), n=(NUMBER, [months])) == [expected]


def test_addmonths_leads_from_a_last_day_to_a_last_day() -> None:
    assert value("ADDMONTHS(DATE(2024, 2, 29), 12)") == date(2025, 2, 28)
    assert value("ADDMONTHS(DATE(2024, 2, 29), 1)") == date(2024, 3, 31)
    assert value("ADDMONTHS(DATE(2024, 1, 30), 1)") == date(2024, 2, 28)
    assert value("ADDMONTHS(DATE(9999, 11, 30), 1)") == date(9999, 12, 31)
    assert value("ADDMONTHS(DATE(2024, 1, 31), -0.9)") == date(2024, 1, 31)


def test_addmonths_by_a_blank_number_gives_the_date_itself() -> None:
    given = {"d": (DATE, [date(2024, 1, 31), None]), "n": (NUMBER, [None, 1.0])}
    assert values("ADDMONTHS(d, n)", **given) == [date(2024, 1, 31), None]
    assert values("ADDMONTHS(d, n / 0)", **given) == [date(2024, 1, 31), ERROR]


@SETTINGS
@given(moment=st.datetimes(at("1975-01-01 00:00:00"), at("2035-01-01 00:00:00")), months=st.integers(-100, 100))
def test_addmonths_of_a_datetime_moves_its_day_in_the_zone(moment: datetime, months: int) -> None:
    given = {"m": (DATETIME, [moment]), "n": (NUMBER, [months])}
    there = {"zone": "America/New_York", **given}
    assert values("TIMEVALUE(ADDMONTHS(m, n))", **there) in (values("TIMEVALUE(m)", **there), [ERROR])
    moved = values("DATEVALUE(ADDMONTHS(m, n))", **there)
    assert moved in (values("ADDMONTHS(DATEVALUE(m), n)", **there), [ERROR])


@SETTINGS
@given(day=DAYS, number=NUMBERS)
def test_a_date_moves_by_whole_days(day: date, number: float) -> None:
    def moved(days: float) -> Any:
        try:
            return day + timedelta(days=int(days))
        except OverflowError:
            return ERROR

    given = {"d": (DATE, [day]), "n": (NUMBER, [number])}
    assert values("d + n", **given) == [moved(number)]
    assert values("n + d", **given) == [moved(number)]
    assert values("d - n", **given) == [moved(-number)]


def test_computed_numbers_of_days_lose_their_binary_noise() -> None:
    assert value("DATE(2024, 1, 1) + (0.1 + 0.7) * 10") == date(2024, 1, 9)


@SETTINGS
@given(earlier=MOMENTS, later=MOMENTS)
def test_a_datetime_moves_to_another_by_the_days_between_them(earlier: datetime, later: datetime) -> None:
    earlier, later = earlier.replace(microsecond=0), later.replace(microsecond=0)
    given = {"a": (DATETIME, [earlier]), "b": (DATETIME, [later])}
    assert values("a + (b - a)", **given) == [later]
    assert values("b - (b - a)", **given) == [earlier]


def test_a_datetime_moves_to_the_nearest_second() -> None:
    moment = 'DATETIMEVALUE("2009-02-07 10:00:00")'
    assert value(f"{moment} + 0.00015625") == at("2009-02-07 10:00:14")
    assert value(f"{moment} - 0.00015625") == at("2009-02-07 09:59:46")


@SETTINGS
@given(clock=st.times(), milliseconds=st.integers(-90_000_000, 300_000_000))
def test_a_time_goes_on_after_midnight_but_not_back_over_it(clock: time, milliseconds: int) -> None:
    clock = clock.replace(microsecond=clock.microsecond // 1000 * 1000)
    moment = datetime.combine(date(2000, 1, 2), clock) + timedelta(milliseconds=milliseconds)
    allowed = moment.date() >= date(2000, 1, 2) or moment.time() == time()
    assert values("t + n", t=(TIME, [clock]), n=(NUMBER, [milliseconds])) == [moment.time() if allowed else ERROR]


def test_between_two_times_lie_the_milliseconds_until_the_clock_shows_the_first_one() -> None:
    one, other = 'TIMEVALUE("01:00:00.000")', 'TIMEVALUE("23:56:45.898")'
    assert [value(f"{one} - {other}"), value(f"{other} - {one}")] == [3_794_102, 82_605_898]


@SETTINGS
@given(moment=MOMENTS)
def test_unix_times_count_seconds(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    assert values("UNIXTIMESTAMP(m)", m=(DATETIME, [moment])) == [(moment - at("1970-01-01")) / timedelta(seconds=1)]
    assert values("FROMUNIXTIME(UNIXTIMESTAMP(m))", m=(DATETIME, [moment])) == [moment]


def test_unix_times_are_cut_towards_1970() -> None:
    assert values("UNIXTIMESTAMP(m)", m=(DATETIME, [at("1969-12-31 23:59:58.500000")])) == [-1]
    assert values("UNIXTIMESTAMP(t)", t=(TIME, [time(1, 2, 3, 999_999)])) == [3723]
    assert value("FROMUNIXTIME(1.001)") == at("1970-01-01 00:00:01.001000")


@pytest.mark.parametrize("number", [1e15, -1e15, 1e300, -1e300, 1.7e308, 4e9, 3e11])
@pytest.mark.parametrize(
    "formula",
    ["DATE(n, 1, 1)", "DATE(2000, n, 1)", "DATE(2000, 1, n)", "d + n", "d - n", "m + n", "m - n", "ADDMONTHS(d, n)",
     "ADDMONTHS(m, n)", "FROMUNIXTIME(n * 100)", "d + n * n", "ADDMONTHS(m, n * n * n)"],
)  # fmt: skip
def test_numbers_beyond_the_calendar_cannot_be_computed(formula: str, number: float) -> None:
    given = {"n": (NUMBER, [number]), "d": (DATE, [date(2000, 1, 1)]), "m": (DATETIME, [at("2000-01-01 00:00:00")])}
    assert values(formula, zone="Europe/Berlin", **given) == [ERROR]


def test_what_lies_outside_of_the_years_1_to_9999_cannot_be_computed() -> None:
    assert value("DATE(9999, 12, 31) + 1") == ERROR
    assert value("DATE(1, 1, 1) - 1") == ERROR
    assert value("ADDMONTHS(DATE(9999, 12, 31), 1)") == ERROR
    assert value("ADDMONTHS(DATE(1, 1, 1), -1)") == ERROR
    assert value('DATEVALUE(DATETIMEVALUE("9999-12-31 23:00:00"))', "Asia/Tokyo") == ERROR
    assert value("DATETIMEVALUE(DATE(1, 1, 1))", "Asia/Tokyo") == ERROR
    assert value('DATETIMEVALUE("9999-12-31 23:59:59") + 1') == ERROR


def test_what_is_blank_makes_blank() -> None:
    blanks = {"d": (DATE, [None]), "m": (DATETIME, [None]), "t": (TIME, [None]), "n": (NUMBER, [None])}
    for formula in (
        "DATE(n, n, 1)", "YEAR(d)", "DATEVALUE(m)", "DATETIMEVALUE(d)", "TIMEVALUE(m)", "HOUR(t)", "ISOWEEK(m)", "ADDMONTHS(m, 1)",
        "UNIXTIMESTAMP(d)", "UNIXTIMESTAMP(t)", "FROMUNIXTIME(n)", "DAYS_SINCE(m)", "d + 1", "TODAY() + n", "NOW() - m", "t + 1",
    ):  # fmt: skip
        assert values(formula, **blanks) == [None], formula


def test_only_the_rows_that_fail_fail() -> None:
    given = [date(2024, 1, 1), None, date(9999, 12, 31)]
    assert values("d + 1", d=(DATE, given)) == [date(2024, 1, 2), None, ERROR]

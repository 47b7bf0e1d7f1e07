"""Dates and times, and their arithmetic.

A datetime is a moment; on which day and at which hour it lies, the clocks of the mapping's time zone say. Written datetimes are in
UTC, as in Salesforce. Where clocks skip a local time it cannot be computed; where they repeat one, the first counts. What falls
outside of the years 1 to 9999 cannot be computed either.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import polars as pl

from fieldline_mappings.formula.library import function, number, of
from fieldline_mappings.formula.terms import NOW, TODAY, Context, Term, quotient
from fieldline_mappings.formula.types import DTYPES, Type
from fieldline_mappings.reading import local

_GROUP = "date and time"
_EPOCH = date(1970, 1, 1)
_FIRST_DAY, _LAST_DAY = (date.min - _EPOCH).days, (date.max - _EPOCH).days
_DAY_MS, _DAY_US = 86_400_000, 86_400_000_000
_MOST = 1e15
"""Larger numbers have no digits left behind the decimal point, and lead out of the calendar in any unit."""
_NO_DATE, _NO_MOMENT = "there is no such date", "there is no such date and time"
# Salesforce reads texts as Java does: with any number of leading zeros, spaces before numbers, and for dates anything behind them.
_NUMBER = r"[ \t]*([0-9]+)"
_DATE = rf"^([0-9]{{4}})-{_NUMBER}-{_NUMBER}.*$"
_DATETIME = rf"^([0-9]{{4}})-{_NUMBER}-{_NUMBER} {_NUMBER}:{_NUMBER}:{_NUMBER}.*$"
_TIME = rf"^{_NUMBER}:{_NUMBER}:{_NUMBER}\.{_NUMBER}$"


def _made(ctx: Context, type: Type, value: pl.Expr, reason: str, *args: Term) -> Term:
    """A value that cannot be computed where it is null though no argument is."""
    shared = ctx.share(Term(type, value, weight=2))
    failed = shared.value.is_null()
    for arg in args:
        failed = failed & arg.value.is_not_null()
    return ctx.term(type, shared.value, *args, fails=[(failed, reason)], exact=True)


def _whole(value: pl.Expr) -> pl.Expr:
    """The part of numbers before the decimal point, null where they are too large."""
    return pl.when(value.abs() < _MOST).then(value).cast(pl.Int64)


def _day(days: pl.Expr) -> pl.Expr:
    """The date so many days after 1970-01-01."""
    return pl.when(days.is_between(_FIRST_DAY, _LAST_DAY)).then(days).cast(pl.Date)


def _moment(microseconds: pl.Expr) -> pl.Expr:
    """The moment so many microseconds after 1970-01-01 in UTC."""
    valid = microseconds.is_between(_FIRST_DAY * _DAY_US, (_LAST_DAY + 1) * _DAY_US - 1)
    return pl.when(valid).then(microseconds).cast(DTYPES[Type.DATETIME])


def _days(day: pl.Expr) -> pl.Expr:
    return day.cast(pl.Int32).cast(pl.Int64)


def _clock(moment: pl.Expr, zone: str) -> pl.Expr:
    """What the clocks of the zone show at a moment."""
    return local(moment, zone).dt.replace_time_zone(None)


def _at(clock: pl.Expr, zone: str) -> pl.Expr:
    """The moment at which the clocks of the zone show this: null where they skip it, the first where they repeat it."""
    aware = clock.dt.replace_time_zone(zone, non_existent="null", ambiguous="earliest")
    return _moment(aware.dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(pl.Int64))


def _local_day(ctx: Context, moment: Term) -> pl.Expr:
    return moment.value if moment.type is Type.DATE else _clock(moment.value, ctx.zone).dt.date()


def add(ctx: Context, moment: Term, amount: Term, sign: int) -> Term:
    """A moment so much later or (`sign` -1) earlier.

    Dates move by whole days, datetimes by days to the nearest second, times by whole milliseconds. A time goes on after midnight,
    but not back over it, as in Salesforce.
    """
    amount = ctx.share(ctx.settled(replace(amount, type=Type.NUMBER, value=amount.value.cast(pl.Float64))))
    match moment.type:
        case Type.DATE:
            days = _days(moment.value) + sign * _whole(ctx.snapped(amount))
            return _made(ctx, Type.DATE, _day(days), _NO_DATE, moment, amount)
        case Type.DATETIME:
            seconds = (amount.value.clip(-1e9, 1e9) * 86_400).round_sig_figs(15).round(0, mode="half_away_from_zero")
            moved = moment.value.cast(pl.Int64) + sign * _whole(seconds) * 1_000_000
            return _made(ctx, Type.DATETIME, _moment(moved), _NO_MOMENT, moment, amount)
    moved = moment.value.cast(pl.Int64) // 1_000_000 + sign * _whole(ctx.snapped(amount))
    rest = moved % _DAY_MS
    clock = pl.when((moved >= 0) | (rest == 0)).then(rest * 1_000_000).cast(pl.Time)
    return _made(ctx, Type.TIME, clock, "there is no such time of the day", moment, amount)


def between(ctx: Context, later: Term, earlier: Term) -> Term:
    """The time from one moment to another: in days, and for times of the day in milliseconds until the clock next shows `later`."""
    if later.type is Type.TIME:
        milliseconds = (later.value.cast(pl.Int64) // 1_000_000 - earlier.value.cast(pl.Int64) // 1_000_000) % _DAY_MS
        return ctx.term(Type.NUMBER, milliseconds.cast(pl.Float64), later, earlier, exact=True)
    if later.type is Type.DATE:
        days = _days(later.value) - _days(earlier.value)
        return ctx.term(Type.NUMBER, days.cast(pl.Float64), later, earlier, exact=True)
    apart = later.value.cast(pl.Int64) - earlier.value.cast(pl.Int64)
    microseconds = ctx.share(Term(Type.NUMBER, apart.cast(pl.Float64), weight=2))
    return ctx.term(Type.NUMBER, quotient(microseconds.value, pl.lit(float(_DAY_US))), later, earlier)


@function("DATE", _GROUP, [number("year"), number("month"), number("day")], Type.DATE,
          "The date with this year, month and day; what stands behind their decimal points does not count.",
          "DATE(2024, 2, 29)", "2024-02-29")  # fmt: skip
def _date(ctx: Context, *parts: Term) -> Term:
    parts = tuple(ctx.share(ctx.settled(part)) for part in parts)
    year, month, day = (_whole(ctx.snapped(part)) for part in parts)
    return _made(ctx, Type.DATE, _existing(ctx, year, month, day), _NO_DATE, *parts)


def _existing(ctx: Context, year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    """The date with this year, month and day, null where there is none."""
    # A date that does not exist would end the batch: the first of the month exists, and days past its last fall into the next.
    first = pl.date(year.clip(1, 9999), month.clip(1, 12), 1)
    made = ctx.columns.add(_day(_days(first) + day.clip(1, 31) - 1))
    return pl.when(year.is_between(1, 9999) & month.is_between(1, 12) & (made.dt.day() == day)).then(made)


@function("DATEVALUE", _GROUP, [of("value", Type.TEXT, Type.DATETIME, Type.DATE)], Type.DATE,
          "The date that a text begins with (YYYY-MM-DD), or the day of a datetime in the mapping's time zone.",
          'DATEVALUE("2024-02-29")', "2024-02-29")  # fmt: skip
def _datevalue(ctx: Context, value: Term) -> Term:
    if value.type is Type.TEXT:
        day = _existing(ctx, *_numbers(ctx, _DATE, 3, value))
        return _made(ctx, Type.DATE, day, "the text is not a date (YYYY-MM-DD)", value)
    if value.type is Type.DATE:
        return value
    return _made(ctx, Type.DATE, _day(_days(_local_day(ctx, value))), _NO_DATE, value)


@function("DATETIMEVALUE", _GROUP, [of("value", Type.TEXT, Type.DATE, Type.DATETIME)], Type.DATETIME,
          "The moment in UTC that a text begins with (YYYY-MM-DD HH:MM:SS), or when a day begins in the mapping's time zone.",
          'DATETIMEVALUE("2024-02-29 17:30:00")', "2024-02-29 17:30:00Z")  # fmt: skip
def _datetimevalue(ctx: Context, value: Term) -> Term:
    if value.type is Type.TEXT:
        year, month, day, hour, minute, second = _numbers(ctx, _DATETIME, 6, value)
        microseconds = _days(_existing(ctx, year, month, day)) * _DAY_US + _milliseconds(hour, minute, second, pl.lit(0)) * 1000
        return _made(ctx, Type.DATETIME, _moment(microseconds), "the text is not a date and time (YYYY-MM-DD HH:MM:SS)", value)
    if value.type is Type.DATETIME:
        return value
    midnight = _at(value.value.cast(DTYPES[Type.DATETIME]), ctx.zone)
    return _made(ctx, Type.DATETIME, midnight, "the day has no midnight", value)


@function("TIMEVALUE", _GROUP, [of("value", Type.TEXT, Type.DATETIME, Type.TIME)], Type.TIME,
          "The time of the day that a text says (HH:MM:SS.mmm), or that clocks in the mapping's time zone show at a moment.",
          'TIMEVALUE("17:30:00.000")', "17:30:00.000")  # fmt: skip
def _timevalue(ctx: Context, value: Term) -> Term:
    if value.type is Type.TEXT:
        clock = (_milliseconds(*_numbers(ctx, _TIME, 4, value)) * 1_000_000).cast(pl.Time)
        return _made(ctx, Type.TIME, clock, "the text is not a time (HH:MM:SS.mmm)", value)
    if value.type is Type.TIME:
        return value
    return ctx.term(Type.TIME, _clock(value.value, ctx.zone).dt.time(), value)


def _numbers(ctx: Context, pattern: str, count: int, text: Term) -> list[pl.Expr]:
    """The numbers in texts of this pattern, null in others."""
    groups = ctx.columns.add(text.value.str.extract_groups(pattern))
    return [groups.struct.field(str(position)).cast(pl.Int64, strict=False) for position in range(1, count + 1)]


def _milliseconds(hour: pl.Expr, minute: pl.Expr, second: pl.Expr, millisecond: pl.Expr) -> pl.Expr:
    """The milliseconds since midnight, null where there is no such time of the day."""
    valid = (hour < 24) & (minute < 60) & (second < 60) & (millisecond < 1000)
    return pl.when(valid).then(((hour * 60 + minute) * 60 + second) * 1000 + millisecond)


def _part(name: str, type: Type, about: str, example: str, gives: str, part: Callable[[pl.Expr], pl.Expr]) -> None:
    def build(ctx: Context, moment: Term) -> Term:
        return ctx.term(Type.NUMBER, part(moment.value).cast(pl.Float64), moment, exact=True)

    function(name, _GROUP, [of("date" if type is Type.DATE else "time", type)], Type.NUMBER, about, example, gives)(build)


_part("YEAR", Type.DATE, "The year of a date.", "YEAR(DATE(2024, 2, 29))", "2024", lambda day: day.dt.year())
_part("MONTH", Type.DATE, "The month of a date, 1 to 12.", "MONTH(DATE(2024, 2, 29))", "2", lambda day: day.dt.month())
_part("DAY", Type.DATE, "The day of the month of a date, 1 to 31.", "DAY(DATE(2024, 2, 29))", "29", lambda day: day.dt.day())
_part("WEEKDAY", Type.DATE, "The day of the week of a date, from 1 for Sunday to 7 for Saturday.",
      "WEEKDAY(DATE(2024, 2, 29))", "5", lambda day: day.dt.weekday() % 7 + 1)  # fmt: skip
_part("DAYOFYEAR", Type.DATE, "The day of the year of a date, 1 to 366.", "DAYOFYEAR(DATE(2024, 2, 29))", "60",
      lambda day: day.dt.ordinal_day())  # fmt: skip
_part("HOUR", Type.TIME, "The hour of a time, 0 to 23.", 'HOUR(TIMEVALUE("17:30:05.250"))', "17",
      lambda clock: clock.dt.hour())  # fmt: skip
_part("MINUTE", Type.TIME, "The minute of a time, 0 to 59.", 'MINUTE(TIMEVALUE("17:30:05.250"))', "30",
      lambda clock: clock.dt.minute())  # fmt: skip
_part("SECOND", Type.TIME, "The second of a time, 0 to 59.", 'SECOND(TIMEVALUE("17:30:05.250"))', "5",
      lambda clock: clock.dt.second())  # fmt: skip
_part("MILLISECOND", Type.TIME, "The millisecond of a time, 0 to 999.", 'MILLISECOND(TIMEVALUE("17:30:05.250"))', "250",
      lambda clock: clock.dt.millisecond())  # fmt: skip


@function("ISOWEEK", _GROUP, [of("date", Type.DATE, Type.DATETIME)], Type.NUMBER,
          "The week of the year by ISO 8601, 1 to 53: weeks begin on Monday, and the first one has the year's first Thursday.",
          "ISOWEEK(DATE(2024, 2, 29))", "9")  # fmt: skip
def _isoweek(ctx: Context, moment: Term) -> Term:
    return ctx.term(Type.NUMBER, _local_day(ctx, moment).dt.week().cast(pl.Float64), moment, exact=True)


@function("ISOYEAR", _GROUP, [of("date", Type.DATE, Type.DATETIME)], Type.NUMBER,
          "The year that the ISO 8601 week of a day belongs to.", "ISOYEAR(DATE(2024, 12, 31))", "2025")  # fmt: skip
def _isoyear(ctx: Context, moment: Term) -> Term:
    return ctx.term(Type.NUMBER, _local_day(ctx, moment).dt.iso_year().cast(pl.Float64), moment, exact=True)


@function("ADDMONTHS", _GROUP, [of("date", Type.DATE, Type.DATETIME, alike="result"), number("months")], None,
          "The same day so many months later, and the last day of a month for the last day of a month.",
          "ADDMONTHS(DATE(2024, 2, 29), 1)", "2024-03-31")  # fmt: skip
def _addmonths(ctx: Context, moment: Term, months: Term) -> Term:
    if moment.type is Type.NULL:
        return moment
    moment, months = ctx.share(moment), ctx.settled(months)
    # A blank number of months is none, in Salesforce.
    filled = ctx.where_known(months.value.fill_null(0), months)
    months = ctx.share(replace(months, value=filled, weight=months.weight + months.error_weight + 1))
    before = ctx.columns.add(_days(_local_day(ctx, moment)))
    after = _months_later(ctx, before, _whole(ctx.snapped(months)))
    if moment.type is Type.DATE:
        return _made(ctx, Type.DATE, _day(after), _NO_DATE, moment, months)
    clock = _clock(moment.value, ctx.zone).cast(pl.Int64) + (after - before) * _DAY_US
    return _made(ctx, Type.DATETIME, _at(_moment(clock), ctx.zone), _NO_MOMENT, moment, months)


def _months_later(ctx: Context, days: pl.Expr, count: pl.Expr) -> pl.Expr:
    """The days of dates so many months later: the day after moves and stays within its month, and the day before that is it."""
    after = (days + 1).cast(pl.Date)
    months = ctx.columns.add(after.dt.year().cast(pl.Int64) * 12 + after.dt.month() - 1 + count)
    year = months // 12
    first = ctx.columns.add(pl.date(year.clip(1, 10_000), months % 12 + 1, 1))
    moved = pl.min_horizontal(_days(first) + after.dt.day() - 1, _days(first.dt.month_end()))
    return pl.when(year.is_between(1, 10_000)).then(moved - 1)


@function("UNIXTIMESTAMP", _GROUP, [of("moment", Type.DATE, Type.DATETIME, Type.TIME)], Type.NUMBER,
          "The whole seconds from 1970 (UTC) to a moment or to the beginning of a day, and for times those since midnight.",
          'UNIXTIMESTAMP(DATETIMEVALUE("2024-02-29 17:30:00"))', "1709227800")  # fmt: skip
def _unixtimestamp(ctx: Context, moment: Term) -> Term:
    if moment.type is Type.TIME:
        return ctx.term(Type.NUMBER, (moment.value.cast(pl.Int64) // 1_000_000_000).cast(pl.Float64), moment, exact=True)
    moment = ctx.share(_datetimevalue(ctx, moment))
    microseconds = moment.value.cast(pl.Int64)
    seconds = microseconds.sign() * (microseconds.abs() // 1_000_000)
    return ctx.term(Type.NUMBER, seconds.cast(pl.Float64), moment, exact=True)


@function("FROMUNIXTIME", _GROUP, [number("seconds")], Type.DATETIME,
          "The moment so many seconds after the beginning of 1970 (UTC).",
          "FROMUNIXTIME(1709227800)", "2024-02-29 17:30:00Z")  # fmt: skip
def _fromunixtime(ctx: Context, seconds: Term) -> Term:
    seconds = ctx.share(ctx.settled(seconds))
    milliseconds = _whole((seconds.value.clip(-_MOST, _MOST) * 1000).round_sig_figs(15))
    return _made(ctx, Type.DATETIME, _moment(milliseconds * 1000), _NO_MOMENT, seconds)


@function("TODAY", _GROUP, [], Type.DATE, "The day of the decision in the mapping's time zone.", "TODAY() - TODAY()", "0")
def _today(ctx: Context) -> Term:
    return Term(Type.DATE, pl.col(TODAY))


@function("NOW", _GROUP, [], Type.DATETIME, "The moment of the decision.", "NOW() - NOW()", "0")
def _now(ctx: Context) -> Term:
    return Term(Type.DATETIME, pl.col(NOW))


@function("TIMENOW", _GROUP, [], Type.TIME, "What clocks in the mapping's time zone show at the moment of the decision.",
          "TIMENOW() - TIMENOW()", "0")  # fmt: skip
def _timenow(ctx: Context) -> Term:
    return ctx.term(Type.TIME, _clock(pl.col(NOW), ctx.zone).dt.time())


@function("DAYS_SINCE", _GROUP, [of("date", Type.DATE, Type.DATETIME)], Type.NUMBER,
          "The whole days from a day to the day of the decision, in the mapping's time zone; negative for days to come.",
          "DAYS_SINCE(TODAY() - 7)", "7")  # fmt: skip
def _days_since(ctx: Context, moment: Term) -> Term:
    days = _days(pl.col(TODAY)) - _days(_local_day(ctx, moment))
    return ctx.term(Type.NUMBER, days.cast(pl.Float64), moment, exact=True)

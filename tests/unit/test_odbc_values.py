"""Values on their way in and out: dates that no calendar has, zones, whole numbers, keys."""

from datetime import date, datetime, time
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_connectors.odbc import OdbcTarget
from fieldline_connectors.odbc.columns import from_utc, key_series, raw_series, series, to_utc
from fieldline_connectors.odbc.dialects import Column, PostgreSql
from fieldline_connectors.odbc.rows import ready
from fieldline_connectors.odbc.statements import Shape
from fieldline_core.batch import Batch, key_parts
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Slice
from fieldline_core.receipts import Outcome
from fieldline_core.schema import FieldType

POSTGRES = PostgreSql()


def read(kind: str, *texts: str | None, zone: str = "UTC", blank: bool = False) -> list[Any]:
    column = POSTGRES.typed("c", kind)
    return series(column, raw_series(column, texts), zone, "blank" if blank else "refuse").to_list()


def test_times_are_read_exactly() -> None:
    assert read("date", "2024-02-29", None) == [date(2024, 2, 29), None]
    assert read("time without time zone", "12:30:01.5") == [time(12, 30, 1, 500_000)]
    assert read("timestamp without time zone", "2024-02-29 01:02:03.000004") == [
        datetime.fromisoformat("2024-02-29T01:02:03.000004")
    ]
    assert read("timestamp with time zone", "2024-02-29 01:02:03+00") == [datetime.fromisoformat("2024-02-29T01:02:03")]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("date", "infinity"), ("date", "-infinity"), ("date", "0000-00-00"), ("date", "4713-01-01 BC"), ("date", "12345-01-01"),
        ("date", "0000-01-01"), ("timestamp without time zone", "0000-12-31 10:00:00"),
        ("timestamp without time zone", "infinity"), ("timestamp with time zone", "0001-01-01 00:00:00+00 BC"),
        ("timestamp with time zone", "2024-01-01 00:00:00+02"), ("time without time zone", "24:00:00"),
    ],
)  # fmt: skip
def test_trap_6_a_date_that_no_calendar_has_is_never_another_date(kind: str, text: str) -> None:
    with pytest.raises(Misconfigured, match="unreadable_dates"):
        read(kind, text)
    assert read(kind, text, None, blank=True) == [None, None]


def test_a_zone_is_only_for_naive_times() -> None:
    assert read("timestamp without time zone", "2024-07-01 12:00:00", zone="Europe/Berlin") == [
        datetime.fromisoformat("2024-07-01T10:00")
    ]
    assert read("timestamp with time zone", "2024-07-01 12:00:00+00", zone="Europe/Berlin") == [
        datetime.fromisoformat("2024-07-01T12:00")
    ]


def test_an_hour_that_was_skipped_is_refused() -> None:
    with pytest.raises(Misconfigured, match="skipped hour"):
        read("timestamp without time zone", "2024-03-31 02:30:00", zone="Europe/Berlin")


@given(st.datetimes(min_value=datetime.fromisoformat("1980-01-01"), max_value=datetime.fromisoformat("2035-01-01")))
def test_utc_survives_the_zone_but_for_the_hour_that_comes_twice(moment: datetime) -> None:
    utc = pl.Series([moment], dtype=pl.Datetime("us"))
    back = to_utc(from_utc(utc, "Europe/Berlin"), "Europe/Berlin")
    assert abs((back[0] - moment).total_seconds()) in (0, 3600)


@given(st.lists(st.text(max_size=8), min_size=2, max_size=2))
def test_a_composite_key_comes_back_as_its_parts(parts: list[str]) -> None:
    (key,) = key_series([pl.Series("a", [parts[0]]), pl.Series("b", [parts[1]])])
    assert key_parts(key, 2) == parts


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(Misconfigured, match="key column a"):
        key_series([pl.Series("a", ["x", None])])


def fitted(
    values: pl.Series, kind: FieldType, keys: list[str] | None = None, key_kind: FieldType = FieldType.TEXT
) -> tuple[pl.DataFrame, Any]:
    keys = keys or [f"k{number}" for number in range(len(values))]
    target = OdbcTarget(table="t", key=("id",), fields={"f": "f"})
    shape = Shape('"t"', {"k0": Column("id", key_kind)}, {"f0": Column("f", kind)})
    return ready(Slice("a" * 64, 1, target, Batch.of(keys, values.alias("f").to_frame())), shape, "UTC")


@pytest.mark.parametrize(
    ("values", "kind", "sent"),
    [
        (pl.Series([1.0, float("nan"), float("inf"), None]), FieldType.NUMBER, [1.0, None]),
        (pl.Series([1.0, 1.5, 2.0]), FieldType.INTEGER, [1, 2]),
        (pl.Series(["1.50", "1e3", "no"]), FieldType.DECIMAL, ["1.50", "1e3"]),
        (pl.Series([True, None]), FieldType.INTEGER, [1, None]),
        (pl.Series([date(2024, 2, 29)]), FieldType.DATE, ["2024-02-29"]),
    ],
)
def test_values_that_do_not_fit_are_set_aside(values: pl.Series, kind: FieldType, sent: list[Any]) -> None:
    rows, aside = fitted(values, kind)
    assert rows["f0"].to_list() == sent
    assert len(aside) == len(values) - len(sent)
    assert all(receipt.outcome is Outcome.REFUSED and receipt.reason for receipt in aside.values())


def test_a_key_that_the_column_cannot_hold_names_no_row() -> None:
    rows, aside = fitted(pl.Series([0.1, 0.2, 0.3]), FieldType.NUMBER, ["1", "x", "1.5"], FieldType.INTEGER)
    assert rows["k0"].to_list() == [1]
    assert sorted(aside) == [1, 2]


def test_the_last_row_of_a_key_wins() -> None:
    rows, aside = fitted(pl.Series([0.1, 0.2, 0.3]), FieldType.NUMBER, ["a", "b", "a"])
    assert rows["f0"].to_list() == [0.2, 0.3]
    assert aside[0].outcome is Outcome.SUPERSEDED

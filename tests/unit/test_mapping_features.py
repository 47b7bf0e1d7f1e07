"""Records into features: what is read, what is held back, and why."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldline_core.batch import Batch, Sifted
from fieldline_core.signature import Signature, Tensor
from fieldline_mappings import CompiledPlan, Feature, MappingDocument, compile_mapping, explain

CLOCK = datetime(2025, 3, 1, 23, 30, tzinfo=UTC)


def plan_of(*features: dict[str, Any], dtype: str = "float32", **rest: Any) -> CompiledPlan:
    names = {"fields": [{"name": "s", "formula": "p"}], "mapping": "m"}
    document = MappingDocument.model_validate({**names, "features": features, **rest})
    inputs = (Tensor(name="x", dtype=dtype, shape=(None, None)),)
    return compile_mapping(document, Signature(inputs=inputs, outputs=(Tensor(name="p", dtype="float32", shape=(None, 1)),)))


def batch(**columns: Any) -> Batch:
    frame = pl.DataFrame(columns)
    return Batch.of([str(row) for row in range(frame.height)], frame)


def features(plan: CompiledPlan, given: Batch) -> Sifted:
    return plan.features(given, CLOCK)


def one(feature: dict[str, Any], values: pl.Series, **rest: Any) -> list[Any]:
    """What a feature makes of each value: the value, or `unreadable` or `blank` where it is held."""
    source = {"name": "x"} if "formula" in feature else {"field": "f"}
    sifted = features(plan_of({**source, **feature}, **rest), batch(f=values))
    words = {row: "blank" if reason.endswith("is blank") else "unreadable" for row, reason in sifted.held.items()}
    return [words.get(row, value) for row, value in enumerate(sifted.frame.to_series().to_list())]


def computed(formula: str, type: str, values: pl.Series, **rest: Any) -> list[Any]:
    """What a formula makes of each value of the field `f`, which is read as this type."""
    return one({"formula": formula}, values, record={"f": type}, **rest)


def series(*values: Any, dtype: Any = None) -> pl.Series:
    return pl.Series(values, dtype=dtype)


naive = datetime.fromisoformat
"""A datetime as batches hold it: UTC, without saying so."""

BAD, BLANK = "unreadable", "blank"


@pytest.mark.parametrize(
    ("type", "values", "expected"),
    [
        ("number", series(1.5, None, float("nan"), float("inf"), 1e300), [1.5, BLANK, BAD, BAD, BAD]),
        ("number", series(" 1.5 ", "", "  ", "abc", "nan", "-inf", "1e3", "1,5"), [1.5, BLANK, BLANK, BAD, BAD, BAD, 1000.0, BAD]),
        ("number", series(7, None), [7.0, BLANK]),
        ("number", series(Decimal("12.50"), None), [12.5, BLANK]),
        ("number", series(True, None), [1.0, BLANK]),
        ("number", series(date(2024, 1, 1), None), [BAD, BLANK]),
        ("number", series([1], None), [BAD, BLANK]),
        ("number", series(None, None), [BLANK, BLANK]),
        ("integer", series("12", "12.00", "12.5", "x", "99999999999999999999"), [12, 12, BAD, BAD, BAD]),
        ("integer", series(3.0, 3.5, float("nan"), 1e30), [3, BAD, BAD, BAD]),
        ("integer", series(Decimal("3.00"), Decimal("3.10")), [3, BAD]),
        ("integer", series(2**63, 5, dtype=pl.UInt64), [BAD, 5]),
        ("boolean", series("TRUE", "no", "1", "maybe", ""), [1, 0, 1, BAD, BLANK]),
        ("boolean", series(1, 0, 2), [1, 0, BAD]),
        ("boolean", series(1.0, float("nan")), [1, BAD]),
    ],
)
def test_values_are_read_from_any_column_type(type: str, values: pl.Series, expected: list[Any]) -> None:
    assert one({"type": type}, values) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (series("2025-03-01", "20250228", "2025-02-30", "soon", ""), [0, 1, BAD, BAD, BLANK]),
        (series("2025-03-01T23:00:00Z", "2025-03-01 10:00", "2025-03-02T00:30:00+02:00"), [0, 0, 0]),
        (series(date(2025, 3, 11), None), [-10, BLANK]),
        (series(naive("2025-02-28T23:59"), None), [1, BLANK]),
        (series(naive("2025-03-01T23:59Z"), dtype=pl.Datetime("ns", "America/New_York")), [0]),
        (series(2**31 - 1, 0, dtype=pl.Int32).cast(pl.Date), [BAD, 20148]),
        (series(2**63 - 1, 0).cast(pl.Datetime("us")), [BAD, 20148]),
        (series(2**63 - 1, 0).cast(pl.Datetime("ms")), [BAD, 20148]),
        (series(45000), [BAD]),
    ],
)
def test_days_are_counted_back_from_the_decision(values: pl.Series, expected: list[Any]) -> None:
    assert computed("DAYS_SINCE(f)", "date", values) == expected


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2025-03-01T22:15:00Z", 23),
        ("2025-03-01T22:15:00.000+0000", 23),
        ("2025-03-01T22:15:00.1234567+00:00", 23),
        ("2025-03-01 22:15:00+02", 21),
        ("2025-03-01 22:15:00.00 +02:00", 21),
        ("2025-03-01T22:15", 23),
        ("2025-03-01T22:15Z", 23),
        ("2025-03-01", 0),
        ("2025-03-01T25:00:00Z", BAD),
        ("2025-03-01T22:15:00 o'clock", BAD),
        ("22:15", BAD),
    ],
)
def test_moments_are_read_as_systems_write_them_and_shown_in_the_mappings_zone(text: str, hour: Any) -> None:
    assert computed("HOUR(TIMEVALUE(f))", "datetime", series(text), timezone="Europe/Berlin") == [hour]


def test_which_day_it_is_depends_on_the_mappings_zone() -> None:
    values = series(naive("2025-03-01T22:00"), naive("2025-03-01T23:00"))
    for zone, expected in (("UTC", [0, 0]), ("Europe/Berlin", [1, 0]), ("America/New_York", [0, 0])):
        assert computed("DAYS_SINCE(f)", "datetime", values, timezone=zone) == expected


def test_a_day_that_has_no_midnight_is_held_as_a_moment() -> None:
    values = series(date(2018, 11, 4), date(2018, 11, 5))
    assert computed("HOUR(TIMEVALUE(f))", "datetime", values, timezone="America/Sao_Paulo") == [BAD, 0]


def test_times_have_hours_and_minutes() -> None:
    assert computed("MINUTE(f)", "time", series("10:30", "10:31:15.5", "25:00")) == [30, 31, BAD]
    assert computed("HOUR(f)", "time", series(time(7, 1), None)) == [7, BLANK]
    assert computed("HOUR(f)", "time", series(naive("2025-07-01T12:00")), timezone="Europe/Berlin") == [14]


def test_weekdays_begin_on_sunday() -> None:
    assert computed("WEEKDAY(f)", "date", series("2025-03-03", "2025-03-09")) == [2, 1]


def test_a_blank_is_held_filled_or_flagged_and_a_filler_never_hides_the_unreadable() -> None:
    values = series("", "x", "2")
    assert one({}, values) == [BLANK, BAD, 2.0]
    assert one({"if_blank": 9}, values) == [9.0, BAD, 2.0]
    flagged = features(plan_of({"field": "f", "if_blank": "flag"}), batch(f=values))
    assert flagged.frame.rows()[0] == (0.0, 1)
    assert flagged.frame.rows()[2] == (2.0, 0)
    assert flagged.frame.columns == ["f", "f_blank"]
    assert list(flagged.held) == [1]
    waited = {"formula": "DAYS_SINCE(f)", "if_blank": 9999}
    assert one(waited, series("", "2025-03-01", "bad"), record={"f": "date"}) == [9999, 0, BAD]


def test_categories_spread_over_features_or_become_positions() -> None:
    given = batch(f=["a", " b ", "c", "", None])
    feature = {"field": "f", "type": "text", "categories": ["a", "b"]}
    spread = features(plan_of({**feature, "if_unknown": "other", "if_blank": "b"}), given)
    assert spread.frame.columns == ["f=a", "f=b"]
    assert spread.frame.rows() == [(1, 0), (0, 1), (0, 0), (0, 1), (0, 1)]
    assert not spread.held
    positions = features(plan_of({**feature, "encode": "index", "if_unknown": "other", "if_blank": "flag"}), given)
    assert positions.frame.rows() == [(0, 0), (1, 0), (-1, 0), (-1, 1), (-1, 1)]
    assert list(features(plan_of(feature), given).held) == [2, 3, 4]


def test_whole_numbers_have_categories_too() -> None:
    sifted = features(plan_of({"field": "f", "type": "integer", "categories": [1, 10]}), batch(f=["1", "10.0", "7"]))
    assert sifted.frame.rows()[:2] == [(1, 0), (0, 1)]
    assert list(sifted.held) == [2]


def test_reasons_name_feature_field_and_type_and_never_the_value() -> None:
    plan = plan_of({"field": "Rev", "name": "revenue"}, {"field": "tier", "type": "text", "categories": ["gold"]})
    held = features(plan, batch(Rev=["secret-1", "5", ""], tier=["gold", "secret-2", None])).held
    assert held == {
        0: "feature 'revenue': field 'Rev' is not a number",
        1: "feature 'tier': field 'tier' is not one of its 1 categories",
        2: "feature 'revenue': field 'Rev' is blank; feature 'tier': field 'tier' is blank",
    }


def test_a_row_with_many_faults_names_the_first_and_counts_the_rest() -> None:
    held = features(plan_of(*({"field": f"f{number}"} for number in range(5))), batch(x=[1])).held
    assert held[0].endswith("feature 'f2': field 'f2' is blank; and 2 more")


def test_a_missing_column_is_blank_in_every_row() -> None:
    plan = plan_of({"field": "a"}, {"field": "b", "if_blank": 3})
    sifted = features(plan, batch(a=[1.0, 2.0]))
    assert sifted.frame.rows() == [(1.0, 3.0), (2.0, 3.0)]
    nothing = features(plan, Batch.of(["1", "2"], pl.DataFrame()))
    assert nothing.frame.height == 2
    assert list(nothing.held) == [0, 1]
    assert features(plan, batch(a=[])).frame.height == 0


def test_a_number_that_the_input_cannot_hold_is_held() -> None:
    assert one({}, series(1e39)) == [BAD]
    assert one({}, series(1e39), dtype="float64") == [1e39]
    assert one({"type": "integer"}, series(2**31), dtype="int32") == [BAD]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32"])
def test_tensors_are_contiguous_and_of_the_models_type(dtype: str) -> None:
    plan = plan_of({"field": "a", "type": "integer"}, {"field": "b", "type": "boolean"}, dtype=dtype)
    array = plan.tensors(features(plan, batch(a=[1, 2, 3], b=[True, False, True])).frame)["x"]
    assert array.dtype == np.dtype(dtype)
    assert array.flags.c_contiguous
    assert array.tolist() == [[1, 1], [2, 0], [3, 1]]


def test_named_inputs_are_filled_by_name_in_their_own_types() -> None:
    shapes = {"n": ("float32", (None, 2)), "i": ("int64", (None,)), "t": ("string", (None, 1)), "b": ("bool", (None, 1))}
    signature = Signature(
        inputs=tuple(Tensor(name=name, dtype=dtype, shape=shape) for name, (dtype, shape) in shapes.items()),
        outputs=(Tensor(name="p", dtype="float32", shape=(None, 1)),),
    )
    declared = [
        Feature(field="x", if_blank="flag"), Feature(field="c", type="integer"),
        Feature(field="t", type="text", if_blank=""), Feature(field="y", type="boolean"),
    ]  # fmt: skip
    document = MappingDocument.model_validate({
        "mapping": "m", "features": declared, "fields": [{"name": "s", "formula": "p"}],
        "inputs": {"n": ["x"], "i": ["c"], "t": ["t"], "b": ["y"]},
    })  # fmt: skip
    plan = compile_mapping(document, signature)
    sifted = features(plan, batch(x=[1.5, None], c=[3, 4], t=["é", None], y=["yes", "no"]))
    tensors = plan.tensors(sifted.frame)
    assert tensors["n"].tolist() == [[1.5, 0.0], [0.0, 1.0]]
    assert tensors["i"].shape == (2,)
    assert tensors["t"].dtype == object
    assert tensors["t"].tolist() == [["é"], [""]]
    assert tensors["b"].tolist() == [[True], [False]]


def test_the_preview_shows_formula_steps_value_and_note() -> None:
    ratio = {"name": "ratio", "formula": "a / (b - 1)"}
    plan = plan_of({"field": "a"}, {"field": "b", "if_blank": 1}, {"field": "c", "type": "text", "categories": ["x", "y"]}, ratio)
    rows = explain(plan, batch(a=["5", "?"], b=[3, None], c=["x", "y"]), CLOCK)
    assert rows[0][0] == {
        "feature": "a", "formula": "a", "steps": [{"part": "a", "value": 5.0}], "computed": 5.0, "value": 5.0, "note": "",
    }  # fmt: skip
    given = {cell["feature"]: cell["value"] for cell in rows[0]}
    assert given == {"a": 5.0, "b": 3.0, "c=x": 1, "c=y": 0, "ratio": 2.5}
    steps = {step["part"]: step["value"] for step in rows[0][4]["steps"]}
    assert steps == {"a": 5.0, "b": 3.0, "(b - 1)": 2.0, "a / (b - 1)": 2.5}
    assert rows[1][1]["note"] == "blank: its replacement is used"
    assert (rows[1][0]["note"], rows[1][0]["value"]) == ("feature 'a': field 'a' is not a number", None)


MIXED = (
    {"field": "n", "if_blank": "flag"},
    {"field": "k", "type": "text", "categories": ["a", "b"], "if_unknown": "other"},
    {"name": "days", "formula": "DAYS_SINCE(d)", "if_blank": 0},
    {"name": "hour", "formula": "HOUR(TIMEVALUE(m))"},
    {"name": "share", "formula": "n / days"},
    {"field": "i", "type": "integer"},
    {"field": "y", "type": "boolean"},
)
ODD = ["", " ", "a", "b ", "1", "1.0", "-7.5", "1e400", "nan", "2024-02-29", "2023-02-29", "20240101", "true", "No", "99999-01-01"]
TEXTS = st.sampled_from(ODD) | st.text(max_size=12)
OFFSET = timezone(timedelta(hours=5.5))
MOMENTS = st.datetimes(naive("0001-01-03"), naive("9999-12-29"), timezones=st.just(OFFSET)).map(str)
ROWS = st.lists(st.fixed_dictionaries({name: st.none() | TEXTS | MOMENTS for name in "nkdmiy"}), min_size=1, max_size=8)
PLAN = plan_of(*MIXED, timezone="America/Sao_Paulo", record={"d": "date", "m": "datetime"})


@settings(deadline=None, max_examples=60)
@given(rows=ROWS, copies=st.integers(1, 40))
def test_a_row_alone_and_among_others_gives_the_same(rows: list[dict[str, str | None]], copies: int) -> None:
    many = pl.DataFrame(rows * copies, schema=dict.fromkeys("nkdmiy", pl.String))
    together = features(PLAN, Batch.of([str(row) for row in range(many.height)], many))
    for position in {*range(len(rows)), many.height - 1}:
        alone = features(PLAN, Batch.of(["0"], many.slice(position, 1)))
        assert alone.held.get(0) == together.held.get(position)
        if not alone.held:
            assert alone.frame.row(0) == together.frame.row(position)
            assert np.isfinite(PLAN.tensors(alone.frame)["x"]).all()


def test_each_feature_of_a_row_gives_its_own_error() -> None:
    both = {"name": "due", "formula": "DAYS_SINCE(d)"}, {"name": "share", "formula": "1 / n"}
    plan = plan_of(*both, record={"d": "date", "n": "number"})
    assert features(plan, batch(d=["x", None, "2025-03-01"], n=[0.0, 0.0, 2.0])).held == {
        0: "feature 'due': field 'd' is not a date (YYYY-MM-DD); feature 'share': division by zero in 1 / n",
        1: "feature 'due' is blank; feature 'share': division by zero in 1 / n",
    }

"""What counts as a difference between a decision and the same one made again."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_core.pipeline.differing import Difference, differing_facts, differing_values

DTYPES = {
    pl.Float64: st.floats(), pl.Float32: st.floats(width=32), pl.Int64: st.integers(-(2**63), 2**63 - 1), pl.String: st.text(),
    pl.Boolean: st.booleans(), pl.Date: st.dates(), pl.Datetime("us"): st.datetimes(), pl.Time: st.times(),
}  # fmt: skip
NAN = float("nan")


def differ(column: str, then: Any, now: Any, dtype: Any = pl.Float64, dtype_now: Any = None) -> bool:
    """Whether one value differs from the other, in that column."""
    one, other = pl.Series(column, [then], dtype=dtype), pl.Series(column, [now], dtype=dtype_now or dtype)
    return bool(differing_values(one.to_frame(), other.to_frame()))


@given(st.data(), st.sampled_from(list(DTYPES)), st.sampled_from(["feature.x", "output.x", "field.x", "held.reason"]))
def test_a_value_never_differs_from_itself(data: st.DataObject, dtype: Any, column: str) -> None:
    values = data.draw(st.lists(st.none() | DTYPES[dtype], max_size=4))
    frame = pl.Series(column, values, dtype=dtype).to_frame()
    assert differing_values(frame, frame.clone()) == {}


@given(st.floats(1e-30, 1e30), st.booleans())
def test_the_noise_of_float32_is_a_difference_of_a_feature_only(number: float, negative: bool) -> None:
    then = -number if negative else number
    now = then * (1 + 5e-7)
    assert differ("feature.x", then, now)
    assert not differ("output.x", then, now)
    assert differ("output.x", then, then * (1 + 5e-6))


@pytest.mark.parametrize(
    ("column", "then", "now", "differs"),
    [
        ("feature.x", 0.0, -0.0, True),
        ("output.x", 0.0, -0.0, False),
        ("feature.x", NAN, 1.0, True),
        ("output.x", NAN, 1.0, True),
        ("output.x", NAN, None, True),
        ("feature.x", None, 0.0, True),
        ("output.x", float("inf"), float("-inf"), True),
        ("output.x", float("inf"), 1e308, True),
        ("output.x", 1e-12, 0.0, True),
        ("source.x", 1.0, 2.0, False),
    ],
)
def test_blanks_and_what_is_no_number_are_values_of_their_own(column: str, then: Any, now: Any, differs: bool) -> None:
    assert differ(column, then, now) is differs


def test_whole_numbers_are_compared_to_the_last_digit() -> None:
    assert differ("field.account", 10_000_000_001, 10_000_000_002, pl.Int64)


def test_a_value_of_another_type_is_another_value_and_shown_with_it() -> None:
    frames = (pl.DataFrame({"feature.x": pl.Series([1.0, None], dtype=dtype)}) for dtype in (pl.Float64, pl.Float32))
    assert differing_values(*frames) == {0: [Difference("features", "x", "1.0 (Float64)", "1.0 (Float32)")]}


def test_a_column_that_is_missing_says_the_same_as_one_without_values() -> None:
    frame = pl.DataFrame({"key": ["a", "b"], "held.reason": [None, "blank"]})
    assert differing_values(frame, frame.select("key")) == {1: [Difference("held", "reason", "blank", None)]}


@given(st.sampled_from(list(DTYPES)), st.data())
def test_what_is_shown_can_be_written_as_json(dtype: Any, data: st.DataObject) -> None:
    value = data.draw(DTYPES[dtype])
    frame = pl.Series("feature.x", [value], dtype=dtype).to_frame()
    ((difference,),) = differing_values(frame, frame.select("feature.x").clear(1)).values()
    assert type(difference.then) in (bool, int, float, str)
    assert difference.then not in (float("inf"), float("-inf"))


def test_facts_that_only_one_side_has_are_differences() -> None:
    assert list(differing_facts("runtime", {"a": "1", "b": "1"}, {"a": "1", "c": "2"})) == [
        Difference("runtime", "b", "1", None), Difference("runtime", "c", None, "2"),
    ]  # fmt: skip

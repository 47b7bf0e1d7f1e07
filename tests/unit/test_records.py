"""JSON records as batches."""

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldline_core.pipeline.records import batch_of, scalar_text, value_at
from fieldline_core.schema import FieldType

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@pytest.mark.parametrize(
    ("path", "value"),
    [("a", 1), ("b.c", 2), ("b.c.d", None), ("x", None), ("e.f", 3), ("g", [4])],
)  # fmt: skip
def test_a_path_finds_its_value_or_nothing(path: str, value: object) -> None:
    assert value_at({"a": 1, "b": {"c": 2}, "e.f": 3, "e": {"f": 9}, "g": [4]}, path) == value


@given(SCALARS)
def test_a_scalar_keeps_its_exact_text(value: object) -> None:
    text = scalar_text(value)

    assert text is None if value is None else json.loads(json.dumps(text)) == text
    if isinstance(value, int | float) and not isinstance(value, bool):
        assert json.loads(str(text)) == value


FIELDS = {"a": FieldType.NUMBER, "b": FieldType.TEXT}


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), SCALARS | st.lists(st.integers())), max_size=20))
def test_a_row_with_a_list_where_a_value_is_expected_is_held_alone(bodies: list[dict[str, object]]) -> None:
    batch, held = batch_of([(str(row), body) for row, body in enumerate(bodies)], FIELDS)

    assert set(held) == {row for row, body in enumerate(bodies) if any(isinstance(body.get(name), list) for name in "ab")}
    assert batch.keys.to_list() == [str(row) for row in range(len(bodies))]
    assert batch.frame.columns == ["a", "b"]


@settings(deadline=None)
@given(st.lists(st.none() | SCALARS | st.lists(st.dictionaries(st.text(), SCALARS)), max_size=20))
def test_child_rows_become_json_and_anything_else_is_held(lists: list[object]) -> None:
    wanted = {"Items": {"price": FieldType.NUMBER}, "a": FieldType.TEXT}
    batch, held = batch_of([(str(row), {"Items": rows, "a": "x"}) for row, rows in enumerate(lists)], wanted)

    wrong = [row for row, rows in enumerate(lists) if not isinstance(rows, list | None)]
    assert held == dict.fromkeys(wrong, "the field Items is not a list of rows")
    assert batch.frame.schema == {"Items": pl.String, "a": pl.String}
    kept = [rows for rows in lists if isinstance(rows, list)]
    assert [json.loads(text) for text in batch.frame["Items"].drop_nulls()] == kept

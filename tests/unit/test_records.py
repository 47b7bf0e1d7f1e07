"""JSON records as batches."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_core.pipeline.records import batch_of, scalar_text, value_at

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


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), SCALARS | st.lists(st.integers())), max_size=20))
def test_a_row_with_a_list_where_a_value_is_expected_is_held_alone(bodies: list[dict[str, object]]) -> None:
    batch, held = batch_of([(str(row), body) for row, body in enumerate(bodies)], ["a", "b"])

    assert set(held) == {row for row, body in enumerate(bodies) if any(isinstance(body.get(name), list) for name in "ab")}
    assert batch.keys.to_list() == [str(row) for row in range(len(bodies))]
    assert batch.frame.columns == ["a", "b"]

"""The one shape of data."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_core.batch import Batch, kept, key_parts, key_text

KEYS = st.lists(st.text(max_size=5), max_size=30)


def batch(keys: list[str]) -> Batch:
    return Batch.of(keys, pl.DataFrame({"n": range(len(keys))}, schema={"n": pl.Int64}))


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_a_key_is_read_back_as_it_was_written(parts: list[str]) -> None:
    assert key_parts(key_text(parts), len(parts)) == parts


def test_a_key_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="2 parts"):
        key_parts('["a"]', 2)


@given(KEYS)
def test_a_batch_survives_its_bytes(keys: list[str]) -> None:
    again = Batch.from_bytes(batch(keys).to_bytes())

    assert again.keys.to_list() == keys
    assert again.frame.equals(batch(keys).frame)


@given(KEYS)
def test_of_a_key_that_stands_twice_the_last_row_wins(keys: list[str]) -> None:
    once, dropped = batch(keys).last_of_each_key()

    assert dict(zip(once.keys, once.frame["n"], strict=True)) == {key: row for row, key in enumerate(keys)}
    assert len(once) + len(dropped) == len(keys)


@given(KEYS, st.integers(1, 7))
def test_splitting_loses_nothing(keys: list[str], size: int) -> None:
    parts = batch(keys).split(size)

    assert [key for part in parts for key in part.keys] == keys
    assert all(1 <= len(part) <= size for part in parts)


@given(KEYS, st.data())
def test_rows_that_are_set_aside_are_taken_out(keys: list[str], data: st.DataObject) -> None:
    held = data.draw(st.sets(st.integers(0, max(0, len(keys) - 1)), max_size=len(keys))) if keys else set()

    left = batch(keys).without(dict.fromkeys(held, "why"))

    assert left.frame["n"].to_list() == [row for row in range(len(keys)) if row not in held]
    assert kept(len(keys), dict.fromkeys(held, "why")).sum() == len(left)


def test_keys_and_rows_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="2 keys for 1 rows"):
        Batch.of(["a", "b"], pl.DataFrame({"n": [1]}))

"""Zones: a batch is passed by only where none of its rows can be wanted."""

import polars as pl
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from fieldline_core.zones import OUTCOMES, Zone, open_zone, score_column

KEY = bytes(32)
SCORES = st.lists(st.none() | st.floats(width=32, allow_infinity=False), min_size=1, max_size=8)


def decided(scores: list[float | None], **more: pl.Series) -> pl.DataFrame:
    keys = pl.Series([str(number) for number in range(len(scores))])
    return pl.DataFrame({"key": keys, "output.score": pl.Series(scores, dtype=pl.Float32), **more})


@given(SCORES, st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_no_batch_with_a_score_in_the_range_is_passed_by(scores: list[float | None], one: float, other: float) -> None:
    low, high = sorted((one, other))
    frame = decided(scores)
    column = frame["output.score"]
    bounds = pl.Series([low, high]).cast(pl.Float32)
    there = bool((column.is_between(bounds[0], bounds[1]) & column.is_not_nan()).any())
    zone = open_zone(KEY, Zone.of(frame).seal(AESGCM(KEY)))
    assert zone is not None
    assert zone.may_hold(frozenset(), (low, high)) or not there


def test_it_knows_the_outcomes_of_decisions_and_of_answers() -> None:
    held = decided([0.5, None], **{"held.stage": pl.Series([None, "map"])})
    answers = pl.DataFrame({"key": ["1", "2", "3"], "outcome": ["written", "refused", "written"]})
    assert Zone.of(held).outcomes == {"scored", "held"}
    assert Zone.of(decided([0.5])).outcomes == {"scored"}
    assert Zone.of(answers).outcomes == {"written", "refused"}
    assert Zone.of(answers).may_hold(frozenset({"refused", "held"}), None)
    assert not Zone.of(answers).may_hold(frozenset({"held"}), None)


def test_an_erased_row_is_not_in_it() -> None:
    frame = decided([0.1, 0.9]).with_columns(pl.when(pl.col("key") != "1").then(pl.all()))
    assert Zone.of(frame) == Zone.of(decided([0.1]))


@given(st.frozensets(st.sampled_from(OUTCOMES)), st.floats(allow_nan=False))
def test_what_is_sealed_comes_back_and_only_under_its_key(outcomes: frozenset[str], number: float) -> None:
    sealed = Zone(number, number, outcomes).seal(AESGCM(KEY))
    assert len(sealed) == 47, "its length says nothing of what is in it"
    assert open_zone(KEY, sealed) == Zone(number, number, outcomes)
    assert open_zone(bytes(31) + b"1", sealed) is None
    assert open_zone(KEY, sealed[:-1]) is None
    assert open_zone(KEY, b"") is None


def test_a_score_is_the_output_of_that_name_or_the_first_number() -> None:
    frame = pl.DataFrame(
        {"key": ["1"], "output.label": ["yes"], "output.p[0]": [0.2], "output.p[1]": [0.8], "feature.score": [1.0]}
    )
    assert score_column(frame) == "output.p[0]"
    assert score_column(frame.with_columns(pl.lit(0.5).alias("output.score"))) == "output.score"
    assert score_column(frame.select("key", "output.label")) is None

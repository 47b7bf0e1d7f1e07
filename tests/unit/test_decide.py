"""From records to decisions."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from fieldline_core.batch import Batch, Sifted
from fieldline_core.errors import Rejected
from fieldline_core.pipeline.decide import decide_batch, run_bisected

CLOCK = datetime(2026, 1, 1, tzinfo=UTC)


class Doubling:
    """A plan that reads `n`, holds negative numbers, and writes twice the number."""

    digest = "doubling"
    uses_clock = False

    def fields_read(self) -> Mapping[str, Any]:
        return {}

    def fields_written(self) -> Mapping[str, Any]:
        return {}

    def texts_written(self) -> Mapping[str, Any]:
        return {}

    def features(self, batch: Batch, clock: datetime) -> Sifted:
        negative = batch.frame["n"] < 0
        return Sifted(batch.frame, dict.fromkeys(negative.arg_true().to_list(), "negative"))

    def tensors(self, features: pl.DataFrame) -> Mapping[str, Any]:
        return {"n": features["n"].to_numpy()}

    def fields(self, batch: Batch, outputs: pl.DataFrame, clock: datetime) -> Sifted:
        missing = outputs["twice"].is_null() if outputs.width else pl.Series([True] * len(batch))
        return Sifted(
            outputs.rename({"twice": "field"}) if outputs.width else outputs, dict.fromkeys(missing.arg_true().to_list(), "none")
        )


class Choking:
    """A model that cannot run a batch with a 7 in it."""

    digest = "choking"

    def run(self, tensors: Mapping[str, Any], timeout_s: float) -> Sifted:
        if 7 in tensors["n"]:
            raise Rejected("the model failed")
        return Sifted(pl.DataFrame({"twice": tensors["n"] * 2}), {})


@given(st.lists(st.integers(-2, 9), max_size=60))
def test_bad_rows_are_held_alone_and_all_others_decided(numbers: list[int]) -> None:
    batch = Batch.of([str(row) for row in range(len(numbers))], pl.DataFrame({"n": pl.Series(numbers, dtype=pl.Int64)}))

    made = decide_batch(Doubling(), Choking(), batch, CLOCK, 1.0)

    assert {row: stage for row, (stage, _) in made.held.items()} == {
        row: "map" if n < 0 else "score" for row, n in enumerate(numbers) if n < 0 or n == 7
    }
    good = [row for row in range(len(numbers)) if row not in made.held]
    if good:
        assert [made.fields["field"][row] for row in good] == [2 * numbers[row] for row in good]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=200))
def test_a_batch_that_fails_is_halved_down_to_its_bad_rows(numbers: list[int]) -> None:
    done = run_bisected(Choking(), {"n": np.array(numbers)}, len(numbers), 1.0)

    assert sorted(done.held) == [row for row, n in enumerate(numbers) if n == 7]

"""What a sink promises: a receipt for each row, and that a repeat is harmless in the way that it declares."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Any, TypeAlias

import polars as pl
import pytest

from fieldline_connectors.testing.abilities import UNREACHABLE, ConnectorFixtures, again, missing, needs, same
from fieldline_core.batch import Batch
from fieldline_core.errors import Fenced
from fieldline_core.ports import Dedupe, Polls, Sink, Slice
from fieldline_core.receipts import Outcome, Pending, Receipts

TargetRows: TypeAlias = Callable[[], Sequence[tuple[str, Mapping[str, Any]]]]
"""Asks the target itself, not through the connector: key and fields of every row that it holds now."""

_MOST_POLLS = 1000


class SinkContract(ConnectorFixtures):
    """The part of the contract for writing."""

    @pytest.fixture
    def target(self) -> Any:
        """The write operation under test."""
        missing(self.connector_class, "write", "target", "the write operation under test")

    @pytest.fixture
    def rows(self) -> Batch:
        """At least three rows that the target takes, all different; `sample_rows()` where it has the columns."""
        missing(self.connector_class, "write", "rows", "at least three different rows that the target takes, such as sample_rows()")

    @pytest.fixture
    def target_rows(self) -> TargetRows:
        """Asks the target what it holds now."""
        missing(self.connector_class, "write", "target_rows", "a function that asks the target itself for its (key, fields)")

    @pytest.fixture
    def bad_row(self) -> Batch | None:
        """One row with the columns of `rows` that the target refuses; None where it refuses none."""
        missing(self.connector_class, "write", "bad_row", "one row that the target refuses, or None where it refuses none")

    def test_every_row_gets_its_receipt(self, connector: Any, target: Any, rows: Batch) -> None:
        receipts = finished(needs(connector, Sink), _slice(target, rows))
        assert _outcomes(receipts) == [Outcome.WRITTEN] * len(rows)
        assert Receipts.from_json(json.loads(json.dumps(receipts.to_json()))) == receipts

    def test_the_target_holds_what_was_written(self, connector: Any, target: Any, rows: Batch, target_rows: TargetRows) -> None:
        finished(needs(connector, Sink), _slice(target, rows))
        _assert_held(rows, target_rows())

    def test_a_repeat_is_harmless(self, connector: Any, target: Any, rows: Batch, target_rows: TargetRows) -> None:
        _needs_dedupe(needs(connector, Sink), target)
        first = finished(connector, _slice(target, rows))
        held = _counted(target_rows())
        with again(connector) as second:
            repeated = finished(second, _slice(target, rows, fence=2))
        assert _counted(target_rows()) == held
        unchanged = (Outcome.UNCHANGED, Outcome.WRITTEN)
        assert all(now == before or (now, before) == unchanged for now, before in _pairs(repeated, first))

    def test_another_effect_is_written(self, connector: Any, target: Any, rows: Batch, target_rows: TargetRows) -> None:
        finished(needs(connector, Sink), _slice(target, rows))
        finished(connector, _slice(target, _swapped(rows), effect="another"))
        _assert_held(_swapped(rows), target_rows())

    def test_an_overtaken_row_is_left_alone(self, connector: Any, target: Any, rows: Batch, target_rows: TargetRows) -> None:
        slice = replace(_slice(target, rows), overtaken=frozenset({1}))
        receipts = finished(needs(connector, Sink), slice)
        assert [receipts[row].outcome is Outcome.SUPERSEDED for row in range(len(rows))] == [row == 1 for row in range(len(rows))]
        _assert_held(rows.take(~rows.keys.is_in([rows.keys[1]])), target_rows())

    def test_a_repeat_says_of_an_overtaken_row_that_it_was_written(self, connector: Any, target: Any, rows: Batch) -> None:
        if needs(connector, Sink).dedupe(target) is not Dedupe.LEDGER:
            pytest.skip("only a ledger in the target knows what an earlier attempt wrote")
        finished(connector, _slice(target, rows))
        repeated = finished(connector, replace(_slice(target, rows, fence=2), overtaken=frozenset({0})))
        assert _outcomes(repeated) == [Outcome.WRITTEN] * len(rows)

    def test_an_older_claim_changes_nothing(self, connector: Any, target: Any, rows: Batch, target_rows: TargetRows) -> None:
        if needs(connector, Sink).dedupe(target) is not Dedupe.LEDGER:
            pytest.skip("only a ledger in the target can tell claims apart")
        finished(connector, _slice(target, rows, fence=5))
        held = _counted(target_rows())
        with again(connector) as second, suppress(Fenced):
            finished(second, _slice(target, _swapped(rows), fence=4))
        assert _counted(target_rows()) == held

    def test_one_bad_row_does_not_stop_the_others(
        self, connector: Any, target: Any, rows: Batch, bad_row: Batch | None, target_rows: TargetRows
    ) -> None:
        needs(connector, Sink)
        if bad_row is None:
            pytest.skip("this operation refuses no single row")
        mixed = Batch(pl.concat([rows.keys[:1], bad_row.keys, rows.keys[1:]]), _around(rows.frame, bad_row.frame))
        receipts = finished(connector, _slice(target, mixed))
        assert _outcomes(receipts) == [Outcome.WRITTEN, Outcome.REFUSED] + [Outcome.WRITTEN] * (len(rows) - 1)
        assert receipts[1].reason
        _assert_no_values(receipts[1].reason, bad_row)
        _assert_held(rows, target_rows())

    def test_an_empty_slice_writes_nothing(self, connector: Any, target: Any, rows: Batch, target_rows: TargetRows) -> None:
        held = _counted(target_rows())
        receipts = finished(needs(connector, Sink), _slice(target, rows.slice(0, 0)))
        assert receipts.rows == 0
        assert _counted(target_rows()) == held

    def test_a_target_that_does_not_answer_gives_no_receipts(self, unreachable: Any, target: Any, rows: Batch) -> None:
        if unreachable is None:
            pytest.skip("always reachable")
        with pytest.raises(UNREACHABLE):
            needs(unreachable, Sink).write(_slice(target, rows))

    def test_it_says_how_many_rows_it_takes(self, connector: Any, target: Any) -> None:
        assert needs(connector, Sink).max_rows(target) >= 1
        assert connector.dedupe(target) in Dedupe


def finished(connector: Any, slice: Slice) -> Receipts:
    """Writes, and asks after a pending write until it ends; its handle survives being stored."""
    answer = connector.write(slice)
    for _ in range(_MOST_POLLS):
        if isinstance(answer, Receipts):
            assert answer.rows == len(slice.batch)
            return answer
        assert isinstance(answer, Pending)
        assert isinstance(connector, Polls), "a connector that answers Pending needs poll()"
        answer = connector.poll(slice, json.loads(json.dumps(answer.handle)))
    pytest.fail(f"the write is still pending after {_MOST_POLLS} questions")


def _slice(target: Any, batch: Batch, fence: int = 1, effect: str = "first") -> Slice:
    return Slice(sha256(effect.encode()).hexdigest(), fence, target, batch)


def _outcomes(receipts: Receipts) -> list[Outcome]:
    return [receipts[row].outcome for row in range(receipts.rows)]


def _pairs(left: Receipts, right: Receipts) -> list[tuple[Outcome, Outcome]]:
    return list(zip(_outcomes(left), _outcomes(right), strict=True))


def _swapped(rows: Batch) -> Batch:
    return replace(rows, frame=rows.frame.reverse())


def _around(frame: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([frame[:1], other.select(frame.columns).cast(frame.schema), frame[1:]])


def _needs_dedupe(connector: Any, target: Any) -> None:
    if connector.dedupe(target) is Dedupe.NONE:
        pytest.skip("this operation says that it may repeat")


def _counted(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Counter[str]:
    return Counter(f"{key}: {sorted((name, repr(value)) for name, value in fields.items())}" for key, fields in rows)


def _assert_held(rows: Batch, held: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    for key, expected in zip(rows.keys, rows.frame.rows(named=True), strict=True):
        versions = [fields for found, fields in held if found == key]
        assert any(_agrees(expected, fields) for fields in versions), f"the target does not hold what was written to {key}"


def _agrees(expected: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    return all(name in fields and same(value, fields[name]) for name, value in expected.items())


def _assert_no_values(reason: str, row: Batch) -> None:
    texts = [str(value) for value in row.frame.row(0) if isinstance(value, str) and len(value) > 3]
    assert not any(text in reason for text in texts), "the reason of a refusal holds a value of the record"

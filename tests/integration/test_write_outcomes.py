"""What becomes of a write whose attempts end in different ways: what any of them may have done is never forgotten."""

from contextlib import suppress
from typing import Any

import polars as pl
import pytest
from tests.engines import Bench, answers, documents, put

from fieldline_connectors import memory
from fieldline_core.errors import Misconfigured, Rejected, StoreUnavailable, Unavailable
from fieldline_core.flow import Release
from fieldline_core.pipeline import manage
from fieldline_core.pipeline.replay import discard, replay
from fieldline_core.ports import Slice
from fieldline_core.receipts import TOUCHED, Receipts
from fieldline_server.wiring import Wiring

LOST = Unavailable("the answer did not arrive", sent=True)
AWAY = Unavailable("no connection")
HALF_WRITTEN = Misconfigured("the login has ended", sent=True)
NO_TABLE = Rejected("there is no such table")


class Killed(BaseException):
    """Ends an attempt as a signal does: nothing that follows is done."""


class Attempts:
    """A target that takes what is sent, where the attempt is not said to fail before, and answers as it is told."""

    def __init__(self, *ends: BaseException | Receipts | None) -> None:
        self.ends = list(ends)
        self.keys: list[str] = []
        self.frames: list[pl.DataFrame] = []

    def write(self, slice: Slice) -> Receipts:
        """The next end; the last one for ever."""
        self.keys.append(slice.effect_key)
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        self.frames.append(slice.batch.frame)
        if isinstance(end, Receipts):
            return end
        if end is not None:
            raise end
        return Receipts(len(slice.batch))


def write_until_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, attempts: Attempts, *more: str) -> Any:
    """The effect of a slice whose attempts, two at most, end so; time passes between them, also for the lease of one that died."""
    put(name, dict.fromkeys(("x", *more), (1.0, 0.0)))
    step = {"name": "answer", "connection": name, "target": {"table": "answers", "fields": {"score": "score"}}}
    bench.apply(documents(name, writes=[step | {"retry": {"max_attempts": 2}}]))
    monkeypatch.setattr(memory.Memory, "write", lambda self, slice: attempts.write(slice))
    manage.request_run(bench.engine, name, "test")
    return drain(bench)


def drain(bench: Bench) -> Any:
    """The effect after everything that is due at any time."""
    for _ in range(4):
        with suppress(Killed, ValueError):
            bench.drain()
        bench.all("UPDATE effect SET due_at = now(), sent_at = NULL, lease_until = lease_until - interval '1 day' RETURNING 1")
        bench.all("UPDATE target SET retry_at = now() WHERE retry_at IS NOT NULL RETURNING 1")
    (effect,) = bench.all("SELECT state, key, last_error FROM effect ORDER BY id DESC LIMIT 1")
    return effect


@pytest.mark.parametrize(
    ("first", "second", "state"),
    [
        (LOST, AWAY, "unknown"), (LOST, NO_TABLE, "unknown"), (Killed(), AWAY, "unknown"), (Killed(), NO_TABLE, "unknown"),
        (ValueError(), NO_TABLE, "unknown"), (HALF_WRITTEN, NO_TABLE, "unknown"),
        (AWAY, AWAY, "refused"), (AWAY, NO_TABLE, "refused"),
    ],
    ids=lambda end: str(end) or type(end).__name__,
)  # fmt: skip
def test_a_write_is_refused_only_where_no_attempt_of_it_may_have_arrived(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, first: BaseException, second: BaseException, state: str
) -> None:
    attempts = Attempts(first, second)
    effect = write_until_the_end(bench, monkeypatch, "ends", attempts)

    assert (effect["state"], len(attempts.keys)) == (state, 2)
    assert ("an earlier attempt may have arrived" in effect["last_error"]) == (state == "unknown")
    (letter,) = bench.all("SELECT reason FROM dead_letter")
    assert letter["reason"] == effect["last_error"]


def test_what_may_have_arrived_is_replayed_as_the_same_write_however_its_attempts_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = Attempts(LOST, AWAY)
    write_until_the_end(bench, monkeypatch, "again", attempts)

    replay(bench.engine, "again", "test")
    assert drain(bench)["state"] == "unknown"
    attempts.ends = [None]
    replay(bench.engine, "again", "test")

    assert drain(bench)["state"] == "confirmed"
    assert set(attempts.keys) == {attempts.keys[0]}


def test_what_a_person_knows_not_to_have_arrived_is_decided_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(LOST, NO_TABLE, None)
    write_until_the_end(bench, monkeypatch, "anew", attempts)

    run, count = replay(bench.engine, "anew", "test", anew=True, why="I have looked: it is not there")

    assert (run is not None, count) == (True, 1)
    assert drain(bench)["state"] == "confirmed"
    assert attempts.keys[0] == attempts.keys[1] != attempts.keys[2]


def test_rows_of_a_write_of_which_nobody_knows_are_decided_anew_together(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(LOST, AWAY, None)
    write_until_the_end(bench, monkeypatch, "parts", attempts, "y", "z")
    first, *others = [row["id"] for row in bench.all("SELECT id FROM dead_letter ORDER BY id")]

    with pytest.raises(Rejected, match=f"replay {others[0]}, {others[1]} with --anew as well"):
        replay(bench.engine, "parts", "test", ids=[first], anew=True)
    discard(bench.engine, "parts", "test", "gone", ids=others)
    replay(bench.engine, "parts", "test", ids=[first], anew=True)

    assert drain(bench)["state"] == "confirmed"
    assert [len(frame) for frame in attempts.frames] == [3, 3, 1]


def test_an_edit_of_a_record_that_somebody_touched_meanwhile_waits_for_a_person(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched = Receipts(1, others={0: TOUCHED})
    attempts = Attempts(NO_TABLE, touched, touched, None)
    write_until_the_end(bench, monkeypatch, "edited", attempts)

    replay(bench.engine, "edited", "test", edits={"a": 9})
    for _ in "12":
        # Also where the edit is replayed: it is never decided from the source.
        drain(bench)
        (letter,) = bench.all("SELECT id, reason FROM dead_letter WHERE state = 'open'")
        assert "replay this to write the edit" in letter["reason"]
        replay(bench.engine, "edited", "test", ids=[letter["id"]])
    drain(bench)

    assert [frame["score"].to_list() for frame in attempts.frames] == [[2.0], [18.0], [18.0], [18.0]]
    assert not bench.all("SELECT 1 FROM dead_letter WHERE state = 'open'")


def test_a_write_goes_on_when_its_lease_is_over_where_the_store_was_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put("blip", {"x": (1.0, 0.0)})
    bench.apply(documents("blip"))
    manage.pause_writes(bench.engine, "test", "until the store is away")
    manage.request_run(bench.engine, "blip", "test")
    bench.drain()
    manage.resume_writes(bench.engine, "test")

    def away(self: Wiring, id: int) -> Release:
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(Wiring, "release", away)
        bench.step()
    bench.all("UPDATE effect SET lease_until = now() - interval '1 second' WHERE lease_owner IS NOT NULL RETURNING 1")
    bench.drain()

    assert answers("blip") == {"x": 2.0}

"""What the engine does when something is wrong: retries, poison, order, pauses, dead letters."""

from typing import Any

import pytest
import yaml
from tests.engines import Bench, answers, documents, put

from fieldline_connectors import memory
from fieldline_core.errors import Misconfigured, Rejected, Unavailable
from fieldline_core.pipeline import manage
from fieldline_core.pipeline.accept import Conflict, accept
from fieldline_core.pipeline.replay import discard, replay
from fieldline_core.ports import Event, Slice
from fieldline_core.receipts import Outcome, Pending, Receipts, RowReceipt


def sink(bench: Bench, name: str) -> Any:
    return bench.engine.parts.connector(name)


def hasten(bench: Bench) -> None:
    """Time passes: everything that was put off is due, and no breaker waits any longer."""
    bench.all("UPDATE effect SET due_at = now(), sent_at = NULL WHERE lease_owner IS NULL RETURNING 1")
    bench.all("UPDATE chunk SET due_at = now(), sent_at = NULL WHERE lease_owner IS NULL RETURNING 1")
    bench.all("UPDATE target SET retry_at = now() WHERE retry_at IS NOT NULL RETURNING 1")


def test_a_target_that_is_away_is_asked_again_and_nothing_is_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put("away", {"x": (1.0, 0.0)})
    bench.apply(documents("away"))
    calls = []
    write = memory.Memory.write

    def fails_twice(self: memory.Memory, slice: Slice) -> Receipts:
        calls.append(slice.effect_key)
        if len(calls) < 3:
            raise Unavailable("the target is away", sent=True)
        return write(self, slice)

    monkeypatch.setattr(memory.Memory, "write", fails_twice)
    manage.request_run(bench.engine, "away", "test")

    for _ in range(4):
        bench.drain()
        hasten(bench)

    assert answers("away") == {"x": 2.0}
    assert len(calls) == 3
    assert len(set(calls)) == 1


def test_a_target_that_keeps_failing_opens_its_breaker(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put("broken", {f"k{i}": (1.0, 0.0) for i in range(10)})
    bench.apply(documents("broken"))
    calls: list[int] = []

    def fails(self: memory.Memory, slice: Slice) -> Receipts:
        calls.append(1)
        raise Unavailable("the target is away")

    monkeypatch.setattr(memory.Memory, "write", fails)
    monkeypatch.setattr(memory.Memory, "max_rows", lambda self, target: 1)
    manage.request_run(bench.engine, "broken", "test")
    bench.drain()

    (target,) = bench.all("SELECT breaker, failures, reason FROM target")
    assert target["breaker"] == "open"
    assert len(calls) == target["failures"] == 5
    assert "away" in target["reason"]


def test_rows_that_the_target_refuses_become_dead_letters_and_can_be_replayed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("refused", {"good": (1.0, 0.0), "bad": (2.0, 0.0)})
    bench.apply(documents("refused"))

    def refuses_one(self: memory.Memory, slice: Slice) -> Receipts:
        bad = [i for i, key in enumerate(slice.batch.keys) if key == "bad"]
        return Receipts(len(slice.batch), others={i: RowReceipt(Outcome.REFUSED, "too long for its field") for i in bad})

    with monkeypatch.context() as patch:
        patch.setattr(memory.Memory, "write", refuses_one)
        manage.request_run(bench.engine, "refused", "test")
        bench.drain()
    assert [row["reason"] for row in bench.all("SELECT reason FROM dead_letter WHERE state = 'open'")] == ["too long for its field"]

    run, count = replay(bench.engine, "refused", "test", why="the field is longer now")
    bench.drain()

    assert count == 1
    assert answers("refused") == {"bad": 4.0}
    assert manage.list_runs(bench.engine, id=run)[0]["written"] == 1
    assert bench.all("SELECT 1 FROM dead_letter WHERE state = 'open'") == []


def test_a_held_row_is_edited_and_replayed(bench: Bench) -> None:
    put("edited", {"x": (None, 1.0)})
    bench.apply(documents("edited"))
    manage.request_run(bench.engine, "edited", "test")
    bench.drain()
    (letter,) = bench.all("SELECT id FROM dead_letter")

    replay(bench.engine, "edited", "test", ids=[letter["id"]], edits={"a": 4})
    bench.drain()

    assert answers("edited") == {"x": 7.0}


def test_a_dead_letter_is_discarded_with_a_reason_only(bench: Bench) -> None:
    put("gone", {"x": (None, 1.0)})
    bench.apply(documents("gone"))
    manage.request_run(bench.engine, "gone", "test")
    bench.drain()

    with pytest.raises(Rejected, match="reason"):
        discard(bench.engine, "gone", "test", " ")
    assert discard(bench.engine, "gone", "test", "a test record") == 1

    assert [row["state"] for row in bench.all("SELECT state FROM dead_letter")] == ["discarded"]
    assert bench.all("SELECT 1 FROM audit_outbox WHERE event = 'dead_letters.discarded'")


def test_a_write_with_an_unknown_outcome_is_replayed_as_the_same_effect(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put("unknown", {"x": (1.0, 0.0)})
    step = {"name": "answer", "connection": "unknown", "target": {"table": "answers", "fields": {"score": "score"}}}
    bench.apply(documents("unknown", writes=[step | {"retry": {"max_attempts": 1}}]))
    keys = []
    write = memory.Memory.write

    def breaks_off(self: memory.Memory, slice: Slice) -> Receipts:
        keys.append(slice.effect_key)
        receipts = write(self, slice)
        if len(keys) == 1:
            raise Unavailable("the answer did not arrive", sent=True)
        return receipts

    monkeypatch.setattr(memory.Memory, "write", breaks_off)
    manage.request_run(bench.engine, "unknown", "test")
    bench.drain()
    assert [row["state"] for row in bench.all("SELECT state FROM effect")] == ["unknown"]

    replay(bench.engine, "unknown", "test")
    bench.drain()

    assert [row["state"] for row in bench.all("SELECT state FROM effect")] == ["confirmed"]
    assert keys[0] == keys[1]
    assert answers("unknown") == {"x": 2.0}


def test_a_bulk_job_is_polled_without_a_worker(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put("bulk", {"x": (1.0, 0.0)})
    bench.apply(documents("bulk"))
    polls = []

    def poll(self: memory.Memory, slice: Slice, handle: Any) -> Receipts | Pending:
        polls.append(handle)
        return Pending({"job": 7}, 0.0) if len(polls) < 3 else Receipts(len(slice.batch))

    monkeypatch.setattr(memory.Memory, "write", lambda self, slice: Pending({"job": 7}, 0.0))
    monkeypatch.setattr(memory.Memory, "poll", poll, raising=False)
    manage.request_run(bench.engine, "bulk", "test")
    bench.drain()

    assert polls == [{"job": 7}] * 3
    assert [row["state"] for row in bench.all("SELECT state FROM effect")] == ["confirmed"]


class Polled:
    """A target that takes each slice up at once, and then answers or fails as it is told."""

    def __init__(self, *answers: Exception | Pending | Receipts) -> None:
        self.answers = list(answers)
        self.written: list[str] = []

    def write(self, slice: Slice) -> Pending:
        """The number of what was taken up."""
        self.written.append(slice.effect_key)
        return Pending({"job": 7}, 0.0)

    def poll(self, slice: Slice, handle: Any) -> Receipts | Pending:
        """The next answer; the last one for ever."""
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def poll_until_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, polled: Polled) -> str:
    """The state in which a slice ends whose target is asked at most twice in a row without an answer."""
    put(name, {"x": (1.0, 0.0)})
    step = {"name": "answer", "connection": name, "target": {"table": "answers", "fields": {"score": "score"}}}
    bench.apply(documents(name, writes=[step | {"retry": {"max_attempts": 2}}]))
    monkeypatch.setattr(memory.Memory, "write", lambda self, slice: polled.write(slice))
    monkeypatch.setattr(memory.Memory, "poll", lambda self, slice, handle: polled.poll(slice, handle), raising=False)
    manage.request_run(bench.engine, name, "test")
    for _ in range(8):
        bench.drain()
        hasten(bench)
    return str(bench.all("SELECT e.state FROM effect e JOIN flow f ON f.id = e.flow_id WHERE f.name = %s", name)[0]["state"])


@pytest.mark.parametrize("error", [Unavailable("no connection"), Rejected("no such question")], ids=["away", "refused"])
def test_what_a_target_took_up_is_unknown_and_not_refused_where_it_cannot_be_asked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    polled = Polled(error)
    assert poll_until_the_end(bench, monkeypatch, "unasked", polled) == "unknown"

    polled.answers = [Receipts(1)]
    replay(bench.engine, "unasked", "test")
    bench.drain()

    assert [row["state"] for row in bench.all("SELECT state FROM effect")] == ["confirmed"]
    assert polled.written == [polled.written[0]] * 2


def test_a_poll_that_was_answered_clears_the_failures_before_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    away, busy = Unavailable("no connection"), Pending({"job": 7}, 0.0)
    assert poll_until_the_end(bench, monkeypatch, "lively", Polled(away, busy, away, busy, away, Receipts(1))) == "confirmed"


def test_a_paused_flow_moves_nothing_until_it_is_resumed(bench: Bench) -> None:
    put("paused", {"x": (1.0, 0.0)})
    bench.apply(documents("paused"))
    manage.pause_flow(bench.engine, "paused", "test", "let me look")
    manage.request_run(bench.engine, "paused", "test")
    bench.drain()
    assert answers("paused") == {}

    manage.resume_flow(bench.engine, "paused", "test")
    bench.drain()

    assert answers("paused") == {"x": 2.0}


def test_paused_writes_leave_decisions_waiting(bench: Bench) -> None:
    put("stopped", {"x": (1.0, 0.0)})
    bench.apply(documents("stopped"))
    manage.pause_writes(bench.engine, "test", "the ERP is migrated")
    manage.request_run(bench.engine, "stopped", "test")
    bench.drain()
    assert answers("stopped") == {}
    assert [row["state"] for row in bench.all("SELECT state FROM chunk")] == ["scored"]

    manage.resume_writes(bench.engine, "test")
    bench.drain()

    assert answers("stopped") == {"x": 2.0}


def test_a_flow_that_would_change_too_much_pauses_and_says_so(bench: Bench) -> None:
    put("many", {f"k{i}": (1.0, 0.0) for i in range(150)})
    bench.apply(documents("many", guards={"max_changed_per_hour": 100}))
    manage.request_run(bench.engine, "many", "test")

    bench.drain()

    assert len(answers("many")) == 100
    (flow,) = bench.all("SELECT paused_reason FROM flow")
    assert "max_changed_per_hour" in flow["paused_reason"]


def test_an_older_decision_is_never_written_over_a_newer_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put("order", {"x": (1.0, 0.0)})
    bench.apply(documents("order"))
    with monkeypatch.context() as patch:
        patch.setattr(memory.Memory, "write", lambda self, slice: (_ for _ in ()).throw(Unavailable("away")))
        manage.request_run(bench.engine, "order", "test")
        bench.drain()
    put("order", {"x": (9.0, 0.0)})
    manage.request_run(bench.engine, "order", "test")
    for _ in range(3):
        bench.drain()
        hasten(bench)

    assert answers("order") == {"x": 18.0}
    assert sum(run["left_alone"] for run in manage.list_runs(bench.engine)) == 1


def test_a_row_that_breaks_the_engine_is_set_aside_and_the_others_are_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("poison", {f"k{i:02}": (float(i), 0.0) for i in range(40)})
    bench.apply(documents("poison"))
    plan = bench.engine.parts.plan(manage.current_release(bench.engine, "poison"))
    features = type(plan).features

    def chokes(self: Any, batch: Any, clock: Any) -> Any:
        if (batch.frame["a"] == 13.0).any():
            raise ZeroDivisionError
        return features(self, batch, clock)

    monkeypatch.setattr(type(plan), "features", chokes)
    manage.request_run(bench.engine, "poison", "test")
    for _ in range(60):
        try:
            if not bench.step() and not bench.all("SELECT 1 FROM chunk WHERE state = 'read'"):
                break
        except ZeroDivisionError:
            bench.hints.clear()
        hasten(bench)

    assert len(answers("poison")) == 39
    (letter,) = bench.all("SELECT stage, reason FROM dead_letter")
    assert letter["stage"] == "score"
    assert manage.list_runs(bench.engine)[0]["state"] == "succeeded"


def test_a_source_that_a_person_must_mend_ends_the_run_with_the_reason(bench: Bench) -> None:
    bench.apply(documents("nothing", source={"connection": "nothing", "query": {"table": "missing"}}))
    manage.request_run(bench.engine, "nothing", "test")
    bench.drain()

    run = manage.list_runs(bench.engine)[0]
    assert run["state"] == "failed"
    assert "missing" in run["reason"]


def test_events_are_accepted_once_and_scored_together(bench: Bench) -> None:
    inbound = {"scheme": "standard", "secrets": [{"secret": "env:HOOK"}]}
    signed = {"connection": "sender", "connector": "webhook", "settings": {"inbound": inbound}}
    flow = documents("events", trigger={"webhook": "sender", "key": "id"}, source=None)
    bench.apply(yaml.safe_dump(signed) + "---\n" + flow)
    release = manage.current_release(bench.engine, "events")
    first = Event("e1", b'{"id": "x", "a": 1, "b": 0}')

    one = accept(bench.engine, release, "sender", first)
    again = accept(bench.engine, release, "sender", first)
    accept(bench.engine, release, "sender", Event("e2", b'{"id": 7, "a": "3", "b": 1}'))
    with pytest.raises(Conflict):
        accept(bench.engine, release, "sender", Event("e1", b'{"id": "x", "a": 2, "b": 0}'))
    with pytest.raises(Rejected, match="key"):
        accept(bench.engine, release, "sender", Event("e3", b'{"a": 2}'))
    bench.drain()

    assert (one.event, one.repeated, again.repeated) == (again.event, False, True)
    assert answers("events") == {"x": 2.0, "7": 5.0}
    assert [row["rows"] for row in bench.all("SELECT rows FROM chunk")] == [2]


def test_a_schedule_starts_a_run_and_skips_while_it_goes_on(bench: Bench) -> None:
    put("often", {"x": (1.0, 0.0)})
    bench.apply(documents("often", trigger={"every": "1h"}))
    bench.all("UPDATE flow SET next_at = now() RETURNING 1")
    bench.relay._sweep()
    bench.all("UPDATE flow SET next_at = now() RETURNING 1")
    bench.relay._sweep()
    bench.drain()

    assert answers("often") == {"x": 2.0}
    assert len(manage.list_runs(bench.engine)) == 1
    assert len(bench.all("SELECT 1 FROM audit_outbox WHERE event = 'run.skipped'")) == 1


def test_a_cancelled_run_gives_up_what_was_not_scored(bench: Bench) -> None:
    put("cancelled", {f"k{i:04}": (1.0, 0.0) for i in range(250)})
    bench.apply(documents("cancelled"))
    run = manage.request_run(bench.engine, "cancelled", "test")
    bench.step()

    manage.cancel_run(bench.engine, run, "test", "wrong table")
    bench.drain()

    assert answers("cancelled") == {}
    assert {row["state"] for row in bench.all("SELECT state FROM chunk")} == {"dead"}
    with pytest.raises(Misconfigured):
        manage.cancel_run(bench.engine, run, "test", "again")

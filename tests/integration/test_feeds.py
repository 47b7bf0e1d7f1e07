"""Changes in a system make its records be scored: stored with the place to go on from, once, whatever dies."""

import threading

import pytest
from tests.conftest import Eventually
from tests.engines import Bench, answers, documents, put

from fieldline_core.errors import Fenced, Unavailable
from fieldline_core.pipeline.listen import Listener, Listeners, own_fields_written, take
from fieldline_core.ports import Change, Heard
from fieldline_server.apply import apply

NAME = "feeding"


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """The engine with a flow that listens to a table in memory."""
    put(NAME, {"r1": (1.0, 0.0), "r2": (2.0, 0.0)})
    bench.apply(documents(NAME, trigger={"changes": {"table": "records"}}))
    return bench


def _flow(bench: Bench) -> tuple[int, int]:
    row = bench.all("SELECT id, release_id FROM flow WHERE name = %s", NAME)[0]
    return row["id"], row["release_id"]


def _place(bench: Bench) -> int:
    """The version that the flow's listener may move the place from, as if it had just begun."""
    flow, _ = _flow(bench)
    with bench.engine.store.transaction("test") as tx:
        row = tx.one("feeds.begin", flow=flow, topic="test")
    assert row is not None
    return int(row["version"])


def test_a_changed_record_is_read_back_scored_and_written(bench: Bench, eventually: Eventually) -> None:
    listeners = Listeners(bench.engine)
    running = threading.Thread(target=listeners.run)
    running.start()
    try:
        eventually(lambda: bool(bench.all("SELECT 1 FROM feed WHERE cursor IS NOT NULL")))
        put(NAME, {"r2": (5.0, 1.0)})
        eventually(lambda: bool(bench.all("SELECT 1 FROM inbox")))
    finally:
        listeners.stop()
        running.join()
    bench.drain()
    assert answers(NAME) == {"r2": 9.0}


def test_listening_goes_on_where_it_stopped(bench: Bench, eventually: Eventually) -> None:
    first = Listener(bench.engine, *_flow(bench))
    first.start()
    eventually(lambda: bool(bench.all("SELECT 1 FROM feed WHERE cursor IS NOT NULL")))
    first.stop()
    first.join()
    put(NAME, {"r1": (3.0, 0.0)})
    second = Listener(bench.engine, *_flow(bench))
    second.start()
    eventually(lambda: bool(bench.all("SELECT 1 FROM inbox")))
    second.stop()
    second.join()
    bench.drain()
    assert answers(NAME) == {"r1": 6.0}


def test_what_is_heard_again_is_stored_once(bench: Bench) -> None:
    release = bench.engine.parts.release(_flow(bench)[1])
    version = _place(bench)
    heard = Heard([Change("7", "r1")], {"at": 1})
    version = take(bench.engine, release, heard, version, frozenset())
    take(bench.engine, release, heard, version, frozenset())
    assert len(bench.all("SELECT 1 FROM inbox")) == 1


def test_a_listener_that_was_replaced_stores_nothing(bench: Bench) -> None:
    release = bench.engine.parts.release(_flow(bench)[1])
    version = _place(bench)
    _place(bench)
    with pytest.raises(Fenced):
        take(bench.engine, release, Heard([Change("7", "r1")], {"at": 1}), version, frozenset())
    assert not bench.all("SELECT 1 FROM inbox")


def test_a_change_of_only_what_the_flow_writes_itself_is_no_event(bench: Bench) -> None:
    step = {"name": "answer", "connection": NAME, "target": {"table": "records", "fields": {"score": "score"}}}
    bench.apply(documents(NAME, trigger={"changes": {"table": "records"}}, writes=[step]))
    release = bench.engine.parts.release(_flow(bench)[1])
    own = own_fields_written(bench.engine, release)
    changes = [Change("1", "r1", frozenset({"score"})), Change("2", "r2", frozenset({"score", "a"})), Change("3", "r1")]
    take(bench.engine, release, Heard(changes, {"at": 3}), _place(bench), own)
    assert [row["event_id"] for row in bench.all("SELECT event_id FROM inbox ORDER BY id")] == ["2", "3"]


def test_a_gap_is_closed_by_a_run(bench: Bench) -> None:
    release = bench.engine.parts.release(_flow(bench)[1])
    take(bench.engine, release, Heard([], {"at": 9}, gap=True), _place(bench), frozenset())
    bench.drain()
    assert answers(NAME) == {"r1": 2.0, "r2": 4.0}


def test_a_gap_waits_for_a_run_that_may_have_been_too_early(bench: Bench) -> None:
    release = bench.engine.parts.release(_flow(bench)[1])
    version = take(bench.engine, release, Heard([], {"at": 9}, gap=True), _place(bench), frozenset())
    with pytest.raises(Unavailable, match="changes were missed"):
        take(bench.engine, release, Heard([], {"at": 10}, gap=True), version, frozenset())
    assert len(bench.all("SELECT 1 FROM run")) == 1


def test_a_flow_that_cannot_listen_is_refused_with_a_word(bench: Bench) -> None:
    text = documents(NAME, trigger={"changes": {"tabel": "records"}})
    found = [str(each) for each in apply(bench.engine, bench.registry, {"t.yaml": text}, "test").findings]
    assert any("trigger.changes" in words for words in found)

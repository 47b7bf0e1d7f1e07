"""What a system tells by messages is stored with its place; what it did not tell is read, also after a run that was too early."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.engines import Bench, answers, documents, put

from fieldline_core.errors import Fenced
from fieldline_core.flow import Release
from fieldline_core.pipeline import manage
from fieldline_core.pipeline.place import begin
from fieldline_core.pipeline.subscribe import catch_up, keep, take_told
from fieldline_core.ports import Change, Cursor, Heard, Subscribed
from fieldline_server.doctor import _feeds

NAME = "telling"


def telling(*changes: Change, gap: bool = False) -> Callable[[Cursor | None], Heard]:
    """A message that tells of these changes, and is counted in the place behind it."""
    return lambda after: Heard(changes, {"messages": (after or {"messages": 0})["messages"] + 1}, gap=gap)


class Keeping:
    """A connector whose subscription stands as it is told, look by look; then it ends."""

    def __init__(self, ended: threading.Event, *stands: Subscribed) -> None:
        self._ended, self._stands = ended, list(stands)
        self.places: list[Cursor | None] = []

    def subscribe(self, topic: Any, flow: str, place: Cursor | None) -> Subscribed:
        self.places.append(place)
        if len(self._stands) == 1:
            self._ended.set()
        return self._stands.pop(0)


@pytest.fixture
def bench(bench: Bench) -> Bench:
    put(NAME, {"r1": (1.0, 0.0), "r2": (2.0, 0.0)})
    bench.apply(documents(NAME, trigger={"changes": {"table": "records"}}))
    return bench


def release_of(bench: Bench) -> Release:
    return bench.engine.parts.release(bench.all("SELECT release_id FROM flow WHERE name = %s", NAME)[0]["release_id"])


def test_a_subscription_is_kept_with_its_place_its_trouble_and_its_gap(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def look(*stands: Subscribed) -> list[Cursor | None]:
        ended.clear()
        connector = Keeping(ended, *stands)
        monkeypatch.setattr(bench.engine.parts, "connector", lambda name: connector)
        keep(bench.engine, release_of(bench), ended)
        return connector.places

    trouble = Subscribed({"id": "s"}, 0.0, problem="the server has set it to error")
    assert look(Subscribed({"id": "s"}, 0.0, did="made"), trouble) == [None, {"id": "s"}]
    (check,) = _feeds(bench.engine.store)
    assert "the server has set it to error" in check.words
    assert look(Subscribed({"id": "t"}, 0.0, did="asked again", gap=True)) == [{"id": "s"}]
    assert not list(_feeds(bench.engine.store))
    assert [row["requested_by"] for row in bench.all("SELECT requested_by FROM run")] == ["changes"]
    details = [row["detail"] for row in bench.all("SELECT detail FROM audit_outbox WHERE event = 'feed.subscribed' ORDER BY id")]
    assert [detail["did"] for detail in details] == ["made", "asked again"]

    class Slow(Keeping):
        def subscribe(self, topic: Any, flow: str, place: Cursor | None) -> Subscribed:
            begin(bench.engine, release_of(bench))
            return super().subscribe(topic, flow, place)

    monkeypatch.setattr(bench.engine.parts, "connector", lambda name: Slow(ended, Subscribed({"id": "u"}, 0.0)))
    ended.clear()
    with pytest.raises(Fenced):
        keep(bench.engine, release_of(bench), ended)
    monkeypatch.undo()


def test_what_messages_tell_is_stored_once_and_what_they_missed_is_read_after_the_run_that_goes_on(bench: Bench) -> None:
    release = release_of(bench)
    with ThreadPoolExecutor(4) as together:
        list(together.map(lambda _: take_told(bench.engine, release, telling(Change("7", "r1"))), range(12)))
    assert len(bench.all("SELECT 1 FROM inbox")) == 1
    assert bench.all("SELECT told FROM feed")[0]["told"] == {"messages": 12}
    bench.drain()
    assert answers(NAME) == {"r1": 2.0}

    manage.request_run(bench.engine, NAME, "test")
    for _ in range(3):
        take_told(bench.engine, release, telling(gap=True))
    catch_up(bench.engine)
    assert len(bench.all("SELECT 1 FROM run WHERE kind = 'batch'")) == 1
    bench.drain()
    put(NAME, {"r2": (5.0, 0.0)})
    catch_up(bench.engine)
    catch_up(bench.engine)
    assert len(bench.all("SELECT 1 FROM run WHERE kind = 'batch'")) == 2
    bench.drain()
    assert answers(NAME) == {"r1": 2.0, "r2": 10.0}
    catch_up(bench.engine)
    assert len(bench.all("SELECT 1 FROM run WHERE kind = 'batch'")) == 2

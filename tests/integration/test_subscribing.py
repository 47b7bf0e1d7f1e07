"""What a system tells by messages is stored with its place; what it did not tell is read, also after a run that was too early."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from tests.conftest import Eventually
from tests.engines import Bench, answers, documents, put

from fieldline_core.errors import Fenced, Misconfigured, Unavailable
from fieldline_core.flow import Release
from fieldline_core.pipeline import manage
from fieldline_core.pipeline.leave import leave
from fieldline_core.pipeline.listen import Listener, Listeners
from fieldline_core.pipeline.place import begin
from fieldline_core.pipeline.subscribe import catch_up, keep, take_told
from fieldline_core.ports import Change, Cursor, Heard, HookRequest, Subscribed
from fieldline_server.api import hooks
from fieldline_server.api.backend import Backend
from fieldline_server.api.problems import TooMany
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
        list(keep(bench.engine, release_of(bench), ended))
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
        list(keep(bench.engine, release_of(bench), ended))
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


def test_a_flow_that_cannot_be_read_pauses_and_one_that_listens_no_more_has_missed_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def miss() -> None:
        manage.request_run(bench.engine, NAME, "test")
        take_told(bench.engine, release_of(bench), telling(gap=True))
        bench.drain()

    def runs() -> int:
        return len(bench.all("SELECT 1 FROM run WHERE kind = 'batch'"))

    miss()
    with monkeypatch.context() as broken:
        broken.setattr(bench.engine.parts, "query", lambda release: None)
        catch_up(bench.engine)
        catch_up(bench.engine)
    (paused,) = bench.all("SELECT paused_by, paused_reason FROM flow")
    assert paused["paused_by"] == "engine"
    assert "no run can read the changes that it missed: the flow telling has no source" in paused["paused_reason"]
    assert runs() == 1
    manage.resume_flow(bench.engine, NAME, "test")
    catch_up(bench.engine)
    assert runs() == 2
    bench.drain()

    miss()
    bench.apply(documents(NAME, trigger={"every": "1h"}))
    catch_up(bench.engine)
    assert (runs(), bench.all("SELECT missed_at FROM feed")[0]["missed_at"]) == (3, None)


class Slow:
    """A connector whose system does not answer until it is let."""

    Topic = None

    def __init__(self) -> None:
        self.asked, self.let = threading.Event(), threading.Event()

    def subscribe(self, topic: Any, flow: str, place: Cursor | None) -> Subscribed:
        """A look that takes long."""
        self.asked.set()
        assert self.let.wait(60.0)
        return Subscribed({}, 3_600.0)

    def unsubscribe(self, topic: Any, flow: str, place: Cursor | None) -> str:
        """Asks the system."""
        raise AssertionError("the system was asked")

    def check_topic(self, topic: Any, query: Any) -> None:
        """Finds nothing."""

    def told(self, topic: Any, request: HookRequest) -> Any:
        """Asks the system."""
        raise AssertionError("the system was asked")


def test_a_listener_that_waits_for_its_system_keeps_nobody_waiting(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, listeners = Slow(), Listeners(bench.engine)
    with monkeypatch.context() as patched:
        patched.setattr(bench.engine.parts, "connector", lambda name: slow)
        listeners._match()
        assert slow.asked.wait(60.0)
        first = cast(Listener, next(iter(listeners._running.values())))
    bench.apply(documents(NAME, trigger={"changes": {"table": "answers"}}))
    listeners._match()
    assert (first.is_alive(), listeners._running) == (True, {})
    first._wait_s = 60.0
    slow.let.set()
    first.join()
    # What was kept well makes the next trouble be looked at soon again.
    assert first._wait_s == 2.0
    listeners._match()
    assert [place[1] for place in listeners._running] == [release_of(bench).id]
    listeners._part()
    assert listeners._leaving
    assert not any(each.is_alive() for each in listeners._leaving)


def test_a_message_for_which_there_is_no_room_makes_nobody_ask_its_system(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(now_s: float) -> None:
        raise Unavailable("too many events wait", retry_after=10.0)

    monkeypatch.setattr(bench.engine.parts, "connector", lambda name: Slow())
    backend = cast(Backend, SimpleNamespace(engine=bench.engine, intake=SimpleNamespace(check=full)))
    with pytest.raises(TooMany):
        hooks._take_told(backend, release_of(bench), cast(HookRequest, None))
    monkeypatch.undo()


class Telling(Slow):
    """A connector whose system tells a flow until it is asked no longer to; what it answers to that is set."""

    def __init__(self, *answers: Exception | str) -> None:
        super().__init__()
        self.let.set()
        self.answers, self.left = list(answers), list[tuple[dict[str, Any], Cursor | None]]()

    def unsubscribe(self, topic: Any, flow: str, place: Cursor | None) -> str:
        """Answers as it is told to."""
        self.left.append((topic.model_dump(), place))
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def unsubscribed(bench: Bench) -> list[str]:
    """What was done to be told no more."""
    return [each["detail"]["did"] for each in bench.all("SELECT detail FROM audit_outbox WHERE event = 'feed.unsubscribed'")]


def elsewhere(changes: dict[str, Any]) -> str:
    """The flow, listening to another connection."""
    moved = yaml.safe_dump({"connection": "elsewhere", "connector": "memory", "settings": {"store": NAME}})
    source = {"connection": "elsewhere", "query": {"table": "records"}}
    return f"{documents(NAME, trigger={'changes': changes}, source=source)}---\n{moved}"


def test_a_system_is_asked_to_tell_no_more_once_its_flow_listens_to_something_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    away, refused = Unavailable("the EHR is away"), Misconfigured("the EHR takes nothing away")
    away.retry_after = 86_400.0
    ehr = Telling(away, away, "taken away", refused, "taken away")
    monkeypatch.setattr(bench.engine.parts, "connector", lambda name: ehr)

    def told() -> list[str]:
        return unsubscribed(bench)

    def kept() -> None:
        ended = threading.Event()
        for _ in keep(bench.engine, release_of(bench), ended):
            ended.set()

    flow, first = release_of(bench).flow_id, {"table": "records"}
    kept()
    leave(bench.engine, flow, release_of(bench), last=False)
    assert ehr.left == []
    take_told(bench.engine, release_of(bench), telling(gap=True))
    bench.apply(elsewhere({"table": "answers"}))
    # Another system: the old place is left first, and kept until that is done, or has failed too often.
    with pytest.raises(Unavailable) as caught:
        leave(bench.engine, flow, release_of(bench), last=False)
    assert caught.value.retry_after is None
    leave(bench.engine, flow, release_of(bench), last=True)
    assert (ehr.left, told()) == ([(first, {})] * 2, ["not taken away: the EHR is away"])
    # Not none: what changed meanwhile is missed.
    assert begin(bench.engine, release_of(bench))[1] == {}
    kept()
    bench.apply(documents(NAME, trigger={"every": "1h"}))
    listeners = Listeners(bench.engine)
    for count in (1, 2):
        # Left once, whatever becomes of it: who looks again finds nothing to do.
        listeners._match()
        eventually(lambda: not any(each.is_alive() for each in listeners._running.values()))
        assert (len(ehr.left), len(told())) == (3, 2), count
    listeners._part()
    bench.apply(documents(NAME, trigger={"changes": first}))
    begin(bench.engine, release_of(bench))
    bench.apply(documents(NAME, trigger={"every": "1h"}))
    leave(bench.engine, flow, None, last=False)
    # A look that died behind its request has left no place: the system is asked all the same, and a refusal ends nothing.
    assert ehr.left[2:] == [({"table": "answers"}, {}), (first, None)]
    assert told()[1:] == ["taken away", "not taken away: the EHR takes nothing away"]
    assert bench.all("SELECT topic, cursor, told FROM feed") == [{"topic": "", "cursor": None, "told": None}]
    assert bench.all("SELECT paused_at FROM flow")[0]["paused_at"] is None
    monkeypatch.undo()


def test_a_system_that_tells_of_something_else_goes_on_with_its_subscription_and_a_place_of_nobody_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, lost = threading.Event(), {"id": "s", "lost": True}
    with monkeypatch.context() as patched:
        ehr = Keeping(ended, Subscribed(lost, 0.0))
        patched.setattr(bench.engine.parts, "connector", lambda name: ehr)
        list(keep(bench.engine, release_of(bench), ended))
        take_told(bench.engine, release_of(bench), telling())
        telling_now = Telling()
        patched.setattr(bench.engine.parts, "connector", lambda name: telling_now)
        bench.apply(documents(NAME, trigger={"changes": {"table": "answers"}}))
        leave(bench.engine, release_of(bench).flow_id, release_of(bench), last=False)
    assert (telling_now.left, begin(bench.engine, release_of(bench))[1]) == ([], lost)
    assert bench.all("SELECT told FROM feed")[0]["told"] == {"messages": 1}

    def left() -> list[str]:
        leave(bench.engine, release_of(bench).flow_id, None, last=False)
        return unsubscribed(bench)

    # One that listens by itself is left by listening no more; of another connector, and of no release, nobody can be asked.
    bench.apply(documents(NAME, trigger={"every": "1h"}))
    assert left() == []
    monkeypatch.setattr(bench.engine.parts, "connector", lambda name: object())
    assert left() == ["not taken away: its connection has another connector now"]
    bench.all("UPDATE feed SET topic = 'of nobody', cursor = 'x' RETURNING 1")
    assert left()[1:] == ["not taken away: no release says any more what the flow listened to"]
    assert left()[2:] == []
    monkeypatch.undo()

"""What Fieldline puts off to keep its manners is no failure of anybody, and doubles nothing."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event
from typing import Any

import pytest
from tests.engines import Bench, answers, documents, put
from tests.fhir_script import Asked, ScriptedServer, capabilities, serving
from tests.fhir_writing import outcomes, slice_of, target_of

from fieldline_connectors import memory
from fieldline_connectors.fhir import Fhir, FhirConfig, FhirQuery
from fieldline_core.errors import Paced
from fieldline_core.pipeline import manage
from fieldline_core.ports import Dedupe, Slice
from fieldline_core.receipts import Outcome, Receipts
from fieldline_core.store import Store
from fieldline_server.shared import SharedValues

VIEW = {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "getResourceKey()"}]}]}


def test_a_write_that_is_put_off_uses_up_no_attempt_and_leaves_the_breaker_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("paced", {"x": (1.0, 0.0)})
    bench.apply(documents("paced"))
    calls: list[str] = []
    write = memory.Memory.write

    def puts_off(self: memory.Memory, slice: Slice) -> Receipts:
        calls.append(slice.effect_key)
        if len(calls) <= 6:
            raise Paced("as many requests as `requests_per_minute` allows", 60.0)
        return write(self, slice)

    monkeypatch.setattr(memory.Memory, "write", puts_off)
    manage.request_run(bench.engine, "paced", "test")
    for number in range(1, 7):
        bench.drain()
        (effect,) = bench.all("SELECT attempts, state, last_error FROM effect")
        assert (effect["attempts"], effect["state"]) == (0, "intended")
        assert "requests_per_minute" in effect["last_error"]
        for _ in range(2):
            bench.all("UPDATE effect SET due_at = now(), sent_at = NULL RETURNING 1")
            bench.drain()
            assert len(calls) == number, "what is behind it waits as long, without being tried"
        bench.all("UPDATE effect SET due_at = now(), sent_at = NULL RETURNING 1")
        bench.all("UPDATE target SET retry_at = now() RETURNING 1")
    bench.drain()
    assert answers("paced") == {"x": 2.0}
    assert len(calls) == 7
    assert bench.all("SELECT breaker, failures FROM target") == [{"breaker": "closed", "failures": 0}]


class Minutes:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def sleep(self, seconds: float) -> None:
        """Moves on."""
        self.now += seconds


def forgetful(asked: Asked) -> tuple[int, Any]:
    """A server on which nothing that was written can be found again."""
    if asked.path.endswith("/metadata"):
        types = [{"type": "Observation", "interaction": [{"code": "create"}]}]
        return 200, {**capabilities(), "rest": [{"mode": "server", "resource": types}]}
    return 201, {}


def fhir(server: ScriptedServer, **settings: Any) -> Fhir:
    """A connection to it."""
    return Fhir(FhirConfig.model_validate(server.settings(**settings)))


def test_a_slice_of_which_something_was_sent_waits_for_its_turn_instead_of_being_sent_again() -> None:
    with serving(forgetful) as server, closing(fhir(server, requests_per_minute=2)) as connector:
        clock, target = Minutes(), target_of(operation="create", resource="Observation")
        throttle = connector._wire._throttle
        throttle._clock, throttle._sleep = (lambda: clock.now), clock.sleep
        assert connector.dedupe(target) is Dedupe.NONE
        receipts = connector.write(slice_of(target, {f"p{number}": 0.5 for number in range(6)}))
        clock.now += 120
        for _ in range(2):
            connector.write(slice_of(target, {"other": 0.5}))
        with pytest.raises(Paced) as caught:
            connector.write(slice_of(target, {"other": 0.5}))
    assert outcomes(receipts) == [Outcome.WRITTEN] * 6
    assert len([asked for asked in server.asked if asked.method == "POST"]) == 6 + 2
    assert not caught.value.sent


def test_an_export_beside_which_nothing_else_can_be_asked_is_told_before_anything_runs() -> None:
    query = FhirQuery.model_validate({"view": VIEW, "export": {"level": "system"}})
    with serving(forgetful) as server:
        for at_once, found in ((1, 1), (2, 0)):
            with closing(fhir(server, max_concurrent=at_once)) as connector:
                assert len([each for each in connector.check_query(query) if "max_concurrent" in str(each)]) == found


def test_whoever_waits_for_a_login_that_hangs_gives_up_and_holds_no_connection_to_the_store(bench: Bench) -> None:
    hangs, end = Event(), Event()

    def login(kept: bytes | None) -> bytes:
        hangs.set()
        assert end.wait(30)
        return b"token"

    with closing(Store(bench.engine.store.url, connections=2)) as store, ThreadPoolExecutor(6) as threads:
        mine, others = (SharedValues(each, bench.engine.keyring, "ehr", 0.05) for each in (store, bench.engine.store))
        first = threads.submit(mine.update, "token", login)
        assert hangs.wait(30)
        waiting = [threads.submit(mine.update, "token", login) for _ in range(4)]
        # The store has two connections: one is with the login, and the other is free.
        with store.transaction("test") as tx:
            for each in waiting:
                with pytest.raises(Paced, match="another worker signs in") as caught:
                    each.result()
                assert (caught.value.retry_after, caught.value.sent) == (5.0, False)
            assert tx.connection.execute("SELECT 1").fetchone()
        with pytest.raises(Paced, match="the connection ehr waits: another worker signs in"):
            others.update("token", login)
        assert others.update("throttle", lambda kept: b"counted") == b"counted"
        end.set()
        assert first.result() == b"token"
        assert others.update("token", lambda kept: kept) == b"token"

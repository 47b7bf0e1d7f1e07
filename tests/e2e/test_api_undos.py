"""Undo and stories over HTTP."""

from collections.abc import Iterator
from typing import Any

import httpx
import polars as pl
import pytest
from tests.api import Served, client_of, problem
from tests.engines import VERBS

from fieldline_connectors import memory
from fieldline_core.batch import Batch
from fieldline_core.pipeline.manage import request_run
from fieldline_core.pipeline.relay import Relay
from fieldline_server.apply import apply

STORE = "undone"
DOCUMENTS = f"""
connection: crm
connector: memory
settings: {{store: {STORE}}}
---
flow: back
source: {{connection: crm, query: {{table: leads}}}}
mapping: triage
models: [triage]
writes: [{{name: answer, connection: crm, target: {{table: leads, fields: {{points: points}}}}}}]
"""


def work(api: Served) -> None:
    """Does all that is due."""
    hints: list[tuple[str, int]] = []

    def ring(_: str, verb: str, id: int) -> bool:
        hints.append((verb, id))
        return True

    relay = Relay(api.engine, ring)
    with api.engine.store.transaction("worker") as tx:
        tx.run("relay.seen", id="test", queues=["cpu", "write"], slots=4)
    while relay.round():
        for verb, id in hints:
            VERBS[verb](api.engine, id)
        hints.clear()


def points() -> dict[str, Any]:
    """The points that are there, by key."""
    return {key: row["points"] for key, row in memory.store(STORE).rows("leads").items()}


@pytest.fixture
def client(api: Served) -> Iterator[httpx.Client]:
    """A client; a flow has overwritten the points of three records, one of which had none."""
    memory.forget()
    frame = pl.DataFrame({"a": [3.0, 4.0, 5.0], "b": [1.0, 1.0, 1.0], "points": [1.0, None, 3.0]})
    memory.store(STORE).put("leads", Batch.of(["ada", "bob", "cyd"], frame))
    assert not apply(api.engine, api.engine.parts.registry, {"test.yaml": DOCUMENTS}, "test").findings  # type: ignore[attr-defined]
    request_run(api.engine, "back", "test")
    work(api)
    assert None not in points().values()
    with client_of(api) as client:
        yield client


def test_an_undo_is_counted_unless_it_is_applied(api: Served, client: httpx.Client) -> None:
    written = points()

    said = client.post("/v1/undos", json={"run": 1}, headers=api.key("write")).json()

    count = {"put_back": 3, "changed_since": 0, "decided_since": 0, "no_image": 0, "already_so": 0, "under_way": 0}
    assert said == {"flow": "back", "paused": False, "run": None, **count, "writes": {"answer": count}}
    assert points() == written
    assert [event["event"] for event in api.events() if event["event"].startswith("undo.")] == ["undo.previewed"]


def test_an_applied_undo_leaves_alone_what_a_person_changed(api: Served, client: httpx.Client) -> None:
    memory.store(STORE).put("leads", Batch.of(["cyd"], pl.DataFrame({"points": [99.0]})))

    said = client.post("/v1/undos", json={"run": 1, "apply": True, "why": "bad"}, headers=api.key("write")).json()
    memory.store(STORE).put("leads", Batch.of(["ada"], pl.DataFrame({"points": [77.0]})))
    work(api)

    assert (said["put_back"], said["changed_since"], points()) == (2, 1, {"ada": 77.0, "bob": None, "cyd": 99.0})
    run = client.get(f"/v1/runs/{said['run']}", headers=api.key("read")).json()
    assert (run["kind"], run["state"], run["written"], run["left_alone"]) == ("undo", "succeeded", 1, 1)
    (event,) = api.events("undo.requested")
    assert (event["detail"]["why"], event["detail"]["run"]) == ("bad", said["run"])


def test_who_may_not_write_may_not_undo(api: Served, client: httpx.Client) -> None:
    problem(client.post("/v1/undos", json={"run": 1}, headers=api.key("read", "audit", "run")), 403, "forbidden")


@pytest.mark.parametrize("wish", [{}, {"run": 1, "flow": "back"}, {"flow": "back"}, {"run": 1, "apply": True}])
def test_an_undo_without_scope_or_reason_is_refused(api: Served, client: httpx.Client, wish: dict[str, Any]) -> None:
    problem(client.post("/v1/undos", json=wish, headers=api.key("write")), 422, "rejected")


def test_a_decision_is_told_as_a_story(api: Served, client: httpx.Client) -> None:
    headers = api.key("audit")
    (found,) = client.get("/v1/decisions", params={"q": "record:bob"}, headers=headers).json()["items"]

    story = client.get(f"/v1/decisions/{found['decision']}/story", headers=headers).json()

    assert [step["step"] for step in story["steps"]] == ["received", "mapped", "scored", "decided", "written", "sealed"]
    assert (story["key"], story["flow"]) == ("bob", "back")
    assert story["steps"][-1]["words"] == "It is durable, not yet sealed: the next checkpoint of the log will cover it."
    (written,) = (step for step in story["steps"] if step["step"] == "written")
    assert written["facts"][0]["about"] == "before: blank"
    assert {act["step"] for act in story["people"]} == {"published", "approved"}
    assert len([event for event in api.events("decision.viewed") if event["detail"].get("story")]) == 1


def test_a_story_is_for_auditors_and_of_a_decision_that_is_there(api: Served, client: httpx.Client) -> None:
    problem(client.get("/v1/decisions/1-0/story", headers=api.key("read")), 403, "forbidden")
    headers = api.key("audit")
    problem(client.get("/v1/decisions/1-99/story", headers=headers), 404, "not_found")
    problem(client.get("/v1/decisions/1-0/story", params={"key": "nobody"}, headers=headers), 404, "not_found")
    problem(client.get("/v1/decisions/one/story", headers=headers), 422, "invalid")

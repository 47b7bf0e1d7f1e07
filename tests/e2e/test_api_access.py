"""Every route asks for a scope, every change leaves an audit event, and every failure is a problem."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import polars as pl
import pytest
from fastapi.routing import APIRoute
from tests import models
from tests.api import Served, problem, signed

from fieldline_connectors import memory
from fieldline_core.batch import Batch
from fieldline_core.events import EVENTS
from fieldline_core.pipeline.manage import request_run
from fieldline_server.api.access import Guarded, needed
from fieldline_server.keys import Scope

OPEN = {
    "/hooks/{flow}", "/hooks/{flow}/{type}/{id}", "/health/live", "/health/ready", "/cds-services", "/cds-services/{flow}",
    "/cds-services/{flow}/feedback",
}  # fmt: skip
CHANGES = {"POST", "PUT", "DELETE", "PATCH"}


def routes(api: Served) -> list[APIRoute]:
    found = [route for route in api.app.routes if isinstance(route, APIRoute)]
    others = {getattr(route, "path", route) for route in api.app.routes} - {route.path for route in found}
    assert others == {"/openapi.json"}, "a route of another kind would have no guard"
    return found


def filled(path: str) -> str:
    """A path with a name or number in each of its places."""
    return re.sub(r"\{(\w+)\}", lambda place: {"flow": "triage", "alias": "champion"}.get(place[1], "1"), path)


@dataclass(frozen=True)
class Change:
    """How a route is called so that it changes something, the event that says so, and what comes before."""

    event: str
    call: dict[str, Any]
    path: str = ""
    before: Callable[[Served, httpx.Client, dict[str, str]], Any] = lambda api, client, key: None


def hold_a_record(api: Served, client: httpx.Client, key: dict[str, str]) -> None:
    client.post("/v1/flows/triage/score", json={"records": [{"key": "k", "record": {"a": "none"}}]}, headers=key)


def start_a_run(api: Served, client: httpx.Client, key: dict[str, str]) -> None:
    request_run(api.engine, "nightly", "test")


def take_an_event(api: Served, client: httpx.Client, key: dict[str, str]) -> None:
    client.post("/hooks/triage", **signed("m", {"id": "k"}))


def pause_first(path: str) -> Callable[[Served, httpx.Client, dict[str, str]], Any]:
    return lambda api, client, key: client.post(path, json={"reason": "a test"}, headers=key)


def put_a_record(api: Served, client: httpx.Client, key: dict[str, str]) -> None:
    store = api.engine.parts.connector("desk").config.store
    memory.store(store).put("records", Batch.of(["k"], pl.DataFrame({"a": [1.0], "b": [2.0]})))


EXAMPLE = {"records": [{"key": "k", "record": {"a": 1, "b": 2}}]}
REASON = {"json": {"reason": "a test"}}
DOCUMENT = {"content": b"connection: shelf\nconnector: memory\n"}
MAPPING = b"mapping: triage\nfeatures: [{field: a}, {field: b}]\nfields: [{name: points, formula: score * 2}]\n"
HELD = "feature 'a': field 'a' is not a number; feature 'b': field 'b' is blank"
CHANGING = {
    "POST /v1/flows/{flow}/runs": Change("run.requested", {"json": {}}, "/v1/flows/nightly/runs"),
    "POST /v1/flows/{flow}/pause": Change("flow.paused", REASON),
    "POST /v1/flows/{flow}/resume": Change("flow.resumed", {}, before=pause_first("/v1/flows/triage/pause")),
    "POST /v1/flows/{flow}/score": Change("score.requested", {"json": EXAMPLE}),
    "POST /v1/flows/{flow}/preview": Change("preview.viewed", {}, "/v1/flows/nightly/preview", before=put_a_record),
    "POST /v1/flows/{flow}/backtest": Change("backtest.viewed", {"content": MAPPING}, "/v1/flows/nightly/backtest"),
    "POST /v1/runs/{run}/cancel": Change("run.cancelled", REASON, before=start_a_run),
    "POST /v1/flows/{flow}/dead-letters/replay": Change("dead_letters.replayed", {"json": {"ids": [1]}}, before=hold_a_record),
    "POST /v1/flows/{flow}/dead-letters/discard": Change(
        "dead_letters.discarded", {"json": {"reason": HELD, "why": "a test"}}, before=hold_a_record
    ),
    "POST /v1/models/{name}/versions": Change("model.imported", {"content": models.linear((1, 1)).SerializeToString()}),
    "PUT /v1/models/{name}/aliases/{alias}": Change(
        "model.alias_moved", {"json": {"version": 1}}, "/v1/models/triage/aliases/challenger"
    ),
    "POST /v1/apply": Change("config.published", DOCUMENT),
    "POST /v1/targets/{name}/retry": Change("target.retried", {}, "/v1/targets/desk/retry"),
    "POST /v1/writes/pause": Change("writes.paused", REASON),
    "POST /v1/writes/resume": Change("writes.resumed", {}, before=pause_first("/v1/writes/pause")),
    "POST /v1/erasures": Change("record.erased", {"json": {"key": "k", "why": "a test"}}, before=hold_a_record),
    "POST /v1/undos": Change(
        "undo.requested", {"json": {"flow": "triage", "since": "2026-01-01T00:00:00Z", "apply": True, "why": "a test"}}
    ),
    "POST /v1/keys": Change("key.made", {"json": {"label": "new", "scopes": ["read"]}}),
    "DELETE /v1/keys/{id}": Change("key.revoked", {}, "/v1/keys/THE-KEY"),
    "POST /hooks/{flow}": Change(
        "hook.conflict",
        signed("m", {"id": "k", "a": 2}),
        before=take_an_event,
    ),
}
LOOKING = {
    "POST /v1/mappings/test": "runs what it is sent on what it is sent",
    "POST /v1/mappings/completions": "names what it is sent, and the language",
    "POST /v1/mappings/{name}/difference": "compares what it is sent with what is published",
}
"""Routes that take a body and change nothing, nor show anything of a record that is kept."""
SIGNED = {
    "PUT /hooks/{flow}/{type}/{id}": "run.requested",
    "POST /cds-services/{flow}": "score.requested",
    "POST /cds-services/{flow}/feedback": "cds.feedback",
}
"""Routes that take only what an EHR shows to be its own, and their events: test_api_cds.py, test_fhir_subscriptions.py."""


def test_every_route_asks_for_a_scope_but_hooks_and_health(api: Served) -> None:
    without = {route.path for route in routes(api) if not needed(route.dependant)}
    assert without == OPEN
    assert all(isinstance(route, Guarded) for route in routes(api) if route.path not in OPEN)


def test_a_route_without_a_scope_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="does not say which scope"):
        Guarded("/v1/open", lambda: None)


def test_nothing_is_shown_or_done_without_a_key_or_with_a_key_of_other_scopes(api: Served, client: httpx.Client) -> None:
    for route in routes(api):
        if route.path in OPEN or route.path == "/metrics":
            continue
        wanted = needed(route.dependant)[0].scope
        others = api.key(*(scope for scope in Scope if scope is not wanted))
        for method in route.methods:
            problem(client.request(method, filled(route.path)), 401, "unauthorized")
            problem(client.request(method, filled(route.path), headers=others), 403, "forbidden")
    assert [row["event"] for row in api.events()].count("run.requested") == 0


def test_a_caller_without_a_key_is_refused_before_the_body_is_read(client: httpx.Client) -> None:
    problem(client.post("/v1/flows/nightly/runs", content=b" " * 2_000_000), 401, "unauthorized")


def test_every_changing_route_is_in_the_table_of_changes(api: Served) -> None:
    changing = {f"{method} {route.path}" for route in routes(api) for method in route.methods & CHANGES}
    assert changing == CHANGING.keys() | LOOKING.keys() | SIGNED.keys()
    assert set(SIGNED.values()) <= set(EVENTS)


@pytest.mark.parametrize("name", CHANGING)
def test_a_change_leaves_its_audit_event(name: str, api: Served, client: httpx.Client) -> None:
    change, key = CHANGING[name], api.key()
    change.before(api, client, key)
    known = {row["id"] for row in api.events()}
    method, path = name.split(" ")
    path = (change.path or filled(path)).replace("THE-KEY", client.get("/v1/keys", headers=key).json()["items"][0]["id"])
    headers = {**key, **change.call.get("headers", {})}
    response = client.request(method, path, **{**change.call, "headers": headers})
    assert response.status_code < 300 or change.event == "hook.conflict", response.text
    left = [row for row in api.events() if row["id"] not in known]
    assert change.event in {row["event"] for row in left}
    assert {row["event"] for row in left} <= set(EVENTS)


def test_a_record_that_is_looked_at_leaves_an_audit_event_without_its_key(api: Served, client: httpx.Client) -> None:
    hold_a_record(api, client, key := api.key())
    assert client.get("/v1/dead-letters/1", headers=key).json()["record"] == {"a": "none", "b": None}
    (decision,) = client.get("/v1/decisions", params={"q": "record:k"}, headers=key).json()["items"]
    assert decision["source"] == {"a": "none", "b": None}
    viewed = api.events("dead_letter.viewed") + api.events("decision.viewed")
    assert len(viewed) == 2
    assert "'k'" not in str([row["detail"] for row in viewed])


def test_a_key_gives_no_scope_that_it_lacks(api: Served, client: httpx.Client) -> None:
    wanted = {"label": "more", "scopes": ["read", "configure"]}
    problem(client.post("/v1/keys", json=wanted, headers=api.key("keys", "read")), 403, "forbidden")


def test_metrics_need_a_key_unless_asked_on_this_machine(api: Served, client: httpx.Client) -> None:
    assert 'fieldline_flow_paused{flow="triage"} 0.0' in client.get("/metrics").text
    problem(client.get("/metrics", headers={"x-forwarded-for": "203.0.113.7"}), 401, "unauthorized")
    problem(client.get("/metrics", headers=api.key("read")), 403, "forbidden")
    said = client.get("/metrics", headers=api.key("metrics")).text
    assert "fieldline_store_up 1.0" in said
    assert 'route="/metrics",status="401"' in said


@pytest.mark.parametrize(
    ("method", "path", "call", "status", "code"),
    [
        ("GET", "/nowhere", {}, 404, "not_found"),
        ("DELETE", "/v1/flows", {}, 405, "method_not_allowed"),
        ("GET", "/v1/runs/1", {}, 404, "not_found"),
        ("GET", "/v1/runs/0", {}, 422, "invalid"),
        ("GET", "/v1/models/none", {}, 404, "not_found"),
        ("POST", "/v1/flows/none/runs", {"json": {}}, 404, "not_found"),
        ("POST", "/v1/flows/triage/runs", {"json": {}}, 409, "misconfigured"),
        ("POST", "/v1/flows/nightly/runs", {"json": {"rowlimit": 3}}, 422, "invalid"),
        ("POST", "/v1/flows/nightly/runs", {"content": b'{"a": 1, "a": 2}'}, 422, "rejected"),
        ("POST", "/v1/flows/nightly/runs", {"content": b"[" * 100_000}, 413, "too_large"),
        ("POST", "/v1/flows/nightly/runs", {"content": b" " * 2_000_000}, 413, "too_large"),
        ("POST", "/v1/flows/triage/dead-letters/discard", {"json": {"ids": [1], "why": "a test"}}, 409, "misconfigured"),
        ("POST", "/v1/flows/triage/dead-letters/replay", {"json": {}}, 422, "invalid"),
        ("POST", "/v1/apply", {"content": b"flow: nightly\n"}, 422, "documents"),
        ("POST", "/v1/models/broken/versions", {"content": b"this is no model"}, 422, "rejected"),
    ],
)  # fmt: skip
def test_a_failure_is_a_problem(
    method: str, path: str, call: dict[str, Any], status: int, code: str, api: Served, client: httpx.Client
) -> None:
    headers = {**api.key(), "content-type": "application/json"}
    problem(client.request(method, path, headers=headers, **call), status, code)


def test_a_problem_holds_no_value_of_a_record(api: Served, client: httpx.Client) -> None:
    response = client.post("/v1/flows/triage/score", json={"records": [{"key": 4711, "record": "Jane Doe"}]}, headers=api.key())
    problem(response, 422, "invalid")
    assert "4711" not in response.text
    assert "Jane" not in response.text


def test_a_bug_is_a_plain_500_that_says_nothing_about_itself(
    api: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a value of Jane Doe")

    monkeypatch.setattr("fieldline_server.api.runs.list_runs", fail)
    said = problem(client.get("/v1/runs", headers=api.key()), 500, "internal")
    assert "Jane" not in str(said)
    assert "Zero" not in str(said)


def test_documents_are_checked_without_being_published(api: Served, client: httpx.Client) -> None:
    key, known = api.key(), len(api.events())
    said = client.post("/v1/apply?dry_run=true", content=b"connection: shelf\nconector: memory\n", headers=key).json()
    assert [(found["rule"], found["line"]) for found in said["findings"]] == [("missing", 1), ("unknown-key", 2)]
    assert said["documents"] == []
    assert len(api.events()) == known


def test_health_says_what_was_checked(api: Served, client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"status": "alive"}
    ready = client.get("/health/ready")
    assert (ready.status_code, ready.json()["database"], ready.json()["migrations"]) == (200, True, True)


def test_no_answer_names_its_server_or_is_kept_by_caches(client: httpx.Client) -> None:
    headers = client.get("/health/live").headers
    assert "server" not in headers
    assert headers["cache-control"] == "no-store"
    assert client.get("/docs").status_code == 404


def test_the_openapi_document_says_of_every_route_what_it_takes_and_gives(api: Served, client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    assert set(document["paths"]) == {route.path.replace(":path", "") for route in routes(api)}
    assert all("description" in how for path in document["paths"].values() for how in path.values())

"""Sessions, budgets and repeats against a server that does what an org does only now and then."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Lock
from typing import Any

import polars as pl
import pytest
from tests.salesforce_script import ROOT, Answer, Request, Script, scripted

from fieldline_connectors.http import OfProcess
from fieldline_connectors.salesforce import Salesforce, SalesforceTarget
from fieldline_connectors.salesforce.auth import assertion
from fieldline_connectors.salesforce.wire import Wire
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured, Rejected, Unavailable
from fieldline_core.ports import Slice

ENDED = (401, [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}])


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted() as script:
        yield script


@pytest.fixture
def wire(script: Script) -> Iterator[Wire]:
    wire = Wire(script.config())
    yield wire
    wire.close()


def accepts_only(number: int) -> Any:
    def answer(request: Request) -> Answer:
        return (200, {}) if request.headers["authorization"] == f"Bearer token-{number}" else ENDED

    return answer


def test_a_session_that_ended_is_renewed_once_and_headers_are_kept(script: Script, wire: Wire) -> None:
    script.answer = accepts_only(2)
    wire.request("GET", "limits", {"sforce-query-options": "batchSize=200"})
    assert [request.headers["authorization"] for request in script.requests] == ["Bearer token-1", "Bearer token-2"]
    for request in script.requests:
        assert request.headers["sforce-query-options"] == "batchSize=200"
        assert request.headers["sforce-call-options"] == "client=fieldline"
        assert request.headers["sforce-auto-assign"] == "FALSE"


def test_a_session_that_is_refused_right_away_is_not_renewed_again(script: Script, wire: Wire) -> None:
    script.answer = accepts_only(99)
    with pytest.raises(Misconfigured, match="session"):
        wire.request("GET", "limits")
    assert (len(script.logins), len(script.requests)) == (2, 2)


def test_many_threads_with_one_dead_session_sign_in_once(script: Script, wire: Wire) -> None:
    wire.request("GET", "limits")
    script.answer = accepts_only(2)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda _: wire.request("GET", "limits"), range(16)))
    assert len(script.logins) == 2


def test_another_process_uses_the_token_that_is_there(script: Script) -> None:
    shared = OfProcess()
    for _ in range(3):
        wire = Wire(script.config())
        wire.share(shared)
        wire.request("GET", "limits")
        wire.close()
    assert len(script.logins) == 1


def test_a_token_of_other_settings_is_not_used(script: Script) -> None:
    shared = OfProcess()
    for client in ("one", "two"):
        login = {"flow": "client_credentials", "client_id": client, "client_secret": {"secret": "env:SF_TEST_SECRET"}}
        wire = Wire(script.config(login=login))
        wire.share(shared)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SF_TEST_SECRET", "s")
            wire.request("GET", "limits")
        wire.close()
    assert len(script.logins) == 2


def test_requests_follow_the_instance_of_the_newest_token(script: Script, wire: Wire) -> None:
    with scripted() as moved:
        script.answer = lambda request: ENDED
        script.login = lambda number: (200, {"access_token": "t", "instance_url": script.url if number == 1 else moved.url})
        wire.request("GET", "limits")
        wire.request("GET", "limits")
        assert [request.path for request in moved.requests] == [f"{ROOT}limits"] * 2


def test_an_update_is_repeated_where_it_is_harmless_and_a_new_record_is_not(script: Script, wire: Wire) -> None:
    script.answer = lambda request: (503, b"")
    for method, path, times in (("PATCH", "composite/sobjects", 4), ("POST", "composite/sobjects", 1), ("GET", "limits", 4)):
        script.requests.clear()
        with pytest.raises(Unavailable) as caught:
            wire.request(method, path)
        assert caught.value.sent
        assert len(script.requests) == times


@pytest.mark.parametrize(
    ("message", "least_s"),
    [("TotalRequests Limit exceeded.", 3600), ("ConcurrentRequests (Concurrent API Requests) Limit exceeded.", 20)],
)
def test_a_limit_parks_for_as_long_as_it_lasts(script: Script, wire: Wire, message: str, least_s: float) -> None:
    script.answer = lambda request: (403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": message}])
    with pytest.raises(Unavailable) as caught:
        wire.request("GET", "limits")
    assert caught.value.retry_after == least_s
    assert len(script.requests) == 1


def test_a_share_of_the_orgs_calls_is_kept_over_processes(script: Script) -> None:
    script.answer = lambda request: (200, {}, {"Sforce-Limit-Info": "api-usage=50/100"})
    shared = OfProcess()
    wires = [Wire(script.config(daily_calls_share=0.4)) for _ in range(2)]
    for wire in wires:
        wire.share(shared)
    made, stopped = 0, None
    while stopped is None:
        try:
            wires[made % 2].request("GET", "limits")
            made += 1
        except Unavailable as error:
            stopped = error
    assert "daily_calls_share" in str(stopped)
    assert 40 <= made <= 60
    assert stopped.retry_after == 3600
    for wire in wires:
        wire.close()


def test_others_keep_the_last_of_the_orgs_calls(script: Script, wire: Wire) -> None:
    script.answer = lambda request: (200, {}, {"Sforce-Limit-Info": "api-usage=91/100; per-app-api-usage=17/250(appName=x)"})
    wire.request("GET", "limits")
    with pytest.raises(Unavailable, match="org_calls_limit"):
        wire.request("GET", "limits")
    assert len(script.requests) == 1


@pytest.mark.parametrize(("taken", "arrived"), [(0, False), (1, True)], ids=["at the first piece", "at the second piece"])
def test_where_access_ends_within_a_slice_it_is_told_whether_a_part_was_written(script: Script, taken: int, arrived: bool) -> None:
    done = [{"id": "003", "success": True, "errors": []}] * 200
    fields = [{"name": name, "label": name, "type": "string", "length": 255, "updateable": True} for name in ("Id", "Title")]

    def answer(request: Request) -> Answer:
        if request.method == "GET":
            return 200, {"name": "Contact", "label": "Contact", "fields": fields}
        if request.method == "POST":
            return 200, [{"Id": id, "Title": "y"} for id in request.json["ids"]]
        pieces = sum(each.method == "PATCH" for each in script.requests)
        return (200, done) if pieces <= taken else (403, [{"errorCode": "API_DISABLED_FOR_ORG"}])

    script.answer = answer
    target = SalesforceTarget(object="Contact", fields={"Title": "title"})
    batch = Batch.of([f"003{row:012}" for row in range(400)], pl.DataFrame({"Title": ["x"] * 400}))
    with closing(Salesforce(script.config())) as connector, pytest.raises(Misconfigured) as refused:
        connector.write(Slice("k" * 64, 1, target, batch))
    assert refused.value.sent is arrived


def test_an_edge_that_answers_nonsense_is_tried_again(script: Script, wire: Wire) -> None:
    answers = iter([(406, b""), (502, b"<html>"), (200, {})])
    script.answer = lambda request: next(answers)
    assert wire.request("GET", "limits").status_code == 200


def test_what_no_code_explains_is_refused_without_its_body(script: Script, wire: Wire) -> None:
    script.answer = lambda request: (400, [{"errorCode": "SOMETHING_NEW", "message": "Jane Doe is wrong"}])
    with pytest.raises(Rejected) as caught:
        wire.request("GET", "limits")
    assert "Jane" not in str(caught.value)
    assert "SOMETHING_NEW" in str(caught.value)


def test_the_secret_is_in_no_error(script: Script, wire: Wire) -> None:
    script.login = lambda number: (400, {"error": "invalid_client", "error_description": "app-secret is wrong"})
    with pytest.raises(Misconfigured) as caught:
        wire.request("GET", "limits")
    assert "app-secret" not in str(caught.value)


def test_shared_values_change_one_at_a_time() -> None:
    shared, running, most, lock = OfProcess(), 0, 0, Lock()

    def change(kept: bytes | None) -> bytes:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        value = str(int(kept or b"0") + 1).encode()
        with lock:
            running -= 1
        return value

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: shared.update("n", change), range(100)))
    assert (most, shared.update("n", lambda kept: kept)) == (1, b"100")


def test_a_private_key_that_is_none_is_named(script: Script) -> None:
    login = {"flow": "jwt_bearer", "client_id": "app", "username": "u@example.com", "private_key": {"secret": "env:NO"}}
    config = script.config(login=login)
    with pytest.raises(Misconfigured, match="private_key"):
        assertion(config, config.login, "not a key", 0)  # type: ignore[arg-type]

"""Past decisions made again over HTTP."""

from collections.abc import Iterator

import httpx
import pytest
from tests.api import Served, client_of, problem


@pytest.fixture
def client(api: Served) -> Iterator[httpx.Client]:
    """A client; three records have been scored."""
    with client_of(api) as client:
        records = [{"key": key, "record": {"a": a, "b": 1}} for key, a in (("ada", 3), ("bob", None), ("cyd", "0.1"))]
        answer = client.post("/v1/flows/triage/score", json={"records": records}, headers=api.key("score"))
        assert answer.status_code == 200
        yield client


def test_the_decisions_on_a_record_are_made_again(api: Served, client: httpx.Client) -> None:
    said = client.get("/v1/reruns", params={"key": "ada"}, headers=api.key("audit")).json()

    (made,) = said["decisions"]
    assert (said["count"], said["equal"], made["key"], made["flow"], made["equal"]) == (1, 1, "ada", "triage", True)
    assert (made["differences"], made["runtime"], made["impossible"]) == ([], [], "")
    (event,) = api.events("decision.rerun")
    assert "ada" not in str(event["detail"])


def test_the_last_decisions_of_a_flow_are_made_again(api: Served, client: httpx.Client) -> None:
    said = client.get("/v1/reruns", params={"flow": "triage", "last": 2}, headers=api.key("audit")).json()

    assert said == {
        "count": 2, "equal": 2, "different": 0, "impossible": 0, "unread": 0, "erased": 0, "runtime": [], "decisions": [],
    }  # fmt: skip
    assert [event["detail"] for event in api.events("decision.rerun")] == [{"flow": "triage", "count": 2}]


def test_who_may_not_see_decisions_may_not_make_them_again(api: Served, client: httpx.Client) -> None:
    problem(client.get("/v1/reruns", params={"key": "ada"}, headers=api.key("read", "score", "run")), 403, "forbidden")
    assert api.events("decision.rerun") == []


def test_what_to_make_again_is_a_record_or_a_flow(api: Served, client: httpx.Client) -> None:
    headers = api.key("audit")
    for wish in ({}, {"key": "ada", "flow": "triage"}):
        assert "either key or flow" in problem(client.get("/v1/reruns", params=wish, headers=headers), 422, "rejected")["detail"]
    problem(client.get("/v1/reruns", params={"flow": "nobody"}, headers=headers), 404, "not_found")
    assert client.get("/v1/reruns", params={"key": "nobody"}, headers=headers).json()["count"] == 0

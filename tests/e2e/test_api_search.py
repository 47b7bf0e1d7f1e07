"""Searching over the API: decisions and audit events by a search line, page by page."""

import httpx
from tests.api import Served, problem


def score(api: Served, client: httpx.Client, **scores: float) -> None:
    """A decision on each of these records, with twice its number as its score."""
    for key, number in scores.items():
        body = {"records": [{"key": key, "record": {"a": number, "b": 0}}]}
        assert client.post("/v1/flows/triage/score", json=body, headers=api.key("score")).status_code == 200


def test_decisions_are_found_by_score_in_pages(api: Served, client: httpx.Client) -> None:
    score(api, client, low=0.1, middle=0.4, high=0.9)
    headers, line = api.key("audit"), {"q": "flow:triage score:0.5.."}

    first = client.get("/v1/decisions", params={**line, "limit": 1}, headers=headers).json()
    second = client.get("/v1/decisions", params={**line, "limit": 1, "cursor": first["next"]}, headers=headers).json()

    assert [each["key"] for each in [*first["items"], *second["items"]]] == ["high", "middle"]
    (again,) = client.get("/v1/decisions", params={"q": f"decision:{first['items'][0]['decision']}"}, headers=headers).json()[
        "items"
    ]
    assert again == first["items"][0]
    seen = client.get("/v1/audit-events", params={"q": "record:middle"}, headers=headers).json()["items"]
    assert [each["event"] for each in seen] == ["decision.viewed"]
    assert "middle" not in str(seen)


def test_audit_events_are_found_by_what_they_say(api: Served, client: httpx.Client) -> None:
    client.post("/v1/flows/nightly/pause", json={"reason": "the customer asked for it"}, headers=api.key("write"))
    found = client.get("/v1/audit-events", params={"q": '"customer asked" flow:nightly'}, headers=api.key("audit")).json()
    assert ([each["event"] for each in found["items"]], found["next"]) == (["flow.paused"], None)


def test_a_line_that_cannot_be_read_is_refused_with_the_fix(api: Served, client: httpx.Client) -> None:
    headers = api.key("audit")
    said = problem(client.get("/v1/audit-events", params={"q": "flow:a akctor:b"}, headers=headers), 422, "rejected")
    assert said["detail"] == "at character 8: there is no qualifier 'akctor:'. Did you mean 'actor:'?"
    said = problem(client.get("/v1/decisions", params={"q": "flow:triage", "cursor": "x"}, headers=headers), 422, "rejected")
    assert "begin without one" in said["detail"]


def test_searching_needs_the_scope(api: Served, client: httpx.Client) -> None:
    for route in ("decisions", "audit-events"):
        problem(client.get(f"/v1/{route}", params={"q": ""}, headers=api.key("read")), 403, "forbidden")

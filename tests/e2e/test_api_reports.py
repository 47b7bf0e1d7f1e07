"""Reports over the API: on decisions of a real flow, each row with its place in the log."""

import csv
import io
import json
from typing import Any

import httpx
import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from fhir.resources.R4B.bundle import Bundle
from tests.api import Served, problem

from fieldline_core.pipeline.relay import Relay
from fieldline_core.pipeline.sequence import seal_all
from fieldline_core.pipeline.write import write
from fieldline_server.reports import KINDS

NAMES = {"fhir-audit-events", "disclosures", "data-subject", "processing-activities", "ai-act-log", "change-log"}


@pytest.fixture
def decided(api: Served, client: httpx.Client) -> Served:
    """Two records that were decided on, whose answers were written."""
    records = [{"key": "p1", "record": {"a": 3, "b": 1}}, {"key": "=p2", "record": {"a": 1, "b": 1}}]
    assert client.post("/v1/flows/triage/score", json={"records": records}, headers=api.key("score")).status_code == 200
    hints: list[int] = []

    def ring(queue: str, verb: str, id: int) -> bool:
        hints.append(id)
        return verb == "write"

    with api.engine.store.transaction("worker") as tx:
        tx.run("relay.seen", id="worker", queues=["cpu", "write"], slots=4)
    Relay(api.engine, ring).round()
    for effect in hints:
        write(api.engine, effect)
    seal_all(api.engine)
    return api


def made(api: Served, client: httpx.Client, kind: str, **asked: str) -> Any:
    """A report as JSON."""
    answer = client.get(f"/v1/reports/{kind}", params=asked, headers=api.key("audit"))
    assert answer.status_code == 200, answer.text
    return answer.json()


def entry_of(api: Served, position: int) -> dict[str, Any]:
    """What the log holds at a place."""
    with api.engine.store.transaction("test") as tx:
        (row,) = tx.all("log.entries", start=position, end=position + 1, limit=1)
    found: dict[str, Any] = json.loads(row["leaf"])
    return found


def test_the_reports_are_listed_with_what_they_are_not(api: Served, client: httpx.Client) -> None:
    items = client.get("/v1/reports", headers=api.key("audit")).json()["items"]
    assert {item["kind"] for item in items} == NAMES
    assert all(item["produces"].startswith("Produces the records for ") and item["limits"] for item in items)


def test_no_report_says_that_anything_is_compliant() -> None:
    assert not [name for name, kind in KINDS.items() if "complian" in json.dumps(kind.as_json()).lower()]


@pytest.mark.parametrize("kind", sorted(NAMES - {"fhir-audit-events"}))
def test_every_row_names_its_entry_in_the_log(kind: str, decided: Served, client: httpx.Client) -> None:
    report = made(decided, client, kind, **({"key": "p1"} if "key" in KINDS[kind].needs else {}))
    assert report["rows"]
    for row in report["rows"]:
        assert entry_of(decided, row["position"])["id"] == row["event_id"]
        assert set(row) == {"position", "event_id", *report["columns"]}


def test_audit_events_are_valid_resources_of_both_records(decided: Served, client: httpx.Client) -> None:
    client.get("/v1/decisions", params={"key": "p1"}, headers=decided.key("audit"))
    bundle = made(decided, client, "fhir-audit-events")
    Bundle.model_validate(bundle)
    events = [AuditEvent.model_validate(entry["resource"]) for entry in bundle["entry"]]
    told = [(event.action, event.entity[0].what.identifier.value) for event in events if event.entity[0].type.code == "1"]
    assert {("R", "p1"), ("R", "=p2"), ("U", "p1"), ("U", "=p2")} <= set(told)
    assert len({event.id for event in events}) == len(events)


def test_audit_events_of_one_record_are_about_no_other(decided: Served, client: httpx.Client) -> None:
    answer = client.get("/v1/reports/fhir-audit-events", params={"key": "p1", "format": "ndjson"}, headers=decided.key("audit"))
    assert answer.headers["content-type"] == "application/fhir+ndjson"
    assert "p2" not in answer.text
    assert [json.loads(line)["action"] for line in answer.text.splitlines()] == ["R", "U"]


def test_a_disclosure_is_accounted_for_with_recipient_description_and_purpose(decided: Served, client: httpx.Client) -> None:
    (row,) = made(decided, client, "disclosures", key="p1")["rows"]
    assert (row["recipient"], row["outcome"]) == ("desk", "written")
    assert row["description"] == "the record's key and the fields points"
    assert "triage" in row["purpose"]


def test_an_export_is_a_disclosure_too(decided: Served, client: httpx.Client) -> None:
    key = decided.key("audit")
    client.get("/v1/evidence", params={"key": "p1"}, headers=key)
    client.get("/v1/evidence", params={"key": "=p2"}, headers=key)
    rows = made(decided, client, "disclosures", key="p1")["rows"]
    assert [row["outcome"] for row in rows] == ["written", "exported"]


def test_what_is_held_of_a_record_is_told_with_source_logic_and_retention(decided: Served, client: httpx.Client) -> None:
    rows = made(decided, client, "data-subject", key="p1")["rows"]
    assert [row["what"] for row in rows] == ["logic", "decision", "answer of a system that was written to"]
    logic, decision, answer = rows
    assert logic["data"]["fields"][0]["formula"] == "score"
    assert decision["data"]["source"] == {"a": "3", "b": "1"}
    assert decision["data"]["fields"] == {"points": 5.0}
    assert decision["recipient"] == "desk"
    assert "standard" in answer["kept"]


def test_a_record_that_was_set_aside_is_held_too(decided: Served, client: httpx.Client) -> None:
    wrong = {"records": [{"key": "odd", "record": {"a": "none"}}]}
    client.post("/v1/flows/triage/score", json=wrong, headers=decided.key("score"))
    rows = made(decided, client, "data-subject", key="odd")["rows"]
    (letter,) = [row for row in rows if row["what"] == "record that was set aside"]
    assert letter["data"]["record"] == {"a": "none", "b": None}
    assert letter["position"] is None


def test_the_record_of_processing_says_what_each_flow_reads_and_writes(decided: Served, client: httpx.Client) -> None:
    report = made(decided, client, "processing-activities")
    rows = {row["activity"]: row for row in report["rows"]}
    assert set(rows) == {"nightly", "triage"}
    assert rows["triage"]["data"] == {"read": ["a", "b"], "features": ["a", "b"], "written": ["points"]}
    assert rows["triage"]["recipient"] == "desk (memory) answers"
    assert rows["nightly"]["recipient"] == "none: decisions are only kept"


def test_the_log_of_use_has_each_decision_and_each_act(decided: Served, client: httpx.Client) -> None:
    client.post("/v1/flows/triage/pause", json={"reason": "a test"}, headers=decided.key("write"))
    rows = made(decided, client, "ai-act-log", flow="triage")["rows"]
    decisions = [row for row in rows if row["what"] == "decision"]
    assert [(row["input"].split(" ")[1], row["fields"]) for row in decisions] == [("p1", {"points": 5.0}), ("=p2", {"points": 1.0})]
    assert {row["overseer"] for row in decisions} == {"test"}
    assert all(row["model"].startswith("triage@1 ") for row in decisions)
    (pause,) = [row for row in rows if row["what"] == "flow.paused"]
    assert pause["output"] == {"reason": "a test"}
    assert [row["position"] for row in rows] == sorted(row["position"] for row in rows)


def test_a_change_is_told_with_what_was_before_and_after(decided: Served, client: httpx.Client) -> None:
    text = b"mapping: triage\nfeatures: [{field: a}, {field: b}]\nfields: [{name: points, formula: score * 2}]\n"
    client.post("/v1/apply", content=text, headers=decided.key("configure"))
    client.post("/v1/flows/triage/pause", json={"reason": "look at it"}, headers=decided.key("write"))
    rows = made(decided, client, "change-log")["rows"]
    changed = [row for row in rows if row["what"] == "triage" and row["event"] == "config.published"]
    mapping = next(row for row in changed if "fields[0].formula" in (row["after"]["values"] or {}) and row["before"]["digest"])
    assert mapping["before"]["values"]["fields[0].formula"] == "score"
    assert mapping["after"]["values"]["fields[0].formula"] == "score * 2"
    assert [row["why"] for row in rows if row["event"] == "flow.paused"] == ["look at it"]
    assert decided.key("read")["authorization"][7:] not in str(rows)


def test_a_report_tells_its_period_and_holds_nothing_else(decided: Served, client: httpx.Client) -> None:
    assert made(decided, client, "ai-act-log", until="2020-01-01")["rows"] == []
    assert made(decided, client, "ai-act-log", since="2020-01-01")["period"]["since"] == "2020-01-01T00:00:00+00:00"
    assert made(decided, client, "disclosures", key="p1", until="2020-01-01", since="2019-12-01T00:00:00+01:00")["rows"] == []


def test_making_a_report_is_recorded_without_the_key(decided: Served, client: httpx.Client) -> None:
    made(decided, client, "data-subject", key="p1")
    (event,) = decided.events("report.made")
    assert event["detail"]["kind"] == "data-subject"
    assert "'p1'" not in str(event["detail"])


def test_a_spreadsheet_takes_no_record_for_a_formula(decided: Served, client: httpx.Client) -> None:
    answer = client.get("/v1/reports/fhir-audit-events", params={"format": "csv"}, headers=decided.key("audit"))
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "'=p2" in {row["patient"] for row in rows}


def test_a_page_shows_a_record_as_text(decided: Served, client: httpx.Client) -> None:
    records = {"records": [{"key": "<script>", "record": {"a": 3, "b": 1}}]}
    client.post("/v1/flows/triage/score", json=records, headers=decided.key("score"))
    page = client.get("/v1/reports/ai-act-log", params={"format": "html"}, headers=decided.key("audit"))
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "&lt;script&gt;" in page.text
    assert "<script>" not in page.text
    assert "What it is not" in page.text


def test_what_is_erased_is_in_no_report_and_the_erasure_is(decided: Served, client: httpx.Client) -> None:
    client.post("/v1/erasures", json={"key": "p1", "why": "ticket 88"}, headers=decided.key("erase"))
    assert made(decided, client, "disclosures", key="p1")["rows"] == []
    whole = json.dumps(made(decided, client, "ai-act-log"))
    assert "decision, erased" in whole
    assert " p1" not in whole
    bundle = made(decided, client, "fhir-audit-events", key="p1")
    assert [entry["resource"]["action"] for entry in bundle["entry"]] == ["D", "R"]


@pytest.mark.parametrize(
    ("kind", "asked", "status", "code"),
    [
        ("none", {}, 404, "not_found"),
        ("disclosures", {}, 422, "rejected"),
        ("change-log", {"key": "p1"}, 422, "rejected"),
        ("ai-act-log", {"since": "yesterday"}, 422, "rejected"),
        ("ai-act-log", {"since": "2026-02-01", "until": "2026-01-01"}, 422, "rejected"),
        ("ai-act-log", {"flow": "nothing"}, 409, "misconfigured"),
        ("ai-act-log", {"format": "pdf"}, 422, "invalid"),
    ],
)
def test_what_cannot_be_reported_is_refused(
    kind: str, asked: dict[str, str], status: int, code: str, api: Served, client: httpx.Client
) -> None:
    problem(client.get(f"/v1/reports/{kind}", params=asked, headers=api.key("audit")), status, code)
    assert api.events("report.made") == []

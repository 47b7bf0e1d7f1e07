"""A flow from an org back into it, through the engine: read, scored, written, with what processes have in common."""

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from tests.engines import Bench
from tests.salesforce_org import MESSAGE, SimulatedOrg, simulated_org

from fieldline_core.findings import Severity
from fieldline_core.pipeline.accept import accept
from fieldline_core.pipeline.manage import current_release, request_run
from fieldline_core.ports import HookRequest
from fieldline_server.apply import apply
from fieldline_server.shared import SharedValues
from fieldline_server.wiring import Wiring

RETRY = {"first_s": 0.001, "longest_s": 0.002, "max_attempts": 500}
MAPPING = {
    "mapping": "leads",
    "record": {"NumberOfEmployees": "integer", "Owner.Name": "text"},
    "features": [{"name": "a", "formula": "BLANKVALUE(NumberOfEmployees, 0)"}, {"name": "b", "formula": "LEN(Owner.Name) * 0"}],
    "fields": [{"name": "score", "formula": "score"}, {"name": "tier", "formula": 'IF(score > 100, "A", "B")'}],
}


@pytest.fixture
def org(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedOrg]:
    monkeypatch.setenv("SALESFORCE_SECRET", "app-secret")
    with simulated_org(leads=250) as org:
        org.admin("PUT", "/_sim/rules", [])
        yield org


@pytest.fixture(autouse=True)
def closed(bench: Bench) -> Iterator[None]:
    """Closes the connections that the engine keeps for the life of its process."""
    yield
    close(bench.engine.parts)


def close(parts: Any) -> None:
    for _, _, connector in parts._connectors.values():
        connector.close()


def documents(org: SimulatedOrg, target: dict[str, Any] | None = None, **settings: Any) -> str:
    body = org.config(**settings).model_dump(mode="json", exclude_defaults=True)
    body["login"]["client_secret"] = {"secret": "env:SALESFORCE_SECRET"}
    fields = {"Fieldline_Score__c": "score", "Fieldline_Tier__c": "tier"}
    write = {
        "name": "score",
        "connection": "crm",
        "target": {"object": "Lead", "fields": fields, **(target or {})},
        "retry": dict(RETRY),
    }
    query = {"soql": "SELECT Id FROM Lead WHERE IsConverted = false"}
    flow = {"flow": "leads", "source": {"connection": "crm", "query": query}, "mapping": "leads", "models": ["linear"],
            "writes": [write], "retry": dict(RETRY)}  # fmt: skip
    return yaml.safe_dump_all([{"connection": "crm", "connector": "salesforce", "settings": body}, MAPPING, flow])


def publish(bench: Bench, text: str) -> None:
    """Applies documents with which nothing is wrong."""
    assert list(apply(bench.engine, bench.registry, {"f.yaml": text}, "test").findings) == []


def expected(org: SimulatedOrg) -> dict[str, float]:
    found = org.query("SELECT Id, NumberOfEmployees FROM Lead WHERE IsConverted = false")
    return {lead["Id"]: 2.0 * (lead["NumberOfEmployees"] or 0) for lead in found}


def written(org: SimulatedOrg) -> dict[str, float]:
    found = org.query("SELECT Id, Fieldline_Score__c FROM Lead WHERE Fieldline_Score__c != null")
    return {lead["Id"]: lead["Fieldline_Score__c"] for lead in found}


@pytest.mark.parametrize("bulk_from", [100_000, 50], ids=["collections", "bulk"])
def test_leads_are_scored_in_their_org_though_it_fails_again_and_again(bench: Bench, org: SimulatedOrg, bulk_from: int) -> None:
    publish(bench, documents(org, bulk_write_from=bulk_from, bulk_read_from=bulk_from, timeout_s=0.5, total_timeout_s=5))
    org.faults(
        {"kind": "status", "status": 503, "rate": 0.2, "times": None},
        {"kind": "hold", "after_commit": True, "rate": 0.05, "times": None},
        {"kind": "lock", "rate": 0.05, "times": None},
    )
    request_run(bench.engine, "leads", "test")
    runs, effects = "run WHERE state IN ('queued', 'running')", "effect WHERE state IN ('intended', 'submitted')"
    for _ in range(5_000):
        if not bench.step() and not bench.all(f"SELECT 1 FROM {runs} UNION SELECT 1 FROM {effects}"):
            break
    org.faults()
    assert written(org) == expected(org)
    assert Counter(row["state"] for row in bench.all("SELECT state FROM effect")).keys() == {"confirmed"}


def test_a_lead_that_a_person_scored_in_between_is_left_alone(bench: Bench, org: SimulatedOrg) -> None:
    publish(bench, documents(org))
    request_run(bench.engine, "leads", "test")
    while not bench.all("SELECT 1 FROM effect"):
        bench.step()
    chosen = min(expected(org))
    org.edit("Lead", chosen, Fieldline_Score__c=1.5)
    bench.drain()
    assert written(org) == {**expected(org), chosen: 1.5}


def test_a_lead_that_an_outbound_message_names_is_read_back_and_scored(bench: Bench, org: SimulatedOrg) -> None:
    secret = {"organization_id": org.status()["org_id"], "proxy_secret": {"secret": "env:SALESFORCE_SECRET"}}
    text = documents(org, outbound_messages=secret).replace("flow: leads\n", "flow: leads\ntrigger: {webhook: crm, key: id}\n")
    publish(bench, text)
    lead = next(lead for lead, score in expected(org).items() if score)
    body = MESSAGE.replace(b"00D000000000001EAA", org.status()["org_id"].encode()).replace(b"00Q000000000001EAA", lead.encode())
    request = HookRequest({"x-client-verified": "app-secret"}, body, datetime.now(UTC))
    release = current_release(bench.engine, "leads")
    for event in bench.engine.parts.connector("crm").receive(request).events:
        accept(bench.engine, release, "crm/leads", event)
    bench.drain()
    assert written(org) == {lead: expected(org)[lead]}


def test_two_processes_use_one_session_and_it_is_nowhere_in_clear(bench: Bench, org: SimulatedOrg) -> None:
    publish(bench, documents(org))
    wirings = [Wiring(bench.engine.settings, bench.engine.store, bench.engine.keyring) for _ in range(2)]
    tokens = [wiring.connector("crm")._wire.tokens.current() for wiring in wirings]
    assert tokens[0] == tokens[1]
    rows = bench.all("SELECT name, body FROM secret WHERE name LIKE 'shared/%%'")
    assert [row["name"] for row in rows] == ["shared/crm/token"]
    assert not any(tokens[0].access.encode() in row["body"] for row in rows)
    org.admin("DELETE", "/_sim/sessions")
    renewed = [wiring.connector("crm")._wire.tokens.instead_of(tokens[0]) for wiring in wirings]
    assert renewed[0] == renewed[1] != tokens[0]
    for wiring in wirings:
        close(wiring)


def test_a_shared_value_is_changed_by_one_process_at_a_time(bench: Bench) -> None:
    def count() -> None:
        values = SharedValues(bench.engine.store, bench.engine.keyring, "crm")
        for _ in range(10):
            values.update("n", lambda kept: str(int(kept or b"0") + 1).encode())

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert SharedValues(bench.engine.store, bench.engine.keyring, "crm").update("n", lambda kept: kept) == b"40"


@pytest.mark.parametrize(
    ("target", "path", "words"),
    [
        (
            {"fields": {"Fieldline_Scroe__c": "score"}},
            "writes[0].target.fields.Fieldline_Scroe__c",
            "Did you mean 'Fieldline_Score__c'",
        ),
        ({"fields": {"Fieldline_Hot__c": "score"}}, "writes[0].target.fields.Fieldline_Hot__c", "is a formula"),
        ({"fields": {"Fieldline_Score__c": "tier"}}, "writes[0].target.fields.Fieldline_Score__c", "takes a number"),
        ({"object": "Leed"}, "writes[0].target.object", "may not see it"),
        (
            {"fields": {"Rating": "tier", "Fieldline_Tier__c": "tier"}, "object": "Account"},
            "writes[0].target.fields.Fieldline_Tier__c",
            "takes only A in records of the type Partner, and the mapping can give B",
        ),
    ],
)
def test_what_does_not_fit_the_org_is_found_before_anything_runs(
    bench: Bench, org: SimulatedOrg, target: dict[str, Any], path: str, words: str
) -> None:
    org.admin("POST", "/_sim/recordtypes", {"object": "Account", "name": "Partner", "values": {"Fieldline_Tier__c": ["A"]}})
    done = apply(bench.engine, bench.registry, {"f.yaml": documents(org, target)}, "test", dry_run=True)
    assert [(found.path, words in found.message) for found in done.findings] == [(path, True)]
    assert done.findings[0].line > 0


def test_an_org_that_cannot_be_asked_is_no_reason_to_refuse_a_document(bench: Bench, org: SimulatedOrg) -> None:
    text = documents(org, url="http://127.0.0.1:1")
    done = apply(bench.engine, bench.registry, {"f.yaml": text}, "test")
    assert done.documents
    (said,) = done.findings
    assert (said.severity, said.rule) == (Severity.WARNING, "unchecked")
    assert "'crm' could not be asked, so what this flow reads and writes there was not checked" in said.message

"""Writing thousands of leads while the org fails in every way it has: none lost, none doubled, and every receipt is true."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from tests.salesforce_org import SimulatedOrg, simulated_org

from fieldline_connectors.salesforce import Salesforce, SalesforceTarget
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.ports import Slice
from fieldline_core.receipts import Outcome, Pending, Receipts

ROWS = 2_000
STORM: list[dict[str, Any]] = [
    {"kind": "status", "status": 503, "rate": 0.2, "times": None},
    {"kind": "hold", "after_commit": True, "rate": 0.05, "times": None},
    {"kind": "lock", "rate": 0.02, "times": None},
]
FIELDS = {"Fieldline_Score__c": "score", "Fieldline_Tier__c": "tier"}
KEY = "f" * 64


@pytest.fixture
def org() -> Iterator[SimulatedOrg]:
    with simulated_org(leads=4) as org:
        yield org


def answers(keys: list[str], shift: float = 0.0) -> Batch:
    scores = [row % 1000 / 10 + shift for row in range(len(keys))]
    frame = pl.DataFrame({"Fieldline_Score__c": scores, "Fieldline_Tier__c": ["ABCD"[row % 4] for row in range(len(keys))]})
    return Batch.of(keys, frame)


def settled(connector: Salesforce, slice: Slice) -> Receipts:
    """What the engine does with a slice until it has its receipts, without its waits."""
    handle: Mapping[str, Any] | None = None
    for attempt in range(1, 400):
        try:
            answer = connector.write(replace(slice, fence=attempt)) if handle is None else connector.poll(slice, handle)
        except Unavailable:
            continue
        if isinstance(answer, Receipts):
            return answer
        assert isinstance(answer, Pending)
        handle = answer.handle
    raise AssertionError("the slice never settles")


def struck(org: SimulatedOrg) -> dict[str, int]:
    """How often each kind of fault has struck."""
    return {fault["kind"]: fault["struck"] for fault in org.admin("GET", "/_sim/faults").json()}


def outcomes(receipts: Receipts) -> Counter[Outcome]:
    return Counter(receipts[row].outcome for row in range(receipts.rows))


def held(org: SimulatedOrg) -> dict[str, Any]:
    found = org.query("SELECT Id, Fieldline_Score__c, Fieldline_Tier__c FROM Lead WHERE Fieldline_Score__c != null")
    assert len({lead["Id"] for lead in found}) == len(found)
    return {lead["Id"]: (lead["Fieldline_Score__c"], lead["Fieldline_Tier__c"]) for lead in found}


def expected(batch: Batch) -> dict[str, Any]:
    return dict(zip(batch.keys, batch.frame.rows(), strict=True))


@pytest.mark.parametrize("bulk_from", [100_000, 100], ids=["collections", "bulk"])
def test_leads_are_written_once_each_through_a_storm(org: SimulatedOrg, bulk_from: int) -> None:
    batch = answers(org.leads(ROWS))
    target = SalesforceTarget(object="Lead", fields=FIELDS)
    config = org.config(bulk_write_from=bulk_from, timeout_s=0.5, total_timeout_s=5)
    org.faults(*STORM)
    with closing(Salesforce(config)) as connector:
        receipts = settled(connector, Slice(KEY, 1, target, batch))
    assert all(struck(org).values())
    org.faults()
    assert outcomes(receipts) == {Outcome.WRITTEN: ROWS}
    assert held(org) == expected(batch)


@pytest.mark.soak
@pytest.mark.parametrize("bulk_from", [100_000, 100], ids=["collections", "bulk"])
def test_leads_are_added_once_each_through_a_storm(org: SimulatedOrg, bulk_from: int) -> None:
    keys = [f"key {row}" for row in range(600)]
    made = answers(keys)
    batch = Batch(made.keys, made.frame.with_columns(LastName=pl.lit("Person"), Company=pl.lit("Storm Ltd")))
    names = {name: name for name in batch.frame.columns}
    target = SalesforceTarget(operation="upsert", object="Lead", key="Fieldline_Key__c", fields=names)
    config = org.config(bulk_write_from=bulk_from, timeout_s=0.5, total_timeout_s=5)
    org.faults(*STORM)
    with closing(Salesforce(config)) as connector:
        receipts = settled(connector, Slice(KEY, 1, target, batch))
    org.faults()
    assert outcomes(receipts) == {Outcome.WRITTEN: len(keys)}
    found = org.query("SELECT Fieldline_Key__c FROM Lead WHERE Company = 'Storm Ltd'")
    assert Counter(lead["Fieldline_Key__c"] for lead in found) == Counter(keys)


@pytest.mark.soak
def test_tasks_are_added_once_each_through_a_storm(org: SimulatedOrg) -> None:
    org.admin("POST", "/_sim/fields", {"object": "Task", "name": "Fieldline_Effect__c", "type": "string", "length": 64})
    keys = org.leads(500)
    asked = [row % 2 == 0 for row in range(len(keys))]
    frame = pl.DataFrame({"Subject": ["Call" if each else None for each in asked]})
    target = SalesforceTarget(
        operation="create",
        object="Task",
        key="WhoId",
        marker="Fieldline_Effect__c",
        only_if="Subject",
        fields={"Subject": "subject"},
    )
    org.faults(*STORM)
    with closing(Salesforce(org.config(timeout_s=0.5, total_timeout_s=5))) as connector:
        receipts = settled(connector, Slice(KEY, 1, target, Batch.of(keys, frame)))
    org.faults()
    assert outcomes(receipts) == {Outcome.WRITTEN: 250, Outcome.UNCHANGED: 250}
    found = org.query("SELECT WhoId FROM Task WHERE Fieldline_Effect__c != null")
    assert Counter(task["WhoId"] for task in found) == Counter(key for key, each in zip(keys, asked, strict=True) if each)


def test_what_a_person_changed_is_left_alone_and_the_rest_is_written(org: SimulatedOrg) -> None:
    keys = org.leads(4)
    batch = answers(keys, 1.0)
    before = pl.DataFrame({"Fieldline_Score__c": [None] * 4, "Fieldline_Tier__c": [None] * 4}, schema_overrides={
        "Fieldline_Score__c": pl.Float64, "Fieldline_Tier__c": pl.String})  # fmt: skip
    org.edit("Lead", keys[0], Fieldline_Tier__c="D")
    org.edit("Lead", keys[1], Company="Renamed Ltd")
    org.edit("Lead", keys[2], Fieldline_Score__c=1.2, Fieldline_Tier__c="C")
    slice = Slice(KEY, 1, SalesforceTarget(object="Lead", fields=FIELDS), batch, before)
    with closing(Salesforce(org.config())) as connector:
        receipts = connector.write(slice)
        assert isinstance(receipts, Receipts)
        again = connector.write(replace(slice, fence=2))
        assert isinstance(again, Receipts)
    assert [receipts[row].outcome for row in range(4)] == [
        Outcome.CHANGED_BY_PERSON, Outcome.WRITTEN, Outcome.UNCHANGED, Outcome.WRITTEN,
    ]  # fmt: skip
    assert [again[row].outcome for row in (1, 3)] == [Outcome.WRITTEN] * 2
    assert org.query(f"SELECT Fieldline_Tier__c FROM Lead WHERE Id = '{keys[0]}'")[0]["Fieldline_Tier__c"] == "D"


def test_a_record_that_a_person_touched_is_left_alone(org: SimulatedOrg) -> None:
    keys = org.leads(3)
    earlier = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)
    before = pl.DataFrame({"Fieldline_Score__c": [None] * 3, "LastModifiedDate": [earlier, earlier, None]}, schema_overrides={
        "Fieldline_Score__c": pl.Float64, "LastModifiedDate": pl.Datetime})  # fmt: skip
    org.edit("Lead", keys[0], Company="Renamed Ltd")
    target = SalesforceTarget(object="Lead", fields=FIELDS)
    with closing(Salesforce(org.config())) as connector:
        receipts = connector.write(Slice(KEY, 1, target, answers(keys), before))
    assert isinstance(receipts, Receipts)
    # The others were made by the integration user: what Fieldline changes itself is no change by a person.
    assert [receipts[row].outcome for row in range(3)] == [Outcome.CHANGED_BY_PERSON, Outcome.WRITTEN, Outcome.WRITTEN]


def test_what_stands_already_costs_no_write(org: SimulatedOrg) -> None:
    batch = answers(org.leads(500))
    slice = Slice(KEY, 1, SalesforceTarget(object="Lead", fields=FIELDS), batch)
    with closing(Salesforce(org.config())) as connector:
        connector.write(slice)
        before = org.calls()
        receipts = connector.write(replace(slice, effect_key="e" * 64))
        assert isinstance(receipts, Receipts)
        assert outcomes(receipts) == {Outcome.UNCHANGED: 500}
        assert org.calls() - before == 1


def test_a_bulk_job_does_nothing_before_its_id_is_safe(org: SimulatedOrg) -> None:
    batch = answers(org.leads(300))
    slice = Slice(KEY, 1, SalesforceTarget(object="Lead", fields=FIELDS), batch)
    with closing(Salesforce(org.config(bulk_write_from=100))) as connector:
        lost, kept = connector.write(slice), connector.write(replace(slice, fence=2))
        assert isinstance(lost, Pending)
        assert held(org) == {}
        receipts = kept
        while isinstance(receipts, Pending):
            receipts = connector.poll(slice, receipts.handle)
    assert held(org) == expected(batch)
    assert [job["state"] for job in org.status()["jobs"] if job["id"] == lost.handle["job"]] == ["Open"]


class Died(Exception):
    """The process ended."""


@pytest.mark.parametrize("dies_at", ["", "salesforce.job.abort:after", "salesforce.job.upload:after"])
def test_rows_that_are_overtaken_before_the_job_starts_are_not_in_it(
    org: SimulatedOrg, dies_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def point(site: str) -> None:
        if site == dies_at:
            raise Died

    batch = answers(org.leads(300))
    slice = Slice(KEY, 1, SalesforceTarget(object="Lead", fields=FIELDS), batch)
    with closing(Salesforce(org.config(bulk_write_from=100))) as connector:
        first = connector.write(slice)
        assert isinstance(first, Pending)
        slice = replace(slice, overtaken=frozenset({7}))
        if dies_at:
            # Behind the abort, and before another job's id is safe: the next poll has the old one only.
            monkeypatch.setattr("fieldline_core.crash.point", point)
            with pytest.raises(Died):
                connector.poll(slice, first.handle)
            monkeypatch.undo()
        answer = connector.poll(slice, first.handle)
        while isinstance(answer, Pending):
            answer = connector.poll(slice, answer.handle)
    assert outcomes(answer) == {Outcome.WRITTEN: 299, Outcome.SUPERSEDED: 1}
    assert answer[7].outcome is Outcome.SUPERSEDED
    assert [job["state"] for job in org.status()["jobs"] if job["id"] == first.handle["job"]] == ["Aborted"]
    assert held(org).keys() == set(batch.keys) - {batch.keys[7]}


def test_a_job_that_fails_half_way_says_so_row_by_row(org: SimulatedOrg) -> None:
    batch = answers(org.leads(300))
    org.faults({"kind": "fail_job"})
    with closing(Salesforce(org.config(bulk_write_from=100))) as connector:
        receipts = settled(connector, Slice(KEY, 1, SalesforceTarget(object="Lead", fields=FIELDS), batch))
    written = {batch.keys[row] for row in range(300) if receipts[row].outcome is Outcome.WRITTEN}
    assert held(org).keys() == written
    assert outcomes(receipts)[Outcome.REFUSED] == 300 - len(written) > 0


def test_a_wrong_field_is_a_mistake_and_not_two_thousand_refusals(org: SimulatedOrg) -> None:
    batch = answers(org.leads(2))
    for right, words in (("hidden", "may not see it"), ("read", "read-only for the integration user")):
        org.admin("PUT", f"/_sim/users/{org.user}/access", {"fields": {"Lead.Fieldline_Tier__c": right}})
        with closing(Salesforce(org.config())) as connector, pytest.raises(Misconfigured, match=words):
            connector.write(Slice(KEY, 1, SalesforceTarget(object="Lead", fields=FIELDS), batch))


def test_rows_without_a_record_are_refused_and_others_written(org: SimulatedOrg) -> None:
    keys = org.leads(2)
    batch = answers([keys[0], "no-such-key", "001000000000000AAA", f"{keys[0][:3]}{'z' * 12}", keys[1]])
    with closing(Salesforce(org.config())) as connector:
        receipts = connector.write(Slice(KEY, 1, SalesforceTarget(object="Lead", fields=FIELDS), batch))
    assert isinstance(receipts, Receipts)
    assert [receipts[row].outcome for row in range(5)] == [
        Outcome.WRITTEN, Outcome.REFUSED, Outcome.REFUSED, Outcome.REFUSED, Outcome.WRITTEN,
    ]  # fmt: skip
    assert all(receipts[row].reason for row in (1, 2, 3))

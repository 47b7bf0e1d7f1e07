"""A lead that somebody edits is scored again and written back, through the engine, once and without answering itself."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import yaml
from tests.conftest import Eventually
from tests.engines import Bench
from tests.salesforce_org import SimulatedOrg, simulated_org

from fieldline_connectors.salesforce import Salesforce, SalesforceTopic
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.pipeline.listen import Listeners
from fieldline_server.apply import apply

MAPPING = {
    "mapping": "leads",
    "record": {"NumberOfEmployees": "integer"},
    "features": [{"name": "a", "formula": "BLANKVALUE(NumberOfEmployees, 0)"}, {"name": "b", "formula": "0"}],
    "fields": [{"name": "score", "formula": "score"}],
}
FLOW = {
    "flow": "leads",
    "source": {"connection": "crm", "query": {"soql": "SELECT Id FROM Lead WHERE IsConverted = false"}},
    "mapping": "leads",
    "models": ["linear"],
    "writes": [{"name": "score", "connection": "crm", "target": {"object": "Lead", "fields": {"Fieldline_Score__c": "score"}}}],
}
Lose = Callable[[Bench, SimulatedOrg], None]


@pytest.fixture
def org(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedOrg]:
    monkeypatch.setenv("SALESFORCE_SECRET", "app-secret")
    with simulated_org(leads=12, pubsub=True) as org:
        org.admin("PUT", "/_sim/rules", [])
        org.admin("PUT", "/_sim/bus", {"keepalive_s": 0.05})
        yield org


@pytest.fixture(autouse=True)
def closed(bench: Bench) -> Iterator[None]:
    """Closes the connections that the engine keeps for the life of its process."""
    yield
    parts: Any = bench.engine.parts
    for _, _, connector in parts._connectors.values():
        connector.close()


def publish(bench: Bench, org: SimulatedOrg, changes: dict[str, str]) -> None:
    body = org.config().model_dump(mode="json", exclude_defaults=True)
    body["login"]["client_secret"] = {"secret": "env:SALESFORCE_SECRET"}
    connection = {"connection": "crm", "connector": "salesforce", "settings": body}
    text = yaml.safe_dump_all([connection, MAPPING, {**FLOW, "trigger": {"changes": changes}}])
    assert apply(bench.engine, bench.registry, {"f.yaml": text}, "test").findings == []


@contextmanager
def listening(bench: Bench, eventually: Eventually) -> Iterator[None]:
    """Listens while the block runs; it begins when the place of now is stored."""
    listeners = Listeners(bench.engine)
    thread = threading.Thread(target=listeners.run)
    thread.start()
    try:
        eventually(lambda: bool(bench.all("SELECT 1 FROM feed WHERE cursor IS NOT NULL")))
        yield
    finally:
        listeners.stop()
        thread.join()


def events(bench: Bench) -> int:
    return len(bench.all("SELECT 1 FROM inbox"))


def leads(org: SimulatedOrg) -> list[str]:
    return [lead["Id"] for lead in org.query("SELECT Id FROM Lead WHERE IsConverted = false")]


def scores(org: SimulatedOrg) -> dict[str, float]:
    found = org.query("SELECT Id, Fieldline_Score__c FROM Lead WHERE Fieldline_Score__c != null AND IsConverted = false")
    return {lead["Id"]: lead["Fieldline_Score__c"] for lead in found}


def test_a_lead_edited_by_hand_is_scored_again_and_our_own_answer_is_no_change(
    bench: Bench, org: SimulatedOrg, eventually: Eventually
) -> None:
    publish(bench, org, {"object": "Lead"})
    first, second, *_ = leads(org)
    with listening(bench, eventually):
        org.edit("Lead", first, NumberOfEmployees=21)
        eventually(lambda: events(bench) == 1)
        bench.drain()
        org.edit("Lead", second, NumberOfEmployees=4)
        eventually(lambda: events(bench) > 1)
    bench.drain()
    # The bus keeps the order: our own write stood before the second edit.
    assert events(bench) == 2
    assert scores(org) == {first: 42.0, second: 8.0}


def test_a_change_of_only_what_the_flow_writes_is_no_event_whoever_made_it(
    bench: Bench, org: SimulatedOrg, eventually: Eventually
) -> None:
    publish(bench, org, {"object": "Lead"})
    first, second, *_ = leads(org)
    with listening(bench, eventually):
        org.edit("Lead", first, Fieldline_Score__c=1.0)
        org.edit("Lead", second, NumberOfEmployees=4)
        eventually(lambda: events(bench) == 1)
    bench.drain()
    assert scores(org) == {first: 1.0, second: 8.0}


def test_what_was_changed_while_nobody_listened_is_heard_afterwards(
    bench: Bench, org: SimulatedOrg, eventually: Eventually
) -> None:
    publish(bench, org, {"object": "Lead"})
    first, *_ = leads(org)
    with listening(bench, eventually):
        pass
    org.edit("Lead", first, NumberOfEmployees=21)
    # The session has ended meanwhile, too.
    org.admin("DELETE", "/_sim/sessions")
    with listening(bench, eventually):
        eventually(lambda: events(bench) == 1)
    bench.drain()
    assert bench.all("SELECT state FROM chunk") == [{"state": "done"}]


def _overflow(bench: Bench, org: SimulatedOrg) -> None:
    org.admin("POST", "/_sim/gaps", {"object": "Lead", "kind": "GAP_OVERFLOW"})


def _too_late(bench: Bench, org: SimulatedOrg) -> None:
    org.edit("Lead", leads(org)[0], NumberOfEmployees=21)
    org.admin("POST", "/_sim/changes/forget", {"until": 1_000_000})


@pytest.mark.parametrize("loses", [_overflow, _too_late])
def test_what_the_org_cannot_tell_any_more_is_made_up_for_by_a_run(
    bench: Bench, org: SimulatedOrg, eventually: Eventually, loses: Lose
) -> None:
    publish(bench, org, {"object": "Lead"})
    with listening(bench, eventually):
        pass
    loses(bench, org)
    with listening(bench, eventually):
        eventually(lambda: bool(bench.all("SELECT 1 FROM run WHERE kind = 'batch'")))
    bench.drain()
    assert scores(org).keys() == set(leads(org))


def test_a_platform_event_that_names_a_lead_has_it_scored(bench: Bench, org: SimulatedOrg, eventually: Eventually) -> None:
    org.admin("PUT", "/_sim/events/Lead_Ready__e", {"Lead_Id__c": "string", "Note__c": "string"})
    publish(bench, org, {"channel": "/event/Lead_Ready__e", "key": "Lead_Id__c"})
    first, *_ = leads(org)
    with listening(bench, eventually):
        org.admin("POST", "/_sim/events/Lead_Ready__e", {"Note__c": "names none"})
        org.admin("POST", "/_sim/events/Lead_Ready__e", {"Lead_Id__c": first, "Note__c": "x"})
        eventually(lambda: events(bench) == 1)
    bench.drain()
    assert scores(org).keys() == {first}


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"object": "Leed"}, "has no topic /data/LeedChangeEvent"), ({"channel": "/event/No__e", "key": "Id__c"}, "/event/No__e")],
)
def test_a_topic_that_the_org_has_not_pauses_the_flow_and_says_why(
    bench: Bench, org: SimulatedOrg, eventually: Eventually, changes: dict[str, str], words: str
) -> None:
    publish(bench, org, changes)
    listeners = Listeners(bench.engine)
    thread = threading.Thread(target=listeners.run)
    thread.start()
    try:
        found = eventually(lambda: bench.all("SELECT paused_reason FROM flow WHERE paused_reason IS NOT NULL"))
    finally:
        listeners.stop()
        thread.join()
    assert words in found[0]["paused_reason"]


def test_a_stream_that_breaks_again_and_again_loses_nothing(org: SimulatedOrg) -> None:
    connector = Salesforce(org.config())
    after = next(connector.listen(SalesforceTopic(object="Lead"), None, lambda: False)).after
    made = set(org.leads(600))
    calls = {"path": "/eventbus.v1.PubSub/*", "times": None}
    org.faults({"kind": "status", "status": 503, "rate": 0.3, **calls}, {"kind": "expire", "rate": 0.1, **calls})
    heard: dict[str, str] = {}
    for _ in range(300):
        # Misconfigured: two sessions in a row that end at once look as if somebody had to act.
        with suppress(Unavailable, Misconfigured):
            for each in connector.listen(SalesforceTopic(object="Lead"), after, lambda: len(heard) >= len(made)):
                assert not each.gap
                assert not heard.keys() & {change.id for change in each.changes}
                heard.update({change.id: change.key for change in each.changes})
                after = each.after
        if len(heard) >= len(made):
            break
    connector.close()
    assert set(heard.values()) == made

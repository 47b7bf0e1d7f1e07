"""Leads that somebody touches between their reading and their writing: left alone, reported, then read and decided on again."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import pytest
from tests.engines import VERBS, Bench
from tests.salesforce_org import SimulatedOrg, simulated_org

from fieldline_core.errors import Unavailable
from fieldline_core.evidence import unseal
from fieldline_core.pipeline import erase as erasing
from fieldline_core.pipeline.invariants import check_invariants
from fieldline_core.pipeline.manage import request_run
from fieldline_core.receipts import TOUCHED
from fieldline_core.store import database
from fieldline_server.embedded import Postgres

RETRY = {"first_s": 0.001, "longest_s": 0.002, "max_attempts": 500}
MAPPING = {
    "mapping": "leads", "record": {"NumberOfEmployees": "integer"},
    "features": [{"name": "a", "formula": "BLANKVALUE(NumberOfEmployees, 0)"}, {"name": "b", "formula": "a * 0"}],
    "fields": [{"name": "score", "formula": "score"}, {"name": "subject", "formula": '"Call"'}],
}  # fmt: skip
BACK = {"object": "Lead", "fields": {"Fieldline_Score__c": "score", "Fieldline_Scored_At__c": "decision.clock"}}
MARK = "Fieldline_Effect__c"
TASK = {"operation": "create", "object": "Task", "key": "WhoId", "marker": MARK, "fields": {"Subject": "subject"}}
_numbers = count(1)


class Killed(BaseException):
    """The process ended."""


class Flow:
    """A flow of its own from a few leads, which nobody has changed for long, back into them."""

    def __init__(self, bench: Bench, org: SimulatedOrg, leads: Sequence[str], *targets: dict[str, Any]) -> None:
        self.bench, self.org, self.leads, self.name = bench, org, list(leads), f"leads{next(_numbers)}"
        settings = org.config().model_dump(mode="json", exclude_defaults=True)
        settings["login"]["client_secret"] = {"secret": "env:SALESFORCE_SECRET"}
        self.among = f"IN ({', '.join(repr(lead) for lead in leads)})"
        writes = [{"name": target["object"].lower(), "connection": "crm", "target": target, "retry": RETRY} for target in targets]
        source = {"connection": "crm", "query": {"soql": f"SELECT Id FROM Lead WHERE Id {self.among}"}}
        flow = {"flow": self.name, "source": source, "mapping": "leads", "models": ["linear"], "writes": writes, "retry": RETRY}
        documents = ({"connection": "crm", "connector": "salesforce", "settings": settings}, MAPPING, flow)
        bench.apply("\n---\n".join(map(json.dumps, documents)))

    def read(self) -> None:
        """Asks for a run and goes on until it has been read and decided on; nothing is written."""
        run = request_run(self.bench.engine, self.name, "test")
        while not self.rows("SELECT 1 FROM chunk WHERE run_id = %s AND scored_at IS NOT NULL", run):
            self.step(lambda verb: verb != "write")

    def step(self, carries_out: Callable[[str], bool]) -> None:
        """One round of the relay, and what it rings for of these verbs."""
        self.bench.relay.round()
        hints, self.bench.hints = self.bench.hints, []
        for _, verb, id in hints:
            if carries_out(verb):
                VERBS[verb](self.bench.engine, id)

    def wait(self) -> None:
        """Time passes: what was put off is done, and what a process held that ended."""
        for table in ("chunk", "effect"):
            self.rows(f"UPDATE {table} SET due_at = now(), sent_at = NULL WHERE lease_owner IS NULL RETURNING 1")
            self.rows(f"UPDATE {table} SET lease_until = now() WHERE lease_owner IS NOT NULL RETURNING 1")
        self.bench.drain()

    def rows(self, sql: str, *values: object) -> Sequence[Any]:
        return self.bench.all(sql, *values)

    def written(self) -> dict[str, float]:
        """The scores in the org."""
        found = self.org.query(f"SELECT Id, Fieldline_Score__c FROM Lead WHERE Id {self.among} AND Fieldline_Score__c != null")
        return {lead["Id"]: lead["Fieldline_Score__c"] for lead in found}

    def expected(self) -> dict[str, float]:
        """The scores that the leads should have."""
        found = self.org.query(f"SELECT Id, NumberOfEmployees FROM Lead WHERE Id {self.among}")
        return {lead["Id"]: 2.0 * (lead["NumberOfEmployees"] or 0) for lead in found}

    def decisions(self) -> int:
        """How many there are."""
        (row,) = self.rows("SELECT count(*) AS n FROM decision d JOIN flow f ON f.id = d.flow_id WHERE f.name = %s", self.name)
        return int(row["n"])

    def read_again(self) -> list[int]:
        """The sizes of the chunks of touched records."""
        where = "f.name = %s AND c.replay_of IS NOT NULL"
        return [
            row["rows"] for row in self.rows(f"SELECT c.rows FROM chunk c JOIN flow f ON f.id = c.flow_id WHERE {where}", self.name)
        ]

    def answers(self) -> Counter[str]:
        """What the org answered, row by row."""
        stored = self.rows("SELECT v.*, k.wrapped FROM evidence v JOIN batch_key k ON k.evidence_id = v.id "
                           "JOIN chunk c ON c.id = v.chunk_id JOIN flow f ON f.id = c.flow_id "
                           "WHERE f.name = %s AND v.kind = 'receipts'", self.name)  # fmt: skip
        frames = [unseal(self.bench.engine.keyring, row).frame for row in stored]
        return Counter(reason or outcome for frame in frames for outcome, reason in frame.select("outcome", "reason").iter_rows())

    def tasks(self) -> Counter[str]:
        """How many tasks each lead has got."""
        found = self.org.query(f"SELECT WhoId FROM Task WHERE {MARK} != null AND WhoId {self.among}")
        return Counter(task["WhoId"] for task in found)


@pytest.fixture(scope="module")
def org() -> Iterator[SimulatedOrg]:
    with pytest.MonkeyPatch.context() as patch, simulated_org(leads=60) as org:
        patch.setenv("SALESFORCE_SECRET", "app-secret")
        org.admin("PUT", "/_sim/rules", [])
        org.admin("POST", "/_sim/fields", {"object": "Task", "name": MARK, "type": "string", "length": 64})
        yield org


@pytest.fixture(scope="module")
def bench(postgres: Postgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("touched")
    bench = Bench(postgres.create_database("touched", template=migrated_template), directory)
    bench.import_linear(directory)
    yield bench
    assert check_invariants(bench.engine.store) == []
    bench.close()
    postgres.drop_database("touched")


@pytest.fixture(scope="module")
def leads(org: SimulatedOrg) -> Iterator[str]:
    found = org.query("SELECT Id FROM Lead WHERE IsConverted = false AND NumberOfEmployees > 0 ORDER BY Id")
    return iter([lead["Id"] for lead in found])


@pytest.fixture
def flow(bench: Bench, org: SimulatedOrg, leads: Iterator[str]) -> Callable[..., Flow]:
    """Makes a flow from the next four leads; `flow(*targets)`."""
    return lambda *targets: Flow(bench, org, [next(leads) for _ in range(4)], *(targets or (BACK,)))


def test_a_touched_lead_is_left_alone_reported_and_decided_on_again_and_then_the_flow_rests(flow: Callable[..., Flow]) -> None:
    at = flow()
    at.read()
    at.org.edit("Lead", at.leads[0], City="Utrecht")
    at.bench.drain()
    assert at.written().keys() == set(at.leads[1:])
    assert at.answers() == {"written": 3, TOUCHED.reason: 1}
    at.wait()
    assert at.written() == at.expected()
    assert at.decisions() == 5
    # The flow writes the moment of its decision, and each write changes LastModifiedDate: neither is a reason to decide again.
    for _ in range(2):
        at.read()
        at.wait()
    assert (at.decisions(), at.answers()) == (5, {"written": 4, TOUCHED.reason: 1})
    assert at.read_again() == [1]


def test_a_touch_that_was_read_while_the_write_was_open_is_not_forgotten_and_open_writes_cause_no_decisions(
    flow: Callable[..., Flow],
) -> None:
    at = flow()
    at.read()
    at.org.edit("Lead", at.leads[0], City="Utrecht")
    # The org cannot be written to for hours, and all is read again and again.
    for _ in range(3):
        at.read()
    assert at.decisions() == 4
    at.bench.drain()
    assert at.written().keys() == set(at.leads[1:])
    at.wait()
    assert (at.written(), at.decisions()) == (at.expected(), 5)


def test_what_a_process_leaves_undone_that_ends_at_a_touched_lead_is_done(
    flow: Callable[..., Flow], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = flow()
    at.read()
    at.org.edit("Lead", at.leads[0], City="Utrecht")
    for site, chunks in {"receive.commit:before": [], "receive.commit:after": [1], "score.commit:before": [1],
                         "score.commit:after": [1]}.items():  # fmt: skip

        def dies(passed: str, site: str = site) -> None:
            if passed == site:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(database, "point", dies)
            with pytest.raises(Killed):
                at.wait()
        at.bench.hints.clear()
        assert at.read_again() == chunks
    at.wait()
    assert (at.written(), at.decisions(), at.read_again()) == (at.expected(), 5, [1])


def test_only_the_write_that_was_left_is_made_again_and_a_changed_value_is_decided_on_for_all(flow: Callable[..., Flow]) -> None:
    at = flow(TASK, BACK)
    at.read()
    at.org.edit("Lead", at.leads[0], City="Utrecht")
    at.org.edit("Lead", at.leads[1], NumberOfEmployees=77)
    at.bench.drain()
    assert at.written().keys() == set(at.leads[2:])
    at.wait()
    assert at.written() == at.expected()
    assert at.tasks() == dict.fromkeys(at.leads, 1)
    at.read()
    at.wait()
    assert at.tasks() == {**dict.fromkeys(at.leads, 1), at.leads[1]: 2}
    assert (at.written(), at.decisions()) == (at.expected(), 4 + 2 + 1)


def test_a_touched_lead_that_is_gone_or_was_decided_on_since_needs_nothing(flow: Callable[..., Flow]) -> None:
    at = flow()
    at.read()
    for lead in at.leads[:2]:
        at.org.edit("Lead", lead, City="Utrecht")
    at.bench.drain()
    at.org.admin("DELETE", f"/services/data/v64.0/sobjects/Lead/{at.leads[0]}")
    at.org.edit("Lead", at.leads[1], NumberOfEmployees=77)
    at.read()
    at.wait()
    assert at.written() == at.expected()
    assert (at.decisions(), at.read_again()) == (5, [2])
    assert at.rows("SELECT 1 FROM dead_letter l JOIN flow f ON f.id = l.flow_id WHERE f.name = %s", at.name) == []


def test_a_lead_that_is_to_be_read_again_is_erased_afterwards(flow: Callable[..., Flow], monkeypatch: pytest.MonkeyPatch) -> None:
    at = flow()
    at.read()
    at.org.edit("Lead", at.leads[0], City="Utrecht")
    refuse_waiting = erasing._refuse_waiting

    def refuse_and_look_away(*place: Any) -> None:
        refuse_waiting(*place)
        at.bench.drain()

    with monkeypatch.context() as patch:
        patch.setattr(erasing, "_refuse_waiting", refuse_and_look_away)
        with pytest.raises(Unavailable, match="it waits for its decision"):
            erasing.erase(at.bench.engine, at.leads[0], "test", "asked for")
    at.wait()
    erasing.erase(at.bench.engine, at.leads[0], "test", "asked for")
    assert (at.written(), at.decisions()) == (at.expected(), 3)


def test_what_a_person_decided_stays_until_the_values_change(flow: Callable[..., Flow]) -> None:
    at = flow()
    at.read()
    at.org.edit("Lead", at.leads[0], Fieldline_Score__c=1.5)
    at.wait()
    at.read()
    at.wait()
    assert at.written() == {**at.expected(), at.leads[0]: 1.5}
    assert at.read_again() == []


def test_a_touched_lead_is_written_where_that_was_turned_off(flow: Callable[..., Flow]) -> None:
    at = flow({**BACK, "check_record": False})
    at.read()
    at.org.edit("Lead", at.leads[0], City="Utrecht")
    at.bench.drain()
    assert at.written() == at.expected()

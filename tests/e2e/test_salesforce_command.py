"""An org of `fieldline simulate salesforce`, seeded by CSV: its own columns are scored, and a key may name several leads."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from tests.command import COMMAND
from tests.engines import Bench, put
from tests.salesforce_org import SimulatedOrg

from fieldline_connectors.salesforce.org import Org
from fieldline_core.pipeline.invariants import check_invariants
from fieldline_core.pipeline.manage import request_run
from fieldline_core.pipeline.replay import replay
from fieldline_server.embedded import Postgres

LEADS = "Company,LastName,Spend__c,Region__c\nBell Ltd,Bell,12.5,North\nCole & Co,Cole,40,\n"
MAPPING = {"mapping": "m", "features": [{"name": "a", "field": "Spend__c"}, {"name": "b", "formula": "a * 0"}],
           "fields": [{"name": "score", "formula": "score"}]}  # fmt: skip
RETRY = {"first_s": 0.001, "longest_s": 0.002}


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedOrg]:
    folder = tmp_path_factory.mktemp("org")
    (folder / "new.csv").write_text(LEADS)
    command = [*COMMAND, "simulate", "salesforce", "--json", "--leads", "0", "--csv", "Lead=new.csv"]
    with pytest.MonkeyPatch.context() as patch, subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        patch.setenv("SALESFORCE_SECRET", "app-secret")
        assert process.stdout
        facts = json.loads(process.stdout.readline())
        with closing(SimulatedOrg(SimpleNamespace(url=facts["url"], pubsub=None))) as org:  # type: ignore[arg-type]
            assert facts["leads"] == 2
            yield org
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.fixture(scope="module")
def bench(postgres: Postgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("bench")
    bench = Bench(postgres.create_database("salesforce_command", template=migrated_template), directory)
    bench.import_linear(directory)
    yield bench
    assert check_invariants(bench.engine.store) == []
    bench.close()
    postgres.drop_database("salesforce_command")


def publish(bench: Bench, org: SimulatedOrg, mapping: dict[str, Any], flow: dict[str, Any], *more: dict[str, Any]) -> None:
    settings = org.config().model_dump(mode="json", exclude_defaults=True)
    settings["login"]["client_secret"] = {"secret": "env:SALESFORCE_SECRET"}
    crm = {"connection": "crm", "connector": "salesforce", "settings": settings}
    flow = {"mapping": mapping["mapping"], "models": ["linear"], "retry": RETRY, **flow}
    bench.apply("\n---\n".join(map(json.dumps, (crm, *more, mapping, flow))))


def test_leads_from_a_csv_file_are_scored_by_their_own_columns(bench: Bench, org: SimulatedOrg) -> None:
    write = {"name": "back", "connection": "crm", "target": {"object": "Lead", "fields": {"Fieldline_Score__c": "score"}}}
    query = {"soql": "SELECT Id FROM Lead WHERE Spend__c > 0"}
    publish(bench, org, MAPPING, {"flow": "seeded", "source": {"connection": "crm", "query": query}, "writes": [write]})
    request_run(bench.engine, "seeded", "test")
    bench.drain()
    found = org.query("SELECT Company, Region__c, Fieldline_Score__c FROM Lead ORDER BY Company")
    assert [(lead["Company"], lead["Region__c"], lead["Fieldline_Score__c"]) for lead in found] == [
        ("Bell Ltd", "North", 25.0), ("Cole & Co", None, 80.0),
    ]  # fmt: skip


def test_a_key_of_several_leads_is_a_dead_letter_until_they_are_one(
    bench: Bench, org: SimulatedOrg, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"object": "Lead", "name": "Code__c", "type": "string", "external_id": True}
    org.admin("POST", "/_sim/fields", {**key, "unique": True})
    target = {"operation": "upsert", "object": "Lead", "key": "Code__c", "fields": {"Fieldline_Score__c": "score"}}
    write = {"name": "up", "connection": "crm", "target": target, "retry": RETRY}
    mapping = {**MAPPING, "mapping": "codes", "features": [{"field": "a"}, {"field": "b"}]}
    source = {"connection": "codes", "query": {"table": "records"}}
    memory = {"connection": "codes", "connector": "memory", "settings": {"store": "codes"}}
    publish(bench, org, mapping, {"flow": "codes", "source": source, "writes": [write]}, memory)
    org.create("Lead", LastName="L", Company="C", Code__c="k3")
    put("codes", {"k3": (3.0, 0.0)})
    request_run(bench.engine, "codes", "test")
    bench.drain()
    # Once the flow runs, an administrator unticks Unique, and people add records with keys that are there.
    org.admin("POST", "/_sim/fields", {**key, "unique": False})
    several = [org.create("Lead", LastName="L", Company="C", Code__c=code) for code in ("k1", "k1", "k2")]
    save = Org.save

    def as_somebody_adds_one(self: Org, *call: Any) -> Any:
        monkeypatch.undo()
        several.append(org.create("Lead", LastName="L", Company="C", Code__c="k2"))
        return save(self, *call)

    monkeypatch.setattr(Org, "save", as_somebody_adds_one)
    put("codes", {"k1": (1.0, 0.0), "k2": (2.0, 0.0), "k3": (4.0, 0.0)})
    request_run(bench.engine, "codes", "test")
    bench.drain()
    scores = "SELECT Code__c, Fieldline_Score__c FROM Lead WHERE Code__c != null AND Fieldline_Score__c != null ORDER BY Code__c"
    assert [(lead["Code__c"], lead["Fieldline_Score__c"]) for lead in org.query(scores)] == [("k3", 8.0)]
    letters = bench.all("SELECT reason FROM dead_letter WHERE state = 'open' ORDER BY id")
    # The first is seen before it is sent; the second is the org's own answer, 300.
    assert [letter["reason"] for letter in letters] == [
        "several records have this key: make the field unique",
        "several records have this external id: make the field unique [DUPLICATE_EXTERNAL_ID]",
    ]
    for lead in (several[1], several[-1]):
        org.admin("DELETE", f"/services/data/v64.0/sobjects/Lead/{lead}")
    replay(bench.engine, "codes", "test")
    bench.drain()
    assert [lead["Fieldline_Score__c"] for lead in org.query(scores)] == [2.0, 4.0, 8.0]

"""Flows from an OData service back into it: read, or told by an event, scored, written, put back."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.engines import Bench, decisions_on
from tests.odata_connections import LOOPBACK, Shop, serving, with_sets

from fieldline_core.pipeline import manage
from fieldline_core.pipeline.accept import accept
from fieldline_core.pipeline.invariants import check_invariants
from fieldline_core.ports import HookRequest
from fieldline_simulators import sap

TOKEN = "a token of sixteen characters"
CUSTOMERS = sap.EntitySet(
    "Customers",
    (
        sap.Property("ID", nullable=False), sap.Property("a", "Decimal", precision=19, scale=2), sap.Property("b", "Double"),
        sap.Property("score", "Double"),
    ),
    ("ID",),
)  # fmt: skip
UPDATE = {"operation": "update", "entity_set": "Customers", "fields": {"score": "score"}}
IDOC = {
    "operation": "idoc", "key": "E1KNA1M.KUNNR", "fields": {"E1KNA1M.SCORE": "score"},
    "idoc": {
        "type": "DEBMAS07", "segments": [{"segment": "E1KNA1M", "values": {"MSGFN": "004"}}],
        "control": {"MESTYP": "DEBMAS", "SNDPOR": "FL", "SNDPRT": "LS", "SNDPRN": "FL", "RCVPRT": "LS", "RCVPRN": "S4"},
    },
}  # fmt: skip


def documents(root: str, trigger: dict[str, str], target: dict[str, Any] = UPDATE) -> str:
    """A flow that reads `Customers` and writes the score, where nothing else is said into the same records."""
    settings = {
        "service_url": root, "preset": "sap", "allow_private": list(LOOPBACK),
        "login": {"flow": "basic", "user": sap.USER, "password": {"secret": "env:S4_PASSWORD"}},
        "inbound": {"accepts": "cloudevents", "tokens": [{"secret": "env:EVENT_TOKEN"}]},
    }  # fmt: skip
    return yaml.safe_dump_all([
        {"connection": "s4", "connector": "odata", "settings": settings},
        {"mapping": "customers", "features": [{"field": "a"}, {"field": "b"}], "fields": [{"name": "score", "formula": "score"}]},
        {
            "flow": "customers", "trigger": trigger, "source": {"connection": "s4", "query": {"entity_set": "Customers"}},
            "mapping": "customers", "models": ["linear"], "writes": [{"name": "score", "connection": "s4", "target": target}],
        },
    ])  # fmt: skip


@pytest.fixture(params=[2, 4])
def shop(request: pytest.FixtureRequest) -> Shop:
    shop = Shop(request.param, with_sets(CUSTOMERS), page=20)
    for number in range(50):
        shop.put("Customers", ID=f"C{number:02}", a=f"{number}.00", b=1.0)
    return shop


@pytest.fixture
def root(shop: Shop) -> Iterator[str]:
    with serving(shop) as root:
        yield root


@pytest.fixture
def bench(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("S4_PASSWORD", sap.PASSWORD)
    monkeypatch.setenv("EVENT_TOKEN", TOKEN)
    made = Bench(database_url, tmp_path)
    made.import_linear(tmp_path)
    yield made
    assert check_invariants(made.engine.store) == []
    made.engine.parts.connector("s4").close()
    made.close()


def test_every_record_gets_its_score_and_a_person_keeps_what_they_changed(bench: Bench, shop: Shop, root: str) -> None:
    bench.apply(documents(root, {}))
    manage.pause_writes(bench.engine, "test", "somebody is at work")
    run = manage.request_run(bench.engine, "customers", "test")
    bench.drain()
    shop.put("Customers", ID="C07", score=42.0)
    manage.resume_writes(bench.engine, "test")
    bench.drain()

    scores = {key: row["score"] for key, row in shop.rows("Customers").items()}
    assert scores == {f"C{number:02}": 42.0 if number == 7 else 2.0 * number - 1 for number in range(50)}
    (row,) = manage.list_runs(bench.engine, id=run)
    assert (row["written"], row["left_alone"]) == (49, 1)
    (decision,) = decisions_on(bench.engine, "C08")
    assert decision["source"] == {"a": "8.00", "b": 1.0, "score": None}
    assert decision["writes"][0]["outcome"] == "written"


@pytest.mark.parametrize("shop", [2], indirect=True)
def test_an_idoc_is_sent_for_each_decision_and_the_evidence_says_that_its_posting_is_not_known(
    bench: Bench, shop: Shop, root: str
) -> None:
    with pytest.raises(AssertionError, match=r"warning: writes\[0\].target.idoc: .* may send an IDoc twice"):
        bench.apply(documents(root, {}, IDOC))
    run = manage.request_run(bench.engine, "customers", "test")
    bench.drain()

    sent = {idoc.findtext("E1KNA1M/KUNNR"): idoc.findtext("E1KNA1M/SCORE") for idoc in shop.idocs}
    assert sent == {f"C{number:02}": f"{2.0 * number - 1}" for number in range(50)}
    assert len({idoc.findtext("EDI_DC40/ARCKEY") for idoc in shop.idocs}) == len(shop.idocs) == 50
    (row,) = manage.list_runs(bench.engine, id=run)
    assert row["written"] == 50
    (decision,) = decisions_on(bench.engine, "C08")
    assert (decision["writes"][0]["outcome"], decision["writes"][0]["reason"]) == (
        "written", "SAP has accepted the IDoc; whether it was posted is not known (idocs.status is not set)",
    )  # fmt: skip


@pytest.mark.parametrize("shop", [4], indirect=True)
def test_records_that_may_have_been_added_are_set_aside_and_never_added_again(bench: Bench, shop: Shop, root: str) -> None:
    added = {"operation": "create", "entity_set": "Tasks", "key": "partner", "fields": {"score": "score"}}
    with pytest.raises(AssertionError, match="a record may be added twice"):
        bench.apply(documents(root, {}, added))
    # A gateway gives up on a service that goes on.
    shop.system.faults.set([{"kind": "status", "status": 504, "path": "*$batch", "after_commit": True}])
    manage.request_run(bench.engine, "customers", "test")
    bench.drain()

    assert sorted(shop.column("partner", "Tasks")) == [f"C{number:02}" for number in range(50)]
    letters = bench.all("SELECT DISTINCT reason FROM dead_letter")
    assert ["may or may not have been added" in letter["reason"] for letter in letters] == [True]
    assert bench.all("SELECT state, refused FROM effect") == [{"state": "unknown", "refused": 50}]


def test_an_event_that_carries_only_a_key_is_read_back_and_its_record_scored(bench: Bench, shop: Shop, root: str) -> None:
    bench.apply(documents(root, {"webhook": "s4", "key": "data.Customer"}))
    event = {"specversion": "1.0", "id": "e1", "source": "/s4", "type": "customer.changed", "data": {"Customer": "C05"}}
    request = HookRequest({"authorization": f"Bearer {TOKEN}"}, json.dumps(event).encode(), datetime.now(UTC))
    (delivered,) = bench.engine.parts.connector("s4").receive(request).events
    release = bench.engine.parts.release(bench.all("SELECT id FROM release")[0]["id"])
    assert not accept(bench.engine, release, "s4/customers", delivered).repeated
    assert accept(bench.engine, release, "s4/customers", delivered).repeated
    bench.drain()

    assert {key for key, row in shop.rows("Customers").items() if row["score"] is not None} == {"C05"}
    assert shop.rows("Customers")["C05"]["score"] == 9.0

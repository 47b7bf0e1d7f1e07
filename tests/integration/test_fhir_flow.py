"""A flow from an EHR back into it: Observations are read by a view, scored, and the decision is in the patient's chart."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.engines import Bench, decisions_on
from tests.fhir_server import LOINC, Server, fhir_server
from tests.fhir_writing import CODE, chart, fail

from fieldline_core.pipeline import manage
from fieldline_core.pipeline.invariants import check_invariants
from fieldline_simulators.fhir import FIXED_TOKEN

VIEW = {"resource": "Observation", "select": [{"column": [
    {"name": "patient", "path": "subject.getReferenceKey(Patient)"},
    {"name": "a", "path": "value.ofType(Quantity).value", "type": "decimal"},
    {"name": "b", "path": "value.ofType(Quantity).value", "type": "decimal"},
]}]}  # fmt: skip


def documents(root: str) -> str:
    """A flow that reads the BMI of patients and writes what the model says of it."""
    settings = {
        "base_url": root, "login": {"flow": "bearer", "token": {"secret": "env:EHR_TOKEN"}},
        "allow_private": [{"host": "localhost", "network": "127.0.0.0/8"}, {"host": "127.0.0.1", "network": "127.0.0.0/8"}],
    }  # fmt: skip
    fields = {"prediction": "score", "model": "decision.model", "at": "decision.clock"}
    target = {"code": CODE, "kind": "quantity", "unit": "{score}", "fields": fields, "provenance": True}
    query = {"view": VIEW, "key": "patient", "by": "patient", "parameters": {"code": f"{LOINC}|39156-5"}}
    return yaml.safe_dump_all([
        {"connection": "ehr", "connector": "fhir", "settings": settings},
        {"mapping": "bmi", "features": [{"field": "a"}, {"field": "b"}], "fields": [{"name": "score", "formula": "score"}]},
        {
            "flow": "bmi", "source": {"connection": "ehr", "query": query}, "mapping": "bmi", "models": ["linear"],
            "writes": [{"name": "chart", "connection": "ehr", "target": target}],
        },
    ])  # fmt: skip


@pytest.fixture
def server() -> Iterator[Server]:
    with fhir_server("medplum") as server:
        yield server


@pytest.fixture
def bench(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("EHR_TOKEN", FIXED_TOKEN)
    made = Bench(database_url, tmp_path)
    made.import_linear(tmp_path)
    yield made
    assert check_invariants(made.engine.store) == []
    made.engine.parts.connector("ehr").close()
    made.close()


def test_every_decision_is_once_in_its_chart_though_an_answer_was_lost(bench: Bench, server: Server) -> None:
    bench.apply(documents(server.simulator.fhir_url))
    fail(server, {"kind": "drop", "method": "POST", "path": "/fhir", "after_commit": True})
    run = manage.request_run(bench.engine, "bmi", "test")
    bench.drain()
    # The waits before the next attempt are over.
    bench.all("UPDATE effect SET due_at = now(), sent_at = NULL RETURNING 1")
    bench.all("UPDATE target SET retry_at = now() WHERE retry_at IS NOT NULL RETURNING 1")
    bench.drain()

    (row,) = manage.list_runs(bench.engine, id=run)
    assert row["written"] == 12
    found = chart(server, "Observation")
    assert len(found) == len({each["subject"]["reference"] for each in found}) == 12
    with server.simulator.ehr.store.lock:
        assert len(list(server.simulator.ehr.store.all("Provenance"))) == 12
    one = next(each for each in found if each["subject"]["reference"] == "Patient/study-001")
    assert one["method"]["text"].startswith("linear@")
    assert one["effectiveDateTime"].endswith("Z")
    (decision,) = decisions_on(bench.engine, "study-001")
    assert decision["writes"][0]["outcome"] == "written"
    assert one["valueQuantity"]["value"] == pytest.approx(2 * float(decision["source"]["a"]) - float(decision["source"]["b"]))

"""Flows from an EHR back into it: charts are read by views, scored, and the decision is in the patient's chart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.engines import Bench, decisions_on
from tests.fhir_server import LOINC, Server, fhir_server, observation
from tests.fhir_writing import CODE, chart, fail

from fieldline_core.pipeline import manage
from fieldline_core.pipeline.invariants import check_invariants
from fieldline_simulators.fhir import FIXED_TOKEN

VIEW = {"resource": "Observation", "select": [{"column": [
    {"name": "patient", "path": "subject.getReferenceKey(Patient)"},
    {"name": "a", "path": "value.ofType(Quantity).value", "type": "decimal"},
    {"name": "b", "path": "value.ofType(Quantity).value", "type": "decimal"},
]}]}  # fmt: skip


CHARTS = """
mapping: pressure
record:
  born: integer
  Observations: {code: text, date: datetime, value: number, unit: text}
features:
  - {name: systolic, formula: 'LATEST(Observations.value, Observations.date, code = "8480-6")'}
  - {name: weight, formula: 'LATEST(CONVERT(Observations.value, Observations.unit, "kg"), Observations.date, code = "29463-7")'}
fields:
  - {name: score, formula: score}
reason: '"born in " & TEXT(born) & ", measured " & TEXT(COUNT(Observations)) & " times"'
---
flow: pressure
source:
  connection: ehr
  query:
    view:
      resource: Patient
      select:
        - column:
            - {name: id, path: getResourceKey()}
            - {name: born, path: "birthDate.substring(0, 4).toInteger()", type: integer}
lookups:
  - name: Observations
    connection: ehr
    query:
      view:
        resource: Observation
        select:
          - column:
              - {name: patient, path: subject.getReferenceKey(Patient)}
              - {name: code, path: code.coding.first().code}
              - {name: date, path: effective.ofType(dateTime), type: dateTime}
              - {name: value, path: value.ofType(Quantity).value, type: decimal}
              - {name: unit, path: value.ofType(Quantity).code}
      key: patient
      by: patient
      parameters: {code: "http://loinc.org|8480-6,http://loinc.org|29463-7"}
mapping: pressure
models: [linear]
"""


def connection(root: str) -> dict[str, Any]:
    """The document of the connection to an EHR."""
    settings = {
        "base_url": root, "login": {"flow": "bearer", "token": {"secret": "env:EHR_TOKEN"}},
        "allow_private": [{"host": "localhost", "network": "127.0.0.0/8"}, {"host": "127.0.0.1", "network": "127.0.0.0/8"}],
    }  # fmt: skip
    return {"connection": "ehr", "connector": "fhir", "settings": settings}


def documents(root: str) -> str:
    """A flow that reads the BMI of patients and writes what the model says of it."""
    fields = {"prediction": "score", "model": "decision.model", "at": "decision.clock"}
    target = {"code": CODE, "kind": "quantity", "unit": "{score}", "fields": fields, "provenance": True}
    query = {"view": VIEW, "key": "patient", "by": "patient", "parameters": {"code": f"{LOINC}|39156-5"}}
    return yaml.safe_dump_all([
        connection(root),
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


def measured(code: str, value: float, unit: str, date: str, patient: str) -> dict[str, Any]:
    """An observation of a patient's measure."""
    quantity = {"value": value, "system": "http://unitsofmeasure.org", "code": unit}
    return observation(code, patient=patient, effectiveDateTime=date, valueQuantity=quantity)


def test_a_patient_and_the_newest_of_its_observations_by_code_and_date_are_one_record(bench: Bench, server: Server) -> None:
    every = [
        ("8480-6", 121.0, "mm[Hg]", "2026-05-01", "study-001"), ("29463-7", 81_000.0, "g", "2026-04-01", "study-001"),
        ("8480-6", 139.0, "mm[Hg]", "2026-06-01T10:00:00+02:00", "study-001"), ("29463-7", 64.0, "kg", "2026-06-01", "study-003"),
        ("8480-6", 128.0, "mm[Hg]", "2026-05-31T23:00:00Z", "study-001"), ("8480-6", 118.0, "mm[Hg]", "2026-06-01", "study-002"),
        ("29463-7", 70.0, "cm", "2026-06-01", "study-002"),
    ]  # fmt: skip
    for each in every:
        assert server.create(measured(*each)).status_code == 201
    bench.apply(f"{yaml.safe_dump(connection(server.simulator.fhir_url))}---{CHARTS}")
    run = manage.request_run(bench.engine, "pressure", "test")
    bench.drain()

    (row,) = manage.list_runs(bench.engine, id=run)
    assert (row["rows"], row["scored"], row["held"]) == (12, 1, 11)
    (decision,) = decisions_on(bench.engine, "study-001")
    assert decision["features"] == {"systolic": 139.0, "weight": 81.0}
    assert len(decision["source"]["Observations"]) == 4
    reasons = {each["reason"] for each in bench.all("SELECT reason FROM dead_letter")}
    assert "feature 'systolic' is blank" in reasons
    assert any("'weight': a unit that does not convert to kg" in each for each in reasons)

import csv
import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest

from fieldline_connectors.fhir import FhirQuery
from fieldline_connectors.fhir.views import FrameMaker
from fieldline_core.batch import Batch, key_text
from fieldline_core.flow import Connection, Flow
from fieldline_core.pipeline.facts import FACTS
from fieldline_core.ports import Document
from fieldline_core.signature import Signature, Tensor
from fieldline_core.validation import validate
from fieldline_core.yaml_source import parse
from fieldline_mappings import CompiledPlan, MappingDocument, compile_mapping
from fieldline_mappings.golden import run_golden
from fieldline_simulators.fhir.seed import study_resources
from fieldline_simulators.salesforce import Options, open_org

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
MODELS = {model["name"]: model for model in json.loads((EXAMPLES / "MODELS.json").read_text())["models"]}
CLOCK = datetime(2026, 1, 1, tzinfo=UTC)
KINDS: dict[str, type[Document]] = {"connection": Connection, "mapping": MappingDocument, "flow": Flow}


def documents(example: str) -> list[Any]:
    sources, findings = parse((EXAMPLES / example / "flow.yaml").read_text())
    assert findings == []
    checked = [validate(KINDS[next(iter(source.data))], source) for source in sources]
    assert [finding for _, findings in checked for finding in findings] == []
    return [document for document, _ in checked]


def mapping_of(example: str) -> MappingDocument:
    return next(document for document in documents(example) if isinstance(document, MappingDocument))


def session_of(path: Path) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def signature_of(session: Any) -> Signature:
    dtypes = {"tensor(float)": "float32", "tensor(int64)": "int64"}

    def tensors(ends: Any) -> tuple[Tensor, ...]:
        return tuple(Tensor(name=end.name, dtype=dtypes[end.type], shape=tuple(end.shape)) for end in ends)

    return Signature(inputs=tensors(session.get_inputs()), outputs=tensors(session.get_outputs()))


def plan_of(example: str, session: Any) -> CompiledPlan:
    return compile_mapping(mapping_of(example), signature_of(session))


def answers(example: str, batch: Batch) -> pl.DataFrame:
    """The fields that the example's mapping and model give, with no row held back."""
    session = session_of(EXAMPLES / example / "model.onnx")
    plan = plan_of(example, session)
    features = plan.features(batch, CLOCK)
    assert features.held == {}
    outputs = session.run(None, dict(plan.tensors(features.frame)))
    columns: dict[str, Any] = {}
    for end, array in zip(session.get_outputs(), outputs, strict=True):
        flat = array.reshape(len(batch), -1)
        names = [end.name] if flat.shape[1] == 1 else [f"{end.name}[{position}]" for position in range(flat.shape[1])]
        columns |= {name: flat[:, position] for position, name in enumerate(names)}
    fields = plan.fields(batch, pl.DataFrame(columns), CLOCK)
    assert fields.held == {}
    return fields.frame


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_the_very_file_that_was_measured(name: str) -> None:
    assert hashlib.sha256((EXAMPLES / MODELS[name]["file"]).read_bytes()).hexdigest() == MODELS[name]["sha256"]


@pytest.mark.parametrize("path", [*EXAMPLES.glob("*/model.onnx"), ROOT / "bench/model.onnx"], ids=lambda path: path.parent.name)
def test_a_model_is_small_and_holds_standard_operators_only(path: Path) -> None:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {opset.domain for opset in model.opset_import} <= {"", "ai.onnx.ml"}
    assert path.stat().st_size < 300_000


def test_the_benchmark_model_takes_22_features_and_ends_with_two_probabilities() -> None:
    session = session_of(ROOT / "bench/model.onnx")
    (features,) = session.get_inputs()
    assert (features.name, features.type, features.shape) == ("features", "tensor(float)", [None, 22])
    probabilities = session.run(None, {"features": np.zeros((3, 22), np.float32)})[-1]
    assert probabilities.shape == (3, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("example", MODELS)
def test_the_documents_are_sound_and_a_flow_names_only_what_they_hold(example: str) -> None:
    held = documents(example)
    (flow,) = (document for document in held if isinstance(document, Flow))
    assert flow.connections() == {document.connection for document in held if isinstance(document, Connection)}
    assert flow.mapping == mapping_of(example).mapping
    assert flow.models == [example]
    given = {field.name for field in mapping_of(example).written}
    written = {field for write in flow.writes for field in write.target["fields"].values()} - FACTS.keys()
    card = flow.trigger.cds.card if flow.trigger.cds else None
    used = written | ({card.summary, card.indicator, str(card.detail)} if card else set())
    assert given - {"reason"} <= used <= given


@pytest.mark.parametrize("example", [name for name in MODELS if (EXAMPLES / name / "table.sql").exists()])
def test_the_table_has_every_column_that_is_loaded_read_or_written(example: str) -> None:
    columns = set(re.findall(r"^  ([a-z_]+) +[a-z]", (EXAMPLES / example / "table.sql").read_text(), re.MULTILINE))
    (flow,) = (document for document in documents(example) if isinstance(document, Flow))
    needed = {column for write in flow.writes for column in (*write.target["key"], *write.target["fields"])}
    if flow.source:
        needed |= set(mapping_of(example).record_types) | set(flow.source.query["key"])
        needed |= set(pl.read_csv(EXAMPLES / example / "records.csv", n_rows=0).columns)
    assert needed <= columns


@pytest.mark.parametrize("example", MODELS)
def test_the_golden_records_come_out_as_they_say(example: str) -> None:
    signature = signature_of(session_of(EXAMPLES / example / "model.onnx"))
    outcomes = run_golden(mapping_of(example), signature)
    assert len(outcomes) > 1
    assert [failure for outcome in outcomes for failure in outcome.failures] == []


def test_the_org_has_every_field_of_a_lead_that_is_read_or_written() -> None:
    org = open_org(Options(leads=1))
    mapping = mapping_of("lead-scoring")
    (flow,) = (document for document in documents("lead-scoring") if isinstance(document, Flow))
    lists = {"Tasks": "Task", "Web_Visits__r": "Web_Visit__c"}
    for name, type in mapping.record_types.items():
        assert set(type) <= org.kind(lists[name]).fields.keys() if name in lists else name in org.kind("Lead").fields
    assert flow.writes[0].target["fields"].keys() <= org.kind("Lead").fields.keys()


def test_a_day_off_by_formula_is_the_one_that_the_model_was_trained_on() -> None:
    records = pl.read_csv(EXAMPLES / "bike-demand/records.csv")
    batch = Batch.of([str(row) for row in range(records.height)], records)
    sifted = plan_of("bike-demand", session_of(EXAMPLES / "bike-demand/model.onnx")).features(batch, CLOCK)
    assert sifted.held == {}
    assert sifted.frame["workingday"].to_list() == records["workingday"].to_list()


def test_the_bike_records_scored_by_the_mapping_are_as_good_as_measured() -> None:
    records = pl.read_csv(EXAMPLES / "bike-demand/records.csv", schema_overrides=dict.fromkeys(("temp", "atemp", "hum"), pl.String))
    held_out = records.filter(pl.col("day") % 5 == 0).with_columns(pl.col("holiday", "workingday").cast(pl.Boolean))
    keys = [key_text(key) for key in held_out.select("day", "hr").iter_rows()]
    fields = answers("bike-demand", Batch.of(keys, held_out))
    error = (fields["expected_bikers"] - held_out["bikers"]).abs().mean()
    assert len(keys) == len(set(keys)) == MODELS["bike-demand"]["held_out"]["held_out_rows"]
    assert error == pytest.approx(MODELS["bike-demand"]["held_out"]["mean_absolute_error"], abs=0.05)  # answers are rounded
    assert set(fields["demand_level"]) == {"low", "normal", "high"}


def test_the_lab_events_scored_by_the_mapping_are_as_good_as_measured() -> None:
    samples = [json.loads(line)["sample"] for line in (EXAMPLES / "lab-triage/events.ndjson").read_text().splitlines()]
    rows = [{f"sample.worst.{name}": value for name, value in sample["worst"].items()} for sample in samples]
    fields = answers("lab-triage", Batch.of([sample["id"] for sample in samples], pl.DataFrame(rows)))
    with (EXAMPLES / "lab-triage/diagnoses.csv").open() as lines:
        diagnoses = {row["sample_id"]: row["diagnosis"] for row in csv.DictReader(lines)}
    seen = [(diagnoses[sample["id"]], triage) for sample, triage in zip(samples, fields["triage"], strict=True)]
    measured = MODELS["lab-triage"]["held_out"]
    assert len(diagnoses) == len(samples) == measured["held_out_rows"]
    assert seen.count(("malignant", "read first")) == measured["malignant_read_first"]
    assert seen.count(("malignant", "routine")) == measured["malignant_left_as_routine"]
    assert seen.count(("benign", "read first")) == measured["benign_read_first"]


def charts_of(patients: list[dict[str, str]]) -> Batch:
    """The lists of observations that the example's view gives of the charts that the simulator makes of these patients."""
    (flow,) = (document for document in documents("diabetes") if isinstance(document, Flow))
    query = FhirQuery.model_validate(flow.lookups[0].query)
    wanted, view = str(query.parameters["code"]).split(","), query.compiled
    every = [each for each in study_resources(patients) if each["resourceType"] == "Observation"]
    found = [row for each in every if each["code"]["coding"][0]["code"] in wanted for row in view.rows(each)]
    rows = FrameMaker(view.columns).frame(found).group_by("patient", maintain_order=True)
    lists = rows.agg(pl.struct(pl.exclude("patient")).alias("Observations"))
    return Batch(lists["patient"], lists.select("Observations"))


def test_the_charts_of_the_study_scored_by_the_mapping_are_as_good_as_measured() -> None:
    with (EXAMPLES / "diabetes/patients.csv").open() as lines:
        held_out = [row for row in csv.DictReader(lines) if int(row["patient"]) % 4 == 0]
    fields = answers("diabetes", charts_of(held_out))
    outcomes = pl.Series([float(row["progression"]) for row in held_out])
    measured = MODELS["diabetes"]["held_out"]
    assert len(fields) == len(held_out) == measured["held_out_rows"]
    assert (fields["progression"] - outcomes).abs().mean() == pytest.approx(measured["mean_absolute_error"], abs=0.05)
    seen = list(zip(outcomes >= 184, fields["pace"], strict=True))
    assert seen.count((True, "fast")) == measured["fast_and_said_fast"]
    assert seen.count((False, "fast")) == measured["not_fast_and_said_fast"]
    assert set(fields.select("pace", "indicator").iter_rows()) == {("fast", "warning"), ("usual", "info"), ("slow", "")}


@pytest.mark.parametrize("example", MODELS)
def test_the_page_of_an_example_says_every_figure_that_was_measured(example: str) -> None:
    said = set(re.findall(r"\d+(?:\.\d+)?", (EXAMPLES / example / "SOURCE.md").read_text().replace(",", "")))
    assert {str(figure) for figure in MODELS[example]["held_out"].values()} <= said

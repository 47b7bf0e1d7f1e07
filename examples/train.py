"""Trains the examples' models, exports them to ONNX and checks each file against scikit-learn on rows held out.

    pip install -e '.[train]' && python examples/train.py [EXAMPLE...]

Writes `model.onnx` beside each example's data, and MODELS.json with the digests and what was measured. With the versions that
MODELS.json names, training twice gives the same bytes.
"""

import hashlib
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
from skl2onnx import convert_sklearn
from skl2onnx.common._registration import get_converter
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import confusion_matrix, mean_absolute_error, r2_score, roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from fieldline_simulators.salesforce import Options, open_org

EXAMPLES = Path(__file__).resolve().parent
OPSETS = {"": 21, "ai.onnx.ml": 3}
MONTHS = ["Jan", "Feb", "March", "April", "May", "June", "July", "Aug", "Sept", "Oct", "Nov", "Dec"]
WEATHER = ["clear", "cloudy/misty", "light rain/snow", "heavy rain/snow"]
BIKE_NUMBERS = ["season", "holiday", "weekday", "workingday", "temp", "atemp", "hum", "windspeed"]
HELD_OUT_DAY = 5  # every fifth day, whole: hours of one day resemble each other too much to be on both sides
LAST_KNOWN_DAY = 300
READ_FIRST_FROM = 0.2  # as the mapping of lab-triage has it
STUDY_INPUTS = ["age", "sex", "bmi", "bp", "tc", "ldl", "hdl", "glu"]  # in the order of diabetes/flow.yaml
FAST_FROM = 184  # as the mapping of diabetes has it
HELD_OUT_PATIENT = 4


def bike_features(records: pl.DataFrame) -> np.ndarray:
    """The inputs in the order of bike-demand/flow.yaml: hour, month, eight numbers, one column for each kind of weather."""
    months = [MONTHS.index(month) for month in records["mnth"]]
    weather = [records["weathersit"] == kind for kind in WEATHER]
    return np.column_stack([records["hr"], months, *records.select(BIKE_NUMBERS), *weather]).astype(np.float32)


def bike_model() -> HistGradientBoostingRegressor:
    """A small ensemble for counts: its Poisson loss never gives a negative number of bikers."""
    return HistGradientBoostingRegressor(
        loss="poisson", max_iter=60, learning_rate=0.15, max_leaf_nodes=31, early_stopping=False, random_state=0
    )


def usual_bikers(known: pl.DataFrame, asked: pl.DataFrame) -> np.ndarray:
    """What a planner without a model would say: the mean of that hour on such a day."""
    means = known.group_by("hr", "workingday").agg(pl.col("bikers").mean().alias("usual"))
    return asked.join(means, on=["hr", "workingday"], how="left", maintain_order="left")["usual"].to_numpy()


def train_bikes() -> tuple[bytes, dict[str, float]]:
    """The model of bike-demand, and its errors on days that it never saw."""
    records = pl.read_csv(EXAMPLES / "bike-demand/records.csv")
    out = (pl.col("day") % HELD_OUT_DAY) == 0
    known, asked = records.filter(~out), records.filter(out)
    past, future = records.filter(pl.col("day") <= LAST_KNOWN_DAY), records.filter(pl.col("day") > LAST_KNOWN_DAY)
    model = bike_model().fit(bike_features(known), known["bikers"])
    forward = bike_model().fit(bike_features(past), past["bikers"])
    exported = exponential(to_onnx(model, "bike-demand", 14, [("log_bikers", FloatTensorType([None, 1]))]), "expected_bikers")
    expected = scored(exported, bike_features(asked))["expected_bikers"][:, 0]
    np.testing.assert_allclose(expected, model.predict(bike_features(asked)), rtol=1e-4)
    return exported, {
        "held_out_rows": asked.height,
        "mean_absolute_error": mean_absolute_error(asked["bikers"], expected),
        "r2": r2_score(asked["bikers"], expected),
        "mean_absolute_error_of_hourly_means": mean_absolute_error(asked["bikers"], usual_bikers(known, asked)),
        "mean_absolute_error_of_days_ahead": mean_absolute_error(future["bikers"], forward.predict(bike_features(future))),
        "mean_absolute_error_of_hourly_means_of_days_ahead": mean_absolute_error(future["bikers"], usual_bikers(past, future)),
    }


def train_lab() -> tuple[bytes, dict[str, float]]:
    """The model of lab-triage, and its errors on the samples of events.ndjson, which it never saw."""
    bundled = load_breast_cancer()
    ids = [json.loads(line)["sample"]["id"] for line in (EXAMPLES / "lab-triage/events.ndjson").read_text().splitlines()]
    asked = np.isin([f"wdbc-{position:03d}" for position in range(len(bundled.target))], ids)
    worst = bundled.data[:, 20:].astype(np.float32)
    malignant = (bundled.target_names[bundled.target] == "malignant").astype(np.int64)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(worst[~asked], malignant[~asked])
    outputs = [("label", Int64TensorType([None])), ("probabilities", FloatTensorType([None, 2]))]
    exported = to_onnx(model, "lab-triage", worst.shape[1], outputs)
    probability = scored(exported, worst[asked])["probabilities"][:, 1]
    np.testing.assert_allclose(probability, model.predict_proba(worst[asked])[:, 1], atol=1e-5)
    first = probability >= READ_FIRST_FROM
    (benign_later, benign_first), (malignant_later, malignant_first) = confusion_matrix(malignant[asked], first)
    known = malignant[~asked]
    blind = cross_val_predict(model, worst[~asked], known, cv=5, method="predict_proba")[:, 1]
    return exported, {
        "held_out_rows": int(asked.sum()),
        "roc_auc": roc_auc_score(malignant[asked], probability),
        "malignant_read_first": int(malignant_first),
        "malignant_left_as_routine": int(malignant_later),
        "benign_read_first": int(benign_first),
        "benign_left_as_routine": int(benign_later),
        "malignant_in_cross_validation": int(known.sum()),
        "malignant_left_as_routine_in_cross_validation": int((blind[known == 1] < READ_FIRST_FROM).sum()),
    }


LEAD_INDUSTRIES = ["Manufacturing", "Technology", "Healthcare", "Finance", "Retail", "Construction", "Energy", "Education"]
LEAD_SOURCES = ["Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Trade Show", "Other"]
LEAD_TITLES = ["CEO", "Head of Operations", "Plant Manager", "Buyer", "Engineer", "Analyst", "Student"]
CONVERTED, NOT_CONVERTED = "Closed - Converted", "Closed - Not Converted"


def lead_features(lead: dict[str, Any], tasks: int, visits: list[bool]) -> list[float]:
    """The inputs in the order of lead-scoring/flow.yaml: numbers and whether they are blank, then a column for each category."""
    numbers = [lead["AnnualRevenue"], lead["NumberOfEmployees"]]
    known = [column for value in numbers for column in (math.log1p(value or 0), float(value is None))]
    groups = [(lead["Industry"], LEAD_INDUSTRIES), (lead["LeadSource"], LEAD_SOURCES), (lead["Title"], LEAD_TITLES)]
    kinds = [float(column) for value, names in groups for column in (*(value == name for name in names), value is None)]
    return [*known, *kinds, tasks, len(visits), float(any(visits))]


def closed_leads(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The leads of a simulated org whose outcome is known: features and whether each was converted."""
    org = open_org(Options(seed=seed, leads=12_000))
    tasks, visits = Counter[str](), defaultdict[str, list[bool]](list)
    for task in org.tables["Task"].live():
        tasks[task["WhoId"]] += 1
    for visit in org.tables["Web_Visit__c"].live():
        visits[visit["Lead__c"]].append(visit["Saw_Prices__c"])
    closed = [lead for lead in org.tables["Lead"].live() if lead["Status"] in (CONVERTED, NOT_CONVERTED)]
    features = [lead_features(lead, tasks[lead["Id"]], visits[lead["Id"]]) for lead in closed]
    return np.array(features, dtype=np.float32), np.array([lead["Status"] == CONVERTED for lead in closed], dtype=np.int64)


def train_leads() -> tuple[bytes, dict[str, float]]:
    """The model of lead-scoring, and how it does on another department's leads, which it never saw."""
    known, converted = closed_leads(seed=1)
    asked, answers = closed_leads(seed=2)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(known, converted)
    outputs = [("label", Int64TensorType([None])), ("probabilities", FloatTensorType([None, 2]))]
    exported = to_onnx(model, "lead-scoring", known.shape[1], outputs)
    probability = scored(exported, asked)["probabilities"][:, 1]
    np.testing.assert_allclose(probability, model.predict_proba(asked)[:, 1], atol=1e-5)
    best = np.argsort(-probability)[: len(asked) // 5]
    return exported, {
        "held_out_rows": len(asked),
        "roc_auc": roc_auc_score(answers, probability),
        "converted": float(answers.mean()),
        "converted_in_best_fifth": float(answers[best].mean()),
    }


def train_diabetes() -> tuple[bytes, dict[str, float]]:
    """The model of diabetes, and its errors on every fourth patient of the study, whom it never saw."""
    patients = pl.read_csv(EXAMPLES / "diabetes/patients.csv", infer_schema_length=None)
    out = pl.col("patient") % HELD_OUT_PATIENT == 0
    known, asked = patients.filter(~out), patients.filter(out)
    inputs = asked.select(STUDY_INPUTS).to_numpy().astype(np.float32)
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(known.select(STUDY_INPUTS).to_numpy(), known["progression"])
    exported = to_onnx(model, "diabetes", len(STUDY_INPUTS), [("progression", FloatTensorType([None, 1]))])
    expected = scored(exported, inputs)["progression"][:, 0]
    np.testing.assert_allclose(expected, model.predict(inputs), rtol=1e-4)
    outcomes, usual = asked["progression"].to_numpy(), known["progression"].mean()
    return exported, {
        "held_out_rows": asked.height,
        "mean_absolute_error": mean_absolute_error(outcomes, expected),
        "r2": r2_score(outcomes, expected),
        "mean_absolute_error_of_the_mean": mean_absolute_error(outcomes, np.full(asked.height, usual)),
        "fast_and_said_fast": int(((outcomes >= FAST_FROM) & (expected >= FAST_FROM)).sum()),
        "fast_and_not_said": int(((outcomes >= FAST_FROM) & (expected < FAST_FROM)).sum()),
        "not_fast_and_said_fast": int(((outcomes < FAST_FROM) & (expected >= FAST_FROM)).sum()),
    }


def to_onnx(model: Any, name: str, width: int, outputs: list[tuple[str, Any]]) -> bytes:
    """The model with one float input `features` and plain tensors as outputs, the same bytes each time."""
    options = {"zipmap": False} if hasattr(model, "predict_proba") else None
    exported = convert_sklearn(
        model, name, [("features", FloatTensorType([None, width]))], target_opset=OPSETS, options=options, final_types=outputs,
        custom_conversion_functions={HistGradientBoostingRegressor: integers_only},
    )  # fmt: skip
    exported.opset_import.sort(key=lambda opset: opset.domain)  # skl2onnx leaves them in the order of a set: another one each time
    return exported.SerializeToString(deterministic=True)


def integers_only(scope: Any, operator: Any, container: Any) -> None:
    """Converts as skl2onnx 1.20 does, with its booleans among a tree's integers made integers: protobuf 7 refuses them."""
    add_node, flags = container.add_node, "nodes_missing_value_tracks_true"

    def add(op_type: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        if flags in attributes:
            attributes[flags] = [int(flag) for flag in attributes[flags]]
        add_node(op_type, inputs, outputs, **attributes)

    container.add_node = add
    get_converter("SklearnHistGradientBoostingRegressor")(scope, operator, container)


def exponential(exported: bytes, output: str) -> bytes:
    """The model with its one output exponentiated: skl2onnx exports a Poisson model without its link."""
    model = onnx.load_from_string(exported)
    last = model.graph.output[0]
    model.graph.node.append(onnx.helper.make_node("Exp", [last.name], [output], name=output))
    last.name = output
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def scored(exported: bytes, features: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of the exported model, by name."""
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, {"features": features}), strict=True))


TRAINED: dict[str, Callable[[], tuple[bytes, dict[str, float]]]] = {
    "bike-demand": train_bikes, "lab-triage": train_lab, "lead-scoring": train_leads, "diabetes": train_diabetes,
}  # fmt: skip


def main() -> None:
    """Train the models that are named, or all, write the files and print what was measured."""
    packages = {name: version(name) for name in ("scikit-learn", "skl2onnx", "onnx", "numpy")}
    entries = {entry["name"]: entry for entry in json.loads((EXAMPLES / "MODELS.json").read_text())["models"]}
    for name in sys.argv[1:] or TRAINED:
        with threadpool_limits(1):  # sums in another order would give other bytes
            exported, measured = TRAINED[name]()
        (EXAMPLES / name / "model.onnx").write_bytes(exported)
        metrics = {metric: round(value, 3) for metric, value in measured.items()}
        digest = hashlib.sha256(exported).hexdigest()
        entries[name] = {"name": name, "file": f"{name}/model.onnx", "sha256": digest, "held_out": metrics}
        print(f"{name}: {len(exported):,} bytes, {json.dumps(metrics, indent=2)}")
    (EXAMPLES / "MODELS.json").write_text(json.dumps({"trained_with": packages, "models": list(entries.values())}, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""What a new server holds: the patients of a diabetes study from a CSV file, and bundles that the user gives.

The study is that of Efron, Hastie, Johnstone and Tibshirani (2004); examples/diabetes/SOURCE.md says where its figures come from
and what was assumed. What the source gives no code or unit for keeps a local code.
"""

import csv
import gzip
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson

from fieldline_simulators.fhir.ehr import Ehr
from fieldline_simulators.fhir.outcomes import Refusal
from fieldline_simulators.fhir.parameters import TYPES
from fieldline_simulators.fhir.store import stamp

Resource = dict[str, Any]

STUDY = Path(__file__).resolve().parents[3] / "examples" / "diabetes" / "patients.csv"
LOCAL = "https://fieldline.example/diabetes-study"
GROUP_ID = "diabetes-study"
_LOINC, _UCUM = "http://loinc.org", "http://unitsofmeasure.org"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_FIRST_VISIT, _VISIT_DAYS = date(2026, 1, 5), 90

#: Column, code, words, unit, category; a code without a unit is a local one.
_MEASURES = (
    ("age", "30525-0", "Age", "a", "survey"),
    ("bmi", "39156-5", "Body mass index", "kg/m2", "vital-signs"),
    ("bp", "8478-0", "Mean blood pressure", "mm[Hg]", "vital-signs"),
    ("tc", "2093-3", "Cholesterol [Mass/volume] in serum or plasma", "mg/dL", "laboratory"),
    ("ldl", "2089-1", "Cholesterol in LDL [Mass/volume] in serum or plasma", "mg/dL", "laboratory"),
    ("hdl", "2085-9", "Cholesterol in HDL [Mass/volume] in serum or plasma", "mg/dL", "laboratory"),
    ("glu", "2345-7", "Glucose [Mass/volume] in serum or plasma", "mg/dL", "laboratory"),
    ("tch", "tch", "Total cholesterol over HDL, as the study has it", "", "laboratory"),
    ("ltg", "ltg", "Possibly the logarithm of serum triglycerides, as the study has it", "", "laboratory"),
    ("sex", "sex", "Group of the variable sex (1 or 2), as the study has it", "", "survey"),
)


def plant(ehr: Ehr) -> int:
    """Fills a new server, and says how many resources it got."""
    rows = list(csv.DictReader(STUDY.read_text().splitlines())) if STUDY.exists() else []
    resources = list(study_resources(rows[: ehr.options.patients]))
    with ehr.store.planting():
        with ehr.store.atomic():
            for resource in resources:
                ehr.store.put(resource["resourceType"], resource["id"], resource, "POST")
        loaded = load_bundles(ehr, ehr.options.bundles) if ehr.options.bundles else 0
    ehr.store.settings["seeded"] = stamp(ehr.store.newest)
    ehr.store.save_settings()
    return len(resources) + loaded


def study_resources(rows: list[dict[str, str]]) -> Iterator[Resource]:
    """A patient and ten observations for each row, and the group of them all; the same file always gives the same."""
    for row in rows:
        number = int(row["patient"])
        seen = _FIRST_VISIT + timedelta(days=number * 37 % _VISIT_DAYS)
        id = f"study-{number:03d}"
        yield _patient(id, number, seen.year - int(row["age"]))
        for measure in _MEASURES:
            yield _observation(id, measure, row[measure[0]], f"{seen}T{8 + number % 9:02d}:{number * 7 % 60:02d}:00Z")
    if rows:
        members = [{"entity": {"reference": f"Patient/study-{int(row['patient']):03d}"}} for row in rows]
        yield {
            "resourceType": "Group", "id": GROUP_ID, "type": "person", "actual": True, "name": "Diabetes study",
            "quantity": len(members), "member": members,
        }  # fmt: skip


def load_bundles(ehr: Ehr, folder: Path) -> int:
    """Stores every resource of the files in a folder, under its own id, with `urn:` and conditional references resolved."""
    if not folder.is_dir():
        raise OSError(f"{folder} is no folder")
    loaded = 0
    for path in sorted(each for each in folder.iterdir() if each.name.removesuffix(".gz").endswith((".json", ".ndjson"))):
        for document in _documents(path):
            try:
                with ehr.store.atomic():
                    loaded += _load(ehr, document)
            except Refusal as refusal:
                raise ValueError(f"{path}: {refusal}") from None
    return loaded


def _documents(path: Path) -> Iterator[Resource]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    try:
        for each in content.splitlines() if ".ndjson" in path.suffixes[-2:] else [content]:
            if each.strip():
                yield orjson.loads(each)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{path}: {error}") from None


def _load(ehr: Ehr, document: Resource) -> int:
    if document.get("resourceType") != "Bundle" or document.get("type") not in ("transaction", "batch", "collection", "searchset"):
        return _keep(ehr, document, {})
    entries = [each for each in document.get("entry", []) if isinstance(each.get("resource"), dict)]
    places = {
        each["fullUrl"]: f"{each['resource']['resourceType']}/{each['resource'].setdefault('id', ehr.store.new_id())}"
        for each in entries if each.get("fullUrl", "").startswith("urn:")
    }  # fmt: skip
    return sum(_keep(ehr, each["resource"], places) for each in entries if not _is_known(ehr, each))


def _is_known(ehr: Ehr, entry: Resource) -> bool:
    criteria = entry.get("request", {}).get("ifNoneExist")
    type = entry["resource"]["resourceType"]
    return bool(criteria) and type in TYPES and bool(ehr.searching.find(type, parse_qsl(criteria)).matches)


def _keep(ehr: Ehr, resource: Resource, places: dict[str, str]) -> int:
    type = resource.get("resourceType")
    if type not in TYPES:
        return 0
    pointed = _pointed(ehr, resource, places)
    if type == "Subscription":
        # Examples of others name endpoints of others.
        pointed["status"] = "off"
    ehr.store.put(type, resource.get("id") or ehr.store.new_id(), pointed, "POST")
    return 1


def _pointed(ehr: Ehr, node: Any, places: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_pointed(ehr, each, places) for each in node]
    if not isinstance(node, dict):
        return node
    made = {name: _pointed(ehr, value, places) for name, value in node.items()}
    reference = made.get("reference")
    if isinstance(reference, str):
        made["reference"] = places.get(reference, reference)
        type, _, criteria = reference.partition("?")
        matches = ehr.searching.find(type, parse_qsl(criteria)).matches if criteria and type in TYPES else []
        if matches:
            made["reference"] = f"{type}/{matches[0]['id']}"
    return made


def _patient(id: str, number: int, born: int) -> Resource:
    return {
        "resourceType": "Patient", "id": id, "active": True, "gender": "unknown", "birthDate": str(born),
        "identifier": [{"system": f"{LOCAL}/patient", "value": str(number)}], "name": [{"text": f"Study patient {number:03d}"}],
    }  # fmt: skip


def _observation(patient: str, measure: tuple[str, str, str, str, str], value: str, at: str) -> Resource:
    column, code, words, unit, category = measure
    number = float(value) if "." in value else int(value)
    system = _LOINC if unit else f"{LOCAL}/variable"
    quantity = {"value": number, "unit": unit, "system": _UCUM, "code": unit} if unit else None
    made: Resource = {
        "resourceType": "Observation", "id": f"{patient}-{column}", "status": "final",
        "category": [{"coding": [{"system": _CATEGORY, "code": category}]}],
        "code": {"coding": [{"system": system, "code": code, "display": words}]},
        "subject": {"reference": f"Patient/{patient}"}, "effectiveDateTime": at,
    }  # fmt: skip
    if quantity:
        return {**made, "valueQuantity": quantity}
    return {**made, "valueInteger": number} if column == "sex" else {**made, "valueQuantity": {"value": number}}

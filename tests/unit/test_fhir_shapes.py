"""What is written into charts is FHIR R4, as other people's models of it see it, and rows that would not be are set aside."""

from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import product
from typing import Any, get_args

import msgspec
import pytest
from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError
from tests.fhir_writing import CODE, FIELDS, target_of

from fieldline_connectors.fhir.shapes import Unfit, merged, patient_of, provenance_of, shaped
from fieldline_connectors.fhir.target import FhirTarget, ResourceType

TYPES: tuple[ResourceType, ...] = get_args(ResourceType)
KINDS = {"probability": 0.25, "quantity": Decimal("152.50"), "text": "high"}
VALUES = {"reason": "glucose is high", "model": "progression@3", "at": datetime(2026, 6, 1, 10, 30)}  # noqa: DTZ001
encode = msgspec.json.Encoder(decimal_format="number").encode


def operation(type: str = "auto", kind: str = "probability", **more: Any) -> FhirTarget:
    unit = {"unit": "mg/dL"} if kind == "quantity" else {}
    return target_of(resource=type, kind=kind, **unit, **more)


@pytest.mark.parametrize(("type", "kind"), sorted({*product(TYPES, KINDS)} - {("RiskAssessment", "quantity")}))
@pytest.mark.parametrize("told", [VALUES, dict.fromkeys(VALUES), {**VALUES, "at": date(2026, 6, 1)}])
def test_every_shape_is_a_resource_of_fhir(type: ResourceType, kind: str, told: dict[str, Any]) -> None:
    made = shaped(type, operation(type, kind), {**told, "prediction": KINDS[kind]}, "study-001")
    read = get_fhir_model_class(type).model_validate_json(encode(made))
    assert "study-001" in read.model_dump_json()


def test_a_provenance_is_a_resource_of_fhir() -> None:
    made = provenance_of(VALUES, "urn:fieldline:decision", "d" * 64)
    get_fhir_model_class("Provenance").model_validate_json(encode({**made, "target": [{"reference": "Observation/1"}]}))
    with pytest.raises(Unfit):
        provenance_of({**VALUES, "at": None}, "urn:fieldline:decision", "d" * 64)


def test_the_exact_decimal_goes_into_the_chart() -> None:
    made = shaped("Observation", operation(kind="quantity"), {**VALUES, "prediction": "152.50"}, "p")
    assert b'"value":152.50' in encode(made)


def test_a_template_adds_elements_and_leaves_out_what_is_blank() -> None:
    template = {"Observation": {
        "category": [{"coding": [{"system": "urn:c", "code": "survey"}]}], "interpretation": [{"text": "${band}"}],
        "note": [{"text": "${band}, says ${model}"}], "issued": "${since}", "comment": "${blank} is left out",
    }}  # fmt: skip
    more = {name: name for name in ("band", "since", "blank")}
    target = operation("Observation", fields={**FIELDS, **more}, template=template)
    values = {**VALUES, "prediction": 0.5, "band": "high", "since": datetime(2026, 1, 2, tzinfo=UTC), "blank": None}
    made = shaped("Observation", target, values, "p")
    assert made["interpretation"] == [{"text": "high"}]
    assert made["note"] == [{"text": "high, says progression@3"}]
    assert made["issued"] == "2026-01-02T00:00:00+00:00"
    assert "comment" not in made


@pytest.mark.parametrize(
    ("kind", "prediction"),
    [("probability", 1.01), ("probability", -0.1), ("probability", "high"), ("probability", True), ("probability", None),
     ("quantity", float("nan")), ("quantity", "1e999"), ("text", "  "), ("text", "a\x00b"), ("text", "x" * 200_000)],
)  # fmt: skip
def test_a_row_that_makes_no_resource_is_set_aside_without_its_value(kind: str, prediction: Any) -> None:
    with pytest.raises(Unfit) as caught:
        shaped("Observation", operation(kind=kind), {**VALUES, "prediction": prediction}, "p")
    assert str(prediction) not in str(caught.value)


def test_keys_name_patients() -> None:
    assert patient_of("Patient/study-001") == patient_of("study-001") == "study-001"
    for key in ("", "ç", "a b", "Patient/", "Group/1", "x" * 65):
        with pytest.raises(Unfit):
            patient_of(key)


def test_a_change_keeps_what_others_added_and_drops_what_is_blank_now() -> None:
    ours, theirs = {"system": "urn:us", "value": "new"}, {"system": "urn:them", "value": "1"}
    old = {"id": "1", "note": [{"text": "old"}], "identifier": [{"system": "urn:us", "value": "old"}, theirs], "issued": "x"}
    made = merged(old, {"resourceType": "Observation", "identifier": [ours]}, "urn:us")
    assert made == {"id": "1", "issued": "x", "resourceType": "Observation", "identifier": [theirs, ours]}


@pytest.mark.parametrize(
    "wrong",
    [{"fields": {"reason": "why"}}, {"resource": "RiskAssessment", "kind": "quantity"}, {"unit": "kg"}, {"patient": "who"},
     {"fields": {**FIELDS, "extra": "extra"}}, {"template": {"Observation": {"note": "${extra}"}}},
     {"template": {"Observation": {"subject": {}}}}, {"provenance": True, "fields": {"prediction": "risk"}},
     {"template": {"Patient": {}}}, {"identifier_system": "a|b"}, {"code": {**CODE, "system": ""}}],
)  # fmt: skip
def test_an_operation_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        target_of(**wrong)

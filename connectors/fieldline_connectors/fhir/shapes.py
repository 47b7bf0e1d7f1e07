"""Resources made of decisions: one shape for each type, and what must be in it before it is sent."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

from fieldline_connectors.fhir.target import PLACE, FhirTarget, ResourceType

Resource: TypeAlias = dict[str, Any]

RETIRED = "entered-in-error"
"""The status of what was written by mistake, in every type that we write."""
_UCUM = "http://unitsofmeasure.org"
_REQUIRED = {
    "RiskAssessment": ("status", "subject"), "Observation": ("status", "code"), "Flag": ("status", "code", "subject"),
    "Task": ("status", "intent"), "Communication": ("status",),
}  # fmt: skip
_OURS = (
    "note", "method", "period", "sent", "authoredOn", "effectiveDateTime", "occurrenceDateTime", "valueString", "valueQuantity",
)  # fmt: skip
"""Elements that a decision may leave blank: those of an earlier one do not stay."""
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_LONGEST_TEXT = 100_000


class Unfit(Exception):
    """A row that makes no resource; says why without any of its values."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one decision says, in FHIR's types."""

    subject: Resource
    code: Resource
    value: Decimal | str
    words: str
    reason: str | None
    model: str | None
    at: str | None

    @property
    def notes(self) -> list[Resource]:
        """The reason, for people."""
        return [{"text": self.reason}]

    @property
    def summary(self) -> str:
        """All of it in a line, for resources without places of their own for value and reason."""
        return ": ".join(filter(None, (self.code["text"], self.words, self.reason)))

    @property
    def method(self) -> Resource:
        """How it was found."""
        return {"text": self.model}


def patient_of(key: str) -> str:
    """The patient's id in a record's key, which is the id or `Patient/ID`."""
    id = key.removeprefix("Patient/")
    if not _ID.fullmatch(id):
        raise Unfit("it names no Patient: the record's key, or the field that `patient` names, is to be a FHIR id or Patient/ID")
    return id


def shaped(type: ResourceType, target: FhirTarget, values: Mapping[str, Any], patient: str) -> Resource:
    """The resource of a decision, without identifiers; raises Unfit."""
    told = _told(target, values, patient)
    own = {"resourceType": type, **_SHAPES[type](told, target)}
    made: Resource = _pruned({**own, **_filled(target.template.get(type, {}), values)}) or {}
    if lacking := [name for name in _REQUIRED[type] if name not in made]:
        raise Unfit(f"the {type} has no {lacking[0]}, which FHIR requires")
    return made


def filled(template: Resource, values: Mapping[str, Any]) -> Resource:
    """The template with the values of its fields, without what is blank; raises Unfit."""
    return _pruned(_filled(template, values)) or {}


def merged(found: Resource, made: Resource, system: str) -> Resource:
    """What is there with our elements in it, and our identifiers in place of the earlier ones."""
    others = [each for each in found.get("identifier", []) if each.get("system") != system]
    kept = {name: value for name, value in found.items() if name not in _OURS}
    return {**kept, **made, "identifier": [*others, *made["identifier"]]}


def provenance_of(values: Mapping[str, Any], system: str, decision: str) -> Resource:
    """When and by whom a decision was made, without its target; raises Unfit."""
    at = moment(values["at"])
    if at is None:
        raise Unfit("a Provenance needs the time of the decision: the field `at` is blank")
    return {
        "resourceType": "Provenance", "recorded": at if "T" in at else f"{at}T00:00:00Z",
        "agent": [{"who": {"display": _text(values.get("model")) or "Fieldline"}}],
        "entity": [{"role": "source", "what": {"identifier": {"system": system, "value": decision}}}],
    }  # fmt: skip


def _told(target: FhirTarget, values: Mapping[str, Any], patient: str) -> Told:
    coding = target.code.model_dump()
    value, words = _prediction(target, values["prediction"])
    return Told(
        {"reference": f"Patient/{patient}"}, {"coding": [coding], "text": target.code.display}, value, words,
        _text(values.get("reason")), _text(values.get("model")), moment(values.get("at")),
    )  # fmt: skip


def _prediction(target: FhirTarget, value: Any) -> tuple[Decimal | str, str]:
    if value is None or value == "":
        raise Unfit("the prediction is blank")
    if target.kind == "text":
        words = _text(value)
        if words is None:
            raise Unfit("the prediction is blank")
        return words, words
    number = _number(value)
    if target.kind == "quantity":
        return number, f"{number} {target.unit or ''}".strip()
    if not 0 <= number <= 1:
        raise Unfit("the prediction is no probability between 0 and 1: see `kind`")
    return number, f"{float(number * 100):.3g} %"


def _number(value: Any) -> Decimal:
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        found = Decimal("NaN")
    if isinstance(value, bool) or not found.is_finite() or not math.isfinite(float(found)):
        raise Unfit("the prediction is no number: see `kind`")
    return found


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value).strip()
    if _CONTROL.search(text) or len(text) > _LONGEST_TEXT:
        raise Unfit("a text is too long for FHIR or holds control characters")
    return text or None


def moment(value: Any) -> str | None:
    """A time as FHIR writes it; times of the mapping are in UTC."""
    if isinstance(value, datetime):
        return f"{value.isoformat()}Z" if value.tzinfo is None else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if value is None:
        return None
    raise Unfit("`at` is no date or time")


def _filled(node: Any, values: Mapping[str, Any]) -> Any:
    """A template with the values of its fields; a text that names a blank field is left out."""
    if isinstance(node, dict):
        return {name: _filled(each, values) for name, each in node.items()}
    if isinstance(node, list):
        return [_filled(each, values) for each in node]
    if not isinstance(node, str):
        return node
    whole = PLACE.fullmatch(node)
    if whole:
        value = values[whole[1]]
        return moment(value) if isinstance(value, date) else value if isinstance(value, bool | int | float) else _text(value)
    if any(values[name] is None for name in PLACE.findall(node)):
        return None
    return PLACE.sub(lambda found: _text(_filled(found[0], values)) or "", node)


def _pruned(node: Any) -> Any:
    """The same without what is empty, which FHIR does not allow; None where nothing is left."""
    if isinstance(node, dict):
        return {name: kept for name, each in node.items() if (kept := _pruned(each)) is not None} or None
    if isinstance(node, list):
        return [kept for each in node if (kept := _pruned(each)) is not None] or None
    return None if node == "" else node


def _quantity(told: Told, target: FhirTarget) -> Resource:
    if target.kind == "quantity" and target.unit is None:
        return {"value": told.value}
    unit = target.unit or "1"
    return {"value": told.value, "unit": unit, "system": _UCUM, "code": unit}


def _risk_assessment(told: Told, target: FhirTarget) -> Resource:
    risk = {"probabilityDecimal": told.value} if target.kind == "probability" else {"qualitativeRisk": {"text": told.value}}
    return {
        "status": "final", "code": told.code, "subject": told.subject, "occurrenceDateTime": told.at, "method": told.method,
        "prediction": [{"outcome": told.code, **risk, "rationale": told.reason}],
    }  # fmt: skip


def _observation(told: Told, target: FhirTarget) -> Resource:
    value = {"valueString": told.value} if target.kind == "text" else {"valueQuantity": _quantity(told, target)}
    return {
        "status": "final", "code": told.code, "subject": told.subject, "effectiveDateTime": told.at, **value,
        "method": told.method, "note": told.notes,
    }  # fmt: skip


def _flag(told: Told, target: FhirTarget) -> Resource:
    code = {**told.code, "text": told.summary}
    return {"status": "active", "code": code, "subject": told.subject, "period": {"start": told.at}}


def _task(told: Told, target: FhirTarget) -> Resource:
    return {
        "status": "requested", "intent": "proposal", "code": told.code, "for": told.subject, "authoredOn": told.at,
        "description": told.summary, "note": [{"text": told.model}],
    }  # fmt: skip


def _communication(told: Told, target: FhirTarget) -> Resource:
    return {
        "status": "completed", "topic": told.code, "subject": told.subject, "sent": told.at,
        "payload": [{"contentString": told.summary}], "note": [{"text": told.model}],
    }  # fmt: skip


_SHAPES: Mapping[str, Callable[[Told, FhirTarget], Resource]] = {
    "RiskAssessment": _risk_assessment, "Observation": _observation, "Flag": _flag, "Task": _task,
    "Communication": _communication,
}  # fmt: skip

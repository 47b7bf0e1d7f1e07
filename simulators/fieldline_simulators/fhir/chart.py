"""What the patients' page shows: who there is, and what was written about them since the server began."""

from typing import Any

from fieldline_simulators.fhir.ehr import Ehr
from fieldline_simulators.fhir.store import stamp
from fieldline_simulators.fhir.values import at, local_reference, plain, strings

Resource = dict[str, Any]

WRITTEN = ("RiskAssessment", "Observation", "Flag", "Task", "Communication", "DocumentReference")
_MOST_SHOWN, _MOST_EACH = 100, 5


def chart(ehr: Ehr, search: str = "") -> dict[str, Any]:
    """Patients whose name or id has this text, those with the newest answers first."""
    with ehr.store.lock:
        written = _written(ehr)
        patients = [each for each in ehr.store.all("Patient") if _fits(each, plain(search))]
        newest = sorted(patients, key=lambda each: _latest(written.get(each["id"], [])), reverse=True)
        shown = [_row(each, written.get(each["id"], [])) for each in newest[:_MOST_SHOWN]]
        return {"total": len(patients), "latest": stamp(ehr.store.newest), "profile": ehr.profile.name, "patients": shown}


def _written(ehr: Ehr) -> dict[str, list[Resource]]:
    """What was written about each patient after the records that the server began with."""
    since = ehr.store.settings.get("seeded", "")
    found: dict[str, list[Resource]] = {}
    for type in WRITTEN:
        for each in ehr.store.all(type):
            subject = local_reference(each.get("for" if type == "Task" else "subject")) or ""
            if subject.startswith("Patient/") and each["meta"]["lastUpdated"] > since:
                found.setdefault(subject.removeprefix("Patient/"), []).append(each)
    return found


def _row(patient: Resource, written: list[Resource]) -> dict[str, Any]:
    names = [_full_name(each) for each in at(patient, "name")]
    newest = sorted(written, key=lambda each: str(each["meta"]["lastUpdated"]), reverse=True)
    return {
        "id": patient["id"], "name": next((each for each in names if each), patient["id"]), "birthDate": patient.get("birthDate"),
        "gender": patient.get("gender"), "more": max(len(newest) - _MOST_EACH, 0),
        "written": [_line(each) for each in newest[:_MOST_EACH]],
    }  # fmt: skip


def _full_name(name: Resource) -> str:
    return " ".join(map(str, [*at(name, "given"), *at(name, "family")])) or " ".join(map(str, at(name, "text")))


def _line(resource: Resource) -> dict[str, Any]:
    meta = resource["meta"]
    return {
        "type": resource["resourceType"], "id": resource["id"], "version": meta["versionId"], "when": meta["lastUpdated"],
        "what": "; ".join(each for each in _words(resource) if each),
    }  # fmt: skip


def _words(resource: Resource) -> list[str]:
    told = [_concept(resource.get("code")), _value(resource)]
    for each in at(resource, "prediction"):
        chance = at(each, "probabilityDecimal")
        told += [*map(_concept, at(each, "outcome")), *map(_concept, at(each, "qualitativeRisk")), *map(str, chance)]
        told += map(str, at(each, "rationale"))
    return told + [str(each) for path in ("description", "note.text", "payload.contentString") for each in at(resource, path)]


def _value(resource: Resource) -> str:
    quantity = resource.get("valueQuantity")
    if isinstance(quantity, dict) and "value" in quantity:
        return f"{quantity['value']} {quantity.get('unit', quantity.get('code', ''))}".strip()
    return str(resource.get("valueString", "")) or _concept(resource.get("valueCodeableConcept"))


def _concept(concept: Any) -> str:
    if not isinstance(concept, dict):
        return ""
    said = [*at(concept, "text"), *at(concept, "coding.display"), *at(concept, "coding.code")]
    return str(said[0]) if said else ""


def _fits(patient: Resource, wanted: str) -> bool:
    return not wanted or wanted in plain(patient["id"]) or any(wanted in plain(each) for each in strings(patient.get("name", [])))


def _latest(written: list[Resource]) -> str:
    return max((str(each["meta"]["lastUpdated"]) for each in written), default="")

"""AuditEvent resources of FHIR R4, after the patterns of IHE's Basic Audit Log Patterns (BALP 1.1.3)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

BALP = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_TERMS = "http://terminology.hl7.org/CodeSystem/"
_REST = (_TERMS + "audit-event-type", "rest", "Restful Operation")
_INTERACTION = "http://hl7.org/fhir/restful-interaction"
_UNKNOWN = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}
_SOURCE, _DESTINATION = (_DICOM, "110153", "Source Role ID"), (_DICOM, "110152", "Destination Role ID")
_URI = "5"
Code = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Pattern:
    """How one sort of act is told: its codes, and who plays which part in it."""

    profile: str
    """The profile's name behind `Patient`; of an export the whole of it."""
    action: str
    type: Code
    subtype: Code
    ours: Code
    """The part that Fieldline plays."""
    theirs: Code
    """The part of the other system, or of the program through which a person asked."""
    person: str
    """The participation of the person who asked."""

    def url(self, *, patient: bool) -> str:
        """The profile's address; empty where none fits."""
        if self.type[0] == _DICOM:
            return BALP + self.profile if patient else ""
        return f"{BALP}{'Patient' if patient else ''}{self.profile}"


READ = Pattern("Read", "R", _REST, (_INTERACTION, "read", "read"), _DESTINATION, _SOURCE, "IRCP")
VIEW = Pattern("Read", "R", _REST, (_INTERACTION, "read", "read"), _SOURCE, _DESTINATION, "IRCP")
UPDATE = Pattern("Update", "U", _REST, (_INTERACTION, "update", "update"), _SOURCE, _DESTINATION, "AUT")
DELETE = Pattern(
    "Delete", "D", _REST, (_INTERACTION, "delete", "delete"),
    (_TERMS + "provenance-participant-type", "custodian", "Custodian"), (_DICOM, "110150", "Application"), "CST",
)  # fmt: skip
EXPORT = Pattern(
    "PrivacyDisclosure.Source", "R", (_DICOM, "110106", "Export"),
    (_TERMS + "iso-21089-lifecycle", "disclose", "Disclose Record Lifecycle Event"), _SOURCE, _DESTINATION, "IRCP",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Happening:
    """What one resource tells."""

    pattern: Pattern
    log: str
    position: int
    event_id: int
    leaf: int
    """The row's place in its batch; 0 where there is none."""
    at: datetime
    data: str
    """What was read, written, shown or removed, as an identifier."""
    other: str
    """The other system, or the program through which a person asked."""
    address: str = ""
    person: str = ""
    patient: tuple[str, str] | None = None
    """The system and the value of the patient's identifier."""
    outcome: str = "0"
    """`0` success, `4` a failure; empty where that is not known."""
    outcome_text: str = ""


def audit_event(told: Happening) -> dict[str, Any]:
    """The resource; it claims a profile only where the act succeeded, as those are for successes."""
    pattern, observer = told.pattern, _identified("urn:fieldline:log", told.log, "Fieldline")
    profile = pattern.url(patient=told.patient is not None) if told.outcome == "0" else ""
    site = f"{told.event_id}-{told.leaf}" if told.leaf else str(told.event_id)
    resource = {
        "resourceType": "AuditEvent", "id": f"fieldline-{site}", "meta": {"profile": [profile]} if profile else None,
        "type": _coding(pattern.type), "subtype": [_coding(pattern.subtype)], "action": pattern.action,
        "recorded": told.at.isoformat(), "outcome": told.outcome, "outcomeDesc": told.outcome_text,
        "agent": list(_agents(told, observer)),
        "source": {
            "site": told.log, "observer": observer, "type": [_coding((_TERMS + "security-source-type", "4", "Application Server"))],
        },
        "entity": list(_entities(told)),
    }  # fmt: skip
    return {name: value for name, value in resource.items() if value}


def _agents(told: Happening, observer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    pattern = told.pattern
    yield {"type": _concept(pattern.ours), "who": observer, "requestor": not told.person, "network": _UNKNOWN}
    network = {"address": told.address, "type": _URI} if "://" in told.address else _UNKNOWN
    who = _identified("urn:fieldline:system", told.other, told.other)
    yield {"type": _concept(pattern.theirs), "who": who, "requestor": False, "network": network}
    if told.person:
        participation = _concept((_TERMS + "v3-ParticipationType", pattern.person, ""))
        yield {"type": participation, "who": _identified("urn:fieldline:actor", told.person, told.person), "requestor": True}


def _entities(told: Happening) -> Iterator[dict[str, Any]]:
    if told.patient is not None:
        system, value = told.patient
        what = {"type": "Patient", "identifier": {"system": system, "value": value}}
        yield {"what": what, "type": _entity_type("1", "Person"), "role": _role("1", "Patient")}
    data = {"identifier": {"system": "urn:fieldline:data", "value": told.data}}
    yield {"what": data, "type": _entity_type("2", "System Object"), "role": _role("4", "Domain Resource")}
    place = {"identifier": {"system": f"urn:fieldline:log:{told.log}", "value": str(told.position)}}
    detail = [{"type": "event_id", "valueString": str(told.event_id)}, {"type": "leaf", "valueString": str(told.leaf)}]
    yield {"what": place, "type": _entity_type("4", "Other"), "detail": detail}


def _coding(code: Code) -> dict[str, str]:
    system, value, display = code
    return {"system": system, "code": value} | ({"display": display} if display else {})


def _concept(code: Code) -> dict[str, Any]:
    return {"coding": [_coding(code)]}


def _entity_type(code: str, display: str) -> dict[str, str]:
    return _coding((_TERMS + "audit-entity-type", code, display))


def _role(code: str, display: str) -> dict[str, str]:
    return _coding((_TERMS + "object-role", code, display))


def _identified(system: str, value: str, display: str) -> dict[str, Any]:
    return {"identifier": {"system": system, "value": value}, "display": display}

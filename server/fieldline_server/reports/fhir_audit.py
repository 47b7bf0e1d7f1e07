"""AuditEvent resources for whatever touched a patient's record."""

from collections.abc import Iterator, Mapping
from typing import Any

from fieldline_core.receipts import Outcome
from fieldline_server.reports.fhir_resources import DELETE, EXPORT, READ, UPDATE, VIEW, Happening, Pattern, audit_event
from fieldline_server.reports.reading import Reader, Touch
from fieldline_server.reports.shape import Entry, Kind, Row

KEY, KEY_HASH = "urn:fieldline:record-key", "urn:fieldline:record-hash"
_PEOPLE: Mapping[str, Pattern] = {
    "backtest.viewed": VIEW, "dead_letter.viewed": VIEW, "decision.rerun": VIEW, "decision.viewed": VIEW, "preview.viewed": VIEW,
    "samples.viewed": VIEW, "evidence.exported": EXPORT, "features.exported": EXPORT, "report.made": EXPORT,
    "record.erased": DELETE,
}  # fmt: skip
_EVENTS = ("decisions.recorded", "receipts.recorded", *_PEOPLE)
_OUTCOMES = {Outcome.WRITTEN: "0", Outcome.UNCHANGED: "0", Outcome.UNKNOWN: ""}


def rows(reader: Reader) -> Iterator[Row]:
    """A resource for each record of each entry; for each entry that says no more than a flow, one without a patient."""
    for touch in reader.touched(_EVENTS):
        if touch.entry.event == "decisions.recorded":
            yield from _decisions(reader, touch)
        elif touch.entry.event == "receipts.recorded":
            yield from _receipts(reader, touch)
        else:
            yield from _person(reader, touch.entry)


def _decisions(reader: Reader, touch: Touch) -> Iterator[Row]:
    if touch.envelope is None:
        return
    header = touch.envelope.header
    release = reader.release(header["release"])
    flow = release.flow if release else None
    name = (flow.source.connection if flow.source else flow.trigger.webhook or "") if flow else ""
    system = reader.system(name) if name else None
    asked = reader.one("reports.asked_by", chunk=header["chunk"])
    person = str(asked["requested_by"]) if asked and ":" in asked["requested_by"] else ""
    for leaf, line in touch.lines():
        if line is None:
            continue
        held = line.get("held") or {}
        text = f"held back: {held['stage']}" if held.get("stage") else "decided"
        yield _row(reader, READ, touch.entry, leaf, f"decision of {header['flow']}", other=name or "unknown", person=person,
                   address=system.address if system else "", patient=(KEY, line["key"]), outcome_text=text)  # fmt: skip


def _receipts(reader: Reader, touch: Touch) -> Iterator[Row]:
    if touch.envelope is None:
        return
    header = touch.envelope.header
    system = reader.system(header["target"])
    for leaf, line in touch.lines():
        if line is None:
            continue
        outcome = Outcome(line["outcome"])
        text = f"{outcome}: {line['reason']}" if line.get("reason") else str(outcome)
        yield _row(reader, UPDATE, touch.entry, leaf, f"{header['write']} of {header['flow']}", other=system.name,
                   address=system.address, patient=(KEY, line["key"]), outcome=_OUTCOMES.get(outcome, "4"),
                   outcome_text=text)  # fmt: skip


def _person(reader: Reader, entry: Entry) -> Iterator[Row]:
    detail = entry.detail
    about = next((f"{name} {detail[name]}" for name in ("kind", "flow", "connection", "dead_letter") if detail.get(name)), "record")
    program = "command line" if entry.actor.startswith("cli:") else "API" if entry.actor.startswith("key:") else entry.actor
    for number, patient in enumerate(_patients(reader, entry)):
        yield _row(reader, _PEOPLE[entry.event], entry, number, f"{entry.event} {about}", other=program, person=entry.actor,
                   patient=patient, outcome_text=str(detail.get("why", "")))  # fmt: skip


def _patients(reader: Reader, entry: Entry) -> list[tuple[str, str] | None]:
    if reader.question.key is not None:
        return [(KEY, reader.question.key)]
    hashes = entry.detail.get("key_hashes") or filter(None, [entry.detail.get("key_hash")])
    return [(KEY_HASH, each) for each in hashes] or [None]


def _row(reader: Reader, pattern: Pattern, entry: Entry, leaf: int, data: str, **told: Any) -> Row:
    resource = audit_event(Happening(pattern, reader.log, entry.position, entry.event_id, leaf, entry.at, data, **told))
    patient = told["patient"]
    values = {
        "recorded": resource["recorded"], "action": resource["action"], "data": data, "system": told["other"],
        "person": told.get("person", ""), "patient": patient[1] if patient else "", "outcome": resource.get("outcome", ""),
        "outcome_text": resource.get("outcomeDesc", ""), "profile": resource.get("meta", {"profile": [""]})["profile"][0],
    }  # fmt: skip
    return Row(entry, values, resource)


KIND = Kind(
    name="fhir-audit-events",
    title="Audit events on patients' records",
    basis="FHIR R4 AuditEvent; IHE ITI Basic Audit Log Patterns (BALP) 1.1.3; 45 CFR 164.312(b)",
    produces="Produces the records for an audit record repository: an AuditEvent for each record that an entry of the log touched.",
    limits=(
        "The profiles of BALP describe RESTful interactions; reads and writes of other systems are told by the same patterns.",
        "A patient is identified by the record's key, or where the log holds no more, by its keyed hash; neither is an id in FHIR.",
        "Network addresses that the log does not hold are marked as unknown, and a target's address is that of its connection now.",
        "A write that did not succeed claims no profile, as the profiles are for successes. Erased rows give no resource.",
    ),
    columns={
        "recorded": "when", "action": "R read, U update, D delete", "data": "what was touched", "system": "the other system",
        "person": "who asked, where that is known", "patient": "the record's key, or its keyed hash",
        "outcome": "0 success, 4 failure, empty: unknown", "outcome_text": "the outcome in words", "profile": "the BALP profile",
    },
    rows=rows,
    takes=frozenset({"key", "flow", "since", "until"}),
    resources=True,
)  # fmt: skip

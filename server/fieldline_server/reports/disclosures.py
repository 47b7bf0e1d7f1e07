"""Disclosures of one record: what was sent to which system, and what was exported."""

from collections.abc import Iterator

from fieldline_core.receipts import Outcome
from fieldline_server.reports.reading import Reader, Touch
from fieldline_server.reports.shape import Kind, Row

_SENT = {Outcome.WRITTEN, Outcome.UNCHANGED, Outcome.REFUSED, Outcome.UNKNOWN}
"""Of the others nothing was sent."""


def rows(reader: Reader) -> Iterator[Row]:
    """A row for each time that something of the record was sent to a system or put into a file."""
    for touch in reader.touched(("receipts.recorded", "evidence.exported", "report.made")):
        if touch.envelope is not None:
            yield from _sent(reader, touch)
        else:
            yield _exported(touch)


def _sent(reader: Reader, touch: Touch) -> Iterator[Row]:
    assert touch.envelope is not None
    header = touch.envelope.header
    release = reader.release(header["release"])
    step = next((write for write in release.flow.writes if write.name == header["write"]), None) if release else None
    fields = ", ".join(step.target.get("fields") or {}) if step else ""
    sent = "the record's key and values put back into the fields" if "undo" in header else "the record's key and the fields"
    model = ", ".join(f"{pin.name}@{pin.version}" for pin in release.models) if release else "unknown"
    system = reader.system(header["target"])
    for _, line in touch.lines():
        if line is None or Outcome(line["outcome"]) not in _SENT:
            continue
        yield Row(touch.entry, {
            "date": touch.entry.at.isoformat(), "recipient": system.name, "address": system.address,
            "description": f"{sent} {fields or '(not known any more)'}",
            "purpose": f"answer of the flow {header['flow']}, step {header['write']}, by the model {model}",
            "outcome": line["outcome"],
        })  # fmt: skip


def _exported(touch: Touch) -> Row:
    entry = touch.entry
    made = f"report {entry.detail.get('kind', '')}" if entry.event == "report.made" else "evidence of all decisions, with values"
    said = {"date": entry.at.isoformat(), "recipient": entry.actor, "description": made, "outcome": "exported"}
    return Row(entry, said)


KIND = Kind(
    name="disclosures",
    title="Accounting of disclosures",
    basis="HIPAA, 45 CFR 164.528",
    produces="Produces the records for an accounting of one person's disclosures: date, recipient, description, purpose.",
    limits=(
        "It lists all that Fieldline sent or exported. Which of it needs no accounting (treatment, payment, health care "
        "operations, what the person authorised: 164.528(a)(1)) is for the covered entity to say; Fieldline does not know.",
        "Purpose is what the flow does; the statement that the rule asks for is the covered entity's to complete.",
        "An address is that of the connection now. Of an export only who made it is known, and not whom they gave it "
        "to; exports and reports of a range, a flow or a period name no record, and are not in it: see 'fieldline audit list'.",
        "Disclosures are not grouped (164.528(b)(3)), and those of other systems are not in it. What was erased is not listed any "
        "more; the erasure is, in the report fhir-audit-events.",
    ),
    columns={
        "date": "when it was sent or exported", "recipient": "the system, or who exported it", "address": "where that is, if known",
        "description": "what was sent", "purpose": "what it was sent for",
        "outcome": "what the system answered; unknown: it may have got it",
    },
    rows=rows,
    takes=frozenset({"key", "flow", "since", "until"}),
    needs=frozenset({"key"}),
    days=2192,
)  # fmt: skip

"""What is held of one record: why, from where, to whom, for how long, and by what logic."""

from collections.abc import Iterator
from typing import Any

from fieldline_core.flow import FLOOR_DAYS, Flow, Release
from fieldline_core.pipeline.dead import dead_letter_json
from fieldline_server.reports.reading import Reader, Touch
from fieldline_server.reports.shape import Entry, Kind, Row
from fieldline_server.usage import entity_of

_EVENTS = (
    "decisions.recorded", "receipts.recorded", "dead_letter.viewed", "decision.rerun", "decision.viewed", "evidence.exported",
    "hold.placed", "hold.released", "record.erased", "report.made", "undo.previewed", "undo.requested",
)  # fmt: skip
_PARTS = ("source", "features", "outputs", "fields", "held")


def rows(reader: Reader) -> Iterator[Row]:
    """A row for each thing that is held; the logic of a release once, before its first decision."""
    told: set[str] = set()
    for touch in reader.touched(_EVENTS):
        if touch.envelope is None:
            data = _act(touch.entry)
            yield _row(touch.entry, touch.entry.at.isoformat(), "what people did with the record", data=data, kept="for good")
        elif touch.entry.event == "receipts.recorded":
            yield from _receipts(reader, touch)
        else:
            yield from _decisions(reader, touch, told)
    yield from _letters(reader)
    yield from _messages(reader)


def _decisions(reader: Reader, touch: Touch, told: set[str]) -> Iterator[Row]:
    assert touch.envelope is not None
    header = touch.envelope.header
    release = reader.release(header["release"])
    if release is not None and release.digest not in told:
        told.add(release.digest)
        yield _logic(reader, release, touch.entry)
    for _, line in touch.lines():
        data = {part: line[part] for part in _PARTS if line and line.get(part)}
        yield _row(
            touch.entry, touch.entry.at.isoformat(), "decision", header["flow"], data,
            source=source_of(reader, release.flow) if release else "",
            recipient=", ".join(sorted({write.connection for write in release.flow.writes})) if release else "",
            kept=kept(release.flow) if release else "", release=header["release"],
        )  # fmt: skip


def _logic(reader: Reader, release: Release, entry: Entry) -> Row:
    row = reader.one("flows.document_by_digest", kind="mapping", digest=release.mapping_digest)
    mapping = row["body"] if row else {}
    models = [f"{pin.name}@{pin.version} {pin.digest}" for pin in release.models]
    data = {"models": models, **{part: mapping.get(part) for part in ("features", "fields", "timezone")}}
    published = reader.released(release.digest) or entry
    return _row(published, published.at.isoformat(), "logic", release.flow.flow, data, kept="for good", release=release.digest)


def _receipts(reader: Reader, touch: Touch) -> Iterator[Row]:
    assert touch.envelope is not None
    header = touch.envelope.header
    release, system = reader.release(header["release"]), reader.system(header["target"])
    for _, line in touch.lines():
        data = {part: line[part] for part in ("outcome", "reason", "before", "fields") if line and line.get(part)}
        yield _row(
            touch.entry, touch.entry.at.isoformat(), "answer of a system that was written to", header["flow"], data,
            recipient=" ".join(filter(None, (system.name, system.address))), kept=kept(release.flow) if release else "",
            release=header["release"],
        )  # fmt: skip


def _letters(reader: Reader) -> Iterator[Row]:
    days = reader.engine.settings.retain_days
    for letter in reader.of_record("reports.letters"):
        said = {name: letter[name] for name in ("stage", "state", "reason")}
        data = said | dead_letter_json(reader.engine, letter)
        at = letter["created_at"].isoformat()
        yield _row(None, at, "record that was set aside", letter["flow"], data, kept=f"until somebody acts, then {days} days")


def _messages(reader: Reader) -> Iterator[Row]:
    days = reader.engine.settings.retain_inbox_days
    for message in reader.of_record("reports.messages"):
        text = reader.engine.keyring.open(message["body"], "inbox").decode(errors="replace")
        at = message["received_at"].isoformat()
        yield _row(None, at, "message", message["flow"], {"body": text}, source=message["sender"], kept=f"{days} days")


def _act(entry: Entry) -> dict[str, Any]:
    said = {name: entry.detail[name] for name in ("why", "kind") if entry.detail.get(name)}
    return {"event": entry.event, "actor": entry.actor, **said}


def _row(entry: Entry | None, at: str, what: str, flow: str = "", data: Any = None, *, source: str = "", recipient: str = "",
         kept: str = "", release: str = "") -> Row:  # fmt: skip
    purpose = f"decisions of the flow {flow}" if flow else "accountability"
    return Row(entry, {"at": at, "what": what, "purpose": purpose, "data": data, "source": source, "recipient": recipient,
                       "kept": kept, "release": release})  # fmt: skip


def source_of(reader: Reader, flow: Flow) -> str:
    """Where a flow's records come from, in words."""
    places = [(flow.source.connection, flow.source.query)] if flow.source else [(flow.trigger.webhook or "", {})]
    places += [(lookup.connection, lookup.query) for lookup in flow.lookups]
    return ", ".join(" ".join(filter(None, (reader.system(name).name, entity_of(query)))) for name, query in places)


def kept(flow: Flow) -> str:
    """How long a flow's decisions are kept, in words."""
    name = flow.retention.class_
    days = f"at least {FLOOR_DAYS[name]} days" if FLOOR_DAYS[name] else "no least time"
    return f"{days} (class {name}), until they are erased by hand"


KIND = Kind(
    name="data-subject",
    title="What is held of one record",
    basis="GDPR, Article 15(1) and (3)",
    produces="Produces the records for an answer to a request for access: what, why, from where, to whom, how long, what logic.",
    limits=(
        "It holds what Fieldline keeps of the key that was asked for, and nothing of the systems around it, nor of the same person "
        "under other keys; what was read and waits for its decision at this moment is not in it.",
        "The purpose and the legal basis are the controller's: Fieldline names the flow. The rights to rectification, erasure, "
        "objection and complaint (15(1)(e) and (f)), and safeguards of transfers (15(2)), are the controller's to add.",
        "Rights of others (15(4)): read it before it is given away. It names operators and systems.",
        "The logic is formulas, fields and the model's digest as they were; what they mean for the person the controller explains.",
    ),
    columns={
        "at": "since when it is held", "what": "what it is", "purpose": "why it is held", "data": "the data",
        "source": "where it came from", "recipient": "for whom it is, or to whom it was sent",
        "kept": "how long", "release": "by which release",
    },
    rows=rows,
    takes=frozenset({"key", "since", "until"}),
    needs=frozenset({"key"}),
)  # fmt: skip

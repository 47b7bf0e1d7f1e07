"""The log of a system's use: each decision with its input, output and model, and each act of a person on the flow."""

from collections.abc import Iterator
from typing import Any

from fieldline_server.reports.reading import Reader, Touch
from fieldline_server.reports.shape import Entry, Kind, Row

_ACTS = (
    "chunk.buried", "config.published", "dead_letters.discarded", "dead_letters.replayed", "decision.rerun", "decision.viewed",
    "flow.paused", "flow.resumed", "model.alias_moved", "model.imported", "record.erased", "run.cancelled", "run.requested",
    "run.skipped", "score.requested", "undo.previewed", "undo.requested", "writes.paused", "writes.resumed",
)  # fmt: skip
_ABOUT = ("reason", "why", "model", "alias", "kind", "name", "release", "run", "count", "key_hash")


def rows(reader: Reader) -> Iterator[Row]:
    """A row for each decision and each act, in the order of the log."""
    for touch in reader.touched(("decisions.recorded", *_ACTS)):
        if touch.envelope is not None:
            yield from _decisions(reader, touch)
        elif touch.entry.event != "decisions.recorded":
            yield _act(touch.entry)


def _decisions(reader: Reader, touch: Touch) -> Iterator[Row]:
    assert touch.envelope is not None
    header = touch.envelope.header
    released = reader.released(header["release"])
    asked = reader.one("reports.asked_by", chunk=header["chunk"])
    same: dict[str, Any] = {
        "what": "decision", "flow": header["flow"], "clock": header["clock"], "recorded": touch.entry.at.isoformat(),
        "model": ", ".join(f"{each['name']}@{each['version']} {each['digest']}" for each in header["models"]),
        "release": header["release"], "mapping": header["mapping"], "runtime": dict(header["runtime"]),
        "who": str(asked["requested_by"]) if asked else "", "overseer": released.actor if released else "",
    }  # fmt: skip
    for leaf, line in touch.lines():
        place = f"{touch.entry.event_id}/{leaf}"
        if line is None:
            yield Row(touch.entry, {**same, "what": "decision, erased", "input": place})
            continue
        held = line.get("held") or {}
        yield Row(touch.entry, {
            **same, "input": f"{place} {line['key']}", "output": line.get("outputs"), "fields": line.get("fields"),
            "held": f"{held['stage']}: {held['reason']}" if held.get("stage") else "",
        })  # fmt: skip


def _act(entry: Entry) -> Row:
    about = {name: entry.detail[name] for name in _ABOUT if entry.detail.get(name) not in (None, "")}
    return Row(entry, {
        "what": entry.event, "flow": entry.detail.get("flow"), "recorded": entry.at.isoformat(), "who": entry.actor,
        "output": about or None, "overseer": entry.actor if ":" in entry.actor else None,
    })  # fmt: skip


KIND = Kind(
    name="ai-act-log",
    title="Log of the use of an AI system",
    basis="Regulation (EU) 2024/1689 (AI Act), Articles 12, 19 and 26(6)",
    produces="Produces the records for the logging of a system's use: when, on what input, by which model, and with what output.",
    limits=(
        "Whether a system is of high risk, and who oversees it, is for provider and deployer to say: Fieldline knows no person in "
        "that office. As overseer it names who published the release that decided, or who acted.",
        "An input is a reference (event, row and record's key): its values are in the evidence, see 'fieldline audit export'.",
        "Who asked for a run is known while the run is kept (FIELDLINE_RETAIN_DAYS); after that the entry run.requested has it.",
        "With a flow, acts that name no flow (a model's alias, all write-backs) are left out: leave the flow out to see them.",
    ),
    columns={
        "what": "decision, or the act of a person or of the engine", "flow": "the flow",
        "clock": "the moment that it was made as of",
        "recorded": "when it was stored", "who": "who asked for it, where known", "input": "event/row, and the record's key",
        "output": "what the model gave; of an act what it was about", "fields": "what was decided",
        "held": "why nothing was decided",
        "model": "name@version and digest", "release": "digest of flow, mapping and model", "mapping": "digest of the mapping",
        "runtime": "what computed it", "overseer": "who published the release, or who acted",
    },
    rows=rows,
    takes=frozenset({"key", "flow", "since", "until"}),
)  # fmt: skip

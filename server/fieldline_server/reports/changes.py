"""What was changed in configuration, models and keys: who, when, from what to what, and why."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fieldline_server.reports.reading import Reader
from fieldline_server.reports.shape import Entry, Kind, Row

Sides = tuple[Any, Any]
"""What was before, and what is after."""
_ABSENT = object()


def rows(reader: Reader) -> Iterator[Row]:
    """A row for each change, in the order of the log."""
    for entry in reader.entries(tuple(_CHANGES)):
        what, before, after = _change(reader, entry)
        why = entry.detail.get("why") or entry.detail.get("reason") or ""
        yield Row(entry, {"at": entry.at.isoformat(), "who": entry.actor, "event": entry.event, "what": what, "before": before,
                          "after": after, "why": why})  # fmt: skip


def differences(before: Any, after: Any) -> Sides:
    """The values by their path that differ between two documents, on each side; what is on one side only is null on the other."""
    old, new = dict(_leaves(before, "")), dict(_leaves(after, ""))
    paths = [path for path in {**old, **new} if old.get(path, _ABSENT) != new.get(path, _ABSENT)]
    return {path: old.get(path) for path in paths}, {path: new.get(path) for path in paths}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            yield from _leaves(part, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and value:
        for number, part in enumerate(value):
            yield from _leaves(part, f"{path}[{number}]")
    else:
        yield path, value


def _change(reader: Reader, entry: Entry) -> tuple[str, Any, Any]:
    what, sides = _CHANGES[entry.event]
    name = next((str(entry.detail[member]) for member in what if entry.detail.get(member)), "")
    return name, *sides(reader, entry)


def _published(reader: Reader, entry: Entry) -> Sides:
    detail = entry.detail
    if detail["kind"] == "release":
        row = reader.one("reports.release_before", position=entry.position, flow=detail["flow"])
        old, new = row["digest"] if row else None, detail["release"]
        bodies = [_body(reader, "reports.release", digest=digest) for digest in (old, new)]
    else:
        old, new = detail["before"], detail["digest"]
        named = {"kind": detail["kind"], "name": detail["name"]}
        bodies = [_body(reader, "reports.document", **named, digest=digest) for digest in (old, new)]
    before, after = differences(bodies[0] or {}, bodies[1] or {})
    return {"digest": old, "values": before if old else None}, {"digest": new, "values": after}


def _body(reader: Reader, query: str, **values: Any) -> Any:
    row = reader.one(query, **values) if values["digest"] else None
    return row["body"] if row else None


def _alias(reader: Reader, entry: Entry) -> Sides:
    name = entry.detail["model"].partition("@")[0]
    row = reader.one("reports.alias_before", position=entry.position, alias=entry.detail["alias"], name=name)
    before = {part: row["detail"][part] for part in ("model", "digest")} if row else None
    return before, {part: entry.detail[part] for part in ("model", "digest", "alias")}


def _key(reader: Reader, entry: Entry) -> Sides:
    row = reader.one("reports.api_key", id=entry.detail["key"])
    known = dict(row) if row else None
    return (known, "revoked") if entry.event == "key.revoked" else (None, known)


def _added(reader: Reader, entry: Entry) -> Sides:
    return None, {name: value for name, value in entry.detail.items() if name not in ("reason", "why")}


def _from_to(before: str, after: str) -> Callable[[Reader, Entry], Sides]:
    return lambda reader, entry: (before, after)


_CHANGES: Mapping[str, tuple[tuple[str, ...], Callable[[Reader, Entry], Sides]]] = {
    "config.published": (("name", "flow"), _published),
    "flow.paused": (("flow",), _from_to("running", "paused")),
    "flow.resumed": (("flow",), _from_to("paused", "running")),
    "hold.placed": (("key_hash",), _from_to("not held", "held")),
    "hold.released": (("key_hash",), _from_to("held", "not held")),
    "key.made": (("key",), _key),
    "key.revoked": (("key",), _key),
    "log.key_changed": ((), _added),
    "model.alias_moved": (("model",), _alias),
    "model.imported": (("model",), _added),
    "record.erased": (("key_hash",), _added),
    "retention.applied": ((), _added),
    "secret.stored": (("name",), _added),
    "writes.paused": ((), _from_to("running", "paused")),
    "writes.resumed": ((), _from_to("paused", "running")),
}


KIND = Kind(
    name="change-log",
    title="Log of changes",
    basis="21 CFR Part 11, 11.10(e)",
    produces="Produces the records for an audit trail of changes to configuration, models and keys: who, when, before and after.",
    limits=(
        "Publishing a document, importing a model and making a key ask for no reason: of these the column is empty.",
        "A person is named as the system knows them: the account at the command line, or the API key. Fieldline has no electronic "
        "signatures (11.50, 11.70, 11.200): their records are not in it.",
        "Of a secret its name is told, and never a value. Records themselves are not in it: see fhir-audit-events and ai-act-log.",
    ),
    columns={
        "at": "when, by the database's clock", "who": "who changed it", "event": "the type of change", "what": "what was changed",
        "before": "what it was: digest and the values that changed", "after": "what it is", "why": "the reason that was given",
    },
    rows=rows,
)  # fmt: skip

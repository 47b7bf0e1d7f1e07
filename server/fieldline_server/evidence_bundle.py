"""Evidence with its proofs in one file, which `fieldline-verify` checks where there is no Fieldline."""

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from fieldline_core.errors import Misconfigured
from fieldline_core.events import record
from fieldline_core.evidence import Envelope, unseal
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.prove import SealedLog, detail_of, part_of_batch, whole_batch
from fieldline_core.pipeline.sequence import seal_all
from fieldline_core.store import Transaction
from fieldline_server.story import Story
from fieldline_server.telling import tell_decision

FORMAT = "fieldline-evidence/1"
_MOST_DECISIONS = 10_000
_MOST_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Wish:
    """What to export: all decisions on one record, or the entries of a range; `old` are checkpoints that were seen before."""

    key: str | None = None
    start: int = 0
    end: int | None = None
    evidence: bool = True
    """Whether the rows of a range are exported, too, or only its entries."""
    old: Sequence[bytes] = ()


@dataclass(slots=True)
class Exported:
    """What a bundle holds."""

    entries: int = 0
    batches: int = 0
    rows: int = 0
    size: int = 0
    """The entries that the log had."""
    shown: list[dict[str, Any]] = field(default_factory=list)
    """What the page for people shows, of a record."""
    stories: list[Story] = field(default_factory=list)
    """The same told as stories, the newest decision first."""


Chosen = Sequence[tuple[int, dict[str, Any] | None]]
"""The ids of events, each with the leaves of its batch to export; None: whole, where it has one."""


def export_evidence(
    engine: Engine, wish: Wish, out: Path, by: str, progress: Callable[[Exported], None] = lambda done: None
) -> Exported:
    """Writes a bundle; that it was exported is in the log before it is."""
    about = {"key_hash": engine.keyring.hash_key(wish.key).hex} if wish.key is not None else {"from": wish.start, "to": wish.end}
    with engine.store.transaction("evidence.export") as tx:
        record(tx, "evidence.exported", by, {**about, "rows": wish.evidence})
    seal_all(engine)
    done = Exported()
    with engine.store.transaction("evidence.read") as tx, _written_whole(out) as bundle:
        log = SealedLog(tx)
        log.keep()
        done.size = log.size
        witnessed = log.witnessed()
        old = [log.consistency(note) for note in (*wish.old, *([witnessed] if witnessed else []))]
        leaves = _of_record(engine, tx, wish.key, done) if wish.key is not None else None
        places = sorted(log.position(event) for event in leaves) if leaves is not None else None
        proved = list(_entries(log, wish, places)) if places is not None else None
        batches: list[tuple[int, int]] = []
        with bundle.open("entries.jsonl", "w", force_zip64=True) as file:
            for each in proved if proved is not None else _entries(log, wish, None):
                file.write(_json(each))
                done.entries += 1
                detail = detail_of(each)
                if "batch" in detail["detail"]:
                    batches.append((each["index"], detail["id"]))
        for index, event in batches if wish.evidence else []:
            wanted = leaves[event] if leaves is not None else None
            done.rows += _write_batch(engine, tx, bundle, index, event, wanted)
            done.batches += 1
            progress(done)
        _write_rest(bundle, log, old, by, wish, done)
    return done


def _of_record(engine: Engine, tx: Transaction, key: str, done: Exported) -> dict[int, list[int]]:
    """For each event that concerns a record the leaves of its batch that do, behind the header."""
    places = tx.all("evidence.find", key_hash=engine.keyring.hash_key(key), limit=_MOST_DECISIONS)
    if not places:
        raise Misconfigured("nothing was decided on this record: is its key written as 'fieldline decisions record:KEY' finds it?")
    if len(places) == _MOST_DECISIONS:
        raise Misconfigured(f"there are {_MOST_DECISIONS:,} decisions on this record or more: export a range of the log instead")
    found: dict[int, list[int]] = {}
    done.stories = [tell_decision(engine, place["chunk_id"], place["row_no"], key) for place in places[:_MOST_SHOWN]]
    for chunk in sorted({place["chunk_id"] for place in places}):
        for row in tx.all("evidence.of_chunk", chunk=chunk):
            envelope = unseal(engine.keyring, row)
            place = envelope.frame["key"].index_of(key)
            if place is not None:
                found[int(row["event_id"])] = [0, place + 1]
                _show(envelope, place + 1, row["kind"], row["created_at"], done)
    return found


def _show(envelope: Envelope, leaf: int, kind: str, at: datetime, done: Exported) -> None:
    if len(done.shown) < _MOST_SHOWN:
        line = json.loads(envelope.line(leaf))
        done.shown.append({"kind": kind, "at": at.astimezone(UTC), "header": dict(envelope.header), "line": line})


def _entries(log: SealedLog, wish: Wish, places: Sequence[int] | None) -> Iterator[dict[str, Any]]:
    if places is None:
        yield from log.entries(wish.start, log.size if wish.end is None else wish.end)
        return
    for place in places:
        yield from log.entries(place, place + 1)


def _write_batch(engine: Engine, tx: Transaction, bundle: zipfile.ZipFile, index: int, event: int, leaves: list[int] | None) -> int:
    stored = tx.one("evidence.of_event", event=event)
    if stored is None:
        raise Misconfigured(f"the evidence of entry {index} is not in the store any more")
    envelope = unseal(engine.keyring, stored)
    rows = 0
    with bundle.open(f"batches/{index}.jsonl", "w", force_zip64=True) as file:
        for leaf in whole_batch(envelope) if leaves is None else part_of_batch(envelope, leaves):
            file.write(_json(leaf))
            rows += 1
    return rows - 1


def _write_rest(bundle: zipfile.ZipFile, log: SealedLog, old: list[dict[str, Any]], by: str, wish: Wish, done: Exported) -> None:
    made_at = datetime.now(UTC)
    facts = {
        "format": FORMAT, "origin": log.key.name, "vkey": str(log.key), "made_at": made_at.isoformat(), "made_by": by,
        "about": {"record": wish.key is not None, "entries": done.entries, "batches": done.batches, "rows": done.rows},
    }  # fmt: skip
    bundle.writestr("bundle.json", json.dumps(facts, indent=1, ensure_ascii=False))
    bundle.writestr("checkpoint", log.note)
    if old:
        bundle.writestr("consistency.jsonl", b"".join(_json(each) for each in old))
    if changes := list(log.key_changes()):
        bundle.writestr("keys.jsonl", b"".join(_json(each) for each in changes))
    bundle.writestr("index.html", _page(facts, log, wish, done))


def _page(facts: dict[str, Any], log: SealedLog, wish: Wish, done: Exported) -> str:
    pages = Environment(
        loader=PackageLoader("fieldline_server"), autoescape=select_autoescape(("html.j2",)), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    pages.filters["shown"] = lambda value: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return pages.get_template("evidence.html.j2").render(facts=facts, log=log, key=wish.key, done=done)


@contextmanager
def _written_whole(out: Path) -> Iterator[zipfile.ZipFile]:
    """A zip file that is there whole, readable for its owner only, or not at all."""
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise Misconfigured(f"{out} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bundle:
                yield bundle
            file.flush()
            os.fsync(descriptor)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"

"""What a decision's story is told from, gathered from evidence, log and configuration."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.events import record
from fieldline_core.evidence import Envelope, unseal
from fieldline_core.flow import Flow, Release
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.facts import FACTS
from fieldline_core.pipeline.find import show_decision
from fieldline_core.store import Row, Transaction
from fieldline_mappings import CompiledPlan
from fieldline_server.story import EntryLink, Erased, Known, Lineage, Story, tell, tell_erased
from fieldline_server.usage import depends

_PLACE = re.compile(r"([0-9]{1,18})-([0-9]{1,9})")
_MOST = 100


class NoDecision(Misconfigured):
    """There is no such decision, or none on this record."""


def view_story(engine: Engine, by: str, key: str | None, decision: str | None) -> Story:
    """The story of a decision, or of the newest one on a record; that it was looked at is recorded first."""
    detail = {"story": True, **({"decision": decision} if decision else {})}
    if key is not None:
        detail["key_hash"] = engine.keyring.hash_key(key).hex
    with engine.store.transaction("story.view") as tx:
        record(tx, "decision.viewed", by, detail)
    if decision is not None:
        return tell_decision(engine, *_place(decision), key)
    if key is None:
        raise Rejected("give a record's key, or a decision such as 812-17")
    places = decisions_on(engine, key)
    return tell_decision(engine, *places[0], key) if places else _tell_erased_record(engine, key)


def decisions_on(engine: Engine, key: str) -> list[tuple[int, int]]:
    """The places of the decisions on a record, the newest first."""
    with engine.store.transaction("story.find") as tx:
        return [
            (row["chunk_id"], row["row_no"])
            for row in tx.all("evidence.find", key_hash=engine.keyring.hash_key(key), limit=_MOST)
        ]


def tell_decision(engine: Engine, chunk: int, row: int, key: str | None = None) -> Story:
    """The story of a row of a chunk; raises NoDecision where there is none, or it is not one on that record."""
    with engine.store.transaction("story") as tx:
        stored = tx.all("evidence.of_chunk", chunk=chunk)
        decided = next((each for each in stored if each["kind"] == "decisions"), None)
        if decided is None or row >= decided["rows"]:
            raise NoDecision(f"there is no decision {chunk}-{row}: 'fieldline decisions' shows them")
        envelope = unseal(engine.keyring, decided)
        found = envelope.frame["key"][row]
        if found is None:
            return tell_erased(_erased(engine, tx, envelope, decided, f"{chunk}-{row}", key))
        if key is not None and found != key:
            raise NoDecision(f"the decision {chunk}-{row} is not one on this record")
        at = {"chunk_id": chunk, "created_at": decided["created_at"]}
        decision = {**show_decision(envelope, [], at, row), "writes": list(_writes(engine, envelope, at, row, stored))}
        pinned = tx.one("story.release", digest=decision["release"])
        known = _facts(engine, tx, decision, decided["event_id"], chunk)
    release = engine.parts.release(pinned["id"]) if pinned else None
    source = release.flow.source if release else None
    return tell(Known(**known, lineage=_lineage(engine, release), reads=source.connection if source else ""))


def _place(decision: str) -> tuple[int, int]:
    found = _PLACE.fullmatch(decision)
    if not found:
        raise Rejected(f"{decision!r} is no decision: it is written as 812-17, as 'fieldline decisions' shows it")
    return int(found[1]), int(found[2])


def _writes(engine: Engine, envelope: Envelope, at: Row, row: int, stored: Iterable[Row]) -> Iterable[dict[str, Any]]:
    """What targets answered, each with its time and its audit event."""
    for each in stored:
        if each["kind"] == "receipts":
            said = show_decision(envelope, [unseal(engine.keyring, each)], at, row)["writes"]
            yield from ({**write, "at": each["created_at"], "event": each["event_id"]} for write in said)


def _facts(engine: Engine, tx: Transaction, decision: Mapping[str, Any], event: int, chunk: int) -> dict[str, Any]:
    writes = decision["writes"]
    models = [model["digest"] for model in decision["models"]]
    undos = [str(write["undo"]) for write in writes if "undo" in write]
    acts = tx.all("story.acts", mapping=decision["mapping"], release=decision["release"], models=models, undos=undos,
                  until=decision["recorded_at"])  # fmt: skip
    events = [event, *(write["event"] for write in writes), *(act["id"] for act in acts)]
    return {
        "decision": decision, "event": event, "entries": _entries(tx, events), "chunk": tx.one("story.chunk", chunk=chunk),
        "waiting": tx.all("story.waiting", chunk=chunk), "acts": acts,
        "letters": tx.all("story.letters", chunk=chunk, key_hash=engine.keyring.hash_key(decision["key"])),
    }  # fmt: skip


def _entries(tx: Transaction, events: Sequence[int]) -> dict[int, EntryLink]:
    return {
        row["id"]: EntryLink(event=row["id"], position=row["position"], checkpoint=row["size"], sealed_at=row["sealed_at"])
        for row in tx.all("story.entries", ids=list(events))
    }


def _lineage(engine: Engine, release: Release | None) -> Lineage | None:
    """What the pinned mapping says; None where it is not in the store any more, or is read no longer."""
    if release is None:
        return None
    try:
        plan = engine.parts.plan(release)
    except (Misconfigured, LookupError, ValueError):
        return None
    return lineage_of(plan, release.flow) if isinstance(plan, CompiledPlan) else None


def lineage_of(plan: CompiledPlan, flow: Flow) -> Lineage:
    """What a mapping says of its features and fields, and where the flow sends these."""
    reads, _ = depends(plan)
    features = {
        each.name: (each.label, each.formula or each.field or "", tuple(sorted(reads[each.name])))
        for each in plan.document.features
    }
    goes = [
        (str(name), f"{write.name}.{place}") for write in flow.writes for place, name in (write.target.get("fields") or {}).items()
    ]
    formulas = {**{each.name: each.formula for each in plan.document.written}, **dict.fromkeys(FACTS, "")}
    fields = {
        each: (formula, tuple(place for name, place in goes if name == each)) for each, formula in formulas.items()
    }
    return Lineage(features, fields)


def _erased(engine: Engine, tx: Transaction, envelope: Envelope, stored: Row, place: str, key: str | None) -> Erased:
    erasures = _erasures(engine, tx, key) if key is not None else []
    entries = _entries(tx, [stored["event_id"], *(act["id"] for act in erasures)])
    commitment = envelope.erased[int(place.partition("-")[2]) + 1].hex()
    return Erased(place, envelope.header, stored["created_at"], commitment, stored["event_id"], erasures, entries)


def _erasures(engine: Engine, tx: Transaction, key: str) -> list[Row]:
    return tx.all("story.erasures", key_hash=engine.keyring.hash_key(key).hex)


def _tell_erased_record(engine: Engine, key: str) -> Story:
    with engine.store.transaction("story.erased") as tx:
        erasures = _erasures(engine, tx, key)
        entries = _entries(tx, [act["id"] for act in erasures])
    if not erasures:
        raise NoDecision("nothing was decided on this record: is its key written as 'fieldline decisions record:KEY' finds it?")
    return tell_erased(Erased(erasures=erasures, entries=entries))

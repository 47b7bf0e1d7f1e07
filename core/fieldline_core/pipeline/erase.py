"""Erasure: what is kept of a record goes; the commitments of its rows stay, so that every proof, its neighbours' too, still holds.

All of it is one transaction with its audit event: a process that ends on the way has erased nothing, and is asked again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from fieldline_core.batch import Batch, frame_bytes, frame_from_bytes
from fieldline_core.errors import Misconfigured, Rejected, Unavailable
from fieldline_core.events import record
from fieldline_core.evidence import put_back, seal, unseal
from fieldline_core.flow import FLOOR_DAYS
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.freeze import KEY
from fieldline_core.pipeline.hold import refuse_held
from fieldline_core.store import Row, Transaction

_WAIT_S = 60.0


@dataclass(slots=True)
class Found:
    """What is kept of a record, or was until it was erased."""

    decisions: int = 0
    receipts: int = 0
    batches: int = 0
    """The batches of evidence that hold these decisions and receipts."""
    dead_letters: int = 0
    events: int = 0
    writes: int = 0
    """Slices of unknown outcome, which are kept until a person acts."""
    flows: set[str] = field(default_factory=set)

    @property
    def counts(self) -> dict[str, int]:
        """How much of each kind, by its name."""
        return {name: getattr(self, name) for name in ("decisions", "receipts", "batches", "dead_letters", "events", "writes")}


def survey(engine: Engine, key: str, *, despite: str = "") -> Found:
    """What an erasure would erase; refused where that would be."""
    with engine.store.transaction("survey") as tx:
        return _go_through(engine, tx, key, despite, erasing=False)


def erase(engine: Engine, key: str, by: str, why: str, *, despite: str = "") -> int:
    """Erases what is kept of a record, for a reason that is recorded, and returns the id of the audit event.

    `despite` is the legal basis on which the floor of a retention class is overridden; a hold never is.
    A record that was erased before and has left nothing since gets the event of that time again.
    """
    if not why.strip():
        raise Rejected("erasing needs a reason")
    key_hash = engine.keyring.hash_key(key)
    with engine.store.transaction("erase") as tx:
        found = _go_through(engine, tx, key, despite, erasing=True)
        if any(found.counts.values()):
            days = engine.settings.key_backup_days
            until = _clock(tx) + timedelta(days=days)
            backups = {"key_backup_days": days, "key_backups_until": until.isoformat(timespec="seconds")}
            reasons = {"why": why, "despite": despite, "flows": sorted(found.flows)}
            return record(tx, "record.erased", by, {"key_hash": key_hash.hex, **reasons, **found.counts, **backups})
        before = tx.one("erasure.erased_before", text=key_hash.hex)
    if before is None or before["id"] is None:
        raise Misconfigured("nothing is kept on this record: is its key written as 'fieldline decisions record:KEY' finds it?")
    return int(before["id"])


def _go_through(engine: Engine, tx: Transaction, key: str, despite: str, *, erasing: bool) -> Found:
    """Finds all that is kept of the record and, when `erasing`, takes it out.

    The order counts: whatever moves on meanwhile has been refused at an earlier place, or is found at a later one.
    """
    found, key_hash = Found(), engine.keyring.hash_key(key)
    tx.one("erasure.lock", key_hash=key_hash)
    refuse_held(tx, engine, key)
    letters = tx.all("erasure.lock_letters", key_hash=key_hash)
    _refuse_waiting(engine, tx, key)
    decided = tx.all("erasure.decided", key_hash=key_hash)
    chunks = [row["chunk_id"] for row in decided]
    writes = _unknown_writes(engine, tx, key, chunks)
    # Once more: a write that has ended since the first look may have its record read again.
    _refuse_waiting_chunks(engine, tx, key)
    _refuse_too_early(decided, _clock(tx), despite)
    events = tx.all("erasure.ended_events", key_hash=key_hash)
    for batch in tx.all("erasure.lock_batches", chunks=chunks):
        _take_out_of_batch(engine, tx, batch["id"], key, found, erasing=erasing)
    found.dead_letters, found.events, found.writes = len(letters), len(events), len(writes)
    found.flows = {row["flow"] for row in [*letters, *decided, *events]}
    if erasing:
        for write in writes:
            _take_out_of_write(engine, tx, write, key)
        tx.run("erasure.forget_decisions", key_hash=key_hash, chunks=chunks)
        tx.run("erasure.remove_letters", key_hash=key_hash)
        tx.run("erasure.empty_events", ids=[event["id"] for event in events])
    return found


def _refuse_waiting(engine: Engine, tx: Transaction, key: str) -> None:
    """Raises Unavailable where the record waits for a decision."""
    for row in tx.all("erasure.waiting_events", key_hash=engine.keyring.hash_key(key)):
        raise _under_way(f"{row['count']} of its events wait for the flow {row['flow']}")
    _refuse_waiting_chunks(engine, tx, key)


def _refuse_waiting_chunks(engine: Engine, tx: Transaction, key: str) -> None:
    after = 0
    # One at a time, for each may be large.
    while chunk := tx.one("erasure.next_waiting_chunk", after=after):
        if key in Batch.from_bytes(engine.keyring.open(chunk["body"], "chunk")).keys:
            raise _under_way(f"it waits for its decision in run {chunk['run_id']} of the flow {chunk['flow']}")
        after = chunk["id"]


def _unknown_writes(engine: Engine, tx: Transaction, key: str, chunks: Sequence[int]) -> list[int]:
    """The slices with the record whose outcome is unknown, locked; raises Unavailable where one is still to be written."""
    tx.all("erasure.lock_unknown_writes", chunks=chunks)
    for write in tx.all("erasure.open_writes", chunks=chunks):
        if key in _slice(engine, tx, write["id"])[KEY]:
            raise _under_way(f"a write of it waits (effect {write['id']} of the flow {write['flow']})")
    # Again, for one that was open above may have ended so since.
    unknown = [row["id"] for row in tx.all("erasure.lock_unknown_writes", chunks=chunks)]
    return [id for id in unknown if key in _slice(engine, tx, id)[KEY]]


def _under_way(what: str) -> Unavailable:
    words = "let it end, resume what is paused or cancel the run ('fieldline runs', 'fieldline flows'), then erase again"
    return Unavailable(f"work on this record is under way: {what}; {words}", _WAIT_S)


def _refuse_too_early(decided: Sequence[Row], clock: datetime, despite: str) -> None:
    """Raises Misconfigured where the class of a flow, at that time or now, wants a decision kept for longer."""
    until = [
        (row["created_at"] + timedelta(days=FLOOR_DAYS[name]), row["flow"], name) for row in decided for name in row["classes"]
    ]
    latest, flow, name = max(until, default=(clock, "", ""))
    if latest > clock and not despite.strip():
        raise Misconfigured(
            f"the flow {flow} is of the retention class {name}: its decisions on this record may be erased from "
            f"{latest.isoformat(sep=' ', timespec='seconds')} on; where a legal basis overrides that, name it (--despite)"
        )


def _take_out_of_batch(engine: Engine, tx: Transaction, id: int, key: str, found: Found, *, erasing: bool) -> None:
    row = tx.one("erasure.batch", id=id)
    assert row is not None
    envelope = unseal(engine.keyring, row)
    leaves = [place + 1 for place in (envelope.frame["key"] == key).arg_true()]
    if not leaves:
        return
    found.batches += 1
    if row["kind"] == "decisions":
        found.decisions += len(leaves)
    else:
        found.receipts += len(leaves)
    if not erasing:
        return
    for leaf in leaves:
        envelope = envelope.without(leaf)
    sealed = seal(engine.keyring, row["kind"], envelope)
    # Behind this there is no way back.
    if sealed.root.hex() != row["root"]:
        raise Misconfigured(
            f"the evidence of event {row['event_id']} does not have the root that the log holds: nothing was erased. It was "
            "changed, or the log was: see 'fieldline doctor', and keep a copy of both"
        )
    put_back(tx, id, sealed)


def _take_out_of_write(engine: Engine, tx: Transaction, id: int, key: str) -> None:
    rest = _slice(engine, tx, id).filter(pl.col(KEY) != key)
    tx.run("erasure.put_slice", id=id, body=engine.keyring.seal(frame_bytes(rest), "effect"))


def _slice(engine: Engine, tx: Transaction, id: int) -> pl.DataFrame:
    row = tx.one("erasure.slice", id=id)
    # One that has ended since holds nothing any more.
    if row is None or row["body"] is None:
        return pl.DataFrame(schema={KEY: pl.String})
    return frame_from_bytes(engine.keyring.open(row["body"], "effect"))


def _clock(tx: Transaction) -> datetime:
    row = tx.one("flows.clock")
    assert row is not None
    now: datetime = row["now"]
    return now

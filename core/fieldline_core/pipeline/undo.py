"""Undo: what a bad release has written is put back as it was, but for what a person, or a later decision, changed since.

An undo is a run of its own, whose slices are frozen from the images in the evidence before anything is sent, and then go the way
of every write: gate, lease, fence, receipts. What is not as we left it is left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.events import record
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.freeze import Frozen
from fieldline_core.pipeline.persist import effect_row
from fieldline_core.pipeline.undoing import Counts, Part, Undoing, freeze_part, survey_part
from fieldline_core.store import Row, Transaction

_MOST_CHUNKS = 10_000
_MOST_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class UndoScope:
    """What is to be undone: the writes of a release (the beginning of its digest), of a run, or of a flow's decisions since a time;
    with `key` those on one record only."""

    release: str | None = None
    run: int | None = None
    flow: str | None = None
    since: datetime | timedelta | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if sum(each is not None for each in (self.release, self.run, self.flow)) != 1:
            raise Rejected("say what is to be undone: a release, a run, or a flow and since when")
        if (self.flow is None) != (self.since is None):
            raise Rejected("a flow is undone since a time, and a time is that of a flow: give both")
        if isinstance(self.since, datetime) and self.since.tzinfo is None:
            raise Rejected("the time wants its zone, such as 2026-01-31T09:00:00Z")


@dataclass(frozen=True, slots=True)
class Undo:
    """What an undo would put back, or has begun to; `run` is the run that does."""

    flow: str
    paused: bool
    """Whether the flow is paused: what it writes, and what is put back, waits until it is resumed."""
    counts: Counts
    run: int | None = None

    def as_json(self) -> dict[str, Any]:
        """All of it, for scripts and the API."""
        return {"flow": self.flow, "paused": self.paused, "run": self.run, **self.counts.as_json()}


@dataclass(frozen=True, slots=True)
class _Frozen:
    """A chunk of an undo with its slices, ready to be stored."""

    id: int
    of: Row
    rows: int
    slices: list[Frozen]


def preview_undo(engine: Engine, scope: UndoScope, by: str) -> Undo:
    """Counts what an undo would put back, and asks the targets what was changed since; nothing is written."""
    flow, undoing, counts = _begin(engine, scope)
    with engine.store.transaction("undo.preview") as tx:
        record(tx, "undo.previewed", by, _said(engine, scope, flow["name"]))
    for part in undoing.parts():
        survey_part(engine, part, counts)
    return Undo(flow["name"], flow["paused"], counts)


def apply_undo(engine: Engine, scope: UndoScope, by: str, why: str) -> Undo:
    """Freezes what is to be put back, for a reason that is recorded; the workers send it. Where there is nothing, there is no run.

    What a person changes between this and the writing is seen then, and left alone, too.
    """
    if not why.strip():
        raise Rejected("an undo needs a reason")
    flow, undoing, counts = _begin(engine, scope)
    with engine.store.transaction("undo.before") as tx:
        before = _free(tx, flow)
    frozen = _freeze(engine, flow, undoing, counts)
    with engine.store.transaction("undo") as tx:
        tx.one("undo.lock_flow", flow=flow["id"])
        if _free(tx, flow) != before:
            raise Misconfigured(f"another undo of the flow {flow['name']} was begun just now: look at it, then ask again")
        run = _store(engine, tx, flow, frozen, by) if frozen else None
        record(tx, "undo.requested", by, {**_said(engine, scope, flow["name"]), "why": why, "run": run, **counts.as_json()})
        tx.one("relay.notify")
    return Undo(flow["name"], flow["paused"], counts, run)


def _begin(engine: Engine, scope: UndoScope) -> tuple[Row, Undoing, Counts]:
    with engine.store.transaction("undo.scope") as tx:
        flow = _flow(tx, scope)
        key_hash = None if scope.key is None else engine.keyring.hash_key(scope.key)
        release = flow["release"] if scope.release is not None else None
        chunks = tx.all("undo.chunks", flow=flow["id"], release=release, run=scope.run, since=_since(tx, scope), key_hash=key_hash,
                        limit=_MOST_CHUNKS + 1)  # fmt: skip
    if len(chunks) > _MOST_CHUNKS:
        raise Misconfigured(f"there are more than {_MOST_CHUNKS:,} batches of decisions there: undo them run by run")
    return flow, Undoing(engine, flow["id"], chunks, scope.key), Counts()


def _since(tx: Transaction, scope: UndoScope) -> datetime | None:
    if not isinstance(scope.since, timedelta):
        return scope.since
    clock = tx.one("flows.clock")
    assert clock is not None
    moment: datetime = clock["now"] - scope.since
    return moment


def _flow(tx: Transaction, scope: UndoScope) -> Row:
    if scope.flow is not None:
        row = tx.one("flows.by_name", name=scope.flow)
        if row is None:
            raise Misconfigured(f"there is no flow {scope.flow!r}: see 'fieldline flows'")
        return {"id": row["id"], "name": scope.flow, "paused": row["paused_at"] is not None, "release": None,
                "current": row["release_id"]}  # fmt: skip
    found = tx.all("undo.flow_of", release=scope.release, run=scope.run)
    if not found:
        what = f"run {scope.run}" if scope.release is None else f"release {scope.release!r}"
        raise Misconfigured(f"there is no {what}: see 'fieldline runs', or 'fieldline decisions' for the release of a decision")
    if len(found) > 1:
        raise Misconfigured(f"several releases begin with {scope.release!r}: give more of its digest")
    return found[0]


def _free(tx: Transaction, flow: Row) -> int | None:
    """The last undo of the flow; raises Misconfigured where it is still going on."""
    last = tx.one("undo.last_of_flow", flow=flow["id"])
    if last is not None and last["going_on"]:
        raise Misconfigured(f"run {last['id']}, an undo, is still going on: see 'fieldline runs {last['id']}', and ask again then")
    return None if last is None else int(last["id"])


def _freeze(engine: Engine, flow: Row, undoing: Undoing, counts: Counts) -> list[_Frozen]:
    """All slices, sealed; what is not stored in the end has done nothing."""
    # That of the current release, which the gate goes by: a larger slice could never be written.
    guards = engine.parts.release(flow["current"]).flow.guards if flow["current"] else None
    bound = (guards and guards.max_changed_per_hour) or _MOST_ROWS
    frozen: list[_Frozen] = []
    parts: list[Part] = []
    for part in undoing.parts():
        if parts and parts[0].of["id"] != part.of["id"]:
            frozen += _freeze_chunk(engine, parts, bound)
            parts = []
        parts.append(survey_part(engine, part, counts))
        if counts.total.put_back > _MOST_ROWS:
            raise Misconfigured(f"more than {_MOST_ROWS:,} values would be put back at once: undo run by run, or a shorter time")
    return frozen + _freeze_chunk(engine, parts, bound)


def _freeze_chunk(engine: Engine, parts: Sequence[Part], bound: int) -> list[_Frozen]:
    wanted = [part for part in parts if part.rows]
    if not wanted:
        return []
    with engine.store.transaction("undo.place") as tx:
        place = tx.one("chunks.next")
    assert place is not None
    slices = [each for part in wanted for each in freeze_part(engine, part, place["id"], bound)]
    keys = {row.key for part in wanted for row in part.rows}
    return [_Frozen(place["id"], wanted[0].of, len(keys), slices)]


def _store(engine: Engine, tx: Transaction, flow: Row, frozen: Sequence[_Frozen], by: str) -> int:
    release = frozen[0].of["release_id"]
    run = tx.one("runs.add", flow=flow["id"], release=release, kind="undo", by=by, row_limit=None, rescore=False, disjoint=False,
                 exhausted=True)  # fmt: skip
    assert run is not None
    tx.run("replay.start", id=run["id"])
    for chunk in frozen:
        of = chunk.of
        place = {"id": chunk.id, "seq": of["seq"], "release": of["release_id"], "flow": flow["id"], "run": run["id"]}
        tx.run("undo.add_chunk", rows=chunk.rows, effects=len(chunk.slices), undo_of=of["id"], **place)
        claim = {"id": chunk.id, "seq": of["seq"]}
        pinned = engine.parts.release(of["release_id"])
        tx.many("effects.add", [effect_row(claim, pinned, each) for each in chunk.slices])
    return int(run["id"])


def _said(engine: Engine, scope: UndoScope, flow: str) -> dict[str, Any]:
    """What the log says of the scope; of a key its hash."""
    about = {"release": scope.release, "run_undone": scope.run, "since": scope.since and str(scope.since)}
    key = {} if scope.key is None else {"key_hash": engine.keyring.hash_key(scope.key).hex}
    return {"flow": flow, **{name: value for name, value in about.items() if value is not None}, **key}

"""Dead letters: replayed, edited and replayed, or discarded with a reason."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import polars as pl

from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.events import record
from fieldline_core.evidence import unseal
from fieldline_core.flow import Release
from fieldline_core.pipeline.chunks import add_chunk
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.manage import current_release
from fieldline_core.pipeline.records import scalar_text
from fieldline_core.store import Row, Transaction

_MOST = 10_000
_MOST_NAMED = 10
_ALIKE = ("chunk_id", "stage", "write_name", "seq")


def replay(engine: Engine, flow: str, by: str, *, ids: Sequence[int] | None = None, reason: str | None = None,
           edits: Mapping[str, Any] | None = None, anew: bool = False, why: str = "") -> tuple[int | None, int]:  # fmt: skip
    """Runs open dead letters of a flow again and returns the run (None where only writes went on) and their number.

    Rows whose write has an unknown outcome are sent again as the same effect, so that one that did arrive is not doubled; with
    `anew` a person says that it did not, and they go the way of the others: all rows of that write together, as it must not be
    sent again for some of them.
    The others are decided anew from their source values, under the flow's current release, as decisions of their first time:
    a newer one stands.
    A refused write is decided for that write alone.
    With `edits` (field -> value) one dead letter is changed first, and is a new decision.
    """
    release = current_release(engine, flow)
    with engine.store.transaction("replay") as tx:
        letters = _lock(tx, flow, ids, reason)
        if edits is not None and len(letters) != 1:
            raise Rejected("one dead letter at a time can be edited")
        if anew:
            _refuse_parts(tx, letters)
        same = set() if anew or edits is not None else {each["effect_id"] for each in letters if each["effect_state"] == "unknown"}
        count = sum(_reopen(tx, effect, by, why) for effect in sorted(same))
        others = [letter for letter in letters if letter["effect_id"] not in same]
        run = _decide_anew(engine, tx, release, others, by, edits, why) if others else None
        about = {"edited": sorted(edits or {}), "anew": anew, "why": why}
        record(tx, "dead_letters.replayed", by, {"flow": flow, "count": count + len(others), "run": run, **about})
        tx.one("relay.notify")
    return run, count + len(others)


def discard(engine: Engine, flow: str, by: str, why: str, *, ids: Sequence[int] | None = None, reason: str | None = None) -> int:
    """Ends open dead letters of a flow without running them again, for a reason that is recorded; returns their number."""
    if not why.strip():
        raise Rejected("discarding needs a reason")
    with engine.store.transaction("discard") as tx:
        letters = [letter["id"] for letter in _lock(tx, flow, ids, reason)]
        tx.run("dead_letters.end", ids=letters, state="discarded", by=by, why=why, replay_run=None)
        record(tx, "dead_letters.discarded", by, {"flow": flow, "count": len(letters), "why": why})
    return len(letters)


def _lock(tx: Transaction, flow: str, ids: Sequence[int] | None, reason: str | None) -> list[Row]:
    letters = tx.all("dead_letters.lock", flow=flow, ids=list(ids) if ids is not None else None, reason=reason, limit=_MOST)
    missing = set(ids or ()) - {letter["id"] for letter in letters}
    if missing:
        raise Misconfigured(f"dead letter {min(missing)} of the flow {flow} is not open: see 'fieldline dead-letters'")
    return letters


def _refuse_parts(tx: Transaction, letters: Sequence[Row]) -> None:
    ids = [letter["id"] for letter in letters]
    unknown = {letter["effect_id"] for letter in letters if letter["effect_state"] == "unknown"}
    if others := [row["id"] for row in tx.all("dead_letters.beside", ids=ids, effects=sorted(unknown))]:
        named = f"{', '.join(map(str, others[:_MOST_NAMED]))}{' and others' if len(others) > _MOST_NAMED else ''}"
        raise Rejected(f"a write of unknown outcome is decided anew as a whole: replay {named} with --anew as well, or discard it")


def _reopen(tx: Transaction, effect_id: int, by: str, why: str) -> int:
    effect = tx.one("effects.reopen", id=effect_id)
    if effect is None:
        return 0
    counts = {name: effect[name] for name in ("written", "refused", "left_alone")}
    tx.run("chunks.reopen", id=effect["chunk_id"], **counts)
    return len(tx.all("dead_letters.end_effect", effect=effect_id, by=by, why=why))


def _decide_anew(engine: Engine, tx: Transaction, release: Release, letters: list[Row], by: str, edits: Mapping[str, Any] | None,
                 why: str) -> int:  # fmt: skip
    run = tx.one("runs.add", flow=release.flow_id, release=release.id, kind="replay", by=by, row_limit=None, rescore=True,
                 disjoint=False, exhausted=True)  # fmt: skip
    assert run is not None
    tx.run("replay.start", id=run["id"])
    for (chunk_id, stage, write, seq), group in groupby(letters, lambda letter: tuple(letter[name] for name in _ALIKE)):
        batch = _together(engine, group)
        if stage == "write":
            batch = _source_rows(engine, tx, chunk_id, batch.keys)
        if edits is not None:
            batch = Batch(batch.keys, _edited(batch.frame, edits))
        body = engine.keyring.seal(batch.to_bytes(), "chunk")
        place = {"seq": None if edits is not None else seq, "replay_of": chunk_id, "only_write": write}
        add_chunk(tx, run["id"], release, len(batch), body, **place)
    ids = [letter["id"] for letter in letters]
    tx.run("dead_letters.end", ids=ids, state="replayed", by=by, why=why, replay_run=run["id"])
    return int(run["id"])


def _together(engine: Engine, letters: Iterable[Row]) -> Batch:
    """The rows of letters of one chunk and stage, which have the same columns; each key once."""
    rows = [Batch.from_bytes(engine.keyring.open(letter["body"], "dead_letter")) for letter in letters]
    batch, _ = Batch(pl.concat([row.keys for row in rows]), pl.concat([row.frame for row in rows])).last_of_each_key()
    return batch


def _source_rows(engine: Engine, tx: Transaction, chunk_id: int, keys: pl.Series) -> Batch:
    """The source values of rows whose write was refused, from the evidence of their decisions."""
    stored = next(row for row in tx.all("evidence.of_chunk", chunk=chunk_id) if row["kind"] == "decisions")
    frame = unseal(engine.keyring, stored).frame
    frame = frame.filter(frame["key"].is_in(keys.to_list()))
    source = [name for name in frame.columns if name.startswith("source.")]
    return Batch(frame["key"], frame.select(pl.col(name).alias(name.removeprefix("source.")) for name in source))


def _edited(frame: pl.DataFrame, edits: Mapping[str, Any]) -> pl.DataFrame:
    unknown = sorted(set(edits) - set(frame.columns))
    if unknown:
        raise Rejected(f"the record has no field {unknown[0]}: it has {', '.join(frame.columns)}")
    try:
        values = {name: scalar_text(json.loads(json.dumps(value))) for name, value in edits.items()}
    except (ValueError, TypeError):
        raise Rejected("an edited value is a text, a number, true, false or null") from None
    return frame.with_columns(pl.lit(value, dtype=pl.String).alias(name) for name, value in values.items())

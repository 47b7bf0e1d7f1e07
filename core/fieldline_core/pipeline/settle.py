"""Receipts: the second piece of evidence, stored in the transaction that ends the effect."""

from collections import Counter
from typing import Any

import polars as pl

from fieldline_core import evidence
from fieldline_core.batch import Batch
from fieldline_core.errors import Fenced
from fieldline_core.events import record
from fieldline_core.flow import Release
from fieldline_core.logs import log
from fieldline_core.pipeline.dead import dead_row
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.touched import read_touched_again
from fieldline_core.receipts import Outcome, Receipts
from fieldline_core.states import EffectState
from fieldline_core.store import Row

_DEAD = frozenset({Outcome.REFUSED, Outcome.UNKNOWN})


def settle(
    engine: Engine, claim: Row, release: Release, batch: Batch, receipts: Receipts, before: pl.DataFrame | None = None
) -> None:
    """Ends an effect with what its target answered; refused and unknown rows become dead letters.

    `before` are the values that the target held, where those were compared.
    """
    state = _state(receipts)
    dead = {row: receipt for row, receipt in sorted(receipts.others.items()) if receipt.outcome in _DEAD}
    refused = len(dead)
    left_alone = receipts.count(Outcome.CHANGED_BY_PERSON) + receipts.count(Outcome.SUPERSEDED)
    sealed = evidence.seal(engine.keyring, "receipts", _envelope(claim, release, batch, receipts, state, before))
    with engine.store.transaction("receive") as tx:
        reason = next(iter(dead.values())).reason if dead else None
        written = len(batch) - refused - left_alone
        counts = {"written": written, "refused": refused, "left_alone": left_alone}
        if not tx.run("effects.finish", id=claim["id"], fence=claim["fence"], state=state, reason=reason, **counts):
            raise Fenced
        # What an undo could not put back is asked for by another undo: there is no record to decide on again.
        if claim["undo_of"] is None:
            letters = [dead_row(engine, claim, release, batch, row, "write", r.reason, claim["id"]) for row, r in dead.items()]
            tx.many("dead_letters.add", letters)
            read_touched_again(engine, tx, claim, release, batch, receipts)
        chunk = tx.one("chunks.settle", id=claim["chunk_id"], **counts)
        others = dict(Counter(r.outcome.value for r in receipts.others.values()))
        detail = {"flow": release.flow.flow, "effect": claim["key"], "batch": sealed.batch, "others": others, **_undo(claim)}
        event = record(tx, "receipts.recorded", "engine", detail)
        # Beside the decisions whose writes it takes back: erasing, finding and proving them covers it.
        evidence.store(tx, sealed, release.id, event, claim["undo_of"] or claim["chunk_id"], claim["id"])
        if chunk and chunk["state"] == "done" and tx.one("runs.lock_exhausted", id=chunk["run_id"]):
            tx.one("runs.finish", id=chunk["run_id"])
        tx.one("relay.notify")
    log().info("effect_ended", effect=claim["id"], target=claim["target"], state=state, rows=written, attempt=claim["attempts"])


def _envelope(
    claim: Row, release: Release, batch: Batch, receipts: Receipts, state: EffectState, before: pl.DataFrame | None
) -> evidence.Envelope:
    """What the target answered, row by row."""
    header = {
        "flow": release.flow.flow, "release": release.digest, "effect": claim["key"], "write": claim["write_name"],
        "target": claim["target"], "attempt": claim["attempts"], "state": state, "detail": dict(receipts.detail), **_undo(claim),
    }  # fmt: skip
    outcomes = [receipts[row].outcome.value for row in range(len(batch))]
    reasons = pl.Series("reason", [receipts[row].reason or None for row in range(len(batch))], dtype=pl.String)
    images = [] if before is None else [before[name].alias(f"before.{name}") for name in before.columns]
    if claim["undo_of"] is not None:
        images += [column.alias(f"field.{column.name}") for column in batch.frame.get_columns()]
    frame = pl.DataFrame([batch.keys.alias("key"), pl.Series("outcome", outcomes, dtype=pl.String), reasons, *images])
    return evidence.Envelope.of(header, frame)


def _undo(claim: Row) -> dict[str, Any]:
    """The run that puts back, where that is what was written."""
    return {} if claim["undo_of"] is None else {"undo": claim["run_id"]}


def _state(receipts: Receipts) -> EffectState:
    if receipts.rows and receipts.count(Outcome.UNKNOWN):
        return EffectState.UNKNOWN
    if receipts.rows and receipts.count(Outcome.REFUSED) == receipts.rows:
        return EffectState.REFUSED
    return EffectState.CONFIRMED

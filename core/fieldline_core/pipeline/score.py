"""The verb *score*: a chunk becomes decisions, evidence and frozen slices, in one transaction."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any, TypeAlias

from fieldline_core.batch import Batch, kept
from fieldline_core.errors import Fenced, FieldlineError, Misconfigured, Rejected, StoreUnavailable
from fieldline_core.events import record
from fieldline_core.flow import Release
from fieldline_core.logs import log, milliseconds_since
from fieldline_core.pipeline.chunks import count_in, standing_run
from fieldline_core.pipeline.dead import bury_chunk
from fieldline_core.pipeline.decide import Decisions, decide_batch
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.enrich import load, own_fields, with_children
from fieldline_core.pipeline.facts import with_facts
from fieldline_core.pipeline.lease import Renewal, give_back_after_bug, retry_or_none
from fieldline_core.pipeline.persist import prepare, store
from fieldline_core.pipeline.records import batch_of
from fieldline_core.pipeline.touched import is_read_again, needless_again
from fieldline_core.pipeline.unchanged import needless_rows, source_digests
from fieldline_core.store import Row

Given: TypeAlias = Sequence[tuple[str, Mapping[str, Any]]] | Batch
"""Records of a caller: (key, JSON object), or rows that were made as the flow reads them, with their lists; each key once."""


def score(engine: Engine, chunk_id: int) -> None:
    """Decides on a chunk's records and freezes what will be written."""
    with engine.store.transaction("score.claim") as tx:
        claim = tx.one("chunks.claim", id=chunk_id, owner=engine.owner, lease_s=engine.settings.lease_s)
        tx.run("relay.claimed", id=engine.owner.partition("/")[0])
    if claim is None:
        return
    release = engine.parts.release(claim["release_id"])
    with Renewal(engine, "chunks", chunk_id, claim["fence"]):
        try:
            if claim["crashes"] > engine.settings.max_crashes:
                reason = claim["last_error"] or "its worker died each time it was tried"
                bury_chunk(engine, claim, release, reason, split=True)
            else:
                _score(engine, claim, release)
        except (Fenced, StoreUnavailable):
            # Either another worker goes on, or the lease ends by itself when the store is back.
            return
        except FieldlineError as error:
            _settle(engine, claim, release, error)
        except Exception as error:
            give_back_after_bug(engine, "chunks", chunk_id, claim["fence"], error)
            raise


def answer(
    engine: Engine, release: Release, records: Given, callers: Sequence[tuple[str, int]]
) -> Decisions:
    """Scores records for a waiting caller, in this process; the decisions are durable before they are answered.

    `callers` are (who asked, for how many of the records).
    What the flow writes goes the usual way afterwards.
    """
    batch, held = (records, {}) if isinstance(records, Batch) else _taken(engine, release, records)
    with engine.store.transaction("answer.begin") as tx:
        run_id = standing_run(tx, release, "score")
        place = tx.one("chunks.next")
    assert place is not None
    claim: Row = {
        "id": place["id"], "run_id": run_id, "flow_id": release.flow_id, "release_id": release.id, "seq": place["id"],
        "rows": len(batch), "fence": 1, "clock": place["clock"].astimezone(UTC), "only_write": None, "intake_from": None,
    }  # fmt: skip
    # Its place among the decisions has just been drawn: there is nothing newer to look for.
    digests = source_digests(engine, release, batch, claim["clock"])
    made = _decide(engine, release, batch, held, claim)
    ready = prepare(engine, claim, release, made, engine.keyring.hash_keys(batch.keys), digests)
    with engine.store.transaction("answer") as tx:
        for by, count in callers:
            record(tx, "score.requested", by, {"flow": release.flow.flow, "release": release.digest, "count": count})
        claim["intake_from"] = count_in(tx, release.flow_id, len(batch))
        tx.run("chunks.add_claimed", id=claim["id"], run=run_id, flow=release.flow_id, release=release.id, queue=release.queue,
               rows=len(batch), owner=engine.owner, intake_from=claim["intake_from"])  # fmt: skip
        store(engine, tx, claim, release, ready)
    return replace(made, chunk=claim["id"])


def _taken(engine: Engine, release: Release, records: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[Batch, dict[int, str]]:
    batch, held = batch_of(records, own_fields(engine, release))
    return with_children(engine, release, batch), held


def _score(engine: Engine, claim: Row, release: Release) -> None:
    began = time.perf_counter()
    claim["clock"] = claim["clock"].astimezone(UTC)
    batch, held = load(engine, claim, release)
    batch = with_children(engine, release, batch)
    hashes, digests = engine.keyring.hash_keys(batch.keys), source_digests(engine, release, batch, claim["clock"])
    if is_read_again(claim):
        needless, digests = needless_again(engine, claim, hashes, digests, held)
    else:
        needless = needless_rows(engine, claim, hashes, digests)
    if needless:
        rows = kept(len(batch), needless)
        places = {place: row for row, place in enumerate(rows.arg_true())}
        held = {places[row]: reason for row, reason in held.items() if row in places}
        hashes, digests = b"".join(hashes[16 * place : 16 * place + 16] for place in places), digests[list(places)]
        batch = batch.take(rows)
    made = _decide(engine, release, batch, held, claim)
    ready = prepare(engine, claim, release, made, hashes, digests)
    with engine.store.transaction("score") as tx:
        counts = store(engine, tx, claim, release, ready)
    took = {"stage": "score", "duration_ms": milliseconds_since(began)}
    log().info("chunk_scored", chunk=claim["id"], flow=release.flow.flow, rows=counts["scored"], held=counts["held"], **took)


def _decide(engine: Engine, release: Release, batch: Batch, held: Mapping[int, str], claim: Row) -> Decisions:
    """The decisions on the rows; those that could not be read as records are held from the start."""
    plan, model = engine.parts.plan(release), engine.parts.model(release)
    made = decide_batch(plan, model, batch, claim["clock"], engine.settings.model_timeout_s)
    made.held.update({row: ("accept", reason) for row, reason in held.items()})
    return with_facts(release, made)


def _settle(engine: Engine, claim: Row, release: Release, error: FieldlineError) -> None:
    if isinstance(error, Misconfigured):
        _pause(engine, release, str(error))
    if retry_or_none(engine, "chunks", claim["id"], claim["fence"], release.flow.retry, error, claim["attempts"]):
        return
    if isinstance(error, Rejected):
        bury_chunk(engine, claim, release, str(error), split=True)
    else:
        bury_chunk(engine, claim, release, f"given up after {claim['attempts']} attempts: {error}", split=False)


def _pause(engine: Engine, release: Release, reason: str) -> None:
    """A flow that a person must mend stops as a whole, and says why, instead of failing row by row."""
    with engine.store.transaction("score.pause") as tx:
        if tx.run("flows.pause", flow=release.flow_id, by="engine", reason=reason):
            record(tx, "flow.paused", "engine", {"flow": release.flow.flow, "reason": reason})

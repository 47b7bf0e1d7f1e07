"""Rows that are set aside: stored whole and encrypted, with stage and reason, so that a person can act on them."""

import json
from typing import Any

from fieldline_core.batch import Batch
from fieldline_core.errors import Fenced
from fieldline_core.events import record
from fieldline_core.flow import Release
from fieldline_core.logs import log
from fieldline_core.pipeline.chunks import add_chunk, intake
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.enrich import load
from fieldline_core.store import TENANT, Row

_LONGEST_REASON = 500


def dead_row(engine: Engine, claim: Row, release: Release, batch: Batch, row: int, stage: str, reason: str,
             effect_id: int | None = None) -> dict[str, Any]:  # fmt: skip
    """The values of a dead letter for one row of a chunk."""
    key = batch.keys[row]
    return {
        "tenant": TENANT, "flow": release.flow_id, "release": release.id, "run": claim["run_id"],
        "chunk": claim["chunk_id"] if effect_id else claim["id"], "effect": effect_id, "stage": stage,
        "write": claim["write_name"] if effect_id else claim["only_write"],
        "reason": reason[:_LONGEST_REASON], "key_hash": engine.keyring.hash_key(key), "seq": claim["seq"],
        "body": engine.keyring.seal(batch.slice(row, 1).to_bytes(), "dead_letter"),
    }  # fmt: skip


def bury_chunk(engine: Engine, claim: Row, release: Release, reason: str, *, split: bool) -> None:
    """Sets a chunk aside; with `split`, one of several rows is cut in two, so that only the bad row is lost to the others."""
    if split and claim["rows"] > 1:
        _split(engine, claim, release)
        return
    batch, _ = load(engine, claim, release, read_back=False)
    with engine.store.transaction("bury") as tx:
        if not tx.run("chunks.bury", id=claim["id"], fence=claim["fence"], reason=reason):
            raise Fenced
        tx.many("dead_letters.add", [dead_row(engine, claim, release, batch, row, "score", reason) for row in range(len(batch))])
        record(tx, "chunk.buried", "engine", {"flow": release.flow.flow, "chunk": claim["id"], **intake(claim)})
        if tx.one("runs.lock_exhausted", id=claim["run_id"]):
            tx.one("runs.finish", id=claim["run_id"])
        tx.one("relay.notify")
    log().error("chunk_dead", chunk=claim["id"], flow=release.flow.flow, reason="see its dead letters")


def _split(engine: Engine, claim: Row, release: Release) -> None:
    half, begins = claim["rows"] // 2, claim["intake_from"]
    # One more crash of a half is enough to split it again.
    more = {name: claim[name] for name in ("seq", "replay_of", "only_write", "received_at")}
    more["crashes"] = engine.settings.max_crashes - 1
    with engine.store.transaction("split") as tx:
        if not tx.run("chunks.empty", id=claim["id"], fence=claim["fence"]):
            raise Fenced
        for start, rows in ((0, half), (half, claim["rows"] - half)):
            body = None
            if claim["body"] is not None:
                part = Batch.from_bytes(engine.keyring.open(claim["body"], "chunk")).slice(start, rows)
                body = engine.keyring.seal(part.to_bytes(), "chunk")
            intake_from = None if begins is None else begins + start
            child = add_chunk(tx, claim["run_id"], release, rows, body, intake_from=intake_from, **more)
            if body is None:
                ids = [event["id"] for event in tx.all("chunks.events", id=claim["id"])]
                # The first half has already left this chunk when the second one is cut.
                tx.run("chunks.move_events", ids=ids[:rows], to=child)
        tx.one("relay.notify")
    log().warning("chunk_split", chunk=claim["id"], rows=claim["rows"])


def dead_letter_json(engine: Engine, row: Row) -> dict[str, Any]:
    """The record of a dead letter as JSON values, with its key."""
    batch = Batch.from_bytes(engine.keyring.open(row["body"], "dead_letter"))
    values: dict[str, Any] = json.loads(batch.frame.write_json())[0] if batch.frame.width else {}
    return {"key": batch.keys[0], "record": values}

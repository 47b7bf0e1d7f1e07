"""Records that somebody touched between their reading and their writing: left alone, then read and decided on again."""

from collections.abc import Collection
from typing import Any

import polars as pl

from fieldline_core.batch import Batch
from fieldline_core.flow import Release
from fieldline_core.pipeline.chunks import add_chunk, standing_run
from fieldline_core.pipeline.dead import dead_row
from fieldline_core.pipeline.engine import Engine
from fieldline_core.receipts import TOUCHED, Receipts
from fieldline_core.store import Row, Transaction, uuid_array

_WAIT_S = 10.0
"""Longer than somebody's next click, or an org's own automation, takes: each further touch means another decision."""
_EDITED = "somebody changed the record before a person's edit of it was written: look at it, and replay this to write the edit"


def read_touched_again(engine: Engine, tx: Transaction, claim: Row, release: Release, batch: Batch, receipts: Receipts) -> None:
    """Has the engine itself read touched records again, in the transaction that says that they were left alone.

    It waits for no reading of the source: one that saw the touch may have been before this, when there was nothing to decide.
    Other writes of the flow have had their decision, and are not made again. What a person edited is not in the source: that
    becomes a dead letter.
    """
    rows = sorted(row for row, receipt in receipts.others.items() if receipt == TOUCHED)
    if not rows:
        return
    if tx.one("chunks.edited", id=claim["seq"]) is not None:
        tx.many("dead_letters.add", [dead_row(engine, claim, release, batch, row, "write", _EDITED, claim["id"]) for row in rows])
        return
    body = engine.keyring.seal(Batch(batch.keys[rows].alias("key"), pl.DataFrame()).to_bytes(), "chunk")
    write = claim["write_name"] if len(release.flow.writes) > 1 else None
    # In the place of the decision that was left: one that was made since is newer, and stands.
    place = {"seq": claim["seq"], "replay_of": claim["chunk_id"], "only_write": write, "wait_s": _WAIT_S}
    add_chunk(tx, standing_run(tx, release, "engine"), release, len(rows), body, **place)


def is_read_again(claim: Row) -> bool:
    """Whether a chunk holds touched records."""
    return claim["replay_of"] is not None and not claim["rescore"]


def needless_again(engine: Engine, claim: Row, hashes: bytes, digests: Any, gone: Collection[int]) -> tuple[list[int], Any]:
    """The rows of touched records that need no decision any more, and the digests that the others are stored with.

    Needless are those with another decision since, and those that the source does not have any more, like any that it never gave.
    """
    with engine.store.transaction("score.touched") as tx:
        standing = tx.all("evidence.standing", hashes=uuid_array(hashes), flow=claim["flow_id"], chunk=claim["replay_of"],
                          write=claim["only_write"])  # fmt: skip
    before = {row["position"] - 1: row["source_digest"] for row in standing}
    if claim["only_write"] is not None:
        # For all writes together, the last decision is still the one before: a change of its values is still to be decided on.
        digests = digests.copy()
        digests[list(before)] = list(before.values())
    return [row for row in range(len(digests)) if row not in before or row in gone], digests

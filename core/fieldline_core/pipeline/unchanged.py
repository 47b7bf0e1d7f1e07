"""No self-trigger: a record whose source values and release equal its last decision's is not decided on again."""

from datetime import datetime
from typing import Any

from fieldline_core.batch import Batch
from fieldline_core.flow import Release
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.enrich import compared_before
from fieldline_core.store import Row, uuid_array


def source_digests(engine: Engine, release: Release, batch: Batch, clock: datetime) -> Any:
    """A digest of the source values that a decision rests on, int64 [n], under a secret seed.

    Fields that the flow itself writes never count as a change, nor does the clock, but for its date where the mapping uses it.
    """
    plan = engine.parts.plan(release)
    rests_on = set(plan.fields_read())
    for write in release.flow.writes:
        rests_on -= engine.parts.target(release, write).fields.keys() & set(compared_before(engine, release, write))
    columns = [name for name in batch.frame.columns if name in rests_on]
    day = clock.toordinal() if plan.uses_clock else 0
    values = batch.frame.select(columns) if columns else batch.keys.to_frame()
    return values.hash_rows(engine.keyring.digest_seed ^ day).to_numpy().view("int64")


def needless_rows(engine: Engine, claim: Row, hashes: bytes, digests: Any) -> list[int]:
    """The rows that need no decision: the last one rests on equal values and the same release, or is newer than this one."""
    place = {"flow": claim["flow_id"], "seq": claim["seq"], "chunk": claim["id"], "rescore": claim["rescore"]}
    with engine.store.transaction("score.before") as tx:
        before = tx.one("chunks.decided_before", run=claim["run_id"], disjoint=claim["disjoint"], **place)
        if not before or not before["yes"]:
            return []
        texts = {"hashes": uuid_array(hashes), "digests": "{" + ",".join(map(str, digests.tolist())) + "}"}
        rows = tx.all("evidence.needless", release=claim["release_id"], **texts, **place)
    return [row["position"] - 1 for row in rows]

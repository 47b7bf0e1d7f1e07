"""What was decided becomes durable: decisions, evidence, slices and held rows, all in the transaction that moves the chunk on."""

from dataclasses import dataclass
from typing import Any

from fieldline_core import evidence
from fieldline_core.batch import kept
from fieldline_core.errors import Fenced
from fieldline_core.events import record
from fieldline_core.flow import Release
from fieldline_core.pipeline.chunks import intake
from fieldline_core.pipeline.dead import dead_row
from fieldline_core.pipeline.decide import Decisions
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.freeze import Frozen, decisions_envelope, freeze_slices
from fieldline_core.store import TENANT, Row, Transaction, append_decisions


@dataclass(frozen=True, slots=True)
class Prepared:
    """A chunk's decisions in the form in which they are stored; made before the transaction, so that it is short."""

    made: Decisions
    hashes: bytes
    digests: Any
    slices: list[Frozen]
    evidence: evidence.Sealed
    dead: list[dict[str, Any]]

    def counts(self, rows: int) -> dict[str, int]:
        """The outcomes of the `rows` rows that were received; one that needed no decision, or whose key came again, is skipped."""
        decided, held = len(self.made.batch), len(self.made.held)
        return {"scored": decided - held, "held": held, "skipped": rows - decided}


def prepare(engine: Engine, claim: Row, release: Release, made: Decisions, hashes: bytes, digests: Any) -> Prepared:
    """Freezes the slices and seals the evidence; `hashes` and `digests` are those of the decided rows."""
    slices = list(freeze_slices(engine, release, claim, made, kept(len(made.batch), made.held)))
    dead = [dead_row(engine, claim, release, made.batch, row, *why) for row, why in sorted(made.held.items())]
    sealed = evidence.seal(engine.keyring, "decisions", decisions_envelope(engine, release, claim["id"], made))
    return Prepared(made, hashes, digests, slices, sealed, dead)


def store(engine: Engine, tx: Transaction, claim: Row, release: Release, ready: Prepared) -> dict[str, int]:
    """Stores it all and moves the chunk on, under its lease; returns the counts of its rows, or raises Fenced."""
    counts = ready.counts(claim["rows"])
    if not tx.run("chunks.scored", id=claim["id"], fence=claim["fence"], effects=len(ready.slices), **counts):
        raise Fenced
    detail = {"flow": release.flow.flow, "release": release.digest, "chunk": claim["id"], **counts, **intake(claim)}
    if len(ready.made.batch):
        detail |= {"batch": ready.evidence.batch}
        place = {"seq": claim["seq"], "chunk_id": claim["id"], "flow_id": release.flow_id, "release_id": release.id}
        append_decisions(tx, hashes=ready.hashes, source_digests=ready.digests, **place)
    event = record(tx, "decisions.recorded", "engine", detail)
    if len(ready.made.batch):
        evidence.store(tx, ready.evidence, release.id, event, claim["id"])
    tx.many("effects.add", [effect_row(claim, release, frozen) for frozen in ready.slices])
    tx.many("dead_letters.add", ready.dead)
    if not ready.slices and tx.one("runs.lock_exhausted", id=claim["run_id"]):
        tx.one("runs.finish", id=claim["run_id"])
    tx.one("relay.notify")
    return counts


def effect_row(claim: Row, release: Release, frozen: Frozen) -> dict[str, Any]:
    """The values of an effect, for one slice of a chunk."""
    return {
        "tenant": TENANT, "chunk": claim["id"], "flow": release.flow_id, "release": release.id, "seq": claim["seq"],
        "key": frozen.key, "write": frozen.write, "target": frozen.target, "rows": frozen.rows, "body": frozen.body,
    }  # fmt: skip

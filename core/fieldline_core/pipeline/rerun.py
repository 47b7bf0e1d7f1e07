"""Past decisions, made again by their own release, from the values and with the clock that their evidence holds.

Nothing is decided and nothing is written, but that it was done: a decision that is made again stands or does not, and that is all.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured
from fieldline_core.events import record
from fieldline_core.evidence import Envelope, unseal
from fieldline_core.pipeline.decide import decide_batch
from fieldline_core.pipeline.differing import Difference, differing_facts, differing_values
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.facts import with_facts
from fieldline_core.pipeline.freeze import decisions_envelope
from fieldline_core.pipeline.manage import find_flow
from fieldline_core.store import Row

_AT_ONCE = 8
_LAST_ID = 2**63 - 1
_MOST_KEPT = 1000
_SOURCE = "source."
_PINNED = ("flow", "release", "mapping", "models")


@dataclass(frozen=True, slots=True)
class Rerun:
    """One decision, made again."""

    key: str
    flow: str
    release: str
    clock: str
    differences: tuple[Difference, ...] = ()
    runtime: tuple[Difference, ...] = ()
    """What computes now and is not what computed then; it may be why values differ."""
    impossible: str = ""
    """Why it cannot be made again, where that is so."""

    @property
    def equal(self) -> bool | None:
        """Whether it came out as it was; None where that cannot be said."""
        return None if self.impossible else not self.differences

    def as_json(self) -> dict[str, Any]:
        """All of it, for scripts and the API."""
        return {**asdict(self), "equal": self.equal}


@dataclass(slots=True)
class Reruns:
    """What came of decisions that were made again: all are counted; those that are not equal are kept, up to a bound."""

    equal: int = 0
    different: int = 0
    impossible: int = 0
    unread: int = 0
    """Rows on which nothing was decided, as they could not be read as records: their evidence holds no more than that."""
    erased: int = 0
    decisions: list[Rerun] = field(default_factory=list)
    runtime: Counter[Difference] = field(default_factory=Counter)
    keep_equal: bool = False

    @property
    def count(self) -> int:
        """How many decisions were looked at."""
        return self.equal + self.different + self.impossible + self.unread

    @property
    def all_equal(self) -> bool:
        """Whether every decision came out as it was."""
        return not (self.different or self.impossible)

    def add(self, made: Rerun) -> None:
        """Counts a decision, and keeps it where it is worth it."""
        self.equal += made.equal is True
        self.different += made.equal is False
        self.impossible += made.equal is None
        self.runtime.update(made.runtime)
        if (self.keep_equal or not made.equal) and len(self.decisions) < _MOST_KEPT:
            self.decisions.append(made)

    def as_json(self) -> dict[str, Any]:
        """All of it, for scripts and the API."""
        totals = {name: getattr(self, name) for name in ("count", "equal", "different", "impossible", "unread", "erased")}
        runtime = [
            {"name": each.name, "then": each.then, "now": each.now, "decisions": count} for each, count in self.runtime.items()
        ]
        return {**totals, "runtime": runtime, "decisions": [made.as_json() for made in self.decisions]}


Progress = Callable[[Reruns], None]


def rerun_record(engine: Engine, key: str, last: int, by: str, progress: Progress = lambda done: None) -> Reruns:
    """Makes the last decisions on a record again, newest first."""
    key_hash = engine.keyring.hash_key(key)
    _note(engine, by, {"key_hash": key_hash.hex, "count": last})
    with engine.store.transaction("rerun.find") as tx:
        places = tx.all("evidence.find", key_hash=key_hash, limit=last)
    done = Reruns(keep_equal=True)
    for place in places:
        envelope = unseal(engine.keyring, _of_chunk(engine, place["chunk_id"]))
        kept = envelope.frame["key"][place["row_no"]]
        if kept is None:
            done.erased += 1
        elif kept == key:
            _rerun(engine, envelope, pl.int_range(envelope.frame.height, eager=True) == place["row_no"], done)
        progress(done)
    return done


def rerun_flow(engine: Engine, flow: str, last: int, by: str, progress: Progress = lambda done: None) -> Reruns:
    """Makes the last decisions of a flow again, newest batch first, one batch at a time."""
    with engine.store.transaction("rerun.flow") as tx:
        flow_id = find_flow(tx, flow)["id"]
    _note(engine, by, {"flow": flow, "count": last})
    done = Reruns()
    for stored in _of_flow(engine, flow_id):
        envelope = unseal(engine.keyring, stored)
        there = envelope.frame["key"].is_not_null()
        done.erased += int((~there).sum())
        _rerun(engine, envelope, there.cum_sum() <= last - done.count, done)
        progress(done)
        if done.count >= last:
            break
    return done


def _note(engine: Engine, by: str, detail: Mapping[str, Any]) -> None:
    # First: what was seen and not recorded would be worse than the other way round.
    with engine.store.transaction("rerun") as tx:
        record(tx, "decision.rerun", by, detail)


def _of_chunk(engine: Engine, chunk_id: int) -> Row:
    with engine.store.transaction("rerun.evidence") as tx:
        stored = tx.one("rerun.of_chunk", chunk=chunk_id)
    if stored is None:
        raise Misconfigured(f"the evidence of chunk {chunk_id} is not in the store any more: restore it from a backup")
    return stored


def _of_flow(engine: Engine, flow_id: int) -> Iterator[Row]:
    at, before = "infinity", _LAST_ID
    while True:
        with engine.store.transaction("rerun.evidence") as tx:
            rows = tx.all("rerun.of_flow", flow=flow_id, at=at, before=before, limit=_AT_ONCE)
        if not rows:
            return
        yield from rows
        at, before = rows[-1]["created_at"], rows[-1]["id"]


def _rerun(engine: Engine, envelope: Envelope, wanted: pl.Series, done: Reruns) -> None:
    """Makes a batch again and adds those of its decisions that are wanted."""
    header = envelope.header
    # With its neighbours: a model may round otherwise in a batch of another size.
    there = envelope.frame["key"].is_not_null()
    then, wanted = envelope.frame.filter(there), wanted.filter(there)
    if "held.stage" in then.columns:
        unread = wanted & then["held.stage"].eq_missing("accept")
        done.unread += int(unread.sum())
        wanted &= ~unread
    rows = wanted.arg_true()
    keys = then["key"][rows].to_list()
    if not keys:
        return
    pinned = {"flow": header["flow"], "release": header["release"], "clock": header["clock"]}
    try:
        now = _decide_again(engine, header, then)
    except Misconfigured as error:
        for key in keys:
            done.add(Rerun(key, **pinned, impossible=str(error)))
        return
    runtime = tuple(differing_facts("runtime", header["runtime"], now.header["runtime"]))
    whole = tuple(differing_facts("header", *({name: each[name] for name in _PINNED} for each in (header, now.header))))
    found = differing_values(then[rows], now.frame[rows])
    for row, key in enumerate(keys):
        done.add(Rerun(key, **pinned, differences=(*whole, *found.get(row, ())), runtime=runtime))


def _decide_again(engine: Engine, header: Mapping[str, Any], frame: pl.DataFrame) -> Envelope:
    """What the evidence of these rows would be if they were decided on now, but for the clock."""
    with engine.store.transaction("rerun.release") as tx:
        row = tx.one("rerun.release", digest=header["release"])
    if row is None:
        raise Misconfigured(f"the release {header['release']} is not in the store: restore it from a backup")
    release, clock = engine.parts.release(row["id"]), datetime.fromisoformat(header["clock"])
    plan, model, timeout_s = engine.parts.plan(release), engine.parts.model(release), engine.settings.model_timeout_s
    names = [name for name in frame.columns if name.startswith(_SOURCE)]
    source = frame.select(pl.col(name).alias(name.removeprefix(_SOURCE)) for name in names)
    made = decide_batch(plan, model, Batch(frame["key"], source), clock, timeout_s)
    return decisions_envelope(engine, release, header["chunk"], with_facts(release, made))

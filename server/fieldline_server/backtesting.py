"""What would have been answered: the records decided last, under two mappings; nothing is written."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl

from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured
from fieldline_core.events import record
from fieldline_core.evidence import Envelope, unseal
from fieldline_core.flow import Release
from fieldline_core.pipeline.decide import decide_batch
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.manage import current_release
from fieldline_core.ports import Wanted
from fieldline_inference.registry import Registry
from fieldline_mappings import CompiledPlan, MappingDocument, digest
from fieldline_server.comparing import Comparison
from fieldline_server.sourcing import Records, plan_of, together

_ENVELOPES_AT_ONCE = 8
_KEYS_AT_ONCE = 1000
_SOURCE = "source."
_LAST_ID = 2**63 - 1


def backtest(
    engine: Engine, registry: Registry, flow: str, mappings: tuple[MappingDocument | None, MappingDocument], last: int, by: str,
    progress: Callable[[Comparison], None] = lambda done: None,
) -> Comparison:  # fmt: skip
    """Scores the records that a flow decided last under an old mapping (None: the flow's own) and a new one, and compares."""
    release = current_release(engine, flow)
    old, new = (plan_of(registry, release, each) if each else engine.parts.plan(release) for each in mappings)
    assert isinstance(old, CompiledPlan)
    assert isinstance(new, CompiledPlan)
    done = Comparison(flow, digest(old.document), digest(new.document), old.fields_written().keys(), new.fields_written().keys())
    with engine.store.transaction("backtest") as tx:
        detail = {"flow": flow, "release": release.digest, "old": done.old, "new": done.new, "count": last}
        record(tx, "backtest.viewed", by, detail)
    model, timeout_s = engine.parts.model(release), engine.settings.model_timeout_s
    for batch, clock in _records(engine, release, together([old, new]), last, done):
        made = (decide_batch(plan, model, batch, clock, timeout_s) for plan in (old, new))
        done.add(*made)
        progress(done)
    return done


def _records(
    engine: Engine, release: Release, wanted: Wanted, last: int, done: Comparison
) -> Iterator[tuple[Batch, datetime]]:
    """The records decided last: read again by key where the flow has a source, else as its evidence keeps them."""
    decided = _decided(engine, release, last)
    if release.flow.source is None:
        yield from ((_as_kept(envelope, wanted), datetime.fromisoformat(envelope.header["clock"])) for envelope in decided)
        return
    records, now = Records(engine, release, wanted), datetime.now(UTC)
    for keys in _groups(decided):
        batch = records.of(keys)
        done.gone += len(set(keys) - set(batch.keys))
        if len(batch):
            yield batch, now


def _decided(engine: Engine, release: Release, last: int) -> Iterator[Envelope]:
    """The evidence of the last decisions, newest first, each record once."""
    seen: set[str] = set()
    before = _LAST_ID
    while len(seen) < last:
        with engine.store.transaction("backtest.evidence") as tx:
            rows = tx.all("evidence.of_flow", flow=release.flow_id, before=before, limit=_ENVELOPES_AT_ONCE)
        if not rows:
            return
        for row in rows:
            envelope = unseal(engine.keyring, row)
            # What came and was no record was held for that; no mapping changes it.
            frame = envelope.frame
            if "held.stage" in frame.columns:
                frame = frame.filter(pl.col("held.stage").ne_missing("accept"))
            frame = frame.filter(~pl.col("key").is_in(seen)).head(last - len(seen))
            if frame.height:
                seen.update(frame["key"])
                yield replace(envelope, frame=frame)
        before = rows[-1]["chunk_id"]


def _groups(decided: Iterator[Envelope]) -> Iterator[Sequence[str]]:
    """Keys in groups that are worth a question to the source, however small the batches were that were decided."""
    keys: list[str] = []
    for envelope in decided:
        keys.extend(envelope.frame["key"])
        while len(keys) >= _KEYS_AT_ONCE:
            yield keys[:_KEYS_AT_ONCE]
            keys = keys[_KEYS_AT_ONCE:]
    if keys:
        yield keys


def _as_kept(envelope: Envelope, wanted: Wanted) -> Batch:
    """The records of some decisions as the evidence holds them; raises Misconfigured where it lacks a field."""
    columns = {name: name.removeprefix(_SOURCE) for name in envelope.frame.columns if name.startswith(_SOURCE)}
    if missing := sorted(wanted.keys() - set(columns.values())):
        raise Misconfigured(
            f"the evidence of {envelope.header['flow']} has no field {missing[0]!r}: a record that came by webhook cannot be read "
            "again, and only the fields that its mapping named then were kept"
        )
    return Batch(envelope.frame["key"], envelope.frame.select(list(columns)).rename(columns))

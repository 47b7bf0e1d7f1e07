"""What a chunk's decisions become before they are stored: evidence, and slices that are frozen."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from fieldline_core.batch import Batch, frame_bytes, frame_from_bytes
from fieldline_core.errors import Misconfigured
from fieldline_core.evidence import Envelope
from fieldline_core.flow import Release, WriteStep, effect_key
from fieldline_core.pipeline.decide import Decisions
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.enrich import compared_before
from fieldline_core.store import Row

KEY = "__key"
"""The column of a slice with the keys of its rows."""
BEFORE = "__before."
"""What the columns begin with that say what the target is expected to hold."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """One slice as it is stored."""

    key: str
    write: str
    target: str
    rows: int
    body: bytes


def decisions_envelope(engine: Engine, release: Release, chunk_id: int, made: Decisions) -> Envelope:
    """The evidence of a batch: source values, features, outputs and fields of each row, and what they are pinned to."""
    header: dict[str, Any] = {
        "chunk": chunk_id, "flow": release.flow.flow, "release": release.digest, "mapping": release.mapping_digest,
        "models": [{"name": m.name, "version": m.version, "digest": m.digest} for m in release.models],
        "clock": made.clock.isoformat(), "runtime": engine.parts.runtime(release),
    }  # fmt: skip
    columns = [made.batch.keys.alias("key")]
    for prefix, frame in (
        ("source", made.batch.frame),
        ("feature", made.features),
        ("output", made.outputs),
        ("field", made.fields),
    ):
        columns += [frame[name].alias(f"{prefix}.{name}") for name in frame.columns]
    if made.held:
        for place, part in enumerate(("stage", "reason")):
            values = {row: why[place] for row, why in made.held.items()}
            columns.append(pl.Series(f"held.{part}", [values.get(row) for row in range(len(made.batch))], dtype=pl.String))
    return Envelope.of(header, pl.DataFrame(columns))


def freeze_slices(engine: Engine, release: Release, claim: Row, made: Decisions, writable: pl.Series) -> Iterator[Frozen]:
    """The slices of every write step (of one, where only that is replayed), in the connector's sizes."""
    if not writable.any():
        return
    batch, fields = made.batch.take(writable), made.fields.filter(writable)
    # A slice larger than the bound on changes could never be written.
    bound = release.flow.guards.max_changed_per_hour or len(batch)
    for write in release.flow.writes:
        if claim["only_write"] not in (None, write.name):
            continue
        frame = _slice_frame(engine, release, write, batch, fields)
        sink = engine.parts.connector(write.connection)
        size = max(1, min(bound, sink.max_rows(engine.parts.target(release, write))))
        for number, start in enumerate(range(0, frame.height, size)):
            part = frame.slice(start, size)
            content = frame_bytes(part)
            key = effect_key(release.digest, claim["id"], write.name, number, engine.keyring.hash_body(content))
            yield Frozen(key, write.name, write.connection, part.height, engine.keyring.seal(content, "effect"))


def _slice_frame(engine: Engine, release: Release, write: WriteStep, batch: Batch, fields: pl.DataFrame) -> pl.DataFrame:
    target = engine.parts.target(release, write)
    if missing := sorted(set(target.fields.values()) - set(fields.columns)):
        raise Misconfigured(f"the write {write.name!r} wants the field {missing[0]!r}, which the mapping does not give")
    columns = [batch.keys.alias(KEY), *(fields[source].alias(name) for name, source in target.fields.items())]
    compared = compared_before(engine, release, write)
    columns += [batch.frame[name].alias(BEFORE + name) for name in compared if name in batch.frame.columns]
    return pl.DataFrame(columns)


def thaw(body: bytes) -> tuple[Batch, pl.DataFrame | None]:
    """The rows of a stored slice, and the values as they were read where those are compared."""
    frame = frame_from_bytes(body)
    before = [name for name in frame.columns if name.startswith(BEFORE)]
    old = frame.select(pl.col(name).alias(name.removeprefix(BEFORE)) for name in before) if before else None
    return Batch(frame[KEY].alias("key"), frame.drop(KEY, *before)), old

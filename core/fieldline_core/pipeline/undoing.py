"""Which writes an undo takes back, record by record, and the slices that do."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

import polars as pl

from fieldline_core.batch import Batch, frame_bytes
from fieldline_core.errors import Misconfigured
from fieldline_core.evidence import unseal
from fieldline_core.flow import Release, WriteStep, effect_key
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.freeze import BEFORE, KEY, Frozen
from fieldline_core.pipeline.images import Image, Values, Written, same, standing, written
from fieldline_core.pipeline.present import Present
from fieldline_core.ports import Target
from fieldline_core.receipts import Outcome
from fieldline_core.store import Row, uuid_array

_MOST_DECISIONS = 100
_KEPT_CHUNKS = 8


@dataclass(slots=True)
class Count:
    """What becomes of the writes on the records of the scope, each record counted once for each write step."""

    put_back: int = 0
    changed_since: int = 0
    """Left alone: a person changed it since, or the record is gone."""
    decided_since: int = 0
    """Left alone: a later decision, which is not undone, stands."""
    no_image: int = 0
    """What was there before was not read: inserts keep history, and other tables than the one that is read."""
    already_so: int = 0
    """Put back before, or written without a change."""
    under_way: int = 0
    """Still to be written, or in doubt."""


@dataclass(slots=True)
class Counts:
    """The counts of each write step, and of all of them."""

    writes: dict[str, Count] = field(default_factory=dict)

    def of(self, write: str) -> Count:
        """The counts of a write step."""
        return self.writes.setdefault(write, Count())

    @property
    def total(self) -> Count:
        """The counts of all write steps together."""
        names = Count.__dataclass_fields__
        return Count(**{name: sum(getattr(each, name) for each in self.writes.values()) for name in names})

    def as_json(self) -> dict[str, Any]:
        """All of it, for scripts and the API."""
        return {**asdict(self.total), "writes": {name: asdict(count) for name, count in sorted(self.writes.items())}}


@dataclass(frozen=True, slots=True)
class PutBack:
    """One record: the values that it gets back, and those that we left there."""

    key: str
    values: Values
    ours: Values


@dataclass(frozen=True, slots=True)
class Part:
    """What is put back of one write step on the records whose last decision is in one chunk, and what becomes of the others."""

    of: Row
    release: Release
    step: WriteStep
    target: Target
    rows: Sequence[PutBack]
    counted: Count
    written: Written

    def batch(self, *, ours: bool) -> Batch:
        """The records with the values that we left there, or with those that they get back."""
        kinds = self.written.after if ours else self.written.before
        rows = [row.ours if ours else row.values for row in self.rows]
        try:
            columns = [pl.Series(name, [row[name] for row in rows], dtype=kinds.get(name)) for name in self.target.fields]
        except (TypeError, pl.exceptions.PolarsError):
            raise Misconfigured(f"a field of the write {self.step.name!r} had another type then: undo run by run") from None
        return Batch.of([row.key for row in self.rows], pl.DataFrame(columns))


class Undoing:
    """The chunks whose writes are undone, the newest decisions first; with `key` for one record."""

    def __init__(self, engine: Engine, flow_id: int, chunks: Sequence[Row], key: str | None) -> None:
        self._engine = engine
        self._flow_id = flow_id
        self._chunks = chunks
        self._scope = {chunk["id"] for chunk in chunks}
        self._key = key
        self._read = lru_cache(maxsize=_KEPT_CHUNKS)(self._written)

    def parts(self) -> Iterator[Part]:
        """What each chunk and write step has to be put back."""
        for chunk in self._chunks:
            release = self._engine.parts.release(chunk["release_id"])
            keys = self._keys(chunk["id"]) if release.flow.writes else []
            for step in release.flow.writes if keys else ():
                yield self._part(chunk, release, step, keys)

    def _keys(self, chunk_id: int) -> list[str]:
        """The records of a chunk that were decided on, but for erased ones."""
        with self._engine.store.transaction("undo.keys") as tx:
            stored = tx.one("rerun.of_chunk", chunk=chunk_id)
        frame = unseal(self._engine.keyring, stored).frame if stored else pl.DataFrame({"key": []}, schema={"key": pl.String})
        keys: list[str] = frame["key"].drop_nulls().to_list()
        return keys if self._key is None else [key for key in keys if key == self._key]

    def _part(self, chunk: Row, release: Release, step: WriteStep, keys: Sequence[str]) -> Part:
        target = self._engine.parts.target(release, step).existing()
        count, rows = Count(), list[PutBack]()
        hashes = uuid_array(self._engine.keyring.hash_keys(keys))
        with self._engine.store.transaction("undo.decided") as tx:
            found = tx.all("undo.decided", hashes=hashes, flow=self._flow_id, write=step.name, limit=_MOST_DECISIONS)
            still_open = tx.one("undo.still_open", chunk=chunk["id"], write=step.name)
        mine = self._read(chunk["id"], step.name)
        waits = Outcome.UNKNOWN if still_open and still_open["rows"] else ""
        decided: dict[int, list[int]] = {}
        for row in found:
            decided.setdefault(row["position"] - 1, []).append(row["chunk_id"])
        for place, chunks in decided.items():
            # Of several decisions on a record in the scope, the newest one stands for all.
            if next((each for each in chunks if each in self._scope), None) != chunk["id"]:
                continue
            if mine.answered.get(keys[place], waits) == Outcome.UNKNOWN:
                count.under_way += 1
            else:
                rows += self._look(keys[place], chunks, step.name, count)
        return Part(chunk, release, step, target, rows, count, mine)

    def _look(self, key: str, chunks: Sequence[int], step: str, count: Count) -> list[PutBack]:
        """What a record gets back, if anything; counts it otherwise. `chunks` decided on it, the newest first."""
        images = [image for id in reversed(chunks) for image in self._read(id, step).images.get(key, ())]
        stack = standing(images)
        if not any(image.chunk in self._scope for image in stack):
            count.already_so += any(image.undo and image.chunk in self._scope for image in images)
            return []
        top = stack[-1]
        if top.chunk not in self._scope or chunks[0] not in self._scope:
            count.decided_since += 1
            return []
        lowest = self._lowest(stack)
        if lowest.before is None:
            count.no_image += 1
            return []
        if same(lowest.before, top.after):
            count.already_so += 1
            return []
        count.put_back += 1
        return [PutBack(key, lowest.before, top.after)]

    def _lowest(self, stack: Sequence[Image]) -> Image:
        """The first of the writes, one upon the other, that are all undone: a person between two of them has the word."""
        lowest = stack[-1]
        for image in reversed(stack[:-1]):
            if image.chunk not in self._scope or not same(image.after, lowest.before):
                break
            lowest = image
        return lowest

    def _written(self, chunk_id: int, step: str) -> Written:
        with self._engine.store.transaction("undo.images") as tx:
            stored = tx.all("evidence.of_chunk", chunk=chunk_id)
            pinned = tx.one("undo.release_of", chunk=chunk_id)
        if pinned is None:
            return Written({}, {}, {}, {})
        release = self._engine.parts.release(pinned["release_id"])
        steps = [each for each in release.flow.writes if each.name == step]
        fields = self._engine.parts.target(release, steps[0]).fields if steps else {}
        return written(self._engine.keyring, chunk_id, stored, step, fields) if steps else Written({}, {}, {}, {})


def survey_part(engine: Engine, part: Part, counts: Counts) -> Part:
    """Asks a part's target which records are no longer as we left them, counts them, and gives the part without these."""
    count = counts.of(part.step.name)
    for name in Count.__dataclass_fields__:
        setattr(count, name, getattr(count, name) + getattr(part.counted, name))
    if not part.rows:
        return part
    now = Present.read(engine, part.release, part.step, part.target, [row.key for row in part.rows])
    apart, other = now.differing(part.batch(ours=True)), now.differing(part.batch(ours=False))
    count.put_back -= len(apart)
    count.changed_since += len(apart.keys() & other.keys())
    count.already_so += len(apart.keys() - other.keys())
    return replace(part, rows=[row for place, row in enumerate(part.rows) if place not in apart])


def freeze_part(engine: Engine, part: Part, chunk_id: int, bound: int) -> Iterator[Frozen]:
    """The slices of a part, each within what its connector takes at once, and of at most `bound` rows."""
    back, ours = part.batch(ours=False), part.batch(ours=True)
    frame = pl.DataFrame([back.keys.alias(KEY), *back.frame, *(column.alias(BEFORE + column.name) for column in ours.frame)])
    size = max(1, min(bound, engine.parts.connector(part.step.connection).max_rows(part.target)))
    for number, start in enumerate(range(0, frame.height, size)):
        piece = frame.slice(start, size)
        content = frame_bytes(piece)
        key = effect_key(part.release.digest, chunk_id, part.step.name, number, engine.keyring.hash_body(content))
        yield Frozen(key, part.step.name, part.step.connection, piece.height, engine.keyring.seal(content, "effect"))

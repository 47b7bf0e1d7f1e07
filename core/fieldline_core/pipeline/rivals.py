"""Decisions of other chunks on the same records: newer ones overtake a write, older ones come first, and their values are ours."""

from dataclasses import dataclass

import polars as pl

from fieldline_core.batch import Batch
from fieldline_core.flow import WriteStep
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.images import Values, written
from fieldline_core.ports import Target
from fieldline_core.store import Row, Transaction, uuid_array


@dataclass(frozen=True, slots=True)
class Rivals:
    """What the other decisions mean for a slice.

    `overtaken` are the rows with a newer decision; `older_open` says that an older write of some row is not known to have ended;
    `before` are the values that the target is expected to hold, our own later ones among them.
    """

    overtaken: frozenset[int]
    older_open: bool
    before: pl.DataFrame | None


def find_rivals(engine: Engine, claim: Row, step: WriteStep, target: Target, batch: Batch, before: pl.DataFrame | None) -> Rivals:
    """The other decisions on the slice's records."""
    with engine.store.transaction("write.rivals") as tx:
        chunks = tx.one("chunks.rivals", chunk=claim["chunk_id"], write=step.name)
        if not chunks or not (chunks["newer"] or chunks["open"] or chunks["late"]):
            return Rivals(frozenset(), False, before)
        hashes = uuid_array(engine.keyring.hash_keys(batch.keys))
        place = {"seq": claim["seq"], "chunk": claim["chunk_id"], "flow": claim["flow_id"], "write": step.name}
        found = tx.all("effects.rivals", hashes=hashes, chunks=[*chunks["open"], *chunks["late"]], **place)
        here, late, still_open = (claim["seq"], claim["chunk_id"]), set(chunks["late"]), set(chunks["open"])
        overtaken = frozenset(rival["position"] - 1 for rival in found if (rival["seq"], rival["chunk_id"]) > here)
        older_open = any(rival["chunk_id"] in still_open for rival in found)
        if before is not None and late:
            # The latest one comes first; of several on one record it is the one whose value stands.
            ours = {rival["position"] - 1: rival["chunk_id"] for rival in reversed(found) if rival["chunk_id"] in late}
            before = _with_our_values(engine, tx, step, target, batch, before, ours)
    return Rivals(overtaken, older_open, before)


def _with_our_values(
    engine: Engine, tx: Transaction, step: WriteStep, target: Target, batch: Batch, before: pl.DataFrame, ours: dict[int, int]
) -> pl.DataFrame:
    """What is expected in the target where we wrote to it ourselves after these records were read."""
    left = {chunk_id: _written(engine, tx, step, target, chunk_id) for chunk_id in set(ours.values())}
    columns = {name: before[name].to_list() for name in before.columns}
    for row, chunk_id in ours.items():
        values = left[chunk_id].get(batch.keys[row], {})
        for name in values.keys() & columns.keys():
            columns[name][row] = values[name]
    return pl.DataFrame([pl.Series(name, values, dtype=before.schema[name], strict=False) for name, values in columns.items()])


def _written(engine: Engine, tx: Transaction, step: WriteStep, target: Target, chunk_id: int) -> dict[str, Values]:
    """Key -> values, of the rows that a chunk's write step has written."""
    stored = tx.all("evidence.of_chunk", chunk=chunk_id)
    found = written(engine.keyring, chunk_id, stored, step.name, target.fields)
    # The last one stands: that of an undo, where there was one.
    return {key: images[-1].after for key, images in found.images.items()}

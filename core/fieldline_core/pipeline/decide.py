"""From records to decisions: mapping, model, fields; pure, the same for one record and for ten thousand."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from fieldline_core.batch import Batch, Sifted, kept
from fieldline_core.errors import Rejected
from fieldline_core.ports import Model, Plan, Tensors


@dataclass(frozen=True, slots=True)
class Decisions:
    """What was decided on a batch: one frame a step with a row for every record, and the held rows with stage and reason."""

    batch: Batch
    features: pl.DataFrame
    outputs: pl.DataFrame
    fields: pl.DataFrame
    held: dict[int, tuple[str, str]]
    clock: datetime
    chunk: int | None = None
    """The chunk that they are stored under, as soon as there is one: a decision's id is its chunk and its row."""


_FILLER = "__row"
_NOTHING = Sifted(pl.DataFrame(), {})


def decide_batch(plan: Plan, model: Model, batch: Batch, clock: datetime, timeout_s: float) -> Decisions:
    """The decisions on all rows; one that cannot be mapped or scored is held, and the others go on."""
    mapped = plan.features(batch, clock)
    held = {row: ("map", reason) for row, reason in mapped.held.items()}
    places = _left(len(batch), held)
    features = mapped.frame.filter(kept(len(batch), held)) if held else mapped.frame
    scored = run_bisected(model, plan.tensors(features), len(places), timeout_s) if places else _NOTHING
    held |= {places[row]: ("score", reason) for row, reason in scored.held.items()}
    outputs = scored.frame.filter(kept(len(places), scored.held)) if scored.held else scored.frame
    places = _left(len(batch), held)
    fields = plan.fields(batch.without(held), outputs, clock) if places else _NOTHING
    held |= {places[row]: ("map", reason) for row, reason in fields.held.items()}
    outputs, written = (_spread(frame, places, len(batch)) for frame in (outputs, fields.frame))
    return Decisions(batch, mapped.frame, outputs, written, held, clock)


def run_bisected(model: Model, tensors: Tensors, rows: int, timeout_s: float) -> Sifted:
    """The model's outputs; a batch that fails is halved until the bad rows stand alone and are held."""
    try:
        return model.run(tensors, timeout_s)
    except Rejected as error:
        if rows == 1:
            return Sifted(pl.DataFrame(), {0: str(error)})
    half = rows // 2
    first = run_bisected(model, {name: tensor[:half] for name, tensor in tensors.items()}, half, timeout_s)
    second = run_bisected(model, {name: tensor[half:] for name, tensor in tensors.items()}, rows - half, timeout_s)
    frame = pl.concat([_padded(first.frame, half), _padded(second.frame, rows - half)], how="diagonal")
    return Sifted(frame, {**first.held, **{row + half: reason for row, reason in second.held.items()}})


def _padded(frame: pl.DataFrame, rows: int) -> pl.DataFrame:
    """A frame with no outputs (its only row failed) still has its rows."""
    return frame if frame.height else pl.DataFrame({_FILLER: pl.repeat(None, rows, dtype=pl.Boolean, eager=True)})


def _left(rows: int, held: Collection[int]) -> Sequence[int]:
    """The places of the rows that are not held."""
    return [row for row in range(rows) if row not in held] if held else range(rows)


def _spread(frame: pl.DataFrame, places: Sequence[int], rows: int) -> pl.DataFrame:
    """The frame's rows at their places among all rows; the others are null."""
    frame = frame.drop(_FILLER, strict=False)
    if frame.height == rows or not frame.width:
        return frame
    placed = frame.with_columns(pl.Series("__place", places, pl.UInt32))
    every = pl.DataFrame({"__place": pl.arange(rows, dtype=pl.UInt32, eager=True)})
    return every.join(placed, on="__place", how="left", maintain_order="left").drop("__place")

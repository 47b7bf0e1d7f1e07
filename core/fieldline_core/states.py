"""The states of runs, chunks and effects, and the moves between them."""

from enum import StrEnum


class RunState(StrEnum):
    """States of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ChunkState(StrEnum):
    """States of a chunk."""

    READ = "read"
    SCORED = "scored"
    DONE = "done"
    DEAD = "dead"


class EffectState(StrEnum):
    """States of an effect."""

    INTENDED = "intended"
    SUBMITTED = "submitted"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    UNKNOWN = "unknown"


RUN_MOVES: dict[RunState, frozenset[RunState]] = {
    RunState.QUEUED: frozenset({RunState.RUNNING, RunState.FAILED, RunState.CANCELLED}),
    RunState.RUNNING: frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}),
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.CANCELLED: frozenset(),
}

CHUNK_MOVES: dict[ChunkState, frozenset[ChunkState]] = {
    ChunkState.READ: frozenset({ChunkState.SCORED, ChunkState.DONE, ChunkState.DEAD}),
    ChunkState.SCORED: frozenset({ChunkState.DONE}),
    ChunkState.DONE: frozenset({ChunkState.SCORED}),
    ChunkState.DEAD: frozenset(),
}

EFFECT_MOVES: dict[EffectState, frozenset[EffectState]] = {
    EffectState.INTENDED: frozenset({EffectState.SUBMITTED, EffectState.CONFIRMED, EffectState.REFUSED, EffectState.UNKNOWN}),
    EffectState.SUBMITTED: frozenset({EffectState.CONFIRMED, EffectState.REFUSED, EffectState.UNKNOWN, EffectState.INTENDED}),
    EffectState.CONFIRMED: frozenset(),
    EffectState.REFUSED: frozenset(),
    EffectState.UNKNOWN: frozenset({EffectState.INTENDED}),
}
"""An unknown effect goes back to intended, and its chunk to scored, only when a person replays it."""

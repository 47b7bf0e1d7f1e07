"""Retention: finished runs, chunks and effects, ended dead letters, old event ids and most old checkpoints go; evidence stays."""

from fieldline_core.events import record
from fieldline_core.logs import log
from fieldline_core.pipeline.engine import Engine

TOPICS = ("retention.effects", "retention.chunks", "retention.runs", "retention.inbox", "pruning.dead_letters", "pruning.workers",
          "pruning.checkpoints")  # fmt: skip
"""What is removed, by query, in this order: a chunk goes after its effects, a run after its chunks."""
_BATCH = 5000
_LOST_WORKER_DAYS = 1


def prune(engine: Engine, topic: str) -> bool:
    """Removes one batch of what is past its time, and says whether there may be more."""
    settings = engine.settings
    others = {
        "retention.inbox": settings.retain_inbox_days, "pruning.workers": _LOST_WORKER_DAYS,
        "pruning.checkpoints": settings.retain_checkpoints_days,
    }  # fmt: skip
    days = others.get(topic, settings.retain_days)
    name = topic.partition(".")[2]
    with engine.store.transaction("retention") as tx:
        gone = tx.run(topic, days=days, limit=_BATCH)
        if gone:
            record(tx, "retention.applied", "engine", {name: gone})
    if gone:
        log().info("retention_applied", name=name, count=gone)
    return gone >= _BATCH

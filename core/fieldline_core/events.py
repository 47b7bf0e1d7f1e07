"""The audit events: every change that a person or a policy makes has its type here."""

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from fieldline_core.store import Transaction

EVENTS: dict[str, str] = {
    "backtest.viewed": "Decided records were read again and scored under two mappings; nothing was written.",
    "config.published": "A connection, mapping or flow was published in a new version.",
    "decisions.recorded": "A batch of decisions was stored with its evidence.",
    "dead_letters.discarded": "Dead letters were discarded with a reason.",
    "dead_letters.replayed": "Dead letters were run again.",
    "dead_letter.viewed": "The record of a dead letter was looked at.",
    "decision.viewed": "A decision with its source values was looked at.",
    "features.exported": "Records were read and their features written to a file for training.",
    "flow.paused": "A flow was paused.",
    "flow.resumed": "A flow was resumed.",
    "hook.conflict": "An event id came again with another body.",
    "hook.rejected": "A webhook was refused as malformed, forged or stale; counted, not one by one.",
    "key.made": "An API key was made.",
    "key.revoked": "An API key was revoked.",
    "model.alias_moved": "A model's alias was moved to another version.",
    "model.imported": "A model version was imported.",
    "preview.viewed": "Records were read and mapped for a preview; nothing was written.",
    "receipts.recorded": "What a target answered to a slice was stored.",
    "retention.applied": "What had passed its retention was removed.",
    "samples.viewed": "Sample values of a connected system were looked at.",
    "run.cancelled": "A run was cancelled.",
    "run.requested": "A run was asked for.",
    "run.skipped": "A schedule fired while its last run was still going on.",
    "score.requested": "Records were scored for a waiting caller.",
    "secret.stored": "A secret was put into the store.",
    "target.retried": "A target's circuit breaker was closed by hand.",
    "writes.paused": "All write-backs were paused.",
    "writes.resumed": "All write-backs were resumed.",
}


def record(tx: Transaction, event: str, actor: str, detail: Mapping[str, Any] | None = None) -> None:
    """Puts an audit event into the outbox; `detail` holds names, ids and digests, never contents or secrets."""
    if event not in EVENTS:
        raise KeyError(f"the audit event {event!r} is not declared in fieldline_core.events")
    tx.run("audit.add", event=event, actor=actor, detail=Jsonb(dict(detail or {})))

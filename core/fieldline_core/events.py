"""The audit events: every change that a person or a policy makes has its type here."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from psycopg.types.json import Jsonb

from fieldline_core.store import Transaction

_MOST_BYTES, _SHORT = 60_000, 1000

EVENTS: dict[str, str] = {
    "backtest.viewed": "Decided records were read again and scored under two mappings; nothing was written.",
    "cds.feedback": "A clinician accepted a card of CDS Hooks, or overrode it.",
    "chunk.buried": "Records that were taken in could not be decided on as a whole, and were set aside or given up.",
    "config.published": "A connection, mapping or flow was published in a new version.",
    "decisions.recorded": "A batch of decisions was stored with its evidence.",
    "dead_letters.discarded": "Dead letters were discarded with a reason.",
    "dead_letters.replayed": "Dead letters were run again.",
    "dead_letter.viewed": "The record of a dead letter was looked at.",
    "decision.rerun": "Past decisions were made again and compared; nothing was written.",
    "decision.viewed": "A decision with its source values was looked at.",
    "evidence.exported": "Evidence was exported with its proofs.",
    "features.exported": "Records were read and their features written to a file for training.",
    "feed.subscribed": "A system was asked to tell a flow of changes: a subscription was made, renewed or asked for again.",
    "feed.unsubscribed": "A system was asked to tell a flow of changes no more: the subscription was taken away, or why not.",
    "flow.paused": "A flow was paused.",
    "flow.resumed": "A flow was resumed.",
    "hold.placed": "A legal hold was placed on a record: it is not erased.",
    "hold.released": "The legal hold on a record was released.",
    "hook.conflict": "An event id came again with another body.",
    "hook.rejected": "A webhook was refused as malformed, forged or stale; counted, not one by one.",
    "key.made": "An API key was made.",
    "key.revoked": "An API key was revoked.",
    "log.counted": "How many records each flow has taken in so far.",
    "log.disputed": "A witness refused a checkpoint because it has seen another log: somebody must find out why.",
    "log.key_changed": "The key that signs the log was changed; this entry names the new one.",
    "model.alias_moved": "A model's alias was moved to another version.",
    "model.imported": "A model version was imported.",
    "preview.viewed": "Records were read and mapped for a preview; nothing was written.",
    "receipts.recorded": "What a target answered to a slice was stored.",
    "record.erased": "What was kept of a record was erased; its rows' commitments stay.",
    "report.made": "A report was made of the log; it may hold the values of records.",
    "retention.applied": "What had passed its retention was removed.",
    "samples.viewed": "Sample values of a connected system were looked at.",
    "run.cancelled": "A run was cancelled.",
    "run.requested": "A run was asked for.",
    "run.skipped": "A schedule fired while its last run was still going on.",
    "score.requested": "Records were scored for a waiting caller.",
    "secret.used": "A process used the secrets that a connection refers to; said once a day for each process and connection.",
    "secret.stored": "A secret was put into the store.",
    "target.retried": "A target's circuit breaker was closed by hand.",
    "undo.previewed": "What an undo would put back was counted; nothing was written.",
    "undo.requested": "An undo was asked for: what was written is put back as it was.",
    "writes.paused": "All write-backs were paused.",
    "writes.resumed": "All write-backs were resumed.",
}


def record(tx: Transaction, event: str, actor: str, detail: Mapping[str, Any] | None = None) -> int:
    """Puts an audit event into the outbox, and returns its id; `detail` holds names, ids and digests, never contents or secrets."""
    if event not in EVENTS:
        raise KeyError(f"the audit event {event!r} is not declared in fieldline_core.events")
    row = tx.one("audit.add", event=event, actor=actor, detail=Jsonb(_bounded(_plain(detail or {}))))
    assert row is not None
    return int(row["id"])


def _plain(value: Any) -> Any:
    """A value as the log's entries hold it: fractions are written as texts, which nobody reads back as another number."""
    match value:
        case float():
            return repr(value)
        case Mapping():
            return {str(name): _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
    return value


def _bounded(detail: dict[str, Any]) -> dict[str, Any]:
    """What a log's entry can hold; of more, its digest and its names."""
    text = json.dumps(detail, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    if len(text) <= _MOST_BYTES:
        return detail
    short = {name: value for name, value in detail.items() if len(json.dumps(value)) < _SHORT}
    return {**short, "cut": {"bytes": len(text), "sha256": sha256(text).hexdigest()}}

"""The certificate of an erasure: what the log's entry says of it, for a person to keep."""

from dataclasses import asdict, dataclass
from typing import Any

from fieldline_core.errors import Misconfigured
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.prove import SealedLog, detail_of
from fieldline_core.pipeline.sequence import seal_all

FORMAT = "fieldline-erasure/1"
_KINDS = {
    "decisions": "decisions with source values, features, outputs and fields", "receipts": "answers of targets",
    "batches": "batches of evidence sealed anew, each under a new key; the old keys are destroyed",
    "dead_letters": "dead letters", "events": "events", "writes": "writes of unknown outcome",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was erased of a record, why, by whom, and where the log says so."""

    key_hash: str
    erased_at: str
    by: str
    why: str
    despite: str
    flows: list[str]
    erased: dict[str, int]
    key_backup_days: int
    key_backups_until: str
    event: int
    position: int
    log: str

    def to_json(self) -> dict[str, Any]:
        """The certificate as JSON values, with the text for people in it."""
        return {"format": FORMAT, **asdict(self), "text": self.text()}

    def text(self) -> str:
        """The certificate for people."""
        lines = [
            "CERTIFICATE OF ERASURE", "",
            f"Record    {self.key_hash} (a keyed hash of its key)",
            f"Erased    {self.erased_at} by {self.by}",
            f"Reason    {self.why}",
            *([f"Despite   a retention class, on this legal basis: {self.despite}"] if self.despite else []),
            f"Flows     {', '.join(self.flows)}",
            f"Log       entry {self.position} of {self.log}", "",
            "Erased were:", *(f"  {self.erased[kind]:>6,} {words}" for kind, words in _KINDS.items()), "",
            "What stays is a commitment for each row, a hash that tells nothing without the row and its salt, so that all proofs",
            "still hold; and this entry.", "",
            f"Backups: the old keys may be in backups of the table batch_key, which are kept for {self.key_backup_days} days.",
            f"After {self.key_backups_until} no backup of the evidence can be read for these rows. Dead letters, events,",
            "writes, and records that waited for a decision when a backup of the database was made can be read from that backup",
            "for as long as it is kept.",
        ]  # fmt: skip
        return "\n".join(lines) + "\n"


def certify(engine: Engine, event: int) -> Certificate:
    """The certificate of an erasure, by its audit event, which is in the log behind this."""
    seal_all(engine)
    with engine.store.transaction("certify") as tx:
        log = SealedLog(tx)
        log.keep()
        position = log.position(event)
        (entry,) = log.entries(position, position + 1)
    facts = detail_of(entry)
    detail = facts["detail"]
    if facts["event"] != "record.erased":
        raise Misconfigured(f"event {event} is no erasure: see 'fieldline audit --event record.erased'")
    erased = {kind: detail[kind] for kind in _KINDS}
    same = {name: detail[name] for name in ("key_hash", "why", "despite", "flows", "key_backup_days", "key_backups_until")}
    return Certificate(
        erased_at=facts["at"], by=facts["actor"], erased=erased, event=event, position=position, log=log.key.name, **same
    )

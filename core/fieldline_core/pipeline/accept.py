"""The verb *accept*: a verified event is stored before it is acknowledged."""

import json
from dataclasses import dataclass

from fieldline_core.errors import FieldlineError, Misconfigured, Rejected, Unavailable
from fieldline_core.events import record
from fieldline_core.flow import Release
from fieldline_core.keyring import same
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.enrich import event_key
from fieldline_core.ports import Event


class Conflict(FieldlineError):
    """An event id came again with another body."""

    code = "conflict"


@dataclass(frozen=True, slots=True)
class Accepted:
    """What an event is known by; `repeated` where it had come before with the same body."""

    event: int
    repeated: bool


def accept(engine: Engine, release: Release, sender: str, event: Event) -> Accepted:
    """Stores an event for a flow, once; the flow's release of this moment is what it will be decided by.

    Raises Rejected where it names no record, Conflict where its id stands for another body.
    """
    key = event_key(release, json.loads(event.body))
    if not key:
        place = release.flow.trigger.key
        raise Rejected(f"the message has no text or number at {place}, where the flow {release.flow.flow} expects the record's key")
    digest = engine.keyring.hash_body(event.body)
    sealed = engine.keyring.seal(event.body, "inbox")
    with engine.store.transaction("accept") as tx:
        row = tx.one("inbox.add", flow=release.flow_id, sender=sender, event_id=event.id, body=sealed, body_hash=digest,
                     key_hash=engine.keyring.hash_key(key))  # fmt: skip
        if row is not None:
            tx.one("relay.notify")
            return Accepted(row["id"], repeated=False)
        seen = tx.one("inbox.seen", sender=sender, event_id=event.id)
        if seen is None:
            raise Misconfigured(f"the flow {release.flow.flow} has no release: apply it again")
        if same(bytes(seen["body_hash"]), digest):
            return Accepted(seen["id"], repeated=True)
        record(tx, "hook.conflict", sender, {"flow": release.flow.flow, "event": seen["id"]})
    raise Conflict(f"the id of this message was used before for another message (event {seen['id']})")


class Intake:
    """Refuses events while too many wait; the count is read at most once a second for a process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._counted_at = float("-inf")
        self._waiting = 0

    def check(self, now_s: float) -> None:
        """Raises Unavailable, with the wait to tell the sender, where the backlog is full."""
        bound = self._engine.settings.max_waiting_events
        if now_s - self._counted_at > 1.0:
            with self._engine.store.transaction("intake") as tx:
                row = tx.one("inbox.waiting", bound=bound)
            self._waiting, self._counted_at = (row["waiting"] if row else 0), now_s
        if self._waiting >= bound:
            raise Unavailable(f"{bound} events wait already; send this one again later", retry_after=10.0)

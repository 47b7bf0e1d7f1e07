"""Outbound messages of an org: who is told of which changes, and what is not yet acknowledged.

A notification's id follows from the change that it tells of, so that an org that is started again tells of what was not settled
with the same ids.
"""

import heapq
import threading
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from fieldline_simulators.salesforce.changes import Expired
from fieldline_simulators.salesforce.ids import make_id

if TYPE_CHECKING:
    from fieldline_simulators.salesforce.org import Org

MOST_NOTIFICATIONS = 100
MOST_MESSAGES = 100
_AT_ONCE = 1000
_LONGEST_WAIT_S = 7200.0
_LIVES = timedelta(hours=24)


@dataclass(slots=True)
class Message:
    """An outbound message as an administrator defines it."""

    name: str
    object: str
    url: str
    fields: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=lambda: ["CREATE", "UPDATE"])
    #: Sent along, as a proxy in front of the receiver would add them.
    headers: dict[str, str] = field(default_factory=dict)
    #: The certificate of the receiver's authority, in PEM.
    authority: str = ""
    #: The first wait before a message is sent again; each further one is twice as long.
    retry_s: float = 5.0
    number: int = 0
    #: Changes up to this position are settled: acknowledged, or given up.
    settled: int = 0

    @property
    def action_id(self) -> str:
        """The id that the message is known by."""
        return make_id("04k", self.number)


@dataclass(slots=True, order=True)
class Notification:
    """One change that is to be told."""

    due: datetime
    position: int
    id: str = field(compare=False)
    record_id: str = field(compare=False)
    born: datetime = field(compare=False)
    tries: int = field(default=0, compare=False)


@dataclass(slots=True)
class Line:
    """What one message has before it; the counts are for who looks on."""

    message: Message
    read: int
    waiting: list[Notification] = field(default_factory=list)
    acknowledged: int = 0
    dropped: int = 0
    failed: int = 0
    last_error: str = ""
    last: list[Notification] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For who looks on; headers may hold a secret."""
        shown = {name: value for name, value in asdict(self.message).items() if name not in ("headers", "authority")}
        return {
            **shown, "waiting": len(self.waiting), "acknowledged": self.acknowledged, "dropped": self.dropped,
            "failed": self.failed, "last_error": self.last_error,
        }  # fmt: skip


class Outbound:
    """All outbound messages; every call but `wait` comes with the org's lock held."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self._changed = threading.Event()

    def define(self, message: Message, latest: int) -> None:
        """Adds a message, which tells of changes from now on, or replaces one, which goes on where it is."""
        old = self.lines.get(message.name)
        taken = {each.message.number for each in self.lines.values()}
        message.number = old.message.number if old else next(each for each in range(1, MOST_MESSAGES + 1) if each not in taken)
        message.settled = old.message.settled if old else latest
        self.lines[message.name] = Line(message, old.read if old else latest, old.waiting if old else [])
        self.stir()

    def remove(self, name: str) -> bool:
        """Removes a message; false where there is none."""
        return self.lines.pop(name, None) is not None

    def take(self, org: "Org", now: datetime) -> tuple[Line, list[Notification]] | None:
        """The next notifications that are due, of one message; None where there are none."""
        for line in self.lines.values():
            self._read(org, line, now)
            batch: list[Notification] = []
            while line.waiting and line.waiting[0].due <= now and len(batch) < MOST_NOTIFICATIONS:
                batch.append(heapq.heappop(line.waiting))
            if batch:
                return line, batch
        return None

    def settle(self, line: Line, batch: list[Notification], error: str, now: datetime) -> None:
        """Notes how a message went: an acknowledgement settles all of it, anything else puts all of it back."""
        if not error:
            line.acknowledged += len(batch)
            line.last = batch
        else:
            line.failed, line.last_error = line.failed + 1, error
        for each in batch if error else ():
            wait = min(_LONGEST_WAIT_S, line.message.retry_s * 2**each.tries)
            each.tries, each.due = each.tries + 1, now + timedelta(seconds=wait)
            if each.due - each.born > _LIVES:
                line.dropped += 1
            else:
                heapq.heappush(line.waiting, each)
        line.message.settled = min((each.position for each in line.waiting), default=line.read + 1) - 1

    def make_due(self, now: datetime, *, again: bool = False) -> int:
        """Makes everything that waits due now, and with `again` what was acknowledged last as well; returns how many."""
        count = 0
        for line in self.lines.values():
            for each in line.waiting:
                each.due = now
            last = line.last if again else []
            line.waiting += [Notification(now, each.position, each.id, each.record_id, now) for each in last]
            heapq.heapify(line.waiting)
            count += len(line.waiting)
        self.stir()
        return count

    def next_due(self) -> datetime | None:
        """When the next notification is due."""
        return min((line.waiting[0].due for line in self.lines.values() if line.waiting), default=None)

    def stir(self) -> None:
        """Wakes the sender."""
        self._changed.set()

    def wait(self, timeout_s: float | None) -> None:
        """Waits until something has changed, or for so long."""
        if self._changed.wait(timeout_s):
            self._changed.clear()

    def as_list(self) -> list[dict[str, Any]]:
        """For the store."""
        return [asdict(line.message) for line in self.lines.values()]

    def load(self, saved: list[dict[str, Any]]) -> None:
        """From the store."""
        messages = [Message(**each) for each in saved]
        self.lines = {each.name: Line(each, each.settled) for each in messages}

    def _read(self, org: "Org", line: Line, now: datetime) -> None:
        message = line.message
        while line.read < org.feed.latest:
            try:
                found = org.feed.read(line.read, _AT_ONCE)
            except Expired:
                line.read = org.feed.earliest
                continue
            for change in found:
                if change.object == message.object and change.kind in message.kinds:
                    made = make_id("04l", change.position * MOST_MESSAGES + message.number)
                    heapq.heappush(line.waiting, Notification(now, change.position, made, change.record_id, now))
            line.read = found[-1].position

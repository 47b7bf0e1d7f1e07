"""The org's event log: each commit appends what it changed, in order.

This is the seam for whatever publishes changes (Change Data Capture by the Pub/Sub API, outbound messages): a publisher
calls `read(after)` with the last position it has published, and `wait(after, timeout_s)` where there was nothing. It never
sees a change whose transaction was not committed, and all changes of a transaction have one `commit_number` and follow one
another. Positions grow and have gaps. What is no longer retained is answered with `Expired`.
"""

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

RETAINED = 500_000


@dataclass(frozen=True, slots=True)
class Change:
    """One record as one transaction changed it."""

    position: int
    commit_number: int
    transaction_key: str
    sequence: int
    at_ms: int
    object: str
    record_id: str
    #: CREATE, UPDATE, DELETE or UNDELETE.
    kind: str
    #: The fields that changed, with their new values; None is a field that was emptied. All filled fields for a CREATE.
    values: dict[str, Any]
    #: Such as `com/salesforce/api/rest/64.0;client=fieldline`; empty for a change that a person made in the page.
    origin: str
    client: str
    user_id: str

    def as_dict(self) -> dict[str, Any]:
        """For the store, and for the page."""
        return asdict(self)


class Expired(Exception):
    """Changes after this position are no longer all retained."""


class Feed:
    """The changes that are retained, oldest first; safe to be read by any thread."""

    def __init__(self, retained: int = RETAINED) -> None:
        self._changes: list[Change] = []
        self._retained = retained
        self._forgotten = 0
        self._more = threading.Condition()
        self._woken: list[Callable[[], None]] = []

    @property
    def latest(self) -> int:
        """The position of the last change; 0 before the first."""
        return self._changes[-1].position if self._changes else self._forgotten

    @property
    def earliest(self) -> int:
        """The position after which everything is retained."""
        return self._forgotten

    def append(self, changes: Sequence[Change]) -> None:
        """Adds the changes of one commit and wakes who waits; only the org calls it."""
        with self._more:
            self._changes.extend(changes)
            if len(self._changes) > self._retained + self._retained // 4:
                self._forget(len(self._changes) - self._retained)
            self._more.notify_all()
        for wake in self._woken:
            wake()

    def read(self, after: int, limit: int = 100, objects: frozenset[str] | None = None) -> list[Change]:
        """At most `limit` changes behind a position, of some objects or of all; raises Expired."""
        with self._more:
            if after < self._forgotten:
                raise Expired(f"position {after} is no longer retained: the earliest is {self._forgotten}")
            found: list[Change] = []
            for change in self._changes[self._index(after) :]:
                if objects is None or change.object in objects:
                    found.append(change)
                if len(found) >= limit:
                    break
            return found

    def wait(self, after: int, timeout_s: float) -> bool:
        """Whether there is a change behind a position, now or within this time."""
        until = time.monotonic() + timeout_s
        with self._more:
            while self.latest <= after:
                left = until - time.monotonic()
                if left <= 0 or not self._more.wait(left):
                    return self.latest > after
            return True

    def on_append(self, wake: Callable[[], None]) -> None:
        """Calls this after each commit, from the thread that committed and with the org's lock held: it must return at once."""
        self._woken.append(wake)

    def forget(self, until: int) -> None:
        """Drops changes up to and with a position, as the end of their retention would."""
        with self._more:
            self._forget(self._index(until))
            self._forgotten = max(self._forgotten, until)

    def _index(self, after: int) -> int:
        return bisect_right(self._changes, after, key=lambda change: change.position)

    def _forget(self, count: int) -> None:
        if count:
            self._forgotten = self._changes[count - 1].position
            del self._changes[:count]

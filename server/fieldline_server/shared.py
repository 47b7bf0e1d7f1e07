"""Small values that all processes of one connection have in common: sealed in the store, changed under a lock there."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from psycopg.errors import LockNotAvailable

from fieldline_core.errors import Paced
from fieldline_core.keyring import Keyring
from fieldline_core.store import Store

_LONGEST_S = 5.0
_AGAIN_S = 5.0


class SharedValues:
    """The shared values of one connection.

    A change may take long, as a login does, and its process may be stopped: nobody waits for longer than `longest_s`, and of the
    threads of a process one at a time holds a connection to the store for a value.
    """

    def __init__(self, store: Store, keyring: Keyring, connection: str, longest_s: float = _LONGEST_S) -> None:
        self._store = store
        self._keyring = keyring
        self._connection = connection
        self._longest_s = longest_s
        self._locks: dict[str, threading.Lock] = {}

    def update(self, name: str, change: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """The new value, made from the old one; whoever comes meanwhile waits a while, so that `change` runs once at a time."""
        # No secret has such a name: those that people give hold no slash.
        place = f"shared/{self._connection}/{name}"
        with self._alone(name), self._store.transaction("shared") as tx:
            try:
                tx.one("keys.lock_shared", name=place, longest_ms=max(1, round(self._longest_s * 1000)))
            except LockNotAvailable:
                raise self._taken(name) from None
            row = tx.one("keys.secret", name=place)
            old = self._keyring.open(bytes(row["body"]), place) if row else None
            new = change(old)
            if new is not None and new != old:
                tx.run("keys.put_secret", name=place, body=self._keyring.seal(new, place))
            return new

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Of the threads of this process, one at a time."""
        lock = self._locks.setdefault(name, threading.Lock())
        # The first may wait for another process, and the next for it.
        if not lock.acquire(timeout=2 * self._longest_s):
            raise self._taken(name)
        try:
            yield
        finally:
            lock.release()

    def _taken(self, name: str) -> Paced:
        what = {"token": "signs in", "throttle": "counts its requests"}.get(name, f"changes its {name}")
        return Paced(f"the connection {self._connection} waits: another worker {what}, and has not ended in time", _AGAIN_S)

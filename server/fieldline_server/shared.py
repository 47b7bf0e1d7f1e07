"""Small values that all processes of one connection have in common: sealed in the store, changed under a lock there."""

from collections.abc import Callable

from fieldline_core.keyring import Keyring
from fieldline_core.store import Store


class SharedValues:
    """The shared values of one connection."""

    def __init__(self, store: Store, keyring: Keyring, connection: str) -> None:
        self._store = store
        self._keyring = keyring
        self._connection = connection

    def update(self, name: str, change: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """The new value, made from the old one; whoever comes meanwhile waits, so that `change` runs once at a time."""
        # No secret has such a name: those that people give hold no slash.
        place = f"shared/{self._connection}/{name}"
        with self._store.transaction("shared") as tx:
            tx.one("keys.lock_shared", name=place)
            row = tx.one("keys.secret", name=place)
            old = self._keyring.open(bytes(row["body"]), place) if row else None
            new = change(old)
            if new is not None and new != old:
                tx.run("keys.put_secret", name=place, body=self._keyring.seal(new, place))
            return new

"""That a process used the secrets of a connection: an audit event, once a day for each connection."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from fieldline_core.events import record
from fieldline_core.store import Row, Store

_DAY_S = 86_400.0


class SecretsUsed:
    """Tells the log which secrets this process uses, by their references."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._noted: dict[str, tuple[str, float]] = {}

    def note(self, connection: str, row: Row) -> None:
        """Records that a connection's document is about to be used, unless it has been on this day."""
        digest, at_s = self._noted.get(connection, ("", 0.0))
        if digest == row["digest"] and time.monotonic() - at_s < _DAY_S:
            return
        if found := sorted(set(_references(row["body"].get("settings")))):
            with self._store.transaction("secret.use") as tx:
                record(tx, "secret.used", "engine", {"connection": connection, "document": row["digest"], "secrets": found})
        self._noted[connection] = (row["digest"], time.monotonic())


def _references(value: Any) -> Iterator[str]:
    """The references to secrets in the settings of a connection, wherever they stand."""
    match value:
        case {"secret": str() as reference} if len(value) == 1:
            yield reference
        case Mapping():
            for each in value.values():
                yield from _references(each)
        case list() | tuple():
            for each in value:
                yield from _references(each)


__all__ = ["SecretsUsed"]

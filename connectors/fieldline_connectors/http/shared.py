"""What the processes of one connection have in common, where there is only one."""

import threading
from collections.abc import Callable


class OfProcess:
    """Shared values where no store is at hand: those of this object."""

    def __init__(self) -> None:
        self._values: dict[str, bytes | None] = {}
        self._lock = threading.Lock()

    def update(self, name: str, change: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """The new value, made from the old one under a lock."""
        with self._lock:
            self._values[name] = change(self._values.get(name))
            return self._values[name]

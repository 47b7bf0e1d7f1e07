"""Time limits of running models: one thread ends whatever runs too long."""

import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Deadlines:
    """Sets `terminate` on the options of a run whose time is over.

    onnxruntime looks at it between two operators (and between the rounds of a loop), so one operator that never ends cannot be
    stopped. The thread is woken only by a deadline earlier than all others: a run of a few microseconds pays for two dictionary
    operations.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Starts afresh; a forked process has the table of its parent but not the thread."""
        self._changed = threading.Condition()
        self._open: dict[int, tuple[float, Any]] = {}
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    @contextmanager
    def limit(self, options: Any, timeout_s: float) -> Iterator[None]:
        """Terminates the run with these options when it goes on for longer than `timeout_s`."""
        key, at = id(options), time.monotonic() + timeout_s
        with self._changed:
            self._open[key] = (at, options)
            if at < self._wakes_at:
                self._wake(at)
        try:
            yield
        finally:
            with self._changed:
                self._open.pop(key, None)

    def _wake(self, at: float) -> None:
        self._wakes_at = at
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="model deadlines", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for key, (at, options) in list(self._open.items()):
                    if at <= now:
                        options.terminate = True
                        del self._open[key]
                self._wakes_at = min((at for at, _ in self._open.values()), default=math.inf)
                self._changed.wait(None if self._wakes_at == math.inf else min(self._wakes_at - now, threading.TIMEOUT_MAX))


DEADLINES = Deadlines()
"""The one of this process; its thread starts with the first run."""

os.register_at_fork(after_in_child=DEADLINES.forget)

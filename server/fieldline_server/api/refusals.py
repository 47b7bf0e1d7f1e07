"""Refused webhooks in the audit: counted, and at most one event a minute for each sender, so that noise cannot drown it."""

import threading
import time
from collections import Counter

from fieldline_core.errors import Unavailable
from fieldline_core.events import record
from fieldline_core.logs import log
from fieldline_core.pipeline.engine import Engine

_EVERY_S = 60.0


class Refusals:
    """Counts refused messages by flow, and writes the counts down."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[str]] = {}
        self._written_at: dict[str, float] = {}

    def note(self, flow: str, why: str) -> None:
        """Counts one; the first of a minute is written down with those that were counted before."""
        with self._lock:
            self._counts.setdefault(flow, Counter())[why] += 1
            due = time.monotonic() - self._written_at.get(flow, float("-inf")) >= _EVERY_S
        if due:
            self._write(flow)

    def flush(self) -> None:
        """Writes down what was counted and not yet written."""
        with self._lock:
            counted = list(self._counts)
        for flow in counted:
            self._write(flow)

    def _write(self, flow: str) -> None:
        with self._lock:
            counts = self._counts.pop(flow, None)
            self._written_at[flow] = time.monotonic()
        if not counts:
            return
        try:
            with self._engine.store.transaction("hook.rejected") as tx:
                record(tx, "hook.rejected", f"hook:{flow}", {"flow": flow, "count": counts.total(), "reasons": dict(counts)})
        except Unavailable:
            with self._lock:
                self._counts.setdefault(flow, Counter()).update(counts)
            log().warning("refusals_not_written", flow=flow, count=counts.total())

"""The relay: one active by advisory lock, it gathers events, rings for due, lost and scheduled work, and sweeps."""

import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, Literal, TypeAlias

import psycopg

from fieldline_core.crash import point
from fieldline_core.errors import Unavailable
from fieldline_core.logs import log
from fieldline_core.pipeline.chunks import add_chunk, count_in, standing_run
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.retention import TOPICS, prune
from fieldline_core.pipeline.schedule import fire_schedules
from fieldline_core.pipeline.suspend import suspend_when_broken
from fieldline_core.store import Transaction

Verb = Literal["read", "score", "write"]
Hint: TypeAlias = tuple[str, Verb, int]
"""A queue, and what is to be done there to which id."""
Ring = Callable[[str, Verb, int], bool]
"""Puts a hint on the broker, False where it did not take it; a hint may be lost, late or doubled without harm."""

LOCK = 7_301_002
"""The advisory lock of the relay that leads."""
_TICK_S = 0.25
_SWEEP_S = 1.0
_PRUNE_S = 600.0
_DEAF_S = 1.0


class Relay:
    """Rings for work until it is stopped; a second relay waits for the first one's lock."""

    def __init__(self, engine: Engine, ring: Ring) -> None:
        self._engine = engine
        self._ring = ring
        self._stopped = threading.Event()
        self._swept_at = 0.0
        self._pruned_at = time.monotonic()
        self._to_prune: list[str] = []
        self._rings_at = 0.0

    def stop(self) -> None:
        """Ends `run` after the current round."""
        self._stopped.set()

    def run(self) -> None:
        """Rings until stopped; comes back by itself after the database was away, and after what nobody foresaw."""
        while not self._stopped.is_set():
            try:
                with closing(self._engine.store.listen()) as session:
                    self._lead(session)
            except (Unavailable, psycopg.OperationalError):
                log().warning("relay_waits", reason="the database does not answer")
                self._stopped.wait(1.0)
            except Exception as error:
                log().error("relay_round_failed", exc_info=error)
                self._stopped.wait(1.0)

    def _lead(self, session: psycopg.Connection[Any]) -> None:
        while not self._stopped.is_set():
            row = session.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
            if row and row[0]:
                break
            self._stopped.wait(1.0)
        session.execute("LISTEN fieldline_due")
        log().info("relay_leads")
        while not self._stopped.is_set():
            self.round()
            # One notification is as good as many: the round looks at everything that is due.
            list(session.notifies(timeout=_TICK_S, stop_after=1))

    def round(self) -> int:
        """One round of gathering, sweeping and ringing; returns the number of hints."""
        with self._engine.store.transaction("relay.slots") as tx:
            slots: dict[str, int] = {row["queue"]: row["slots"] for row in tx.all("relay.slots")}
        try:
            self._gather(slots)
            self._keep_house()
        finally:
            # Whatever went wrong there, the work that waits is rung for.
            hints = self._announce(slots)
        return hints

    def _keep_house(self) -> None:
        now_s = time.monotonic()
        if now_s - self._swept_at >= _SWEEP_S:
            self._swept_at = now_s
            self._sweep()
        if now_s - self._pruned_at >= _PRUNE_S:
            self._pruned_at = now_s
            self._to_prune = list(TOPICS)
        # One batch for each round: ringing does not wait for the rest.
        if self._to_prune and not prune(self._engine, self._to_prune[0]):
            self._to_prune.pop(0)

    def _gather(self, slots: dict[str, int]) -> None:
        with self._engine.store.transaction("relay.waiting") as tx:
            flows = tx.all("inbox.flows_waiting")
        for flow in flows:
            queue = "gpu" if flow["device"] == "cuda" else "cpu"
            # While enough chunks wait, events gather: the busier the workers, the larger the batches.
            if flow["open_chunks"] < 2 * max(1, slots.get(queue, 0)):
                with suspend_when_broken(self._engine, flow["flow_id"], "its events cannot be gathered"):
                    self._gather_one(flow["flow_id"], flow["release_id"])

    def _gather_one(self, flow_id: int, release_id: int) -> None:
        release = self._engine.parts.release(release_id)
        with self._engine.store.transaction("gather") as tx:
            ids = [
                row["id"]
                for row in tx.all("inbox.take", flow=flow_id, release=release_id, limit=self._engine.settings.max_events_in_chunk)
            ]
            if not ids:
                return
            webhook = release.flow.trigger.webhook
            run_id = standing_run(tx, release, f"webhook:{webhook}" if webhook else "changes")
            chunk = add_chunk(tx, run_id, release, len(ids), None, intake_from=count_in(tx, flow_id, len(ids)))
            tx.run("chunks.move_events", ids=ids, to=chunk)

    def _sweep(self) -> None:
        fire_schedules(self._engine)
        with self._engine.store.transaction("relay.sweep") as tx:
            tx.all("runs.finish_ended")

    def _announce(self, slots: dict[str, int]) -> int:
        if time.monotonic() < self._rings_at:
            return 0
        settings = self._engine.settings
        hints: list[Hint] = []
        with self._engine.store.transaction("relay.announce") as tx:
            announced = {row["queue"]: row["n"] for row in tx.all("relay.announced", resend_s=settings.resend_s)}
            for queue in slots:
                hints += _due(tx, queue, 2 * slots[queue] - announced.get(queue, 0), settings.resend_s, settings.max_waiting_chunks)
        for number, hint in enumerate(hints):
            point("relay.ring:before")
            if not self._ring(*hint):
                # Each try at a broker that hangs takes seconds: the rest waits for a later round.
                self._take_back(hints[number:])
                return number
            point("relay.ring:after")
        return len(hints)

    def _take_back(self, hints: list[Hint]) -> None:
        self._rings_at = time.monotonic() + _DEAF_S
        with self._engine.store.transaction("relay.take_back") as tx:
            for wanted in sorted({verb for _, verb, _ in hints}):
                tx.run(f"relay.take_back_{wanted}", ids=[id for _, verb, id in hints if verb == wanted])


def _due(tx: Transaction, queue: str, room: int, resend_s: float, max_waiting: int) -> list[Hint]:
    if room <= 0:
        return []
    if queue == "write":
        return [(queue, "write", row["id"]) for row in tx.all("relay.announce_effects", limit=room, resend_s=resend_s)]
    chunks = tx.all("relay.announce_chunks", queue=queue, limit=room, resend_s=resend_s)
    hints: list[Hint] = [(queue, "score", row["id"]) for row in chunks]
    if queue == "cpu" and room > len(chunks):
        runs = tx.all("relay.announce_runs", limit=room - len(chunks), resend_s=resend_s, max_waiting=max_waiting)
        hints += [(queue, "read", row["id"]) for row in runs]
    if queue == "cpu" and room > len(hints):
        ended = tx.all("relay.announce_prepared", limit=room - len(hints), resend_s=resend_s)
        hints += [(queue, "read", row["id"]) for row in ended]
    return hints

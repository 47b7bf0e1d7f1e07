"""The verb *listen*: what changes in a system becomes events, stored with the place to go on from, in one transaction."""

import json
import threading
import time
from contextlib import closing, suppress
from typing import Any

import psycopg

from fieldline_core.errors import Fenced, FieldlineError, StoreUnavailable, Unavailable
from fieldline_core.flow import Release
from fieldline_core.logs import log
from fieldline_core.pipeline.accept import Intake
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.leave import Leaver, leave
from fieldline_core.pipeline.manage import add_run
from fieldline_core.pipeline.place import begin, event_of
from fieldline_core.pipeline.subscribe import catch_up, keep
from fieldline_core.pipeline.suspend import suspend_when_broken
from fieldline_core.ports import Heard, Subscribes
from fieldline_core.store import Transaction

LOCK = 7_301_004
"""The advisory lock of the process that listens."""
_LOOK_S = 1.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
_END_S = 5.0
# How long a flow that listens to something else now waits for the system that it leaves.
_LEAVE_WAIT_S = 30.0


class Listeners:
    """One listener for each flow that waits for changes; of several processes, one at a time listens."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stopped = threading.Event()
        self._running: dict[tuple[int, int | None], Listener | Leaver] = {}
        self._leaving: list[Listener | Leaver] = []

    def stop(self) -> None:
        """Ends `run`, and every listener."""
        self._stopped.set()

    def run(self) -> None:
        """Listens until stopped; comes back by itself after the database was away, and after what nobody foresaw."""
        while not self._stopped.is_set():
            try:
                with closing(self._engine.store.listen()) as session:
                    self._lead(session)
            except (Unavailable, psycopg.OperationalError):
                self._stopped.wait(1.0)
            except Exception as error:
                log().error("listening_failed", exc_info=error)
                self._stopped.wait(1.0)
            finally:
                self._part()

    def _lead(self, session: psycopg.Connection[Any]) -> None:
        leads = False
        while not self._stopped.is_set():
            # Asked each time: a session that is gone has lost the lock, and another process may listen by now.
            row = session.execute("SELECT %s OR pg_try_advisory_lock(%s)", (leads, LOCK)).fetchone()
            leads = bool(row and row[0])
            if leads:
                self._match()
                catch_up(self._engine)
            self._stopped.wait(_LOOK_S)

    def _match(self) -> None:
        """A listener for each flow that wants one; a release that has been replaced is listened for no longer.

        A flow that listens no more is left: its system need not tell it anything.
        """
        with self._engine.store.transaction("feeds") as tx:
            wanted = {(row["flow_id"], row["release_id"]) for row in tx.all("feeds.wanted")}
        self._keep(wanted)
        # Two listeners of a flow might ask its system for the same thing twice: the next one begins when the last has ended.
        busy = {each.flow_id for each in self._leaving}
        for flow_id, release_id in sorted(wanted - self._running.keys(), key=lambda place: place[0]):
            if flow_id not in busy:
                made = Leaver(self._engine, flow_id) if release_id is None else Listener(self._engine, flow_id, release_id)
                self._running[flow_id, release_id] = made
                made.start()

    def _keep(self, wanted: set[tuple[int, int | None]]) -> None:
        """Has the other listeners end; one that waits for its system ends behind that, and keeps no other flow waiting."""
        for place in self._running.keys() - wanted:
            self._running[place].stop()
            self._leaving.append(self._running.pop(place))
        self._leaving = [each for each in self._leaving if each.is_alive()]

    def _part(self) -> None:
        """Ends every listener; one that does not end soon is left behind: what it stores is refused when another has its flow."""
        self._keep(set())
        until = time.monotonic() + _END_S
        for each in self._leaving:
            each.join(max(0.0, until - time.monotonic()))


class Listener(threading.Thread):
    """Listens for one flow, by one of its releases."""

    def __init__(self, engine: Engine, flow_id: int, release_id: int) -> None:
        super().__init__(name=f"feed-{flow_id}", daemon=True)
        self._engine = engine
        self.flow_id = flow_id
        self._release_id = release_id
        self._ended = threading.Event()
        self._wait_s = _FIRST_WAIT_S

    def stop(self) -> None:
        """Ends the listener after what it stores now."""
        self._ended.set()

    def run(self) -> None:
        """Listens until stopped; what only time cures is tried again, what a person must mend pauses the flow, with the reason."""
        while not self._ended.is_set():
            asked_s = None
            try:
                with suspend_when_broken(self._engine, self.flow_id, "it cannot listen to changes"):
                    self.listen()
            except (Unavailable, psycopg.Error) as error:
                self._note(error)
                asked_s = error.retry_after if isinstance(error, Unavailable) else None
            self._ended.wait(asked_s or self._wait_s)
            self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)

    def listen(self) -> None:
        """Stores what is heard, until the feed ends or fails, or another listener has the flow."""
        with suppress(Fenced):
            self._listen(self._engine)

    def _listen(self, engine: Engine) -> None:
        release = engine.parts.release(self._release_id)
        source = release.flow.source
        assert source is not None
        leave(engine, self.flow_id, release, last=self._wait_s >= _LEAVE_WAIT_S)
        connector, topic = engine.parts.connector(source.connection), engine.parts.topic(release)
        if isinstance(connector, Subscribes):
            for _ in keep(engine, release, self._ended):
                self._wait_s = _FIRST_WAIT_S
            return
        version, after = begin(engine, release)
        own = own_fields_written(engine, release)
        intake = Intake(engine)
        for heard in connector.listen(topic, after, self._ended.is_set):
            intake.check(time.monotonic())
            version = take(engine, release, heard, version, own)
            self._wait_s = _FIRST_WAIT_S

    def _note(self, error: Exception) -> None:
        words = str(error) if isinstance(error, FieldlineError) else f"the store failed ({type(error).__name__})"
        log().warning("feed_waits", flow=self.flow_id, reason=type(error).__name__)
        try:
            with self._engine.store.transaction("feed.fails") as tx:
                tx.run("feeds.fails", flow=self.flow_id, reason=words[:500])
        except StoreUnavailable:
            # What is lost is the note: the next try makes it.
            return


def own_fields_written(engine: Engine, release: Release) -> frozenset[str]:
    """The fields of the source's records that the flow itself writes: where only these changed, nobody else did anything."""
    query = engine.parts.query(release)
    assert query is not None
    return frozenset(field for write in release.flow.writes for field in engine.parts.target(release, write).overwrites(query))


def take(engine: Engine, release: Release, heard: Heard, version: int, own: frozenset[str]) -> int:
    """Stores what was heard and moves the place on, or neither; returns the place's new version.

    Where changes were missed, a run reads what may have changed. Raises Fenced where another listener has moved the place,
    Unavailable while a run goes on that may have been too early to see what was missed.
    """
    changes = [change for change in heard.changes if not change.fields or not change.fields <= own]
    with engine.store.transaction("listen") as tx:
        cursor = engine.keyring.seal(json.dumps(heard.after).encode(), "feed")
        if not tx.run("feeds.move", flow=release.flow_id, cursor=cursor, version=version):
            raise Fenced
        tx.many("inbox.add", [event_of(engine, release, change) for change in changes])
        if heard.gap:
            _read_all(engine, tx, release)
        if changes:
            tx.one("relay.notify")
    return version + 1


def _read_all(engine: Engine, tx: Transaction, release: Release) -> None:
    if tx.one("runs.active", flow=release.flow_id):
        raise Unavailable("changes were missed, and the run that reads them waits for the one that goes on", retry_after=5.0)
    add_run(tx, release, "changes", engine.parts)
    log().warning("feed_had_gap", flow=release.flow.flow)

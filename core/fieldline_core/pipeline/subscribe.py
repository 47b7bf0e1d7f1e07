"""The verb *subscribe*: a system is asked to send messages of what changes, and what they say becomes events."""

import json
import threading
from collections.abc import Callable, Iterator

from psycopg.types.json import Jsonb

from fieldline_core.errors import Fenced
from fieldline_core.events import record
from fieldline_core.flow import Release
from fieldline_core.logs import log
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.manage import add_run
from fieldline_core.pipeline.place import begin, event_of, topic_of
from fieldline_core.pipeline.suspend import suspend_when_broken
from fieldline_core.ports import Cursor, Heard, Subscribed
from fieldline_core.store import Transaction


def keep(engine: Engine, release: Release, ended: threading.Event) -> Iterator[None]:
    """Looks after the flow's subscription until ended, look by look; raises Fenced where another listener has the flow."""
    assert release.flow.source is not None
    topic = engine.parts.topic(release)
    version, place = begin(engine, release)
    while not ended.is_set():
        # Each time anew: the connection's document may have changed since.
        connector = engine.parts.connector(release.flow.source.connection)
        found: Subscribed = connector.subscribe(topic, release.flow.flow, place)
        version, place = _stored(engine, release, found, version), found.place
        if found.said is not None:
            take_told(engine, release, found.said)
        yield
        ended.wait(found.again_s)


def take_told(engine: Engine, release: Release, said: Callable[[Cursor | None], Heard]) -> int:
    """Stores the changes that a message tells of, with the place behind it; returns how many there are.

    Where changes were missed, or the message does not name them, a run reads them: that it must is stored as well.
    """
    topic = topic_of(release)
    with engine.store.transaction("told") as tx:
        # Messages come in at once: each sees what the one before it has stored.
        place = tx.one("feeds.hear", flow=release.flow_id, topic=topic)
        assert place is not None
        heard = said(place["told"])
        tx.run("feeds.told", flow=release.flow_id, topic=topic, told=Jsonb(heard.after))
        tx.many("inbox.add", [event_of(engine, release, change) for change in heard.changes])
        if heard.gap:
            _read_missed(engine, tx, release)
        if heard.changes:
            tx.one("relay.notify")
    return len(heard.changes)


def catch_up(engine: Engine) -> None:
    """Asks for the runs that read what was missed while another run, which may have been too early for it, still went on.

    A flow that cannot be read pauses, and does not keep the others from it.
    """
    with engine.store.transaction("missed") as tx:
        missed = tx.all("feeds.missed")
    for row in missed:
        with suspend_when_broken(engine, row["flow_id"], "no run can read the changes that it missed"):
            _catch_up(engine, engine.parts.release(row["release_id"]))


def _catch_up(engine: Engine, release: Release) -> None:
    with engine.store.transaction("catch-up") as tx:
        # None where another process was first, or where the flow was published anew meanwhile: the next look has that release.
        if tx.one("feeds.lock_missed", flow=release.flow_id, release=release.id) is None:
            return
        tx.run("feeds.caught_up", flow=release.flow_id)
        if release.flow.trigger.changes is not None:
            add_run(tx, release, "changes", engine.parts)


def _stored(engine: Engine, release: Release, found: Subscribed, version: int) -> int:
    cursor = engine.keyring.seal(json.dumps(found.place).encode(), "feed")
    with engine.store.transaction("subscribe") as tx:
        if not tx.run("feeds.keep", flow=release.flow_id, cursor=cursor, version=version, problem=found.problem[:500]):
            raise Fenced
        if found.did:
            assert release.flow.source is not None
            detail = {"flow": release.flow.flow, "connection": release.flow.source.connection, "did": found.did}
            record(tx, "feed.subscribed", "engine", detail)
        if found.gap:
            _read_missed(engine, tx, release)
    return version + 1


def _read_missed(engine: Engine, tx: Transaction, release: Release) -> None:
    log().info("feed_had_gap", flow=release.flow.flow)
    if tx.one("runs.active", flow=release.flow_id):
        tx.run("feeds.miss", flow=release.flow_id)
    else:
        add_run(tx, release, "changes", engine.parts)

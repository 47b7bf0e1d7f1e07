"""The verb *leave*: a system that told a flow of changes is asked to tell it no more, once the flow listens to something else."""

import json
import threading

import psycopg
from pydantic import ValidationError

from fieldline_core.errors import FieldlineError, Unavailable
from fieldline_core.events import record
from fieldline_core.flow import Release
from fieldline_core.logs import log
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.place import digest_of_topic, topic_of
from fieldline_core.ports import Subscribes
from fieldline_core.store import Row

_LONGEST_WAIT_S = 3_600.0
# With waits that double up to an hour: most of a day.
_MOST_TRIES = 32


class Leaver(threading.Thread):
    """Leaves the system of a flow that listens no more; where the system is away, it is asked again."""

    def __init__(self, engine: Engine, flow_id: int) -> None:
        super().__init__(name=f"leave-{flow_id}", daemon=True)
        self._engine = engine
        self.flow_id = flow_id
        self._ended = threading.Event()

    def stop(self) -> None:
        """Ends the thread after what it asks now."""
        self._ended.set()

    def run(self) -> None:
        """Asks until the system has answered, for most of a day, or until stopped."""
        for tries in range(1, _MOST_TRIES + 1):
            try:
                leave(self._engine, self.flow_id, None, last=tries == _MOST_TRIES)
                return
            except (Unavailable, psycopg.Error) as error:
                log().warning("leaving_waits", flow=self.flow_id, reason=type(error).__name__)
            except Exception as error:
                log().error("leaving_failed", flow=self.flow_id, exc_info=error)
                return
            if self._ended.wait(min(2.0**tries, _LONGEST_WAIT_S)):
                return


def leave(engine: Engine, flow_id: int, wanted: Release | None, *, last: bool) -> None:
    """Has the subscription taken away that tells the flow of something else than `wanted`; what it cannot take away is told.

    Raises Unavailable where the system is away, and is to be asked again: not at the `last` time.
    """
    with engine.store.transaction("leave.look") as tx:
        place = tx.one("feeds.place", flow=flow_id)
        topics = tx.all("feeds.topics", flow=flow_id)
    if place is None or (wanted is not None and place["topic"] == topic_of(wanted)):
        return
    before = [each for each in topics if digest_of_topic(each["connection"], each["topic"]) == place["topic"]]
    if not before:
        return
    release = engine.parts.release(before[0]["release_id"])
    try:
        did = _left(engine, release, place)
    except Unavailable as error:
        if not last:
            raise
        did = _kept(release, str(error))
    except FieldlineError as error:
        did = _kept(release, str(error))
    except ValidationError:
        did = _kept(release, "its connection has another connector now")
    if did is not None:
        _forget(engine, release, place, did)


def _left(engine: Engine, release: Release, place: Row) -> str | None:
    """What was done; None where the system tells nobody, so that nothing is to be taken away, and the place still holds."""
    assert release.flow.source is not None
    connector = engine.parts.connector(release.flow.source.connection)
    if not isinstance(connector, Subscribes):
        return None
    known = None if place["cursor"] is None else json.loads(engine.keyring.open(bytes(place["cursor"]), "feed"))
    return connector.unsubscribe(engine.parts.topic(release), release.flow.flow, known)


def _kept(release: Release, reason: str) -> str:
    log().warning("subscription_left_behind", flow=release.flow.flow, reason=reason[:500])
    return f"not taken away: {reason}"[:500]


def _forget(engine: Engine, release: Release, place: Row, did: str) -> None:
    assert release.flow.source is not None
    with engine.store.transaction("leave") as tx:
        # Where somebody has moved the place on meanwhile, the next look has that one.
        if tx.run("feeds.leave", flow=release.flow_id, version=place["version"]) and did:
            detail = {"flow": release.flow.flow, "connection": release.flow.source.connection, "did": did}
            record(tx, "feed.unsubscribed", "engine", detail)

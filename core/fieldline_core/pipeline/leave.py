"""The verb *leave*: a system that told a flow of changes is asked to tell it no more, once the flow listens to something else."""

import json
import threading

import psycopg
from pydantic import ValidationError

from fieldline_core.errors import Fenced, FieldlineError, Unavailable
from fieldline_core.events import record
from fieldline_core.flow import Release
from fieldline_core.logs import log
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.place import digest_of_topic, topic_of
from fieldline_core.ports import Feed, Subscribes
from fieldline_core.store import Row

_LONGEST_WAIT_S = 3_600.0
# With waits that double up to an hour: most of a day.
_MOST_TRIES = 32
_ANOTHER = "its connection has another connector now"


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
            except (Unavailable, Fenced, psycopg.Error) as error:
                log().warning("leaving_waits", flow=self.flow_id, reason=type(error).__name__)
            except Exception as error:
                log().error("leaving_failed", flow=self.flow_id, exc_info=error)
                return
            if self._ended.wait(min(2.0**tries, _LONGEST_WAIT_S)):
                return


def leave(engine: Engine, flow_id: int, wanted: Release | None, *, last: bool) -> None:
    """Has the subscription taken away that tells the flow of something else than `wanted`; what it cannot take away is told.

    One of the same connection is asked for something else when it is looked after next: between two, nobody would be told.
    Raises Unavailable where the system is away, and is to be asked again: not at the `last` time; Fenced where somebody has moved
    the flow's place meanwhile, and is to be looked at again.
    """
    with engine.store.transaction("leave.look") as tx:
        place = tx.one("feeds.place", flow=flow_id)
        topics = tx.all("feeds.topics", flow=flow_id)
    if place is None or (wanted is not None and place["topic"] == topic_of(wanted)):
        return
    told_by = None if wanted is None else _told_by(engine, wanted)
    before = next((each for each in topics if digest_of_topic(each["connection"], each["topic"]) == place["topic"]), None)
    if wanted is not None and before is not None and before["connection"] == told_by:
        with engine.store.transaction("leave.not") as tx:
            if not tx.run("feeds.turn", flow=flow_id, topic=topic_of(wanted), version=place["version"]):
                raise Fenced
        return
    did = _taken_away(engine, before, place, last=last)
    if did is not None or told_by is not None:
        _forget(engine, place, before, wanted if told_by else None, did or "")


def _told_by(engine: Engine, wanted: Release) -> str | None:
    """The connection whose system is to tell the flow by messages; None where the flow listens in another way."""
    assert wanted.flow.source is not None
    connection = wanted.flow.source.connection
    return connection if isinstance(engine.parts.connector(connection), Subscribes) else None


def _taken_away(engine: Engine, before: Row | None, place: Row, *, last: bool) -> str | None:
    """What was done; None where the system tells nobody, so that nothing is to be taken away, and the place still holds."""
    if before is None:
        return _kept(place, "no release says any more what the flow listened to") if place["cursor"] is not None else None
    try:
        return _left(engine, engine.parts.release(before["release_id"]), place)
    except Unavailable as error:
        if not last:
            # The wait that a system asks for which is left is not one for the system that is next.
            raise Unavailable(str(error)) from None
        return _kept(place, str(error))
    except FieldlineError as error:
        return _kept(place, str(error))
    except ValidationError:
        return _kept(place, _ANOTHER)


def _left(engine: Engine, release: Release, place: Row) -> str | None:
    assert release.flow.source is not None
    connector = engine.parts.connector(release.flow.source.connection)
    if isinstance(connector, Subscribes):
        known = None if place["cursor"] is None else json.loads(engine.keyring.open(bytes(place["cursor"]), "feed"))
        return connector.unsubscribe(engine.parts.topic(release), release.flow.flow, known)
    if not isinstance(connector, Feed):
        return _kept(place, _ANOTHER)
    # One that listens by itself is left by listening no more, where it is the one that did.
    connector.Topic.model_validate(release.flow.trigger.changes)
    return None


def _kept(place: Row, reason: str) -> str:
    log().warning("subscription_left_behind", flow=place["flow"], reason=reason[:500])
    return f"not taken away: {reason}"[:500]


def _forget(engine: Engine, place: Row, before: Row | None, wanted: Release | None, did: str) -> None:
    """Forgets the place; where the flow is told of something else, that begins with what nobody told it meanwhile."""
    topic, cursor = "", None
    if wanted is not None:
        topic, cursor = topic_of(wanted), engine.keyring.seal(json.dumps({}).encode(), "feed")
    with engine.store.transaction("leave") as tx:
        if not tx.run("feeds.leave", flow=place["flow_id"], topic=topic, cursor=cursor, version=place["version"]):
            # Somebody has moved the place on meanwhile: the next look has that one.
            raise Fenced
        if did:
            detail = {"flow": place["flow"], "connection": before and before["connection"], "did": did}
            record(tx, "feed.unsubscribed", "engine", detail)

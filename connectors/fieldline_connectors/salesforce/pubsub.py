"""Listening to an org by the Pub/Sub API: change events of an object, or a platform event that names a record."""

import base64
import binascii
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

from fieldline_connectors.salesforce.pubsub_errors import PlaceLost, Refusal, SessionEnded, meaning
from fieldline_connectors.salesforce.pubsub_events import ChangeSchema, KeySchema, Told
from fieldline_connectors.salesforce.pubsub_line import Ended, Line
from fieldline_connectors.salesforce.pubsub_messages import (
    CUSTOM,
    LATEST,
    FetchRequest,
    SchemaInfo,
    SchemaRequest,
    TopicInfo,
    TopicRequest,
)
from fieldline_connectors.salesforce.pubsub_topic import SalesforceTopic
from fieldline_connectors.salesforce.wire import Wire
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.logs import log
from fieldline_core.ports import Cursor, Heard

_AT_ONCE = 100
"""The most events that the org sends ahead."""
_MOST_SCHEMAS = 16


def listen(
    wire: Wire, topic: SalesforceTopic, after: Cursor | None, stopped: Callable[[], bool], closed: threading.Event
) -> Iterator[Heard]:
    """What changes behind `after`, until `stopped`; where the connection is `closed` before, that is Unavailable.

    Each listening has a channel of its own, so that the addresses are looked up and checked whenever it begins.
    """
    if closed.is_set():
        raise Unavailable(f"the connection to {wire.place} has been closed")
    with closing(Line(wire.config, topic.address, lambda: stopped() or closed.is_set())) as line:
        try:
            yield from _Listening(wire, line, topic, after).heard()
        except Ended:
            if not stopped():
                raise Unavailable(f"the connection to {wire.place} was closed while it was listened to") from None


class _Listening:
    """One listener's way along a topic."""

    def __init__(self, wire: Wire, line: Line, topic: SalesforceTopic, after: Cursor | None) -> None:
        self._wire = wire
        self._line = line
        self._topic = topic
        self._place = _replay_id(after, topic)
        self._missed = after is not None and self._place is None
        self._schemas: dict[str, ChangeSchema | KeySchema] = {}

    def heard(self) -> Iterator[Heard]:
        """What is heard, over as many subscriptions as it takes."""
        token = self._wire.tokens.current()
        renewed = False
        while True:
            self._line.sign_in(token)
            try:
                for heard in self._subscribed():
                    renewed = False
                    yield heard
            except SessionEnded:
                if renewed:
                    raise Misconfigured(
                        f"{self._wire.place} does not accept our session in the Pub/Sub API: give the External Client App the "
                        "scope api, and the integration user the permission API Enabled"
                    ) from None
                token, renewed = self._wire.tokens.instead_of(token), True
            except PlaceLost:
                # Events are kept for 72 hours; what was missed, a run reads back, from a place that was there before it.
                if self._place is None:
                    raise Unavailable(f"{self._wire.place} refuses even the newest place of {self._topic.address}") from None
                self._place, self._missed = None, True

    def _subscribed(self) -> Iterator[Heard]:
        name = self._topic.address
        info = self._line.ask("GetTopic", TopicRequest(topic_name=name), TopicInfo)
        if not info.can_subscribe:
            raise meaning(Refusal("PERMISSION_DENIED"), self._wire.place, name)
        if self._place is None:
            first = FetchRequest(topic_name=name, replay_preset=LATEST, num_requested=_AT_ONCE)
        else:
            first = FetchRequest(topic_name=name, replay_preset=CUSTOM, replay_id=self._place, num_requested=_AT_ONCE)
        for response in self._line.subscribe(first):
            place = response.events[-1].replay_id if response.events else response.latest_replay_id
            if place:
                told = [self._told(event) for event in response.events]
                heard = self._heard(told, place)
                self._place, self._missed = place, False
                yield heard

    def _heard(self, told: Sequence[Told], place: bytes) -> Heard:
        after = {"topic": self._topic.address, "replay_id": base64.b64encode(place).decode()}
        changes = [change for each in told for change in each.changes]
        return Heard(changes, after, gap=self._missed or any(each.gap for each in told))

    def _told(self, arrived: Any) -> Told:
        """What one event tells; one that cannot be read is a gap, so that it stops nothing and nothing is lost with it."""
        event = arrived.event
        try:
            schema = self._schema(event.schema_id)
        except ValueError as error:
            log().warning("event_unreadable", topic=self._topic.address, reason=str(error)[:100])
            return Told(gap=True)
        if isinstance(schema, KeySchema):
            return schema.told(event.payload, event.id or arrived.replay_id.hex())
        return schema.told(event.payload, arrived.replay_id, self._wire.config.client_name)

    def _schema(self, id: str) -> ChangeSchema | KeySchema:
        known = self._schemas.get(id)
        if known is None:
            text = self._line.ask("GetSchema", SchemaRequest(schema_id=id), SchemaInfo).schema_json
            key, name = self._topic.key, self._topic.address
            known = ChangeSchema(text) if key is None else KeySchema(text, key, name)
            if len(self._schemas) >= _MOST_SCHEMAS:
                self._schemas.pop(next(iter(self._schemas)))
            self._schemas[id] = known
        return known


def _replay_id(after: Cursor | None, topic: SalesforceTopic) -> bytes | None:
    """The place that a cursor holds; None where it holds none of this topic."""
    if after is None or after.get("topic") != topic.address:
        return None
    try:
        return base64.b64decode(str(after.get("replay_id")), validate=True) or None
    except (binascii.Error, ValueError):
        return None

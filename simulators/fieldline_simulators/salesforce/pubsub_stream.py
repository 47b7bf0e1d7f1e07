"""A subscriber's stream: as many events as were asked for, a sign of life where there are none, and its client's requests."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import grpc

from fieldline_simulators.salesforce.access import Actor
from fieldline_simulators.salesforce.changes import Change, Expired
from fieldline_simulators.salesforce.pubsub_avro import Schema, encode_change, encode_event
from fieldline_simulators.salesforce.pubsub_bus import EVENT, Topic, read_replay_id, replay_id
from fieldline_simulators.salesforce.pubsub_call import Rpc, corrupted, invalid, too_many_deliveries
from fieldline_simulators.salesforce.pubsub_wire import CUSTOM, EARLIEST, ConsumerEvent, FetchResponse, ProducerEvent
from fieldline_simulators.salesforce.schema import SObject

if TYPE_CHECKING:
    from fieldline_simulators.salesforce.org import Org

MOST_PENDING = 100
# An event may add a megabyte to it, and a message ends at four.
_MOST_BYTES = 2_000_000
#: What a mailbox gives beside requests: the org has changed, the client asks no more, the call is over.
CHANGED, CLOSED, ENDED = "changed", "closed", "ended"


class Mailbox:
    """What a stream waits for, from whichever thread it comes."""

    def __init__(self, requests: Iterator[Any], rpc: Rpc) -> None:
        self._items: SimpleQueue[Any] = SimpleQueue()
        self._stirred = threading.Event()
        if not rpc.context.add_callback(lambda: self._items.put(ENDED)):
            self._items.put(ENDED)
        threading.Thread(target=self._pass_on, args=(requests,), daemon=True).start()

    def stir(self) -> None:
        """Says that the org has changed; once is enough until it is heard."""
        if not self._stirred.is_set():
            self._stirred.set()
            self._items.put(CHANGED)

    def take(self, timeout_s: float) -> Any:
        """The next request or word; None after this time."""
        try:
            item = self._items.get(timeout=max(0.0, timeout_s))
        except Empty:
            return None
        if item is CHANGED:
            self._stirred.clear()
        return item

    def _pass_on(self, requests: Iterator[Any]) -> None:
        # A client that goes away ends the iterator with an error.
        with suppress(grpc.RpcError):
            for request in requests:
                self._items.put(request)
        self._items.put(CLOSED)


def _likeness(change: Change) -> Any:
    """Records that change alike in one transaction are told of in one event."""
    if change.kind in ("UPDATE", "DELETE", "UNDELETE"):
        return change.commit_number, change.object, change.kind, change.values
    return change.position


class _Teller:
    """Puts log entries into words for one user; only the fields that this user sees are told."""

    def __init__(self, org: "Org", actor: Actor) -> None:
        self._org, self._actor = org, actor
        self._schemas: dict[str, Schema] = {}
        self._hidden: dict[str, list[str]] = {}

    def event(self, changes: list[Change]) -> Any:
        """The event of an entry, or of several that are told as one."""
        change = changes[0]
        if change.object not in self._schemas:
            self._schemas[change.object] = self._org.bus.schema_of(self._org, change.object)
        schema, bus = self._schemas[change.object], self._org.bus
        if change.kind == EVENT:
            payload, event_id = encode_event(schema, change, bus.events[change.object]), change.record_id
        else:
            kind = self._org.kind(change.object)
            payload, event_id = encode_change(kind, schema, changes, self._hidden_of(kind)), ""
        event = ProducerEvent(id=event_id, schema_id=schema.id, payload=payload)
        return ConsumerEvent(event=event, replay_id=replay_id(changes[-1].position))

    def _hidden_of(self, kind: SObject) -> list[str]:
        if kind.name not in self._hidden:
            self._hidden[kind.name] = [each.name for each in kind.fields.values() if not self._actor.access.sees(kind, each)]
        return self._hidden[kind.name]


class Subscription:
    """One stream of one topic."""

    def __init__(self, rpc: Rpc, topic: Topic, first: Any, mailbox: Mailbox) -> None:
        self._rpc, self._org, self._topic, self._mailbox = rpc, rpc.org, topic, mailbox
        self._pending, self._closed = 0, False
        with self._org.lock:
            self._at = self._start(first)
        self._add(first)
        self._told = time.monotonic()

    def responses(self) -> Iterator[Any]:
        """What goes to the subscriber, until one of the two has enough."""
        yield from self._deliver()
        while not (self._closed and self._pending == 0):
            item = self._mailbox.take(self._told + self._org.bus.keepalive_s - time.monotonic())
            if item is ENDED:
                return
            if item is CLOSED:
                self._closed = True
            elif item is None:
                self._rpc.actor()
                yield self._response([])
            elif item is not CHANGED:
                self._add(item)
            yield from self._deliver()

    def _start(self, first: Any) -> int:
        if first.replay_preset == EARLIEST:
            return self._org.feed.earliest
        if first.replay_preset != CUSTOM:
            return self._org.feed.latest
        if not first.replay_id:
            words = "The Replay ID validation failed. A Replay ID is needed where ReplayPreset is CUSTOM."
            raise invalid("subscription.fetch.replayid.validation.failed", words)
        position = read_replay_id(first.replay_id)
        if position is None or not self._org.feed.earliest <= position <= self._org.feed.latest:
            raise corrupted()
        return position

    def _add(self, request: Any) -> None:
        self._rpc.actor()
        if request.topic_name not in ("", self._topic.name):
            raise invalid("subscription.fetch.topic.invalid", "The topic cannot change within a subscription.")
        if request.num_requested <= 0:
            raise invalid("subscription.fetch.requested.events.invalid", "The number of requested events must be greater than 0.")
        self._pending = min(MOST_PENDING, self._pending + request.num_requested)

    def _deliver(self) -> Iterator[Any]:
        while self._pending > 0 and not self._rpc.ended.is_set():
            actor = self._rpc.actor()
            with self._org.lock:
                events = self._read(actor)
            if not events:
                return
            behind = self._rpc.meet(self._topic.name, "deliver")
            self._pending -= len(events)
            yield self._response(events)
            self._rpc.strike(behind)

    def _read(self, actor: Actor) -> list[Any]:
        latest = self._org.feed.latest
        try:
            changes = self._org.feed.read(self._at, self._pending, self._topic.members)
        except Expired:
            raise corrupted() from None
        made: list[Any] = []
        size, teller = 0, _Teller(self._org, actor)
        for _, alike in groupby(changes, _likeness):
            group = list(alike)
            made.append(teller.event(group))
            self._at, size = group[-1].position, size + len(made[-1].event.payload)
            if size > _MOST_BYTES:
                break
        if len(changes) < self._pending and size <= _MOST_BYTES:
            self._at = max(self._at, latest)
        self._count(len(made))
        return made

    def _count(self, delivered: int) -> None:
        bus = self._org.bus
        if delivered and bus.delivered + delivered > bus.deliveries:
            raise too_many_deliveries()
        bus.delivered += delivered

    def _response(self, events: list[Any]) -> Any:
        self._told = time.monotonic()
        return FetchResponse(
            events=events, latest_replay_id=replay_id(self._at), rpc_id=self._rpc.id, pending_num_requested=self._pending
        )

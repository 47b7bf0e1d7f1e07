"""Subscriptions that call back: R4's rest-hook with the bare resource, and the Backport guide's topics with numbered events.

A topic is `TOPICS` followed by a resource type: it tells of every create, update and delete of that type that fits the filter.
"""

import hashlib
import hmac
import itertools
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import heappop, heappush
from typing import Any
from urllib.parse import parse_qsl

import httpx
import orjson

from fieldline_simulators.fhir.outcomes import Refusal
from fieldline_simulators.fhir.search import Searching, UnknownParameter
from fieldline_simulators.fhir.store import Store, Version
from fieldline_simulators.fhir.topics import Event, TopicSubscription, bundle_of, extension

SECRET = "https://www.medplum.com/fhir/StructureDefinition/subscription-secret"  # noqa: S105 (an extension's name)
_MOST_EVENTS, _MOST_WAITING, _TIMEOUT_S = 1000, 10_000, 5

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One call to make; a handshake decides whether the subscription becomes active."""

    subscription: str
    endpoint: str
    headers: dict[str, str]
    body: bytes
    attempt: int = 0
    handshake: bool = False


class Subscriptions:
    """Tells subscribers what was committed, from one thread, in order, trying each call again."""

    def __init__(self, store: Store, searching: Searching, retry_after_s: tuple[float, ...]) -> None:
        self.store, self.searching = store, searching
        self.attempts: deque[dict[str, Any]] = deque(maxlen=_MOST_EVENTS)
        self._retry_after_s = retry_after_s
        self._events: dict[str, deque[Event]] = defaultdict(lambda: deque(maxlen=_MOST_EVENTS))
        self._swallow: dict[str, int] = {}
        self._beats: dict[str, float] = {}
        self._waiting: list[tuple[float, int, Delivery]] = []
        self._order = itertools.count()
        self._woken = threading.Condition()
        self._closed = False
        self._http = httpx.Client(trust_env=False, timeout=_TIMEOUT_S)
        self._thread = threading.Thread(target=self._run, daemon=True)
        if searching.profile.subscriptions:
            store.watchers.append(self.notice)
            self._thread.start()

    def notice(self, versions: list[Version]) -> None:
        """Queues what subscribers are to hear of these versions; the store's lock is held."""
        for version in versions:
            if version.type == "Subscription":
                self._greet(version)
                continue
            for subscription in self.store.all("Subscription"):
                if subscription.get("status") == "active" and not _has_ended(subscription):
                    self._tell(subscription, version)

    def heartbeat(self, id: str) -> None:
        """Sends a heartbeat now."""
        with self.store.lock:
            topic = self._topic(id)
            self._send(topic, "heartbeat", [])

    def swallow(self, id: str, events: int) -> None:
        """Lets the next events be counted and not sent."""
        with self.store.lock:
            self._swallow[id] = events

    def status(self, id: str) -> Resource:
        """The answer to `$status`."""
        with self.store.lock:
            topic = self._topic(id)
            made = bundle_of(topic, "query-status", self._count(id), [], self.store)
        return {**made, "type": "searchset"}

    def events(self, id: str, lowest: int, highest: int) -> Resource:
        """The answer to `$events`: what was told, or should have been."""
        with self.store.lock:
            topic = self._topic(id)
            chosen = [each for each in self._events[id] if lowest <= each.number <= highest]
            return bundle_of(topic, "query-event", self._count(id), chosen, self.store)

    def close(self) -> None:
        """Ends the thread; what is under way is finished."""
        with self._woken:
            self._closed = True
            self._woken.notify()
        if self._thread.is_alive():
            self._thread.join()
        self._http.close()

    def _topic(self, id: str) -> TopicSubscription:
        found = self.store.resource("Subscription", id)
        topic = TopicSubscription.of(found) if found else None
        if topic is None:
            raise Refusal(404, "not-found", "There is no subscription to a topic with this id")
        return topic

    def _greet(self, version: Version) -> None:
        topic = TopicSubscription.of(version.resource) if version.resource else None
        if topic and topic.resource.get("status") == "requested":
            self._send(topic, "handshake", [])

    def _tell(self, subscription: Resource, version: Version) -> None:
        topic = TopicSubscription.of(subscription)
        type, _, query = (topic.criteria if topic else subscription.get("criteria", "")).partition("?")
        if type != version.type or not self._fits(version, query):
            return
        if topic is None:
            self._queue(_rest_hook(subscription, version))
            return
        id = subscription["id"]
        counts = self.store.settings.setdefault("events", {})
        counts[id] = self._count(id) + 1
        self.store.save_settings()
        event = Event(counts[id], version.type, version.id, version.method, version.updated)
        self._events[id].append(event)
        if self._swallow.get(id, 0) > 0:
            self._swallow[id] -= 1
        else:
            self._send(topic, "event-notification", [event])

    def _fits(self, version: Version, query: str) -> bool:
        if version.resource is None or not query:
            return True
        pairs = [("_id", version.id), *parse_qsl(query, keep_blank_values=True)]
        try:
            return bool(self.searching.find(version.type, pairs).matches)
        except (Refusal, UnknownParameter):
            # Criteria that nobody understands are accepted and never fit, as on the real server.
            return False

    def _count(self, id: str) -> int:
        return int(self.store.settings.get("events", {}).get(id, 0))

    def _send(self, topic: TopicSubscription, kind: str, events: list[Event]) -> None:
        body = orjson.dumps(bundle_of(topic, kind, self._count(topic.id), events, self.store))
        headers = {"Content-Type": "application/fhir+json", **_own_headers(topic.resource)}
        if topic.heartbeat_s:
            with self._woken:
                self._beats[topic.id] = time.monotonic() + topic.heartbeat_s
        self._queue(Delivery(topic.id, topic.endpoint, headers, body, handshake=kind == "handshake"))

    def _queue(self, delivery: Delivery, delay_s: float = 0.0) -> None:
        with self._woken:
            if len(self._waiting) < _MOST_WAITING:
                heappush(self._waiting, (time.monotonic() + delay_s if delay_s else 0.0, next(self._order), delivery))
            self._woken.notify()

    def _run(self) -> None:
        while (delivery := self._next()) is not None:
            status = self._call(delivery)
            self.attempts.append({"subscription": delivery.subscription, "attempt": delivery.attempt + 1, "status": status})
            arrived = 200 <= status < 300
            if delivery.handshake:
                self._activate(delivery.subscription, arrived)
            elif not arrived and delivery.attempt < len(self._retry_after_s):
                again = Delivery(delivery.subscription, delivery.endpoint, delivery.headers, delivery.body, delivery.attempt + 1)
                self._queue(again, self._retry_after_s[delivery.attempt])

    def _next(self) -> Delivery | None:
        while True:
            self._beat()
            with self._woken:
                if self._closed:
                    return None
                now = time.monotonic()
                if self._waiting and self._waiting[0][0] <= now:
                    return heappop(self._waiting)[2]
                due = [self._waiting[0][0]] if self._waiting else []
                nearest = min([*due, *self._beats.values()], default=None)
                self._woken.wait(None if nearest is None else max(nearest - now, 0.001))

    def _beat(self) -> None:
        """Queues the heartbeats that are due."""
        now = time.monotonic()
        with self._woken:
            due = [id for id, at in self._beats.items() if at <= now]
            for id in due:
                del self._beats[id]
        for id in due:
            with self.store.lock:
                found = self.store.resource("Subscription", id)
                topic = TopicSubscription.of(found) if found and found.get("status") == "active" else None
                if topic:
                    self._send(topic, "heartbeat", [])

    def _call(self, delivery: Delivery) -> int:
        try:
            return self._http.post(delivery.endpoint, content=delivery.body, headers=delivery.headers).status_code
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return 0

    def _activate(self, id: str, arrived: bool) -> None:
        with self.store.atomic():
            found = self.store.resource("Subscription", id)
            if found and found["status"] == "requested":
                self.store.put("Subscription", id, {**found, "status": "active" if arrived else "error"}, "PUT")


def _has_ended(subscription: Resource) -> bool:
    try:
        end = datetime.fromisoformat(subscription["end"])
    except (KeyError, TypeError, ValueError):
        return False
    return (end if end.tzinfo else end.replace(tzinfo=UTC)) <= datetime.now(UTC)


def _rest_hook(subscription: Resource, version: Version) -> Delivery:
    channel = subscription.get("channel", {})
    with_content = bool(channel.get("payload")) and version.resource is not None
    body = orjson.dumps(version.resource) if with_content else b"{}"
    headers = {"Content-Type": str(channel.get("payload", "application/fhir+json")), **_own_headers(subscription)}
    if version.resource is None:
        headers["X-Medplum-Deleted-Resource"] = f"{version.type}/{version.id}"
    secret = extension(subscription, SECRET)
    if isinstance(secret, str):
        headers["X-Signature"] = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return Delivery(subscription["id"], str(channel.get("endpoint", "")), headers, body)


def _own_headers(subscription: Resource) -> dict[str, str]:
    lines = (line.partition(":") for line in subscription.get("channel", {}).get("header", ()))
    return {name.strip(): value.strip() for name, _, value in lines if name.strip()}

"""A topic-based subscription as the Backport guide (1.1.0, for R4) writes it, and the bundles that its subscriber gets."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from fieldline_simulators.fhir.store import Store, stamp
from fieldline_simulators.fhir.values import at

TOPICS = "http://fieldline.example/fhir/SubscriptionTopic/"
_GUIDE = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
PROFILE = f"{_GUIDE}/backport-subscription"
STATUS_PROFILE = f"{_GUIDE}/backport-subscription-status-r4"
NOTIFICATION_PROFILE = f"{_GUIDE}/backport-subscription-notification-r4"
FILTER = f"{_GUIDE}/backport-filter-criteria"
HEARTBEAT = f"{_GUIDE}/backport-heartbeat-period"
CONTENT = f"{_GUIDE}/backport-payload-content"

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One change, with its number in the subscription."""

    number: int
    type: str
    id: str
    method: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TopicSubscription:
    """What a Subscription to a topic asks for."""

    resource: Resource
    id: str
    topic: str
    endpoint: str
    criteria: str
    content: str
    heartbeat_s: int

    @classmethod
    def of(cls, resource: Resource) -> "TopicSubscription | None":
        """The subscription that a resource holds; None where it names none of our topics."""
        topic = resource.get("criteria", "")
        if not isinstance(topic, str) or not topic.startswith(TOPICS):
            return None
        channel = resource.get("channel", {})
        criteria = str(extension(resource.get("_criteria"), FILTER) or topic.removeprefix(TOPICS))
        content = str(extension(channel.get("_payload"), CONTENT) or "id-only")
        beat = extension(channel, HEARTBEAT)
        heartbeat_s = beat if isinstance(beat, int) else 0
        return cls(resource, resource["id"], topic, str(channel.get("endpoint", "")), criteria, content, heartbeat_s)


def bundle_of(topic: TopicSubscription, kind: str, count: int, events: list[Event], store: Store) -> Resource:
    """A notification, or the answer to a question about one."""
    status = {
        "resourceType": "Parameters",
        "id": str(uuid5(NAMESPACE_URL, f"{topic.id}:{kind}:{count}:{[each.number for each in events]}")),
        "meta": {"profile": [STATUS_PROFILE]},
        "parameter": [
            {"name": "subscription", "valueReference": {"reference": f"Subscription/{topic.id}"}},
            {"name": "topic", "valueCanonical": topic.topic},
            {"name": "status", "valueCode": topic.resource.get("status")},
            {"name": "type", "valueCode": kind},
            {"name": "events-since-subscription-start", "valueString": str(count)},
            *(_event(topic, each) for each in events),
        ],
    }
    first = {
        "fullUrl": f"urn:uuid:{status['id']}", "resource": status,
        "request": {"method": "GET", "url": f"Subscription/{topic.id}/$status"}, "response": {"status": "200"},
    }  # fmt: skip
    shown = [] if topic.content == "empty" else [_changed(topic, each, store) for each in events]
    now = stamp(events[-1].at if events else store.newest)
    meta = {"profile": [NOTIFICATION_PROFILE]}
    return {"resourceType": "Bundle", "meta": meta, "type": "history", "timestamp": now, "entry": [first, *shown]}


def _event(topic: TopicSubscription, event: Event) -> Resource:
    parts: list[Resource] = [
        {"name": "event-number", "valueString": str(event.number)},
        {"name": "timestamp", "valueInstant": stamp(event.at)},
    ]
    if topic.content != "empty":
        parts.append({"name": "focus", "valueReference": {"reference": f"{event.type}/{event.id}"}})
    return {"name": "notification-event", "part": parts}


def _changed(topic: TopicSubscription, event: Event, store: Store) -> Resource:
    url = f"{event.type}/{event.id}"
    made: Resource = {
        "fullUrl": f"urn:fieldline:{url}",
        "request": {"method": event.method, "url": event.type if event.method == "POST" else url},
        "response": {"status": {"POST": "201", "DELETE": "204"}.get(event.method, "200")},
    }
    resource = store.resource(event.type, event.id) if topic.content == "full-resource" else None
    return {**made, "resource": resource} if resource else made


def extension(element: Any, url: str) -> Any:
    """The value of an element's extension; None where it has none."""
    for each in at(element, "extension"):
        if isinstance(each, dict) and each.get("url") == url:
            return next((value for name, value in each.items() if name.startswith("value")), None)
    return None

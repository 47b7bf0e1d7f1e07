"""Messages of Subscriptions: R4's rest-hook, and the numbered ones of the Backport guide.

Of a message nothing is kept but which resources have changed, and by which numbers: the resources are read back.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from fieldline_connectors.bounded import TooLarge, bounded_json, unpacked
from fieldline_connectors.fhir.topic import Notifications
from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.ports import Change, Cursor, Heard, HookRequest

Kind: TypeAlias = Literal["handshake", "heartbeat", "event-notification", "rest-hook"]
NOTHING_TAKEN = "the connection takes no messages of Subscriptions: give it `notifications`"
_KINDS: Mapping[Any, Kind] = {"handshake": "handshake", "heartbeat": "heartbeat", "event-notification": "event-notification"}
_NUMBER = re.compile(r"[0-9]{1,15}")
_FOCUS = re.compile(r"(?:^|/)([A-Z][A-Za-z]{1,63})/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]{1,64})?$")
_SHORTEST_SECRET, _LONGEST_ID, _MOST_EVENTS, _MOST_SUBSCRIPTIONS = 16, 256, 1_000, 4

Keys: TypeAlias = Mapping[str, str | None]
"""Changed resource (`Observation/7`) -> the key of its record, None where nothing is to be scored; left out where nobody knows."""


class NotTheServer(Rejected):
    """A message does not show that it comes from the server."""

    code = "forged"


@dataclass(frozen=True, slots=True)
class Told:
    """One event of a message: its number where it has one, the resource that changed where it says so, and whether it is gone."""

    number: int | None
    at: str
    focus: str
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """One message: `count` is how many events its subscription has had, where it says so."""

    kind: Kind
    subscription: str = ""
    count: int | None = None
    events: tuple[Told, ...] = ()


def notice_of(request: HookRequest, settings: Notifications | None) -> Notice:
    """What a message says, once its sender is known; raises Rejected where it is forged or malformed."""
    if settings is None:
        raise Misconfigured(NOTHING_TAKEN)
    if len(request.body) > settings.bounds.max_bytes:
        raise TooLarge(f"the body has more than {settings.bounds.max_bytes:,} bytes")
    _check_sender(request.headers.get(settings.header, ""), settings)
    body = unpacked(request.body, request.headers.get("content-encoding", ""), settings.bounds)
    document = bounded_json(body, settings.bounds) if body.strip() else {}
    if document.get("resourceType") == "Bundle":
        return _of_topic(document)
    # What a server tells of a deleted resource differs; that something has changed is all that an empty body says anywhere.
    return Notice("rest-hook", events=(_plain(document, request) if document else Told(None, request.received_at.isoformat(), ""),))


def heard(notice: Notice, keys: Keys, after: Cursor | None) -> Heard:
    """What is new behind the numbers that were heard before; a gap where some were missed, or nobody knows what has changed."""
    changes = tuple(Change(_change_id(notice, each), key) for each in notice.events if (key := keys.get(each.focus)))
    unnamed = any(each.focus not in keys for each in notice.events)
    if notice.kind == "rest-hook":
        return Heard(changes, dict(after or {}), gap=unnamed)
    numbers = dict((after or {}).get("numbers", ()))
    seen = numbers.pop(notice.subscription, None)
    reached, gap = _reached(notice, seen)
    return Heard(changes, _numbered(numbers, notice.subscription, reached), gap=gap or unnamed)


def counted(answer: Mapping[str, Any]) -> int | None:
    """How many events a subscription has had, as its `$status` says; None where it does not say."""
    for entry in _list(answer, "entry"):
        status = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(status, dict) and status.get("resourceType") in ("Parameters", "SubscriptionStatus"):
            found = _from_parameters(status) if status["resourceType"] == "Parameters" else status
            return _number(found.get("eventsSinceSubscriptionStart"))
    return None


def behind(id: str, count: int, after: Cursor | None) -> Heard:
    """What is heard where a subscription has had so many events by now: a gap where fewer of them were told."""
    numbers = dict((after or {}).get("numbers", ()))
    # Its messages may name it by its whole address.
    name = next((each for each in numbers if each.rpartition("/")[2] == id), f"Subscription/{id}")
    if numbers.pop(name, 0) >= count:
        return Heard((), dict(after or {}))
    return Heard((), _numbered(numbers, name, count), gap=True)


def _numbered(numbers: Mapping[str, int], name: str, reached: int) -> Cursor:
    # The newest last: a subscription that another one has replaced is forgotten. Pairs, as the store keeps no order of keys.
    kept = list(numbers.items())[-(_MOST_SUBSCRIPTIONS - 1) :]
    return {"numbers": [*map(list, kept), [name, reached]]}


def _reached(notice: Notice, seen: int | None) -> tuple[int, bool]:
    """The number up to which everything is heard, or will be read, and whether something is to be read for that."""
    count = notice.count or 0
    if notice.kind == "handshake":
        return count, seen is not None and seen != count
    before = seen or 0
    if notice.kind == "heartbeat":
        # A count that fell is another count: what came before it is not known.
        return count, count != before
    numbers = {each.number for each in notice.events if each.number is not None and each.number > before}
    if not notice.events:
        return max(before, count), True
    newest = max(numbers, default=before)
    return newest, newest - before > len(numbers)


def _check_sender(shown: str, settings: Notifications) -> None:
    expected = [secret.reveal() for secret in settings.secrets]
    if any(len(secret) < _SHORTEST_SECRET for secret in expected):
        raise Misconfigured(f"a secret of `notifications` has fewer than {_SHORTEST_SECRET} characters: take a longer one")
    # Hashes, so that the time says nothing about how long or how near it is.
    given = hashlib.sha256(shown.encode("utf-8", "replace")).digest()
    same = [hmac.compare_digest(given, hashlib.sha256(secret.encode()).digest()) for secret in expected]
    if not any(same):
        raise NotTheServer(f"the message does not carry the secret of its Subscription in the header {settings.header}")


def _plain(resource: Mapping[str, Any], request: HookRequest) -> Told:
    type, id = resource.get("resourceType"), resource.get("id")
    focus = _focus(f"{type}/{id}") if isinstance(type, str) and isinstance(id, str) else ""
    if not focus:
        raise Rejected("the message is neither a resource with an id nor a notification")
    meta = resource.get("meta")
    version = [meta.get(name) for name in ("versionId", "lastUpdated")] if isinstance(meta, dict) else []
    known = any(isinstance(each, str) and each for each in version)
    # Without a version two messages are two changes, though they may look alike.
    return Told(None, "|".join(map(str, version)) if known else request.received_at.isoformat(), focus)


def _of_topic(bundle: Mapping[str, Any]) -> Notice:
    entries = [each for each in _list(bundle, "entry") if isinstance(each, dict)]
    first = entries[0].get("resource") if entries else None
    if bundle.get("type") not in ("history", "subscription-notification") or not isinstance(first, dict):
        raise Rejected("the Bundle is no notification: its type is history, and its first entry says what it is about")
    match first.get("resourceType"):
        case "Parameters":
            status = _from_parameters(first)
        case "SubscriptionStatus":
            status = first
        case _:
            raise Rejected("the notification does not begin with its Parameters or SubscriptionStatus")
    kind = _KINDS.get(status.get("type")) if isinstance(status.get("type"), str) else None
    if kind is None:
        raise Rejected("the notification is no handshake, heartbeat or event-notification")
    events = _list(status, "notificationEvent")
    if len(events) > _MOST_EVENTS:
        raise TooLarge(f"the notification has more than {_MOST_EVENTS:,} events")
    methods = dict(map(_request, entries[1:]))
    told = tuple(_event(each, methods) for each in events if isinstance(each, dict))
    count = _number(status.get("eventsSinceSubscriptionStart"))
    if count is None and kind == "heartbeat":
        raise Rejected("the heartbeat does not say how many events there were")
    return Notice(kind, _reference(status.get("subscription")), count, told if kind == "event-notification" else ())


def _from_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The Parameters of the guide for R4 in the shape that SubscriptionStatus has."""
    status: dict[str, Any] = {"notificationEvent": []}
    for each in _list(parameters, "parameter"):
        match each.get("name") if isinstance(each, dict) else None:
            case "subscription" | "type" as name:
                status[name] = _value(each)
            case "events-since-subscription-start":
                status["eventsSinceSubscriptionStart"] = _value(each)
            case "notification-event":
                parts = {str(part.get("name")): _value(part) for part in _list(each, "part") if isinstance(part, dict)}
                event = {"eventNumber": parts.get("event-number"), "timestamp": parts.get("timestamp"), "focus": parts.get("focus")}
                status["notificationEvent"].append(event)
    return status


def _event(event: Mapping[str, Any], methods: Mapping[str, Any]) -> Told:
    focus, at = _focus(_reference(event.get("focus"))), event.get("timestamp")
    gone = bool(focus) and methods.get(focus) == "DELETE"
    return Told(_number(event.get("eventNumber")), at if isinstance(at, str) else "", focus, gone)


def _change_id(notice: Notice, event: Told) -> str:
    """The same for the same event however often it comes; a number that a server gives anew has another time."""
    parts = (notice.subscription, "" if event.number is None else str(event.number), event.at, event.focus)
    return f"sha256:{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()}"


def _number(value: Any) -> int | None:
    if value is None or isinstance(value, bool):
        return None
    if not isinstance(value, str | int) or not _NUMBER.fullmatch(str(value)):
        raise Rejected("the notification has an event number that is none")
    return int(value)


def _request(entry: Mapping[str, Any]) -> tuple[str, Any]:
    """What an entry is about, and what was done to it."""
    request = entry.get("request")
    asked = request if isinstance(request, dict) else {}
    url = asked.get("url")
    return _focus(url if isinstance(url, str) else ""), asked.get("method")


def _focus(reference: str) -> str:
    """`Type/id` of a reference, relative or not, with a version or without; empty where it is none."""
    found = _FOCUS.search(reference)
    return f"{found[1]}/{found[2]}" if found else ""


def _reference(value: Any) -> str:
    text = value.get("reference") if isinstance(value, dict) else value
    return text[-_LONGEST_ID:] if isinstance(text, str) else ""


def _value(element: Mapping[str, Any]) -> Any:
    return next((value for name, value in element.items() if name.startswith("value")), None)


def _list(node: Mapping[str, Any], name: str) -> list[Any]:
    found = node.get(name)
    return found if isinstance(found, list) else []

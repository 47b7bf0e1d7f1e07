"""Keeps a Subscription at the server that tells one flow of changes, and finds whose changes they are."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import httpx
import orjson

from fieldline_connectors.fhir.config import FhirQuery
from fieldline_connectors.fhir.notices import behind, counted
from fieldline_connectors.fhir.refusals import sentence
from fieldline_connectors.fhir.search import declared
from fieldline_connectors.fhir.topic import FhirTopic, Notifications
from fieldline_connectors.fhir.wire import Ended, Wire
from fieldline_connectors.http import answer
from fieldline_core.errors import Misconfigured, Rejected, Unavailable
from fieldline_core.findings import Finding
from fieldline_core.logs import log
from fieldline_core.ports import Cursor, Subscribed

_GUIDE = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
_LOCATION = re.compile(r"(?:^|/)Subscription/([A-Za-z0-9.-]{1,64})(?:/|$)")
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_LOOK_S, _SOON_S, _LONGEST_S = 300.0, 5.0, 3_600.0
_PATIENCE, _MOST_TRIES, _MOST_PAGES = 3, 10, 20
AT_ONCE = 50
"""The fewest resources that a page of a search is asked to have."""
# A server that gives no later end than before is asked once a day.
_AGAIN = timedelta(days=1)
_AWAY = timedelta(seconds=2 * _LOOK_S)
_REASON = "Fieldline scores what has changed"
_STATUS = {"status", "$status", "backport-subscription-status"}

Resource = dict[str, Any]


class Keeper:
    """The Subscription of one flow."""

    def __init__(self, wire: Wire, topic: FhirTopic, notifications: Notifications, flow: str) -> None:
        self._wire = wire
        self._topic = topic
        self._notifications = notifications
        self._endpoint = notifications.endpoint(flow)
        self._hook = f"/hooks/{flow}"

    def look(self, place: Cursor | None) -> Subscribed:
        """Looks after it once. That messages were lost is remembered before anything is done about it."""
        if self._topic.kept_by == "administrator":
            return self._given_over(place or {})
        if words := _undeclared(self._wire):
            raise Misconfigured(words)
        # Without a Subscription of ours, what changed since the flow listened to something else has not been told.
        known = {"id": None, "asked": "", "lost": place is not None, "tries": 0, "endpoint": None, **(place or {})}
        found = self._found(known["id"], known["endpoint"])
        if found is None:
            if known["id"] is not None and not known["lost"]:
                return Subscribed({**known, "lost": True}, 0.0, problem="its Subscription is no longer at the server")
            id = self._write("POST", "Subscription", self._wanted("requested"))
            # A server may hide what it has made: it is not made again and again at once.
            tries = min(known["tries"] + 1, _MOST_TRIES)
            here = {**known, "id": id, "asked": self._asked, "tries": tries, "endpoint": None}
            return Subscribed(here, _wait(tries - 1), did="made")
        if (found["id"], self._asked) != (known["id"], known["asked"]):
            # Made by a look that did not live to say so, or for what the flow or its connection said before.
            did = self._ask(found, "requested", "changed")
            lost = known["lost"] or known["id"] is not None
            here = {**known, "id": found["id"], "asked": self._asked, "lost": lost, "endpoint": None}
            return Subscribed(here, _SOON_S, did=did)
        match found.get("status"):
            case "active":
                return self._active(found, known)
            case "requested":
                return self._requested(found, known)
        return self._failed(found, known)

    def leave(self, place: Cursor | None) -> str:
        """Takes it away, and what a look made that did not live to say so; an administrator's are left alone."""
        if self._topic.kept_by == "administrator" or _undeclared(self._wire):
            return ""
        return self._take_away(place or {})

    def _given_over(self, place: Cursor) -> Subscribed:
        """What becomes of a Subscription that we kept until now, beside the administrator's: it would tell the same again."""
        if "id" not in place:
            return Subscribed({}, _LOOK_S)
        try:
            return Subscribed({}, _LOOK_S, gap=True, did=self._take_away(place))
        except (Misconfigured, Unavailable) as error:
            words = f"our own Subscription is still there beside the administrator's: {error}"
            return Subscribed(place, _LOOK_S, problem=words)

    def _take_away(self, place: Cursor) -> str:
        mine, id = [*self._made()], place.get("id")
        if id and id not in [each["id"] for each in mine] and (found := self._known(id, place.get("endpoint"))):
            # It may have another endpoint, of before the connection was changed.
            mine.append(found)
        return self._remove_all(mine)

    def _active(self, found: Resource, known: dict[str, Any]) -> Subscribed:
        """What was lost is read now that messages come again; when half of its time is over, it is renewed."""
        now, end = datetime.now(UTC), found.get("end")
        due = _moment(known.get("renew_at"))
        if end != known.get("end"):
            moment = _moment(end)
            due = now + (moment - now) / 2 if moment else None
        did = ""
        if due and due <= now:
            did, due = self._ask(found, "active", "renewed"), now + _AGAIN
        count, told = self._counted(found["id"]), known.get("counted")
        if (looked_at := _moment(known.get("looked_at"))) and now - looked_at > _AWAY:
            # Nobody was there to take what it told meanwhile.
            told = count
        here = {
            **known, "lost": False, "tries": 0, "end": end, "renew_at": due and due.isoformat(), "counted": count,
            "looked_at": now.isoformat(), "endpoint": _endpoint_of(found),
        }  # fmt: skip
        said = None if told is None else partial(behind, found["id"], told)
        self._remove_others(found["id"])
        return Subscribed(here, _LOOK_S, gap=known["lost"], did=did, said=said)

    def _counted(self, id: str) -> int | None:
        """How many events it has had by now, where the server can be asked.

        Those that it had at the last look must have been told by now; the others may still be on their way.
        """
        if self._topic.topic is None or not _says_status(self._wire):
            return None
        response = self._wire.send("GET", f"Subscription/{id}/$status")
        if response.status_code >= 400:
            return None
        with suppress(Misconfigured, Rejected):
            return counted(_document(response.content, self._wire.host))
        return None

    def _requested(self, found: Resource, known: dict[str, Any]) -> Subscribed:
        tries = min(known["tries"] + 1, _MOST_TRIES)
        did = ""
        if self._topic.topic is None:
            # R4 leaves it to the server when a rest-hook becomes active; some never do it by themselves.
            did = self._ask(found, "active", "activated")
        elif tries % _PATIENCE == 0:
            did = self._ask(found, "requested", "asked again")
        problem = "the server has not activated the Subscription yet: can it reach `public_url`?" if tries >= _PATIENCE else ""
        return Subscribed({**known, "tries": tries}, _wait(tries - 1), did=did, problem=problem)

    def _failed(self, found: Resource, known: dict[str, Any]) -> Subscribed:
        status = str(found.get("status"))[:20]
        problem = f"the server has set the Subscription to {status}: can it reach `public_url`? It is asked again"
        if not known["lost"]:
            return Subscribed({**known, "lost": True}, 0.0, problem=problem)
        tries = min(known["tries"] + 1, _MOST_TRIES)
        did = self._ask(found, "requested", "asked again")
        return Subscribed({**known, "tries": tries}, _wait(tries - 1), did=did, problem=problem)

    def _ask(self, found: Resource, status: str, did: str) -> str:
        self._write("PUT", f"Subscription/{found['id']}", {**self._wanted(status), "id": found["id"]}, found)
        return did

    @property
    def _asked(self) -> str:
        """What tells whether the server was asked for what is wanted now; it hides some of it, so that cannot be compared."""
        wanted = {name: value for name, value in self._wanted("").items() if name != "end"}
        return hashlib.sha256(orjson.dumps(wanted, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def _wanted(self, status: str) -> Resource:
        settings, topic = self._notifications, self._topic
        end = (datetime.now(UTC) + timedelta(days=settings.lease_days)).isoformat(timespec="milliseconds")
        channel: Resource = {
            "type": "rest-hook", "endpoint": self._endpoint, "payload": "application/fhir+json",
            "header": [f"{settings.header}: {settings.secrets[0].reveal()}"],
        }  # fmt: skip
        made: Resource = {
            "resourceType": "Subscription", "status": status, "reason": _REASON, "end": end, "criteria": topic.criteria,
            "channel": channel,
        }  # fmt: skip
        if topic.topic is None:
            return made
        if "?" in topic.criteria:
            made["_criteria"] = _extended("backport-filter-criteria", valueString=topic.criteria)
        channel |= _extended("backport-heartbeat-period", valueUnsignedInt=topic.heartbeat_s)
        channel["_payload"] = _extended("backport-payload-content", valueCode="id-only")
        return {**made, "criteria": topic.topic, "meta": {"profile": [f"{_GUIDE}/backport-subscription"]}}

    def _found(self, id: str | None, endpoint: str | None) -> Resource | None:
        """The Subscription that is known, else one of ours that was made before."""
        if id is not None and (known := self._known(id, endpoint)):
            return known
        return min(self._made(), key=lambda each: (each.get("status") == "off", str(each["id"])), default=None)

    def _known(self, id: str, endpoint: str | None) -> Resource | None:
        """The Subscription with that id, if it is ours: where the connection leads elsewhere, it may be another application's.

        Once it has told an `endpoint`, it is ours only while it tells that one: one that others took over tells us nothing.
        """
        response = self._answered(self._wire.send("GET", f"Subscription/{id}"))
        if response is None:
            return None
        found = {**_document(response.content, self._wire.host), "id": id}
        told = _endpoint_of(found)
        made = told == endpoint if endpoint else found.get("reason") == _REASON and told.endswith(self._hook)
        ours = told == self._endpoint or made
        return found if ours else None

    def _remove_others(self, id: str) -> None:
        """Takes away what else of ours tells the flow: of two processes that look after it in turn, each may have made one."""
        try:
            self._remove_all([each for each in self._made() if each["id"] != id])
        except (Misconfigured, Unavailable) as error:
            log().warning("subscription_left_behind", reason=str(error))

    def _remove_all(self, found: Iterable[Resource]) -> str:
        """What was done to take them away; one that cannot be taken away keeps no other from it."""
        did, failed = list[str](), list[Misconfigured | Unavailable]()
        for each in found:
            try:
                did.append(self._remove(each))
            except (Misconfigured, Unavailable) as error:
                failed.append(error)
        if failed:
            # Where time may still cure one, all are tried again.
            raise next((error for error in failed if isinstance(error, Unavailable)), failed[0])
        return " and ".join(dict.fromkeys(filter(None, did)))

    def _remove(self, found: Resource) -> str:
        """What was done to take it away; a server that deletes none may switch it off."""
        if found.get("status") == "off":
            return ""
        path = f"Subscription/{found['id']}"
        try:
            return "taken away" if self._answered(self._wire.send("DELETE", path)) else ""
        except Misconfigured as error:
            log().info("subscription_not_deleted", reason=str(error))
        self._write("PUT", path, {**self._wanted("off"), "id": found["id"]}, found)
        return "switched off"

    def _made(self) -> Iterator[Resource]:
        """Those to our endpoint that we made: others may be made by hand."""
        # Where the server cannot search by it, all are looked at.
        given = [("url", self._endpoint)] if "url" in declared(self._wire.capabilities, "Subscription") else []
        for each in resources(self._wire, "Subscription", given):
            if _endpoint_of(each) == self._endpoint and each.get("reason") == _REASON:
                yield each

    def _write(self, method: str, path: str, resource: Resource, before: Resource | None = None) -> str:
        version = (before or {}).get("meta", {}).get("versionId")
        headers = {"if-match": f'W/"{version}"'} if version else {}
        response = self._answered(self._wire.send(method, path, orjson.dumps(resource), headers))
        if response is None:
            raise Unavailable(f"{self._wire.host} has no Subscription any more that it had a moment ago", retry_after=_SOON_S)
        return _id_of(response)

    def _answered(self, response: httpx.Response) -> httpx.Response | None:
        """The answer, or None where nothing is there."""
        secrets = [secret.reveal() for secret in self._notifications.secrets]
        said = sentence(response.content, response.status_code, secrets) if response.status_code >= 400 else ""
        if response.status_code in (404, 410) and response.request.method != "POST":
            return None
        if response.status_code in (409, 412):
            raise Unavailable(f"{self._wire.host}: somebody else changed the Subscription at the same time", retry_after=_SOON_S)
        try:
            return answer(response)
        except Unavailable as error:
            raise Unavailable(f"{error}: {said}", error.retry_after, sent=error.sent) from None
        except (Misconfigured, Rejected) as error:
            raise Misconfigured(f"the Subscription cannot be kept at the server: {error}: {said}") from None


def _undeclared(wire: Wire) -> str:
    """Why the server cannot keep a Subscription; empty where it can."""
    listed = [found.get("type") for each in wire.capabilities.get("rest", []) for found in each.get("resource", [])]
    if "Subscription" in listed:
        return ""
    return f"{wire.host} does not declare Subscriptions: read its changes on a schedule (`changes: true`) instead"


def _says_status(wire: Wire) -> bool:
    """Whether the server declares that a topic's Subscription can be asked how many events it has had."""
    rest = [found for each in wire.capabilities.get("rest", []) for found in each.get("resource", [])]
    offered = [each for found in rest if found.get("type") == "Subscription" for each in found.get("operation", [])]
    return any(_STATUS & {each.get("name"), str(each.get("definition", "")).rpartition("/")[2]} for each in offered)


def misheard(wire: Wire, topic: FhirTopic, query: FhirQuery) -> Iterator[Finding]:
    """Why a server would not tell of the query's records: servers take a criteria that nothing ever fits."""
    if words := _undeclared(wire):
        yield Finding("does-not-fit", "", words)
        return
    if topic.record is None and (query.by != "_id" or query.searched != topic.type):
        words = f"the query finds {query.searched} by {query.by}: name the element of {topic.type} that holds it (record: subject)"
        yield Finding("does-not-fit", "record", words)
    known = declared(wire.capabilities, topic.type) | {"_id", "_lastUpdated", "_has"}
    for name, _ in parse_qsl(topic.criteria.partition("?")[2], keep_blank_values=True):
        if name.partition(":")[0].partition(".")[0] not in known:
            words = f"{wire.host} does not declare the search parameter {name} of {topic.type}: see its CapabilityStatement"
            yield Finding("does-not-fit", "criteria", words)


def resources(wire: Wire, type: str, parameters: list[tuple[str, str]]) -> Iterator[Resource]:
    """The resources of that type that a search finds."""
    data = wire.search(type, [*parameters, ("_count", str(max(AT_ONCE, wire.config.page_size)))])
    for _ in range(_MOST_PAGES):
        bundle = _document(data, wire.host)
        if bundle.get("resourceType") != "Bundle":
            raise Misconfigured(f"{wire.host} answered a search with something else than a Bundle: check `base_url`")
        found = [each.get("resource") for each in bundle.get("entry", ())]
        yield from (each for each in found if isinstance(each, dict) and each.get("resourceType") == type and "id" in each)
        following = next((link.get("url") for link in bundle.get("link", ()) if link.get("relation") == "next"), None)
        if following is None:
            return
        try:
            data = wire.next(following)
        except Ended:
            raise Unavailable(f"{wire.host} ended a search before its last page") from None
    raise Unavailable(f"{wire.host} gives pages without end")


def _endpoint_of(subscription: Resource) -> str:
    channel = subscription.get("channel")
    return str(channel.get("endpoint")) if isinstance(channel, dict) else ""


def _document(data: bytes, host: str) -> Resource:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise Misconfigured(f"{host} answers with something else than a resource: check `base_url`")
    return found


def _moment(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _wait(tries: int) -> float:
    return min(_SOON_S * 2.0**tries, _LONGEST_S)


def _id_of(response: httpx.Response) -> str:
    """The id of what was written, from the answer's body, or from where it says it is."""
    try:
        given = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        given = None
    if isinstance(given, dict) and given.get("resourceType") == "Subscription" and _ID.fullmatch(str(given.get("id"))):
        return str(given["id"])
    found = _LOCATION.search(response.headers.get("location", ""))
    if response.request.method == "POST" and found is None:
        raise Unavailable("the server does not say what it has made: it is looked for", retry_after=_SOON_S)
    return found[1] if found else ""


def _extended(name: str, **value: Any) -> Resource:
    return {"extension": [{"url": f"{_GUIDE}/{name}", **value}]}

"""Outbound messages as an administrator sets them up.

GET    /_sim/outbound            the messages, and what became of what they had to tell
PUT    /_sim/outbound/{name}     {"object": "Lead", "url", "fields": ["Company"], "kinds": ["CREATE"], "headers", "authority",
                                  "retry_s"}: adds or replaces one (see outbound.py)
DELETE /_sim/outbound/{name}     ends one
POST   /_sim/outbound/retry      {"again": true}: sends at once what waits, and what was acknowledged last once more

A fault with the operation `outbound` strikes a message: before it is sent, or `after_commit`, when only its Ack is lost.
"""

import ssl
from typing import Any

from fieldline_simulators.salesforce.calls import Answer, Call, Routes, as_json
from fieldline_simulators.salesforce.errors import ApiError, not_found
from fieldline_simulators.salesforce.outbound import MOST_MESSAGES, Message
from fieldline_simulators.salesforce.pubsub_avro import CHANGES

routes = Routes()
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": str, "url": str, "fields": list, "kinds": list, "headers": dict, "authority": str, "retry_s": (int, float),
}  # fmt: skip


def _wrong(words: str) -> ApiError:
    return ApiError("SIMULATOR", words)


def _check(asked: dict[str, Any]) -> None:
    odd = [name for name, value in asked.items() if name not in _TYPES or not isinstance(value, _TYPES[name])]
    if odd:
        raise _wrong(f"{', '.join(sorted(odd))}: a message has {', '.join(sorted(_TYPES))}")
    if not asked.get("object") or not str(asked.get("url")).startswith(("http://", "https://")):
        raise _wrong("a message has an object and a url")
    if not all(each in CHANGES for each in asked.get("kinds", ())):
        raise _wrong(f"kinds are of {', '.join(CHANGES)}")
    if not all(isinstance(each, str) and each.isprintable() for pair in asked.get("headers", {}).items() for each in pair):
        raise _wrong("headers are texts")
    try:
        ssl.create_default_context(cadata=asked.get("authority") or None)
    except (ssl.SSLError, ValueError):
        raise _wrong("authority is a certificate in PEM") from None


@routes.on("GET", "/_sim/outbound", session=False)
def list_messages(call: Call) -> Answer:
    """The messages."""
    return as_json([line.as_dict() for line in call.org.outbound.lines.values()])


@routes.on("PUT", "/_sim/outbound/{name}", session=False)
def define(call: Call, name: str) -> Answer:
    """Adds or replaces a message."""
    asked: dict[str, Any] = call.document()
    _check(asked)
    outbound = call.org.outbound
    if name not in outbound.lines and len(outbound.lines) >= MOST_MESSAGES:
        raise _wrong(f"there are {MOST_MESSAGES} messages already")
    kind = call.org.kind(asked["object"])
    wanted = [str(each) for each in asked.get("fields", ())]
    missing = [each for each in wanted if kind.get(each) is None]
    if missing:
        raise ApiError("INVALID_FIELD", f"No such column '{missing[0]}' on sobject of type {kind.name}", [])
    fields = [found.name for each in wanted if (found := kind.get(each))]
    outbound.define(Message(**{**asked, "name": name, "object": kind.name, "fields": fields}), call.org.feed.latest)
    call.org.save()
    return Answer(204)


@routes.on("DELETE", "/_sim/outbound/{name}", session=False)
def remove(call: Call, name: str) -> Answer:
    """Ends a message."""
    if not call.org.outbound.remove(name):
        raise not_found(f"no outbound message {name}")
    call.org.save()
    return Answer(204)


@routes.on("POST", "/_sim/outbound/retry", session=False)
def retry(call: Call) -> Answer:
    """Sends at once what waits."""
    return as_json({"due": call.org.outbound.make_due(call.org.now(), again=bool(call.document().get("again")))})

"""Changes on their way to a server: in bundles where it takes them, else one by one; each gets its own answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import orjson

from fieldline_connectors.fhir.abilities import Abilities
from fieldline_connectors.fhir.refusals import sentence, texts_in
from fieldline_connectors.fhir.shapes import Resource
from fieldline_connectors.fhir.wire import Wire
from fieldline_connectors.http import IN_TURN, answer
from fieldline_core.errors import FieldlineError, Misconfigured, Unavailable

_CONDITIONS = {"if-match": "ifMatch", "if-none-exist": "ifNoneExist"}
_json = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class Operation:
    """One change: a resource is added, replaced, or (without one) deleted."""

    method: str
    path: str
    resource: Resource | None = None
    conditions: Mapping[str, str] | None = None

    def entry(self) -> Resource:
        """The same as an entry of a bundle."""
        given = {_CONDITIONS[name]: value for name, value in (self.conditions or {}).items()}
        made: Resource = {"request": {"method": self.method, "url": self.path, **given}}
        return made if self.resource is None else {**made, "resource": self.resource}


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of one change."""

    status: int
    body: bytes


class Sender:
    """Sends changes, and knows whether any may have been made."""

    def __init__(self, wire: Wire, abilities: Abilities) -> None:
        self.changed = False
        """Whether the server has answered a change."""
        self._wire = wire
        self._bundle = abilities.bundle if wire.config.bundle_rows > 1 else None

    def replies(self, operations: Sequence[Operation]) -> list[Reply]:
        """The reply to each change; raises what is wrong with all of them."""
        size = self._wire.config.bundle_rows
        if self._bundle is None or len(operations) == 1:
            return [self._alone(each) for each in operations]
        parts = (operations[start : start + size] for start in range(0, len(operations), size))
        return [reply for part in parts for reply in self._together(part)]

    def _alone(self, operation: Operation) -> Reply:
        body = b"" if operation.resource is None else _json.encode(operation.resource)
        response = self._sent(operation.method, operation.path, body, operation.conditions)
        self._pass(response.status_code, response, [operation])
        return Reply(response.status_code, response.content)

    def _together(self, operations: Sequence[Operation]) -> Iterator[Reply]:
        bundle = {"resourceType": "Bundle", "type": self._bundle, "entry": [each.entry() for each in operations]}
        response = self._sent("POST", "", _json.encode(bundle), None)
        self._pass(response.status_code, response, operations)
        if response.status_code >= 300:
            # The server refuses the bundle for one of its entries, and has done none of them: each is tried alone.
            yield from [self._alone(each) for each in operations]
            return
        replies = self._replies(response, len(operations))
        for reply in replies:
            self._pass(reply.status, httpx.Response(reply.status, content=reply.body, request=response.request), operations)
        yield from replies

    def _sent(self, method: str, path: str, body: bytes, conditions: Mapping[str, str] | None) -> httpx.Response:
        try:
            headers = {"prefer": "return=minimal", **(conditions or {})}
            response = self._wire.send(method, path, body, headers, IN_TURN if self.changed else None)
        except Unavailable as error:
            raise self._away(str(error), error) from None
        self.changed |= response.status_code < 300
        return response

    def _pass(self, status: int, response: httpx.Response, operations: Sequence[Operation]) -> None:
        """Raises where the answer says something of every change: the login, the load, the server's state."""
        if status < 300 or (400 <= status < 500 and status not in (401, 407, 408, 425, 429)):
            return
        said = sentence(response.content, status, [text for each in operations for text in texts_in(each.resource)])
        try:
            answer(response)
        except Unavailable as error:
            raise self._away(f"{error}: {said}", error) from None
        except FieldlineError as error:
            raise Misconfigured(f"{error}: {said}", sent=self.changed) from None

    def _away(self, words: str, error: Unavailable) -> Unavailable:
        # What went before was written, even where this change was not sent.
        return type(error)(words, error.retry_after, sent=error.sent or self.changed)

    def _replies(self, response: httpx.Response, count: int) -> list[Reply]:
        try:
            entries = orjson.loads(response.content)["entry"]
            found = [_reply(each["response"]) for each in entries]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            found = []
        if len(found) != count:
            raise Unavailable(f"{self._wire.host} answered a bundle in a way that cannot be read", sent=True)
        return found


def _reply(response: Mapping[str, Any]) -> Reply:
    return Reply(int(str(response["status"])[:3]), orjson.dumps(response.get("outcome") or {}))

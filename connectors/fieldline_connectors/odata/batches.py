"""Several operations in one request: `$batch` as multipart (V2 and V4) or JSON (V4), and what became of each."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import HTTP
from secrets import token_hex
from typing import Any, TypeAlias

import httpx
import orjson

from fieldline_connectors.http import IN_TURN, answer
from fieldline_connectors.odata.errors import unsent
from fieldline_connectors.odata.service import Client
from fieldline_core.errors import FieldlineError, Unavailable

Group: TypeAlias = "Sequence[Operation]"
"""A question by itself, or the operations of one changeset."""

_MOST_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Operation:
    """One question or one change; its path is relative to the service."""

    id: str
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def changes(self) -> bool:
        """Whether it changes anything, and so belongs into a changeset."""
        return self.method != "GET"


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of one operation; `shared` where a whole changeset failed and it is not said by whose fault.

    `begun` is False where the service stopped at an error before it came to the operation.
    Header names are in lower case. Their values may hold any character: in a batch a location is written as its key is.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    shared: bool = False
    begun: bool = True

    @property
    def unclear(self) -> bool:
        """Whether what was asked for may have been done in spite of this answer."""
        try:
            answer(self.response())
        except Unavailable as error:
            return error.sent
        except FieldlineError:
            return False
        return False

    def response(self) -> httpx.Response:
        """The same as an answer to a request of its own."""
        # The body is as it was before it was compressed.
        headers = {name: value for name, value in self.headers.items() if value.isascii() and name.lower() != "content-encoding"}
        return httpx.Response(self.status, headers=headers, content=self.body, request=httpx.Request("GET", "https://service"))


_NOT_BEGUN = Reply(424, {}, b"", begun=False)


class Sender:
    """Sends operations in as few requests as the settings allow."""

    def __init__(self, client: Client) -> None:
        self.changed = False
        """Whether something was changed, or may have been."""
        self._client = client
        self._config = client.config

    def replies(self, groups: Sequence[Group]) -> dict[str, Reply]:
        """The reply to each operation, by its id; those that the service did not come to are missing."""
        return {id: reply for request in self.requests(groups) for id, reply in self.answered(request).items()}

    def requests(self, groups: Sequence[Group]) -> Iterator[Sequence[Group]]:
        """The groups that travel in one request each."""
        if self._config.batch == "none":
            return ([[operation]] for group in groups for operation in group)
        return self._parts(groups)

    def answered(self, request: Sequence[Group]) -> dict[str, Reply]:
        """The same for what travels in one request."""
        if sum(map(len, request)) == 1:
            (operation,) = request[0]
            return {operation.id: self._alone(operation)}
        return self._together(request)

    def _parts(self, groups: Sequence[Group]) -> Iterator[list[Group]]:
        """Groups for one request each, by number and size."""
        part: list[Group] = []
        rows = size = 0
        for group in groups:
            more = sum(len(operation.body) + len(operation.path) + 500 for operation in group)
            if part and (rows + len(group) > self._config.batch_rows or size + more > _MOST_BYTES):
                yield part
                part, rows, size = [], 0, 0
            part.append(group)
            rows, size = rows + len(group), size + more
        if part:
            yield part

    def _patience(self) -> Mapping[str, Any]:
        """What is behind a change of the same write waits for its turn: all of it might be sent again otherwise."""
        return IN_TURN if self.changed else {}

    def _alone(self, operation: Operation) -> Reply:
        response = self._client.wire.send(operation.method, operation.path, operation.headers, operation.body, self._patience())
        if response.status_code in (401, 413, 429, 503) or 300 <= response.status_code < 400:
            self._client.wire.accepted(response, reading=not operation.changes)
        reply = Reply(response.status_code, response.headers, response.content)
        self._note(operation.changes, [reply])
        return reply

    def _note(self, changing: bool, replies: Iterable[Reply]) -> None:
        """Heeds what the answers say of all that follows."""
        for reply in replies:
            self.changed |= changing and (reply.status < 300 or reply.unclear)
            if reply.status in (429, 503):
                self._client.wire.heed(reply.response())

    def _together(self, groups: Sequence[Group]) -> dict[str, Reply]:
        wire, client = self._client.wire, self._client
        reading = not any(operation.changes for group in groups for operation in group)
        as_json = self._config.batch == "json" and client.service.v4
        content_type, body = _json_request(groups) if as_json else _multipart_request(groups)
        headers = {**client.headers, "content-type": content_type, "accept": "application/json" if as_json else "multipart/mixed"}
        if client.service.v4:
            headers["prefer"] = "odata.continue-on-error"
        try:
            # The outer status says only that the request was understood.
            response = wire.accepted(wire.send("POST", "$batch", headers, body, self._patience()), reading=reading)
        except Unavailable as error:
            raise (unsent(error) if reading else error) from None
        try:
            if as_json:
                found = _json_replies(groups, response.content)
            else:
                found = _multipart_replies(groups, response.headers.get("content-type", ""), response.content, client.service.v4)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            raise Unavailable(f"{client.place}: the answer to a $batch cannot be read", sent=not reading) from None
        self._note(not reading, found.values())
        return found


def _multipart_request(groups: Sequence[Group]) -> tuple[str, bytes]:
    boundary = f"batch_{token_hex(8)}"
    parts = [_changeset(group) if group[0].changes else _embedded(group[0]) for group in groups]
    return f"multipart/mixed;boundary={boundary}", _wrapped(boundary, parts)


def _changeset(group: Group) -> bytes:
    boundary = f"changeset_{token_hex(8)}"
    body = _wrapped(boundary, [_embedded(operation) for operation in group])
    return f"Content-Type: multipart/mixed;boundary={boundary}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _embedded(operation: Operation) -> bytes:
    inner = {**operation.headers, **({"content-length": str(len(operation.body))} if operation.changes else {})}
    lines = [
        "Content-Type: application/http", "Content-Transfer-Encoding: binary",
        *([f"Content-ID: {operation.id}"] if operation.changes else []), "",
        f"{operation.method} {operation.path} HTTP/1.1", *(f"{name.title()}: {value}" for name, value in inner.items()), "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + operation.body


def _wrapped(boundary: str, parts: Sequence[bytes]) -> bytes:
    return b"".join(b"--%b\r\n%b\r\n" % (boundary.encode(), part) for part in parts) + b"--%b--\r\n" % boundary.encode()


def _multipart_replies(groups: Sequence[Group], content_type: str, content: bytes, v4: bool) -> dict[str, Reply]:
    outer = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + content, policy=HTTP)
    found: dict[str, Reply] = {}
    parts = _parts_of(outer)
    for group, part in zip(groups, parts, strict=False):
        if part.get_content_maintype() == "multipart":
            found |= _of_changeset(group, _parts_of(part))
        else:
            found |= _of_group(group, _embedded_reply(part), _content_id(part))
    last = [found[operation.id] for group in groups[: len(parts)][-1:] for operation in group if operation.id in found]
    if v4 and not outer.defects and any(reply.status >= 300 and not reply.unclear for reply in last):
        # A service that does not heed continue-on-error ends its answer at the first error, as V4 wants it.
        found |= {operation.id: _NOT_BEGUN for group in groups[len(parts) :] for operation in group if operation.changes}
    return found


def _parts_of(message: Message) -> list[Message]:
    if not message.is_multipart():
        raise ValueError("no multipart")
    return [part for part in message.get_payload() if isinstance(part, Message)]


def _of_changeset(group: Group, parts: Sequence[Message]) -> dict[str, Reply]:
    replies = [_embedded_reply(part) for part in parts]
    if len(replies) == len(group):
        ids = [_content_id(part) for part in parts]
        # Services that name what they answer may do so in another order.
        known = {operation.id for operation in group}
        names = ids if set(ids) == known else [operation.id for operation in group]
        return {str(name): reply for name, reply in zip(names, replies, strict=True)}
    failed = next((index for index, reply in enumerate(replies) if reply.status >= 300), None)
    if failed is None:
        raise ValueError("a changeset with too few answers")
    return _of_group(group, replies[failed], _content_id(parts[failed]))


def _of_group(group: Group, reply: Reply, content_id: str | None) -> dict[str, Reply]:
    """One answer for a whole changeset: the fault of the operation that it names, or of nobody in particular."""
    named = content_id or reply.headers.get("content-id")
    if len(group) == 1 or any(operation.id == named for operation in group):
        return {named if len(group) > 1 and named else group[0].id: reply}
    if reply.status < 300:
        raise ValueError("a changeset with too few answers")
    return {operation.id: Reply(reply.status, reply.headers, reply.body, shared=True) for operation in group}


def _content_id(part: Message) -> str | None:
    found = part.get("content-id")
    return str(found).strip().strip("<>") if found else None


def _embedded_reply(part: Message) -> Reply:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        raise ValueError("no answer in a part")
    line, _, rest = payload.lstrip(b"\r\n").partition(b"\n")
    status = int(line.split(None, 2)[1])
    head, body = _divided(rest)
    pairs = (text.partition(":") for text in head.decode("latin-1").split("\n"))
    return Reply(status, {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}, body)


def _divided(rest: bytes) -> tuple[bytes, bytes]:
    if rest.startswith((b"\r\n", b"\n")):
        return b"", rest.lstrip(b"\r\n")
    for blank in (b"\r\n\r\n", b"\n\n"):
        if blank in rest:
            head, _, body = rest.partition(blank)
            return head, body
    return rest, b""


def _json_request(groups: Sequence[Group]) -> tuple[str, bytes]:
    requests: list[dict[str, Any]] = []
    for number, group in enumerate(groups):
        for operation in group:
            entry: dict[str, Any] = {"id": operation.id, "method": operation.method, "url": operation.path}
            entry["headers"] = dict(operation.headers)
            if operation.changes:
                entry |= {"atomicityGroup": f"g{number}", "body": orjson.loads(operation.body)}
            requests.append(entry)
    return "application/json", orjson.dumps({"requests": requests})


def _json_replies(groups: Sequence[Group], content: bytes) -> dict[str, Reply]:
    found: dict[str, Reply] = {}
    # A number with a fraction stays the text that it was: the reader of the body takes both.
    for entry in json.loads(content, parse_float=str)["responses"]:
        headers = {str(name).lower(): str(value) for name, value in (entry.get("headers") or {}).items()}
        body = entry.get("body")
        inner = body.encode() if isinstance(body, str) else b"" if body is None else orjson.dumps(body)
        found[str(entry["id"])] = Reply(int(entry["status"]), headers, inner)
    for group in groups:
        _blame(group, found)
    return found


def _blame(group: Group, found: dict[str, Reply]) -> None:
    """In a changeset that failed, keeps the one answer that says why, or shares it among all."""
    answered = [operation.id for operation in group if operation.id in found]
    failed = [id for id in answered if found[id].status >= 300]
    if not failed and 0 < len(answered) < len(group):
        raise ValueError("a changeset with too few answers")
    if not failed or len(group) == 1:
        return
    causes = [id for id in failed if found[id].status != 424] or failed
    first = found[causes[0]]
    for operation in group:
        found.pop(operation.id, None)
    if len(causes) == 1:
        found[causes[0]] = first
    else:
        found |= {operation.id: Reply(first.status, first.headers, first.body, shared=True) for operation in group}

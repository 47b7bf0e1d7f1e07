"""`$batch`: multipart in V2 and V4, JSON in V4; a changeset is written as a whole or not at all."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email import message_from_bytes
from email.errors import MessageError
from email.message import Message
from email.policy import compat32
from http import HTTPStatus
from secrets import token_hex
from typing import Any

import orjson

from fieldline_simulators.sap.calls import Call, as_json, refusal
from fieldline_simulators.sap.errors import Refused, malformed
from fieldline_simulators.sap.store import Store
from fieldline_simulators.serving import Reply

_LINE = re.compile(rb"([A-Z]{1,10}) ([^ \r\n]{1,65000}) HTTP/1\.[01]\r?\n?")
_REFERENCE = re.compile(r"^/?\$(\w{1,60})(?=/|$)")
_SAFE = ("GET", "HEAD")


class _Undone(Exception):
    """A changeset that is taken back."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One request of a batch."""

    id: str
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Batches:
    """Carries out batches."""

    store: Store
    #: How one request is answered; raises nothing.
    carry_out: Callable[[Call], Reply]
    most_parts: int
    #: Most operations in a changeset; None where any number will do.
    changeset_rows: int | None
    #: Whether the one answer to a failed changeset names the operation that failed.
    names_culprit: bool

    def answer(self, call: Call) -> Reply:
        """What a batch gets; raises Refused."""
        kind = call.headers.get("content-type", "")
        if call.v4 and kind.lower().startswith("application/json"):
            return self._json(call)
        if not kind.lower().startswith("multipart/mixed"):
            raise Refused(415, "/IWFND/CM_MGW/415", f"$batch takes multipart/mixed, not '{kind[:60]}'")
        groups = [self._group(part) for part in _parts(kind, call.body)]
        if sum(len(group) for _, group in groups) > self.most_parts:
            raise Refused(413, "/IWFND/CM_MGW/413", f"A batch has at most {self.most_parts} operations")
        boundary = f"ejjeeffe{token_hex(4)}"
        found = []
        for together, group in groups:
            made, good = self._changeset(call, group) if together else self._single(call, group[0])
            found.append(made)
            if call.v4 and not good and "odata.continue-on-error" not in call.preferences:
                break
        headers = {"Content-Type": f"multipart/mixed; boundary={boundary}"}
        return Reply(200 if call.v4 else 202, _joined(boundary, found), headers)

    def _group(self, part: Message) -> tuple[bool, list[_Part]]:
        if part.get_content_maintype() != "multipart":
            return False, [_part_of(part)]
        inner = part.get_payload()
        if not isinstance(inner, list) or not inner:
            raise malformed("A changeset is empty")
        return True, [_part_of(each) for each in inner if isinstance(each, Message)]

    def _single(self, call: Call, part: _Part) -> tuple[bytes, bool]:
        if part.method not in _SAFE:
            made = refusal(malformed("A change stands in a changeset", part.target[:60]), v4=call.v4)
        else:
            made = self._carried_out(call, part, {})
        return _embedded(part.id, made), made.status < 400

    def _changeset(self, call: Call, group: list[_Part]) -> tuple[bytes, bool]:
        done: list[tuple[_Part, Reply]] = []
        failed: tuple[_Part, Reply] | None = None
        try:
            with self.store.atomic():
                failed = self._all(call, group, done)
                if failed:
                    raise _Undone
        except _Undone:
            assert failed is not None
            return _embedded(failed[0].id if self.names_culprit else "", failed[1]), False
        boundary = f"changeset{token_hex(4)}"
        inner = _joined(boundary, [_embedded(part.id, made) for part, made in done])
        return f"Content-Type: multipart/mixed; boundary={boundary}\r\nContent-Length: {len(inner)}\r\n\r\n".encode() + inner, True

    def _all(self, call: Call, group: list[_Part], done: list[tuple[_Part, Reply]]) -> tuple[_Part, Reply] | None:
        """Does all operations of a changeset; the one that failed, if one did."""
        if self.changeset_rows is not None and len(group) > self.changeset_rows:
            words = f"The changeset has more than {self.changeset_rows} operations, which this service does not take"
            return group[0], refusal(Refused(400, "/IWBEP/CM_MGW_RT/053", words), v4=call.v4)
        made_by: dict[str, str] = {}
        for part in group:
            if part.method in _SAFE:
                return part, refusal(malformed("A changeset holds changes only"), v4=call.v4)
            made = self._carried_out(call, part, made_by)
            if made.status >= 400:
                return part, made
            made_by[part.id] = made.headers.get("Location", "").removeprefix(call.root) or part.target
            done.append((part, made))
        return None

    def _carried_out(self, call: Call, part: _Part, made_by: Mapping[str, str]) -> Reply:
        def known(found: re.Match[str]) -> str:
            return made_by.get(found[1], found[0])

        try:
            inner = call.part(part.method, _REFERENCE.sub(known, part.target), part.headers, part.body)
        except Refused as error:
            return refusal(error, v4=call.v4)
        if inner.path.startswith("$batch"):
            return refusal(malformed("A batch holds no batch"), v4=call.v4)
        return self.carry_out(inner)

    def _json(self, call: Call) -> Reply:
        requests = call.json().get("requests")
        if not isinstance(requests, list) or not all(isinstance(each, dict) for each in requests):
            raise malformed("'requests' is a list of objects")
        if len(requests) > self.most_parts:
            raise Refused(413, "/IWFND/CM_MGW/413", f"A batch has at most {self.most_parts} operations")
        parts = [_of_json(each) for each in requests]
        if len({part.id for part in parts}) < len(parts):
            raise malformed("An id of a request is there twice")
        responses: list[dict[str, Any]] = []
        for group, members in _grouped(requests, parts):
            found = self._group_of_json(call, members) if group else [(members[0], self._carried_out(call, members[0], {}))]
            responses += [_as_json(part, made, group) for part, made in found]
            if any(made.status >= 400 for _, made in found) and "odata.continue-on-error" not in call.preferences:
                break
        return as_json({"responses": responses})

    def _group_of_json(self, call: Call, members: list[_Part]) -> list[tuple[_Part, Reply]]:
        done: list[tuple[_Part, Reply]] = []
        failed: tuple[_Part, Reply] | None = None
        try:
            with self.store.atomic():
                failed = self._all(call, members, done)
                if failed:
                    raise _Undone
        except _Undone:
            assert failed is not None
            dropped = refusal(Refused(424, "/IWBEP/CM_MGW_RT/424", "Another request of the group failed"), v4=True)
            return [(part, failed[1] if part is failed[0] else dropped) for part in members]
        return done


def _parts(kind: str, body: bytes) -> Iterator[Message]:
    try:
        header = b"Content-Type: " + kind.encode("ascii", "ignore").replace(b"\n", b"") + b"\r\n\r\n"
        message = message_from_bytes(header + body, policy=compat32)
        found = message.get_payload()
    except (MessageError, ValueError, IndexError):
        found = None
    if not isinstance(found, list) or not found:
        raise malformed("The batch is not multipart, or has no parts")
    yield from (each for each in found if isinstance(each, Message))


def _part_of(part: Message) -> _Part:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes) or part.get_content_type() != "application/http":
        raise malformed("A part of the batch is not application/http")
    found = _LINE.match(payload.lstrip(b"\r\n"))
    if not found:
        raise malformed("A part of the batch does not begin with a request line")
    rest = payload.lstrip(b"\r\n")[found.end() :]
    head, _, body = (b"", b"", rest.lstrip(b"\r\n")) if rest[:1] in (b"\r", b"\n", b"") else _divided(rest)
    lines = (line.partition(":") for line in head.decode("utf-8", "replace").splitlines())
    headers = {name.strip().lower(): value.strip() for name, colon, value in lines if colon}
    identity = str(part.get("content-id") or headers.get("content-id") or "").strip().strip("<>")[:60]
    # The part ends with the line break before its boundary, which the parser has taken away already.
    return _Part(identity, found[1].decode(), found[2].decode("utf-8", "replace"), headers, body)


def _divided(rest: bytes) -> tuple[bytes, bytes, bytes]:
    for blank in (b"\r\n\r\n", b"\n\n"):
        if blank in rest:
            return rest.partition(blank)
    return rest, b"", b""


def _of_json(document: dict[str, Any]) -> _Part:
    id, method, url, headers = (document.get(name) for name in ("id", "method", "url", "headers"))
    if not isinstance(id, str) or not isinstance(method, str) or not isinstance(url, str) or not id:
        raise malformed("A request has an id, a method and a url, which are texts")
    if headers is not None and not isinstance(headers, dict):
        raise malformed("The headers of a request are an object")
    body = b"" if document.get("body") is None else orjson.dumps(document["body"])
    return _Part(
        id[:60], method.upper()[:20], url, {str(name).lower(): str(value) for name, value in (headers or {}).items()}, body
    )


def _grouped(requests: list[dict[str, Any]], parts: list[_Part]) -> Iterator[tuple[str, list[_Part]]]:
    """The requests in their order, those of one group together."""
    groups: dict[str, list[_Part]] = {}
    for number, (each, part) in enumerate(zip(requests, parts, strict=True)):
        groups.setdefault(f"g{each['atomicityGroup']}" if each.get("atomicityGroup") else f"{number}", []).append(part)
    for name, members in groups.items():
        yield name[1:] if name.startswith("g") else "", members


def _as_json(part: _Part, made: Reply, group: str) -> dict[str, Any]:
    found: dict[str, Any] = {"id": part.id, "status": made.status, "headers": {n.lower(): v for n, v in made.headers.items()}}
    if group:
        found["atomicityGroup"] = group
    if made.body:
        found["body"] = orjson.loads(made.body) if "json" in made.headers.get("Content-Type", "") else made.body.decode()
    return found


def _embedded(id: str, made: Reply) -> bytes:
    headers = {**made.headers, "Content-Length": str(len(made.body))}
    lines = [f"HTTP/1.1 {made.status} {HTTPStatus(made.status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    identity = f"Content-ID: {id}\r\n" if id else ""
    inner = "\r\n".join([*lines, "", ""]).encode() + made.body
    outer = f"Content-Type: application/http\r\nContent-Length: {len(inner)}\r\nContent-Transfer-Encoding: binary\r\n{identity}\r\n"
    return outer.encode() + inner


def _joined(boundary: str, parts: list[bytes]) -> bytes:
    return b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()

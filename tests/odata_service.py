"""A small OData service for the tests, in V2 or V4, strict about what SAP is strict about: CSRF, every cookie, ETags, changesets.

It shares no code with the connector. `faults` are answers to give instead (`status`, `body`, `headers`) or things to do to
the next request whose method and path begin as `on` says; `drop` breaks the connection after the work is done.
"""

import base64
import copy
import json
import re
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree.ElementTree import Element, fromstring

from tests.odata_language import BARE, Kind, condition, key_of, metadata, order, parsed, rendered

Answer = tuple[int, dict[str, str], bytes]
LOGIN = "Basic " + base64.b64encode(b"tech:the password").decode()


class Shop:
    """What the service holds, and what was asked of it."""

    def __init__(self, version: int, kinds: dict[str, Kind], page: int = 3) -> None:
        self.version = version
        self.kinds = kinds
        self.page = page
        self.rows: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in kinds}
        self.versions: dict[tuple[str, str], int] = {}
        self.sessions: dict[str, str] = {}
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.faults: list[dict[str, Any]] = []
        self.csrf = True
        self.client: str | None = None
        self.other_host = ""
        self.tracked = True
        self.named = True
        self.metadata: str | None = None
        self.idocs: list[Element] = []
        self.log: list[tuple[str, str]] = []
        self.lock = threading.RLock()

    def put(self, name: str, /, **row: Any) -> None:
        """Puts a row there, as a person would."""
        with self.lock:
            key = key_of(self.kinds[name], row)
            self.rows[name][key] = {**dict.fromkeys(self.kinds[name].types), **self.rows[name].get(key, {}), **row}
            self.versions[name, key] = self.versions.get((name, key), 0) + 1
            self.log.append((name, key))

    def remove(self, name: str, key: str) -> None:
        """Deletes a row, as a person would."""
        with self.lock:
            del self.rows[name][key]
            self.log.append((name, key))

    def requests(self, method: str = "", path: str = "") -> list[tuple[str, str, dict[str, str], bytes]]:
        """The requests that came with this method for a path that begins so."""
        return [each for each in self.seen if each[0].startswith(method) and each[1].startswith(path)]

    def handle(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """The answer to one request, from outside or from inside a batch."""
        parts = urlsplit(target)
        path, options = unquote(parts.path), {name: values[0] for name, values in parse_qs(parts.query).items()}
        if path == "$metadata":
            return 200, {"content-type": "application/xml"}, (self.metadata or metadata(self.version, self.kinds)).encode()
        name, _, key = path.partition("(")
        if path and name not in self.kinds:
            return self.error(404, "005056A509B11EE1B9A8FEC11C21D78E", f"Resource not found for the segment '{name}'")
        token = options.get("$deltatoken") or options.get("!deltatoken") or (key if key.endswith("/ChangesAfter") else "")
        if token:
            return self.changes(name.removeprefix("DeltaLinksOf"), int("".join(filter(str.isdigit, token))))
        if method in ("GET", "HEAD"):
            return self.read(name, key.removesuffix(")"), options, headers) if path else self.document({"d": {"EntitySets": []}})
        if method == "POST":
            return self.create(name, body)
        return self.change(name, key.removesuffix(")"), headers, body)

    def read(self, name: str, key: str, options: dict[str, str], headers: dict[str, str]) -> Answer:
        """One record, or a page of them."""
        kind = self.kinds[name]
        if key:
            row = self.rows[name].get(self.named_key(kind, key))
            if row is None:
                return self.error(404, "SY/530", "Resource not found")
            return self.document({"d": self.shown(name, row, options)} if self.version == 2 else self.shown(name, row, options))
        test = condition(options["$filter"], kind) if "$filter" in options else lambda row: True
        found = order([row for row in self.rows[name].values() if test(row)], options.get("$orderby"), kind)
        found = found[: int(options.get("$top", 1_000_000))]
        start = int(options.get("$skiptoken", 0))
        more = start + self.page < len(found) or (start < len(found) == start + self.page)
        page = [self.shown(name, row, options) for row in found[start : start + self.page]]
        # A full last page links to an empty one, as SAP's servers do.
        rest = "&".join(f"{each}={options[each]}" for each in options if each != "$skiptoken")
        link = f"{name}?{rest}&$skiptoken={start + self.page}".replace(" ", "%20") if more else None
        delta = self.delta(name) if self.tracked and "track-changes" in headers.get("prefer", "") and not link else None
        if self.version == 2:
            places = {"__next": link and f"{self.other_host}{link}", "__delta": delta}
            return self.document({"d": {"results": page, **{each: place for each, place in places.items() if place}}})
        places = {"@odata.nextLink": link, "@odata.deltaLink": delta}
        return self.document({"value": page, **{each: place for each, place in places.items() if place}})

    def delta(self, name: str) -> str | None:
        """The link behind which changes come from now on; an extractor of SAP keeps its links in a set instead."""
        if f"DeltaLinksOf{name}" in self.kinds:
            count = len(self.log)
            self.put(f"DeltaLinksOf{name}", DeltaToken=f"D{count}", CreatedAt=f"2024-01-01T00:{count:02}:00Z")
            return None
        return f"{name}?!deltatoken='D{len(self.log)}'" if self.version == 2 else f"{name}?$deltatoken={len(self.log)}"

    def changes(self, name: str, since: int) -> Answer:
        """What has changed in a set since its log was so long: rows as they are, and what is left of those that are gone."""
        mode = "ODQ_CHANGEMODE" in self.kinds[name].types
        found = []
        for key in dict.fromkeys(key for logged, key in self.log[since:] if logged == name):
            row = self.rows[name].get(key)
            if row is not None:
                found.append(self.shown(name, {**row, **({"ODQ_CHANGEMODE": "U"} if mode else {})}, {}))
            elif mode:
                found.append({**dict.fromkeys(self.kinds[name].types), self.kinds[name].keys[0]: key, "ODQ_CHANGEMODE": "D"})
            elif since % 2:
                found.append({"@removed": {"reason": "deleted"}, "@id": f"{name}('{key}')"})
            else:
                found.append({"@odata.context": f"$metadata#{name}/$deletedEntity", "id": f"{name}('{key}')", "reason": "deleted"})
        link = self.delta(name)
        if self.version == 2:
            return self.document({"d": {"results": found, **({"__delta": link} if link else {})}})
        return self.document({"value": found, "@odata.deltaLink": link})

    def shown(self, name: str, row: dict[str, Any], options: dict[str, str]) -> dict[str, Any]:
        """A row as the version writes it, with its child rows where they are asked for."""
        kind = self.kinds[name]
        found = {each: rendered(self.version, kind.types[each], row.get(each)) for each in kind.types}
        tag = f'W/"{self.versions.get((name, key_of(kind, row)), 1)}"'
        if "$select" in options:
            wanted = {each.partition("/")[0] for each in options["$select"].split(",")}
            found = {each: value for each, value in found.items() if each in wanted}
        if name.startswith("DeltaLinksOf"):
            found["ChangesAfter"] = {"__deferred": {"uri": f"{self.other_host}{name}('{row['DeltaToken']}')/ChangesAfter"}}
        found |= {"__metadata": {"etag": tag, "type": f"shop.{name}Type"}} if self.version == 2 else {"@odata.etag": tag}
        for each, (target, foreign, own) in kind.lists.items():
            if each in options.get("$expand", ""):
                rows = [self.shown(target, child, {}) for child in self.rows[target].values() if child[foreign] == row[own]]
                found[each] = {"results": rows} if self.version == 2 else rows
        return found

    def create(self, name: str, body: bytes) -> Answer:
        """Adds a record."""
        kind = self.kinds[name]
        row = parsed(self.version, kind, json.loads(body))
        if why := kind.refusal(row):
            return self.error(400, "SHOP/001", why)
        if key_of(kind, row) in self.rows[name]:
            return self.error(400, "SHOP/002", f"{row} exists already")
        self.put(name, **row)
        return 201, {"location": f"{name}('{key_of(kind, row)}')"}, b"{}"

    def change(self, name: str, key: str, headers: dict[str, str], body: bytes) -> Answer:
        """Changes a record of the version that the caller knows."""
        kind = self.kinds[name]
        if kind.alternate and key.startswith(f"{kind.alternate}="):
            return self.upsert(name, key.partition("=")[2], headers, body)
        own = self.named_key(kind, key)
        if own not in self.rows[name]:
            return self.error(404, "SY/530", "Resource not found")
        if "if-match" not in headers:
            return self.error(428, "/IWFND/CM_MGW/593", "The request needs an If-Match header")
        if headers["if-match"] not in ("*", f'W/"{self.versions[name, own]}"'):
            return self.error(412, "/IWFND/CM_MGW/596", "The record was changed in the meantime")
        row = parsed(self.version, kind, json.loads(body))
        if why := kind.refusal(row):
            return self.error(400, "SHOP/001", why)
        self.put(name, **{**dict(zip(kind.keys, [self.rows[name][own][each] for each in kind.keys], strict=True)), **row})
        return 204, {}, b""

    def upsert(self, name: str, literal: str, headers: dict[str, str], body: bytes) -> Answer:
        """Adds a record under an alternate key, as Dataverse does."""
        kind = self.kinds[name]
        value = literal[1:-1].replace("''", "'")
        if any(row[kind.alternate] == value for row in self.rows[name].values()):
            return self.error(412, "0x80060892", "A record with matching key values already exists")
        assert headers["if-none-match"] == "*"
        row = parsed(self.version, kind, json.loads(body))
        if why := kind.refusal(row):
            return self.error(400, "0x80040265", why)
        self.put(name, **row, **{kind.keys[0]: str(uuid.uuid4()), kind.alternate: value})
        return 204, {}, b""

    def named_key(self, kind: Kind, text: str) -> str:
        """The key in an address."""
        values = [part.partition("=")[2] if "=" in part else part for part in text.split(",")]
        return key_of(kind, dict(zip(kind.keys, values, strict=False)))

    def error(self, status: int, code: str, message: str) -> Answer:
        """A refusal, as the version writes it."""
        if self.version == 2:
            details = {"errordetails": [{"code": code, "message": message, "severity": "error"}]}
            found: dict[str, Any] = {"code": code, "message": {"lang": "en", "value": message}, "innererror": details}
        else:
            found = {"code": code, "message": message, "details": []}
        return status, {"content-type": "application/json"}, json.dumps({"error": found}).encode()

    def document(self, found: Any) -> Answer:
        """An answer in JSON."""
        text = re.sub(f'"{BARE}([^"]*)"', r"\1", json.dumps(found, ensure_ascii=False))
        return 200, {"content-type": "application/json;charset=utf-8"}, text.encode()

    def batch(self, content_type: str, body: bytes) -> Answer:
        """All parts of a batch; a changeset in which one fails is undone."""
        if content_type.startswith("application/json"):
            return self.json_batch(json.loads(body)["requests"])
        message = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body, policy=HTTP)
        parts = []
        for part in message.get_payload():
            if part.get_content_maintype() == "multipart":
                inner = [(str(each["content-id"]), *_request(each.get_payload(decode=True))) for each in part.get_payload()]
                parts.append(self.changeset(inner))
            else:
                parts.append(_part(None, self.handle(*_request(part.get_payload(decode=True)))))
        return 202, {"content-type": "multipart/mixed; boundary=reply"}, _multipart("reply", parts)

    def changeset(self, inner: list[tuple[str, str, str, dict[str, str], bytes]]) -> bytes:
        """One answer for each, or a single one where the changeset failed."""
        before = copy.deepcopy((self.rows, self.versions))
        answers = []
        for name, method, target, headers, body in inner:
            answer = self.handle(method, target, headers, body)
            if answer[0] >= 300:
                self.rows, self.versions = before
                return _part(name if self.named else None, answer)
            answers.append(_part(name, answer))
        return b"Content-Type: multipart/mixed; boundary=inner\r\n\r\n" + _multipart("inner", answers)

    def take(self, body: bytes) -> Answer:
        """Takes a message of IDocs; a type that it does not know makes it refuse all of them."""
        found = fromstring(body)
        if any(idoc.findtext("EDI_DC40/MESTYP") == "NOSUCH" or idoc.find(".//WMENG[.='666']") is not None for idoc in found):
            return 400, {"content-type": "text/html"}, b"<html><title>IDoc-XML-inbound error: segment 4711</title></html>"
        self.idocs += found
        return 200, {"content-type": "text/html"}, b"<html><head><title>IDoc-XML-inbound ok</title></head></html>"

    def json_batch(self, requests: list[dict[str, Any]]) -> Answer:
        """The same in JSON, one by one."""
        found = []
        for each in requests:
            headers = {name.lower(): value for name, value in each.get("headers", {}).items()}
            status, _, body = self.handle(each["method"], each["url"], headers, json.dumps(each.get("body")).encode())
            found.append({"id": each["id"], "status": status, "headers": {}, "body": json.loads(body) if body else None})
        return self.document({"responses": found})


def _request(content: bytes) -> tuple[str, str, dict[str, str], bytes]:
    head, _, body = content.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    method, target, _ = line.split(" ")
    return method, target, {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}, body


def _part(name: str | None, answer: Answer) -> bytes:
    status, headers, body = answer
    lines = [f"HTTP/1.1 {status} Said", *(f"{each}: {value}" for each, value in headers.items()), f"content-length: {len(body)}"]
    identity = f"Content-ID: {name}\r\n" if name else ""
    outer = f"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n{identity}\r\n"
    return (outer + "\r\n".join(lines) + "\r\n\r\n").encode() + body


def _multipart(boundary: str, parts: list[bytes]) -> bytes:
    return b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def handle_one(self) -> None:
        """One request: login, client, fault, token, and then what was asked."""
        shop, headers = self.server.shop, {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        target = self.path.removeprefix("/service/")
        with shop.lock:
            shop.seen.append((self.command, target, headers, body))
            fault = next((each for each in shop.faults if f"{self.command} {target}".startswith(each["on"])), None)
            if fault is not None:
                shop.faults.remove(fault)
            if fault and "status" in fault:
                return self.answer((fault["status"], fault.get("headers", {}), fault.get("body", b"")))
            found = self.gate(target, headers) or self.work(target, headers, body)
            if fault:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return None
            self.answer(found)
        return None

    def work(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """What the service itself says."""
        if target.startswith("/sap/bc/idoc_xml"):
            return self.server.shop.take(body)
        if target.startswith("$batch"):
            return self.server.shop.batch(headers.get("content-type", ""), body)
        return self.server.shop.handle(self.command, target, headers, body)

    def gate(self, target: str, headers: dict[str, str]) -> Answer | None:
        """What SAP's gateway says before the service is asked."""
        shop = self.server.shop
        if headers.get("authorization") != LOGIN or (shop.client and f"sap-client={shop.client}" not in target):
            page = b"<!DOCTYPE html><html><head><title>Logon Error Message</title></head><body>client 999</body></html>"
            return 401, {"content-type": "text/html"}, page
        if headers.get("x-csrf-token", "").lower() == "fetch":
            name, token = str(uuid.uuid4()), str(uuid.uuid4())
            shop.sessions[name] = token
            cookies = f"SAP_SESSIONID={name}; Domain=.internal; Secure; HttpOnly\nMYSAPSSO2=any; path=/other"
            return 200, {"x-csrf-token": token, "set-cookie": cookies, "content-type": "application/json"}, b"{}"
        if self.command in ("GET", "HEAD") or not shop.csrf or target.startswith("/sap/bc/"):
            return None
        cookies = dict(each.split("=", 1) for each in headers.get("cookie", "").split("; ") if each)
        token = shop.sessions.get(cookies.get("SAP_SESSIONID", ""))
        if token is None or token != headers.get("x-csrf-token") or "MYSAPSSO2" not in cookies:
            return 403, {"x-csrf-token": "Required", "content-type": "text/plain"}, b"CSRF token validation failed"
        return None

    def answer(self, found: Answer) -> None:
        """Sends an answer."""
        status, headers, body = found
        self.send_response(status)
        for name, value in headers.items():
            for line in value.split("\n"):
                self.send_header(name, line)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_MERGE = handle_one  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, shop: Shop) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.shop = shop


@contextmanager
def serving(shop: Shop) -> Iterator[str]:
    """The service on a free port; its root."""
    with _Server(shop) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/service"
        finally:
            server.shutdown()
            thread.join()

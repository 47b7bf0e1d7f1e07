"""A FHIR server of a few dozen lines, which answers what a test scripts."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

PARAMETERS = ("code", "patient", "_lastUpdated", "_id")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its method, path, parameters in order, and headers."""

    method: str
    path: str
    parameters: list[tuple[str, str]]
    headers: dict[str, str]


Script = Callable[[Asked], tuple[Any, ...]]
"""Gives the status, the body (JSON, or bytes as they are), and perhaps headers."""


@dataclass(slots=True)
class ScriptedServer:
    """Where it is, what it was asked, and what it answers."""

    script: Script
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    clients: ExitStack = field(default_factory=ExitStack)
    """What is closed before the server."""

    def searches(self) -> list[Asked]:
        """The requests beside those for metadata and tokens."""
        return [asked for asked in self.asked if asked.path.rpartition("/")[2] not in ("metadata", "token", "smart-configuration")]

    def settings(self, **more: Any) -> dict[str, Any]:
        """A connection's settings for it."""
        return {"base_url": self.url, "allow_private": [{"host": "127.0.0.1", "network": "127.0.0.0/8"}], **more}


def capabilities(*parameters: str) -> dict[str, Any]:
    """A CapabilityStatement that declares search parameters for Observation and Patient."""
    declared = [{"name": name} for name in parameters or PARAMETERS]
    resources = [{"type": type, "searchParam": declared} for type in ("Observation", "Patient")]
    return {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [{"mode": "server", "resource": resources}]}


def bundle(*resources: dict[str, Any], next: str | None = None) -> dict[str, Any]:
    """A page of a search."""
    links = [{"relation": "next", "url": next}] if next else []
    return {"resourceType": "Bundle", "type": "searchset", "link": links, "entry": [{"resource": each} for each in resources]}


@contextmanager
def serving(script: Script) -> Iterator[ScriptedServer]:
    """The server on a free port."""
    server = ScriptedServer(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, parts.path, parse_qsl(parts.query or body, keep_blank_values=True), headers)
            server.asked.append(asked)
            status, found, *more = server.script(asked)
            data = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            for name, value in (more[0] if more else {}).items():
                self.send_header(name, value)
            self.send_header("content-type", "application/fhir+json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_port}/fhir"
        try:
            with server.clients:
                yield server
        finally:
            http.shutdown()
            thread.join()

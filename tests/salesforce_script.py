"""A server that answers as it is told, for what an org does only now and then: it knows nothing of Salesforce but its login."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

from fieldline_connectors.salesforce import SalesforceConfig
from fieldline_core.secret import Secret

Answer: TypeAlias = tuple[int, Any] | tuple[int, Any, Mapping[str, str]]
LOGIN_PATH = "/services/oauth2/token"
ROOT = "/services/data/v64.0/"


@dataclass
class Request:
    """What the server was asked."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


@dataclass
class Script:
    """What a server answers, and what it was asked; `answer` is given each request that is no login."""

    url: str
    answer: Callable[[Request], Answer] = lambda request: (200, {})
    login: Callable[[int], Answer] | None = None
    requests: list[Request] = field(default_factory=list)
    logins: list[Request] = field(default_factory=list)

    def logged_in(self, request: Request) -> Answer:
        """A token, another one each time."""
        self.logins.append(request)
        number = len(self.logins)
        return self.login(number) if self.login else (200, {"access_token": f"token-{number}", "instance_url": self.url})

    def config(self, **settings: Any) -> SalesforceConfig:
        """Settings of a connection to this server."""
        given = {
            "url": self.url, "allow_private": [{"host": "127.0.0.1", "network": "127.0.0.0/8"}], "bulk_poll_s": 0.01,
            "login": {"flow": "client_credentials", "client_id": "app", "client_secret": Secret("app-secret")}, **settings,
        }  # fmt: skip
        return SalesforceConfig.model_validate(given)


@contextmanager
def scripted() -> Iterator[Script]:
    """A server of its own on a free port."""
    script = Script("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            request = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, self._body())
            if self.path == LOGIN_PATH:
                status, body, *more = script.logged_in(request)
            else:
                script.requests.append(request)
                status, body, *more = script.answer(request)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in (more[0] if more else {}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = _do  # noqa: N815

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

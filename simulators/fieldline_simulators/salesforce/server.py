"""The org behind a port, by http or https: one thread for each connection."""

import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from fieldline_simulators.salesforce.api import all_routes, answer
from fieldline_simulators.salesforce.calls import Answer, Call
from fieldline_simulators.salesforce.certificate import TlsFiles
from fieldline_simulators.salesforce.jobs import Jobs
from fieldline_simulators.salesforce.org import Options, Org
from fieldline_simulators.salesforce.outbound_sender import Sender
from fieldline_simulators.salesforce.pubsub_server import PubSub
from fieldline_simulators.salesforce.seed import plant

_MOST_BYTES = 160_000_000
_LONGEST_LINE = 16_384
_SILENCE_S = 300


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    timeout = _SILENCE_S
    server: "Simulator"
    # An answer goes out in one piece.
    wbufsize = -1
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """Makes the connection safe, in its own thread."""
        if self.server.tls:
            self.request.settimeout(_SILENCE_S)
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        self.server.connections.add(self.request)
        super().setup()

    def finish(self) -> None:
        """Closes the connection."""
        self.server.connections.discard(self.request)
        try:
            super().finish()
        finally:
            self.request.close()

    def answer_request(self) -> None:
        """Answers whatever is asked."""
        body = self._body()
        if body is None:
            return self._send(Answer(413, b"", {"Connection": "close"}))
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Call(
            self.server.org, self.server.jobs, self.server.routes, self.command, path,
            dict(parse_qsl(query, keep_blank_values=True)),
            headers, body, f"{self.server.scheme}://{headers.get('host', self.server.host)}",
        )  # fmt: skip
        self._send(answer(call))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer_request  # noqa: N815

    def _body(self) -> bytes | None:
        """The body, in one piece or in chunks; None where it is too long or cannot be read."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks()
        length = self.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > _MOST_BYTES:
            self.close_connection = True
            return None
        return self.rfile.read(int(length))

    def _chunks(self) -> bytes | None:
        made = bytearray()
        while True:
            try:
                size = int(self.rfile.readline(_LONGEST_LINE).split(b";")[0], 16)
            except ValueError:
                size = -1
            if size < 0 or len(made) + size > _MOST_BYTES:
                self.close_connection = True
                return None
            made += self.rfile.read(size)
            if size == 0:
                while self.rfile.readline(_LONGEST_LINE).strip():
                    pass
                return bytes(made)
            self.rfile.readline(_LONGEST_LINE)

    def _send(self, made: Answer) -> None:
        if made.cut:
            self.close_connection = True
            if made.cut == "hold":
                # The client says nothing more, so this returns when it has given up.
                self.rfile.read(1)
            return
        self.send_response(made.status)
        headers = {"Content-Length": str(len(made.body)), **made.headers}
        if made.status in (204, 304):
            del headers["Content-Length"]
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(made.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Stays silent."""


class Simulator(ThreadingHTTPServer):
    """The server of one org; it ends with the block it is opened in."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, org: Org, port: int = 0, host: str = "127.0.0.1", tls: TlsFiles | None = None, pubsub_port: int | None = None
    ) -> None:
        super().__init__((host, port), Handler)
        self.org, self.jobs, self.routes = org, Jobs(org), all_routes()
        self.connections: set[socket.socket] = set()
        self.tls = _tls_context(tls) if tls else None
        self.scheme = "https" if tls else "http"
        self.host = f"{'localhost' if host in ('127.0.0.1', '0.0.0.0') else host}:{self.server_port}"  # noqa: S104
        self.pubsub = None if pubsub_port is None else PubSub(org, pubsub_port, host, tls)
        self.outbound = Sender(org, self.url)

    @property
    def url(self) -> str:
        """The org's address: My Domain."""
        return f"{self.scheme}://{self.host}"

    def server_bind(self) -> None:
        """Binds without asking the name service for the host's name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        """Stops listening, ends what is under way, and closes the state."""
        super().server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        if self.pubsub:
            self.pubsub.close()
        self.outbound.close()
        self.jobs.close()
        self.org.close()


def _tls_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.certificate, files.key)
    return context


def open_org(options: Options) -> Org:
    """An org from its state file, or a new one with a sales department's records."""
    org = Org(options)
    if org.is_new:
        plant(org)
    return org


@contextmanager
def running(
    options: Options | None = None, tls: TlsFiles | None = None, port: int = 0, pubsub_port: int | None = None
) -> Iterator[Simulator]:
    """A simulator in a thread of this process; with the Pub/Sub API where it is given a port."""
    with Simulator(open_org(options or Options()), port, tls=tls, pubsub_port=pubsub_port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

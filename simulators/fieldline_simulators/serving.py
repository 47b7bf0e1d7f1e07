"""A simulator behind a port, by http or https: one thread for each connection, bodies bounded, connections that can be cut."""

import socket
import ssl
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fieldline_simulators.certificate import TlsFiles

_LONGEST_LINE = 16_384
_SILENCE_S = 300


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back; `cut` is how the connection ends where no whole answer does: `drop` or `hold`."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()
    cut: str = ""


class Connection(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    timeout = _SILENCE_S
    server: "Server"
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
            return self._send(Reply(413, b"", {"Connection": "close"}))
        headers = {name.lower(): value for name, value in self.headers.items()}
        origin = f"{self.server.scheme}://{headers.get('host', self.server.host)}"
        self._send(self.server.reply(self.command, self.path, headers, body, origin))

    do_GET = do_POST = do_PUT = do_PATCH = do_MERGE = do_DELETE = do_HEAD = answer_request  # noqa: N815

    def _body(self) -> bytes | None:
        """The body, in one piece or in chunks; None where it is too long or cannot be read."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks()
        length = self.headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal()) or int(length) > self.server.most_bytes:
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
            if size < 0 or len(made) + size > self.server.most_bytes:
                self.close_connection = True
                return None
            made += self.rfile.read(size)
            if size == 0:
                while self.rfile.readline(_LONGEST_LINE).strip():
                    pass
                return bytes(made)
            self.rfile.readline(_LONGEST_LINE)

    def _send(self, made: Reply) -> None:
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
        for name, value in (*headers.items(), *(("Set-Cookie", cookie) for cookie in made.cookies)):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(made.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Stays silent."""


class Server(ThreadingHTTPServer):
    """The server of one simulator; it ends with the block it is opened in."""

    daemon_threads = True
    request_queue_size = 128
    most_bytes = 32_000_000

    def __init__(self, port: int = 0, host: str = "127.0.0.1", tls: TlsFiles | None = None) -> None:
        super().__init__((host, port), Connection)
        self.connections: set[socket.socket] = set()
        self.tls = _tls_context(tls) if tls else None
        self.scheme = "https" if tls else "http"
        self.host = f"{'localhost' if host in ('127.0.0.1', '0.0.0.0') else host}:{self.server_port}"  # noqa: S104

    @property
    def url(self) -> str:
        """The server's address."""
        return f"{self.scheme}://{self.host}"

    def reply(self, method: str, target: str, headers: Mapping[str, str], body: bytes, origin: str) -> Reply:
        """What a request gets; header names are in lower case, `origin` is the server as the client names it."""
        raise NotImplementedError

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
        """Stops listening, and ends what is under way."""
        super().server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _tls_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.certificate, files.key)
    return context

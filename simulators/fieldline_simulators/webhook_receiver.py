"""A receiver of Standard Webhooks that verifies, ignores repeats, and fails when it is told to.

POST /hook       takes messages
GET  /received   what it took: `messages` once each, and `attempts` with what became of each
POST /faults     a list such as [{"kind": "status", "status": 503, "times": 2}, {"kind": "drop"}], for the next attempts

Faults: `status` (with `retry_after` or `location` if given) before anything is stored; and after the message is stored
`drop` the connection, `hold` the answer until the sender gives up, `truncate` the answer, `drip` it byte by byte,
or `refuse` the records with `keys` for `reason`.
"""

import argparse
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fieldline_simulators.webhook_signing import standard_fits

_MOST_BYTES = 4 * 1024 * 1024


class Inbox:
    """The messages that came in, in memory and, where a file is given, on disk."""

    def __init__(self, secret: str, file: Path | None = None) -> None:
        self.secret = secret
        self.attempts: list[dict[str, Any]] = []
        self.faults: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self._file = file
        lines = file.read_text().splitlines() if file and file.exists() else []
        self.messages: dict[str, dict[str, Any]] = {entry["id"]: entry for entry in map(json.loads, lines)}

    def next_fault(self) -> dict[str, Any]:
        """The fault for this attempt; empty where all goes well."""
        with self.lock:
            if not self.faults:
                return {}
            fault = self.faults[0]
            fault["times"] = fault.get("times", 1) - 1
            return self.faults.pop(0) if fault["times"] <= 0 else fault

    def take(self, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        """Stores a message once, and says the status and what became of this attempt."""
        if not standard_fits(self.secret, headers, body, time.time()):
            return 401, "forged"
        message_id, digest = headers["webhook-id"], hashlib.sha256(body).hexdigest()
        with self.lock:
            known = self.messages.get(message_id)
            if known:
                return (200, "repeated") if known["digest"] == digest else (409, "conflicting")
            self._store({"id": message_id, "digest": digest, "body": json.loads(body)})
            return 200, "stored"

    def note(self, headers: dict[str, str], status: int, became: str) -> None:
        """Remembers an attempt."""
        names = ("webhook-id", "webhook-timestamp", "idempotency-key")
        with self.lock:
            self.attempts.append({**{name: headers.get(name) for name in names}, "status": status, "became": became})

    def _store(self, entry: dict[str, Any]) -> None:
        self.messages[entry["id"]] = entry
        if self._file:
            with self._file.open("a") as file:
                file.write(json.dumps(entry) + "\n")


class Handler(BaseHTTPRequestHandler):
    """One connection from a sender."""

    protocol_version = "HTTP/1.1"
    server: "Receiver"

    def do_POST(self) -> None:
        """A message, or orders to fail."""
        body = self.rfile.read(min(int(self.headers.get("content-length", 0)), _MOST_BYTES))
        if self.path == "/faults":
            self.server.inbox.faults[:] = json.loads(body)
            return self.answer(200, {})
        self.receive({name.lower(): value for name, value in self.headers.items()}, body)

    def do_GET(self) -> None:
        """What was received so far."""
        inbox = self.server.inbox
        with inbox.lock:
            self.answer(200, {"messages": list(inbox.messages.values()), "attempts": inbox.attempts})

    def do_OPTIONS(self) -> None:
        """What the endpoint takes."""
        self.answer(204, None, {"allow": "POST, OPTIONS"})

    def receive(self, headers: dict[str, str], body: bytes) -> None:
        """Takes a message, with the fault that is due."""
        inbox, fault = self.server.inbox, self.server.inbox.next_fault()
        if fault.get("kind") == "status":
            inbox.note(headers, fault["status"], "failed")
            more = {name.replace("_", "-"): str(fault[name]) for name in ("retry_after", "location") if name in fault}
            return self.answer(fault["status"], {}, more)
        status, became = inbox.take(headers, body)
        inbox.note(headers, status, became)
        if fault.get("kind") == "refuse":
            return self.answer(status, {"refused": [{"key": key, "reason": fault["reason"]} for key in fault["keys"]]})
        if fault:
            return self.break_off(fault["kind"])
        self.answer(status, {})

    def break_off(self, kind: str) -> None:
        """Leaves the sender without a whole answer, though the message is stored."""
        self.close_connection = True
        if kind == "hold":
            self.rfile.read(1)
        elif kind == "truncate":
            self.wfile.write(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"refu')
        elif kind == "drip":
            self.drip()

    def drip(self) -> None:
        """Sends a header without end, slowly, until the sender leaves."""
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
            while True:
                self.wfile.write(b"x")
                time.sleep(0.02)
        except OSError:
            return

    def answer(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        """Answers with a JSON document."""
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Stays silent."""


class Receiver(ThreadingHTTPServer):
    """The server around an inbox."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, inbox: Inbox, port: int = 0, host: str = "127.0.0.1") -> None:
        super().__init__((host, port), Handler)
        self.inbox = inbox

    @property
    def url(self) -> str:
        """Where messages are sent to."""
        return f"http://127.0.0.1:{self.server_port}/hook"


@contextmanager
def running(secret: str, file: Path | None = None) -> Iterator[Receiver]:
    """A receiver in a thread of this process."""
    with Receiver(Inbox(secret, file)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def main() -> None:
    """Runs the receiver until it is stopped."""
    parser = argparse.ArgumentParser(description="A webhook receiver to practise on.")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="file that gets the port once it listens")
    parser.add_argument("--secret", required=True, help="whsec_ or whpk_ secret that messages are checked with")
    parser.add_argument("--file", type=Path, help="file that keeps what was received")
    options = parser.parse_args()
    with Receiver(Inbox(options.secret, options.file), options.port) as server:
        if options.port_file:
            waiting = options.port_file.with_suffix(".new")
            waiting.write_text(str(server.server_port))
            waiting.replace(options.port_file)
        server.serve_forever()


if __name__ == "__main__":
    main()

"""A witness of C2SP tlog-witness on the loopback: it checks what it is shown by code that is not Fieldline's, and cosigns."""

import base64
import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fieldline_verify import LOG_KEY, Checkpoint, Key, is_consistent


class TlogWitness:
    """What a witness knows of one log, and what it answers."""

    def __init__(self, log_vkey: str, name: str = "witness.example/w1") -> None:
        self.log_keys = [Key.parse(log_vkey, LOG_KEY)]
        self.name = name
        self.size, self.root = 0, b""
        self.asked: list[int] = []
        self.status = 0
        self._private = Ed25519PrivateKey.generate()
        self._lock = threading.Lock()

    @property
    def vkey(self) -> str:
        """The public key of the witness."""
        data = b"\x04" + self._private.public_key().public_bytes_raw()
        return f"{self.name}+{self._id().hex()}+{base64.b64encode(data).decode()}"

    def add_checkpoint(self, body: bytes) -> tuple[int, str, str]:
        """Status, media type and body of the answer to a request."""
        with self._lock:
            head, _, note = body.decode().partition("\n\n")
            first, *lines = head.split("\n")
            old, shown = int(first.removeprefix("old ")), Checkpoint.parse(note.encode())
            self.asked.append(old)
            return self._answer(old, [base64.b64decode(line) for line in lines], shown)

    def _answer(self, old: int, proof: list[bytes], shown: Checkpoint) -> tuple[int, str, str]:
        if self.status:
            return self.status, "text/plain", "not now"
        if shown.origin != self.log_keys[0].name:
            return 404, "text/plain", "no such log"
        if not any(shown.signed_at(key) is not None for key in self.log_keys):
            return 403, "text/plain", "no such key"
        if old > shown.size:
            return 400, "text/plain", "old"
        if old != self.size:
            return 409, "text/x.tlog.size", f"{self.size}\n"
        if old == shown.size and shown.root != self.root:
            return 409, "text/plain", "another root"
        if old and not is_consistent(old, self.root, shown.size, shown.root, proof):
            return 422, "text/plain", "not consistent"
        self.size, self.root = shown.size, shown.root
        return 200, "text/plain", f"— another.example/key AAAAAAAA\n{self._cosignature(shown.text)}"

    def _cosignature(self, text: bytes) -> str:
        now = int(time.time())
        signature = self._private.sign(b"cosignature/v1\ntime %d\n" % now + text)
        return f"— {self.name} {base64.b64encode(self._id() + now.to_bytes(8, 'big') + signature).decode()}\n"

    def _id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n\x04" + self._private.public_key().public_bytes_raw()).digest()[:4]


@contextmanager
def serving(witness: TlogWitness) -> Iterator[str]:
    """The address at which a witness is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, kind, text = witness.add_checkpoint(body) if self.path == "/prefix/add-checkpoint" else (404, "text/plain", "")
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/prefix"
        server.shutdown()
        thread.join()

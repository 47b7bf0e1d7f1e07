"""The server behind a port, by http or https."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from fieldline_simulators.certificate import TlsFiles
from fieldline_simulators.fhir.api import make_app
from fieldline_simulators.fhir.ehr import Ehr, Options
from fieldline_simulators.fhir.seed import plant
from fieldline_simulators.fhir.striking import Striking

_BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Simulator:
    """A server that runs: where it is, and what it holds."""

    url: str
    ehr: Ehr

    @property
    def fhir_url(self) -> str:
        """The FHIR base."""
        return f"{self.url}/fhir"


def open_ehr(options: Options) -> Ehr:
    """A server from its state file, or a new one with its first records."""
    ehr = Ehr(options)
    try:
        if ehr.store.is_new:
            plant(ehr)
    except BaseException:
        ehr.close()
        raise
    return ehr


@contextmanager
def running(options: Options | None = None, tls: TlsFiles | None = None, port: int = 0) -> Iterator[Simulator]:
    """A simulator in a thread of this process."""
    listening = _listen(port)
    try:
        ehr = open_ehr(options or Options())
    except BaseException:
        listening.close()
        raise
    server = uvicorn.Server(_config(ehr, tls))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        scheme = "https" if tls else "http"
        yield Simulator(f"{scheme}://localhost:{listening.getsockname()[1]}", ehr)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
        ehr.close()


def _listen(port: int) -> socket.socket:
    # With its protocol named, asyncio sends small answers at once.
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
        made.listen(_BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _config(ehr: Ehr, tls: TlsFiles | None) -> uvicorn.Config:
    return uvicorn.Config(
        Striking(make_app(ehr), ehr), http="h11", ws="none", lifespan="off", interface="asgi3", log_level="critical",
        access_log=False, proxy_headers=False, timeout_graceful_shutdown=1,
        ssl_certfile=tls.certificate if tls else None, ssl_keyfile=tls.key if tls else None,
    )  # fmt: skip

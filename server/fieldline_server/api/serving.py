"""`fieldline api`: one process that serves the application."""

import os
import signal
import socket
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from fieldline_core.errors import Misconfigured
from fieldline_core.logs import log
from fieldline_core.settings import Settings
from fieldline_server.api.app import create_app
from fieldline_server.run_file import PORT_FILE
from fieldline_server.wiring import Wiring, open_engine

_CONNECTIONS = 16
_MOST_HEADER_BYTES = 16 * 1024
_BACKLOG = 2048


class _Server(uvicorn.Server):
    """Writes its port down when it listens."""

    def __init__(self, config: uvicorn.Config, port: int, file: Path) -> None:
        super().__init__(config)
        self._port = port
        self._file = file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        draft = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        draft.write_text(f"{self._port}\n")
        draft.replace(self._file)
        log().info("api_listens", port=self._port)


def _end_quietly(signum: int, frame: FrameType | None) -> None:
    """Does nothing: uvicorn raises the signal that ended it once more, which would end us before we have cleaned up."""


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT; requests under way get twenty seconds to end."""
    engine = open_engine(settings, "api", connections=_CONNECTIONS)
    assert isinstance(engine.parts, Wiring)
    settings.data_directory.mkdir(parents=True, exist_ok=True)
    file = settings.data_directory / PORT_FILE
    with listening(settings.api_host, settings.api_port) as listener:
        port: int = listener.getsockname()[1]
        signal.signal(signal.SIGTERM, _end_quietly)
        signal.signal(signal.SIGINT, _end_quietly)
        try:
            _Server(config(create_app(engine, engine.parts.registry)), port, file).run(sockets=[listener])
        finally:
            file.unlink(missing_ok=True)
            engine.close()


def config(app: FastAPI) -> uvicorn.Config:
    """How uvicorn serves the application: bounded, quiet, and telling nothing about itself."""
    # Whoever is behind a proxy is not taken at its word: nothing here decides by an address but /metrics.
    return uvicorn.Config(
        app, http="h11", ws="none", lifespan="on", log_config=None, access_log=False, server_header=False, proxy_headers=False,
        h11_max_incomplete_event_size=_MOST_HEADER_BYTES, limit_concurrency=1000, timeout_graceful_shutdown=20,
    )  # fmt: skip


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; raises Misconfigured where it cannot."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        why = f"the API cannot listen on {host}, port {port}: {error.strerror}; change FIELDLINE_API_HOST or FIELDLINE_API_PORT"
        raise Misconfigured(why) from None
    # asyncio sees to this only on sockets whose protocol is named; without it an answer waits 40 ms for a delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener

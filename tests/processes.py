"""Relay and workers as real processes, and what can be done to them and to their broker."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from fieldline_server import watchdog
from fieldline_server.processes import Child, Program


class Fleet:
    """Processes of one installation; one that was killed is started again by `mend`."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = {**os.environ, "FIELDLINE_LOG_LEVEL": "warning", **environment}
        self._programs: dict[str, Program] = {}
        self._children: dict[str, Child] = {}

    def add(self, name: str, *command: str, **environment: str) -> None:
        """Starts `fieldline COMMAND`."""
        argv = [sys.executable, "-m", "fieldline_server", *command]
        self._programs[name] = Program(name, argv, {**self._environment, **environment}, cwd=self._directory)
        self.mend()

    def mend(self) -> None:
        """Starts again what has ended."""
        for name, program in self._programs.items():
            child = self._children.get(name)
            if child is None or child.status() is not None:
                self._children[name] = Child(program, self._directory / f"{name}.log")

    def kill(self, name: str) -> None:
        """Kills one process, and with it what it started, as a service manager would."""
        os.kill(self._children[name].pid, signal.SIGKILL)
        self._children[name].stop(0.0)

    def slots(self, worker: str) -> list[int]:
        """The processes of a worker's pool."""
        return [slot for part in self.parts(worker) for slot in children_of(part)]

    def parts(self, worker: str) -> list[int]:
        """The Celery process of a worker; none while it is replaced."""
        return children_of(self._children[worker].pid)

    def logs(self) -> str:
        """The end of every log."""
        return "\n".join(child.last_lines(40) for child in self._children.values())

    def stop(self) -> None:
        """Ends them all in order: tasks under way come to their end."""
        for child in self._children.values():
            child.ask_to_stop()
        for child in self._children.values():
            child.stop(60.0)

    def close(self) -> None:
        """Ends them all at once."""
        for child in self._children.values():
            child.kill()


@contextmanager
def fleet(directory: Path, environment: Mapping[str, str]) -> Iterator[Fleet]:
    """A fleet that ends with the block."""
    made = Fleet(directory, environment)
    try:
        yield made
    finally:
        made.close()


def children_of(pid: int) -> list[int]:
    """The processes that a process started and that run still."""
    processes = (watchdog.process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process.pid for process in processes if process and process.parent == pid]


class Proxy:
    """A way to a server that can fall silent: connections stay open, but nothing passes, and nobody is told."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = url.replace(f":{parts.port}", f":{self._listener.getsockname()[1]}")
        self._age = 0
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def fall_silent(self) -> None:
        """From now on nothing passes over the connections that are open; new ones work."""
        self._age += 1

    def close(self) -> None:
        """Closes every connection."""
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(self._server)
                except OSError:
                    near.close()
                    continue
                self._sockets += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(*ends, self._age), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, age: int) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if age == self._age:
                    sink.sendall(data)
        # Nobody is told of the end of a connection that has fallen silent.
        for end in (source, sink) if age == self._age else ():
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

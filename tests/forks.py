"""The process that runs commands: it has imported everything, and forks a child for each.

Each command is a process with its own arguments, environment, folder, input and output, as it is for a user; only the imports,
which would take most of the time, are done once.
"""

import atexit
import gc
import importlib
import json
import multiprocessing
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock

_ROOT = Path(__file__).parents[1]
_PACKAGES = ("fieldline_core", "fieldline_connectors", "fieldline_mappings", "fieldline_inference", "fieldline_server")
_WITHIN_S = 120.0
# A thread that runs when a process forks is not there in its child, and what it holds is held for ever.
_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "_RJEM_MALLOC_CONF": "background_thread:false"}


class Forks:
    """Runs commands, one at a time; used from several threads, each waits for its turn."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._lock = Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forks", str(theirs.fileno())], cwd=_ROOT, env={**os.environ, **_NO_THREADS},
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        self._answers = self._socket.makefile()

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], given: str
    ) -> "subprocess.CompletedProcess[str]":
        """What `fieldline ARGUMENTS` printed and ended with."""
        with self._lock, TemporaryFile("w+") as stdin, TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
            stdin.write(given)
            stdin.seek(0)
            asked = json.dumps([list(arguments), str(folder), dict(environment)]).encode()
            ends = [each.fileno() for each in (stdin, stdout, stderr)]
            socket.send_fds(self._socket, [len(asked).to_bytes(4, "big")], ends)
            self._socket.sendall(asked)
            status = self._answer(arguments)
            for output in (stdout, stderr):
                output.seek(0)
            return subprocess.CompletedProcess(["fieldline", *arguments], status, stdout.read(), stderr.read())

    def close(self) -> None:
        """Ends the process."""
        self._answers.close()
        self._socket.close()
        self._process.wait()

    def _answer(self, arguments: Sequence[str]) -> int:
        if not select.select([self._socket], [], [], _WITHIN_S)[0]:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(["fieldline", *arguments], _WITHIN_S)
        return int(self._answers.readline())


@cache
def forks() -> Forks:
    """The one process of this test run."""
    made = Forks()
    atexit.register(made.close)
    return made


def _import_all() -> None:
    for name in _PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    # What is there is shared with every child as long as nobody writes into it.
    gc.collect()
    gc.freeze()


def _serve(asking: socket.socket) -> None:
    """Runs commands until the other side is gone."""
    context = multiprocessing.get_context("fork")
    while True:
        length, ends, _, _ = socket.recv_fds(asking, 4, 3)
        if not length:
            return
        text = asking.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
        child = context.Process(target=_command, args=(asking, ends, *json.loads(text)))
        child.start()
        for end in ends:
            os.close(end)
        child.join()
        asking.sendall(f"{child.exitcode}\n".encode())


def _command(asking: socket.socket, ends: Sequence[int], arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    asking.close()
    for number, end in enumerate(ends):
        os.dup2(end, number)
        os.close(end)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    # A process that was forked has /dev/null there.
    with open(0, closefd=False) as sys.stdin:
        runpy.run_module("fieldline_server", run_name="__main__", alter_sys=True)


def main() -> None:
    """Imports everything and serves on the socket that was handed over."""
    _import_all()
    with socket.socket(fileno=int(sys.argv[1])) as asking:
        _serve(asking)


if __name__ == "__main__":
    main()

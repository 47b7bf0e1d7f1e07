"""Programs that run beside us, each in its own session, and never outlive us."""

import atexit
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TypeAlias

from fieldline_core.errors import Misconfigured
from fieldline_server import watchdog

LOG_LIMIT_BYTES = 20_000_000
_DISMISSED_S = 5.0

Process: TypeAlias = subprocess.Popen[bytes]


@dataclass(frozen=True, slots=True)
class Program:
    """A command, and how it is run, asked after and ended.

    `env` is the whole environment, or None for ours. `orphan_signal` is what it gets when we die without stopping it.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    user: int | None = None
    group: int | None = None
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL
    ready: Callable[[], bool] | None = None
    ready_timeout_s: float = 60.0
    restart: bool = True


class Child:
    """A running program; its output goes to `log`."""

    def __init__(self, program: Program, log: Path) -> None:
        self.program = program
        self.log = log
        self._asked = self._swept = False
        mark = uuid.uuid4().hex
        self._process = _spawner(os.getpid()).start(lambda: _popen(program, log, mark))
        found = watchdog.process(self.pid)
        self._watched = watchdog.Watched(self.pid, found.born if found else 0, program.orphan_signal, mark)
        _watcher(os.getpid()).watch(self._watched)

    @property
    def pid(self) -> int:
        """The number of the process, and of its session."""
        return self._process.pid

    def status(self) -> int | None:
        """The exit status, once it has ended; what it left running is ended then, too."""
        status = self._process.poll()
        if status is not None:
            self._sweep()
        return status

    def wait_until_ready(self) -> None:
        """Returns once the program is ready; raises Misconfigured with its last lines where it ends or takes too long."""
        deadline = time.monotonic() + self.program.ready_timeout_s
        while self.program.ready and not self.program.ready():
            if (status := self.status()) is not None:
                raise Misconfigured(f"{self.program.name} ended while it started (status {status}); {self.last_lines()}")
            if time.monotonic() > deadline:
                limit_s = self.program.ready_timeout_s
                raise Misconfigured(f"{self.program.name} was not ready after {limit_s:g} s; {self.last_lines()}")
            time.sleep(0.02)

    def ask_to_stop(self) -> None:
        """Sends the signal that the program ends by, once: Celery takes a second one as "at once"."""
        if not self._asked and self._process.poll() is None:
            self._asked = True
            self._process.send_signal(self.program.stop_signal)

    def stop(self, grace_s: float) -> None:
        """Asks the program to end, and after the grace ends it and all that it started by force."""
        if self.status() is not None:
            return
        self.ask_to_stop()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._sweep()

    def kill(self) -> None:
        """Ends the program and all that it started at once, as a fault would."""
        if self.status() is not None:
            return
        members = watchdog.family([self._watched])
        self._process.kill()
        self._process.wait()
        watchdog.kill(members)
        self._sweep()

    def last_lines(self, count: int = 12) -> str:
        """Where the log is, and its end."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 8192))
            lines = log.read().decode(errors="replace").splitlines()[-count:]
        return f"its log is {self.log}" + ("" if not lines else ", which ends:\n" + "\n".join(f"  {line}" for line in lines))

    def _sweep(self) -> None:
        # A worker that was killed leaves its pool behind. Once only: the number may be a stranger's later.
        if self._swept:
            return
        self._swept = True
        watchdog.kill_family([self._watched])
        _watcher(os.getpid()).forget(self.pid)


def _popen(program: Program, log: Path, mark: str) -> Process:
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".old.log"))
    environment = {**(os.environ if program.env is None else program.env), watchdog.MARK: mark}
    with log.open("ab") as output:
        return subprocess.Popen(
            dying_with_us(program.argv, program.orphan_signal), env=environment, cwd=program.cwd,
            user=program.user, group=program.group,
            extra_groups=None if program.user is None else [], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip


def dying_with_us(argv: Sequence[str], orphan_signal: signal.Signals) -> list[str]:
    """The command behind util-linux' setpriv, which asks the kernel to signal the program when we die."""
    # Done by a program, not by preexec_fn: Python may not run between fork and exec where other threads hold locks.
    setpriv = shutil.which("setpriv")
    return [*([setpriv, "--pdeathsig", orphan_signal.name, "--"] if setpriv else []), *argv]


class _Spawner:
    """Starts every child from one thread that lives as long as we do: the kernel's death signal follows the thread."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Process], Future[Process]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="spawner", daemon=True).start()

    def start(self, job: Callable[[], Process]) -> Process:
        future: Future[Process] = Future()
        self._jobs.put((job, future))
        return future.result()

    def _work(self) -> None:
        while True:
            job, future = self._jobs.get()
            try:
                future.set_result(job())
            except Exception as error:
                future.set_exception(error)


class _Watcher:
    """Our end of the watchdog's pipe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, watchdog.Watched] = {}
        self._pipe: IO[bytes] | None = None
        self._dog: Process | None = None
        atexit.register(self._dismiss, os.getpid())

    def watch(self, child: watchdog.Watched) -> None:
        with self._lock:
            self._watched[child.pid] = child
            self._tell(_line(child))

    def forget(self, pid: int) -> None:
        with self._lock:
            if self._watched.pop(pid, None):
                self._tell(f"forget {pid}")

    def _tell(self, line: str) -> None:
        try:
            self._write(line)
        except OSError:
            # The first line, or somebody killed the watchdog: another one is told of all.
            self._start()
            self._write("\n".join(map(_line, self._watched.values())))

    def _write(self, line: str) -> None:
        if self._pipe is None or self._dog is None or self._dog.poll() is not None:
            raise BrokenPipeError
        self._pipe.write(f"{line}\n".encode())
        self._pipe.flush()

    def _start(self) -> None:
        self._dog = subprocess.Popen(
            [sys.executable, "-I", watchdog.__file__], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd="/", start_new_session=True,
        )  # fmt: skip
        self._pipe = self._dog.stdin

    def _dismiss(self, owner: int) -> None:
        """Lets a watchdog that has nobody to watch any more end before us."""
        if os.getpid() == owner and not self._watched and self._dog and self._pipe:
            with suppress(OSError):
                self._pipe.close()
            with suppress(subprocess.TimeoutExpired):
                self._dog.wait(_DISMISSED_S)


def _line(child: watchdog.Watched) -> str:
    return f"watch {child.pid} {child.born} {int(child.signal)} {child.mark}"


# One of each in every process: a fork has neither our threads nor, once it is gone, our children.
@cache
def _spawner(_pid: int) -> _Spawner:
    return _Spawner()


@cache
def _watcher(_pid: int) -> _Watcher:
    return _Watcher()

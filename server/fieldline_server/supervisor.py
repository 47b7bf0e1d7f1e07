"""Keeps a set of programs running, and takes all of them down with itself."""

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from fieldline_core.logs import log
from fieldline_server.processes import Child, Program

STEADY_S = 60.0
"""A program that ran this long starts its backoff afresh."""


def restart_delay_s(failures: int) -> float:
    """How long to wait before the next start, after so many short lives in a row."""
    return min(30.0, 0.5 * 2.0 ** min(failures, 10)) if failures else 0.0


@dataclass(slots=True)
class _Kept:
    program: Program
    child: Child
    failures: int = 0
    started_at: float = 0.0
    due_at: float | None = None
    """When it is started again; None while it runs, and for good where it is not restarted."""
    ended: bool = False


class Supervisor:
    """Starts programs in order, restarts those that end, and stops them in reverse order.

    Programs added before one `start()` form a stage: they start together and stop together. When this process ends in any way,
    by kill -9 too, its programs and all that descend from them end with it.
    """

    def __init__(self, log_directory: Path) -> None:
        self._log_directory = log_directory
        self._added: list[Program] = []
        self._stages: list[list[_Kept]] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._monitor: threading.Thread | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    def add(
        self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None, *, restart: bool = True,
        ready: Callable[[], bool] | None = None, ready_timeout_s: float = 60.0,
    ) -> None:  # fmt: skip
        """Adds a program; `env` is added to our environment, `ready` is asked until it says yes."""
        environment = {**os.environ, **(env or {})}
        self.include(Program(name, argv, environment, restart=restart, ready=ready, ready_timeout_s=ready_timeout_s))

    def include(self, program: Program) -> None:
        """Adds a program that says itself how it is run, such as an embedded server."""
        self._added.append(program)

    def start(self) -> None:
        """Starts what was added, and returns when all of it is ready; where one cannot start, takes all down and raises."""
        self._log_directory.mkdir(parents=True, exist_ok=True)
        self._take_signals()
        atexit.register(self.stop)
        added, self._added = self._added, []
        stage: list[_Kept] = []
        try:
            for program in added:
                stage.append(_Kept(program, self._child(program), started_at=time.monotonic()))
            for kept in stage:
                kept.child.wait_until_ready()
        except BaseException:
            self._stages.append(stage)
            self.stop(grace_s=5.0)
            raise
        with self._lock:
            self._stages.append(stage)
        self._watch()

    def wait(self) -> None:
        """Blocks until a person or the system asks us to end (SIGINT, SIGTERM), then takes all down."""
        try:
            # A wait without an end is not interrupted by signals where Polars is imported.
            while not self._stopping.wait(0.5):
                pass
        except (KeyboardInterrupt, SystemExit):
            log("supervisor").info("stopping")
        finally:
            self.stop()

    def stop(self, grace_s: float = 30.0) -> None:
        """Stops the programs, last stage first; each stage has `grace_s` to end before it is ended by force."""
        self._stopping.set()
        if self._monitor and self._monitor is not threading.current_thread():
            self._monitor.join()
        try:
            while self._stages:
                _stop(self._stages[-1], grace_s)
                self._stages.pop()
        except BaseException:
            # A second signal: the person does not want to wait.
            for kept in [kept for stage in self._stages for kept in stage]:
                kept.child.kill()
            raise
        finally:
            self._leave_signals()
            atexit.unregister(self.stop)

    def running(self) -> dict[str, int]:
        """The process number of each program that runs now."""
        with self._lock:
            return {kept.program.name: kept.child.pid for stage in self._stages for kept in stage if not kept.ended}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _child(self, program: Program) -> Child:
        return Child(program, self._log_directory / f"{program.name}.log")

    def _watch(self) -> None:
        if self._monitor is None:
            self._monitor = threading.Thread(target=self._keep_running, name="supervisor", daemon=True)
            self._monitor.start()

    def _keep_running(self) -> None:
        while not self._stopping.wait(0.1):
            with self._lock:
                for kept in [kept for stage in self._stages for kept in stage]:
                    self._look_after(kept)

    def _look_after(self, kept: _Kept) -> None:
        if not kept.ended and (status := kept.child.status()) is not None:
            kept.ended = True
            self._note_end(kept, status)
        if kept.due_at is not None and time.monotonic() >= kept.due_at:
            self._start_again(kept)

    def _start_again(self, kept: _Kept) -> None:
        try:
            kept.child = self._child(kept.program)
        except OSError as error:
            # No memory, no disk: it may pass, and the others still need somebody to look after them.
            kept.due_at = time.monotonic() + 5.0
            log("supervisor").error("program_cannot_start", name=kept.program.name, wait_s=5.0, exc_info=error)
            return
        kept.started_at, kept.due_at, kept.ended = time.monotonic(), None, False

    def _note_end(self, kept: _Kept, status: int) -> None:
        where = {"name": kept.program.name, "status": status, "path": str(kept.child.log)}
        if not kept.program.restart:
            log("supervisor").info("program_ended", **where)
            return
        now = time.monotonic()
        steady = now - kept.started_at >= STEADY_S
        delay_s = restart_delay_s(0 if steady else kept.failures)
        kept.failures = 1 if steady else kept.failures + 1
        kept.due_at = now + delay_s
        log("supervisor").warning("program_restarts", wait_s=delay_s, **where)

    def _take_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread() or self._handlers:
            return
        for signum in (signal.SIGTERM, signal.SIGHUP):
            # nohup ignores SIGHUP on purpose.
            if signal.getsignal(signum) is not signal.SIG_IGN:
                self._handlers[signum] = signal.signal(signum, _exit)

    def _leave_signals(self) -> None:
        while self._handlers and threading.current_thread() is threading.main_thread():
            signal.signal(*self._handlers.popitem())


def _stop(stage: Sequence[_Kept], grace_s: float) -> None:
    deadline = time.monotonic() + grace_s
    for kept in stage:
        kept.child.ask_to_stop()
    for kept in stage:
        kept.child.stop(max(0.0, deadline - time.monotonic()))


def _exit(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)

"""`fieldline worker`: keeps a Celery worker alive, gives its signs of life, and replaces one that has gone deaf."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from types import FrameType

from fieldline_core.errors import Unavailable
from fieldline_core.logs import log
from fieldline_core.settings import Settings
from fieldline_core.store import Store
from fieldline_server.broker import worker_environment
from fieldline_server.processes import dying_with_us

_BEAT_S = 5.0
_RESTART_S = 1.0
_GRACE_S = 40.0


class Worker:
    """One Celery worker process with its pool, watched from outside, so that a stuck one cannot keep its own watch."""

    def __init__(self, settings: Settings, queues: tuple[str, ...], slots: int) -> None:
        self.id = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._settings = settings
        self._queues = queues
        self._slots = slots
        self._ended = threading.Event()
        self._store = Store(settings.database_url.get_secret_value(), connections=1)

    def run(self) -> None:
        """Runs until SIGTERM or SIGINT; tasks under way get twenty seconds to end."""
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)
        log().info("worker_starts", worker=self.id, queues=list(self._queues), slots=self._slots)
        while not self._ended.is_set():
            with self._celery() as celery:
                self._watch(celery)
                _stop(celery, _GRACE_S if self._ended.is_set() else 0.0)
            self._ended.wait(_RESTART_S)
        self._leave()

    def _watch(self, celery: "subprocess.Popen[bytes]") -> None:
        """Returns when the worker has ended, has to end, or claims nothing while work waits."""
        known = self._beat("relay.started")
        while celery.poll() is None and not self._ended.wait(_BEAT_S if known else 1.0):
            known = self._beat("relay.seen" if known else "relay.started")
            if self._stalled():
                log().error("worker_stalled", worker=self.id, reason="claims nothing while work waits; it is replaced")
                return
        if not self._ended.is_set():
            log().error("worker_died", worker=self.id, exit_code=celery.poll())

    def _beat(self, sign: str) -> bool:
        try:
            with self._store.transaction("worker.seen") as tx:
                tx.run(sign, id=self.id, queues=list(self._queues), slots=self._slots)
                tx.one("relay.notify")
        except Unavailable:
            return False
        return True

    def _stalled(self) -> bool:
        with suppress(Unavailable), self._store.transaction("worker.stalled") as tx:
            row = tx.one("relay.stalled", id=self.id, stall_s=self._settings.stall_s)
            return bool(row and row["yes"])
        return False

    def _leave(self) -> None:
        with suppress(Unavailable), self._store.transaction("worker.gone") as tx:
            tx.run("relay.gone", id=self.id)

    def _celery(self) -> "subprocess.Popen[bytes]":
        pool = "solo" if self._queues == ("gpu",) else "prefork"
        argv = [
            sys.executable, "-m", "celery", "-A", "fieldline_server.celery_worker", "worker", "--queues", ",".join(self._queues),
            "--concurrency", str(self._slots), "--pool", pool, "--hostname", f"{self.id}@%h", "--loglevel", "WARNING",
            "--without-gossip", "--without-mingle", "--without-heartbeat", "--max-tasks-per-child", "10000",
        ]  # fmt: skip
        environment = {**os.environ, **worker_environment(), "FIELDLINE_WORKER": self.id}
        # A session of its own: its pool is ended with it, and Ctrl-C reaches only us, who ask it to end.
        return subprocess.Popen(dying_with_us(argv, signal.SIGTERM), env=environment, start_new_session=True)

    def _end(self, signum: int, frame: FrameType | None) -> None:
        self._ended.set()


def _stop(celery: "subprocess.Popen[bytes]", grace_s: float) -> None:
    """SIGTERM first where there is time; then its whole session, for the children of a pool outlive a parent that is killed."""
    if celery.poll() is None and grace_s:
        celery.terminate()
        with suppress(subprocess.TimeoutExpired):
            celery.wait(grace_s)
    with suppress(ProcessLookupError):
        os.killpg(celery.pid, signal.SIGKILL)
    celery.wait()

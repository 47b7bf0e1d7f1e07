"""The database's disk is full: events are accepted or put off, none is half there, and all goes on when there is space again."""

import os
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx
import psycopg
import pytest
from tests.api import Served, client_of, make_template, served, signed
from tests.conftest import Eventually
from tests.engines import VERBS

from fieldline_core.errors import Unavailable
from fieldline_core.pipeline.invariants import check_invariants
from fieldline_core.pipeline.relay import Relay
from fieldline_core.pipeline.sequence import Sequencer, seal_all
from fieldline_core.store import Row, migrate
from fieldline_server.embedded import Postgres

pytestmark = pytest.mark.soak

_SENDERS, _LEFT_FREE, _PUT_OFF, _MOST_POSTS = 3, 12 << 20, 9, 4000
_PAD = 60_000


@pytest.fixture
def small_disk(server_directory: Path) -> Iterator[Path]:
    """A file system of its own, too small for much."""
    folder = server_directory / "small"
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=320m,mode=0755", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def server_on(disk: Path, server_directory: Path, what: str) -> Iterator[tuple[Postgres, str]]:
    """A server with everything, or only the tables of a database, on the disk; and a migrated database on it."""
    with Postgres(disk / "postgres" if what == "everything" else server_directory / "beside") as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            if what == "tables":
                (owner,) = connection.execute("SELECT current_setting('data_directory')").fetchone() or ("",)
                (disk / "tables").mkdir()
                os.chown(disk / "tables", Path(owner).stat().st_uid, Path(owner).stat().st_gid)
                connection.execute(f"CREATE TABLESPACE small LOCATION '{disk / 'tables'}'".encode())
                connection.execute("ALTER DATABASE template1 SET TABLESPACE small")
        migrate(server.create_database("migrated"))
        yield server, "migrated"


def checkpoint(server: Postgres) -> None:
    """Lets the server write what it has: after a crash, sequences of a copied database would else give out numbers again.

    A copy takes over how many numbers of a sequence its template had logged ahead, and draws those without logging them.
    """
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")


class Ballast:
    """A file that leaves little space on a disk."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "ballast"
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        with self._path.open("wb") as file:
            for _ in range(max(0, free - _LEFT_FREE) >> 20):
                file.write(bytes(1 << 20))

    def remove(self) -> None:
        """Gives the space back."""
        self._path.unlink()


class Senders:
    """Senders that post events without a pause and remember what each was answered; an event is sent once."""

    def __init__(self, client: httpx.Client) -> None:
        self.answered: dict[str, int] = {}
        self.unexpected: list[str] = []
        self.hasty: list[str] = []
        self._client = client
        self._numbers = count()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(_SENDERS)]
        for thread in self._threads:
            thread.start()

    def counts(self) -> Counter[int]:
        """How often each status was answered."""
        return Counter(list(self.answered.values()))

    def stop(self) -> None:
        """Ends when each has its last answer."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        while not self._stopped.is_set() and len(self.answered) < _MOST_POSTS:
            name = f"event_{next(self._numbers)}"
            answer = self._client.post(
                "/hooks/triage", **signed(name, {"id": name, "a": 1, "b": 1, "pad": os.urandom(_PAD // 2).hex()})
            )
            self.answered[name] = answer.status_code
            if answer.status_code not in (202, 503):
                self.unexpected.append(answer.text)
            if answer.status_code == 503 and "retry-after" not in answer.headers:
                self.hasty.append(name)


class Work:
    """Relay, sequencer and worker of an engine in one thread; only that the database is away may stop a round."""

    def __init__(self, served: Served) -> None:
        self.failures: list[BaseException] = []
        self._engine = served.engine
        self._hints: list[tuple[str, int]] = []
        self._relay, self._sequencer = Relay(served.engine, self._ring), Sequencer(served.engine)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Ends after the current round."""
        self._stopped.set()
        self._thread.join()

    def _ring(self, queue: str, verb: str, id: int) -> bool:
        self._hints.append((verb, id))
        return True

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._round()
            except Unavailable:
                self._stopped.wait(0.05)
            except BaseException as error:
                self.failures.append(error)
                return

    def _round(self) -> None:
        with self._engine.store.transaction("seen") as tx:
            tx.run("relay.seen", id="worker", queues=["cpu", "write"], slots=4)
        self._relay.round()
        self._sequencer.round()
        while self._hints:
            verb, id = self._hints.pop(0)
            VERBS[verb](self._engine, id)


_WAITS = """
SELECT EXISTS (SELECT 1 FROM inbox WHERE chunk_id IS NULL) OR EXISTS (SELECT 1 FROM chunk WHERE state IN ('read', 'scored'))
    OR EXISTS (SELECT 1 FROM effect WHERE state IN ('intended', 'submitted')) AS waits"""
_DECIDED = """
SELECT sum((leaf::jsonb -> 'detail' ->> 'scored')::int) AS n FROM log_entry WHERE event = 'decisions.recorded'"""


def asked(served: Served, sql: str) -> list[Row]:
    """Rows of the store."""
    with served.engine.store.transaction("asked") as tx:
        return tx.connection.execute(sql.encode()).fetchall()


def is_done(served: Served) -> bool:
    """Whether nothing waits any more."""
    return not asked(served, _WAITS)[0]["waits"]


@pytest.mark.parametrize("what", ["tables", "everything"])
def test_while_the_disk_is_full_events_are_put_off_and_afterwards_all_that_were_taken_are_there(
    what: str, small_disk: Path, server_directory: Path, tmp_path: Path, eventually: Eventually
) -> None:
    with server_on(small_disk, server_directory, what) as (server, migrated):
        template = make_template(server, migrated, tmp_path)
        with served(template, tmp_path, resend_s=0.5, lease_s=2.0) as here, client_of(here) as client:
            checkpoint(server)
            ballast, senders, work = Ballast(small_disk), Senders(client), Work(here)
            try:
                eventually(lambda: senders.counts()[503] >= _PUT_OFF, 120.0)
                full = senders.counts()
                ballast.remove()
                # Where its log had no space, PostgreSQL ends itself; whoever runs it starts it again.
                eventually(lambda: server.start() and senders.counts()[202] >= full[202] + 20, 120.0)
            finally:
                senders.stop()
                eventually(lambda: work.failures or is_done(here), 120.0)
                work.stop()
            seal_all(here.engine)

            assert (work.failures, senders.unexpected, senders.hasty) == ([], [], [])
            taken = {name for name, status in senders.answered.items() if status == 202}
            rows = asked(here, "SELECT event_id, count(*) AS n FROM inbox GROUP BY 1")
            assert {row["n"] for row in rows} == {1}
            assert taken <= {row["event_id"] for row in rows} <= set(senders.answered)
            assert check_invariants(here.engine.store) == []
            assert asked(here, _DECIDED)[0]["n"] == len(rows), "each that is there was decided on once"

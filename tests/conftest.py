"""Real PostgreSQL and Redis for the tests, started once for each run, on free ports and in a folder of their own."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Protocol, TypeVar

import pytest
import redis as redis_client
from hypothesis import settings

from fieldline_core.store import migrate
from fieldline_server.embedded import Database, Postgres, Redis
from tests.models import inspected_once

# A push meets the same examples everywhere, and none fails for being slow: the fuzz tests look for new ones.
settings.register_profile("push", deadline=None, derandomize=True)
settings.load_profile("push")

Answer = TypeVar("Answer")

_numbers = count(1)

# Each test has a database of its own, which is some hundred files: on a disk, making and dropping them takes longer than the test.
_MEMORY = Path("/dev/shm")
_MEMORY_NEEDED = 4 << 30


class Eventually(Protocol):
    """Waits for what another process does."""

    def __call__(self, condition: Callable[[], Answer], within_s: float = 120.0) -> Answer:
        """The first true answer of the condition; fails where there is none in time."""


def _has_room(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > _MEMORY_NEEDED


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    """A folder that servers may enter which do not run as us; pytest's own folders are closed to them."""
    directory = Path(tempfile.mkdtemp(prefix="fieldline-tests-", dir=_MEMORY if _has_room(_MEMORY) else None))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(server_directory: Path) -> Iterator[Postgres]:
    """The PostgreSQL server of this test run; a test that kills one starts its own."""
    with Postgres(server_directory / "postgres", fsync=False) as server:
        yield server


@pytest.fixture(scope="session")
def redis(server_directory: Path) -> Iterator[Redis]:
    """The Redis server of this test run; a test that kills one starts its own."""
    with Redis(server_directory / "redis") as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def models_inspected_once() -> Iterator[None]:
    """Lets a process look into each model only once: hundreds of tests import the same one, and each look is a process."""
    with inspected_once():
        yield


@pytest.fixture(scope="session")
def migrated_template(postgres: Postgres) -> str:
    """The name of a database that has had every migration and is never connected to again."""
    migrate(postgres.create_database("migrated"))
    return "migrated"


@pytest.fixture
def database_url(postgres: Postgres, migrated_template: str) -> Iterator[str]:
    """The URL of a store of its own, migrated and empty."""
    name = f"store_{next(_numbers)}"
    yield postgres.create_database(name, template=migrated_template)
    postgres.drop_database(name)


@pytest.fixture
def erp(postgres: Postgres) -> Iterator[Database]:
    """An empty database that stands for somebody's system of record; has `.url` and `.odbc`."""
    name = f"erp_{next(_numbers)}"
    postgres.create_database(name)
    yield postgres.database(name)
    postgres.drop_database(name)


@pytest.fixture
def redis_url(redis: Redis) -> str:
    """The URL of an empty Redis."""
    with redis_client.Redis.from_url(redis.url) as client:
        client.flushall()
    return redis.url


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of records and cases that are not part of the project; tests of it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the folder ../shared with other people's records and cases is not here")
    return folder


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """`eventually(condition, within_s)`: waits for what another process does, no longer than it takes, and on a slow machine."""

    def wait(condition: Callable[[], Answer], within_s: float = 120.0) -> Answer:
        deadline = time.monotonic() + within_s
        while not (answer := condition()):
            if time.monotonic() > deadline:
                pytest.fail(f"this did not come true within {within_s:g} s")
            time.sleep(0.02)
        return answer

    return wait

"""Processes that start at the same time on an empty database: what is made once is made once."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from tests.api import settings_for
from tests.conftest import Eventually

from fieldline_core.keyring import KeyFile, open_keyring
from fieldline_core.store import Store
from fieldline_server.keys import ensure_admin_key
from fieldline_server.wiring import open_engine


@contextmanager
def first_one(url: str, insert: str, eventually: Eventually) -> Iterator[Callable[[Callable[[], object]], Future[object]]]:
    """Holds the tenant while another process waits for it, then lets what the block inserted stand."""
    with psycopg.connect(url) as first, psycopg.connect(url, autocommit=True) as watch, ThreadPoolExecutor(1) as pool:
        first.execute("SELECT 1 FROM tenant FOR NO KEY UPDATE")

        def second(start: Callable[[], object]) -> Future[object]:
            started = pool.submit(start)
            waiting = b"SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            eventually(lambda: watch.execute(waiting).fetchone())
            first.execute(insert.encode())
            first.commit()
            return started

        yield second


def test_first_starts_at_the_same_time_make_one_keyring(database_url: str, tmp_path: Path) -> None:
    provider = KeyFile(tmp_path / "key")

    def start(_: int) -> bytes:
        store = Store(database_url)
        try:
            return open_keyring(store, provider).hash_body(b"x")
        finally:
            store.close()

    with ThreadPoolExecutor(6) as pool:
        hashes = set(pool.map(start, range(6)))

    assert len(hashes) == 1


def test_a_start_that_waited_for_another_one_takes_its_keys(database_url: str, tmp_path: Path, eventually: Eventually) -> None:
    provider = KeyFile(tmp_path / "key")
    wrapped = [aes_key_wrap(provider.key(), bytes([number]) * 32).hex() for number in (1, 2)]
    store = Store(database_url)
    rows = (f"INSERT INTO data_key (tenant_id, id, purpose, wrapped, provider) VALUES "
            f"(1, 1, 'content', '\\x{wrapped[0]}', 'file'), (1, 2, 'index', '\\x{wrapped[1]}', 'file')")  # fmt: skip

    with first_one(database_url, rows, eventually) as second:
        started = second(lambda: open_keyring(store, provider).hash_body(b"x"))
        waited = started.result()

    assert waited == open_keyring(store, provider).hash_body(b"x")
    store.close()


def test_two_first_starts_make_one_administrator(database_url: str, tmp_path: Path, eventually: Eventually) -> None:
    engine = open_engine(settings_for(database_url, tmp_path), "test")
    row = "INSERT INTO api_key (tenant_id, id, digest, label, scopes, created_by) VALUES (1, 'a', '', 'first', '{read}', 'install')"

    with first_one(database_url, row, eventually) as second:
        assert second(lambda: ensure_admin_key(engine)).result() is None

    engine.store.close()

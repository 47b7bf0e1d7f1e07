"""The store's connections: one that died while it rested costs nobody an error, and a database that is away is told as such."""

import psycopg
import pytest

from fieldline_core.errors import StoreUnavailable
from fieldline_core.store import Store

OTHERS = (
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def end_sessions(url: str) -> None:
    """Ends all other sessions of a database, as a restart of the server does."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(OTHERS)


def test_a_connection_that_died_while_it_rested_is_replaced_unnoticed(database_url: str) -> None:
    store = Store(database_url, connections=3)
    with store.transaction("one"), store.transaction("two"), store.transaction("three"):
        pass
    end_sessions(database_url)

    with store.transaction("after") as tx:
        assert tx.all("log.waiting")[0]["n"] == 0
    store.close()


def test_a_connection_that_dies_within_a_transaction_ends_it_as_unavailable(database_url: str) -> None:
    store = Store(database_url, connections=1)
    with pytest.raises(StoreUnavailable, match="does not answer"), store.transaction("cut") as tx:
        tx.connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    with store.transaction("after") as tx:
        assert tx.all("log.waiting")
    store.close()


def test_a_full_disk_is_named_with_the_time_to_come_back(database_url: str) -> None:
    store = Store(database_url, connections=1)
    with pytest.raises(StoreUnavailable, match="is full: give it space") as caught, store.transaction("full") as tx:
        tx.connection.execute("DO $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END $$")
    assert caught.value.retry_after == 30.0
    store.close()

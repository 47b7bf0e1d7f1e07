"""PostgreSQL as the engine sees it: named queries in transactions that pass a crash point at each commit."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from fieldline_core.crash import point
from fieldline_core.errors import StoreUnavailable

Row: TypeAlias = dict[str, Any]
TENANT = 1
"""The tenant `default`; every table carries the column from the first migration."""

_FULL_DISK_WAIT_S = 30.0
_QUERY = re.compile(r"^-- name: (\w+)\n-- (.+)\n", re.MULTILINE)


@cache
def queries(package: str, topic: str) -> Mapping[str, str]:
    """The named, described queries of `queries/TOPIC.sql` in a package; raises ValueError where one is not described."""
    text = (files(package) / "queries" / f"{topic}.sql").read_text()
    parts = _QUERY.split(text)[1:]
    if text.count("-- name:") * 3 != len(parts):
        raise ValueError(f"{topic}.sql: each query starts with '-- name:' and a line that describes it")
    return {parts[i]: parts[i + 2].strip() for i in range(0, len(parts), 3)}


class Transaction:
    """One transaction; queries are called `topic.name` and take named parameters."""

    def __init__(self, connection: psycopg.Connection[Row], package: str) -> None:
        self.connection = connection
        self._package = package

    def all(self, query: str, **values: Any) -> list[Row]:
        """All rows of a named query."""
        return self._run(query, values).fetchall()

    def one(self, query: str, **values: Any) -> Row | None:
        """The first row of a named query, or None."""
        return self._run(query, values).fetchone()

    def run(self, query: str, **values: Any) -> int:
        """Runs a named query and counts the rows that it changed."""
        return self._run(query, values).rowcount

    def many(self, query: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs a named query once for each mapping of values, pipelined."""
        if rows:
            topic, name = query.split(".")
            self.connection.cursor().executemany(queries(self._package, topic)[name].encode(), rows)

    def copy(self, query: str, rows: Iterable[Sequence[Any]]) -> None:
        """Sends rows to a named query that is a COPY: for thousands of rows less than half the work of an INSERT for each."""
        topic, name = query.split(".")
        with self.connection.cursor().copy(queries(self._package, topic)[name].encode()) as copy:
            for row in rows:
                copy.write_row(row)

    def _run(self, query: str, values: Mapping[str, Any]) -> psycopg.Cursor[Row]:
        topic, name = query.split(".")
        return self.connection.execute(queries(self._package, topic)[name].encode(), {"tenant": TENANT, **values})


def _in_utc(connection: psycopg.Connection[Row]) -> None:
    """Schedules and hours are meant in UTC, whatever PGTZ or the server says."""
    connection.execute("SET TIME ZONE 'UTC'")
    connection.commit()


def _unavailable(error: Exception) -> StoreUnavailable:
    if isinstance(error, psycopg.errors.DiskFull):
        text = "the disk of Fieldline's database is full: give it space, and everything goes on by itself"
        return StoreUnavailable(text, _FULL_DISK_WAIT_S, sent=True)
    return StoreUnavailable(f"Fieldline's database does not answer ({type(error).__name__})", sent=True)


class Store:
    """The database behind one process; connections are pooled and opened on first use (after fork)."""

    def __init__(self, url: str, *, connections: int = 4) -> None:
        self.url = url
        self._pool = ConnectionPool[psycopg.Connection[Row]](
            url, min_size=0, max_size=connections, open=False, timeout=10, max_idle=300, configure=_in_utc,
            kwargs={"row_factory": dict_row, "application_name": "fieldline", "connect_timeout": 5},
        )  # fmt: skip

    @contextmanager
    def transaction(self, name: str, package: str = "fieldline_core.store") -> Iterator[Transaction]:
        """A transaction that commits when the block ends well; `name` labels its crash points.

        Queries are looked up in `package`. Raises Unavailable where the database does not answer.
        """
        with self._translated():
            with self._begun() as connection:
                yield Transaction(connection, package)
                point(f"{name}.commit:before")
            point(f"{name}.commit:after")

    @contextmanager
    def _begun(self) -> Iterator[psycopg.Connection[Row]]:
        """A connection with a transaction on it."""
        with ExitStack() as held:
            for left in reversed(range(self._pool.max_size + 1)):
                connection = held.enter_context(self._pool.connection())
                try:
                    held.enter_context(connection.transaction())
                    break
                except psycopg.OperationalError:
                    # It died while it rested, and nothing was begun on it: the pool has another. To ask each one first whether
                    # it lives would cost a fourth of the time that a small transaction takes.
                    if not left:
                        raise
                    held.close()
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        self._pool.open()
        try:
            yield
        except (psycopg.OperationalError, PoolTimeout) as error:
            if isinstance(error, psycopg.errors.QueryCanceled):
                raise
            raise _unavailable(error) from error

    def listen(self) -> psycopg.Connection[Any]:
        """A connection of its own in autocommit, for LISTEN and for session locks."""
        try:
            return psycopg.connect(self.url, autocommit=True, application_name="fieldline-relay", connect_timeout=5)
        except psycopg.OperationalError as error:
            raise StoreUnavailable("Fieldline's database does not answer") from error

    def close(self) -> None:
        """Closes the pool."""
        self._pool.close()

"""Migrations: plain SQL files, each applied once and in order, forward while the old version still runs."""

from collections.abc import Iterator
from importlib.resources import files

import psycopg

_LOCK = 7_301_001


def migrations() -> Iterator[tuple[str, str]]:
    """Name and text of each migration, in order."""
    folder = files("fieldline_core.store") / "migrations"
    for file in sorted(folder.iterdir(), key=lambda item: item.name):
        if file.name.endswith(".sql"):
            yield file.name.removesuffix(".sql"), file.read_text()


def migrate(url: str) -> list[str]:
    """Applies what is missing, one process at a time, and returns the names applied."""
    applied = []
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {row[0] for row in connection.execute("SELECT name FROM migration")}
        for name, text in migrations():
            if name not in done:
                with connection.transaction():
                    connection.execute(text.encode())
                    connection.execute("INSERT INTO migration (name) VALUES (%s)", (name,))
                applied.append(name)
    return applied


def missing(url: str) -> list[str]:
    """The migrations that this version knows and the database has not had."""
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        exists = connection.execute("SELECT to_regclass('migration') IS NOT NULL").fetchone()
        done = {row[0] for row in connection.execute("SELECT name FROM migration")} if exists and exists[0] else set()
    return [name for name, _ in migrations() if name not in done]

"""The state of an org in a SQLite file: each commit is there before its answer goes out."""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

_TABLES = """
CREATE TABLE IF NOT EXISTS records (id TEXT PRIMARY KEY, object TEXT NOT NULL, row BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changes (position INTEGER PRIMARY KEY, change BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, job BLOB NOT NULL, content BLOB);
CREATE TABLE IF NOT EXISTS outcomes (job TEXT NOT NULL, line INTEGER NOT NULL, outcome BLOB NOT NULL, PRIMARY KEY (job, line));
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""


class Store:
    """The file; all calls come with the org's lock held."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_TABLES)

    def save(
        self, *, settings: dict[str, Any], records: Iterable[tuple[str, str, dict[str, Any]]] = (),
        changes: Iterable[dict[str, Any]] = (), jobs: Iterable[tuple[str, dict[str, Any], bytes | None]] = (),
        outcomes: Iterable[tuple[str, int, Any]] = (), removed: Iterable[str] = (),
    ) -> None:  # fmt: skip
        """Writes all of it, or nothing."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", ((i, o, orjson.dumps(r)) for i, o, r in records))
            db.executemany("DELETE FROM records WHERE id = ?", ((each,) for each in removed))
            db.executemany("INSERT INTO changes VALUES (?, ?)", ((each["position"], orjson.dumps(each)) for each in changes))
            db.executemany(
                "INSERT INTO jobs VALUES (?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET job = excluded.job, content = coalesce(excluded.content, content)",
                ((i, orjson.dumps(job), content) for i, job, content in jobs),
            )
            db.executemany("INSERT INTO outcomes VALUES (?, ?, ?)", ((job, line, orjson.dumps(o)) for job, line, o in outcomes))
            db.execute("INSERT OR REPLACE INTO settings VALUES ('org', ?)", (orjson.dumps(settings),))
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise

    def settings(self) -> dict[str, Any] | None:
        """What was last saved beside the records; None in a new file."""
        found = self._db.execute("SELECT value FROM settings WHERE name = 'org'").fetchone()
        return dict(orjson.loads(found[0])) if found else None

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Objects and rows, in the order of ids."""
        for name, row in self._db.execute("SELECT object, row FROM records ORDER BY id"):
            yield name, orjson.loads(row)

    def changes(self, most: int) -> list[dict[str, Any]]:
        """The last changes, oldest first."""
        found = self._db.execute("SELECT change FROM changes ORDER BY position DESC LIMIT ?", (most,)).fetchall()
        return [orjson.loads(change) for (change,) in reversed(found)]

    def jobs(self) -> Iterator[tuple[dict[str, Any], bytes | None, list[Any]]]:
        """Bulk jobs with what was uploaded, and what became of each line."""
        for job_id, job, content in self._db.execute("SELECT id, job, content FROM jobs ORDER BY id").fetchall():
            lines = self._db.execute("SELECT outcome FROM outcomes WHERE job = ? ORDER BY line", (job_id,))
            yield orjson.loads(job), content, [orjson.loads(outcome) for (outcome,) in lines]

    def remove_job(self, job_id: str) -> None:
        """Forgets a job."""
        self._db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
        self._db.execute("DELETE FROM outcomes WHERE job = ?", (job_id,))

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

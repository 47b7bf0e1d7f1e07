"""The records of all sets, changed in transactions, with what changed; in memory, and in a SQLite file if one is given."""

import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from fieldline_simulators.sap.model import EntitySet, Model, Row
from fieldline_simulators.sap.values import shown, taken

Key = tuple[Any, ...]

_MOST_CHANGES = 20_000
_TABLES = """
CREATE TABLE IF NOT EXISTS records (
    entity_set TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, position INTEGER NOT NULL, row BLOB NOT NULL,
    PRIMARY KEY (entity_set, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Record:
    """One record in one version; `position` is that of its last change."""

    row: Row
    version: int
    position: int

    @property
    def etag(self) -> str:
        """What names this version."""
        return f'W/"{self.version}.{self.position}"'


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to a record: its version before and after, none where it was not there."""

    entity_set: str
    key: Key
    before: Record | None
    after: Record | None
    position: int


class Store:
    """All records; who reads more than one thing, or reads and writes, holds the lock."""

    def __init__(self, model: Model, file: Path | None = None) -> None:
        self.model = model
        self.lock = threading.RLock()
        self.position = 0
        self.changes: deque[Change] = deque(maxlen=_MOST_CHANGES)
        self._records: dict[str, dict[Key, Record]] = {each.name: {} for each in model.sets}
        self._pending: list[Change] | None = None
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None) if file else None
        if self._db:
            self._load(self._db)

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever stored."""
        return self.position == 0

    @property
    def oldest(self) -> int:
        """The position behind which all changes are still known."""
        return self.changes[0].position - 1 if self.changes else self.position

    def get(self, entity_set: EntitySet, key: Key) -> Record | None:
        """The record with this key."""
        return self._records[entity_set.name].get(key)

    def all(self, entity_set: EntitySet) -> list[Record]:
        """Every record of a set, in the order in which they were made."""
        return list(self._records[entity_set.name].values())

    def count(self, name: str) -> int:
        """How many records a set has."""
        return len(self._records[name])

    def put(self, entity_set: EntitySet, row: Row) -> Record:
        """Adds or replaces a record; the caller is in a transaction."""
        key = entity_set.key_of(row)
        before = self.get(entity_set, key)
        self.position += 1
        if entity_set.changed_at:
            now = datetime.now(UTC)
            row = {**row, entity_set.changed_at: now.replace(microsecond=now.microsecond // 1000 * 1000)}
        made = Record(row, before.version + 1 if before else 1, self.position)
        self._records[entity_set.name][key] = made
        self._note(Change(entity_set.name, key, before, made, self.position))
        return made

    def remove(self, entity_set: EntitySet, key: Key) -> None:
        """Removes a record that is there; the caller is in a transaction."""
        self.position += 1
        before = self._records[entity_set.name].pop(key)
        self._note(Change(entity_set.name, key, before, None, self.position))

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Holds the lock; what is put and removed within becomes durable together, or is taken back together."""
        with self.lock:
            if self._pending is not None:
                start = len(self._pending)
                try:
                    yield
                except BaseException:
                    self._take_back(start)
                    raise
                return
            self._pending = []
            try:
                yield
                self._save(self._pending)
            except BaseException:
                self._take_back(0)
                raise
            finally:
                self._pending = None

    def close(self) -> None:
        """Closes the file."""
        with self.lock:
            if self._db:
                self._db.close()
                self._db = None

    def _note(self, change: Change) -> None:
        assert self._pending is not None
        self._pending.append(change)

    def _take_back(self, start: int) -> None:
        assert self._pending is not None
        for change in reversed(self._pending[start:]):
            if change.before is None:
                self._records[change.entity_set].pop(change.key, None)
            else:
                self._records[change.entity_set][change.key] = change.before
        del self._pending[start:]

    def _save(self, made: list[Change]) -> None:
        if self._db and made:
            sets = self.model.by_set
            last = {(each.entity_set, each.key): each for each in made}
            kept = [
                (name, _text(key), each.after.version, each.after.position, _packed(sets[name], each.after.row))
                for (name, key), each in last.items() if each.after
            ]  # fmt: skip
            gone = [(name, _text(key)) for (name, key), each in last.items() if not each.after]
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)", kept)
            self._db.executemany("DELETE FROM records WHERE entity_set = ? AND key = ?", gone)
            self._db.execute("INSERT OR REPLACE INTO state VALUES ('position', ?)", (orjson.dumps(self.position),))
            self._db.execute("COMMIT")
        self.changes.extend(made)

    def _load(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.executescript(_TABLES)
        for name, version, position, row in db.execute("SELECT entity_set, version, position, row FROM records ORDER BY position"):
            entity_set = self.model.by_set[name]
            found = _unpacked(entity_set, row)
            self._records[name][entity_set.key_of(found)] = Record(found, version, position)
        saved = db.execute("SELECT value FROM state WHERE name = 'position'").fetchone()
        self.position = orjson.loads(saved[0]) if saved else 0


def _text(key: Key) -> str:
    return orjson.dumps([str(part) for part in key]).decode()


def _packed(entity_set: EntitySet, row: Row) -> bytes:
    return orjson.dumps({each.name: shown(each, row[each.name], v4=True, exact=True) for each in entity_set.properties})


def _unpacked(entity_set: EntitySet, row: bytes) -> Row:
    found = orjson.loads(row)
    return {
        each.name: taken(replace(each, nullable=True), found.get(each.name), v4=True) for each in entity_set.properties
    }  # fmt: skip

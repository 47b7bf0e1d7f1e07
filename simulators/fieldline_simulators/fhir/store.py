"""Resources in all their versions, found by token and reference, in memory and, where a file is given, in SQLite."""

import random
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from fieldline_simulators.fhir.parameters import TYPES, parameters_of
from fieldline_simulators.fhir.values import local_reference, raw, tokens

_TABLES = """
CREATE TABLE IF NOT EXISTS versions (
    type TEXT NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL, version_id TEXT NOT NULL, updated TEXT NOT NULL,
    method TEXT NOT NULL, resource BLOB, PRIMARY KEY (type, id, number)
);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""

_LOOKED_UP = ("token", "reference")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a resource; a deletion is a version without content."""

    type: str
    id: str
    number: int
    version_id: str
    updated: datetime
    method: str
    resource: dict[str, Any] | None


class Store:
    """All resources; who reads more than one thing, or reads and writes, holds the lock."""

    def __init__(self, seed: int, file: Path | None, *, integer_versions: bool) -> None:
        self.lock = threading.RLock()
        self.settings: dict[str, Any] = {}
        #: Who is told of what was committed, with the lock held.
        self.watchers: list[Callable[[list[Version]], None]] = []
        self._random = random.Random(seed)  # noqa: S311 (ids need be unique, not secret)
        self._integer_versions = integer_versions
        self._histories: dict[str, dict[str, list[Version]]] = {type: {} for type in TYPES}
        self._indexes: dict[tuple[str, str], dict[str, dict[str, None]]] = {}
        self._unsaved: list[Version] = []
        self._depth = 0
        self._named = ""
        self._planting = False
        self._last = _whole(datetime.now(UTC)) - timedelta(days=1)
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None) if file else None
        if self._db:
            self._load(self._db, seed)

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever stored."""
        return not any(self._histories.values())

    @property
    def newest(self) -> datetime:
        """When the newest version was made."""
        return self._last

    def new_id(self) -> str:
        """An id that no other resource has; the same seed gives the same ids in the same order."""
        if self._named:
            return self._named
        while True:
            made = str(UUID(int=self._random.getrandbits(128), version=4))
            if not any(made in kept for kept in self._histories.values()):
                return made

    @contextmanager
    def naming(self, id: str) -> Iterator[None]:
        """Gives what is made within an id that was taken before; the lock is held."""
        self._named = id
        try:
            yield
        finally:
            self._named = ""

    def current(self, type: str, id: str) -> Version | None:
        """The newest version, which may be a deletion."""
        history = self._histories[type].get(id)
        return history[-1] if history else None

    def resource(self, type: str, id: str) -> dict[str, Any] | None:
        """What a resource holds now; None where there is none, or none any more."""
        found = self.current(type, id) if type in self._histories else None
        return found.resource if found else None

    def history(self, type: str, id: str) -> list[Version]:
        """All versions, oldest first."""
        return list(self._histories[type].get(id, ()))

    def all(self, type: str) -> Iterator[dict[str, Any]]:
        """Every resource of a type, in the order in which they were made."""
        for history in self._histories[type].values():
            if history[-1].resource is not None:
                yield history[-1].resource

    def put(self, type: str, id: str, resource: dict[str, Any] | None, method: str) -> Version:
        """Adds a version, with its number and time in its meta."""
        history = self._histories[type].setdefault(id, [])
        number = len(history) + 1
        version_id = str(number) if self._integer_versions else str(UUID(int=self._random.getrandbits(128), version=4))
        updated = self._now()
        if resource is not None:
            meta = {**resource.get("meta", {}), "versionId": version_id, "lastUpdated": stamp(updated)}
            resource = {**resource, "resourceType": type, "id": id, "meta": meta}
        made = Version(type, id, number, version_id, updated, method, resource)
        self._reindex(history[-1].resource if history else None, resource, type, id)
        history.append(made)
        self._unsaved.append(made)
        if not self._depth:
            self._commit()
        return made

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Holds the lock; what is put within becomes durable together, or is taken back together."""
        with self.lock:
            start = len(self._unsaved)
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                self._take_back(start)
                raise
            self._depth -= 1
            if not self._depth:
                self._commit()

    @contextmanager
    def planting(self) -> Iterator[None]:
        """Lets what is put within have been made a while ago, a millisecond apart."""
        with self.lock:
            self._planting = True
            try:
                yield
            finally:
                self._planting = False

    def lookup(self, type: str, parameter: str, values: Iterable[str]) -> set[str]:
        """The ids of resources with one of these codes or references; the codes' systems are not looked at."""
        index = self._indexes.get((type, parameter))
        if index is None:
            index = self._indexes[type, parameter] = {}
            for resource in self.all(type):
                self._index(index, type, parameter, resource)
        return {id for value in values for id in index.get(value, ())}

    def save_settings(self) -> None:
        """Keeps the settings with the resources."""
        with self.lock:
            if self._db:
                self._db.execute("INSERT OR REPLACE INTO settings VALUES ('server', ?)", (orjson.dumps(self.settings),))

    def close(self) -> None:
        """Closes the file."""
        with self.lock:
            if self._db:
                self._db.close()
                self._db = None

    def _now(self) -> datetime:
        self._last = self._last + timedelta(milliseconds=1) if self._planting else max(_whole(datetime.now(UTC)), self._last)
        return self._last

    def _take_back(self, start: int) -> None:
        for version in reversed(self._unsaved[start:]):
            history = self._histories[version.type][version.id]
            history.pop()
            self._reindex(version.resource, history[-1].resource if history else None, version.type, version.id)
            if not history:
                del self._histories[version.type][version.id]
        del self._unsaved[start:]

    def _commit(self) -> None:
        if self._db and self._unsaved:
            rows = [
                (each.type, each.id, each.number, each.version_id, each.updated.isoformat(), each.method,
                 None if each.resource is None else orjson.dumps(each.resource))
                for each in self._unsaved
            ]  # fmt: skip
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self._db.execute("COMMIT")
        made, self._unsaved = self._unsaved, []
        for watcher in self.watchers:
            watcher(made)

    def _load(self, db: sqlite3.Connection, seed: int) -> None:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.executescript(_TABLES)
        count = 0
        for type, id, number, version_id, updated, method, resource in db.execute("SELECT * FROM versions ORDER BY rowid"):
            made = datetime.fromisoformat(updated)
            found = Version(type, id, number, version_id, made, method, None if resource is None else orjson.loads(resource))
            self._histories[type].setdefault(id, []).append(found)
            self._last = max(self._last, made)
            count += 1
        # Another beginning for each length of the file, so that no version's id comes twice.
        self._random = random.Random(f"{seed}:{count}")  # noqa: S311
        saved = db.execute("SELECT value FROM settings WHERE name = 'server'").fetchone()
        self.settings = orjson.loads(saved[0]) if saved else {}

    def _reindex(self, old: dict[str, Any] | None, new: dict[str, Any] | None, type: str, id: str) -> None:
        for (indexed, parameter), index in self._indexes.items():
            if indexed != type:
                continue
            for key in keys_of(old, type, parameter) if old else ():
                index.get(key, {}).pop(id, None)
            if new:
                self._index(index, type, parameter, new)

    def _index(self, index: dict[str, dict[str, None]], type: str, parameter: str, resource: dict[str, Any]) -> None:
        for key in keys_of(resource, type, parameter):
            index.setdefault(key, {})[resource["id"]] = None


def keys_of(resource: dict[str, Any], type: str, parameter: str) -> set[str]:
    """What a resource is found by in the index of a parameter."""
    meant = parameters_of(type)[parameter]
    if meant.kind == "reference":
        return {key for value in raw(resource, meant) if (key := local_reference(value))}
    return {token.code for value in raw(resource, meant) for token in tokens(value)}


def can_look_up(type: str, parameter: str) -> bool:
    """Whether a parameter has an index."""
    return parameters_of(type)[parameter].kind in _LOOKED_UP


def _whole(moment: datetime) -> datetime:
    """The time to the millisecond, as it is written."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def stamp(moment: datetime) -> str:
    """A time as FHIR writes an instant."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

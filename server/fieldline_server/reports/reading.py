"""What reports read: entries of the log in pages, and the evidence behind them, one batch at a time."""

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fieldline_core.errors import Misconfigured
from fieldline_core.evidence import Envelope, unseal
from fieldline_core.flow import Connection, Release, release_from
from fieldline_core.pipeline.engine import Engine
from fieldline_core.store import Row
from fieldline_server.reports.shape import Entry, Question

_AT_ONCE = 500
_KEPT = 256
_HOST = re.compile(r"(?:^|;)\s*(?:server|servername|host|data source)\s*=\s*([^;]+)", re.IGNORECASE)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Touch:
    """An entry, and where it is one of a batch, the rows of it that are asked for."""

    entry: Entry
    envelope: Envelope | None = None
    row: int | None = None
    """The only row that is asked for; None: all."""

    def lines(self) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """Each row that is asked for, by its leaf, as its line; None where it was erased."""
        if self.envelope is None:
            return
        if self.row is not None:
            yield self.row + 1, json.loads(self.envelope.line(self.row + 1))
            return
        for leaf, line in enumerate(self.envelope.lines()):
            if leaf:
                yield leaf, None if leaf in self.envelope.erased else json.loads(line)


@dataclass(frozen=True, slots=True)
class System:
    """A connected system, as its connection says now."""

    name: str
    connector: str = ""
    address: str = ""


class Reader:
    """Reads the log for one question; no more than a page of entries and one batch of evidence is held at a time."""

    def __init__(self, engine: Engine, question: Question, size: int) -> None:
        self.engine = engine
        self.question = question
        self._size = size
        self._asked: OrderedDict[tuple[str, str], Any] = OrderedDict()

    @cached_property
    def log(self) -> str:
        """The name of the log."""
        with self.engine.store.transaction("report") as tx:
            row = tx.one("log.key")
        assert row is not None
        return str(row["name"])

    def entries(self, events: Sequence[str]) -> Iterator[Entry]:
        """The entries of these events that are asked for, in the order of the log."""
        of_record = self.question.key is not None
        query, bounds = ("reports.entries_of_record", self._of_record()) if of_record else ("reports.entries", self._bounds())
        after = bounds.pop("after")
        while True:
            with self.engine.store.transaction("report") as tx:
                rows = tx.all(query, **bounds, **self._wanted(), events=list(events), after=after, limit=_AT_ONCE)
            yield from (entry_of(row) for row in rows if row["position"] < self._size)
            if len(rows) < _AT_ONCE:
                return
            after = rows[-1]["position"]

    def touched(self, events: Sequence[str]) -> Iterator[Touch]:
        """The same with the evidence of batches; of a record those batches alone that hold it."""
        for entry in self.entries(events):
            if "batch" not in entry.detail:
                yield Touch(entry)
                continue
            envelope = self._evidence(entry)
            row = envelope.frame["key"].index_of(self.question.key) if self.question.key is not None else None
            if row is not None or self.question.key is None:
                yield Touch(entry, envelope, row)

    def of_record(self, query: str) -> Iterator[Row]:
        """Rows of a named query that are found by the record, in pages."""
        assert self.question.key is not None
        after = 0
        while True:
            with self.engine.store.transaction("report") as tx:
                rows = tx.all(query, key_hash=self.engine.keyring.hash_key(self.question.key), after=after, limit=_AT_ONCE)
            yield from rows
            if len(rows) < _AT_ONCE:
                return
            after = rows[-1]["id"]

    def release(self, digest: str) -> Release | None:
        """A release by its digest."""
        return self._kept("release", digest, self._read_release)

    def released(self, digest: str) -> Entry | None:
        """The entry that published a release."""
        return self._kept("released", digest, self._read_released)

    def system(self, name: str) -> System:
        """What is known of a connection."""
        return self._kept("system", name, self._read_system)

    def one(self, query: str, **values: Any) -> Row | None:
        """One row of a named query."""
        with self.engine.store.transaction("report") as tx:
            return tx.one(query, **values)

    def _wanted(self) -> dict[str, Any]:
        asked = self.question
        return {"flow": asked.flow, "since": asked.since, "until": asked.until}

    def _bounds(self) -> dict[str, Any]:
        row = self.one("reports.bounds", since=self.question.since, until=self.question.until)
        first, last = (row["first"], row["last"]) if row and row["first"] is not None else (0, -1)
        return {"after": first - 1, "last": last}

    def _of_record(self) -> dict[str, Any]:
        assert self.question.key is not None
        key_hash = self.engine.keyring.hash_key(self.question.key)
        return {"after": -1, "key_hash": key_hash, "text": key_hash.hex}

    def _evidence(self, entry: Entry) -> Envelope:
        row = self.one("evidence.of_event", event=entry.event_id)
        if row is None:
            raise Misconfigured(f"the evidence of entry {entry.position} is not in the store any more: restore it from a backup")
        return unseal(self.engine.keyring, row)

    def _read_release(self, digest: str) -> Release | None:
        row = self.one("reports.release", digest=digest)
        return release_from(row["id"], row["flow_id"], digest, row["body"]) if row else None

    def _read_released(self, digest: str) -> Entry | None:
        row = self.one("reports.released", digest=digest)
        return entry_of(row) if row else None

    def _read_system(self, name: str) -> System:
        row = self.one("flows.document", kind="connection", name=name)
        if row is None:
            return System(name)
        connection = Connection.model_validate(row["body"])
        return System(name, connection.connector, address_of(connection.settings))

    def _kept(self, what: str, name: str, read: Callable[[str], V]) -> V:
        if (what, name) not in self._asked:
            self._asked[what, name] = read(name)
            if len(self._asked) > _KEPT:
                self._asked.popitem(last=False)
        found: V = self._asked[what, name]
        return found


def entry_of(row: Row) -> Entry:
    """The entry of a stored row."""
    detail = json.loads(row["leaf"])["detail"]
    return Entry(row["position"], row["id"], row["at"].astimezone(UTC), row["event"], row["actor"], detail)


def address_of(settings: dict[str, Any]) -> str:
    """Where a system is, without user, password and path; empty where its connection does not say it in a word of its own."""
    for name in ("url", "base_url", "host", "server", "dsn"):
        if isinstance(value := settings.get(name), str):
            return _without_secrets(value)
    text = settings.get("connection_string")
    found = _HOST.search(text) if isinstance(text, str) else None
    return found[1].strip() if found else ""


def _without_secrets(address: str) -> str:
    """Scheme, host and port of a URL: the rest may be as good as a password."""
    parts = urlsplit(address)
    if not parts.hostname:
        return address
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def within(question: Question, at: datetime, days: int | None) -> Question:
    """The question with both ends of its period: until now, and as far back as that."""
    since = question.since or (at - timedelta(days=days) if days else datetime(1970, 1, 1, tzinfo=UTC))
    return replace(question, since=since, until=question.until or at)

"""API keys: made once, kept as a keyed hash, recognised in constant time, and given no more than their scopes."""

import base64
import secrets
import threading
import time
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from fieldline_core.errors import FieldlineError, Rejected
from fieldline_core.events import record
from fieldline_core.keyring import same
from fieldline_core.pipeline.engine import Engine
from fieldline_core.store import Row, Transaction

_FRESH_S = 1.0
_MOST_KEPT = 1024
_NO_DIGEST = bytes(32)


class Scope(StrEnum):
    """What a key may do; it may do nothing that is not among its scopes."""

    READ = "read"
    """See flows, runs, models, connections and the reasons of dead letters; never the values of a record."""
    RUN = "run"
    """Start and cancel runs."""
    WRITE = "write"
    """Pause and resume flows and write-backs; see, replay and discard dead letters."""
    SCORE = "score"
    """Score records and see the answers."""
    CONFIGURE = "configure"
    """Publish documents, import models and move their aliases."""
    KEYS = "keys"
    """Make and revoke keys, with no scope that the maker lacks."""
    AUDIT = "audit"
    """See audit events, and decisions, reports, previews and backtests with the values of their records."""
    ERASE = "erase"
    """Erase all that is kept of a record."""
    METRICS = "metrics"
    """Read the metrics."""


class NotRecognised(FieldlineError):
    """The request carries no API key that is in force: send one as 'Authorization: Bearer fl_…'."""

    code = "unauthorized"

    def __init__(self) -> None:
        super().__init__(self.__doc__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what they may do."""

    key: str
    scopes: frozenset[str]

    @property
    def name(self) -> str:
        """The caller as audit events name them."""
        return f"key:{self.key}"


@dataclass(frozen=True, slots=True)
class _Parts:
    id: str
    secret: bytes


class ApiKeys:
    """The keys in force, each looked up at most once a second: a revoked key ends within that time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: dict[bytes, tuple[float, Caller]] = {}
        self._lock = threading.Lock()

    def seen(self, text: str) -> Caller | None:
        """The caller whose key was looked up a moment ago, without asking the database."""
        at_s, caller = self._seen.get(self._engine.keyring.hash_body(text.encode()), (0.0, None))
        return caller if time.monotonic() - at_s < _FRESH_S else None

    def recognise(self, text: str) -> Caller:
        """The caller with that key; raises NotRecognised."""
        parts = _parsed(text)
        if parts is None:
            raise NotRecognised
        digest = self._engine.keyring.hash_body(parts.secret)
        with self._engine.store.transaction("key.use") as tx:
            row = tx.one("api_keys.live", id=parts.id)
            if not same(digest, bytes(row["digest"]) if row else _NO_DIGEST) or row is None:
                raise NotRecognised
            tx.run("api_keys.used", id=parts.id)
        caller = Caller(parts.id, frozenset(row["scopes"]))
        self._keep(text, caller)
        return caller

    def _keep(self, text: str, caller: Caller) -> None:
        with self._lock:
            if len(self._seen) >= _MOST_KEPT:
                self._seen.clear()
            self._seen[self._engine.keyring.hash_body(text.encode())] = (time.monotonic(), caller)


def make_key(engine: Engine, label: str, scopes: Collection[str], by: str, days: int | None = None) -> tuple[str, Row]:
    """A new key, shown this once, and what is kept of it; `days` is how long it stays in force."""
    with engine.store.transaction("key.make") as tx:
        return _add(engine, tx, label, scopes, by, days)


def revoke_key(engine: Engine, id: str, by: str) -> bool:
    """Ends a key for good; False where there is no such key in force."""
    with engine.store.transaction("key.revoke") as tx:
        revoked = tx.run("api_keys.revoke", id=id) > 0
        if revoked:
            record(tx, "key.revoked", by, {"key": id})
    return revoked


def list_keys(engine: Engine) -> list[Row]:
    """All keys without their secrets, newest first."""
    with engine.store.transaction("keys") as tx:
        return tx.all("api_keys.listing")


def ensure_admin_key(engine: Engine) -> str | None:
    """The first key of an installation, with every scope, to be shown once; None where there has been a key before."""
    with engine.store.transaction("key.first") as tx:
        # Two first starts must not both make a key: the lock and the look are two statements.
        tx.one("keys.lock")
        if tx.one("api_keys.any"):
            return None
        return _add(engine, tx, "first administrator", list(Scope), "install", None)[0]


def _add(engine: Engine, tx: Transaction, label: str, scopes: Collection[str], by: str, days: int | None) -> tuple[str, Row]:
    unknown = sorted(set(scopes) - set(Scope))
    if unknown or not scopes:
        raise Rejected(f"a key has at least one of the scopes {', '.join(Scope)}" + (f", not {unknown[0]!r}" if unknown else ""))
    id, secret = _text(secrets.token_bytes(10)), secrets.token_bytes(32)
    digest = engine.keyring.hash_body(secret)
    row = tx.one("api_keys.add", id=id, digest=digest, label=label, scopes=sorted(set(scopes)), by=by, days=days)
    assert row is not None
    record(tx, "key.made", by, {"key": id, "label": label, "scopes": row["scopes"]})
    return _written(id, secret), row


def _written(id: str, secret: bytes) -> str:
    body = f"fl_{id}_{_text(secret)}"
    return body + _checksum(body)


def _checksum(body: str) -> str:
    """Tells a mistyped key, and lets scanners of source code be sure that a text is a key, without asking the database."""
    return f"{zlib.crc32(body.encode()):08x}"


def _parsed(text: str) -> _Parts | None:
    body, checksum = text[:-8], text[-8:]
    mark, _, rest = body.partition("_")
    id, _, secret = rest.partition("_")
    if len(text) != 80 or not text.isascii() or mark != "fl" or checksum != _checksum(body):
        return None
    try:
        return _Parts(id, base64.b32decode(secret.upper() + "===="))
    except ValueError:
        return None


def _text(value: bytes) -> str:
    return base64.b32encode(value).decode().rstrip("=").lower()

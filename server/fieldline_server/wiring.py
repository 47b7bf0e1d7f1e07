"""The one place that knows all concrete classes: connectors, mappings and models behind the engine's ports."""

import os
import platform
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Generic, TypeVar

import polars as pl

from fieldline_connectors.registry import connector_class
from fieldline_core.errors import Misconfigured
from fieldline_core.flow import Connection, LookupStep, Release, WriteStep, release_from
from fieldline_core.keyring import KeyFile, KeyProvider, Keyring, KeyVariable, open_keyring
from fieldline_core.pipeline.engine import Engine
from fieldline_core.ports import Plan, Query, Shares, Target, Topic
from fieldline_core.secret import Secret
from fieldline_core.settings import Settings
from fieldline_core.store import Row, Store
from fieldline_inference.model import OnnxModel
from fieldline_inference.registry import Registry
from fieldline_inference.sessions import Sessions
from fieldline_mappings import MappingDocument, compile_mapping
from fieldline_mappings.formula import LANGUAGE
from fieldline_server import __version__
from fieldline_server.secrets_used import SecretsUsed
from fieldline_server.shared import SharedValues

_FRESH_S = 2.0
_KEPT = 256
V = TypeVar("V")


class Kept(Generic[V]):
    """The values used last, each made once for its key."""

    def __init__(self, size: int = _KEPT) -> None:
        self._values: OrderedDict[Hashable, V] = OrderedDict()
        self._size = size
        self._lock = threading.RLock()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of the key, made where it is not kept."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
                while len(self._values) > self._size:
                    self._values.popitem(last=False)
            self._values.move_to_end(key)
            return self._values[key]


class Wiring:
    """The engine's parts, kept for the life of a process."""

    def __init__(self, settings: Settings, store: Store, keyring: Keyring | None = None) -> None:
        self._store = store
        self._keyring = keyring
        self.registry = Registry(store)
        self._sessions = Sessions(self.registry, settings.data_directory / "models", settings.model_cache)
        self._connectors: dict[str, tuple[str, float, Any]] = {}
        self._secrets = SecretsUsed(store)
        self._lock = threading.Lock()
        self._releases: Kept[Release] = Kept()
        self._plans: Kept[Plan] = Kept()
        self._asked: Kept[Any] = Kept()

    def connector(self, name: str) -> Any:
        """The connection of that name, opened; a changed document is noticed within two seconds."""
        with self._lock:
            digest, checked_at, connector = self._connectors.get(name, ("", 0.0, None))
            if connector is not None and time.monotonic() - checked_at < _FRESH_S:
                return connector
            row = self._document("connection", name)
            self._secrets.note(name, row)
            if row["digest"] != digest:
                if connector is not None:
                    connector.close()
                connector = open_connection(Connection.model_validate(row["body"]))
                if self._keyring and isinstance(connector, Shares):
                    connector.share(SharedValues(self._store, self._keyring, name))
            self._connectors[name] = (row["digest"], time.monotonic(), connector)
            return connector

    def close(self) -> None:
        """Releases what the connections hold; what is asked for later is opened again."""
        with self._lock:
            for _, _, connector in self._connectors.values():
                connector.close()
            self._connectors.clear()

    def release(self, id: int) -> Release:
        """The release of that id."""
        return self._releases.get(id, lambda: self._read_release(id))

    def plan(self, release: Release) -> Plan:
        """The release's mapping, compiled for its model."""
        return self._plans.get(release.id, lambda: self._compile(release))

    def model(self, release: Release) -> OnnxModel:
        """The release's model, loaded."""
        pin = release.models[0]
        return self._sessions.load(self._asked.get(("model", pin), lambda: self.registry.resolve(f"{pin.name}@{pin.version}")))

    def query(self, release: Release) -> Query | None:
        """What the release reads, in its connector's terms."""
        source = release.flow.source
        if source is None:
            return None
        query: Query = self._asked.get(
            ("query", release.id), lambda: self._class(source.connection).Query.model_validate(source.query)
        )
        return query

    def topic(self, release: Release) -> Topic:
        """Which changes the release listens to, in its connector's terms."""
        source, changes = release.flow.source, release.flow.trigger.changes
        assert source is not None

        def made() -> Topic:
            topic: Topic = self._class(source.connection).Topic.model_validate(changes)
            return topic.beside([self.target(release, write) for write in release.flow.writes])

        asked: Topic = self._asked.get(("topic", release.id), made)
        return asked

    def child_query(self, release: Release, lookup: LookupStep) -> Query:
        """What one of the release's lookups reads, in its connector's terms."""
        key = ("lookup", release.id, lookup.name)
        query: Query = self._asked.get(key, lambda: self._class(lookup.connection).Query.model_validate(lookup.query))
        return query

    def target(self, release: Release, write: WriteStep) -> Target:
        """What one of the release's steps writes, in its connector's terms."""
        key = ("target", release.id, write.name)
        target: Target = self._asked.get(key, lambda: self._class(write.connection).Target.model_validate(write.target))
        return target

    def runtime(self, release: Release) -> dict[str, str]:
        """What computes the release's answers here, with versions."""
        model = self.model(release).runtime
        versions = {"fieldline": __version__, "formulas": LANGUAGE, "polars": pl.__version__, "python": platform.python_version()}
        note = {"note": model.note} if model.note else {}
        return versions | {"onnxruntime": model.onnxruntime, "provider": model.provider} | note

    def _class(self, connection: str) -> type[Any]:
        return connector_class(self._document("connection", connection)["body"]["connector"])

    def _document(self, kind: str, name: str) -> Row:
        with self._store.transaction("document") as tx:
            row = tx.one("flows.document", kind=kind, name=name)
        if row is None:
            raise Misconfigured(f"there is no {kind} {name!r}: apply its document first")
        return row

    def _read_release(self, id: int) -> Release:
        with self._store.transaction("release") as tx:
            row = tx.one("flows.release", id=id)
        if row is None:
            raise LookupError(f"release {id} is not in the store")
        return release_from(row["id"], row["flow_id"], row["digest"], row["body"])

    def _compile(self, release: Release) -> Plan:
        with self._store.transaction("mapping") as tx:
            row = tx.one("flows.document_by_digest", kind="mapping", digest=release.mapping_digest)
        if row is None:
            raise LookupError(f"the mapping {release.mapping_digest} is not in the store")
        pin = release.models[0]
        signature = self.registry.resolve(f"{pin.name}@{pin.version}").signature
        return compile_mapping(MappingDocument.model_validate(row["body"]), signature)


def open_connection(connection: Connection) -> Any:
    """A connector with its settings; raises Misconfigured where the connector is unknown."""
    kind = connector_class(connection.connector)
    return kind(kind.Config.model_validate(connection.settings))


def key_provider(settings: Settings) -> KeyProvider:
    """Where the wrapping key is."""
    if settings.key_provider == "env":
        return KeyVariable()
    return KeyFile(settings.key_file or settings.data_directory / "wrapping.key")


def open_engine(settings: Settings, worker: str = "", *, connections: int = 4) -> Engine:
    """An engine of this process, for `worker` or by a name of its own."""
    url = settings.database_url.get_secret_value()
    if not url:
        raise Misconfigured("no database is set: give FIELDLINE_DATABASE_URL, or use 'fieldline up', which starts one")
    store = Store(url, connections=connections)
    keyring = open_keyring(store, key_provider(settings))
    Secret.from_store = lambda name: stored_secret(store, keyring, name)
    owner = f"{worker or socket.gethostname()}/{os.getpid()}"
    return Engine(store, keyring, settings, Wiring(settings, store, keyring), owner)


def stored_secret(store: Store, keyring: Keyring, name: str) -> str:
    """The value of a secret that is kept, encrypted, in the store."""
    with store.transaction("secret") as tx:
        row = tx.one("keys.secret", name=name)
    if row is None:
        raise Misconfigured(f"the store has no secret {name!r}: put it there with 'fieldline secrets set {name}'")
    return keyring.open(bytes(row["body"]), f"secret:{name}").decode()


def data_path(settings: Settings, *parts: str) -> Path:
    """A path below the data directory."""
    return settings.data_directory.joinpath(*parts)

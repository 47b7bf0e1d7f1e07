"""The registry of models: versions by digest, and the aliases that name them."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from psycopg.types.json import Jsonb

from fieldline_core.errors import Misconfigured
from fieldline_core.signature import Signature
from fieldline_core.store import Row, Store, Transaction
from fieldline_inference.inspect import Facts, Inspection, inspect_model
from fieldline_inference.limits import Limits
from fieldline_inference.stored import PACKAGE, fetch_files, store_files

Alias: TypeAlias = Literal["champion", "challenger"]
Device: TypeAlias = Literal["cpu", "cuda"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_VERSION = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a model; the bytes behind `digest` never change, the preferred device and the aliases may."""

    name: str
    version: int
    digest: str
    signature: Signature
    device: Device
    fallback: bool
    facts: Facts
    aliases: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


Record: TypeAlias = Callable[[Transaction, ModelVersion], None]
"""Called in the transaction that changes a version (its queries are the core's), so that the audit is written with the change."""


class Registry:
    """Keeps models in the store."""

    def __init__(self, store: Store, limits: Limits | None = None) -> None:
        self._store = store
        self._limits = limits or Limits()

    def import_model(
        self, path: Path, name: str, by: str, device: Device = "cpu", fallback: bool = True, record: Record | None = None
    ) -> ModelVersion:
        """Inspects and stores a model file; the same files again are the same version, the first version is the champion."""
        if not _NAME.fullmatch(name):
            raise Misconfigured("a model's name has 1 to 100 letters, digits, '_', '.' and '-', and starts with a letter or digit")
        _check_choice(device, get_args(Device), "device")
        inspection = inspect_model(path, self._limits)
        with self._store.transaction("models.import", PACKAGE) as transaction:
            transaction.one("models.lock", name=name)
            row = transaction.one("models.by_digest", name=name, digest=inspection.digest)
            if row and (row["device"], row["fallback"]) == (device, fallback):
                return _version(row)
            if row:
                transaction.run("models.prefer_device", name=name, version=row["version"], device=device, fallback=fallback)
            else:
                store_files(transaction, inspection.digest, path, inspection.facts.files)
                _add(transaction, inspection, name=name, by=by, device=device, fallback=fallback)
            return _recorded(transaction, record, transaction.one("models.by_digest", name=name, digest=inspection.digest))

    def alias(self, name: str, alias: Alias, version: int, by: str, record: Record | None = None) -> ModelVersion:
        """Points an alias at a version."""
        _check_choice(alias, get_args(Alias), "alias")
        with self._store.transaction("models.alias", PACKAGE) as transaction:
            transaction.one("models.lock", name=name)
            if transaction.one("models.by_version", name=name, version=version) is None:
                raise _unknown(transaction, name, str(version))
            transaction.run("models.set_alias", name=name, alias=alias, version=version, by=by)
            return _recorded(transaction, record, transaction.one("models.by_version", name=name, version=version))

    def versions(self, name: str | None = None) -> list[ModelVersion]:
        """All versions of one model or of every model, by name and number."""
        with self._store.transaction("models.read", PACKAGE) as transaction:
            return [_version(row) for row in transaction.all("models.versions", name=name)]

    def resolve(self, reference: str) -> ModelVersion:
        """The version that `name` (its champion), `name@ALIAS`, `name@3` or `name@sha256:…` means."""
        if not reference.isprintable():
            raise Misconfigured("a reference to a model is its name, or name@alias, name@version, name@sha256:…")
        name, _, selector = reference.partition("@")
        selector = selector or "champion"
        with self._store.transaction("models.read", PACKAGE) as transaction:
            if selector.startswith("sha256:"):
                row = transaction.one("models.by_digest", name=name, digest=selector)
            elif _VERSION.fullmatch(selector):
                row = transaction.one("models.by_version", name=name, version=int(selector))
            else:
                row = transaction.one("models.by_alias", name=name, alias=selector)
            if row is None:
                raise _unknown(transaction, name, selector)
            return _version(row)

    def fetch(self, digest: str, cache_directory: Path) -> Path:
        """The model file of a digest in the cache, written there where it is missing; its bytes are verified at each call."""
        return fetch_files(self._store, digest, cache_directory)


def _add(transaction: Transaction, inspection: Inspection, *, name: str, by: str, device: Device, fallback: bool) -> None:
    signature, facts = (Jsonb(part.model_dump(mode="json")) for part in (inspection.signature, inspection.facts))
    row = transaction.one(
        "models.add", name=name, digest=inspection.digest, signature=signature, facts=facts, device=device, fallback=fallback, by=by
    )
    if row and row["version"] == 1:
        transaction.run("models.set_alias", name=name, alias="champion", version=1, by=by)


def _recorded(transaction: Transaction, record: Record | None, row: Row | None) -> ModelVersion:
    if row is None:
        raise RuntimeError("a model version vanished inside the transaction that wrote it")
    version = _version(row)
    if record:
        record(Transaction(transaction.connection, "fieldline_core.store"), version)
    return version


def _version(row: Row) -> ModelVersion:
    return ModelVersion(
        row["name"], row["version"], row["digest"], Signature.model_validate(row["signature"]), row["device"], row["fallback"],
        Facts.model_validate(row["facts"]), tuple(row["aliases"]),
    )  # fmt: skip


def _check_choice(value: str, choices: Collection[str], kind: str) -> None:
    if value not in choices:
        raise Misconfigured(f"the {kind} {value[:80]!r} is unknown: use {' or '.join(choices)}")


def _unknown(transaction: Transaction, name: str, selector: str) -> Misconfigured:
    known = [_version(row) for row in transaction.all("models.versions", name=None)]
    versions = [version for version in known if version.name == name]
    if not versions:
        return Misconfigured(f"there is no model {name[:100]!r}{_near(name, {version.name for version in known})}")
    selectors = {choice for version in versions for choice in (str(version.version), *version.aliases)}
    return Misconfigured(f"the model {name} has no {selector[:80]!r}{_near(selector, selectors)}")


def _near(word: str, known: Collection[str]) -> str:
    if near := get_close_matches(word, known, n=1):
        return f": did you mean {near[0]!r}?"
    return f": there is {', '.join(sorted(known)[:10])}" if known else ": import one first"


__all__ = ["Alias", "Device", "ModelVersion", "Record", "Registry"]

"""The sequencer: what the outbox holds becomes entries of the log, in batches, each under a signed checkpoint."""

import json
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fieldline_core.errors import StoreUnavailable
from fieldline_core.events import record
from fieldline_core.keyring import Keyring
from fieldline_core.ledger import (
    Checkpoint,
    HashAt,
    SigningKey,
    Tile,
    VerifierKey,
    grown_tiles,
    hash_leaf,
    root_at,
    stored_hashes,
    write_note,
)
from fieldline_core.logs import log
from fieldline_core.pipeline.engine import Engine
from fieldline_core.store import TENANT, Row, Store, Transaction

MOST = 2000
"""Entries that are put into the log at a time."""
_TICK_S = 0.2
_COUNT_S = 60.0
_TENANT_NAME = "default"
ENTRY_VERSION = 1
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def open_log_key(store: Store, keyring: Keyring) -> SigningKey:
    """The key that signs the tenant's log, made when there is none."""
    with store.transaction("log.key") as tx:
        if not tx.all("log.keys"):
            # Two processes may start at once, and the first one's key stands: a statement of its own sees it after the wait.
            tx.one("log.lock")
            if not tx.all("log.keys"):
                make_log_key(tx, keyring, f"fieldline/{secrets.token_hex(6)}/{_TENANT_NAME}")
        return signing_keys(tx, keyring)[0]


def make_log_key(tx: Transaction, keyring: Keyring, name: str) -> SigningKey:
    """A new key of the log of this name, in force from now on."""
    seed = Ed25519PrivateKey.generate().private_bytes_raw()
    key = SigningKey(name, seed)
    tx.run("log.add_key", name=name, public=key.verifier.public, sealed=keyring.seal(seed, "log_key"))
    return key


def signing_keys(tx: Transaction, keyring: Keyring) -> list[SigningKey]:
    """The key that signs the log's checkpoints, and behind it those that still do beside it."""
    return [SigningKey(row["name"], keyring.open(bytes(row["sealed"]), "log_key")) for row in tx.all("log.signing_keys")]


def log_keys(tx: Transaction) -> list[VerifierKey]:
    """The public keys that have signed the log, the one in force first."""
    return [VerifierKey(row["name"], bytes(row["public_key"])) for row in tx.all("log.keys")]


def entry(row: Mapping[str, Any]) -> str:
    """The text of an event's entry: JSON with its keys sorted and no space, as it stands in the log for ever."""
    at = row["at"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    facts = {"v": ENTRY_VERSION, "tenant": _TENANT_NAME, "id": row["id"], "at": at, "event": row["event"], "actor": row["actor"],
             "detail": row["detail"]}  # fmt: skip
    return _CANONICAL.encode(facts)


def stored_log(tx: Transaction, size: int) -> HashAt:
    """The hashes of the log at a size, as the store has them."""

    return stored_hashes(size, partial(read_tile, tx))


def read_tile(tx: Transaction, tile: Tile) -> bytes:
    """The hashes of a tile as it is now."""
    row = tx.one("log.tile", level=tile.level, number=tile.index)
    return bytes(row["hashes"]) if row else b""


class Sequencer:
    """Puts what waits into the log until it is stopped; of several, one at a time does."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stopped = threading.Event()
        self._counted_at = time.monotonic()
        self._counts: list[Row] = []
        self._has_key = False

    def stop(self) -> None:
        """Ends `run` after the current round."""
        self._stopped.set()

    def run(self) -> None:
        """Sequences until stopped; comes back by itself after the database was away, and after what nobody foresaw."""
        while not self._stopped.is_set():
            wait_s = _TICK_S
            try:
                # A full round has left something behind it.
                wait_s = 0.0 if self.round() >= MOST else _TICK_S
            except StoreUnavailable:
                wait_s = 1.0
            except Exception as error:
                log().error("sequencer_round_failed", exc_info=error)
                wait_s = 1.0
            self._stopped.wait(wait_s)

    def round(self, *, wait: bool = False) -> int:
        """Puts what waits into the log, under one new checkpoint; returns how many entries.

        Where another process does so now there is nothing to do, unless it is to `wait` until that has ended.
        """
        store, keyring = self._engine.store, self._engine.keyring
        self._has_key = self._has_key or bool(open_log_key(store, keyring))
        with store.transaction("sequence") as tx:
            leads = tx.one("log.wait_to_lead" if wait else "log.lead")
            rows = tx.all("log.take", limit=MOST) if leads and leads["leads"] else []
            rows.sort(key=lambda row: int(row["id"]))
            if leads and leads["leads"] and time.monotonic() - self._counted_at >= _COUNT_S:
                rows += self._count(tx)
            if rows:
                # Looked up each time: the log's key may have been changed meanwhile.
                append(tx, rows, signing_keys(tx, keyring))
        return len(rows)

    def _count(self, tx: Transaction) -> list[Row]:
        """How much was taken in, as an event of its own, each minute in which that has changed.

        Counted after the others were taken, and put behind them: what they say was decided is among what is counted.
        """
        self._counted_at = time.monotonic()
        counts = tx.all("log.count_intake")
        if counts == self._counts:
            return []
        self._counts = counts
        flows = {row["flow"]: {"received": int(row["received"])} for row in counts}
        return tx.all("log.take_one", event=record(tx, "log.counted", "engine", {"flows": flows}))


def seal_all(engine: Engine) -> None:
    """Puts all that was committed before into the log, whoever's work that is."""
    sequencer = Sequencer(engine)
    while sequencer.round(wait=True):
        pass


def append(tx: Transaction, rows: list[Row], keys: Sequence[SigningKey]) -> int:
    """Puts events into the log behind a lock on it, under a checkpoint that these keys sign; returns the log's new size."""
    newest = tx.one("log.newest")
    size = int(newest["size"]) if newest else 0
    leaves = [entry(row) for row in rows]
    placed = enumerate(zip(rows, leaves, strict=True), size)
    tx.copy("log.add_entries", ((TENANT, at, row["id"], row["event"], row["actor"], row["at"], leaf) for at, (row, leaf) in placed))
    grown = list(grown_tiles(size, [hash_leaf(leaf.encode()) for leaf in leaves], partial(read_tile, tx)))
    tiles = [{"tenant": TENANT, "level": tile.level, "number": tile.index, "hashes": hashes} for tile, hashes in grown]
    tx.many("log.put_tile", tiles)
    size += len(rows)
    text = Checkpoint(keys[0].verifier.name, size, root_at(size, stored_log(tx, size))).text
    tx.run("log.add_checkpoint", size=size, note=write_note(text, [key.sign(text) for key in keys]))
    return size

"""The sequencer: what the outbox holds becomes entries of the log, in batches, each under a signed checkpoint."""

import json
import secrets
import threading
import time
from collections.abc import Mapping
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
    grown_tiles,
    hash_leaf,
    root_at,
    sign_checkpoint,
    stored_hashes,
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


def open_log_key(store: Store, keyring: Keyring) -> SigningKey:
    """The key that signs the tenant's log, made when there is none."""
    with store.transaction("log.key") as tx:
        row = tx.one("log.key")
        if row is None:
            # Two processes may start at once, and the first one's key stands: a statement of its own sees it after the wait.
            tx.one("log.lock")
            row = tx.one("log.key") or _make_key(tx, keyring)
    return SigningKey(row["name"], keyring.open(row["sealed"], "log_key"))


def _make_key(tx: Transaction, keyring: Keyring) -> Row:
    name, private = f"fieldline/{secrets.token_hex(6)}/{_TENANT_NAME}", Ed25519PrivateKey.generate()
    sealed = keyring.seal(private.private_bytes_raw(), "log_key")
    tx.run("log.add_key", name=name, public=private.public_key().public_bytes_raw(), sealed=sealed)
    return {"name": name, "sealed": sealed}


def entry(row: Mapping[str, Any]) -> str:
    """The text of an event's entry: JSON with its keys sorted and no space, as it stands in the log for ever."""
    at = row["at"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    facts = {"v": ENTRY_VERSION, "tenant": _TENANT_NAME, "id": row["id"], "at": at, "event": row["event"], "actor": row["actor"],
             "detail": row["detail"]}  # fmt: skip
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


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
        self._key: SigningKey | None = None

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
        store = self._engine.store
        self._key = self._key or open_log_key(store, self._engine.keyring)
        with store.transaction("sequence") as tx:
            leads = tx.one("log.wait_to_lead" if wait else "log.lead")
            rows = tx.all("log.take", limit=MOST) if leads and leads["leads"] else []
            rows.sort(key=lambda row: int(row["id"]))
            if leads and leads["leads"] and time.monotonic() - self._counted_at >= _COUNT_S:
                rows += self._count(tx)
            if rows:
                _append(tx, rows, self._key)
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


def _append(tx: Transaction, rows: list[Row], key: SigningKey) -> None:
    newest = tx.one("log.newest")
    size = int(newest["size"]) if newest else 0
    leaves = [entry(row) for row in rows]
    entries = [
        {"tenant": TENANT, "position": size + place, "leaf": leaf, **{name: row[name] for name in ("id", "event", "actor", "at")}}
        for place, (row, leaf) in enumerate(zip(rows, leaves, strict=True))
    ]
    tx.many("log.add_entry", entries)
    grown = list(grown_tiles(size, [hash_leaf(leaf.encode()) for leaf in leaves], partial(read_tile, tx)))
    tiles = [{"tenant": TENANT, "level": tile.level, "number": tile.index, "hashes": hashes} for tile, hashes in grown]
    tx.many("log.put_tile", tiles)
    size += len(rows)
    checkpoint = Checkpoint(key.verifier.name, size, root_at(size, stored_log(tx, size)))
    tx.run("log.add_checkpoint", size=size, note=sign_checkpoint(checkpoint, key))

"""Proofs from the log: that an entry is in it, that it only ever grew, and that a row is in the batch that an entry names."""

import base64
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from fieldline_core.errors import Misconfigured
from fieldline_core.evidence import Envelope
from fieldline_core.ledger import (
    Bundle,
    Checkpoint,
    NoteError,
    Tile,
    TileError,
    changed_bundles,
    changed_tiles,
    consistency_proof,
    encode_entries,
    inclusion_proof,
    open_checkpoint,
    parse_path,
)
from fieldline_core.pipeline.sequence import log_keys, read_tile, stored_log
from fieldline_core.store import Row, Transaction

_AT_ONCE = 1000


class SealedLog:
    """The log as its newest checkpoint has it; everything is proved against that one, however much is added meanwhile."""

    def __init__(self, tx: Transaction) -> None:
        """Raises Misconfigured where there is no log yet."""
        newest, self._keys = tx.one("log.newest"), log_keys(tx)
        if newest is None:
            raise Misconfigured("the log is empty yet: is the relay running ('fieldline up' or 'fieldline relay')?")
        self._tx = tx
        self.size = int(newest["size"])
        self.note = _cosigned(tx, newest)
        self.key = self._keys[0]
        self._hash_at = stored_log(tx, self.size)

    def position(self, event: int) -> int:
        """The place of an event's entry; raises Misconfigured where it is not in the log."""
        row = self._tx.one("log.entry_of", event=event)
        if row is None or int(row["position"]) >= self.size:
            raise Misconfigured(f"event {event} is not in the log yet: it waits for the sequencer, which runs in the relay")
        return int(row["position"])

    def entries(self, start: int, end: int) -> Iterator[dict[str, Any]]:
        """The entries of these places, each with its id and the proof that it is there."""
        while start < min(end, self.size):
            rows = self._tx.all("log.entries", start=start, end=min(end, self.size), limit=_AT_ONCE)
            for row in rows:
                yield self._proved(row)
            start = int(rows[-1]["position"]) + 1

    def consistency(self, note: bytes) -> dict[str, Any]:
        """An older checkpoint, and the proof that the log only grew since; raises Misconfigured where it is not this log's."""
        old = self._opened(note)
        if old.size > self.size:
            raise Misconfigured(f"the checkpoint is of {old.size:,} entries, and the log has {self.size:,}: it was cut off")
        return {"old": note.decode(), "proof": _texts(consistency_proof(old.size, self.size, self._hash_at))}

    def witnessed(self) -> bytes | None:
        """The newest checkpoint that a witness signed, with what it signed; None where there is none."""
        row = self._tx.one("witness.newest")
        return _cosigned(self._tx, row) if row else None

    def key_changes(self) -> Iterator[dict[str, Any]]:
        """For each change of the log's key, oldest first: its entry, the checkpoint that both keys signed, and the proofs."""
        for row in self._tx.all("log.key_changes", size=self.size):
            size, note = int(row["size"]), bytes(row["note"])
            proof = _texts(inclusion_proof(int(row["position"]), size, stored_log(self._tx, size)))
            yield {"leaf": _text(row["leaf"].encode()), "inclusion": proof, **self.consistency(note)}

    def keep(self) -> None:
        """Keeps the newest checkpoint for ever, because somebody is given it."""
        self._tx.run("log.keep_checkpoint", size=self.size)

    def file(self, path: str) -> bytes:
        """A tile or entry bundle of C2SP tlog-tiles, by its path; raises Misconfigured where there is none."""
        try:
            place = parse_path(path)
        except TileError as error:
            raise Misconfigured(str(error)) from None
        level, begins = (place.level, place.index * 256) if isinstance(place, Tile) else (0, place.index * 256)
        if begins + place.width > self.size >> 8 * level:
            raise Misconfigured(f"the log of {self.size:,} entries has no {path}")
        return self._bundle(place) if isinstance(place, Bundle) else read_tile(self._tx, place)[: 32 * place.width]

    def paths(self) -> Iterator[str]:
        """The paths of all tiles and entry bundles."""
        yield from (tile.path for tile in changed_tiles(0, self.size))
        yield from (bundle.path for bundle in changed_bundles(0, self.size))

    def _opened(self, note: bytes) -> Checkpoint:
        for key in self._keys[1:]:
            with suppress(NoteError):
                return open_checkpoint(note, key).checkpoint
        return open_checkpoint(note, self.key).checkpoint

    def _bundle(self, bundle: Bundle) -> bytes:
        begins = bundle.index * 256
        rows = self._tx.all("log.entries", start=begins, end=begins + bundle.width, limit=bundle.width)
        return encode_entries(row["leaf"].encode() for row in rows)

    def _proved(self, row: Row) -> dict[str, Any]:
        index = int(row["position"])
        proof = inclusion_proof(index, self.size, self._hash_at)
        return {"index": index, "leaf": _text(row["leaf"].encode()), "proof": _texts(proof)}


def _cosigned(tx: Transaction, checkpoint: Row) -> bytes:
    """The note of a checkpoint, and below it what witnesses signed."""
    lines = "".join(row["lines"] for row in tx.all("witness.lines_under", size=checkpoint["size"]))
    return bytes(checkpoint["note"]) + lines.encode()


def whole_batch(envelope: Envelope) -> Iterator[dict[str, Any]]:
    """All leaves of a batch, in order: its header and its rows, erased ones as commitments."""
    for leaf, line in enumerate(envelope.lines()):
        yield _leaf(envelope, leaf, line)


def part_of_batch(envelope: Envelope, leaves: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Some leaves of a batch, each with the proof that it is in it."""
    proof = partial(inclusion_proof, size=1 + envelope.frame.height, hash_at=envelope.hashes())
    for leaf in leaves:
        yield {"row": leaf, **_leaf(envelope, leaf, envelope.line(leaf)), "proof": _texts(proof(leaf))}


def _leaf(envelope: Envelope, leaf: int, line: bytes) -> dict[str, Any]:
    if leaf in envelope.erased:
        return {"commitment": _text(envelope.erased[leaf])}
    return {"salt": _text(envelope.salt(leaf)), "line": line.decode()}


def detail_of(proved: dict[str, Any]) -> dict[str, Any]:
    """What a proved entry says."""
    found: dict[str, Any] = json.loads(base64.b64decode(proved["leaf"]))
    return found


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _texts(hashes: Iterable[bytes]) -> list[str]:
    return [_text(each) for each in hashes]

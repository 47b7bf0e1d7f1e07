"""Evidence: what is known of a batch, sealed under a key of its own in one place, with the root that the log will hold.

Readers for every version ever written stay.
"""

import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, Self, TypeAlias

import polars as pl
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fieldline_core.batch import frame_bytes, frame_from_bytes
from fieldline_core.errors import Misconfigured
from fieldline_core.keyring import Keyring
from fieldline_core.ledger import HEIGHT, WIDTH, HashAt, hashes_of, root_of
from fieldline_core.lines import SALT_BYTES, VERSION, header_line, leaf_hashes, row_lines
from fieldline_core.store import Row, Transaction
from fieldline_core.zones import Zone, open_zone

SCHEMA = 1
Kind: TypeAlias = Literal["decisions", "receipts"]
_KEY_BYTES, _NONCE_BYTES = 32, 12


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the evidence of a batch holds: facts about the batch, and a frame with a row for each record.

    `salts` are those of the header and of each row, 16 bytes each. An erased row is null in the frame, and its commitment
    stands in `erased` by its place among the leaves: the header is leaf 0, the first row leaf 1. `blocks` are the roots over each
    256 leaves, once it is sealed: with them the proof of a row needs no other lines than those of its block.
    """

    header: Mapping[str, Any]
    frame: pl.DataFrame
    salts: bytes
    erased: Mapping[int, bytes] = field(default_factory=dict)
    blocks: Sequence[bytes] = ()

    @classmethod
    def of(cls, header: Mapping[str, Any], frame: pl.DataFrame) -> Self:
        """A new envelope, with fresh salts."""
        # As it will be read back: what a connector said may hold keys and letters that JSON changes.
        text = json.dumps({"lines": VERSION, **header}, ensure_ascii=False).encode(errors="replace")
        return cls(json.loads(text), frame, os.urandom(SALT_BYTES * (1 + frame.height)))

    def line(self, leaf: int) -> bytes:
        """The line of one leaf."""
        return header_line(self.header) if leaf == 0 else row_lines(self.frame.slice(leaf - 1, 1))[0]

    def lines(self) -> list[bytes]:
        """The line of each leaf."""
        return [header_line(self.header), *row_lines(self.frame)]

    def salt(self, leaf: int) -> bytes:
        """The salt of one leaf."""
        return self.salts[SALT_BYTES * leaf : SALT_BYTES * (leaf + 1)]

    def commitments(self, start: int = 0, end: int | None = None) -> list[bytes]:
        """The commitment of each leaf from `start` to before `end`, those of erased rows as they were kept."""
        end = 1 + self.frame.height if end is None else end
        lines = [] if start else [header_line(self.header)]
        lines += row_lines(self.frame.slice(max(start, 1) - 1, end - max(start, 1)))
        hashes = leaf_hashes(self.salts[SALT_BYTES * start : SALT_BYTES * end], lines)
        for leaf, kept in self.erased.items():
            if start <= leaf < end:
                hashes[leaf - start] = kept
        return hashes

    def hashes(self) -> HashAt:
        """The hashes of the tree over the commitments, from those blocks alone that are asked for."""
        size, top = 1 + self.frame.height, hashes_of(self.blocks)
        block = lru_cache(maxsize=2)(lambda number: hashes_of(self.commitments(number * WIDTH, min(size, (number + 1) * WIDTH))))

        def hash_at(level: int, index: int) -> bytes:
            if level >= HEIGHT:
                return top(level - HEIGHT, index)
            number, inside = divmod(index << level, WIDTH)
            return block(number)(level, inside >> level)

        return hash_at

    def without(self, leaf: int) -> Self:
        """The envelope without a row: its values and its salt are gone, its commitment stays."""
        (commitment,) = leaf_hashes(self.salt(leaf), [self.line(leaf)])
        # Put together anew: what is only masked as null stays in the buffers beneath the mask, and would be stored with them.
        frame = pl.concat([self.frame.slice(0, leaf - 1), self.frame.clear(1), self.frame.slice(leaf)], rechunk=True)
        salts = self.salts[: SALT_BYTES * leaf] + bytes(SALT_BYTES) + self.salts[SALT_BYTES * (leaf + 1) :]
        return replace(self, frame=frame, salts=salts, erased={**self.erased, leaf: commitment})

    def to_bytes(self) -> bytes:
        """Length and JSON of the facts, the salts, then the frame as an Arrow IPC stream."""
        erased = {str(leaf): commitment.hex() for leaf, commitment in self.erased.items()}
        facts = {"schema": SCHEMA, "header": self.header, "salts": len(self.salts), "erased": erased,
                 "blocks": [block.hex() for block in self.blocks]}  # fmt: skip
        text = json.dumps(facts, separators=(",", ":")).encode()
        return struct.pack(">I", len(text)) + text + self.salts + frame_bytes(self.frame)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The envelope written by `to_bytes` of any version."""
        (length,) = struct.unpack(">I", data[:4])
        facts = json.loads(data[4 : 4 + length])
        if facts["schema"] != SCHEMA:
            raise ValueError(f"evidence of schema {facts['schema']} needs a newer Fieldline")
        end = 4 + length + facts["salts"]
        erased = {int(leaf): bytes.fromhex(commitment) for leaf, commitment in facts["erased"].items()}
        blocks = [bytes.fromhex(block) for block in facts["blocks"]]
        return cls(facts["header"], frame_from_bytes(data[end:]), data[4 + length : end], erased, blocks)


@dataclass(frozen=True, slots=True)
class Sealed:
    """The evidence of a batch as it is stored: encrypted under `key`, which itself is wrapped, and the root over its lines."""

    kind: Kind
    rows: int
    body: bytes
    key: bytes
    root: bytes
    zone: bytes
    """What the rows hold at all, sealed under the same key."""

    @property
    def batch(self) -> dict[str, Any]:
        """What the log's entry says of it."""
        return {"root": self.root.hex(), "size": self.rows + 1}


def seal(keyring: Keyring, kind: Kind, envelope: Envelope) -> Sealed:
    """Seals the evidence of a batch under a new key of its own; made before the transaction that stores it, so that it is short."""
    commitments = envelope.commitments()
    blocks = [root_of(commitments[start : start + WIDTH]) for start in range(0, len(commitments), WIDTH)]
    key, nonce = os.urandom(_KEY_BYTES), os.urandom(_NONCE_BYTES)
    cipher = AESGCM(key)
    body = nonce + cipher.encrypt(nonce, replace(envelope, blocks=blocks).to_bytes(), _use(kind))
    zone = Zone.of(envelope.frame).seal(cipher)
    return Sealed(kind, envelope.frame.height, body, keyring.seal(key, "batch_key"), root_of(blocks), zone)


def store(tx: Transaction, sealed: Sealed, release_id: int, event_id: int, chunk_id: int, effect_id: int | None = None) -> None:
    """Stores sealed evidence in the transaction that decides or receives, its key apart from it, beside its event."""
    tx.run("evidence.add", kind=sealed.kind, event=event_id, chunk=chunk_id, effect=effect_id, release=release_id, rows=sealed.rows,
           zone=sealed.zone, body=sealed.body, wrapped=sealed.key)  # fmt: skip


def put_back(tx: Transaction, id: int, sealed: Sealed) -> None:
    """Stores evidence that was sealed anew in the place of the old one, whose key is gone with it."""
    tx.run("evidence.put_back", id=id, zone=sealed.zone, body=sealed.body, wrapped=sealed.key)


def unseal(keyring: Keyring, stored: Row) -> Envelope:
    """The envelope of stored evidence: `kind`, `body` and `wrapped` of its row."""
    if stored["wrapped"] is None:
        raise Misconfigured("the key of stored evidence is not in the table batch_key: restore the newest backup of the keys")
    key, body = keyring.open(stored["wrapped"], "batch_key"), stored["body"]
    try:
        content = AESGCM(key).decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], _use(stored["kind"]))
    except (InvalidTag, ValueError):
        raise Misconfigured("stored evidence cannot be decrypted: it was changed, or its key is that of another batch") from None
    return Envelope.from_bytes(content)


def zone_of(keyring: Keyring, stored: Row) -> Zone | None:
    """What the stored evidence holds at all, by `zone` and `wrapped` of its row; None where that is not known."""
    if stored["zone"] is None or stored["wrapped"] is None:
        return None
    return open_zone(keyring.open(stored["wrapped"], "batch_key"), stored["zone"])


def _use(kind: str) -> bytes:
    return f"evidence:{kind}".encode()

"""Evidence: an envelope with a header and a frame, sealed in one place, and readers for every version ever written."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from fieldline_core.batch import frame_bytes, frame_from_bytes
from fieldline_core.keyring import Keyring
from fieldline_core.store import Transaction

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the evidence of a batch holds: facts about the batch, and a frame with a row for each record."""

    header: Mapping[str, Any]
    frame: pl.DataFrame

    def to_bytes(self) -> bytes:
        """Length and JSON of the header, then the frame as an Arrow IPC stream."""
        header = json.dumps({"schema": SCHEMA, **self.header}, separators=(",", ":")).encode()
        return struct.pack(">I", len(header)) + header + frame_bytes(self.frame)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Envelope":
        """The envelope written by `to_bytes` of any version."""
        (length,) = struct.unpack(">I", data[:4])
        header = json.loads(data[4 : 4 + length])
        if header["schema"] != SCHEMA:
            raise ValueError(f"evidence of schema {header['schema']} needs a newer Fieldline")
        return cls(header, frame_from_bytes(data[4 + length :]))


def seal(
    tx: Transaction, keyring: Keyring, kind: str, chunk_id: int, envelope: bytes, rows: int, effect_id: int | None = None
) -> int:
    """Stores a batch's evidence, encrypted, in the transaction that decides or receives; the one place that seals."""
    body = keyring.seal(envelope, f"evidence:{kind}")
    row = tx.one("evidence.add", kind=kind, chunk=chunk_id, effect=effect_id, rows=rows, body=body)
    assert row is not None
    return int(row["id"])


def unseal(keyring: Keyring, kind: str, body: bytes) -> Envelope:
    """The envelope of stored evidence."""
    return Envelope.from_bytes(keyring.open(body, f"evidence:{kind}"))

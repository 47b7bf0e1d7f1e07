"""The index of decisions: appended by binary COPY, one row for each record."""

import struct

import numpy as np

from fieldline_core.store.database import TENANT, Transaction

_COLUMNS = (
    ("tenant_id", ">i4"), ("key_hash", "V16"), ("seq", ">i8"), ("chunk_id", ">i8"),
    ("flow_id", ">i4"), ("release_id", ">i4"), ("row_no", ">i4"), ("source_digest", ">i8"),
)  # fmt: skip
_HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">II", 0, 0)
_TRAILER = struct.pack(">h", -1)


def _row_type() -> np.dtype[np.void]:
    """One tuple of PostgreSQL's binary COPY format: the number of fields, then length and bytes of each."""
    parts: list[tuple[str, str]] = [("fields", ">i2")]
    for name, kind in _COLUMNS:
        parts += [(f"{name}_length", ">i4"), (name, kind)]
    return np.dtype(parts)


_ROW = _row_type()


def uuid_array(hashes: bytes) -> str:
    """Hashes of 16 bytes each, as PostgreSQL's text of an array of uuids."""
    digits = hashes.hex()
    return "{" + ",".join([digits[i : i + 32] for i in range(0, len(digits), 32)]) + "}"


def append_decisions(tx: Transaction, *, hashes: bytes, source_digests: "np.ndarray[tuple[int], np.dtype[np.int64]]", seq: int,
                     chunk_id: int, flow_id: int, release_id: int) -> None:  # fmt: skip
    """Appends one index row for each record; `hashes` holds 16 bytes a record, `source_digests` is int64 [n]."""
    rows = np.zeros(len(source_digests), dtype=_ROW)
    rows["fields"] = len(_COLUMNS)
    for name, kind in _COLUMNS:
        rows[f"{name}_length"] = np.dtype(kind).itemsize
    values = {"tenant_id": TENANT, "seq": seq, "chunk_id": chunk_id, "flow_id": flow_id, "release_id": release_id}
    for name, value in values.items():
        rows[name] = value
    rows["key_hash"] = np.frombuffer(hashes, dtype="V16")
    rows["row_no"] = np.arange(len(rows))
    rows["source_digest"] = source_digests
    columns = ", ".join(name for name, _ in _COLUMNS)
    with tx.connection.cursor().copy(f"COPY decision ({columns}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
        copy.write(_HEADER + rows.tobytes() + _TRAILER)

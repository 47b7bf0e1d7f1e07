"""A second writer of evidence, straight from the RFCs and as slow as they are: what the verifier is tested with."""

import base64
import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ORIGIN = "fieldline.example/log/default"


def sha(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def b64(data: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(data).decode()


def canonical(value: Mapping[str, Any]) -> bytes:
    """JSON with sorted names and no spaces."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1


def mth(leaf_hashes: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, over leaves that are hashed already."""
    n = len(leaf_hashes)
    if n == 0:
        return sha(b"")
    if n == 1:
        return leaf_hashes[0]
    k = split(n)
    return sha(b"\x01" + mth(leaf_hashes[:k]) + mth(leaf_hashes[k:]))


def path(m: int, leaf_hashes: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n]) of RFC 6962, 2.1.1."""
    n = len(leaf_hashes)
    if n == 1:
        return []
    k = split(n)
    if m < k:
        return [*path(m, leaf_hashes[:k]), mth(leaf_hashes[k:])]
    return [*path(m - k, leaf_hashes[k:]), mth(leaf_hashes[:k])]


def subproof(m: int, leaf_hashes: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """PROOF(m, D[n]) of RFC 6962, 2.1.2."""
    n = len(leaf_hashes)
    if m == n:
        return [] if whole else [mth(leaf_hashes)]
    k = split(n)
    if m <= k:
        return [*subproof(m, leaf_hashes[:k], whole), mth(leaf_hashes[k:])]
    return [*subproof(m - k, leaf_hashes[k:], False), mth(leaf_hashes[:k])]


def leaves(data: Sequence[bytes]) -> list[bytes]:
    """The leaf hashes of leaf data."""
    return [sha(b"\x00" + each) for each in data]


class Signer:
    """A key with a name, always the same for the same name; `kind` 1 signs for a log, 4 for a witness."""

    def __init__(self, name: str, kind: int = 1, seed: bytes = b"") -> None:
        self.name, self.kind = name, kind
        self.secret = Ed25519PrivateKey.from_private_bytes(sha(name.encode() + seed))
        public = bytes([kind]) + self.secret.public_key().public_bytes_raw()
        self.id = sha(name.encode() + b"\n" + public)[:4]
        self.vkey = f"{name}+{self.id.hex()}+{b64(public)}"

    def line(self, text: str, seconds: int = 1_795_000_000) -> str:
        """The signature line under a note's text."""
        if self.kind == 4:
            message = f"cosignature/v1\ntime {seconds}\n{text}".encode()
            signature = seconds.to_bytes(8, "big") + self.secret.sign(message)
        else:
            signature = self.secret.sign(text.encode())
        return f"— {self.name} {b64(self.id + signature)}\n"


KEY = Signer(ORIGIN)
WITNESSES = [Signer(f"witness.example/{name}", kind=4) for name in ("one", "two", "three")]


def checkpoint(entries: Sequence[bytes], size: int | None = None, signers: Sequence[Signer] = (KEY,)) -> bytes:
    """The signed checkpoint of the first `size` entries."""
    size = len(entries) if size is None else size
    text = f"{ORIGIN}\n{size}\n{b64(mth(leaves(entries[:size])))}\n"
    return (text + "\n" + "".join(signer.line(text) for signer in signers)).encode()


def entry(number: int, event: str = "flow.paused", **detail: Any) -> bytes:
    """An entry of the log."""
    at = f"2026-11-21T{16 + number // 3600 % 8:02}:{number // 60 % 60:02}:{number % 60:02}.000000Z"
    return canonical({"actor": "engine", "at": at, "detail": detail, "event": event, "id": number, "tenant": "default", "v": 1})


@dataclass
class Rows:
    """A batch: a header and rows, each with its salt."""

    lines: list[str]
    salts: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.salts = self.salts or [sha(f"salt {i}".encode())[:16] for i in range(len(self.lines))]
        self.leaves = leaves([salt + line.encode() for salt, line in zip(self.salts, self.lines, strict=True)])

    @property
    def detail(self) -> dict[str, Any]:
        """What an entry says of it."""
        return {"root": mth(self.leaves).hex(), "size": len(self.leaves)}

    def items(self, erased: Sequence[int] = ()) -> list[dict[str, Any]]:
        """The lines of the batch's file."""
        return [
            {"commitment": b64(leaf)} if i in erased else {"salt": b64(salt), "line": line}
            for i, (leaf, salt, line) in enumerate(zip(self.leaves, self.salts, self.lines, strict=True))
        ]

    def part(self, rows: Sequence[int], erased: Sequence[int] = ()) -> list[dict[str, Any]]:
        """Some lines of the batch, each with a proof."""
        items = self.items(erased)
        return [{**items[row], "row": row, "proof": [b64(each) for each in path(row, self.leaves)]} for row in rows]


def rows(first: int, count: int) -> Rows:
    """A batch of decisions."""
    header = {"flow": "renewals", "model": "m:3"}
    made = [{"key": f"r{first + i}", "outputs": {"score": i / 8}, "fields": {"grade": "A"}} for i in range(count)]
    return Rows([canonical(each).decode() for each in [header, *made]])


def decisions(number: int, batch: Rows, start: int | None = None, flow: str = "renewals") -> bytes:
    """An entry with a batch of decisions, of records from `start` on; None for a replay."""
    rows = len(batch.leaves) - 1
    intake = {} if start is None else {"intake": {"from": start, "rows": rows}}
    return entry(number, "decisions.recorded", batch=batch.detail, flow=flow, scored=rows, held=0, skipped=0, **intake)


def jsonl(items: Sequence[Mapping[str, Any]]) -> bytes:
    """One JSON object a line."""
    return b"".join(canonical(item) + b"\n" for item in items)


Stored = dict[str, bytes]


def tile_name(level: str | int, number: int, width: int = 256) -> str:
    """The path of a tile in C2SP tlog-tiles."""
    digits = f"{number:03}"
    digits = "0" * (-len(digits) % 3) + digits
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return f"tile/{level}/" + "/".join(["x" + each for each in groups[:-1]] + groups[-1:]) + (f".p/{width}" if width < 256 else "")


def stored_log(entries: Sequence[bytes], signers: Sequence[Signer] = (KEY,), earlier: Sequence[int] = ()) -> Stored:
    """A whole log in the layout of tlog-tiles; with the partial tiles of `earlier` sizes, as a server leaves them behind."""
    hashes = leaves(entries)
    files = {"checkpoint": checkpoint(entries, signers=signers)}
    for size in {*earlier, len(entries)}:
        level, row = 0, hashes[:size]
        while row:
            for number in range(-(-len(row) // 256)):
                tile = row[number * 256 : number * 256 + 256]
                files[tile_name(level, number, len(tile))] = b"".join(tile)
                if level == 0:
                    bundle = entries[:size][number * 256 : number * 256 + 256]
                    files[tile_name("entries", number, len(tile))] = b"".join(len(e).to_bytes(2, "big") + e for e in bundle)
            row = [mth(row[i : i + 256]) for i in range(0, len(row) - 255, 256)]
            level += 1
    return files


def bundle(
    entries: Sequence[bytes],
    chosen: Sequence[int],
    batches: Mapping[int, Sequence[Mapping[str, Any]]] | None = None,
    older: Sequence[int] = (),
    signers: Sequence[Signer] = (KEY,),
    key: Signer = KEY,
) -> Stored:
    """The files of a bundle with some entries, batches, and proofs from older checkpoints."""
    hashes = leaves(entries)
    about = {
        "format": "fieldline-evidence/1",
        "origin": ORIGIN,
        "vkey": key.vkey,
        "made_at": "2026-11-21T17:00:00Z",
        "made_by": "audit",
    }
    proven = [{"index": i, "leaf": b64(entries[i]), "proof": [b64(each) for each in path(i, hashes)]} for i in chosen]
    files = {
        "bundle.json": canonical({**about, "made_by": "audit", "about": {}}),
        "checkpoint": checkpoint(entries, signers=signers),
        "entries.jsonl": jsonl(proven),
        **{f"batches/{index}.jsonl": jsonl(items) for index, items in (batches or {}).items()},
    }
    if older:
        proofs = [(checkpoint(entries, size, signers).decode(), subproof(size, hashes) if size else []) for size in older]
        files["consistency.jsonl"] = jsonl([{"old": note, "proof": [b64(each) for each in proof]} for note, proof in proofs])
    return files


def write_folder(folder: Path, files: Stored) -> Path:
    """The files in a folder."""
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder


def write_zip(target: Path, files: Stored, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """The files in a zip."""
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target


def sample_log(count: int) -> list[bytes]:
    """A log of decisions of two flows, buried chunks, heartbeats and other events."""
    entries: list[bytes] = []
    taken = {"renewals": 0, "claims": 0}
    for number in range(count):
        flow = "claims" if number % 3 else "renewals"
        if number % 5 < 2:
            entries.append(decisions(number * 2, rows(number, 1 + number % 4), taken[flow], flow))
            taken[flow] += 1 + number % 4
        elif number % 5 == 2:
            entries.append(entry(number * 2, "chunk.buried", flow=flow, intake={"from": taken[flow], "rows": 2}))
            taken[flow] += 2
        elif number % 5 == 3:
            entries.append(entry(number * 2, "log.counted", flows={flow: {"received": n + 1} for flow, n in taken.items()}))
        else:
            entries.append(entry(number * 2, "key.made", name=f"key {number}"))
    return entries

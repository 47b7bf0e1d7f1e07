#!/usr/bin/env python3
"""fieldline-verify: checks Fieldline's evidence on a machine without Fieldline.

One file, to be read before it is trusted. It needs Python 3.9 and the package `cryptography`, and nothing of Fieldline:

    python fieldline_verify.py evidence.zip --key 'fieldline.example/log/default+1a2b3c4d+AbCd...' --seen last-year.checkpoint

It ends with 0 where all that it checked holds, 1 where something does not hold, 2 where the evidence cannot be read.
It writes no file, unpacks nothing and opens no connection; whatever comes from the evidence is bounded before it is used.

Merkle trees and their proofs are those of RFC 6962 and RFC 9162; the stored log, its signed checkpoints and its witnesses
are those of https://c2sp.org: tlog-tiles, signed-note, tlog-checkpoint, tlog-cosignature.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import hashlib
import io
import json
import os
import re
import stat
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["Report", "Unreadable", "main", "verify"]

LOG_KEY, WITNESS_KEY, TILE = 0x01, 0x04, 256
MAX_FILES, MAX_UNPACKED, MAX_ZIP_DIRECTORY, MAX_ZIP_RATIO = 1_000_000, 256 << 30, 20 << 20, 200
MAX_LINE, MAX_NOTE, MAX_PROOF = 4 << 20, 1 << 20, 64
MAX_PROBLEMS, MAX_SHOWN_ROWS, MAX_SHOWN_TEXT = 50, 20, 500

READ_ERRORS = (OSError, EOFError, ValueError, OverflowError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error)


class Unreadable(Exception):
    """The evidence, or what was given to check it with, cannot be read at all."""


# == 1. Hashes and trees =============================================================================================


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A Merkle tree that grows leaf by leaf and keeps only the roots of its complete subtrees, the largest first."""

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.size = 0
        self.peaks: list[bytes] = []
        for leaf in leaves:
            self.append(leaf)

    def append(self, leaf: bytes) -> None:
        """Adds the hash of a leaf."""
        size, peaks = self.size, self.peaks
        while size & 1:
            leaf = node_hash(peaks.pop(), leaf)
            size >>= 1
        peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root of the leaves so far."""
        root = self.peaks[-1] if self.peaks else hashlib.sha256(b"").digest()
        for peak in self.peaks[-2::-1]:
            root = node_hash(peak, root)
        return root


def climb(index: int, last: int, start: bytes, proof: list[bytes]) -> tuple[bytes, bytes] | None:
    """The roots to which a proof leads from a node: of all leaves up to it, and of the whole tree; None where it does not fit."""
    old = new = start
    for step in proof:
        if last == 0:
            return None
        if index & 1 or index == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            new = node_hash(new, step)
        index, last = index >> 1, last >> 1
    return (old, new) if last == 0 else None


def is_included(leaf: bytes, index: int, size: int, root: bytes, proof: list[bytes]) -> bool:
    """Whether the proof leads from the leaf hash at `index` to the root of `size` leaves (RFC 9162, 2.1.3.2)."""
    roots = climb(index, size - 1, leaf, proof) if 0 <= index < size else None
    return roots is not None and roots[1] == root


def is_consistent(old_size: int, old_root: bytes, size: int, root: bytes, proof: list[bytes]) -> bool:
    """Whether the proof shows the tree to be the old one with leaves added (RFC 9162, 2.1.4.2)."""
    if old_size in (0, size):
        return not proof and old_root == (root if old_size else Tree().root())
    if old_size & (old_size - 1) == 0:
        proof = [old_root, *proof]
    index, last = old_size - 1, size - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    return old_size < size and bool(proof) and climb(index, last, proof[0], proof[1:]) == (old_root, root)


# == 2. Texts, keys and signed notes; what is wrong with them is raised as ValueError ================================


def plain(value: object, limit: int = MAX_SHOWN_TEXT) -> str:
    """A text of the evidence as it may be printed: nothing in it can steer a terminal."""
    text = str(value)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text[:limit])
    return shown + (f"... ({len(text):,} characters)" if len(text) > limit else "")


def many(count: int, one: str, more: str = "") -> str:
    """A count and its noun."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def natural(value: Any, what: str) -> int:
    """A whole number from 0 to 2^63 - 1."""
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{what} must be a whole number, 0 or more")
    return value


def from_base64(text: Any, size: int | None = None) -> bytes:
    """The bytes of a standard base64 text; one content has one spelling only."""
    data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    if base64.b64encode(data).decode() != text or size not in (None, len(data)):
        raise ValueError("base64 is expected" + (f" of {size} bytes" if size else ""))
    return data


def proof_of(texts: Any) -> list[bytes]:
    """The hashes of a proof."""
    if not isinstance(texts, list) or len(texts) > MAX_PROOF:
        raise ValueError(f"a proof of at most {MAX_PROOF} hashes is expected")
    return [from_base64(text, 32) for text in texts]


def _names_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name comes twice in one JSON object")
    return value


def _refuse(number: str) -> NoReturn:
    raise ValueError(f"the number {plain(number, 20)} is not allowed here")


LINES = json.JSONDecoder(object_pairs_hook=_names_once, parse_constant=_refuse)
ENTRIES = json.JSONDecoder(object_pairs_hook=_names_once, parse_constant=_refuse, parse_float=_refuse)


def json_object(text: bytes, decoder: json.JSONDecoder = LINES) -> dict[str, Any]:
    """The object of a JSON text; refuses what two readers could read differently."""
    try:
        value = decoder.decode(text.decode())
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("a JSON object is expected")
    return value


class Key(NamedTuple):
    """A public Ed25519 key of a log or a witness."""

    text: str
    name: str
    kind: int
    public: bytes
    fingerprint: str
    """SHA-256 of name, kind and public key; signatures name the key by its first 4 bytes."""

    @classmethod
    def parse(cls, text: str, kind: int) -> Key:
        """The key of a vkey text: name+id+base64(kind || public key)."""
        name, _, rest = text.strip().partition("+")
        number, _, material = rest.partition("+")
        data = from_base64(material, 33)
        if not re.fullmatch(r"[^\s+]+", name) or not name.isprintable() or data[0] != kind:
            raise ValueError(f"a vkey of type {kind:#04x} is expected: {'a log' if kind == LOG_KEY else 'a witness'} has it")
        fingerprint = hashlib.sha256(name.encode() + b"\n" + data).hexdigest()
        if number != fingerprint[:8]:
            raise ValueError(f"the key's id is {fingerprint[:8]}, not {plain(number, 20)}: it was mistyped or changed")
        return cls(text.strip(), name, kind, data[1:], fingerprint)

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        """Whether the signature of the message is this key's."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class Checkpoint(NamedTuple):
    """A signed note that says: the log `origin` has `size` entries and this root."""

    origin: str
    size: int
    root: bytes
    text: bytes
    signatures: list[tuple[str, bytes]]
    """The names, and what each line holds after its name: the first 4 bytes of a fingerprint, and a signature."""

    @classmethod
    def parse(cls, note: bytes) -> Checkpoint:
        """The checkpoint of a note."""
        text, _, tail = note.decode().rpartition("\n\n")
        if re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text) or not re.fullmatch(r"(— [^\s+]+ [A-Za-z0-9+/=]+\n){1,100}", tail):
            raise ValueError("a signed note is a text without control characters, a blank line and lines '— name signature'")
        body = text.split("\n")
        if len(body) < 3 or "" in body or not re.fullmatch("0|[1-9][0-9]{0,18}", body[1]):
            raise ValueError("a checkpoint's lines are its origin, its size and its root")
        signatures = [(name, from_base64(data)) for _, name, data in (line.split(" ") for line in tail.split("\n")[:-1])]
        return cls(body[0], natural(int(body[1]), "the size"), from_base64(body[2], 32), text.encode() + b"\n", signatures)

    def signed_at(self, key: Key) -> int | None:
        """When the key signed this, or None; a witness says when, a log's key does not, which is 0 here."""
        for name, data in self.signatures:
            if name == key.name and data[:4].hex() == key.fingerprint[:8]:
                stamp, signature = (b"", data[4:]) if key.kind == LOG_KEY else (data[4:12], data[12:])
                seconds = int.from_bytes(stamp, "big")
                if key.has_signed((b"cosignature/v1\ntime %d\n" % seconds if stamp else b"") + self.text, signature):
                    return seconds
        return None


# == 3. Files ========================================================================================================


class Files:
    """The files of the evidence by name; nothing else on the machine can be reached through it."""

    def __init__(self, names: Iterable[str], opener: Callable[[str], Any]) -> None:
        self.names = frozenset(names)
        self.opened: set[str] = set()
        self._opener = opener

    def open(self, name: str) -> io.BufferedReader:
        """The file, to be read from its beginning."""
        if name not in self.names:
            raise ValueError("it is not there")
        self.opened.add(name)
        return io.BufferedReader(self._opener(name), 128 << 10)

    def read(self, name: str, limit: int) -> bytes:
        """A whole small file; raises ValueError where it cannot be read."""
        try:
            with self.open(name) as file:
                data = file.read(limit + 1)
        except READ_ERRORS as error:
            raise ValueError(f"cannot be read: {error}") from None
        if len(data) > limit:
            raise ValueError(f"is larger than {limit:,} bytes")
        return data


@contextmanager
def files_of(path: str) -> Iterator[Files]:
    """The files of a folder or of a zip."""
    with ExitStack() as stack:
        try:
            mode = os.stat(path).st_mode
            if stat.S_ISDIR(mode):
                files = Files(_walk(path), lambda name: io.FileIO(os.path.join(path, name)))
            elif stat.S_ISREG(mode):
                raw = stack.enter_context(_ZipFile(path))
                files = _zip_files(stack.enter_context(zipfile.ZipFile(raw)))
            else:
                raise Unreadable("it is neither a zip nor a folder")
        except READ_ERRORS as error:
            raise Unreadable(f"it is no folder and no zip that can be read: {error}") from None
        yield files


def _walk(path: str, folder: str = "") -> list[str]:
    names: list[str] = []
    with os.scandir(os.path.join(path, folder)) as entries:
        for entry in entries:
            name = folder + entry.name
            if entry.is_dir(follow_symlinks=False):
                names += _walk(path, name + "/")
            elif entry.is_file(follow_symlinks=False):
                names.append(name)
            else:
                raise Unreadable(f"{name} is a link or a device; evidence is made of files and folders only")
            if len(names) > MAX_FILES:
                raise Unreadable(f"it has more than {MAX_FILES:,} files")
    return names


class _ZipFile(io.FileIO):
    """A zip on disk; a directory in it that would fill the memory is not read."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_ZIP_DIRECTORY:
            raise zipfile.BadZipFile("its directory is too large")
        return super().read(-1 if size is None else size) or b""


def _zip_files(archive: zipfile.ZipFile) -> Files:
    infos: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.orig_filename
        if name in infos or name != info.filename or re.search(r"[\\:]|(^|/)(\.{0,2}/|\.{1,2}$)", name):
            raise Unreadable(f"the zip holds a name twice, or one that leads out of it: {name}")
        if stat.S_ISLNK(info.external_attr >> 16) or info.flag_bits & 1 or info.compress_type not in (0, zipfile.ZIP_DEFLATED):
            raise Unreadable(f"in the zip, {name} is a link, encrypted, or packed by another method than deflate")
        if info.file_size > 1 << 20 and info.file_size > MAX_ZIP_RATIO * info.compress_size:
            raise Unreadable(f"in the zip, {name} would unpack to more than {MAX_ZIP_RATIO} times its packed size")
        infos[name] = info
    if sum(info.file_size for info in infos.values()) > MAX_UNPACKED:
        raise Unreadable(f"the zip would unpack to more than {MAX_UNPACKED >> 30} GiB")
    return Files((name for name in infos if not name.endswith("/")), lambda name: archive.open(infos[name]))


# == 4. Entries: what each one says, and what they say together =======================================================

ENTRY = {"actor": str, "at": str, "detail": dict, "event": str, "id": int, "tenant": str, "v": int}
BATCH_EVENTS = ("decisions.recorded", "receipts.recorded")
INTAKE_EVENTS = ("decisions.recorded", "chunk.buried")
IN_FLIGHT = datetime.timedelta(hours=1)


def read_entry(leaf: bytes) -> dict[str, Any]:
    """The entry of a leaf; raises ValueError where it has not the one form of version 1."""
    entry = json_object(leaf, ENTRIES)
    if {name: type(value) for name, value in entry.items()} != ENTRY or entry["v"] != 1:
        raise ValueError(f"it is no entry of version 1, which has {', '.join(ENTRY)}")
    if json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() != leaf:
        raise ValueError("its JSON is not in the one form of the format: sorted names, no spaces")
    natural(entry["id"], "id")
    return entry


def member(value: dict[str, Any], name: str) -> dict[str, Any]:
    """A member that is an object."""
    found = value.get(name)
    if not isinstance(found, dict):
        raise ValueError(f"{name} is not there or is no object")
    return found


def batch_of(index: int, entry: dict[str, Any]) -> dict[str, Any] | None:
    """What an entry says of its batch, if it has one; raises ValueError where the entry's counts contradict it."""
    event, detail = entry["event"], entry["detail"]
    nothing = event == "decisions.recorded" and detail.get("scored") == 0 == detail.get("held")
    if "batch" not in detail and (nothing or event not in BATCH_EVENTS):
        return None
    root, size = member(detail, "batch").get("root"), natural(member(detail, "batch").get("size"), "the batch's size")
    if not isinstance(root, str) or not re.fullmatch("[0-9a-f]{64}", root) or size < 1:
        raise ValueError("a batch has a root of 64 hexadecimal digits, and a size from 1")
    counts = {name: natural(detail[name], name) for name in ("rows", "scored", "held", "skipped") if name in detail}
    if "intake" in detail:
        counts["taken in"] = natural(member(detail, "intake").get("rows"), "intake.rows")
    rows = size - 1
    decided = counts["scored"] + counts["held"] if "scored" in counts and "held" in counts else rows
    skipped = counts.get("skipped", max(0, counts.get("taken in", rows) - rows))
    if rows != decided or rows != counts.get("rows", rows) or rows + skipped != counts.get("taken in", rows + skipped):
        raise ValueError(f"its batch has {rows} rows beside the header, and its counts do not fit that: {counts}")
    return {"entry": index, "event": event, "flow": str(detail.get("flow", "")), "at": entry["at"], "root": root, "size": size}


def moment(at: str) -> datetime.datetime:
    """The time of an entry; raises ValueError where it is none."""
    if not at.endswith("Z"):
        raise ValueError("its time is not in UTC")
    return datetime.datetime.fromisoformat(at[:-1] + "+00:00")


class Story:
    """What the entries of a log say together."""

    def __init__(self, report: Report, wanted: Iterable[int], is_whole: bool) -> None:
        self.report, self.wanted, self.is_whole = report, frozenset(wanted), is_whole
        self.ids: set[int] = set()
        self.batches: dict[int, dict[str, Any]] = {}
        self.taken: dict[str, list[tuple[int, int, int, datetime.datetime]]] = {}
        self.newest = datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)  # noqa: UP017 (it runs on Python 3.9, too)
        self.counts: dict[str, int] = {}
        self.heartbeat = ""

    def add(self, index: int, leaf: bytes) -> None:
        """Takes note of the entry at `index`; raises ValueError where it cannot be right."""
        entry = read_entry(leaf)
        detail, is_copy, at = entry["detail"], entry["id"] in self.ids, moment(entry["at"])
        self.newest = max(self.newest, at)
        self.ids.add(entry["id"])
        if entry["event"] in INTAKE_EVENTS and "intake" in detail:
            intake, flow = member(detail, "intake"), detail.get("flow")
            start, rows = natural(intake.get("from"), "intake.from"), natural(intake.get("rows"), "intake.rows")
            if not isinstance(flow, str):
                raise ValueError("an intake is of a flow, and none is named")
            self.taken.setdefault(flow, []).append((start, start + rows, index, at))
            self.counts[flow] = self.counts.get(flow, 0) + rows
        if entry["event"] == "log.counted":
            self._add_heartbeat(f"entry {index} of {entry['at']}", member(detail, "flows"))
        batch = batch_of(index, entry)
        if batch and index in self.wanted:
            self.batches[index] = batch
        if is_copy:
            raise ValueError(f"its id {entry['id']} has come before: an entry was copied")

    def _add_heartbeat(self, place: str, flows: dict[str, Any]) -> None:
        waiting: list[str] = []
        for flow in sorted(flows):
            received, taken = natural(member(flows, flow).get("received"), "received"), self.counts.get(flow, 0)
            if received < taken and self.is_whole:
                what = f"of the flow {flow}, {received:,} records were received, but the entries before hold {taken:,}"
                self.report.problem("heartbeats", place, what)
            elif received > taken and len(waiting) < 20:
                waiting.append(f"{flow}: {received - taken:,}")
        self.heartbeat = f"the last is {place}; in flight or missing then: {', '.join(waiting) or 'nothing'}"

    def finish(self) -> None:
        """Reports on the intake: each record must be in one entry, in ranges without gap and overlap.

        Records are decided side by side, so that a range may come before an earlier one: a gap is a problem once later records
        have been in the log for IN_FLIGHT.
        """
        in_flight = 0
        for flow, ranges in sorted(self.taken.items()):
            reach, last = 0, 0
            for start, end, index, at in sorted(each for each in ranges if each[0] < each[1]):
                if start > reach and self.newest - at < IN_FLIGHT:
                    in_flight += start - reach
                elif start > reach:
                    what = f"records {reach:,} to {start - 1:,} are in no entry: removed, or in flight for more than an hour"
                    self.report.problem("intake", f"flow {flow}, before entry {index}", what)
                elif start < reach:
                    what = f"records {start:,} to {min(end, reach) - 1:,} are in entry {last}, too"
                    self.report.problem("intake", f"flow {flow}, entry {index}", what)
                reach, last = max((reach, last), (end, index))
        records, flows = many(sum(self.counts.values()), "record"), many(len(self.taken), "flow")
        waiting = f"; {many(in_flight, 'record')} before them in flight or missing" if in_flight else ""
        self.report.said["intake"] = f"{records} taken in by {flows}, each in one entry{waiting}"
        self.report.skipped["heartbeats"] = "none are in the log: a record that never came into it is not noticed"
        if self.heartbeat:
            self.report.said["heartbeats"] = self.heartbeat


# == 5. A stored log: tiles of 256 hashes and bundles of 256 entries ==================================================

TILE_NAME = re.compile(r"(tile/(?:entries|[0-9]{1,2})/(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


def tile_path(level: str | int, number: int) -> str:
    """The path of a tile: its number in groups of three digits, with x before all but the last."""
    path = f"{number % 1000:03}"
    while number := number // 1000:
        path = f"x{number % 1000:03}/{path}"
    return f"tile/{level}/{path}"


def split_entries(data: bytes) -> list[bytes]:
    """The entries of an entry bundle: each has its length before it, in two bytes."""
    entries, at = [], 0
    while at < len(data):
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        entries.append(data[start:at])
        if start > len(data) or at > len(data) or len(entries) > TILE:
            raise ValueError("the lengths in it do not fit its size")
    return entries


class Tiles:
    """A log's tiles and entry bundles; all files of one place, also those of a smaller log, must say the same."""

    def __init__(self, files: Files, prefix: str, problem: Callable[[str, str], None]) -> None:
        self.files, self.prefix, self.problem = files, prefix, problem
        self.found: dict[str, list[tuple[int, str]]] = {}
        for name in files.names:
            match = TILE_NAME.fullmatch(name[len(prefix) :]) if name.startswith(prefix) else None
            if match:
                self.found.setdefault(match[1], []).append((int(match[2] or TILE), name))

    def stored(self, level: str | int, number: int, width: int) -> Iterator[tuple[str, list[bytes]]]:
        """The files of one place and what they hold, the longest first; reports where none holds `width` entries or hashes."""
        path, longest = tile_path(level, number), 0
        for count, name in sorted(self.found.get(path, []), reverse=True):
            try:
                data = self.files.read(name, TILE * (2 + 65535))
                items = split_entries(data) if level == "entries" else [data[at : at + 32] for at in range(0, len(data), 32)]
                if len(items) != count or (level != "entries" and len(data) != 32 * count):
                    raise ValueError(f"holds {len(items)} instead of {count}, or a part of one")
            except ValueError as error:
                self.problem(name, str(error))
                continue
            longest = max(longest, count)
            yield name, items
        if longest < width:
            self.problem(self.prefix + path, f"{longest} of {width} are there")

    def entries(self, number: int, width: int) -> tuple[list[bytes], list[bytes]]:
        """The entries of a bundle and their leaf hashes; where entries are lost, the hashes that a tile still has."""
        longest: list[bytes] = []
        for name, entries in self.stored("entries", number, width):
            longest = longest or entries
            if longest[: len(entries)] != entries:
                self.problem(name, "differs from the longer file of the same entries")
        if len(longest) >= width:
            return longest[:width], [leaf_hash(entry) for entry in longest[:width]]
        return longest, next((hashes for _, hashes in self.stored(0, number, width)), [])[:width]

    def compare(self, level: int, hashes: list[bytes]) -> None:
        """Compares the tiles of a level and of those above it with the hashes that they must hold."""
        for number in range(-(-len(hashes) // TILE)):
            self.compare_tile(level, number, hashes[number * TILE : number * TILE + TILE])
        if len(hashes) >= TILE:
            whole = range(0, len(hashes) - TILE + 1, TILE)
            self.compare(level + 1, [Tree(hashes[at : at + TILE]).root() for at in whole])

    def compare_tile(self, level: int, number: int, hashes: list[bytes]) -> None:
        """Compares the files of one tile with the hashes that it must hold."""
        for name, stored in self.stored(level, number, len(hashes)):
            for i, value in enumerate(stored[: len(hashes)]):
                if value != hashes[i]:
                    first, last = ((number * TILE + i + extra) * TILE**level - extra for extra in (0, 1))
                    self.problem(name, f"hash {i} is not that of " + (f"entries {first} to {last}" if level else f"entry {first}"))


# == 6. The checks ===================================================================================================


class Verification:
    """The checks of one bundle or log; `key`, `witnesses` and `seen` are what they rest on, and do not come from it."""

    def __init__(
        self, files: Files, key: Key | None, witnesses: list[Key], require: int, seen: list[tuple[str, Checkpoint]]
    ) -> None:
        self.files, self.witnesses, self.require, self.seen, self.report = files, witnesses, require, seen, Report()
        self.is_bundle = "bundle.json" in files.names
        if not self.is_bundle and key is None:
            raise Unreadable("it is no bundle (it has no bundle.json), and a log alone does not hold its key: give --key")
        self.named = self._bundle_key() if self.is_bundle else None
        # The key that must have signed the checkpoint; with those that it took the place of, which signed older ones.
        self.key: Key = key or self.named  # type: ignore[assignment]
        self.keys = [self.key]
        if key:
            self.report.said["key"] = "given by --key"
        if self.key.public in [witness.public for witness in witnesses]:
            raise Unreadable("the log's own key cannot be its witness")
        self.end = self._checkpoint("checkpoint")
        self.report.log = {"origin": self.end.origin, "size": self.end.size, "root": self.end.root.hex(), "vkey": self.key.text,
                           "fingerprint": self.key.fingerprint, "key_given": key is not None}  # fmt: skip
        names = (re.fullmatch(r"batches/(0|[1-9][0-9]{0,18})\.jsonl", name) for name in files.names if self.is_bundle)
        self.batch_files = {int(match[1]): match[0] for match in names if match}
        self.batches: dict[int, dict[str, Any]] = {}
        self.roots = {0: Tree().root(), self.end.size: self.end.root}
        self.proofs: dict[int, list[list[bytes]]] = {}
        # Sizes of the log for which somebody else than its keeper can vouch.
        self.vouched: list[tuple[int, str]] = []
        self.witnessed: Checkpoint | None = None

    def run(self) -> Report:
        """Makes all checks."""
        self._follow_keys()
        self._check_signature()
        if self.is_bundle:
            self._check_entries()
        self._check_log()
        if self.is_bundle:
            self._check_older()
        self._check_witnesses()
        self._check_batches()
        self._check_seen()
        size, why = max(self.vouched, default=(0, ""))
        self.report.tail = {"from": size, "entries": self.end.size - size, "after": why}
        self.report.ignored = sorted(self.files.names - self.files.opened)
        return self.report

    def _bundle_key(self) -> Key:
        try:
            about = json_object(self.files.read("bundle.json", MAX_NOTE))
            if about.get("format") != "fieldline-evidence/1":
                raise ValueError("the format is not fieldline-evidence/1, which this program knows")
            key = Key.parse(str(about.get("vkey")), LOG_KEY)
        except ValueError as error:
            raise Unreadable(f"bundle.json: {error}") from None
        if about.get("origin") != key.name:
            self.report.problem(
                "key", "bundle.json", f"names the log {about.get('origin')} and the key {key.text}, which is another's"
            )
        return key

    def _follow_keys(self) -> None:
        """Goes on from the trusted key to those that took its place, and back to those before it; both keys signed each change."""
        changes: list[tuple[str, Key, Key, Checkpoint, list[bytes]]] = []

        def take(place: str, item: dict[str, Any]) -> None:
            note, leaf = Checkpoint.parse(str(item.get("old")).encode()), from_base64(item.get("leaf"))
            entry, inclusion = read_entry(leaf), proof_of(item.get("inclusion"))
            before, after = (Key.parse(str(entry["detail"].get(name)), LOG_KEY) for name in ("old", "new"))
            is_signed = all(key.name == note.origin and note.signed_at(key) is not None for key in (before, after))
            is_last = is_included(leaf_hash(leaf), note.size - 1, note.size, note.root, inclusion)
            if entry["event"] != "log.key_changed" or not is_signed or not is_last:
                raise ValueError(
                    "it does not show that the log's key was changed: both keys sign the checkpoint that ends with that"
                )
            changes.append((place, before, after, note, proof_of(item.get("proof"))))

        if self.is_bundle and "keys.jsonl" in self.files.names:
            self._each("key", "keys.jsonl", take)
        for _, before, after, _, _ in changes:
            self.keys += [after] if self.keys[-1] == before else []
        newer = len(self.keys) - 1
        for _, before, after, _, _ in reversed(changes):
            self.keys[:0] = [before] if self.keys[0] == after else []
        self.key = self.keys[-1]
        self.report.log.update(vkey=self.key.text, fingerprint=self.key.fingerprint)
        for place, before, _, note, proof in changes:
            if before in self.keys:
                self._compare("key", place, note, [proof], "")
        if newer and "key" in self.report.said:
            self.report.said["key"] += f"; {many(newer, 'newer key')} took its place, each announced under the one before"
        if self.named is not None and self.named != self.key:
            self.report.problem(
                "key", "bundle.json", f"names the key {self.named.text}, and nothing leads to it from the one given"
            )

    def _checkpoint(self, name: str) -> Checkpoint:
        try:
            return Checkpoint.parse(self.files.read(name, MAX_NOTE))
        except ValueError as error:
            raise Unreadable(f"{name}: {error}") from None

    def _is_signed(self, check: str, place: str, checkpoint: Checkpoint) -> bool:
        keys = [self.key] if checkpoint is self.end else self.keys
        if checkpoint.origin == self.key.name and any(checkpoint.signed_at(key) is not None for key in keys):
            return True
        self.report.problem(check, place, "is not signed by the key: it was changed, or is of another log or key")
        return False

    def _cosigned(self, checkpoint: Checkpoint) -> list[str]:
        found = [(witness.name, checkpoint.signed_at(witness)) for witness in self.witnesses]
        times = [(name, time.gmtime(min(seconds, 253402300799))) for name, seconds in found if seconds is not None]
        return [f"{name} at {time.strftime('%Y-%m-%d %H:%M:%S UTC', at)}" for name, at in times]

    def _each(self, check: str, name: str, take: Callable[[str, dict[str, Any]], None]) -> None:
        """Hands each line of a file on; what is wrong with one, and where the file cannot be read any further, is reported."""
        number = 0
        try:
            with self.files.open(name) as file:
                while line := file.readline(MAX_LINE + 1):
                    number += 1
                    if len(line) > MAX_LINE:
                        raise EOFError(f"a line is longer than {MAX_LINE:,} bytes")
                    try:
                        take(f"{name}, line {number}", json_object(line))
                    except (ValueError, RecursionError) as error:
                        self.report.problem(check, f"{name}, line {number}", str(error))
        except READ_ERRORS as error:
            self.report.problem(check, f"{name}, after line {number}", f"cannot be read further: {error}")

    def _check_signature(self) -> None:
        self._is_signed("signature", "checkpoint", self.end)
        self.report.said["signature"] = f"the key signed the checkpoint of {many(self.end.size, 'entry', 'entries')}"
        if self.witnesses and len(self._cosigned(self.end)) >= self.require:
            self.witnessed = self.end
            self.vouched.append((self.end.size, "cosigned by witnesses"))

    def _check_witnesses(self) -> None:
        """Whether enough witnesses cosigned the checkpoint, or an older one that it continues: what came since is unprotected."""
        cosigned = self._cosigned(self.witnessed or self.end)
        text = f"{len(cosigned)} of {many(len(self.witnesses), 'witness', 'witnesses')} cosigned: {', '.join(cosigned)}"
        if not self.witnesses:
            others = sum(name != self.key.name for name, _ in self.end.signatures)
            self.report.skipped["witnesses"] = f"no --witness was given; the checkpoint has {many(others, 'signature')} by others"
        elif self.witnessed is None:
            self.report.problem("witnesses", "checkpoint", f"{text}; {self.require} are required")
        else:
            older = "" if self.witnessed is self.end else f"the older checkpoint of {self.witnessed.size:,} entries, "
            self.report.said["witnesses"] = older + text

    def _check_entries(self) -> None:
        story, indexes, end = Story(self.report, self.batch_files, is_whole=False), set(), self.end

        def take(_: str, item: dict[str, Any]) -> None:
            index, leaf = natural(item.get("index"), "index"), from_base64(item.get("leaf"))
            if index in indexes or not is_included(leaf_hash(leaf), index, end.size, end.root, proof_of(item.get("proof"))):
                raise ValueError(f"entry {index} comes twice, or is not in the log: its proof does not lead to the root")
            indexes.add(index)
            story.add(index, leaf)

        self._each("entries", "entries.jsonl", take)
        self.batches = story.batches
        self.report.said["entries"] = f"{many(len(indexes), 'entry', 'entries')}, each one in the log of the checkpoint"

    def _check_older(self) -> None:
        check, sizes, seen_sizes = "older checkpoints", [], {seen.size for _, seen in self.seen}

        def take(place: str, item: dict[str, Any]) -> None:
            old, proof = Checkpoint.parse(str(item.get("old")).encode()), proof_of(item.get("proof"))
            sizes.append(old.size)
            if old.size in seen_sizes and len(self.proofs.setdefault(old.size, [])) < 100:
                self.proofs[old.size].append(proof)
            is_cosigned = bool(self.witnesses) and len(self._cosigned(old)) >= self.require
            holds = self._compare(check, place, old, [proof], "cosigned by witnesses" if is_cosigned else "")
            if holds and is_cosigned and (self.witnessed is None or old.size > self.witnessed.size):
                self.witnessed = old

        if "consistency.jsonl" in self.files.names:
            self._each(check, "consistency.jsonl", take)
            self.report.said[check] = f"the log continues {many(len(sizes), 'checkpoint')} of it"

    def _check_seen(self) -> None:
        for place, seen in self.seen:
            self._compare("seen checkpoints", place, seen, self.proofs.get(seen.size, []), "seen")
        if self.seen:
            self.report.said["seen checkpoints"] = f"the log continues {many(len(self.seen), 'checkpoint')} seen before"

    def _compare(self, check: str, place: str, old: Checkpoint, proofs: list[list[bytes]], vouched: str) -> bool:
        """Whether the log continues an older checkpoint; then its entries up to there are what somebody else can vouch for."""
        size, end = f"{old.size:,} entries", self.end
        if not self._is_signed(check, place, old):
            return False
        if old.size > end.size:
            what = f"has {size}, here are {end.size:,}: the tail was cut off, or a newer copy must be had"
        elif self.roots.get(old.size) == old.root or any(is_consistent(old.size, old.root, end.size, end.root, p) for p in proofs):
            self.vouched += [(old.size, vouched)] if vouched else []
            return True
        elif old.size in self.roots:
            what = f"FORK: the log here does not continue this one of {size}; its history was changed"
        elif proofs:
            what = f"FORK: the log here does not continue this one of {size}; its history was changed, or the proof was"
        else:
            what = f"cannot be compared: there is no proof from its {size} on, and no whole log that holds"
        self.report.problem(check, place, what)
        return False

    def _check_log(self) -> None:
        if self.is_bundle and "log/checkpoint" not in self.files.names:
            return
        prefix, problem = "log/" if self.is_bundle else "", partial(self.report.problem, "whole log")
        end = self._checkpoint("log/checkpoint") if self.is_bundle else self.end
        if self.is_bundle:
            self._is_signed("whole log", "log/checkpoint", end)
        story = Story(self.report, self.batch_files, is_whole=True)
        sizes = {end.size, self.end.size, *(seen.size for _, seen in self.seen)}
        roots = self._read_log(Tiles(self.files, prefix, problem), end.size, sizes, story)
        story.finish()
        self.batches = {**story.batches, **self.batches}
        self.report.said["whole log"] = f"{many(end.size, 'entry', 'entries')}, with which all tiles and the checkpoint agree"
        if roots.get(end.size) != end.root:
            problem(prefix + "checkpoint", "the stored entries do not lead to its root")
        elif roots.get(self.end.size) != self.end.root:
            problem("checkpoint", f"the stored log of {many(end.size, 'entry', 'entries')} does not agree with it")
        else:
            self.roots = roots

    def _read_log(self, tiles: Tiles, size: int, sizes: set[int], story: Story) -> dict[int, bytes]:
        """Reads all entries and tiles; the roots that the log had at the `sizes`, as far as it could be read."""
        tree, above = Tree(), []
        roots = {0: tree.root()}
        for number in range(-(-size // TILE)):
            width = min(TILE, size - number * TILE)
            entries, hashes = tiles.entries(number, width)
            for index, entry in enumerate(entries, number * TILE):
                try:
                    story.add(index, entry)
                except (ValueError, RecursionError) as error:
                    tiles.problem(f"entry {index}", str(error))
            if len(hashes) < width:
                tiles.problem(f"entry {number * TILE}", "from here on nothing was read: the hashes of these entries are lost, too")
                return roots
            tiles.compare_tile(0, number, hashes)
            above += [Tree(hashes).root()] if width == TILE else []
            for value in hashes:
                tree.append(value)
                if tree.size in sizes:
                    roots[tree.size] = tree.root()
        tiles.compare(1, above)
        return roots

    def _check_batches(self) -> None:
        lines = erased = 0
        for index, name in sorted(self.batch_files.items()):
            if index in self.batches:
                added = self._check_batch(name, self.batches[index])
                lines, erased = lines + added[0], erased + added[1]
            else:
                self.report.problem("batches", name, f"no proven entry {index} with a batch is in it")
        if self.batch_files:
            text = f"{many(len(self.batch_files), 'batch', 'batches')}, {many(lines, 'line')} as they were recorded"
            self.report.said["batches"] = f"{text}, {many(erased, 'line')} erased or withheld, of which only the commitment is here"

    def _check_batch(self, name: str, batch: dict[str, Any]) -> tuple[int, int]:
        tree, size, root, failed = Tree(), batch["size"], bytes.fromhex(batch["root"]), self.report.failed["batches"]
        rows: list[dict[str, Any]] = []
        lines, last, more = 0, -1, None

        def take(_: str, item: dict[str, Any]) -> None:
            nonlocal lines, last, more
            # The first row says whether this is the whole batch or rows of it, each with a proof of its own.
            more = ({"row", "proof"} if "row" in item else set()) if more is None else more
            leaf, line = read_row(item, more)
            row = natural(item["row"], "row") if more else last + 1
            if more and (row <= last or not is_included(leaf, row, size, root, proof_of(item["proof"]))):
                raise ValueError(f"row {row} is not in order, or not in the batch: its proof does not lead to the root")
            tree.append(leaf)
            lines, last = lines + (line is not None), row
            if line is not None and len(rows) <= MAX_SHOWN_ROWS:
                rows.append({**batch, "row": row, "line": line})

        self._each("batches", name, take)
        sound = self.report.failed["batches"] == failed
        if sound and not more and (tree.size, tree.root()) != (size, root):
            what = f"its {many(tree.size, 'line')} do not have the root of the {size:,} that entry {batch['entry']} recorded"
            self.report.problem("batches", name, what)
        elif sound:
            self.report.rows += rows[: MAX_SHOWN_ROWS + 1 - len(self.report.rows)]
        return lines, tree.size - lines


def read_row(item: dict[str, Any], more: set[str]) -> tuple[bytes, str | None]:
    """The leaf hash and the line of a row of a batch; an erased row has no line any more, only its leaf hash."""
    if item.keys() == {"commitment"} | more:
        return from_base64(item["commitment"], 32), None
    if item.keys() != {"salt", "line"} | more or not isinstance(item["line"], str) or "\n" in item["line"]:
        raise ValueError("a row has a salt and a line or else a commitment, and in a part of a batch its row and proof")
    # If salts could have any length, one leaf could be cut into salt and line in several ways.
    salt, line = from_base64(item["salt"], 16), item["line"].encode()
    json_object(line)
    return leaf_hash(salt + line), item["line"]


# == 7. The report ====================================================================================================

CHECKS = {
    "key": "it came with the bundle: compare its fingerprint with one that you have by other means",
    "signature": "", "witnesses": "", "entries": "this is a log, not a bundle", "batches": "no lines are in it",
    "older checkpoints": "none are in it", "seen checkpoints": "no --seen was given", "whole log": "it is not in the bundle",
    "intake": "that needs the whole log", "heartbeats": "that needs the whole log",
}  # fmt: skip


class Report:
    """What was found: how each check ended, every problem with its place, and what the evidence says."""

    def __init__(self) -> None:
        self.log: dict[str, Any] = {}
        self.tail: dict[str, Any] = {}
        self.said: dict[str, str] = {}
        self.skipped = dict(CHECKS)
        self.failed = dict.fromkeys(CHECKS, 0)
        self.problems: list[dict[str, str]] = []
        self.rows: list[dict[str, Any]] = []
        self.ignored: list[str] = []

    def problem(self, check: str, place: str, what: str) -> None:
        """Notes what does not hold; all problems are counted, the first ones kept."""
        self.failed[check] += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append({"check": check, "place": plain(place), "what": plain(what)})

    @property
    def found(self) -> int:
        """The number of problems; the evidence holds where it is 0."""
        return sum(self.failed.values())

    def status(self, check: str) -> tuple[str, str]:
        """How a check ended."""
        if self.failed[check]:
            return "FAILED", many(self.failed[check], "problem")
        return ("OK", self.said[check]) if check in self.said else ("not checked", self.skipped[check])

    def as_json(self) -> dict[str, Any]:
        """The report for programs."""
        checks = [{"check": check, "status": self.status(check)[0], "text": self.status(check)[1]} for check in CHECKS]
        return {"format": "fieldline-verify/1", "holds": not self.found, "log": self.log, "checks": checks, "tail": self.tail,
                "found": self.found, "problems": self.problems, "rows": self.rows[:MAX_SHOWN_ROWS],
                "ignored": self.ignored[:50]}  # fmt: skip

    def as_text(self) -> str:
        """The report for people."""
        log, ignored = self.log, ", ".join(self.ignored[:5]) + (" and more" if self.ignored[5:] else "")
        lines = [f"Log          {plain(log['origin'])}: {many(log['size'], 'entry', 'entries')}, root {log['root']}",
                 f"Key          {plain(log['vkey'])}", f"Fingerprint  {log['fingerprint']}", ""]  # fmt: skip
        for check in CHECKS:
            status, text = self.status(check)
            lines.append(f"{status:12} {check}: {plain(text, 4000)}")
        lines += ["", self._tail(), *([f"Not read, because no check needs it: {plain(ignored)}."] if ignored else [])]
        if self.found:
            lines += ["", "Problems:", *(f"  {each['place']}: {each['what']}" for each in self.problems)]
            lines += [f"  and {self.found - MAX_PROBLEMS:,} more"] if self.found > MAX_PROBLEMS else []
        lines += ["", *self._rows()] if self.rows else []
        verdict = f"this evidence DOES NOT HOLD ({many(self.found, 'problem')})." if self.found else "all that was checked holds."
        open_key = "" if self.found or log["key_given"] else " It is as good as its key: compare the fingerprint."
        return "\n".join([*lines, "", f"Verdict: {verdict}{open_key}"])

    def _tail(self) -> str:
        start, count, after = self.tail["from"], self.tail["entries"], self.tail["after"]
        if not count:
            return "Unprotected tail: none."
        since = f"after the newest checkpoint that was {after}" if after else "since no checkpoint was seen or cosigned before"
        return (f"Unprotected tail: {many(count, 'entry', 'entries')}, {start:,} to {start + count - 1:,}, {since}. "
                "Whoever holds the log's key could have changed them unnoticed.")  # fmt: skip

    def _rows(self) -> Iterator[str]:
        if len(self.rows) > MAX_SHOWN_ROWS:
            yield f"It holds more than {MAX_SHOWN_ROWS} lines, which are not shown here."
            return
        yield "What these files say was recorded, but see the problems:" if self.found else "What was recorded:"
        for row in self.rows:
            yield plain(f"  entry {row['entry']}, row {row['row']}: {row['event']}, flow {row['flow']}, {row['at']}")
            for name, value in json_object(row["line"].encode()).items():
                yield f"    {plain(name)}: {plain(json.dumps(value, ensure_ascii=False))}"


def verify(path: str, key: str | None, witnesses: Sequence[str], require: int | None, seen: Sequence[str]) -> Report:
    """Verifies a bundle or a log; raises Unreadable where that is not possible at all."""
    try:
        log_key = Key.parse(key, LOG_KEY) if key is not None else None
        witness_keys = [Key.parse(text, WITNESS_KEY) for text in witnesses]
        notes = [(name, Checkpoint.parse(Files([name], io.FileIO).read(name, MAX_NOTE))) for name in seen]
        if len({witness.public for witness in witness_keys}) < len(witnesses):
            raise ValueError("a witness is given twice")
        if require is not None and not 1 <= require <= len(witnesses):
            raise ValueError("--require must be between 1 and the number of witnesses")
    except (ValueError, OSError) as error:
        raise Unreadable(f"what was given to check it with is wrong: {error}") from None
    with files_of(path) as files:
        return Verification(files, log_key, witness_keys, require or len(witness_keys), notes).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; its exit status is the verdict."""
    parser = argparse.ArgumentParser(prog="fieldline-verify", description="Checks Fieldline's evidence without Fieldline.")
    parser.add_argument("bundle", help="a bundle (zip or folder), or a folder with a whole log")
    parser.add_argument("--key", metavar="VKEY", help="the log's public key, had by other means than the bundle")
    parser.add_argument("--witness", metavar="VKEY", action="append", default=[], help="a witness's public key; may come again")
    parser.add_argument("--require", metavar="K", type=int, help="how many of the witnesses must have cosigned; else all")
    parser.add_argument("--seen", metavar="FILE", action="append", default=[], help="a checkpoint kept from before; may come again")
    parser.add_argument("--json", action="store_true", help="the report for programs")
    given = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        report = verify(given.bundle, given.key, given.witness, given.require, given.seen)
        text, status = json.dumps(report.as_json(), indent=2) if given.json else report.as_text(), 1 if report.found else 0
    except (Unreadable, MemoryError, RecursionError) as error:
        answer, status = {"format": "fieldline-verify/1", "holds": None, "unreadable": plain(str(error) or type(error).__name__)}, 2
        text = json.dumps(answer) if given.json else f"{plain(given.bundle)} cannot be verified: {answer['unreadable']}"
    sys.stdout.write(text + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())

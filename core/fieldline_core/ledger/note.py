"""C2SP signed notes: a text and Ed25519 signatures under it; witnesses' cosignatures (C2SP tlog-cosignature, v1) say when, too."""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fieldline_core.errors import Misconfigured
from fieldline_core.ledger.errors import NoteError

MAX_NOTE_BYTES = 1 << 18
MAX_SIGNATURES = 100

_DASH = "\N{EM DASH} "
# In seconds; the specification's limit for cosignatures.
_END_OF_TIME = 1 << 63
# Control characters but the newline; surrogates, which JSON can bring and UTF-8 cannot hold.
_FORBIDDEN = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")


class Kind(IntEnum):
    """What a signature is made over: the text alone, or the text and a time."""

    SIGNATURE = 0x01
    COSIGNATURE = 0x04


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public Ed25519 key, and the name under which it signs; as text, a vkey."""

    name: str
    public: bytes
    kind: Kind = Kind.SIGNATURE

    def __post_init__(self) -> None:
        if not _is_key_name(self.name):
            raise Misconfigured(f"{self.name!r} cannot name a signing key: give it a name without spaces and without '+'")
        if len(self.public) != 32:
            raise Misconfigured(f"the public key of {self.name} has {len(self.public)} bytes, an Ed25519 key has 32")

    @property
    def id(self) -> bytes:
        """Four bytes that tell this key from others of its name."""
        return sha256(self.name.encode() + b"\n" + self._typed).digest()[:4]

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """The key of `<name>+<key id>+<base64>`."""
        try:
            name, digits, encoded = vkey.split("+", 2)
            typed = decode_base64(encoded)
            key = cls(name, typed[1:], Kind(typed[0]))
        except (ValueError, IndexError):
            raise Misconfigured(
                f"{vkey!r} is no Ed25519 public key of a log or a witness: give the whole line, <name>+<8 hex digits>+<base64>"
            ) from None
        if digits.lower() != key.id.hex():
            raise Misconfigured(f"the public key {vkey!r} is damaged, its key has the number {key.id.hex()}: copy it again")
        return key

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(self._typed).decode()}"

    def holds(self, text: str, signature: bytes) -> bool:
        """Whether this key made the signature over the text."""
        if self.kind is Kind.COSIGNATURE:
            time, signature = _time_of(signature), signature[8:]
            if time >= _END_OF_TIME:
                return False
            text = _cosigned(text, time)
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True

    @property
    def _typed(self) -> bytes:
        return bytes([self.kind]) + self.public


class SigningKey:
    """A private Ed25519 key and its name."""

    def __init__(self, name: str, seed: bytes) -> None:
        """`seed` are the 32 random bytes that the key is made of."""
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = VerifierKey(name, self._private.public_key().public_bytes_raw())
        self.cosigner = VerifierKey(name, self.verifier.public, Kind.COSIGNATURE)

    def __repr__(self) -> str:
        return f"SigningKey({self.verifier.name})"

    def sign(self, text: str) -> str:
        """The signature line for a note of this text."""
        _check_text(text)
        return _line(self.verifier, self._private.sign(text.encode()))

    def cosign(self, text: str, time: int) -> str:
        """A witness's signature line for a checkpoint of this text, seen at `time` (POSIX seconds); it goes below the others."""
        _check_text(text)
        if not 0 <= time < _END_OF_TIME:
            raise NoteError(f"{time} is no time that a cosignature can hold")
        return _line(self.cosigner, time.to_bytes(8, "big") + self._private.sign(_cosigned(text, time).encode()))


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that holds; a cosignature also has its time (POSIX seconds)."""

    key: VerifierKey
    time: int | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """The text of a note, and the signatures of known keys that hold, one for each key."""

    text: str
    signatures: tuple[Signature, ...]


def write_note(text: str, lines: Iterable[str]) -> bytes:
    """The note of a text and its signature lines."""
    _check_text(text)
    return f"{text}\n{''.join(lines)}".encode()


def open_note(data: bytes, known: Iterable[VerifierKey]) -> Note:
    """The note, where a known key signed it; those of unknown keys are passed over, a wrong one of a known key is an error."""
    text, lines = _parse(data)
    keys = _by_name_and_id(known)
    signatures: dict[VerifierKey, Signature] = {}
    for name, key_id, signature in lines:
        key = keys.get((name, key_id))
        if key is None:
            continue
        if not key.holds(text, signature):
            raise NoteError(f"the signature of {name} under the note is wrong: the text was changed, or another key signed it")
        time = _time_of(signature) if key.kind is Kind.COSIGNATURE else None
        # A witness counts once, however many lines bear its name.
        signatures.setdefault(key, Signature(key, time))
    if not signatures:
        signers = ", ".join(sorted({f"{name}+{key_id.hex()}" for name, key_id, _ in lines}))
        raise NoteError(f"no known key signed the note, only {signers}")
    return Note(text, tuple(signatures.values()))


def decode_base64(text: str) -> bytes:
    """The bytes of standard base64 with padding; raises ValueError where they would be written in another way."""
    data = base64.b64decode(text)
    if base64.b64encode(data).decode() != text:
        raise ValueError("this base64 has bits beyond its last byte")
    return data


def is_plain(text: str) -> bool:
    """Whether a note may hold this text: no control characters but newlines."""
    return not _FORBIDDEN.search(text)


def _is_key_name(name: str) -> bool:
    return bool(name) and is_plain(name) and not any(sign == "+" or sign.isspace() for sign in name)


def _by_name_and_id(known: Iterable[VerifierKey]) -> dict[tuple[str, bytes], VerifierKey]:
    keys: dict[tuple[str, bytes], VerifierKey] = {}
    for key in known:
        if keys.setdefault((key.name, key.id), key) != key:
            raise Misconfigured(f"two known keys are called {key.name}+{key.id.hex()} and differ: take out the wrong one")
    return keys


def _parse(data: bytes) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """The text, and name, key id and signature of each line under it."""
    if len(data) > MAX_NOTE_BYTES:
        raise NoteError(f"the note has {len(data):,} bytes, at most {MAX_NOTE_BYTES:,} are read")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise NoteError("the note is not UTF-8 text") from None
    text, gap, under = whole.rpartition("\n\n")
    if not gap or not under.endswith("\n"):
        raise NoteError("the note has no signatures: they follow an empty line, and each line ends")
    _check_text(text + "\n")
    lines = under[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(f"the note has {len(lines)} signatures, at most {MAX_SIGNATURES} are read")
    return text + "\n", [_parse_line(line) for line in lines]


def _parse_line(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    try:
        data = decode_base64(encoded)
    except ValueError:
        data = b""
    if not line.startswith(_DASH) or not _is_key_name(name) or len(data) < 5:
        raise NoteError(f"the note has a line where a signature should be: {line[:80]!r}")
    return name, data[:4], data[4:]


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise NoteError("the text of a note must end with a newline")
    if not is_plain(text):
        raise NoteError("the text of a note may hold no control characters but newlines")


def _line(key: VerifierKey, signature: bytes) -> str:
    return f"{_DASH}{key.name} {base64.b64encode(key.id + signature).decode()}\n"


def _cosigned(text: str, time: int) -> str:
    return f"cosignature/v1\ntime {time}\n{text}"


def _time_of(cosignature: bytes) -> int:
    return int.from_bytes(cosignature[:8], "big")


__all__ = [
    "MAX_NOTE_BYTES",
    "MAX_SIGNATURES",
    "Kind",
    "Note",
    "Signature",
    "SigningKey",
    "VerifierKey",
    "decode_base64",
    "is_plain",
    "open_note",
    "write_note",
]

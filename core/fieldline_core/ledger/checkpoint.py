"""C2SP tlog-checkpoint: what a log says about itself, as the text of a signed note."""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from fieldline_core.ledger.errors import NoteError
from fieldline_core.ledger.merkle import EMPTY_ROOT, HASH_SIZE
from fieldline_core.ledger.note import Signature, SigningKey, VerifierKey, decode_base64, is_plain, open_note, write_note

_SIZE = re.compile("0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log of this origin has `size` entries, and the tree over them this root."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(line and "\n" not in line and is_plain(line) for line in (self.origin, *self.extensions)):
            raise NoteError(f"the checkpoint of {self.origin!r} has an empty line or a control character")
        if not 0 <= self.size < 1 << 63:
            raise NoteError(f"the checkpoint of {self.origin} cannot have a size of {self.size}")
        if len(self.root) != HASH_SIZE or (self.size == 0 and self.root != EMPTY_ROOT):
            raise NoteError(f"the checkpoint of {self.origin} has a root hash that no tree of {self.size} entries has")

    @property
    def text(self) -> str:
        """The text of the note that says so."""
        root = base64.b64encode(self.root).decode()
        return "".join(f"{line}\n" for line in (self.origin, str(self.size), root, *self.extensions))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The checkpoint of the text of a note."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1]:
            raise NoteError("the note is no checkpoint: that has an origin, a size and a root hash, each on a line")
        origin, size, root, *extensions = lines[:-1]
        if not _SIZE.fullmatch(size):
            raise NoteError(f"the checkpoint of {origin!r} has a size that is no whole number: {size[:80]!r}")
        try:
            root_hash = decode_base64(root)
        except ValueError:
            raise NoteError(f"the checkpoint of {origin!r} has a root hash that is not base64: {root[:80]!r}") from None
        return cls(origin, int(size), root_hash, tuple(extensions))


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint that its log signed, and the witnesses that cosigned it."""

    checkpoint: Checkpoint
    cosignatures: tuple[Signature, ...]


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """The signed note of a checkpoint."""
    return write_note(checkpoint.text, [key.sign(checkpoint.text)])


def open_checkpoint(note: bytes, log: VerifierKey, witnesses: Iterable[VerifierKey] = ()) -> SignedCheckpoint:
    """The checkpoint in a note, where the log signed it; raises NoteError where it did not, whatever witnesses say."""
    opened = open_note(note, [log, *witnesses])
    if log not in {signature.key for signature in opened.signatures}:
        raise NoteError(f"the checkpoint is not signed by its log, {log.name}")
    checkpoint = Checkpoint.parse(opened.text)
    if checkpoint.origin != log.name:
        raise NoteError(f"the checkpoint is one of {checkpoint.origin!r}, and signed by {log.name}")
    return SignedCheckpoint(checkpoint, tuple(signature for signature in opened.signatures if signature.key != log))


__all__ = ["Checkpoint", "SignedCheckpoint", "open_checkpoint", "sign_checkpoint"]

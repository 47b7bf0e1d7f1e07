"""Encryption of record contents, and keyed hashes by which record keys are found."""

import hashlib
import hmac
import os
import secrets
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from fieldline_core.errors import Misconfigured
from fieldline_core.store import Row, Store

_VERSION = b"\x01"
_NONCE = 12


class KeyProvider(Protocol):
    """Holds the key that wraps all others, outside the database."""

    name: str

    def key(self) -> bytes:
        """The wrapping key, 32 bytes; raises Misconfigured where it cannot be had."""
        ...


class KeyFile:
    """A wrapping key in a file that only its owner may read (mode 0400), made when it is first asked for."""

    name = "file"

    def __init__(self, path: Path) -> None:
        self.path = path

    def key(self) -> bytes:
        """The 32 bytes of the file."""
        if not self.path.exists():
            self._make()
        key = self.path.read_bytes()
        if len(key) != 32:
            raise Misconfigured(f"the key file {self.path} must hold 32 bytes, it holds {len(key)}")
        return key

    def _make(self) -> None:
        made = [folder.parent for folder in self.path.parents if not folder.exists()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
        try:
            _write_through(draft, secrets.token_bytes(32))
            # link() refuses to replace a key that another process has made meanwhile.
            with suppress(FileExistsError):
                os.link(draft, self.path)
        finally:
            draft.unlink(missing_ok=True)
        # After a power cut the key must be there, whole, wherever data keys under it are.
        for folder in (self.path.parent, *made):
            _sync(folder)


class KeyVariable:
    """A wrapping key in the environment, as 64 hexadecimal digits."""

    name = "env"

    def __init__(self, variable: str = "FIELDLINE_KEY") -> None:
        self.variable = variable

    def key(self) -> bytes:
        """The 32 bytes of the variable."""
        try:
            key = bytes.fromhex(os.environ[self.variable])
        except (KeyError, ValueError):
            key = b""
        if len(key) != 32:
            raise Misconfigured(f"{self.variable} must hold the wrapping key as 64 hexadecimal digits")
        return key


class Keyring:
    """The tenant's data keys, unwrapped in memory; AES-256-GCM for contents, keyed BLAKE2b for hashes."""

    def __init__(self, content: dict[int, bytes], index: bytes) -> None:
        self._ciphers = {number: AESGCM(key) for number, key in content.items()}
        self._current = max(content)
        self._index = index
        # A row's source values are guessable from an unseeded digest.
        self._digest_seed = int.from_bytes(hashlib.blake2b(b"source digest", key=index, digest_size=8).digest(), "big")

    def seal(self, content: bytes, use: str) -> bytes:
        """Ciphertext of a content; `use` (table, tenant) is bound to it."""
        nonce = os.urandom(_NONCE)
        header = _VERSION + self._current.to_bytes(2, "big") + nonce
        return header + self._ciphers[self._current].encrypt(nonce, content, use.encode())

    def open(self, sealed: bytes, use: str) -> bytes:
        """The content sealed for that use; raises Misconfigured where the key is missing or does not fit."""
        cipher = self._ciphers.get(int.from_bytes(sealed[1:3], "big"))
        if sealed[:1] != _VERSION or cipher is None:
            raise Misconfigured("a stored record was encrypted with a data key that this database no longer has")
        try:
            return cipher.decrypt(sealed[3 : 3 + _NONCE], sealed[3 + _NONCE :], use.encode())
        except InvalidTag:
            raise Misconfigured("a stored record cannot be decrypted: it was changed, or belongs to another key") from None

    def hash_key(self, key: str) -> uuid.UUID:
        """The hash by which a record key is found."""
        return uuid.UUID(bytes=hashlib.blake2b(key.encode(), key=self._index, digest_size=16).digest())

    def hash_keys(self, keys: Iterable[str]) -> bytes:
        """The hashes of many record keys, 16 bytes each, one after another."""
        blake, index = hashlib.blake2b, self._index
        return b"".join([blake(key.encode(), key=index, digest_size=16).digest() for key in list(keys)])

    def hash_body(self, body: bytes) -> bytes:
        """The hash by which two bodies of an event are compared."""
        return hashlib.blake2b(body, key=self._index, digest_size=32).digest()

    @property
    def digest_seed(self) -> int:
        """A secret 64-bit seed for digests of source values."""
        return self._digest_seed


def _write_through(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_keyring(store: Store, provider: KeyProvider) -> Keyring:
    """The keyring of the tenant; its data keys are made and wrapped when the database has none."""
    wrapping = provider.key()
    with store.transaction("keyring") as tx:
        rows = tx.all("keys.list")
        if not rows:
            # Two processes may start at once, and the first one's keys stand: a statement of its own sees them after the wait.
            tx.one("keys.lock")
            rows = tx.all("keys.list")
        if not rows:
            for number, purpose in ((1, "content"), (2, "index")):
                wrapped = aes_key_wrap(wrapping, secrets.token_bytes(32))
                tx.run("keys.add", id=number, purpose=purpose, wrapped=wrapped, provider=provider.name)
            rows = tx.all("keys.list")
    content = {row["id"]: _unwrap(wrapping, row, provider) for row in rows if row["purpose"] == "content"}
    index = next(_unwrap(wrapping, row, provider) for row in rows if row["purpose"] == "index")
    return Keyring(content, index)


def _unwrap(wrapping: bytes, row: Row, provider: KeyProvider) -> bytes:
    try:
        return aes_key_unwrap(wrapping, bytes(row["wrapped"]))
    except InvalidUnwrap:
        raise Misconfigured(
            f"the wrapping key from the provider {provider.name!r} does not open this database's data keys: "
            "give the key that the database was made with (FIELDLINE_KEY or FIELDLINE_KEY_FILE)"
        ) from None


def same(left: bytes, right: bytes) -> bool:
    """Whether two digests are equal, in constant time."""
    return hmac.compare_digest(left, right)

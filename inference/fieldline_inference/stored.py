"""The files of models, in the store and in the cache on disk."""

import fcntl
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.store import Store, Transaction
from fieldline_inference.files import MODEL, digest_of, digest_of_folder

PACKAGE = "fieldline_inference"
PART_BYTES = 8 << 20


def store_files(transaction: Transaction, digest: str, path: Path, external: Sequence[str]) -> None:
    """Stores the model file and its external data in parts; raises Rejected where they changed since they were inspected."""
    if transaction.one("models.has_files", digest=digest):
        return
    hashes = {}
    for name, file in [(MODEL, path), *((each, path.parent / each) for each in external)]:
        hashed = hashlib.sha256()
        for part, content in enumerate(_parts(file)):
            hashed.update(content)
            transaction.run("models.add_part", digest=digest, path=name, part=part, bytes=content)
        hashes[name] = hashed.hexdigest()
    if digest_of(hashes) != digest:
        raise Rejected(f"{path.name}: the model's files changed while they were imported: try again when nobody writes to them")


def fetch_files(store: Store, digest: str, cache_directory: Path) -> Path:
    """The model file of a digest in the cache, written there where it is missing; its bytes are verified at each call."""
    folder = cache_directory / digest.removeprefix("sha256:")
    if not _intact(folder, digest):
        cache_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(cache_directory):
            # Another process may have been faster.
            if not _intact(folder, digest):
                shutil.rmtree(folder, ignore_errors=True)
                _fetch(store, digest, folder)
    return folder / MODEL


def _parts(file: Path) -> Iterator[bytes]:
    with file.open("rb") as content:
        # An empty file is one empty part.
        yield content.read(PART_BYTES)
        while part := content.read(PART_BYTES):
            yield part


def _intact(folder: Path, digest: str) -> bool:
    try:
        return folder.is_dir() and digest_of_folder(folder) == digest
    except OSError:
        return False


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(store: Store, digest: str, folder: Path) -> None:
    fresh = folder.parent / ".fetch"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with store.transaction("models.fetch", PACKAGE) as transaction:
            _write_parts(transaction, digest, fresh)
        if digest_of_folder(fresh) != digest:
            raise Misconfigured(f"the stored files of the model {digest} differ from their digest: restore them from a backup")
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write_parts(transaction: Transaction, digest: str, folder: Path) -> None:
    parts = transaction.all("models.parts", digest=digest)
    if not parts:
        raise Misconfigured(f"the files of the model {digest} are not in the store: import the model again")
    for row in parts:
        file = folder / row["path"]
        if not file.resolve().is_relative_to(folder.resolve()):
            raise Misconfigured(f"the model {digest} has a stored file outside its folder: import the model again")
        file.parent.mkdir(parents=True, exist_ok=True)
        found = transaction.one("models.part", digest=digest, path=row["path"], part=row["part"])
        with file.open("ab") as out:
            out.write(found["bytes"] if found else b"")

"""The files of a model, and the one digest that stands for all of them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

MODEL = "model.onnx"
"""The name of the model file wherever Fieldline keeps it; external data lies beside it under its own names."""


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(hashes: Mapping[str, str]) -> str:
    """The digest of a model from the hash of each of its files.

    A model of one file has the digest that `sha256sum` prints; one with external data has the digest of what
    `sha256sum` prints for all of them, in the order of their paths.
    """
    if set(hashes) == {MODEL}:
        return f"sha256:{hashes[MODEL]}"
    manifest = "".join(f"{hashes[path]}  {path}\n" for path in sorted(hashes))
    return f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"


def digest_of_folder(folder: Path) -> str:
    """The digest of the model that fills a folder; any file too many changes it."""
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    return digest_of({path.relative_to(folder).as_posix(): hash_file(path) for path in files})

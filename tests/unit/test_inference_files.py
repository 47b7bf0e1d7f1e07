"""The digest of a model."""

import hashlib
import subprocess
from pathlib import Path

from tests.models import linear, save

from fieldline_inference.files import MODEL, digest_of_folder


def test_a_model_of_one_file_has_the_digest_that_sha256sum_prints(tmp_path: Path) -> None:
    path = save(linear(), tmp_path / MODEL)
    printed = subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]
    assert digest_of_folder(tmp_path) == f"sha256:{printed}"


def test_a_model_with_external_data_has_the_digest_of_what_sha256sum_prints_for_all_files(tmp_path: Path) -> None:
    save(linear(), tmp_path / MODEL)
    (tmp_path / "weights.bin").write_bytes(b"12345678")
    printed = subprocess.run(["sha256sum", MODEL, "weights.bin"], cwd=tmp_path, capture_output=True, check=True).stdout
    assert digest_of_folder(tmp_path) == f"sha256:{hashlib.sha256(printed).hexdigest()}"


def test_a_file_too_many_changes_the_digest(tmp_path: Path) -> None:
    save(linear(), tmp_path / MODEL)
    before = digest_of_folder(tmp_path)
    (tmp_path / "more").touch()
    assert digest_of_folder(tmp_path) != before

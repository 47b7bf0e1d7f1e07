"""Secrets behind references."""

import time
from pathlib import Path

import pytest

from fieldline_core.errors import Misconfigured
from fieldline_core.secret import Secret


def test_a_secret_file_that_is_just_written_anew_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text("")
    monkeypatch.setattr(time, "sleep", lambda _: file.write_text("new\n"))

    assert Secret(reference=f"file:{file}").reveal() == "new"


def test_a_secret_file_that_stays_empty_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text("\n")
    monkeypatch.setattr(time, "sleep", lambda _: None)

    with pytest.raises(Misconfigured, match=f"{file} is empty"):
        Secret(reference=f"file:{file}").reveal()


def test_a_secret_file_that_is_no_text_shows_nothing_of_itself(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"secret\xff")

    with pytest.raises(Misconfigured, match=f"{file} is no text") as caught:
        Secret(reference=f"file:{file}").reveal()
    assert "ff" not in str(caught.value).removeprefix(str(file))
    assert caught.value.__suppress_context__

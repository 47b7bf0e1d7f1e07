"""Encryption of contents and hashes of keys."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_core.errors import Misconfigured
from fieldline_core.keyring import KeyFile, Keyring, KeyVariable, open_keyring
from fieldline_core.store import Store

RING = Keyring({1: b"1" * 32}, b"i" * 32)


@given(st.binary(max_size=500))
def test_a_content_is_opened_only_for_the_use_it_was_sealed_for(content: bytes) -> None:
    sealed = RING.seal(content, "chunk")

    assert RING.open(sealed, "chunk") == content
    with pytest.raises(Misconfigured, match="decrypted"):
        RING.open(sealed, "inbox")


@given(st.integers(3, 60), st.integers(1, 255))
def test_a_changed_byte_is_noticed(place: int, flip: int) -> None:
    sealed = bytearray(RING.seal(b"a record's content, long enough for the places", "chunk"))
    sealed[place] ^= flip

    with pytest.raises(Misconfigured):
        RING.open(bytes(sealed), "chunk")


def test_contents_under_an_earlier_data_key_are_still_opened() -> None:
    old = RING.seal(b"x", "chunk")
    new = Keyring({1: b"1" * 32, 3: b"3" * 32}, b"i" * 32)

    assert new.open(old, "chunk") == b"x"
    assert new.seal(b"x", "chunk")[1:3] == (3).to_bytes(2, "big")


@given(st.lists(st.text(max_size=10), max_size=20))
def test_many_keys_are_hashed_as_one_is(keys: list[str]) -> None:
    assert RING.hash_keys(keys) == b"".join(RING.hash_key(key).bytes for key in keys)


def test_a_key_file_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    provider = KeyFile(tmp_path / "keys" / "wrapping.key")

    assert provider.key() == provider.key()
    assert (tmp_path / "keys" / "wrapping.key").stat().st_mode & 0o777 == 0o400
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["wrapping.key"]


def test_a_key_is_on_the_disk_before_it_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, link = os.fsync, os.link

    def synced(descriptor: int) -> None:
        status = os.fstat(descriptor)
        events.append("folder" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} bytes, mode {status.st_mode & 0o777:o}")
        fsync(descriptor)

    def linked(draft: Path, path: Path) -> None:
        events.append("link")
        link(draft, path)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    KeyFile(tmp_path / "wrapping.key").key()

    assert events == ["32 bytes, mode 400", "link", "folder"]


def test_a_key_of_the_wrong_length_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "short").write_bytes(b"short")
    monkeypatch.setenv("FIELDLINE_KEY", "abc")

    with pytest.raises(Misconfigured, match="32 bytes"):
        KeyFile(tmp_path / "short").key()
    with pytest.raises(Misconfigured, match="64 hexadecimal digits"):
        KeyVariable().key()


def test_another_wrapping_key_does_not_open_the_database(database_url: str, tmp_path: Path) -> None:
    store = Store(database_url)
    sealed = open_keyring(store, KeyFile(tmp_path / "one")).seal(b"x", "chunk")

    assert open_keyring(store, KeyFile(tmp_path / "one")).open(sealed, "chunk") == b"x"
    with pytest.raises(Misconfigured, match="does not open"):
        open_keyring(store, KeyFile(tmp_path / "two"))
    store.close()

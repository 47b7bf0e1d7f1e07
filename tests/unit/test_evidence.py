"""Evidence: what is sealed comes back, what was changed does not, and the root stands for each line with its salt."""

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, time
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import evidence_bundles as made
from tests.unit.verifier_runs import check

from fieldline_core.errors import Misconfigured
from fieldline_core.evidence import Envelope, Sealed, seal, unseal
from fieldline_core.keyring import Keyring
from fieldline_core.ledger import verify_inclusion
from fieldline_core.lines import SALT_BYTES
from fieldline_core.pipeline.prove import part_of_batch, whole_batch

RING = Keyring(content={1: b"1" * 32}, index=b"i" * 32)
HEADER = {"chunk": 7, "flow": "größe", "release": "ab" * 32, "models": [{"name": "m", "version": 1}], "detail": {"job": None}}
FRAME = pl.DataFrame(
    {
        "key": ["1", "2", "3", "4", "5"],
        "source.name": ["Ann", 'B"ob', None, "", "ü"],
        "source.raw": [b"\x00", None, b"", b"a", b"b"],
        "source.kind": pl.Series(["a", "b", None, "a", "b"], dtype=pl.Categorical),
        "feature.list": [[1.5, float("nan")], [], None, [None], [-0.0]],
        "output.score": pl.Series([0.1, 1e-7, None, 3.0, 4.0], dtype=pl.Float32),
        "field.parts": [[{"on": date(2024, 1, 2), "at": time(1), "no": Decimal("1.50")}], [], None, [None], []],
        "held.reason": [None, None, "no", None, None],
    }
)
ENVELOPE = Envelope.of(HEADER, FRAME)


def stored(sealed: Sealed, **others: Any) -> dict[str, Any]:
    """The row that the store gives back."""
    return {"kind": sealed.kind, "body": sealed.body, "wrapped": sealed.key, **others}


def tree_hash(hashes: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 over leaves that are hashed already, as its text has it."""
    if len(hashes) == 1:
        return hashes[0]
    left = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\x01" + tree_hash(hashes[:left]) + tree_hash(hashes[left:])).digest()


def erased(envelope: Envelope, leaf: int) -> Envelope:
    """The envelope without the values and the salt of a row."""
    row = pl.int_range(envelope.frame.height, eager=True) == leaf - 1
    frame = envelope.frame.select(pl.when(~row).then(pl.all()))
    salts = bytearray(envelope.salts)
    salts[SALT_BYTES * leaf : SALT_BYTES * (leaf + 1)] = bytes(SALT_BYTES)
    return replace(envelope, frame=frame, salts=bytes(salts), erased={**envelope.erased, leaf: envelope.commitments()[leaf]})


def test_what_was_sealed_comes_back_with_the_same_commitments() -> None:
    again = unseal(RING, stored(seal(RING, "decisions", ENVELOPE)))

    assert again.header == {"lines": 1, **HEADER}
    assert again.frame.equals(FRAME)
    assert again.lines() == ENVELOPE.lines()
    assert again.commitments() == ENVELOPE.commitments()


@given(st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5), max_size=3), st.integers(0, 6))
def test_an_envelope_survives_its_bytes(facts: dict[str, Any], rows: int) -> None:
    envelope = Envelope.of({"detail": facts}, FRAME.head(rows))
    again = Envelope.from_bytes(envelope.to_bytes())

    assert (again.header, again.salts, again.erased) == (envelope.header, envelope.salts, {})
    assert again.commitments() == envelope.commitments()


def test_the_lines_are_the_header_and_the_rows_in_order() -> None:
    lines = ENVELOPE.lines()

    assert lines[0].startswith(b'{"chunk":7,"detail":{"job":null},"flow":"gr\xc3\xb6\xc3\x9fe","lines":1,')
    assert lines[2].startswith(rb'{"key":"2","source":{"name":"B\"ob","raw":null,"kind":"b"},"features":{"list":[]}')
    assert [ENVELOPE.line(leaf) for leaf in range(6)] == lines


def test_the_root_is_that_of_salts_and_lines() -> None:
    sealed = seal(RING, "decisions", ENVELOPE)
    leaves = [ENVELOPE.salt(leaf) + line for leaf, line in enumerate(ENVELOPE.lines())]

    assert sealed.root == tree_hash([sha256(b"\x00" + leaf).digest() for leaf in leaves])
    assert sealed.batch == {"root": sealed.root.hex(), "size": 6}


def test_a_batch_without_rows_has_the_root_of_its_header() -> None:
    envelope = Envelope.of(HEADER, FRAME.clear())
    sealed = seal(RING, "receipts", envelope)

    assert sealed.root == sha256(b"\x00" + envelope.salts + envelope.line(0)).digest()
    assert sealed.batch["size"] == 1


@given(st.sets(st.integers(1, 5), min_size=1))
def test_an_erased_row_keeps_its_commitment_and_its_neighbours_theirs(leaves: set[int]) -> None:
    envelope = ENVELOPE
    for leaf in leaves:
        envelope = erased(envelope, leaf)
    again = Envelope.from_bytes(envelope.to_bytes())

    assert again.commitments() == ENVELOPE.commitments()
    assert seal(RING, "decisions", again).root == seal(RING, "decisions", ENVELOPE).root
    assert [again.lines()[leaf] == ENVELOPE.lines()[leaf] for leaf in range(6)] == [leaf not in leaves for leaf in range(6)]
    assert again.frame["key"].is_null().sum() == len(leaves)


def test_the_same_rows_are_never_sealed_alike() -> None:
    one, other = (Envelope.of(HEADER, FRAME) for _ in range(2))
    first, second, again = seal(RING, "decisions", one), seal(RING, "decisions", other), seal(RING, "decisions", one)

    assert one.lines() == other.lines()
    assert not set(one.commitments()) & set(other.commitments())
    assert first.root != second.root
    assert first.root == again.root
    assert len({first.body, second.body, again.body}) == len({first.key, second.key, again.key}) == 3


def test_rows_with_equal_values_have_commitments_of_their_own() -> None:
    envelope = Envelope.of({}, pl.DataFrame({"key": ["1"] * 100}))

    assert len(set(envelope.commitments())) == 101


def test_a_sealed_body_shows_nothing_of_its_rows() -> None:
    envelope = Envelope.of({}, pl.DataFrame({"key": ["a key that stands out"]}))

    assert b"a key that stands out" in envelope.to_bytes()
    assert b"a key that stands out" not in seal(RING, "decisions", envelope).body


@given(st.integers(min_value=0), st.integers(1, 255))
def test_a_changed_byte_is_noticed(place: int, flip: int) -> None:
    sealed = seal(RING, "decisions", ENVELOPE)
    for part, content in (("body", bytearray(sealed.body)), ("wrapped", bytearray(sealed.key))):
        content[place % len(content)] ^= flip
        with pytest.raises(Misconfigured, match=r"decrypted|data key"):
            unseal(RING, stored(sealed, **{part: bytes(content)}))


def test_the_key_of_another_batch_opens_nothing() -> None:
    one, other = (seal(RING, "decisions", ENVELOPE) for _ in range(2))

    with pytest.raises(Misconfigured, match="it was changed, or its key is that of another batch"):
        unseal(RING, stored(one, wrapped=other.key))


def test_decisions_cannot_be_passed_off_as_receipts() -> None:
    with pytest.raises(Misconfigured, match="decrypted"):
        unseal(RING, stored(seal(RING, "decisions", ENVELOPE), kind="receipts"))


def test_a_missing_key_is_told_with_what_to_do() -> None:
    with pytest.raises(Misconfigured, match="not in the table batch_key: restore the newest backup of the keys"):
        unseal(RING, stored(seal(RING, "decisions", ENVELOPE), wrapped=None))


def test_another_databases_keys_open_nothing() -> None:
    with pytest.raises(Misconfigured, match="decrypted"):
        unseal(Keyring(content={1: b"2" * 32}, index=b"i" * 32), stored(seal(RING, "decisions", ENVELOPE)))


def test_evidence_of_a_later_version_is_refused_in_words() -> None:
    later = ENVELOPE.to_bytes().replace(b'{"schema":1,', b'{"schema":9,', 1)

    with pytest.raises(ValueError, match="schema 9 needs a newer Fieldline"):
        Envelope.from_bytes(later)


def test_the_verifier_accepts_a_batch_whole_and_in_part_and_no_other_line(tmp_path: Path) -> None:
    sealed = seal(RING, "decisions", ENVELOPE)
    envelope = erased(unseal(RING, stored(sealed)), 4)
    entries = [made.entry(0), made.entry(1, "decisions.recorded", flow="größe", batch=sealed.batch, scored=4, held=1, skipped=0)]

    for items in (list(whole_batch(envelope)), list(part_of_batch(envelope, [0, 2, 4]))):
        forged = [{**each, "line": each["line"].replace('"B', '"b')} if "line" in each else each for each in items]
        assert not check(tmp_path, made.bundle(entries, [1], {1: items})).found
        assert check(tmp_path, made.bundle(entries, [1], {1: forged})).failed["batches"]


@pytest.mark.parametrize("rows", [0, 1, 254, 255, 256, 511, 512, 700, 1300])
def test_a_row_is_proved_from_the_lines_of_its_block_alone(rows: int) -> None:
    keys = pl.Series("key", [str(number) for number in range(rows)], dtype=pl.String)
    sealed = seal(RING, "decisions", Envelope.of(HEADER, pl.DataFrame([keys])))
    envelope = unseal(RING, stored(sealed))
    leaves = sorted({0, rows // 3, min(255, rows), min(256, rows), max(0, rows - 1), rows})

    assert sealed.root == tree_hash(envelope.commitments())
    for item in part_of_batch(envelope, leaves):
        leaf = sha256(b"\x00" + b64decode(item["salt"]) + item["line"].encode()).digest()
        verify_inclusion(leaf, item["row"], rows + 1, [b64decode(each) for each in item["proof"]], sealed.root)

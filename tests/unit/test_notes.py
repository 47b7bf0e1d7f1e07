"""Signed notes, cosignatures and checkpoints, as C2SP writes them and Go's sumdb/note reads them."""

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fieldline_core.errors import Misconfigured
from fieldline_core.ledger import (
    EMPTY_ROOT,
    Checkpoint,
    Kind,
    LedgerError,
    NoteError,
    Signature,
    SigningKey,
    VerifierKey,
    hash_leaf,
    open_checkpoint,
    open_note,
    sign_checkpoint,
    write_note,
)

# The example of Go's package golang.org/x/mod/sumdb/note.
PETER = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
ENOCH = VerifierKey.parse("EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop")
PETER_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
ENOCH_LINE = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"

LOG = SigningKey("fieldline.example/log/default", b"l" * 32)
WITNESS = SigningKey("witness.example/w1", b"w" * 32)
AT = 1_679_315_147
CHECKPOINT = Checkpoint(LOG.verifier.name, 20_852_163, hash_leaf(b"root"))


def note(*lines: str, text: str = TEXT) -> bytes:
    return f"{text}\n{''.join(lines)}".encode()


def test_a_note_is_signed_as_go_signs_it() -> None:
    peter = SigningKey("PeterNeumann", PETER_SEED)

    assert peter.verifier == PETER
    assert peter.sign(TEXT) == PETER_LINE
    assert write_note(TEXT, [peter.sign(TEXT), ENOCH_LINE]) == note(PETER_LINE, ENOCH_LINE)


def test_a_note_shows_the_known_keys_that_signed_it() -> None:
    assert open_note(note(PETER_LINE, ENOCH_LINE), [ENOCH, PETER]).signatures == (Signature(PETER), Signature(ENOCH))
    assert open_note(note(PETER_LINE, ENOCH_LINE), [ENOCH]).signatures == (Signature(ENOCH),)
    assert open_note(note(PETER_LINE), [PETER]).text == TEXT


def test_a_key_counts_once_however_often_it_signed() -> None:
    assert open_note(note(PETER_LINE, PETER_LINE), [PETER, PETER]).signatures == (Signature(PETER),)


def test_a_note_that_only_strangers_signed_is_refused() -> None:
    with pytest.raises(NoteError, match=r"no known key signed the note, only EnochRoot\+af0cfe78"):
        open_note(note(ENOCH_LINE), [PETER])
    with pytest.raises(NoteError, match="no known key"):
        open_note(note(PETER_LINE), [])
    # The same name alone, or the same number alone, is a stranger's.
    with pytest.raises(NoteError, match="no known key"):
        open_note(note(PETER_LINE), [SigningKey("PeterNeumann", b"x" * 32).verifier])
    with pytest.raises(NoteError, match="no known key"):
        open_note(note(PETER_LINE.replace("PeterNeumann", "Peter")), [PETER])


def test_a_wrong_signature_of_a_known_key_is_an_error_whoever_else_signed() -> None:
    for wrong in (PETER_LINE[:60] + "ABCD" + PETER_LINE[60:], PETER_LINE[:60] + "ABCD" + PETER_LINE[64:]):
        for lines in ([wrong], [ENOCH_LINE, wrong], [PETER_LINE, wrong]):
            with pytest.raises(NoteError, match="the signature of PeterNeumann under the note is wrong"):
                open_note(note(*lines), [PETER, ENOCH])
        assert open_note(note(ENOCH_LINE, wrong), [ENOCH]).signatures == (Signature(ENOCH),)


@given(st.integers(0, len(TEXT.encode()) * 8 - 1))
def test_a_flipped_bit_in_the_text_is_detected(bit: int) -> None:
    text = bytearray(TEXT.encode())
    text[bit // 8] ^= 1 << bit % 8

    with pytest.raises(NoteError):
        open_note(bytes(text) + b"\n" + PETER_LINE.encode(), [PETER])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        TEXT.encode(),
        note(),
        note(PETER_LINE)[:-1],
        note(PETER_LINE)[:-1] + b"x",
        note(PETER_LINE, "\n"),
        note(PETER_LINE, "Unexpected line.\n"),
        note("\x01", PETER_LINE),
        b"\x01" + note(PETER_LINE),
        b"\xff" + note(PETER_LINE),
        note(PETER_LINE).replace(b"\n", b"\r\n"),
        note(PETER_LINE.replace("—", "-")),
        note(PETER_LINE.replace("— ", "—")),
        note(PETER_LINE.replace("— ", "")),
        note(PETER_LINE.replace("— PeterNeumann", "— Bad Name")),
        note(PETER_LINE.replace("— PeterNeumann", "— Peter\u2003Neumann")),
        note(PETER_LINE.replace("PeterNeumann", "Peter+Neumann")),
        note(PETER_LINE.replace("PeterNeumann ", " ")),
        note(PETER_LINE.replace("=", "")),
        note(PETER_LINE.replace("AM=", "AN=")),
        note(PETER_LINE.replace("x08go", "x08-o")),
        note("— PeterNeumann \n"),
        note(PETER_LINE, "— EnochRoot x08gow==\n"),
        note(*[PETER_LINE] * 101),
        write_note("x" * (1 << 18) + "\n", [SigningKey("PeterNeumann", PETER_SEED).sign("x" * (1 << 18) + "\n")]),
    ],
)
def test_what_is_not_quite_a_note_is_refused(data: bytes) -> None:
    with pytest.raises(NoteError):
        open_note(data, [PETER])


@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 300))
def test_no_bytes_make_the_reader_of_notes_fail_otherwise(junk: bytes, start: int, cut: int) -> None:
    whole = note(PETER_LINE)
    changed = whole[:start] + junk + whole[start + cut :]

    try:
        assert open_note(changed, [PETER]).text == TEXT
    except NoteError:
        assert changed != whole


def test_a_hundred_signatures_and_empty_lines_in_the_text_are_read() -> None:
    text = "\none\n\n\ntwo\n\n"
    signed = write_note(text, [*[ENOCH_LINE] * 99, LOG.sign(text)])

    assert open_note(signed, [LOG.verifier]).text == text


@pytest.mark.parametrize("text", ["", "no newline", "a\tb\n", "a\x00\n", "a\r\n", "\ud800\n"])
def test_a_text_that_no_note_may_hold_is_not_signed(text: str) -> None:
    for make in (LOG.sign, lambda text: LOG.cosign(text, AT), lambda text: write_note(text, [PETER_LINE])):
        with pytest.raises(NoteError, match="the text of a note"):
            make(text)


def test_a_public_key_is_read_back_as_it_was_written() -> None:
    assert str(PETER) == "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    for key in (PETER, LOG.verifier, WITNESS.cosigner):
        assert VerifierKey.parse(str(key)) == key
    assert LOG.verifier.id != LOG.cosigner.id
    assert LOG.cosigner.kind is Kind.COSIGNATURE


def test_a_damaged_public_key_is_refused_in_words() -> None:
    vkey = str(PETER)
    pieces = {vkey[start:end] for start in range(len(vkey)) for end in range(start + 1, len(vkey) + 1)} - {vkey}
    changed = {vkey[:place] + chr(ord(sign) + 1) + vkey[place + 1 :] for place, sign in enumerate(vkey)}

    for wrong in ["", vkey + "\n", vkey + "=", *pieces, *changed]:
        with pytest.raises(Misconfigured):
            VerifierKey.parse(wrong)
    # Of another length, and of another kind: their numbers are right.
    for wrong in (
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ):
        with pytest.raises(Misconfigured):
            VerifierKey.parse(wrong)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\u00a0b", "a\nb", "a\x00b", "\ud800"])
def test_a_name_that_no_key_may_have_is_refused(name: str) -> None:
    with pytest.raises(Misconfigured, match="cannot name a signing key"):
        SigningKey(name, b"s" * 32)


def test_a_private_key_does_not_show_itself() -> None:
    assert repr(LOG) == "SigningKey(fieldline.example/log/default)"


def test_two_known_keys_of_one_name_and_number_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VerifierKey, "id", b"same")

    with pytest.raises(Misconfigured, match="two known keys are called"):
        open_note(note(PETER_LINE), [PETER, replace(ENOCH, name="PeterNeumann")])


def test_a_checkpoint_has_the_text_of_the_specification() -> None:
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    checkpoint = Checkpoint.parse(text)

    assert (checkpoint.origin, checkpoint.size, checkpoint.root[:2]) == ("example.com/behind-the-sofa", 20_852_163, b"\x0a\xc5")
    assert checkpoint.text == text
    assert Checkpoint.parse(text + "an extension\n").extensions == ("an extension",)
    assert Checkpoint("empty.example", 0, EMPTY_ROOT).text.split("\n")[1] == "0"


@given(st.integers(1, (1 << 63) - 1), st.binary(min_size=32, max_size=32), st.lists(st.sampled_from(["a", "b c"]), max_size=2))
def test_a_checkpoint_is_read_back_as_it_was_written(size: int, root: bytes, extensions: list[str]) -> None:
    checkpoint = Checkpoint("fieldline.example/log/default", size, root, tuple(extensions))

    assert Checkpoint.parse(checkpoint.text) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n",
        "origin\n1\n",
        "origin\n1\n" + "A" * 43 + "=",
        "origin\n1\n" + "A" * 43 + "=\nunended",
        "\n1\n" + "A" * 43 + "=\n",
        "origin\n01\n" + "A" * 43 + "=\n",
        "origin\n+1\n" + "A" * 43 + "=\n",
        "origin\n-1\n" + "A" * 43 + "=\n",
        "origin\n1_0\n" + "A" * 43 + "=\n",
        "origin\n 1\n" + "A" * 43 + "=\n",
        "origin\n\u0661\n" + "A" * 43 + "=\n",
        "origin\n9223372036854775808\n" + "A" * 43 + "=\n",
        "origin\n" + "9" * 5000 + "\n" + "A" * 43 + "=\n",
        "origin\n1\n" + "A" * 43 + "\n",
        "origin\n1\n" + "A" * 42 + "B=\n",
        "origin\n1\n" + "A" * 40 + "\n",
        "origin\n1\n\u00e4\n",
        "origin\n0\n" + "A" * 43 + "=\n",
        "origin\n1\n" + "A" * 43 + "=\n\n",
        "origin\r\n1\r\n" + "A" * 43 + "=\r\n",
    ],
)
def test_what_is_not_quite_a_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "change", [{"origin": ""}, {"origin": "a\nb"}, {"origin": "\ud800"}, {"size": -1}, {"root": b"short"}, {"extensions": ("",)}]
)
def test_a_checkpoint_that_cannot_be_written_is_not_made(change: dict[str, str]) -> None:
    with pytest.raises(NoteError):
        replace(CHECKPOINT, **change)


def test_a_signed_checkpoint_is_opened_with_the_key_of_its_log() -> None:
    opened = open_checkpoint(sign_checkpoint(CHECKPOINT, LOG), LOG.verifier, [WITNESS.cosigner])

    assert opened.checkpoint == CHECKPOINT
    assert opened.cosignatures == ()


def test_a_witness_says_when_it_saw_the_checkpoint() -> None:
    signed = sign_checkpoint(CHECKPOINT, LOG) + WITNESS.cosign(CHECKPOINT.text, AT).encode()

    assert open_checkpoint(signed, LOG.verifier, [WITNESS.cosigner]).cosignatures == (Signature(WITNESS.cosigner, AT),)
    assert open_checkpoint(signed, LOG.verifier).cosignatures == ()


def test_a_cosignature_is_the_time_and_a_signature_over_time_and_checkpoint() -> None:
    name, encoded = WITNESS.cosign(CHECKPOINT.text, AT).removeprefix("— ").split()
    data = base64.b64decode(encoded)

    assert (name, data[:4], int.from_bytes(data[4:12], "big"), len(data)) == ("witness.example/w1", WITNESS.cosigner.id, AT, 76)
    message = f"cosignature/v1\ntime {AT}\n{CHECKPOINT.text}"
    assert WITNESS.verifier.holds(message, data[12:])


@pytest.mark.parametrize("changed", [slice(4, 12), slice(12, 76)])
def test_a_changed_cosignature_is_an_error(changed: slice) -> None:
    name, encoded = WITNESS.cosign(CHECKPOINT.text, AT).removeprefix("— ").split()
    data = bytearray(base64.b64decode(encoded))
    for place in range(*changed.indices(len(data))):
        data[place] ^= 1
        line = f"— {name} {base64.b64encode(data).decode()}\n"
        with pytest.raises(NoteError, match=r"the signature of witness\.example/w1 under the note is wrong"):
            open_checkpoint(sign_checkpoint(CHECKPOINT, LOG) + line.encode(), LOG.verifier, [WITNESS.cosigner])
        data[place] ^= 1


@pytest.mark.parametrize("signature", [b"", b"short", b"s" * 64, b"s" * 72])
def test_a_cosignature_of_another_form_does_not_hold(signature: bytes) -> None:
    assert not WITNESS.cosigner.holds(CHECKPOINT.text, signature)


def test_a_cosignature_is_of_a_time_that_the_specification_allows() -> None:
    late = 1 << 63
    signature = Ed25519PrivateKey.from_private_bytes(b"w" * 32).sign(f"cosignature/v1\ntime {late}\n{CHECKPOINT.text}".encode())

    assert not WITNESS.cosigner.holds(CHECKPOINT.text, late.to_bytes(8, "big") + signature)
    for time in (-1, late):
        with pytest.raises(NoteError, match="is no time"):
            WITNESS.cosign(CHECKPOINT.text, time)


def test_a_witness_that_cosigned_twice_counts_once() -> None:
    text = CHECKPOINT.text
    signed = write_note(text, [LOG.sign(text), WITNESS.cosign(text, AT), WITNESS.cosign(text, AT + 60)])

    assert open_checkpoint(signed, LOG.verifier, [WITNESS.cosigner]).cosignatures == (Signature(WITNESS.cosigner, AT),)


def test_witnesses_do_not_stand_in_for_the_log() -> None:
    text = CHECKPOINT.text

    with pytest.raises(NoteError, match="not signed by its log"):
        open_checkpoint(write_note(text, [WITNESS.cosign(text, AT)]), LOG.verifier, [WITNESS.cosigner])


def test_a_log_cannot_sign_for_another() -> None:
    other = replace(CHECKPOINT, origin="fieldline.example/log/other")

    with pytest.raises(NoteError, match=r"is one of 'fieldline\.example/log/other', and signed by fieldline\.example/log/default"):
        open_checkpoint(sign_checkpoint(other, LOG), LOG.verifier)


def test_a_signed_note_that_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(LedgerError, match="is no checkpoint"):
        open_checkpoint(write_note("hello\n", [LOG.sign("hello\n")]), LOG.verifier)

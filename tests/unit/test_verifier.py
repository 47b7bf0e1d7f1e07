"""The verifier that an auditor runs, on evidence by another writer: it accepts what holds, and says what does not and where."""

import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import evidence_bundles as made
from tests.unit.evidence_bundles import KEY, WITNESSES, Rows, Signer, write_folder, write_zip
from tests.unit.verifier_runs import BATCH, ENTRIES, change, check, good_bundle, problems

import fieldline_verify
from fieldline_verify import Checkpoint, Key, Tree, Unreadable, is_consistent, is_included, main, verify

# Trees, notes and keys against the standards


def test_roots_are_those_of_the_certificate_transparency_vectors() -> None:
    data = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    leaves = made.leaves([bytes.fromhex(each) for each in data])

    assert Tree(leaves).root().hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    assert made.mth(leaves) == Tree(leaves).root()


def test_every_proof_of_small_trees_holds_and_no_other_does() -> None:
    leaves = made.leaves([bytes([i]) for i in range(34)])
    for size in range(35):
        root = made.mth(leaves[:size])
        assert Tree(leaves[:size]).root() == root
        for index in range(size):
            proof = made.path(index, leaves[:size])
            assert is_included(leaves[index], index, size, root, proof)
            wrong = [(index + 1, size, proof), (index, size, [*proof, root]), (index, size, proof[:-1] if proof else [root])]
            assert not any(is_included(leaves[index], i, n, root, p) for i, n, p in wrong)
        for old in range(1, size + 1):
            proof, old_root = made.subproof(old, leaves[:size]), made.mth(leaves[:old])
            assert is_consistent(old, old_root, size, root, proof)
            assert not is_consistent(old, root if old < size else leaves[0] * 2, size, root, proof)
            assert not is_consistent(old, old_root, size, root, [*proof, root])
            assert old == size or not is_consistent(old, old_root, size, root, proof[:-1])
            assert not is_consistent(size + 1, old_root, size, root, proof)


def test_a_signature_of_another_program_is_accepted() -> None:
    # From the tests of golang.org/x/mod/sumdb/note.
    key = Key.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", 1)
    text = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    line = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="

    assert key.has_signed(text, fieldline_verify.from_base64(line)[4:])
    assert not key.has_signed(text + b"\n", fieldline_verify.from_base64(line)[4:])


NOTE = made.checkpoint(ENTRIES)


@pytest.mark.parametrize(
    "note",
    [
        b"", b"\n\n", b"a\n1\n", NOTE[:-1], NOTE + b"\n", b"\xff" + NOTE, NOTE + b"\xe2\x80\x94 x AA==\n" * 100,
        *(NOTE.replace(b"\n700\n", b"\n" + size + b"\n") for size in (b"0700", b"\xd9\xa7", b"-1", b"9" * 19, b"700\r")),
    ],
)  # fmt: skip
def test_a_malformed_checkpoint_is_refused(note: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Checkpoint.parse(note)


# What holds


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_good_bundle_holds_as_a_zip(tmp_path: Path, method: int) -> None:
    report = verify(str(write_zip(tmp_path / "evidence.zip", good_bundle(), method)), KEY.vkey, [], None, [])

    assert not report.found, report.as_text()
    assert "Verdict: all that was checked holds." in report.as_text()
    assert "OK           entries: 5 entries, each one in the log" in report.as_text()


def test_a_good_bundle_holds_as_a_folder_and_says_what_was_erased(tmp_path: Path) -> None:
    text = check(tmp_path, good_bundle()).as_text()

    assert "3 batches, 6 lines as they were recorded, 2 lines erased or withheld" in text
    assert "the log continues 5 checkpoints of it" in text
    assert "not checked  whole log: it is not in the bundle" in text


def test_few_decisions_are_printed_and_nothing_in_them_steers_a_terminal(tmp_path: Path) -> None:
    nasty = Rows(['{"flow":"x"}', json.dumps({"key": "\x1b[2J\u202e\ud800", "outputs": {"score": 0.5}})])
    entries = [made.decisions(1, nasty, 0, flow="flow\x07")]
    text = check(tmp_path, made.bundle(entries, [0], {0: nasty.items()})).as_text()

    assert "What was recorded:\n  entry 0, row 0: decisions.recorded, flow flow\\x07, 2026-11-21T16:00:01.000000Z" in text
    assert '    outputs: {"score": 0.5}\n' in text
    assert 'key: "\\u001b[2J\\u202e\\ud800"' in text
    assert all(c.isprintable() or c == "\n" for c in text)


def test_a_key_that_comes_with_the_bundle_must_be_compared_by_a_person(tmp_path: Path) -> None:
    report = check(tmp_path, good_bundle(), key=None)

    assert not report.found
    assert "not checked  key: it came with the bundle: compare its fingerprint" in report.as_text()
    assert f"Fingerprint  {KEY.id.hex()}" in report.as_text()
    assert report.as_text().endswith("It is as good as its key: compare the fingerprint.")


# Keys and witnesses


def test_another_key_than_the_one_given_is_refused(tmp_path: Path) -> None:
    other = Signer(KEY.name, seed=b"other")
    report = check(tmp_path, good_bundle(), key=other)

    assert report.failed["key"] == report.failed["signature"] == 1
    resigned = made.bundle(ENTRIES, [0], signers=[other], key=other)
    assert check(tmp_path, resigned).failed["signature"] == 1
    assert not check(tmp_path, resigned, key=other).found


@pytest.mark.parametrize(
    ("cosigned", "require", "holds"), [(3, None, True), (2, 2, True), (2, None, False), (1, 2, False), (0, 1, False)]
)
def test_enough_witnesses_must_have_cosigned(tmp_path: Path, cosigned: int, require: int | None, holds: bool) -> None:
    files = made.bundle(ENTRIES, [0], signers=[KEY, *WITNESSES[:cosigned]])
    report = check(tmp_path, files, witnesses=[each.vkey for each in WITNESSES], require=require)

    assert bool(report.found) is not holds
    assert report.tail["entries"] == (0 if holds else 700)
    assert ("witness.example/one at 2026-11-18 " in report.as_text()) is (cosigned > 0)


def test_a_cosignature_for_another_tree_does_not_count(tmp_path: Path) -> None:
    files = made.bundle(ENTRIES, [0])
    stolen = made.checkpoint(ENTRIES[:-1], signers=WITNESSES[:1]).decode().partition("\n\n")[2]
    files["checkpoint"] += stolen.encode()

    assert check(tmp_path, files, witnesses=[WITNESSES[0].vkey]).failed["witnesses"] == 1


def test_an_older_checkpoint_that_witnesses_cosigned_protects_what_came_before_it(tmp_path: Path) -> None:
    files = made.bundle(ENTRIES, [0], older=[500], signers=[KEY, WITNESSES[0]])
    files["checkpoint"] = made.checkpoint(ENTRIES)
    report = check(tmp_path, files, witnesses=[WITNESSES[0].vkey])

    assert report.tail == {"from": 500, "entries": 200, "after": "cosigned by witnesses"}


@pytest.mark.parametrize(
    ("witnesses", "require"),
    [
        ([WITNESSES[0].vkey] * 2, None), ([WITNESSES[0].vkey], 2), ([], 1), ([KEY.vkey], None),
        ([Signer(KEY.name, 4).vkey], None), (["x"], None),
    ],
)  # fmt: skip
def test_witnesses_that_are_not_independent_are_refused(tmp_path: Path, witnesses: list[str], require: int | None) -> None:
    with pytest.raises(Unreadable):
        check(tmp_path, good_bundle(), witnesses=witnesses, require=require)


# What does not hold in a bundle


def test_every_problem_is_named_with_its_place(tmp_path: Path) -> None:
    files = change(good_bundle(), "entries.jsonl", 1, leaf=made.b64(made.entry(2)))
    files = change(files, "entries.jsonl", 4, index=3)
    files = change(files, "batches/0.jsonl", 1, line='{"key":"r0","outputs":{"score":1.0}}')
    files = change(files, "batches/6.jsonl", 1, salt=made.b64(bytes(16)))
    files = change(files, "consistency.jsonl", 2, proof=[])

    found = problems(check(tmp_path, files))

    assert [each.split(":")[0] for each in found] == [
        "entries.jsonl, line 2", "entries.jsonl, line 5", "consistency.jsonl, line 3", "batches/0.jsonl", "batches/6.jsonl, line 2",
    ]  # fmt: skip
    assert found[2].endswith("its history was changed, or the proof was")
    assert found[3].endswith("its 2 lines do not have the root of the 2 that entry 0 recorded")


@pytest.mark.parametrize(
    ("number", "members"),
    [
        (1, {"line": '{"key":"r0","key":"r1"}'}), (1, {"line": "[]"}), (1, {"line": '{"key":\n1}'}),
        (1, {"line": '{"x":NaN}'}), (1, {"line": 7}),
        (1, {"salt": made.b64(bytes(15))}), (1, {"salt": made.b64(bytes(17))}), (1, {"salt": "AAAAAAAAAAAAAAAAAAAAAB=="}),
        (1, {"salt": None}), (1, {"commitment": made.b64(bytes(32))}), (1, {"row": 1}), (0, {"row": 0}),
        (1, {"salt": None, "line": None, "commitment": made.b64(bytes(31))}),
    ],
)  # fmt: skip
def test_a_row_in_another_form_is_refused(tmp_path: Path, number: int, members: dict[str, Any]) -> None:
    found = problems(check(tmp_path, change(good_bundle(), "batches/0.jsonl", number, **members)))

    assert found
    assert found[0].startswith(f"batches/0.jsonl, line {number + 1}: ")


def test_rows_that_are_missing_moved_or_added_are_noticed(tmp_path: Path) -> None:
    whole, part = made.rows(6, 3).items(), made.rows(6, 3).part(range(4))
    for items in (whole[:-1], whole[::-1], [*whole, whole[-1]], [], [part[0], part[0]], [part[2], part[1]]):
        report = check(tmp_path, made.bundle(ENTRIES, [6], {6: items}))
        assert report.failed["batches"], items
        assert not report.rows or len(items) == 2
    assert not check(tmp_path, made.bundle(ENTRIES, [6], {6: part[1:3]})).found


def test_a_batch_of_no_proven_entry_proves_nothing(tmp_path: Path) -> None:
    assert problems(check(tmp_path, made.bundle(ENTRIES, [1], {0: BATCH.items()}))) == [
        "batches/0.jsonl: no proven entry 0 with a batch is in it"
    ]


@pytest.mark.parametrize(
    ("detail", "why"),
    [
        ({"rows": 2}, "counts"), ({"scored": 1, "held": 1}, "counts"), ({"intake": {"from": 0, "rows": 0}}, "counts"),
        ({"scored": 1, "held": 0, "skipped": 1, "intake": {"from": 0, "rows": 1}}, "counts"), ({"intake": 1}, "intake"),
        ({"rows": -1}, "rows"), ({"rows": True}, "rows"), ({"batch": {"root": "x", "size": 2}}, "root"), ({"batch": None}, "batch"),
        ({"batch": {"root": "0" * 64, "size": 0}}, "size"), ({"flow": 0.5}, "number"),
    ],
)  # fmt: skip
def test_counts_of_an_entry_must_fit_its_batch(tmp_path: Path, detail: dict[str, Any], why: str) -> None:
    item = made.entry(1, "decisions.recorded", **{"flow": "f", "batch": BATCH.detail, **detail})
    report = check(tmp_path, made.bundle([item], [0]))

    assert report.failed["entries"] == 1
    assert why in problems(report)[0]


LEAF = made.entry(1)


@pytest.mark.parametrize(
    "leaf",
    [
        b"", b"[]", b"{}", b"\xff", LEAF + b" ", LEAF.replace(b'"v":1', b'"v":2'), LEAF.replace(b'"v":1', b'"v":true'),
        LEAF.replace(b'"id":1', b'"id":1,"id":1'), LEAF.replace(b'"id":1', b'"id":"1"'), LEAF.replace(b"engine", b"\\u0065ngine"),
        b'{"a":' * 50_000, b"9" * 10_000, made.entry(1, "decisions.recorded"), made.entry(1, "log.counted", flows={"f": 1}),
    ],
)  # fmt: skip
def test_an_entry_in_another_form_is_refused(tmp_path: Path, leaf: bytes) -> None:
    found = problems(check(tmp_path, made.bundle([made.entry(0), leaf], [0, 1])))

    assert len(found) == 1
    assert found[0].startswith("entries.jsonl, line 2: ")


def test_an_entry_that_comes_twice_is_noticed(tmp_path: Path) -> None:
    assert check(tmp_path, made.bundle(ENTRIES, [3, 3])).failed["entries"] == 1
    assert "its id 7 has come before" in problems(check(tmp_path, made.bundle([made.entry(7), made.entry(7)], [0, 1])))[0]


# Hostile input


def test_a_zip_that_leads_out_of_itself_or_fills_the_memory_is_refused(tmp_path: Path) -> None:
    for name in ("../x", "/x", "a/../../x", "a//x", "a\\x", "c:x", "a/.", "..", "./x"):
        with pytest.raises(Unreadable, match="leads out of it"):
            verify(str(write_zip(tmp_path / "x.zip", {**good_bundle(), name: b""})), KEY.vkey, [], None, [])
    with pytest.raises(Unreadable, match="more than 200 times"):
        verify(str(write_zip(tmp_path / "x.zip", {**good_bundle(), "batches/0.jsonl": bytes(10**7)})), KEY.vkey, [], None, [])
    link = zipfile.ZipInfo("checkpoint")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(Unreadable, match="is a link"):
        verify(str(tmp_path / "x.zip"), KEY.vkey, [], None, [])
    # A directory of 3 GB, as the last lines of a zip may claim.
    (tmp_path / "x.zip").write_bytes(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 0, 0, 0))
    with open(tmp_path / "x.zip", "wb") as file:
        file.truncate(3 << 30)
        file.seek(3 << 30)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 3 << 30, 0, 0))
    with pytest.raises(Unreadable, match="directory is too large"):
        verify(str(tmp_path / "x.zip"), KEY.vkey, [], None, [])


def test_a_folder_with_links_or_pipes_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "evidence", good_bundle())
    (folder / "index.html").symlink_to("/etc/passwd")
    with pytest.raises(Unreadable, match=r"index\.html is a link"):
        verify(str(folder), KEY.vkey, [], None, [])
    (folder / "index.html").unlink()
    os.mkfifo(folder / "index.html")
    with pytest.raises(Unreadable, match=r"index\.html is a link or a device"):
        verify(str(folder), KEY.vkey, [], None, [])
    with pytest.raises(Unreadable, match="neither a zip nor a folder"):
        verify("/dev/zero", KEY.vkey, [], None, [])


def test_sizes_that_no_log_has_are_answered_at_once(tmp_path: Path) -> None:
    text = f"{KEY.name}\n{2**63 - 1}\n{made.b64(bytes(32))}\n"
    files = {**made.stored_log(ENTRIES[:300]), "checkpoint": f"{text}\n{KEY.line(text)}".encode()}

    assert "entry 256: from here on nothing was read" in problems(check(tmp_path, files))[-2]
    huge = Rows(BATCH.lines)
    item = made.entry(1, "decisions.recorded", flow="f", batch={**huge.detail, "size": 2**62})
    assert check(tmp_path, made.bundle([item], [0], {0: huge.items()})).failed["batches"] == 1


def test_long_lines_and_many_problems_are_bounded(tmp_path: Path) -> None:
    files = good_bundle()
    files["batches/0.jsonl"] = b"[" * (5 << 20)
    assert problems(check(tmp_path, files)) == [
        "batches/0.jsonl, after line 1: cannot be read further: a line is longer than 4,194,304 bytes"
    ]
    files["batches/0.jsonl"] = b"{}\n" * 5000
    report = check(tmp_path, files)
    assert (report.found, len(report.problems)) == (5000, 50)
    assert "  and 4,950 more\n" in report.as_text()


@given(st.data())
def test_no_damage_to_a_bundle_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "damage"
    folder.mkdir(exist_ok=True)
    path = write_zip(folder / "evidence.zip", {**good_bundle(), **{f"log/{k}": v for k, v in made.stored_log(ENTRIES[:9]).items()}})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])

    assert main([str(path), "--key", KEY.vkey]) in (0, 1, 2)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(good_bundle())), st.data())
def test_any_json_in_any_place_is_answered(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    files = good_bundle()
    if name != "checkpoint":
        lines = [json.loads(line) for line in files[name].splitlines()]
        item = data.draw(st.sampled_from(lines))
        item[data.draw(st.sampled_from([*sorted(item), "row", "commitment"]))] = data.draw(JSON_VALUES)
        files[name] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    folder = write_folder(tmp_path_factory.getbasetemp() / "any-json", files)

    assert main([str(folder), "--key", KEY.vkey, "--json"]) in (0, 1, 2)

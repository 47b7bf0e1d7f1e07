"""Whatever is done to a stored log, an auditor who kept one checkpoint notices, or is told how much could still be changed."""

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from tests.unit import evidence_bundles as made
from tests.unit.evidence_bundles import KEY, Stored, write_folder

from fieldline_verify import Unreadable, verify

ENTRIES = made.sample_log(300)
SEEN = 260
LOG = made.stored_log(ENTRIES, earlier=[100])
NEEDED = sorted(made.stored_log(ENTRIES))


def change_a_file(chance: random.Random) -> Stored:
    """A byte, a piece or all of a file is another one, or two files change places."""
    files = dict(LOG)
    name = chance.choice(sorted(files))
    content = bytearray(files[name])
    match chance.choice(["flip", "flip", "flip", "cut", "add", "swap", "delete"]):
        case "flip":
            content[chance.randrange(len(content))] ^= chance.randrange(1, 256)
        case "cut":
            del content[chance.randrange(len(content)) :]
        case "add":
            content += chance.randbytes(chance.randrange(1, 40))
        case "swap":
            other = chance.choice([each for each in sorted(files) if files[each] != files[name]])
            content, files[other] = bytearray(files[other]), files[name]
        case "delete":
            del files[chance.choice(NEEDED)]
            return files
    return {**files, name: bytes(content)}


def change_entries(chance: random.Random) -> tuple[list[bytes], int]:
    """Some entries are gone, moved, copied or others; and the index of the first one that is."""
    entries, first = list(ENTRIES), chance.randrange(len(ENTRIES))
    match chance.choice(["drop", "move", "copy", "rewrite", "cut"]):
        case "drop":
            del entries[first : first + chance.randrange(1, 20)]
        case "move":
            first, second = sorted(chance.sample(range(len(entries)), 2))
            entries[first], entries[second] = entries[second], entries[first]
        case "copy":
            entries.insert(first, entries[chance.randrange(first + 1)])
        case "rewrite":
            entries[first] = made.entry(first * 2, "flow.paused", flow=f"{chance.random()}")
        case "cut":
            del entries[first:]
    return entries, first


def tamper(chance: random.Random) -> tuple[str, Stored, int | None]:
    """What was done, the log after it, and for one that its key has signed again the first index that differs."""
    kind = chance.choice(["files", "files", "entries", "entries and tiles", "signed again", "signed again"])
    if kind == "files":
        return kind, change_a_file(chance), None
    entries, first = change_entries(chance)
    forged = made.stored_log(entries)
    if kind == "signed again":
        return kind, forged, first
    if kind == "entries":
        return (
            kind,
            {name: content for log in (LOG, forged) for name, content in log.items() if ("entries" in name) is (log is forged)},
            None,
        )
    return kind, {**forged, "checkpoint": LOG["checkpoint"]}, None


def outcomes(count: int, folder: Path) -> Counter[tuple[str, str]]:
    """What became of so many tamperings; fails for the first one that is not noticed."""
    chance, found = random.Random(20261121), Counter[tuple[str, str]]()
    seen = folder / "seen"
    seen.write_bytes(made.checkpoint(ENTRIES, SEEN))
    for number in range(count):
        kind, files, first = tamper(chance)
        shutil.rmtree(folder / "log", ignore_errors=True)
        try:
            report = verify(str(write_folder(folder / "log", files)), KEY.vkey, [], None, [str(seen)])
        except Unreadable as error:
            assert str(error).startswith("checkpoint: ")  # noqa: PT017
            found[kind, "refused as unreadable"] += 1
            continue
        if report.found:
            assert report.problems
            assert all(each["place"] and each["what"] for each in report.problems)
            forked = any("FORK" in each["what"] for each in report.problems)
            found[kind, "called a fork" if forked else "noticed"] += 1
        else:
            assert first is not None, (number, kind)
            assert report.tail["from"] == SEEN <= first, (number, kind)
            found[kind, "in the unprotected tail"] += 1
    return found


def test_hundreds_of_tamperings_are_noticed(tmp_path: Path) -> None:
    found = outcomes(400, tmp_path)

    assert found["signed again", "called a fork"] > 40
    assert not found["files", "in the unprotected tail"]


@pytest.mark.soak
def test_ten_thousand_tamperings_are_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = outcomes(10_000, tmp_path)

    with capsys.disabled():
        print("".join(f"\n{count:6} {kind}: {outcome}" for (kind, outcome), count in sorted(found.items())))
    assert found.total() == 10_000

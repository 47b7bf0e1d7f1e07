"""The verifier on whole logs, and on checkpoints that an auditor kept from before."""

import json
from pathlib import Path

import pytest
from tests.unit import evidence_bundles as made
from tests.unit.evidence_bundles import Signer
from tests.unit.verifier_runs import ENTRIES, check, good_bundle, problems


def test_a_whole_log_holds_with_the_partial_tiles_of_its_past(tmp_path: Path) -> None:
    files = made.stored_log(ENTRIES, earlier=[1, 17, 256, 300])
    seen = [made.checkpoint(ENTRIES, size) for size in (0, 1, 255, 256, 600, 640)]
    report = check(tmp_path, files, seen)

    assert not report.found, report.as_text()
    assert not report.ignored
    assert report.tail == {"from": 640, "entries": 60, "after": "seen"}
    assert "Unprotected tail: 60 entries, 640 to 699, after the newest checkpoint that was seen." in report.as_text()
    assert "in flight or missing then: claims: 1, renewals: 1" in report.as_text()


def test_a_bundle_can_hold_the_whole_log(tmp_path: Path) -> None:
    log = {f"log/{name}": content for name, content in made.stored_log(ENTRIES).items()}
    report = check(tmp_path, {**good_bundle(), **log}, [made.checkpoint(ENTRIES, 333)])

    assert not report.found, report.as_text()
    assert report.tail["from"] == 333


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 512])
def test_logs_of_every_shape_hold(tmp_path: Path, size: int) -> None:
    report = check(tmp_path, made.stored_log(ENTRIES[:size]), [made.checkpoint(ENTRIES[:size])])

    assert not report.found, report.as_text()
    assert not report.tail["entries"]


def test_a_log_with_tiles_of_three_levels_holds(tmp_path: Path) -> None:
    entries = [made.entry(number) for number in range(256 * 256 + 257)]
    files = made.stored_log(entries)
    assert "tile/2/000.p/1" in files
    assert "tile/entries/257.p/1" in files

    assert not check(tmp_path, files).found
    files["tile/2/000.p/1"] = bytes(32)
    assert problems(check(tmp_path, files)) == ["tile/2/000.p/1: hash 0 is not that of entries 0 to 65535"]


def fork_of(entries: list[bytes], index: int) -> list[bytes]:
    """The same log with another content of one entry."""
    other = json.loads(entries[index])
    return [*entries[:index], made.canonical({**other, "actor": "someone"}), *entries[index + 1 :]]


@pytest.mark.parametrize("size", [1, 256, 500, 700])
def test_a_fork_is_called_so(tmp_path: Path, size: int) -> None:
    seen, forked = made.checkpoint(ENTRIES, size), fork_of(ENTRIES, 0)

    assert not check(tmp_path, made.bundle(ENTRIES, [5], older=[size]), [seen]).found
    for files in (made.bundle(forked, [5], older=[size]), made.stored_log(forked)):
        report = check(tmp_path, files, [seen])
        assert report.failed["seen checkpoints"] == report.found == 1
        assert ": FORK: the log here does not continue this one" in problems(report)[0]
        assert report.tail["from"] == 0


def test_a_seen_checkpoint_that_cannot_be_compared_is_no_success(tmp_path: Path) -> None:
    for files, size, why in (
        (made.bundle(ENTRIES, [5]), 600, "no proof from its 600 entries on"),
        (made.bundle(ENTRIES[:600], [5]), 700, "the tail was cut off"),
        (made.stored_log(ENTRIES[:600]), 700, "the tail was cut off"),
    ):
        assert why in problems(check(tmp_path, files, [made.checkpoint(ENTRIES, size)]))[0]
    stranger = made.checkpoint(ENTRIES, 5, [Signer("x")])
    assert "is not signed by the key" in problems(check(tmp_path, made.stored_log(ENTRIES), [stranger]))[0]


# Whole logs


def test_gaps_overlaps_and_copies_in_a_log_are_named(tmp_path: Path) -> None:
    def taken(number: int, flow: str, start: int, count: int) -> bytes:
        return made.entry(number, "chunk.buried", flow=flow, intake={"from": start, "rows": count})

    ranges = [(9, "a", 10, 10), (1, "a", 0, 5), (2, "b", 3, 4), (3, "b", 0, 4), (4, "c", 2, 2), (4, "c", 0, 2), (5, "a", 20, 0)]
    heartbeat = made.entry(6, "log.counted", flows={"a": {"received": 14}, "b": {"received": 9}})
    report = check(tmp_path, made.stored_log([*(taken(*each) for each in ranges), heartbeat]))

    assert problems(report) == [
        "entry 5: its id 4 has come before: an entry was copied",
        "entry 7 of 2026-11-21T16:00:06.000000Z: of the flow a, 14 records were received, but the entries before hold 15",
        "flow b, entry 2: records 3 to 3 are in entry 3, too",
    ]


@pytest.mark.parametrize(("seconds", "holds"), [(3599, True), (3601, False)])
def test_records_that_have_been_in_flight_for_an_hour_are_missing(seconds: int, holds: bool, tmp_path: Path) -> None:
    later = made.entry(0, "chunk.buried", flow="a", intake={"from": 5, "rows": 5})
    report = check(tmp_path, made.stored_log([later, made.entry(seconds)]))

    missing = "flow a, before entry 0: records 0 to 4 are in no entry: removed, or in flight for more than an hour"
    assert problems(report) == ([] if holds else [missing])
    assert ("5 records before them in flight or missing" in report.as_text()) is holds


def test_a_chunk_in_which_nothing_was_decided_has_no_batch(tmp_path: Path) -> None:
    counts = {"flow": "a", "scored": 0, "held": 0, "skipped": 5, "intake": {"from": 0, "rows": 5}}
    assert not problems(check(tmp_path, made.stored_log([made.entry(1, "decisions.recorded", **counts)])))
    assert problems(check(tmp_path / "other", made.stored_log([made.entry(1, "decisions.recorded", **{**counts, "scored": 1})])))


def test_damage_to_a_log_is_named_with_its_file_and_entry(tmp_path: Path) -> None:
    files = made.stored_log(ENTRIES, earlier=[300])
    other = files["tile/entries/001"].replace(b'"id":600', b'"id":601')
    tile = bytearray(files["tile/0/002.p/188"])
    tile[40] ^= 1
    found = problems(check(tmp_path, {**files, "tile/entries/001": other, "tile/0/002.p/188": bytes(tile)}))

    assert found == [
        "tile/0/001: hash 44 is not that of entry 300",
        "tile/0/002.p/188: hash 1 is not that of entry 513",
        "tile/1/000.p/2: hash 1 is not that of entries 256 to 511",
        "checkpoint: the stored entries do not lead to its root",
    ]


def test_lost_files_of_a_log_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    files = made.stored_log(ENTRIES)
    del files["tile/entries/001"]
    assert problems(check(tmp_path, files))[0] == "tile/entries/001: 0 of 256 are there"
    assert not any("root" in each for each in problems(check(tmp_path, files)))
    del files["tile/0/001"]
    assert "entry 256: from here on nothing was read" in "\n".join(problems(check(tmp_path, files)))

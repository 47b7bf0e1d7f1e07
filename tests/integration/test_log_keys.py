"""The log's key is changed: who trusts the old one can go on to the new one, and the other way round; old checkpoints thin out."""

import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.engines import Bench

import fieldline_verify
from fieldline_core.events import record
from fieldline_core.ledger import VerifierKey, open_checkpoint
from fieldline_core.pipeline.change_key import change_log_key
from fieldline_core.pipeline.prove import SealedLog
from fieldline_core.pipeline.retention import prune
from fieldline_core.pipeline.sequence import Sequencer, open_log_key, seal_all
from fieldline_server.evidence_bundle import Wish, export_evidence


def grow(bench: Bench, count: int = 3) -> None:
    """Lets the log grow."""
    with bench.engine.store.transaction("grow") as tx:
        for _ in range(count):
            record(tx, "flow.paused", "test", {"flow": "grow"})
    seal_all(bench.engine)


def key_of(bench: Bench) -> VerifierKey:
    """The key in force."""
    return open_log_key(bench.engine.store, bench.engine.keyring).verifier


def newest(bench: Bench) -> bytes:
    """The newest checkpoint."""
    with bench.engine.store.transaction("newest") as tx:
        return SealedLog(tx).note


@pytest.fixture
def changed(bench: Bench, tmp_path: Path) -> list[VerifierKey]:
    """The keys of a log whose key was changed twice, the first one first; `seen` is a checkpoint under the first key."""
    grow(bench)
    (tmp_path / "seen").write_bytes(newest(bench))
    keys = [key_of(bench)]
    for _ in range(2):
        keys.append(change_log_key(bench.engine, "test", "each year", 0))
        grow(bench, 5)
    export_evidence(bench.engine, Wish(old=[(tmp_path / "seen").read_bytes()]), tmp_path / "bundle.zip", "test")
    return keys


def test_the_old_key_announces_the_new_one_and_both_sign_that_checkpoint(bench: Bench) -> None:
    grow(bench)
    old = key_of(bench)
    new = change_log_key(bench.engine, "test", "somebody left", 0)

    note = newest(bench)
    assert open_checkpoint(note, old).checkpoint == open_checkpoint(note, new).checkpoint
    (entry,) = bench.all("SELECT leaf, position FROM log_entry WHERE event = 'log.key_changed'")
    assert json.loads(entry["leaf"])["detail"] == {"old": str(old), "new": str(new), "why": "somebody left", "beside_days": 0}
    assert entry["position"] + 1 == open_checkpoint(note, new).checkpoint.size
    assert (old.name, old.id) != (new.name, new.id)
    assert old.name == new.name, "the log keeps its name"


def test_a_sequencer_that_was_running_signs_by_the_new_key(bench: Bench) -> None:
    running = Sequencer(bench.engine)
    grow(bench)
    running.round()
    new = change_log_key(bench.engine, "test", "each year", 0)
    with bench.engine.store.transaction("more") as tx:
        record(tx, "flow.paused", "test", {"flow": "x"})
    running.round()
    assert newest(bench).count("\N{EM DASH}".encode()) == 1
    assert open_checkpoint(newest(bench), new)


def test_the_old_key_signs_beside_the_new_one_for_the_days_that_were_asked(bench: Bench) -> None:
    grow(bench)
    old = key_of(bench)
    new = change_log_key(bench.engine, "test", "each year", 30)
    grow(bench)
    assert open_checkpoint(newest(bench), old) == open_checkpoint(newest(bench), new)


@pytest.mark.parametrize("trusted", [0, 1, 2])
def test_a_verifier_that_trusts_any_of_the_keys_can_check_everything(
    changed: list[VerifierKey], tmp_path: Path, trusted: int, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path / "bundle.zip"), "--seen", str(tmp_path / "seen")]
    assert fieldline_verify.main([*arguments, "--key", str(changed[trusted])]) == 0
    said = capsys.readouterr().out
    assert str(changed[-1]) in said
    assert ("took its place" in said) is (trusted < 2)


def test_without_the_announcement_the_old_key_does_not_lead_to_the_new_one(changed: list[VerifierKey], tmp_path: Path) -> None:
    robbed = tmp_path / "robbed.zip"
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle, zipfile.ZipFile(robbed, "w") as made:
        for name in bundle.namelist():
            if name != "keys.jsonl":
                made.writestr(name, bundle.read(name))
    assert fieldline_verify.main([str(robbed), "--key", str(changed[0])]) == 1
    assert fieldline_verify.main([str(robbed), "--key", str(changed[2])]) == 1, (
        "the older checkpoint is by a key nobody vouches for"
    )


def test_an_announcement_that_the_old_key_did_not_sign_leads_nowhere(changed: list[VerifierKey], tmp_path: Path) -> None:
    forged = tmp_path / "forged.zip"
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle, zipfile.ZipFile(forged, "w") as made:
        for name in bundle.namelist():
            data = bundle.read(name)
            if name == "keys.jsonl":
                lines = [json.loads(line) for line in data.splitlines()]
                for line in lines:
                    text, _, signatures = line["old"].rpartition("\n\n")
                    line["old"] = f"{text}\n\n{signatures.splitlines()[0]}\n"
                data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
            made.writestr(name, data)
    assert fieldline_verify.main([str(forged), "--key", str(changed[0])]) == 1


def test_of_past_days_the_last_checkpoint_stays_and_those_that_somebody_has(bench: Bench) -> None:
    for _ in range(12):
        grow(bench)
    sizes = [row["size"] for row in bench.all("SELECT size FROM log_checkpoint ORDER BY size")]
    with bench.engine.store.transaction("past") as tx:
        for number, size in enumerate(sizes):
            at = datetime(2026, 3, 1 + number // 4, 6 * (number % 4), tzinfo=UTC)
            tx.connection.execute("UPDATE log_checkpoint SET at = %s WHERE size = %s", (at, size))
        tx.connection.execute("UPDATE log_checkpoint SET named = true WHERE size = %s", (sizes[1],))
        tx.run("witness.cosigned", name="w", size=sizes[5], lines="")

    assert not prune(bench.engine, "pruning.checkpoints")

    kept = [row["size"] for row in bench.all("SELECT size FROM log_checkpoint ORDER BY size")]
    assert kept == [sizes[number] for number in (1, 3, 5, 7, 11)]
    assert not prune(bench.engine, "pruning.checkpoints")
    (event,) = bench.all("SELECT detail FROM audit_outbox WHERE event = 'retention.applied'")
    assert event["detail"] == {"checkpoints": 7}

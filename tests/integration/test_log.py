"""The log: what was decided and done is sealed in it, and what was exported from it is checked by the verifier alone."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engines import Bench, decisions_on, documents, put

import fieldline_verify
from fieldline_core.errors import Misconfigured
from fieldline_core.events import record
from fieldline_core.ledger import open_checkpoint, parse_path
from fieldline_core.pipeline.invariants import check_invariants
from fieldline_core.pipeline.manage import cancel_run, request_run
from fieldline_core.pipeline.prove import SealedLog
from fieldline_core.pipeline.sequence import MOST, Sequencer, seal_all
from fieldline_server.evidence_bundle import Exported, Wish, export_evidence


@pytest.fixture
def robbed(database_url: str, tmp_path: Path) -> Iterator[Bench]:
    """An engine whose log somebody empties, which its invariants tell."""
    made = Bench(database_url, tmp_path)
    made.import_linear(tmp_path)
    yield made
    assert {each.rule for each in check_invariants(made.engine.store)} == {"evidence_is_recorded"}
    made.close()


def empty_the_log(bench: Bench) -> None:
    """Takes all entries out of the store, as one who owns the database can."""
    with bench.engine.store.transaction("fraud") as tx:
        for table in (b"log_entry", b"log_tile", b"log_checkpoint"):
            tx.connection.execute(b"DELETE FROM " + table)


def decide(bench: Bench, name: str, rows: int, *, rescore: bool = False) -> None:
    """Decides on so many records."""
    put(name, {f"{name}{number}": (float(number) if number % 7 else None, 1.0) for number in range(rows)})
    bench.apply(documents(name))
    request_run(bench.engine, name, "test", rescore=rescore)
    bench.drain()


def key_of(bench: Bench) -> str:
    """The public key of the log, as a verifier takes it."""
    with bench.engine.store.transaction("key") as tx:
        return str(SealedLog(tx).key)


def checkpoint(bench: Bench, path: Path) -> Path:
    """A checkpoint that somebody keeps."""
    seal_all(bench.engine)
    with bench.engine.store.transaction("checkpoint") as tx:
        path.write_bytes(SealedLog(tx).note)
    return path


def exported(bench: Bench, out: Path, **wish: Any) -> Exported:
    """What was exported to a file."""
    return export_evidence(bench.engine, Wish(**wish), out, "test")


def verified(bench: Bench, out: Path, *arguments: str) -> int:
    """What the verifier ends with."""
    return fieldline_verify.main([str(out), "--key", key_of(bench), *arguments])


def test_everything_that_was_recorded_is_in_the_log_once(bench: Bench) -> None:
    decide(bench, "once", 20)
    with bench.engine.store.transaction("many") as tx:
        for _ in range(MOST):
            record(tx, "flow.paused", "test", {"flow": "once"})
    ids = {row["id"] for row in bench.all("SELECT id FROM audit_outbox")}

    seal_all(bench.engine)

    assert bench.all("SELECT id FROM audit_outbox") == []
    entries = bench.all("SELECT position, id, leaf FROM log_entry ORDER BY position")
    assert {row["id"] for row in entries} == ids
    assert [row["position"] for row in entries] == list(range(len(ids)))
    assert all(json.loads(row["leaf"])["id"] == row["id"] for row in entries)


def test_each_round_ends_with_a_checkpoint_that_the_key_signed(bench: Bench) -> None:
    bench.apply(documents("signed"))
    Sequencer(bench.engine).round()
    decide(bench, "signed", 5)
    Sequencer(bench.engine).round()

    with bench.engine.store.transaction("log") as tx:
        log, notes = SealedLog(tx), tx.all("log.checkpoints", before=None, limit=10)
        sizes = [open_checkpoint(bytes(row["note"]), log.key).checkpoint.size for row in notes]
        assert sizes == [row["size"] for row in notes] == sorted(sizes, reverse=True)
        assert len(sizes) == 2
        assert log.consistency(bytes(notes[1]["note"]))["proof"]


def test_the_decisions_on_a_record_are_exported_and_verified_without_us(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decide(bench, "ask", 30)
    out = tmp_path / "evidence.zip"

    done = exported(bench, out, key="ask3")

    assert (done.entries, done.batches, done.rows) == (2, 2, 2)
    assert verified(bench, out) == 0
    assert "ask3" in capsys.readouterr().out
    with zipfile.ZipFile(out) as bundle:
        told = b"".join(bundle.read(name) for name in bundle.namelist())
    assert b"ask4" not in told, "a neighbour's row is nobody's business"
    (decision,) = decisions_on(bench.engine, "ask3")
    assert decision["fields"] == {"score": 5.0}


@pytest.mark.parametrize("entries_only", [False, True])
def test_a_range_is_exported_and_verified(bench: Bench, tmp_path: Path, entries_only: bool) -> None:
    decide(bench, "range", 30)
    old = checkpoint(bench, tmp_path / "kept")
    decide(bench, "range", 40, rescore=True)
    out = tmp_path / "range.zip"

    done = exported(bench, out, evidence=not entries_only, old=[old.read_bytes()])

    assert done.rows == (0 if entries_only else 30 + 25 + 40 + 34)
    assert verified(bench, out, "--seen", str(old)) == 0


def test_a_changed_row_is_found_by_the_verifier(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decide(bench, "forge", 3)
    out, forged = tmp_path / "evidence.zip", tmp_path / "forged.zip"
    exported(bench, out, key="forge1")

    with zipfile.ZipFile(out) as bundle, zipfile.ZipFile(forged, "w") as made:
        for name in bundle.namelist():
            made.writestr(name, bundle.read(name).replace(b'\\"score\\":1.0', b'\\"score\\":9.0'))

    assert verified(bench, out) == 0
    assert verified(bench, forged) == 1
    assert "FAILED" in capsys.readouterr().out


def test_an_entry_that_is_taken_out_of_the_store_is_noticed(robbed: Bench, tmp_path: Path) -> None:
    decide(robbed, "gone", 3)
    old = checkpoint(robbed, tmp_path / "kept")
    empty_the_log(robbed)
    decide(robbed, "gone", 9, rescore=True)
    out = tmp_path / "range.zip"

    exported(robbed, out)

    assert verified(robbed, out) == 0, "the one who holds the key can write another log"
    assert verified(robbed, out, "--seen", str(old)) == 1, "and whoever kept a checkpoint can tell"


def test_a_checkpoint_of_more_entries_than_there_are_is_told_at_once(robbed: Bench, tmp_path: Path) -> None:
    decide(robbed, "cut", 3)
    old = checkpoint(robbed, tmp_path / "kept").read_bytes()
    empty_the_log(robbed)

    with pytest.raises(Misconfigured, match="it was cut off"):
        exported(robbed, tmp_path / "range.zip", old=[old])


def test_every_record_that_was_taken_in_is_counted_once(bench: Bench) -> None:
    decide(bench, "count", 30)
    request_run(bench.engine, "count", "test", rescore=True)
    run = request_run(bench.engine, "count", "test", rescore=True)
    cancel_run(bench.engine, run, "test", "enough")
    bench.drain()
    seal_all(bench.engine)

    found: list[tuple[int, int]] = []
    for row in bench.all("SELECT leaf FROM log_entry WHERE event IN ('decisions.recorded', 'chunk.buried')"):
        if counted := json.loads(row["leaf"])["detail"].get("intake"):
            found.append((counted["from"], counted["from"] + counted["rows"]))
    ends = sorted(found)
    assert [begin for begin, _ in ends] == [0, *(end for _, end in ends[:-1])]
    assert ends[-1][1] == bench.all("SELECT received FROM intake")[0]["received"]


def test_the_log_is_laid_out_as_other_tools_read_it(bench: Bench, tmp_path: Path) -> None:
    decide(bench, "tiles", 3)
    with bench.engine.store.transaction("many") as tx:
        for _ in range(600):
            record(tx, "flow.paused", "test", {"flow": "tiles"})
    seal_all(bench.engine)

    with bench.engine.store.transaction("log") as tx:
        log = SealedLog(tx)
        (tmp_path / "checkpoint").write_bytes(log.note)
        for path in log.paths():
            assert parse_path(path)
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(log.file(path))
        with pytest.raises(Misconfigured, match="the log of"):
            log.file("tile/0/777")

    assert verified(bench, tmp_path) == 0

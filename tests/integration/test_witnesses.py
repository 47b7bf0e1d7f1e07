"""Witnesses: who is shown checkpoints, what becomes of their cosignatures, and that another log is refused loudly."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.engines import Bench
from tests.witness_server import TlogWitness, serving

import fieldline_verify
from fieldline_core.errors import Misconfigured
from fieldline_core.events import record
from fieldline_core.pipeline.prove import SealedLog
from fieldline_core.pipeline.sequence import open_log_key, seal_all
from fieldline_core.pipeline.witness import Attestation, Witness, enlist
from fieldline_core.settings import Settings
from fieldline_server.doctor import _witnesses as examine_witnesses
from fieldline_server.evidence_bundle import Wish, export_evidence
from fieldline_server.witnesses import open_witnesses, read_witnesses
from fieldline_simulators.webhook_receiver import running

LOOPBACK = [{"host": "127.0.0.1", "network": "127.0.0.0/8"}]
_OPENED: list[Witness] = []
SECRET = "whsec_c2VjcmV0IG9mIHRoZSB3aXRuZXNzIHdlYmhvb2s="


@pytest.fixture
def witness(bench: Bench) -> TlogWitness:
    """A witness that knows the log's key."""
    return TlogWitness(str(open_log_key(bench.engine.store, bench.engine.keyring).verifier))


@pytest.fixture
def url(witness: TlogWitness) -> Iterator[str]:
    """Where it is asked."""
    with serving(witness) as address:
        yield address


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No connection to a witness is left open."""
    yield
    while _OPENED:
        _OPENED.pop().close()


def named(tmp_path: Path, *witnesses: dict[str, Any]) -> Settings:
    """Settings that name witnesses."""
    path = tmp_path / "witnesses.yaml"
    path.write_text(yaml.safe_dump({"witnesses": list(witnesses)}))
    return Settings(witnesses=path)


def attestation(bench: Bench, tmp_path: Path, witness: dict[str, Any]) -> Attestation:
    """What shows checkpoints to one witness."""
    opened = open_witnesses(named(tmp_path, {"every_s": 1, **witness}))
    _OPENED.extend(opened)
    (made,) = enlist(bench.engine, opened)
    return made


def cosigner(url: str, witness: TlogWitness) -> dict[str, Any]:
    """How a witness is named."""
    return {"cosigner": "w1", "url": url, "vkey": witness.vkey, "allow_private": LOOPBACK}


def grow(bench: Bench, count: int = 3) -> None:
    """Lets the log grow, and every witness be due."""
    with bench.engine.store.transaction("grow") as tx:
        for _ in range(count):
            record(tx, "flow.paused", "test", {"flow": "grow"})
    seal_all(bench.engine)
    due(bench)


def due(bench: Bench) -> None:
    """Lets every witness be due."""
    with bench.engine.store.transaction("due") as tx:
        tx.connection.execute("UPDATE witness SET due_at = now()")


def state(bench: Bench) -> dict[str, Any]:
    """What is known of the only witness."""
    with bench.engine.store.transaction("state") as tx:
        (row,) = tx.all("witness.listing")
    return row


def rewrite(bench: Bench) -> None:
    """Lets somebody who owns the database take the log out, and write another one."""
    with bench.engine.store.transaction("fraud") as tx:
        for table in (b"log_cosignature", b"log_entry", b"log_tile", b"log_checkpoint"):
            tx.connection.execute(b"DELETE FROM " + table)
    grow(bench, 9)


def test_a_witness_cosigns_each_checkpoint_it_is_shown_and_sees_the_log_grow(
    bench: Bench, tmp_path: Path, witness: TlogWitness, url: str
) -> None:
    showing = attestation(bench, tmp_path, cosigner(url, witness))
    sizes = []
    for _ in range(4):
        grow(bench)
        assert showing.round()
        assert not showing.round(), "nothing is new"
        sizes.append(witness.size)

    assert witness.asked == [0, *sizes[:-1]]
    assert state(bench)["size"] == sizes[-1]
    with bench.engine.store.transaction("log") as tx:
        log = SealedLog(tx)
        assert log.note == log.witnessed()
    note = fieldline_verify.Checkpoint.parse(log.note)
    assert note.signed_at(fieldline_verify.Key.parse(witness.vkey, fieldline_verify.WITNESS_KEY))


def test_an_export_holds_the_cosignature_and_the_verifier_says_what_came_after_it(
    bench: Bench, tmp_path: Path, witness: TlogWitness, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    showing = attestation(bench, tmp_path, cosigner(url, witness))
    grow(bench)
    showing.round()
    grow(bench, 5)
    out = tmp_path / "bundle.zip"

    export_evidence(bench.engine, Wish(), out, "test")

    assert fieldline_verify.main([str(out), "--witness", witness.vkey]) == 0
    said = capsys.readouterr().out
    assert "1 of 1 witness cosigned" in said
    assert "Unprotected tail: 6 entries" in said
    assert fieldline_verify.main([str(out), "--witness", TlogWitness(str(log_key(bench))).vkey]) == 1, "another witness did not"


def log_key(bench: Bench) -> Any:
    """The log's public key."""
    return open_log_key(bench.engine.store, bench.engine.keyring).verifier


def test_a_witness_that_has_seen_another_log_refuses_and_that_is_loud(
    bench: Bench, tmp_path: Path, witness: TlogWitness, url: str
) -> None:
    showing = attestation(bench, tmp_path, cosigner(url, witness))
    grow(bench)
    showing.round()
    rewrite(bench)
    assert showing.round()
    due(bench)
    assert showing.round(), "it is asked again, for somebody may have mended it"

    assert state(bench)["forked"]
    (check,) = examine_witnesses(bench.engine.store)
    assert check.state == "problem"
    assert "find out why" in check.words
    events = bench.all("SELECT detail FROM audit_outbox WHERE event = 'log.disputed'")
    assert [row["detail"]["witness"] for row in events] == ["w1"], "once"


def test_a_log_that_was_cut_off_is_refused_before_anything_is_sent(
    bench: Bench, tmp_path: Path, witness: TlogWitness, url: str
) -> None:
    showing = attestation(bench, tmp_path, cosigner(url, witness))
    grow(bench, 40)
    showing.round()
    rewrite(bench)
    asked = len(witness.asked)

    showing.round()

    assert len(witness.asked) == asked
    assert "it was cut off" in state(bench)["problem"]
    assert state(bench)["forked"]


@pytest.mark.parametrize(("status", "words"), [(503, "503"), (429, "429"), (500, "500")])
def test_a_witness_that_is_down_is_asked_later_and_only_for_the_newest_checkpoint(
    bench: Bench, tmp_path: Path, witness: TlogWitness, url: str, status: int, words: str
) -> None:
    showing = attestation(bench, tmp_path, cosigner(url, witness))
    witness.status = status
    for failures in (1, 2, 3):
        grow(bench)
        assert showing.round()
        assert not showing.round(), "it waits"
        assert state(bench)["failures"] == failures
        assert words in state(bench)["problem"]
    witness.status = 0
    due(bench)
    assert showing.round()

    assert (witness.size, len(witness.asked)) == (state(bench)["size"], 4)
    assert state(bench)["problem"] is None


def test_a_witness_that_forgot_or_got_ahead_is_asked_from_where_it_stands(
    bench: Bench, tmp_path: Path, witness: TlogWitness, url: str
) -> None:
    showing = attestation(bench, tmp_path, cosigner(url, witness))
    grow(bench)
    showing.round()
    with bench.engine.store.transaction("killed") as tx:
        tx.connection.execute("UPDATE witness SET size = 0, seen_at = NULL")
    grow(bench)
    showing.round()

    assert witness.asked[-2:] == [0, 3]
    assert witness.size == state(bench)["size"] == 6


def test_a_cosignature_by_another_key_is_not_taken(bench: Bench, tmp_path: Path, witness: TlogWitness, url: str) -> None:
    other = TlogWitness(str(log_key(bench)))
    showing = attestation(bench, tmp_path, {**cosigner(url, witness), "vkey": other.vkey})
    grow(bench)
    showing.round()

    assert "no cosignature that holds for its key" in state(bench)["problem"]
    assert bench.all("SELECT * FROM log_cosignature") == []


def test_a_file_gets_each_checkpoint_on_a_line_and_a_torn_one_is_passed_over(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    showing = attestation(bench, tmp_path, {"file": "disk", "path": str(path)})
    grow(bench)
    showing.round()
    with path.open("ab") as file:
        file.write(b'{"origin": "fieldl')
    grow(bench)
    showing.round()

    first, torn, last = path.read_text().splitlines()
    assert torn == '{"origin": "fieldl'
    assert [json.loads(first)["size"], json.loads(last)["size"]] == [3, 6]
    out, seen = tmp_path / "bundle.zip", tmp_path / "seen"
    seen.write_text(json.loads(first)["note"])
    export_evidence(bench.engine, Wish(old=[seen.read_bytes()]), out, "test")
    assert fieldline_verify.main([str(out), "--seen", str(seen)]) == 0


def test_a_file_of_another_past_refuses_the_log(bench: Bench, tmp_path: Path) -> None:
    showing = attestation(bench, tmp_path, {"file": "disk", "path": str(tmp_path / "kept.jsonl")})
    grow(bench)
    showing.round()
    rewrite(bench)
    showing.round()

    assert state(bench)["forked"]
    assert len((tmp_path / "kept.jsonl").read_text().splitlines()) == 1


def test_a_disk_that_is_not_there_is_tried_again(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    showing = attestation(bench, tmp_path, {"file": "disk", "path": str(folder / "kept.jsonl")})
    grow(bench)
    showing.round()
    assert "cannot be written" in state(bench)["problem"]
    folder.mkdir()
    due(bench)
    showing.round()
    assert state(bench)["problem"] is None


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"file": "disk"}, "path"), ({"cosigner": "w", "url": "https://w.example", "vkey": "w+1+x"}, "public key"),
        ({"webhook": "w", "url": "https://w.example", "signing_secrets": ["whsec_x"]}, "secret"),
    ],
)  # fmt: skip
def test_a_witness_that_is_named_wrongly_is_told_with_its_place(tmp_path: Path, entry: dict[str, Any], words: str) -> None:
    with pytest.raises(Misconfigured, match=r"witnesses\.yaml is wrong at witnesses"):
        read_witnesses(named(tmp_path, entry))


def test_a_webhook_gets_each_checkpoint_signed_and_refuses_by_409(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WITNESS_SECRET", SECRET)
    with running(SECRET) as receiver:
        entry = {
            "webhook": "hook",
            "url": receiver.url,
            "signing_secrets": [{"secret": "env:WITNESS_SECRET"}],
            "allow_private": LOOPBACK,
        }
        showing = attestation(bench, tmp_path, entry)
        grow(bench)
        showing.round()
        (message,) = receiver.inbox.messages.values()
        grow(bench)
        receiver.inbox.faults.append({"kind": "status", "status": 409})
        showing.round()

    assert message["body"]["type"] == "log.checkpoint"
    assert (message["body"]["data"]["size"], state(bench)["size"]) == (3, 3)
    assert state(bench)["forked"]


def test_a_witness_that_is_not_named_any_more_is_forgotten(bench: Bench, tmp_path: Path) -> None:
    attestation(bench, tmp_path, {"file": "disk", "path": str(tmp_path / "kept.jsonl")})
    enlist(bench.engine, open_witnesses(named(tmp_path)))
    assert bench.all("SELECT * FROM witness") == []

"""What is kept of a record is erased, the commitments of its rows stay, and whatever was provable still is."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.engines import Bench, decisions_on, documents, put

import fieldline_verify
from fieldline_connectors import memory
from fieldline_core.batch import frame_from_bytes
from fieldline_core.errors import Misconfigured, Rejected, Unavailable
from fieldline_core.evidence import Envelope, unseal
from fieldline_core.pipeline import erase as erasing
from fieldline_core.pipeline.accept import accept
from fieldline_core.pipeline.certificate import certify
from fieldline_core.pipeline.erase import erase, survey
from fieldline_core.pipeline.hold import list_holds, place_hold, release_hold
from fieldline_core.pipeline.manage import current_release, request_run
from fieldline_core.pipeline.prove import SealedLog
from fieldline_core.pipeline.replay import replay
from fieldline_core.pipeline.retention import prune
from fieldline_core.ports import Event, Slice
from fieldline_core.receipts import Receipts
from fieldline_server.backtesting import backtest
from fieldline_server.evidence_bundle import Wish, export_evidence
from fieldline_server.lint import read_pieces

WHY = "asked for by letter"
ROWS = 12


def decide(bench: Bench, name: str, **flow: Any) -> None:
    """Decides on some records, `name0` and so on, twice; `name0` and `name7` are held."""
    put(name, {f"{name}{number}": (float(number) if number % 7 else None, 1.0) for number in range(ROWS)})
    bench.apply(documents(name, **flow))
    for _ in range(2):
        request_run(bench.engine, name, "test", rescore=True)
        bench.drain()


def hooked(bench: Bench, name: str, **flow: Any) -> None:
    """Applies a flow of events."""
    settings = {"inbound": {"scheme": "standard", "secrets": [{"secret": "env:HOOK"}]}}
    sender = {"connection": "sender", "connector": "webhook", "settings": settings}
    bench.apply(yaml.safe_dump(sender) + "---\n" + documents(name, trigger={"webhook": "sender", "key": "id"}, source=None, **flow))


def send(bench: Bench, name: str, id: str, body: str) -> None:
    """Hands an event to a flow."""
    accept(bench.engine, current_release(bench.engine, name), "sender", Event(id, body.encode()))


def verified(bench: Bench, out: Path) -> bool:
    """Whether the verifier accepts a bundle."""
    with bench.engine.store.transaction("key") as tx:
        key = str(SealedLog(tx).key)
    return fieldline_verify.main([str(out), "--key", key]) == 0


def exported(bench: Bench, out: Path, **wish: Any) -> Path:
    """A bundle with what is wished for."""
    export_evidence(bench.engine, Wish(**wish), out, "test")
    return out


def envelopes(bench: Bench) -> list[Envelope]:
    """All evidence, opened."""
    stored = bench.all("SELECT kind, body, wrapped FROM evidence JOIN batch_key ON evidence_id = evidence.id ORDER BY evidence.id")
    return [unseal(bench.engine.keyring, dict(row)) for row in stored]


def keys(bench: Bench) -> list[bytes]:
    """The wrapped keys of all evidence."""
    return [row["wrapped"] for row in bench.all("SELECT wrapped FROM batch_key ORDER BY evidence_id")]


def test_an_erased_record_is_gone_and_every_proof_still_holds(bench: Bench, tmp_path: Path) -> None:
    decide(bench, "gone")
    before = exported(bench, tmp_path / "before.zip")
    neighbour = decisions_on(bench.engine, "gone4")
    old = keys(bench)

    certificate = certify(bench.engine, erase(bench.engine, "gone3", "test", WHY))

    assert decisions_on(bench.engine, "gone3") == []
    assert certificate.erased == {"decisions": 2, "receipts": 2, "batches": 4, "dead_letters": 0, "events": 0, "writes": 0}
    assert not set(old) & set(keys(bench)), "every batch with the record has a new key"
    assert all("gone3" not in envelope.frame["key"] for envelope in envelopes(bench))
    assert all(envelope.salt(*envelope.erased) == bytes(16) for envelope in envelopes(bench)), "one row of each, with its salt"
    assert decisions_on(bench.engine, "gone4") == neighbour
    for out in (before, exported(bench, tmp_path / "neighbour.zip", key="gone4"), exported(bench, tmp_path / "all.zip")):
        assert verified(bench, out)
    with pytest.raises(Misconfigured, match="nothing was decided"):
        exported(bench, tmp_path / "none.zip", key="gone3")


def test_the_certificate_says_what_the_log_says(bench: Bench) -> None:
    decide(bench, "told")
    certificate = certify(bench.engine, erase(bench.engine, "told0", "cli:ann", WHY))

    (entry,) = bench.all("SELECT position, actor, leaf::jsonb -> 'detail' AS detail FROM log_entry WHERE event = 'record.erased'")
    assert (certificate.position, certificate.by) == (entry["position"], "cli:ann")
    assert certificate.erased["dead_letters"] == entry["detail"]["dead_letters"] == 2
    assert (certificate.flows, certificate.why) == (["told"], WHY)
    assert certificate.key_backup_days == 7
    assert f"entry {entry['position']} of" in certificate.text()
    assert certificate.key_backups_until in certificate.text()
    assert "told0" not in str(entry) + str(certificate.to_json())


def test_erasing_again_gives_the_same_certificate(bench: Bench) -> None:
    decide(bench, "twice")
    first = erase(bench.engine, "twice3", "test", WHY)

    assert erase(bench.engine, "twice3", "test", "asked again") == first
    with pytest.raises(Misconfigured, match="nothing is kept on this record"):
        erase(bench.engine, "nobody", "test", WHY)
    with pytest.raises(Rejected, match="needs a reason"):
        erase(bench.engine, "twice4", "test", " ")


def test_neighbours_that_are_erased_at_once_do_not_undo_each_other(bench: Bench, tmp_path: Path) -> None:
    decide(bench, "both")
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(erase, bench.engine, f"both{number}", "test", WHY) for number in range(ROWS - 1)]
        assert len({each.result() for each in done}) == ROWS - 1

    assert all(envelope.frame["key"].drop_nulls().to_list() == [f"both{ROWS - 1}"] for envelope in envelopes(bench)[:2])
    assert verified(bench, exported(bench, tmp_path / "all.zip"))
    assert verified(bench, exported(bench, tmp_path / "last.zip", key=f"both{ROWS - 1}"))


def test_a_survey_counts_and_changes_nothing(bench: Bench) -> None:
    decide(bench, "look")
    before = keys(bench)

    found = survey(bench.engine, "look7")

    assert found.counts == {"decisions": 2, "receipts": 0, "batches": 2, "dead_letters": 2, "events": 0, "writes": 0}
    assert found.flows == {"look"}
    assert keys(bench) == before
    assert len(decisions_on(bench.engine, "look7")) == 2


def test_a_record_that_comes_again_is_decided_anew_and_can_be_erased_again(bench: Bench, tmp_path: Path) -> None:
    decide(bench, "back")
    first = erase(bench.engine, "back3", "test", WHY)
    request_run(bench.engine, "back", "test")
    bench.drain()

    (decision,) = decisions_on(bench.engine, "back3")
    assert decision["fields"] == {"score": 5.0}
    assert erase(bench.engine, "back3", "test", WHY) > first
    assert verified(bench, exported(bench, tmp_path / "all.zip"))


def test_dead_letters_go_and_those_of_others_can_still_be_run_again(bench: Bench) -> None:
    decide(bench, "dead")
    erase(bench.engine, "dead0", "test", WHY)

    hashes = {row["key_hash"] for row in bench.all("SELECT key_hash FROM dead_letter")}
    assert hashes == {bench.engine.keyring.hash_key("dead7")}
    assert replay(bench.engine, "dead", "test")[1] == 2
    bench.drain()


def test_events_are_emptied_and_a_repeat_is_still_recognised(bench: Bench) -> None:
    hooked(bench, "events")
    for number in range(3):
        send(bench, "events", f"e{number}", f'{{"id": "p{number}", "a": 1, "b": 2}}')
    bench.drain()

    assert certify(bench.engine, erase(bench.engine, "p1", "test", WHY)).erased["events"] == 1
    assert [row["body"] is None for row in bench.all("SELECT body FROM inbox ORDER BY id")] == [False, True, False]
    send(bench, "events", "e1", '{"id": "p1", "a": 1, "b": 2}')
    assert bench.step() == 0
    assert decisions_on(bench.engine, "p1") == []


def test_work_under_way_comes_first(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(self: memory.Memory, slice: Slice) -> Receipts:
        raise Unavailable("later", retry_after=0.001)

    put("busy", {f"busy{number}": (1.0, 1.0) for number in range(3)})
    bench.apply(documents("busy", retry={"first_s": 0.001}))
    request_run(bench.engine, "busy", "test")
    bench.step()
    with pytest.raises(Unavailable, match="waits for its decision in run 1 of the flow busy"):
        erase(bench.engine, "busy1", "test", WHY)
    with monkeypatch.context() as patch:
        patch.setattr(memory.Memory, "write", busy)
        bench.step()
        with pytest.raises(Unavailable, match="a write of it waits"):
            erase(bench.engine, "busy1", "test", WHY)
    hooked(bench, "hooked")
    send(bench, "hooked", "e1", '{"id": "busy2", "a": 1, "b": 2}')
    with pytest.raises(Unavailable, match="1 of its events wait for the flow hooked"):
        erase(bench.engine, "busy2", "test", WHY)
    assert bench.all("SELECT 1 FROM audit_outbox WHERE event = 'record.erased'") == []

    bench.all("UPDATE effect SET due_at = now(), sent_at = NULL RETURNING 1")
    bench.all("UPDATE target SET breaker = 'closed', retry_at = NULL RETURNING 1")
    bench.drain()
    for key in ("busy1", "busy2"):
        erase(bench.engine, key, "test", WHY)


def test_what_comes_while_a_record_is_erased_is_taken_in_as_new(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    hooked(bench, "anew")
    send(bench, "anew", "e1", '{"id": "p1", "a": 1, "b": 2}')
    bench.drain()
    refuse_waiting = erasing._refuse_waiting

    def refuse_and_look_away(*place: Any) -> None:
        refuse_waiting(*place)
        send(bench, "anew", "e2", '{"id": "p1", "a": 5, "b": 2}')

    monkeypatch.setattr(erasing, "_refuse_waiting", refuse_and_look_away)
    erase(bench.engine, "p1", "test", WHY)
    bench.drain()

    (decision,) = decisions_on(bench.engine, "p1")
    assert decision["fields"] == {"score": 8.0}


def test_a_write_of_unknown_outcome_loses_the_record_and_goes_on_for_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def breaks_off(self: memory.Memory, slice: Slice) -> Receipts:
        raise Unavailable("no answer", sent=True)

    put("unsure", {f"unsure{number}": (float(number), 1.0) for number in range(4)})
    bench.apply(documents("unsure", writes=[{"name": "answer", "connection": "unsure", "retry": {"max_attempts": 1},
                                             "target": {"table": "answers", "fields": {"score": "score"}}}]))  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(memory.Memory, "write", breaks_off)
        request_run(bench.engine, "unsure", "test")
        bench.drain()

    certificate = certify(bench.engine, erase(bench.engine, "unsure2", "test", WHY))
    assert (certificate.erased["writes"], certificate.erased["dead_letters"]) == (1, 1)
    (effect,) = bench.all("SELECT body FROM effect WHERE state = 'unknown'")
    slice = frame_from_bytes(bench.engine.keyring.open(effect["body"], "effect"))
    assert slice["__key"].to_list() == ["unsure0", "unsure1", "unsure3"]

    replay(bench.engine, "unsure", "test")
    bench.drain()
    assert memory.store("unsure").rows("answers").keys() == {"unsure0", "unsure1", "unsure3"}
    assert verified(bench, exported(bench, tmp_path / "all.zip"))


def test_a_record_that_is_held_is_not_erased(bench: Bench) -> None:
    decide(bench, "held")
    with pytest.raises(Rejected, match="needs a reason"):
        place_hold(bench.engine, "held3", "cli:ann", "")
    place_hold(bench.engine, "held3", "cli:ann", "case 17")

    with pytest.raises(Misconfigured, match=r"held since 20\S+ \S+ by cli:ann: case 17"):
        erase(bench.engine, "held3", "test", WHY, despite="a court said so")
    with pytest.raises(Misconfigured, match="held since"):
        place_hold(bench.engine, "held3", "cli:bob", "case 18")
    assert [(row["key"], row["why"], row["placed_by"]) for row in list_holds(bench.engine)] == [("held3", "case 17", "cli:ann")]

    release_hold(bench.engine, "held3", "cli:ann", "case 17 is closed")
    with pytest.raises(Misconfigured, match="there is no hold"):
        release_hold(bench.engine, "held3", "cli:ann", "again")
    erase(bench.engine, "held3", "test", WHY)
    events = bench.all("SELECT event FROM audit_outbox WHERE event LIKE 'hold.%%' ORDER BY id")
    assert [row["event"] for row in events] == ["hold.placed", "hold.released"]


def test_retention_leaves_what_is_held(bench: Bench) -> None:
    hooked(bench, "kept")
    for number in range(2):
        send(bench, "kept", f"e{number}", f'{{"id": "kept{number}", "a": "x", "b": 2}}')
    bench.drain()
    place_hold(bench.engine, "kept0", "test", "case 17")
    bench.all("UPDATE dead_letter SET state = 'discarded', ended_at = now() - interval '1 year' RETURNING 1")
    bench.all("UPDATE inbox SET received_at = now() - interval '1 year' RETURNING 1")

    for topic in ("pruning.dead_letters", "retention.inbox"):
        prune(bench.engine, topic)

    held = bench.engine.keyring.hash_key("kept0")
    for table in ("dead_letter", "inbox"):
        assert [row["key_hash"] for row in bench.all(f"SELECT key_hash FROM {table}")] == [held]


@pytest.mark.parametrize(("name", "days"), [("high_risk", 183), ("health", 2192)])
def test_a_retention_class_keeps_decisions_until_its_day(bench: Bench, name: str, days: int) -> None:
    flow = name.replace("_", "-")
    decide(bench, flow, retention={"class": name})
    (decided,) = bench.all("SELECT max(created_at) AS at FROM evidence WHERE kind = 'decisions'")
    day = (decided["at"] + timedelta(days=days)).date().isoformat()

    with pytest.raises(Misconfigured, match=rf"retention class {name}: .* from {day}"):
        erase(bench.engine, f"{flow}3", "test", WHY)
    certificate = certify(bench.engine, erase(bench.engine, f"{flow}3", "test", WHY, despite="Art. 17(1)(d)"))
    assert certificate.despite == "Art. 17(1)(d)"
    assert "on this legal basis: Art. 17(1)(d)" in certificate.text()

    bench.all(f"UPDATE evidence SET created_at = created_at - interval '{days} days' RETURNING 1")
    erase(bench.engine, f"{flow}4", "test", WHY)


def test_a_class_that_is_declared_later_holds_for_what_was_decided_before(bench: Bench) -> None:
    decide(bench, "later")
    bench.apply(documents("later", retention={"class": "high_risk"}))
    with pytest.raises(Misconfigured, match="the flow later is of the retention class high_risk"):
        erase(bench.engine, "later3", "test", WHY)
    bench.apply(documents("later"))
    erase(bench.engine, "later3", "test", WHY)


def test_an_unknown_class_is_a_finding() -> None:
    _, findings = read_pieces({"f.yaml": documents("f", retention={"class": "forever"})})
    assert [("retention" in str(found), "high_risk" in str(found)) for found in findings] == [(True, True)]


def test_evidence_that_was_changed_is_not_sealed_anew(bench: Bench) -> None:
    decide(bench, "forged")
    bench.all("""UPDATE audit_outbox SET detail = jsonb_set(detail, '{batch,root}', '"00"')
        WHERE event = 'receipts.recorded' RETURNING 1""")
    before = keys(bench)
    with pytest.raises(Misconfigured, match="does not have the root that the log holds: nothing was erased"):
        erase(bench.engine, "forged3", "test", WHY)
    assert keys(bench) == before
    assert len(decisions_on(bench.engine, "forged3")) == 2


def test_what_works_with_kept_decisions_goes_on_beside_erased_ones(bench: Bench) -> None:
    hooked(bench, "beside")
    for number in range(5):
        send(bench, "beside", f"e{number}", f'{{"id": "b{number}", "a": {number}, "b": 2}}')
    bench.drain()
    erase(bench.engine, "b2", "test", WHY)

    (mapping,) = (piece.document for piece in read_pieces({"f.yaml": documents("beside")})[0] if piece.kind == "mapping")
    done = backtest(bench.engine, bench.registry, "beside", (None, mapping), 10, "test")
    assert done.rows == 4


@pytest.fixture
def command(bench: Bench, tmp_path: Path) -> Iterator[Any]:
    """The command line on the bench's store, in a process of its own that a crash point may end."""
    decide(bench, "crash")
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FIELDLINE_")},
        "FIELDLINE_DATABASE_URL": bench.engine.store.url, "FIELDLINE_DATA_DIRECTORY": str(tmp_path),
    }  # fmt: skip

    def call(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "fieldline_server", *arguments]
        return subprocess.run(program, env=env | more, capture_output=True, text=True, check=False)

    return call


@pytest.mark.parametrize(
    "site", ["erase.commit:before#1", "erase.commit:after#1", "sequence.commit:before#1", "certify.commit:before#1"]
)
def test_a_process_that_ends_on_the_way_is_asked_again(site: str, bench: Bench, command: Any, tmp_path: Path) -> None:
    wish = ("audit", "erase", "--key", "crash3", "--why", WHY)
    assert command(*wish, FIELDLINE_CRASH_AT=site).returncode == 137
    done = site.startswith("erase.commit:before")
    assert len(decisions_on(bench.engine, "crash3")) == (2 if done else 0), "all or nothing"

    again = command(*wish)

    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("CERTIFICATE OF ERASURE")
    assert decisions_on(bench.engine, "crash3") == []
    assert len(bench.all("SELECT 1 FROM log_entry WHERE event = 'record.erased'")) == 1
    assert verified(bench, exported(bench, tmp_path / "all.zip"))


def test_the_command_line_holds_releases_and_counts(bench: Bench, command: Any) -> None:
    assert command("audit", "hold", "crash3", "--why", "case 17").stdout == "held\n"
    refused = command("audit", "erase", "--key", "crash3", "--why", WHY, "--dry-run")
    assert refused.returncode == 2
    assert "case 17" in refused.stderr
    (held,) = json.loads(command("audit", "holds", "--json").stdout)
    assert (held["key"], held["why"]) == ("crash3", "case 17")
    assert command("audit", "release", "crash3", "--why", "closed").stdout == "released\n"
    found = json.loads(command("audit", "erase", "--key", "crash3", "--why", WHY, "--dry-run", "--json").stdout)
    assert (found["decisions"], found["flows"]) == (2, ["crash"])
    assert len(decisions_on(bench.engine, "crash3")) == 2
    certificate = json.loads(command("audit", "erase", "--key", "crash3", "--why", WHY, "--json").stdout)
    assert (certificate["format"], certificate["erased"]["decisions"]) == ("fieldline-erasure/1", 2)

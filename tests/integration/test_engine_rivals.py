"""Several decisions, runs and people on the same records: nothing is lost, doubled or counted twice."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.engines import Bench, answers, documents, put
from tests.integration.test_odbc_flow import TABLE, execute
from tests.integration.test_odbc_flow import documents as odbc_documents

from fieldline_connectors import memory
from fieldline_core.errors import Misconfigured, Rejected, Unavailable
from fieldline_core.pipeline import manage
from fieldline_core.pipeline.accept import accept
from fieldline_core.pipeline.gate import pass_gate
from fieldline_core.pipeline.read import read
from fieldline_core.pipeline.replay import replay
from fieldline_core.pipeline.score import score
from fieldline_core.pipeline.write import write
from fieldline_core.ports import Event, Slice
from fieldline_core.receipts import Outcome, Pending, Receipts, RowReceipt
from fieldline_server.embedded import Database


def with_second_write(name: str) -> str:
    docs = list(yaml.safe_load_all(documents(name)))
    second = {"name": "second", "connection": name, "target": {"table": "second", "fields": {"score": "score"}}}
    docs[2]["writes"].append(second)
    return yaml.safe_dump_all(docs)


def test_our_own_earlier_write_is_not_taken_for_a_persons_change(
    database_url: str, erp: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERP_PASSWORD", erp.url.split(":")[2].split("@")[0])
    execute(erp, TABLE)
    bench = Bench(database_url, tmp_path)
    bench.import_linear(tmp_path)
    bench.apply(odbc_documents(erp))
    read(bench.engine, manage.request_run(bench.engine, "customers", "test"))
    for chunk in bench.all("SELECT id FROM chunk WHERE state = 'read'"):
        score(bench.engine, chunk["id"])
    execute(erp, "UPDATE customers SET a = 1000 WHERE id = 7")
    read(bench.engine, manage.request_run(bench.engine, "customers", "test"))
    for effect in bench.all("SELECT id FROM effect"):
        write(bench.engine, effect["id"])
    bench.drain()

    assert execute(erp, "SELECT score FROM customers WHERE id = 7") == [(1999.0,)]
    bench.engine.parts.connector("erp").close()
    bench.close()


def test_a_refused_write_is_replayed_without_the_other_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put("two", {"x": (2.0, 1.0), "y": (3.0, 1.0)})
    bench.apply(with_second_write("two"))
    write_it, calls, refusing = memory.Memory.write, [], [True]

    def writes(self: memory.Memory, slice: Slice) -> Receipts:
        calls.append(slice.target.table)  # type: ignore[attr-defined]
        if calls[-1] == "second" and refusing[0]:
            raise Rejected("not now")
        return write_it(self, slice)

    monkeypatch.setattr(memory.Memory, "write", writes)
    manage.request_run(bench.engine, "two", "test")
    bench.drain()
    refusing[0] = False
    replay(bench.engine, "two", "test")
    bench.drain()

    assert sorted(calls) == ["answers", "second", "second"]
    assert memory.store("two").rows("second") == {"x": {"score": 3.0}, "y": {"score": 5.0}}


def test_both_refused_writes_of_a_record_are_replayed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put("both", {"x": (2.0, 1.0)})
    bench.apply(with_second_write("both"))

    def refuses(self: memory.Memory, slice: Slice) -> Receipts:
        raise Rejected("not now")

    with monkeypatch.context() as patch:
        patch.setattr(memory.Memory, "write", refuses)
        manage.request_run(bench.engine, "both", "test")
        bench.drain()
    replay(bench.engine, "both", "test")
    bench.drain()

    assert answers("both") == {"x": 3.0}
    assert memory.store("both").rows("second") == {"x": {"score": 3.0}}


def test_an_effect_with_some_unknown_rows_is_counted_once_when_it_is_replayed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("partial", {f"k{i}": (2.0, 1.0) for i in range(10)})
    bench.apply(documents("partial"))

    def partly(self: memory.Memory, slice: Slice) -> Receipts:
        others = {1: RowReceipt(Outcome.UNKNOWN, "no answer"), 2: RowReceipt(Outcome.REFUSED, "too long")}
        return Receipts(len(slice.batch), Outcome.WRITTEN, others)

    with monkeypatch.context() as patch:
        patch.setattr(memory.Memory, "write", partly)
        manage.request_run(bench.engine, "partial", "test")
        bench.drain()
    replay(bench.engine, "partial", "test")
    bench.drain()

    (run,) = manage.list_runs(bench.engine, flow="partial")
    assert (run["written"], run["refused"]) == (10, 0)


def test_a_held_record_makes_one_letter_until_it_changes(bench: Bench) -> None:
    put("held", {"x": (2.0, 1.0), "h": (None, 1.0)})
    bench.apply(documents("held"))
    for _ in range(3):
        manage.request_run(bench.engine, "held", "test")
        bench.drain()
    put("held", {"h": (3.0, 1.0)})
    for _ in range(2):
        manage.request_run(bench.engine, "held", "test")
        bench.drain()

    assert len(bench.all("SELECT 1 FROM dead_letter")) == 1
    assert answers("held") == {"x": 3.0, "h": 5.0}
    assert len(bench.all("SELECT 1 FROM decision")) == 3


def test_a_bulk_job_that_is_polled_counts_its_changes_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put("polled", {f"k{i}": (2.0, 1.0) for i in range(10)})
    bench.apply(documents("polled", guards={"max_changed_per_hour": 25}))
    polls: list[int] = []

    def poll(self: memory.Memory, slice: Slice, handle: Any) -> Receipts | Pending:
        polls.append(1)
        return Pending({}, 0.0) if len(polls) < 5 else Receipts(len(slice.batch))

    monkeypatch.setattr(memory.Memory, "write", lambda self, slice: Pending({}, 0.0))
    monkeypatch.setattr(memory.Memory, "poll", poll, raising=False)
    manage.request_run(bench.engine, "polled", "test")
    bench.drain()

    assert [row["rows"] for row in bench.all("SELECT rows FROM changed_hour")] == [10]
    assert bench.all("SELECT 1 FROM flow WHERE paused_at IS NOT NULL") == []


def test_a_larger_bound_and_a_person_let_a_paused_flow_go_on(bench: Bench) -> None:
    put("bound", {f"k{i}": (2.0, 1.0) for i in range(10)})
    bench.apply(documents("bound", guards={"max_changed_per_hour": 5}))
    manage.request_run(bench.engine, "bound", "test")
    bench.drain()
    assert len(answers("bound")) == 5

    manage.resume_flow(bench.engine, "bound", "test")
    bench.drain()

    assert len(answers("bound")) == 10


def test_a_target_never_takes_more_at_once_than_it_is_allowed(bench: Bench) -> None:
    put("narrow", {f"k{i:04}": (2.0, 1.0) for i in range(300)})
    docs = list(yaml.safe_load_all(documents("narrow")))
    docs[0]["limits"] = {"concurrency": 1}
    bench.apply(yaml.safe_dump_all(docs))
    manage.pause_writes(bench.engine, "test", "to start at once")
    manage.request_run(bench.engine, "narrow", "test")
    bench.drain()
    manage.resume_writes(bench.engine, "test")
    claimed: list[Any] = []
    threads = [
        threading.Thread(target=lambda id=row["id"]: claimed.append(pass_gate(bench.engine, id)))
        for row in bench.all("SELECT id FROM effect")
    ]
    with bench.engine.store.transaction("hold") as tx:
        tx.one("effects.target", name="narrow")
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()

    assert sum(claim is not None for claim in claimed) == 1


def test_a_replay_is_not_cancelled_for_its_letters_are_gone(bench: Bench) -> None:
    put("replayed", {"h": (None, 1.0)})
    bench.apply(documents("replayed"))
    manage.request_run(bench.engine, "replayed", "test")
    bench.drain()
    run, _ = replay(bench.engine, "replayed", "test")
    assert run is not None

    with pytest.raises(Misconfigured, match="batch run"):
        manage.cancel_run(bench.engine, run, "test", "oops")
    bench.drain()


@pytest.mark.parametrize("error", [Rejected("no such key"), Unavailable("the source is away")])
def test_an_event_whose_record_cannot_be_read_back_becomes_a_letter_that_can_be_replayed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    put("named", {"x": (2.0, 1.0)})
    inbound = {"scheme": "standard", "secrets": [{"secret": "env:HOOK"}]}
    sender = yaml.safe_dump({"connection": "sender", "connector": "webhook", "settings": {"inbound": inbound}})
    flow = documents("named", trigger={"webhook": "sender", "key": "id"}, retry={"max_attempts": 1})
    bench.apply(f"{sender}---\n{flow}")

    def fails(self: memory.Memory, query: Any, keys: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(memory.Memory, "lookup", fails)
        accept(bench.engine, manage.current_release(bench.engine, "named"), "s", Event("1", json.dumps({"id": "x"}).encode()))
        bench.drain()
    (letter,) = bench.all("SELECT reason FROM dead_letter")
    assert str(error) in letter["reason"]

    replay(bench.engine, "named", "test")
    bench.drain()

    assert answers("named") == {"x": 3.0}


def test_a_flow_that_reads_another_table_starts_at_its_beginning(
    database_url: str, erp: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERP_PASSWORD", erp.url.split(":")[2].split("@")[0])
    execute(erp, TABLE)
    execute(erp, "UPDATE customers SET seen_at = now() - interval '1 day'")
    execute(erp, "CREATE TABLE clients (LIKE customers INCLUDING ALL)")
    execute(
        erp, "INSERT INTO clients SELECT * FROM customers; UPDATE clients SET seen_at = now() - interval '9 days', id = id + 1000"
    )
    bench = Bench(database_url, tmp_path)
    bench.import_linear(tmp_path)
    bench.apply(odbc_documents(erp, watermark="seen_at", overlap_s=0))
    manage.request_run(bench.engine, "customers", "test")
    bench.drain()

    bench.apply(odbc_documents(erp, watermark="seen_at", overlap_s=0).replace("table: customers", "table: clients"))
    second = manage.request_run(bench.engine, "customers", "test")
    bench.drain()

    assert manage.list_runs(bench.engine, id=second)[0]["scored"] == 250
    bench.engine.parts.connector("erp").close()
    bench.close()

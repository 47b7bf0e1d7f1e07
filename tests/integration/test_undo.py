"""Undo: what a release has written is put back, and nothing else is touched, on a real database over ODBC."""

import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from tests.engines import Bench, decisions_on

from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.pipeline import manage
from fieldline_core.pipeline.erase import erase
from fieldline_core.pipeline.invariants import check_invariants
from fieldline_core.pipeline.undo import Undo, UndoScope, apply_undo, preview_undo
from fieldline_server.embedded import Database
from fieldline_server.evidence_bundle import Wish, export_evidence

# 1.239 does not fit the column: what we wrote is compared as the database rounds it.
TABLE = """
CREATE TABLE customers (id int PRIMARY KEY, a double precision, score numeric(12, 2), note text);
INSERT INTO customers SELECT g, g + 0.239, nullif(g, 3) * 100, 'n' || g FROM generate_series(1, 20) g;
CREATE TABLE history (id int, score double precision);
"""


def documents(erp: Database, formula: str = "score", *, history: bool = False, **flow: object) -> str:
    """A flow that reads `customers` and writes the score into the same rows, and perhaps into a history."""
    address = ";".join(part for part in erp.odbc.split(";") if not part.startswith("Pwd="))
    settings = {"connection_string": address, "password": {"secret": "env:ERP_PASSWORD"}}
    back = {"operation": "update", "table": "customers", "key": "id", "fields": {"score": "score"}}
    added = {"operation": "insert", "table": "history", "key": "id", "fields": {"score": "score"}}
    writes = {"back": back, **({"history": added} if history else {})}
    steps = [{"name": name, "connection": "erp", "target": target} for name, target in writes.items()]
    mapping = {"mapping": "m", "features": [{"field": "a"}, {"name": "b", "formula": "0"}],
               "fields": [{"name": "score", "formula": formula}]}  # fmt: skip
    sentence = {"flow": "f", "source": {"connection": "erp", "query": {"table": "customers", "key": "id"}}, "mapping": "m",
                "models": ["linear"], "writes": steps, **flow}  # fmt: skip
    return yaml.safe_dump_all([{"connection": "erp", "connector": "odbc", "settings": settings}, mapping, sentence])


@pytest.fixture
def bench(database_url: str, erp: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("ERP_PASSWORD", erp.url.split(":")[2].split("@")[0])
    ask(erp, TABLE)
    made = Bench(database_url, tmp_path, chunk_rows=7)
    made.import_linear(tmp_path)
    yield made
    assert check_invariants(made.engine.store) == []
    if made.all("SELECT 1 AS x FROM flow"):
        made.engine.parts.connector("erp").close()
    made.close()


def ask(erp: Database, sql: str) -> list[Any]:
    with psycopg.connect(erp.url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def scores(erp: Database) -> dict[int, float | None]:
    return {id: None if score is None else float(score) for id, score in ask(erp, "SELECT id, score FROM customers")}


BEFORE = {id: None if id == 3 else id * 100.0 for id in range(1, 21)}


def run(bench: Bench, text: str = "") -> int:
    """A run of the flow, to its end, after these documents were applied."""
    if text:
        bench.apply(text)
    made = manage.request_run(bench.engine, "f", "test")
    bench.drain()
    return made


def undo(bench: Bench, scope: UndoScope) -> Undo:
    """An undo, to its end."""
    made = apply_undo(bench.engine, scope, "test", "the release was bad")
    bench.drain()
    return made


def test_a_dry_run_counts_and_writes_nothing(bench: Bench, erp: Database) -> None:
    number = run(bench, documents(erp))
    written = scores(erp)
    assert written[3] == 6.48

    shown = preview_undo(bench.engine, UndoScope(run=number), "test")

    assert (shown.flow, shown.run, shown.counts.total.put_back) == ("f", None, 20)
    assert scores(erp) == written
    assert [row["event"] for row in bench.all("SELECT event FROM audit_outbox WHERE event LIKE 'undo%%'")] == ["undo.previewed"]


def test_what_was_written_is_put_back_and_an_empty_field_is_empty_again(bench: Bench, erp: Database) -> None:
    number = run(bench, documents(erp))

    made = undo(bench, UndoScope(run=number))

    assert scores(erp) == BEFORE
    (row,) = manage.list_runs(bench.engine, id=made.run)
    assert (row["kind"], row["state"], row["written"], row["left_alone"]) == ("undo", "succeeded", 20, 0)
    (event,) = bench.all("SELECT actor, detail FROM audit_outbox WHERE event = 'undo.requested'")
    assert (event["actor"], event["detail"]["why"], event["detail"]["put_back"]) == ("test", "the release was bad", 20)


def test_an_undo_is_evidence_of_the_decision_that_it_takes_back(bench: Bench, erp: Database) -> None:
    made = undo(bench, UndoScope(run=run(bench, documents(erp))))

    (decision,) = decisions_on(bench.engine, "3")

    first, second = decision["writes"]
    assert ("undo" in first, second["undo"], second["outcome"]) == (False, made.run, "written")
    assert (first["before"], second["before"], second["put_back"]) == ({"score": None}, {"score": "6.48"}, {"score": None})


def test_a_second_undo_does_nothing_new(bench: Bench, erp: Database) -> None:
    scope = UndoScope(run=run(bench, documents(erp)))
    undo(bench, scope)

    again = undo(bench, scope)

    assert (again.run, again.counts.total.put_back, again.counts.total.already_so) == (None, 0, 20)
    assert bench.all("SELECT count(*) AS n FROM run WHERE kind = 'undo'")[0]["n"] == 1


def test_what_a_person_changed_since_is_left_alone(bench: Bench, erp: Database) -> None:
    scope = UndoScope(run=run(bench, documents(erp)))
    ask(erp, "UPDATE customers SET score = 42 WHERE id = 5; UPDATE customers SET score = NULL WHERE id = 6;"
             "DELETE FROM customers WHERE id = 7; UPDATE customers SET note = 'seen' WHERE id = 8")  # fmt: skip

    shown = preview_undo(bench.engine, scope, "test").counts.total
    made = undo(bench, scope)

    assert (shown.put_back, shown.changed_since) == (17, 3)
    assert made.counts.total == shown
    expected = {**BEFORE, 5: 42.0, 6: None}
    del expected[7]
    assert scores(erp) == expected
    (row,) = manage.list_runs(bench.engine, id=made.run)
    assert (row["written"], row["left_alone"], row["refused"]) == (17, 0, 0)
    assert undo(bench, scope).run is None, "there is nothing left to put back"


def test_what_a_person_changes_before_it_is_written_is_left_alone_too(bench: Bench, erp: Database) -> None:
    number = run(bench, documents(erp))
    manage.pause_writes(bench.engine, "test", "so that nothing is put back yet")
    made = apply_undo(bench.engine, UndoScope(run=number), "test", "bad")
    ask(erp, "UPDATE customers SET score = 42 WHERE id = 5; DELETE FROM customers WHERE id = 7")
    manage.resume_writes(bench.engine, "test")
    bench.drain()

    expected = {**BEFORE, 5: 42.0}
    del expected[7]
    assert scores(erp) == expected
    (row,) = manage.list_runs(bench.engine, id=made.run)
    assert (row["written"], row["left_alone"], row["refused"]) == (18, 2, 0)
    assert bench.all("SELECT count(*) AS n FROM dead_letter")[0]["n"] == 0


def test_what_is_already_as_it_was_is_not_counted_as_changed(bench: Bench, erp: Database) -> None:
    scope = UndoScope(run=run(bench, documents(erp)))
    ask(erp, "UPDATE customers SET score = 500 WHERE id = 5")

    shown = preview_undo(bench.engine, scope, "test").counts.total

    assert (shown.put_back, shown.already_so, shown.changed_since) == (19, 1, 0)


def test_a_later_decision_stands(bench: Bench, erp: Database) -> None:
    first = run(bench, documents(erp))
    ask(erp, "UPDATE customers SET a = 0 WHERE id = 9")
    run(bench)

    made = undo(bench, UndoScope(run=first))

    assert (made.counts.total.put_back, made.counts.total.decided_since) == (19, 1)
    assert scores(erp) == {**BEFORE, 9: 0.0}


def test_a_decision_between_the_freezing_and_the_writing_stands_too(bench: Bench, erp: Database) -> None:
    first = run(bench, documents(erp))
    manage.pause_writes(bench.engine, "test", "so that nothing is put back yet")
    made = apply_undo(bench.engine, UndoScope(run=first), "test", "bad")
    ask(erp, "UPDATE customers SET a = 0 WHERE id = 9")
    run(bench)
    manage.resume_writes(bench.engine, "test")
    bench.drain()

    assert scores(erp) == {**BEFORE, 9: 0.0}
    (row,) = manage.list_runs(bench.engine, id=made.run)
    assert (row["written"], row["left_alone"]) == (19, 1)


def test_a_record_that_was_read_before_the_undo_and_decided_on_after_it_is_written(bench: Bench, erp: Database) -> None:
    first = run(bench, documents(erp))
    ask(erp, "UPDATE customers SET a = 0 WHERE id = 9")
    manage.request_run(bench.engine, "f", "test")
    from fieldline_core.pipeline.read import read

    read(bench.engine, first + 1)
    made = apply_undo(bench.engine, UndoScope(run=first), "test", "bad")
    from fieldline_core.pipeline.write import write

    for effect in bench.all("SELECT e.id FROM effect e JOIN chunk c ON c.id = e.chunk_id WHERE c.run_id = %s", made.run):
        write(bench.engine, effect["id"])
    assert scores(erp) == BEFORE
    bench.drain()

    assert scores(erp) == {**BEFORE, 9: 0.0}, "our own undo is nobody's change"


def test_a_release_that_wrote_twice_is_undone_to_what_was_there_before_it(bench: Bench, erp: Database) -> None:
    run(bench, documents(erp))
    good = scores(erp)
    run(bench, documents(erp, "score * 10"))
    ask(erp, "UPDATE customers SET a = 1 WHERE id <= 4")
    run(bench)
    assert scores(erp)[4] == 20.0
    (bad,) = bench.all("SELECT r.digest FROM release r JOIN flow f ON f.release_id = r.id")

    made = undo(bench, UndoScope(release=bad["digest"][:12]))

    assert (made.counts.total.put_back, scores(erp)) == (20, good)


def test_a_person_between_two_writes_of_a_release_has_the_word(bench: Bench, erp: Database) -> None:
    begun = datetime.now(UTC) - timedelta(hours=1)
    run(bench, documents(erp))
    ask(erp, "UPDATE customers SET a = 1, score = 7 WHERE id = 4")
    run(bench)

    undo(bench, UndoScope(flow="f", since=begun))

    assert scores(erp) == {**BEFORE, 4: 7.0}


def test_one_undo_after_another_goes_back_step_by_step(bench: Bench, erp: Database) -> None:
    first = run(bench, documents(erp))
    good = scores(erp)
    second = run(bench, documents(erp, "score * 10"))

    undo(bench, UndoScope(run=second))
    assert scores(erp) == good
    assert preview_undo(bench.engine, UndoScope(run=first), "test").counts.total.decided_since == 20, "a later decision stands"
    undo(bench, UndoScope(flow="f", since=datetime.now(UTC) - timedelta(hours=1)))

    assert scores(erp) == BEFORE


def test_one_record_alone_is_put_back(bench: Bench, erp: Database) -> None:
    number = run(bench, documents(erp))
    written = scores(erp)

    made = undo(bench, UndoScope(run=number, key="5"))

    assert (made.counts.total.put_back, scores(erp)) == (1, {**written, 5: 500.0})


def test_inserts_are_history_and_said_not_to_be_undone(bench: Bench, erp: Database) -> None:
    number = run(bench, documents(erp, history=True))

    made = undo(bench, UndoScope(run=number))

    assert (made.counts.writes["back"].put_back, made.counts.writes["history"].no_image) == (20, 20)
    assert ask(erp, "SELECT count(*) FROM history") == [(20,)]


def test_an_undo_that_goes_on_keeps_another_from_beginning(bench: Bench, erp: Database) -> None:
    scope = UndoScope(run=run(bench, documents(erp)))
    apply_undo(bench.engine, scope, "test", "bad")

    with pytest.raises(Misconfigured, match="still going on"):
        apply_undo(bench.engine, scope, "test", "bad")
    bench.drain()


def test_the_bound_on_changes_holds_for_an_undo(bench: Bench, erp: Database) -> None:
    number = run(bench, documents(erp))
    bench.apply(documents(erp, guards={"max_changed_per_hour": 5}))
    apply_undo(bench.engine, UndoScope(run=number), "test", "bad")
    bench.drain()

    back = sum(value == BEFORE[id] for id, value in scores(erp).items())
    assert back == 5
    assert "max_changed_per_hour" in bench.all("SELECT paused_reason FROM flow")[0]["paused_reason"]
    while bench.all("SELECT 1 AS x FROM flow WHERE paused_at IS NOT NULL"):
        manage.resume_flow(bench.engine, "f", "test")
        bench.drain()
    assert scores(erp) == BEFORE


def test_an_erased_record_is_not_put_back_and_its_undo_is_erased_with_it(bench: Bench, erp: Database) -> None:
    number = run(bench, documents(erp))
    undo(bench, UndoScope(run=number, key="5"))
    erase(bench.engine, "5", "test", "asked for")
    erase(bench.engine, "6", "test", "asked for")

    made = undo(bench, UndoScope(run=number))

    assert made.counts.total.put_back == 18
    assert decisions_on(bench.engine, "5") == []


def test_a_scope_that_is_none_is_refused_in_words(bench: Bench, erp: Database) -> None:
    with pytest.raises(Rejected, match="a release, a run, or a flow"):
        UndoScope()
    with pytest.raises(Rejected, match="give both"):
        UndoScope(flow="f")
    with pytest.raises(Misconfigured, match="there is no run 99"):
        preview_undo(bench.engine, UndoScope(run=99), "test")
    with pytest.raises(Rejected, match="needs a reason"):
        apply_undo(bench.engine, UndoScope(run=99), "test", " ")


def test_what_is_still_to_be_written_is_said_to_be_under_way(bench: Bench, erp: Database) -> None:
    bench.apply(documents(erp))
    manage.pause_writes(bench.engine, "test", "so that nothing is written yet")
    number = manage.request_run(bench.engine, "f", "test")
    bench.drain()

    shown = preview_undo(bench.engine, UndoScope(run=number), "test").counts.total

    assert (shown.under_way, shown.put_back) == (20, 0)
    manage.resume_writes(bench.engine, "test")
    bench.drain()


def test_the_page_of_an_exported_bundle_tells_the_story(bench: Bench, erp: Database, tmp_path: Path) -> None:
    undo(bench, UndoScope(run=run(bench, documents(erp))))

    export_evidence(bench.engine, Wish("3"), tmp_path / "out.zip", "test")

    with zipfile.ZipFile(tmp_path / "out.zip") as bundle:
        page = bundle.read("index.html").decode()
    assert "which test asked for (the release was bad), put back what erp held before" in page
    assert "No approval is recorded." in page

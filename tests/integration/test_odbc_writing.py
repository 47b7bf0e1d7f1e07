"""Writing to real databases: as a set, once, without touching what people changed."""

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from tests.databases import Erp, effect

from fieldline_connectors.odbc import OdbcTarget
from fieldline_connectors.odbc.ledger import create_statement
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.ports import Dedupe
from fieldline_core.receipts import Outcome, Receipts

pytest_plugins = ["tests.database_fixtures"]

DOUBLE = {"postgresql": "double precision", "mariadb": "double", "sqlite": "double"}
UPDATE = OdbcTarget(table="t", key=("id",), fields={"score": "score"})


def table(erp: Erp, rows: int = 3) -> None:
    """A table `t` with the keys 1 … rows, a score and a short text."""
    erp.run(f"CREATE TABLE t (id int PRIMARY KEY, score {DOUBLE[erp.kind]} CHECK (score <= 1), label varchar(5), seen int)")
    for number in range(1, rows + 1):
        erp.run("INSERT INTO t (id, seen) VALUES (?, 0)", number)


def scores(erp: Erp) -> dict[int, Any]:
    return dict(erp.run("SELECT id, score FROM t ORDER BY id"))


@contextmanager
def lenient(erp: Erp) -> Iterator[None]:
    """A server of MariaDB whose sessions begin without strictness, as old installations do."""
    if erp.kind != "mariadb":
        yield
        return
    ((usual,),) = erp.run("SELECT @@GLOBAL.sql_mode")
    erp.run("SET GLOBAL sql_mode = ''")
    yield
    erp.run("SET GLOBAL sql_mode = ?", usual)


def outcomes(receipts: Receipts) -> list[str]:
    return [receipts[row].outcome.value for row in range(receipts.rows)]


def test_rows_that_people_changed_are_left_alone(database: Erp) -> None:
    table(database, 4)
    database.run("UPDATE t SET score = 0.9 WHERE id = 2")
    database.run("UPDATE t SET score = 0.3 WHERE id = 3")
    before = {"score": [None, None, None, None]}
    receipts = database.connector().write(effect(UPDATE, ["1", "2", "3", "4"], before, score=[0.1, 0.2, 0.3, None]))
    assert outcomes(receipts) == ["written", "changed_by_person", "written", "written"]
    assert scores(database) == {1: 0.1, 2: 0.9, 3: 0.3, 4: None}


def test_without_the_check_every_row_is_written(database: Erp) -> None:
    table(database, 2)
    database.run("UPDATE t SET score = 0.9 WHERE id = 2")
    target = UPDATE.model_copy(update={"check_before": False})
    receipts = database.connector().write(effect(target, ["1", "2"], {"score": [None, None]}, score=[0.1, 0.2]))
    assert outcomes(receipts) == ["written", "written"]
    assert scores(database) == {1: 0.1, 2: 0.2}


def test_a_missing_row_is_refused_and_the_others_written(database: Erp) -> None:
    table(database, 2)
    receipts = database.connector().write(effect(UPDATE, ["1", "7", "x", "2"], score=[0.1, 0.2, 0.3, 0.4]))
    assert outcomes(receipts) == ["written", "refused", "refused", "written"]
    assert "no row with this key" in receipts[1].reason
    assert scores(database) == {1: 0.1, 2: 0.4}


def test_bad_rows_are_found_among_many(database: Erp) -> None:
    table(database, 200)
    values = [5.0 if number in (0, 77, 199) else 0.5 for number in range(200)]
    receipts = database.connector().write(effect(UPDATE, [str(number) for number in range(1, 201)], score=values))
    assert [row for row in range(200) if receipts[row].outcome is Outcome.REFUSED] == [0, 77, 199]
    assert sum(score == 0.5 for score in scores(database).values()) == 197
    assert database.run("SELECT COUNT(*), MAX(row_count) FROM fieldline_effect") == [(1, 200)]


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_value_too_long_is_refused_never_cut(kind: str, request: pytest.FixtureRequest) -> None:
    erp: Erp = request.getfixturevalue(kind)
    table(erp, 2)
    target = OdbcTarget(table="t", key=("id",), fields={"label": "label"})
    with lenient(erp):
        receipts = erp.connector().write(effect(target, ["1", "2"], label=["much too long", "ok🚲"]))
    assert outcomes(receipts) == ["refused", "written"]
    assert "too long" in receipts[0].reason
    assert "much" not in receipts[0].reason
    assert erp.run("SELECT label FROM t ORDER BY id") == [(None,), ("ok🚲",)]


def test_upsert_adds_what_is_missing_and_checks_what_is_there(database: Erp) -> None:
    table(database, 2)
    database.run("UPDATE t SET score = 0.9 WHERE id = 2")
    target = OdbcTarget(operation="upsert", table="t", key=("id",), fields={"score": "score"})
    receipts = database.connector().write(effect(target, ["1", "2", "3"], {"score": [None, None, None]}, score=[0.1, 0.2, 0.3]))
    assert outcomes(receipts) == ["written", "changed_by_person", "written"]
    assert scores(database) == {1: 0.1, 2: 0.9, 3: 0.3}


def test_insert_keeps_history(database: Erp) -> None:
    database.run(f"CREATE TABLE p (id int, score {DOUBLE[database.kind]}, at timestamp NULL, effect varchar(64))")
    target = OdbcTarget(
        operation="insert", table="p", key=("id",), fields={"score": "score"}, written_at="at", effect_key="effect",
    )  # fmt: skip
    connector = database.connector()
    for key, score in (("first", 0.1), ("second", 0.2), ("second", 0.2)):
        connector.write(effect(target, ["1", "2"], key=key, score=[score, score]))
    assert database.run("SELECT id, score FROM p ORDER BY score, id") == [(1, 0.1), (2, 0.1), (1, 0.2), (2, 0.2)]
    assert database.run("SELECT COUNT(DISTINCT effect) FROM p WHERE at IS NOT NULL") == [(2,)]


def test_a_repeat_gets_the_first_answer_even_after_people_changed_the_row(database: Erp) -> None:
    table(database, 2)
    slice = effect(UPDATE, ["1", "9"], {"score": [None, None]}, score=[0.1, 0.2])
    first = database.connector().write(slice)
    database.run("UPDATE t SET score = 0.7 WHERE id = 1")
    again = database.connector().write(slice)
    assert outcomes(again) == outcomes(first) == ["written", "refused"]
    assert again.detail["repeat"] is True
    assert scores(database)[1] == 0.7


def test_a_zombie_changes_nothing_and_the_ledger_keeps_the_first_fence(database: Erp) -> None:
    table(database, 1)
    database.connector().write(effect(UPDATE, ["1"], fence=5, score=[0.1]))
    database.connector().write(effect(UPDATE, ["1"], fence=4, score=[0.2]))
    assert scores(database) == {1: 0.1}
    assert database.run("SELECT fence FROM fieldline_effect") == [(5,)]


def test_one_effect_by_many_threads_at_once_is_written_once(database: Erp) -> None:
    database.run(f"CREATE TABLE p (id int, score {DOUBLE[database.kind]})")
    target = OdbcTarget(operation="insert", table="p", key=("id",), fields={"score": "score"})
    connector, answers = database.connector(), []
    connector.dedupe(target)

    def work(fence: int) -> None:
        for _ in range(20):
            try:
                answers.append(connector.write(effect(target, ["1", "2"], fence=fence, score=[0.1, 0.2])))
                return
            except Unavailable:
                continue

    threads = [threading.Thread(target=work, args=(fence,)) for fence in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.run("SELECT COUNT(*) FROM p") == [(2,)]
    assert [outcomes(answer) for answer in answers] == [["written", "written"]] * 4


@pytest.mark.parametrize("site", ["target.commit:before", "target.commit:after"])
def test_a_killed_writer_is_repeated_without_harm(database: Erp, site: str) -> None:
    database.run(f"CREATE TABLE p (id int, score {DOUBLE[database.kind]})")
    target = OdbcTarget(operation="insert", table="p", key=("id",), fields={"score": "score"})
    program = (
        "from fieldline_connectors.odbc import *; from fieldline_core.secret import Secret; from tests.databases import *;"
        f"erp = Erp({database.kind!r}, {dict(database.settings)!r}, {database.password!r});"
        f"erp.connector().write(effect(OdbcTarget(**{target.model_dump()!r}), ['1'], score=[0.1]))"
    )
    root = __file__.rpartition("/tests/")[0]
    died = subprocess.run([sys.executable, "-c", program], env={"FIELDLINE_CRASH_AT": f"{site}#1"}, cwd=root, capture_output=True)
    assert died.returncode == 137, died.stderr
    receipts = database.connector().write(effect(target, ["1"], fence=2, score=[0.1]))
    assert outcomes(receipts) == ["written"]
    assert receipts.detail.get("repeat", False) is (site == "target.commit:after")
    assert database.run("SELECT id, score FROM p") == [(1, 0.1)]


def test_old_rows_of_the_ledger_are_pruned(database: Erp) -> None:
    table(database, 1)
    database.run(create_statement("fieldline_effect", database.kind))
    for key, at in (("old", "2020-01-01T00:00:00Z"), ("new", "2999-01-01T00:00:00Z")):
        database.run("INSERT INTO fieldline_effect VALUES (?, 1, 1, '{}', ?)", key, at)
    database.connector().write(effect(UPDATE, ["1"], score=[0.1]))
    assert [
        row[0].strip() for row in database.run("SELECT effect_key FROM fieldline_effect WHERE row_count = 1 AND outcome = '{}'")
    ] == ["new"]


@pytest.mark.parametrize(("operation", "dedupe"), [("update", Dedupe.QUERY), ("upsert", Dedupe.QUERY), ("insert", Dedupe.NONE)])
def test_without_a_ledger_the_operation_says_what_a_repeat_does(
    database: Erp, operation: Literal["update", "upsert", "insert"], dedupe: Dedupe
) -> None:
    table(database, 1)
    target = OdbcTarget(operation=operation, table="t", key=("id",), fields={"score": "score"})
    assert database.connector(ledger=False).dedupe(target) is dedupe
    assert database.connector().dedupe(target) is Dedupe.LEDGER


def test_without_a_ledger_a_repeated_update_is_no_change_by_a_person(database: Erp) -> None:
    table(database, 1)
    connector = database.connector(ledger=False)
    for fence in (1, 2):
        receipts = connector.write(effect(UPDATE, ["1"], {"score": [None]}, fence=fence, score=[0.1]))
        assert outcomes(receipts) == ["written"]
    assert receipts.detail == {"ledger": None}


def test_without_a_ledger_the_effects_key_in_the_rows_stops_a_repeat(database: Erp) -> None:
    database.run(f"CREATE TABLE p (id int, score {DOUBLE[database.kind]}, effect varchar(64))")
    target = OdbcTarget(operation="insert", table="p", key=("id",), fields={"score": "score"}, effect_key="effect")
    connector = database.connector(ledger=False)
    assert connector.dedupe(target) is Dedupe.QUERY
    for _ in range(2):
        connector.write(effect(target, ["1"], score=[0.1]))
    assert database.run("SELECT COUNT(*) FROM p") == [(1,)]


def test_a_ledger_that_may_not_be_made_is_said_with_the_statement_to_run(postgresql: Erp, caplog: pytest.LogCaptureFixture) -> None:
    table(postgresql, 1)
    role = f"guest_{postgresql.settings['connection_string'].partition('Database=')[2].partition(';')[0]}"
    postgresql.run(f"CREATE ROLE {role} LOGIN PASSWORD 'guest'")
    postgresql.run(f"GRANT SELECT, UPDATE ON t TO {role}")
    guest = Erp("postgresql", {**postgresql.settings, "user": role}, "guest")
    with caplog.at_level(logging.WARNING):
        assert guest.connector().dedupe(UPDATE) is Dedupe.QUERY
    assert "CREATE TABLE" in caplog.text
    assert outcomes(guest.connector().write(effect(UPDATE, ["1"], score=[0.1]))) == ["written"]
    postgresql.run(f"DROP OWNED BY {role}")
    postgresql.run(f"DROP ROLE {role}")


def test_a_key_that_is_not_unique_is_never_written_by(database: Erp) -> None:
    database.run(f"CREATE TABLE t (id int, score {DOUBLE[database.kind]})")
    for _ in range(2):
        database.run("INSERT INTO t (id) VALUES (1)")
    with pytest.raises(Misconfigured, match="key_is_unique"):
        database.connector().write(effect(UPDATE, ["1"], score=[0.1]))
    with pytest.raises(Misconfigured, match="more than one row"):
        database.connector().write(effect(UPDATE.model_copy(update={"key_is_unique": True}), ["1"], score=[0.1]))
    assert scores(database) == {1: None}


def test_a_table_without_transactions_is_refused(mariadb: Erp) -> None:
    mariadb.run("CREATE TABLE t (id int PRIMARY KEY, score double) ENGINE=MyISAM")
    with pytest.raises(Misconfigured, match="ENGINE=InnoDB"):
        mariadb.connector().write(effect(UPDATE, ["1"], score=[0.1]))


def test_deferred_constraints_refuse_rows_and_not_the_commit(postgresql: Erp) -> None:
    table(postgresql, 2)
    postgresql.run("CREATE TABLE c (id int PRIMARY KEY, seen int REFERENCES t DEFERRABLE INITIALLY DEFERRED)")
    postgresql.run("INSERT INTO c VALUES (1), (2)")
    receipts = postgresql.connector().write(
        effect(OdbcTarget(table="c", key=("id",), fields={"seen": "seen"}), ["1", "2"], seen=[1, 99])
    )
    assert outcomes(receipts) == ["written", "refused"]
    assert "not there" in receipts[1].reason


def test_text_keys_of_another_collation_are_matched(mariadb: Erp) -> None:
    mariadb.run(
        "CREATE TABLE t (id varchar(20) CHARACTER SET latin1 PRIMARY KEY, score double, note varchar(9) COLLATE utf8mb4_unicode_ci)"
    )
    mariadb.run("INSERT INTO t VALUES ('ärger', 0, 'gold')")
    target = OdbcTarget(table="t", key=("id",), fields={"score": "score", "note": "note"})
    first = mariadb.connector().write(effect(target, ["ärger"], {"score": [0.0], "note": ["GOLD"]}, score=[0.5], note=["x"]))
    assert outcomes(first) == ["changed_by_person"], "a change of capitals is a change"
    second = mariadb.connector().write(
        effect(target, ["ärger"], {"score": [0.0], "note": ["gold"]}, key="2", score=[0.5], note=["x"])
    )
    assert outcomes(second) == ["written"]


def test_exact_values_are_compared_and_written_exactly(database: Erp) -> None:
    kinds = {"postgresql": "numeric(30,10)", "mariadb": "decimal(30,10)", "sqlite": "text"}
    database.run(f"CREATE TABLE t (id int PRIMARY KEY, amount {kinds[database.kind]})")
    database.run("INSERT INTO t VALUES (1, '12345678901234567890.0123456789')")
    target = OdbcTarget(table="t", key=("id",), fields={"amount": "amount"})
    connector, was = database.connector(), "12345678901234567890.0123456788"
    assert outcomes(connector.write(effect(target, ["1"], {"amount": [was]}, amount=["1"]))) == ["changed_by_person"]
    was = "12345678901234567890.0123456789"
    assert outcomes(
        connector.write(effect(target, ["1"], {"amount": [was]}, key="2", amount=["98765432109876543210.0000000001"]))
    ) == ["written"]
    assert [str(row[0]) for row in database.run("SELECT amount FROM t")] == ["98765432109876543210.0000000001"]

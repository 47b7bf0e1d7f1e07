"""A flow from a real database back into it, over ODBC."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml
from tests.engines import Bench, decisions_on

from fieldline_core.pipeline import manage
from fieldline_core.pipeline.invariants import check_invariants
from fieldline_server.embedded import Database

TABLE = """
CREATE TABLE customers (id int PRIMARY KEY, a numeric(12, 2), b double precision, score double precision, seen_at timestamptz);
INSERT INTO customers SELECT g, g, 1 FROM generate_series(1, 250) g;
"""


def documents(erp: Database, **query: object) -> str:
    """A flow that reads `customers` and writes the score into the same rows."""
    address = ";".join(part for part in erp.odbc.split(";") if not part.startswith("Pwd="))
    settings = {"connection_string": address, "password": {"secret": "env:ERP_PASSWORD"}}
    features = [{"field": "a"}, {"field": "b"}]
    target = {"operation": "update", "table": "customers", "key": "id", "fields": {"score": "score"}}
    return yaml.safe_dump_all([
        {"connection": "erp", "connector": "odbc", "settings": settings},
        {"mapping": "customers", "features": features, "fields": [{"name": "score", "formula": "score"}]},
        {
            "flow": "customers", "source": {"connection": "erp", "query": {"table": "customers", "key": "id", **query}},
            "mapping": "customers", "models": ["linear"], "writes": [{"name": "score", "connection": "erp", "target": target}],
        },
    ])  # fmt: skip


@pytest.fixture
def bench(database_url: str, erp: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("ERP_PASSWORD", erp.url.split(":")[2].split("@")[0])
    execute(erp, TABLE)
    made = Bench(database_url, tmp_path)
    made.import_linear(tmp_path)
    yield made
    assert check_invariants(made.engine.store) == []
    made.engine.parts.connector("erp").close()
    made.close()


def execute(erp: Database, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(erp.url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def test_every_row_of_the_table_gets_its_score(bench: Bench, erp: Database) -> None:
    bench.apply(documents(erp))
    manage.request_run(bench.engine, "customers", "test")
    bench.drain()

    assert execute(erp, "SELECT count(*) FROM customers WHERE score = 2 * a - b") == [(250,)]
    (decision,) = decisions_on(bench.engine, "7")
    assert decision["source"] == {"a": "7.00", "b": 1.0, "score": None}
    assert decision["writes"][0]["outcome"] == "written"


def test_a_field_that_a_person_changed_since_it_was_read_is_left_alone(bench: Bench, erp: Database) -> None:
    bench.apply(documents(erp))
    manage.pause_writes(bench.engine, "test", "somebody is at work")
    run = manage.request_run(bench.engine, "customers", "test")
    bench.drain()
    execute(erp, "UPDATE customers SET score = 42 WHERE id = 7")

    manage.resume_writes(bench.engine, "test")
    bench.drain()

    assert execute(erp, "SELECT score FROM customers WHERE id IN (7, 8) ORDER BY id") == [(42.0,), (15.0,)]
    (row,) = manage.list_runs(bench.engine, id=run)
    assert (row["written"], row["left_alone"]) == (249, 1)
    (decision,) = decisions_on(bench.engine, "7")
    assert decision["writes"][0]["outcome"] == "changed_by_person"


def test_our_own_write_does_not_make_a_row_new(bench: Bench, erp: Database) -> None:
    bench.apply(documents(erp))
    manage.request_run(bench.engine, "customers", "test")
    bench.drain()
    execute(erp, "UPDATE customers SET a = 0 WHERE id = 9")

    second = manage.request_run(bench.engine, "customers", "test")
    bench.drain()

    (row,) = manage.list_runs(bench.engine, id=second)
    assert (row["rows_read"], row["scored"], row["skipped"]) == (250, 1, 249)
    assert execute(erp, "SELECT score FROM customers WHERE id = 9") == [(-1.0,)]


def test_an_incremental_flow_reads_only_what_changed(bench: Bench, erp: Database) -> None:
    execute(erp, "UPDATE customers SET seen_at = now() - interval '1 day'")
    bench.apply(documents(erp, watermark="seen_at", overlap_s=0))
    manage.request_run(bench.engine, "customers", "test")
    bench.drain()
    execute(erp, "UPDATE customers SET a = 100, seen_at = now() WHERE id = 3")

    second = manage.request_run(bench.engine, "customers", "test")
    bench.drain()

    (row,) = manage.list_runs(bench.engine, id=second)
    assert row["scored"] == 1
    assert row["rows_read"] < 250 + 2
    assert execute(erp, "SELECT score FROM customers WHERE id = 3") == [(199.0,)]


def test_a_missing_table_ends_the_run_in_words(bench: Bench, erp: Database) -> None:
    bench.apply(documents(erp))
    execute(erp, "DROP TABLE customers")
    run = manage.request_run(bench.engine, "customers", "test")
    bench.drain()

    (row,) = manage.list_runs(bench.engine, id=run)
    assert row["state"] == "failed"
    assert "customers" in row["reason"]

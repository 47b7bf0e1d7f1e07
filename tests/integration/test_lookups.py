"""Rows that belong to records: read when a record is scored, counted and summed by the mapping, kept in the evidence."""

from typing import Any

import polars as pl
import pytest
import yaml
from tests.engines import Bench, answers, decisions_on

from fieldline_connectors import memory
from fieldline_core.batch import Batch
from fieldline_core.pipeline.manage import request_run

RECORD = {"a": "number", "orders": {"amount": "number", "state": "text"}}


@pytest.fixture(autouse=True)
def shop() -> None:
    """Three customers: one with two orders, one with one, one with none."""
    tables = memory.store("shop").tables
    tables.clear()
    frame = pl.DataFrame({"a": [1.0, 2.0, 3.0]})
    memory.store("shop").put("records", Batch.of(["ada", "bob", "cyd"], frame))
    order("o1", "ada", 10.0, "won")
    order("o2", "ada", 7.5, "lost")
    order("o3", "bob", 2.0, "won")


def order(key: str, customer: str, amount: float | None, state: str) -> None:
    """Puts an order."""
    schema = {"customer": pl.String, "amount": pl.Float64, "state": pl.String}
    memory.store("shop").put("orders", Batch.of([key], pl.DataFrame([(customer, amount, state)], schema=schema, orient="row")))


def documents(**flow: Any) -> str:
    mapping = {
        "mapping": "shop", "record": RECORD,
        "features": [
            {"name": "won", "formula": 'SUM(orders.amount, state = "won")'},
            {"name": "count", "formula": "COUNT(orders)"},
        ],
        "fields": [{"name": "score", "formula": "score"}],
    }  # fmt: skip
    lookup = {"name": "orders", "connection": "shop", "query": {"table": "orders", "by": "customer"}}
    sentence = {
        "flow": "shop", "source": {"connection": "shop", "query": {"table": "records"}}, "lookups": [lookup], "mapping": "shop",
        "models": ["linear"],
        "writes": [{"name": "answer", "connection": "shop", "target": {"table": "answers", "fields": {"score": "score"}}}],
    }  # fmt: skip
    connection = {"connection": "shop", "connector": "memory", "settings": {"store": "shop"}}
    return yaml.safe_dump_all([connection, mapping, {**sentence, **flow}])


def run(bench: Bench) -> None:
    request_run(bench.engine, "shop", "test")
    bench.drain()


def test_a_records_rows_are_summed_and_counted(bench: Bench) -> None:
    bench.apply(documents())
    run(bench)
    # linear: 2 * won - count
    assert answers("shop") == {"ada": 18.0, "bob": 3.0, "cyd": 0.0}


def test_the_rows_are_in_the_evidence(bench: Bench) -> None:
    bench.apply(documents())
    run(bench)
    (decision,) = decisions_on(bench.engine, "ada")
    assert decision["source"]["orders"] == [{"amount": 7.5, "state": "lost"}, {"amount": 10.0, "state": "won"}]
    assert decision["features"] == {"won": 10.0, "count": 2.0}


def test_a_record_whose_rows_changed_is_decided_on_again(bench: Bench) -> None:
    bench.apply(documents())
    run(bench)
    order("o4", "cyd", 4.0, "won")
    run(bench)
    assert answers("shop")["cyd"] == 7.0
    assert [len(decisions_on(bench.engine, key)) for key in ("ada", "bob", "cyd")] == [1, 1, 2]


def test_rows_are_found_by_another_field_than_the_key(bench: Bench) -> None:
    memory.store("shop").put("records", Batch.of(["eve"], pl.DataFrame({"a": [1.0]})))
    memory.store("shop").tables["records"].types["account"] = pl.String()
    memory.store("shop").tables["records"].rows["eve"]["account"] = "ada"
    lookup = {"name": "orders", "connection": "shop", "query": {"table": "orders", "by": "customer"}, "by": "account"}
    bench.apply(documents(lookups=[lookup]))
    run(bench)
    assert answers("shop")["eve"] == 18.0
    assert answers("shop")["ada"] == 0.0


def test_a_row_with_a_value_that_cannot_be_read_holds_its_record_only(bench: Bench) -> None:
    memory.store("shop").tables["orders"].types["amount"] = pl.String()
    for row, amount in zip(memory.store("shop").tables["orders"].rows.values(), ("10", "7.5", "two"), strict=True):
        row["amount"] = amount
    bench.apply(documents())
    run(bench)
    assert answers("shop") == {"ada": 18.0, "cyd": 0.0}
    (letter,) = bench.all("SELECT reason FROM dead_letter")
    assert letter["reason"] == "feature 'won': field 'amount' is not a number"


def test_a_lookup_for_a_list_that_the_mapping_does_not_know_is_refused(bench: Bench) -> None:
    lookup = {"name": "order", "connection": "shop", "query": {"table": "orders", "by": "customer"}}
    with pytest.raises(AssertionError, match=r"knows no list 'order'\. Did you mean 'orders'\?"):
        bench.apply(documents(lookups=[lookup]))


def test_a_query_that_does_not_say_whose_its_rows_are_pauses_the_flow(bench: Bench) -> None:
    bench.apply(documents(lookups=[{"name": "orders", "connection": "shop", "query": {"table": "orders"}}]))
    run(bench)
    (flow,) = bench.all("SELECT paused_reason FROM flow")
    assert "write `by`" in flow["paused_reason"]


def test_a_lookup_by_a_field_that_records_lack_pauses_the_flow(bench: Bench) -> None:
    lookup = {"name": "orders", "connection": "shop", "query": {"table": "orders", "by": "customer"}, "by": "accuont"}
    bench.apply(documents(lookups=[lookup]))
    run(bench)
    (flow,) = bench.all("SELECT paused_reason FROM flow")
    assert "goes by the field 'accuont', which the records do not have" in flow["paused_reason"]

"""Past decisions, made again: equal where nothing was changed, and what differs where something was."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from tests.engines import Bench, documents, put

from fieldline_connectors import memory
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured
from fieldline_core.evidence import Envelope, seal, unseal
from fieldline_core.pipeline.accept import accept
from fieldline_core.pipeline.decide import decide_batch
from fieldline_core.pipeline.freeze import decisions_envelope
from fieldline_core.pipeline.manage import current_release, request_run
from fieldline_core.pipeline.rerun import Rerun, Reruns, rerun_flow, rerun_record
from fieldline_core.pipeline.retention import TOPICS, prune
from fieldline_core.pipeline.sequence import seal_all
from fieldline_core.ports import Event
from fieldline_server.wiring import Wiring

SENDER = yaml.safe_dump({
    "connection": "sender", "connector": "webhook",
    "settings": {"inbound": {"scheme": "standard", "secrets": [{"secret": "env:HOOK"}]}},
})  # fmt: skip


def mapped(name: str, *formulas: str) -> str:
    """The documents of a flow whose two features are these formulas."""
    mapping = {
        "mapping": name, "record": {"a": "number", "b": "number"},
        "features": [{"name": each, "formula": formula} for each, formula in zip("xy", formulas, strict=True)],
        "fields": [{"name": "score", "formula": "score"}],
    }  # fmt: skip
    return yaml.safe_dump_all([each for each in yaml.safe_load_all(documents(name)) if "features" not in each] + [mapping])


def decide(bench: Bench, name: str, rows: Mapping[str, tuple[float | None, float | None]], text: str = "") -> None:
    """Decides on these records."""
    put(name, rows)
    bench.apply(text or documents(name))
    request_run(bench.engine, name, "test")
    bench.drain()


def evidence(bench: Bench, name: str) -> tuple[int, Envelope]:
    """The id and the content of the evidence of a flow's only batch."""
    (row,) = bench.all("SELECT e.id, e.kind, e.body, k.wrapped FROM evidence e JOIN batch_key k ON k.evidence_id = e.id"
                       " JOIN chunk c ON c.id = e.chunk_id JOIN flow f ON f.id = c.flow_id"
                       " WHERE e.kind = 'decisions' AND f.name = %s", name)  # fmt: skip
    return row["id"], unseal(bench.engine.keyring, dict(row))


def put_evidence(bench: Bench, id: int, envelope: Envelope) -> None:
    """Other evidence in the place of some, as one can put it there who holds the database and the keys."""
    sealed = seal(bench.engine.keyring, "decisions", envelope)
    with bench.engine.store.transaction("fraud") as tx:
        tx.connection.execute(b"UPDATE evidence SET body = %s WHERE id = %s", (sealed.body, id))
        tx.connection.execute(b"UPDATE batch_key SET wrapped = %s WHERE evidence_id = %s", (sealed.key, id))


def changed(bench: Bench, name: str, *columns: pl.Expr) -> None:
    """Changes columns of a flow's evidence."""
    id, envelope = evidence(bench, name)
    put_evidence(bench, id, replace(envelope, frame=envelope.frame.with_columns(columns)))


def at(key: str, column: str, value: Any) -> pl.Expr:
    """A column with another value for one record."""
    return pl.when(pl.col("key") == key).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)


def again(bench: Bench, name: str, last: int = 100) -> Reruns:
    """The last decisions of a flow, made again."""
    return rerun_flow(bench.engine, name, last, "test")


def differences(made: Rerun) -> list[tuple[Any, ...]]:
    """What differs, as tuples."""
    return [(each.part, each.name, each.then, each.now) for each in made.differences]


def test_decisions_come_out_equal(bench: Bench) -> None:
    decide(bench, "same", {f"k{n}": (n / 7, 1 / (n + 3)) for n in range(250)})

    done = again(bench, "same", 1000)

    assert (done.count, done.equal, done.all_equal) == (250, 250, True)
    assert (done.decisions, done.runtime) == ([], {})
    (made,) = rerun_record(bench.engine, "k17", 100, "test").decisions
    assert (made.key, made.flow, made.equal) == ("k17", "same", True)
    assert made.release == current_release(bench.engine, "same").digest


def test_making_decisions_again_writes_nothing_but_that_it_was_done(bench: Bench) -> None:
    tables = ("evidence", "decision", "chunk", "effect", "dead_letter", "run")
    decide(bench, "calm", {"k1": (1.0, 1.0), "k2": (None, 1.0)})
    before = [bench.all(f"SELECT count(*) AS n FROM {table}") for table in tables]
    answers = dict(memory.store("calm").rows("answers"))

    again(bench, "calm", 7)
    rerun_record(bench.engine, "k1", 3, "test")

    assert [bench.all(f"SELECT count(*) AS n FROM {table}") for table in tables] == before
    assert dict(memory.store("calm").rows("answers")) == answers
    noted = [row["detail"] for row in bench.all("SELECT detail FROM audit_outbox WHERE event = 'decision.rerun' ORDER BY id")]
    assert noted == [{"flow": "calm", "count": 7}, {"key_hash": bench.engine.keyring.hash_key("k1").hex, "count": 3}]


def test_a_changed_feature_is_shown_with_what_it_was_and_what_it_is(bench: Bench) -> None:
    decide(bench, "feature", {"k1": (3.0, 1.0), "k2": (4.0, 1.0)})
    changed(bench, "feature", at("k2", "feature.a", 4.000000000000001))

    done = again(bench, "feature")

    assert (done.equal, done.different, done.all_equal) == (1, 1, False)
    (made,) = done.decisions
    assert (made.key, made.equal, differences(made)) == ("k2", False, [("features", "a", 4.000000000000001, 4.0)])


@pytest.mark.parametrize(("then", "differs"), [(7.0000001, False), (7.0001, True), (None, True), (float("nan"), True)])
@pytest.mark.parametrize(("column", "part", "name"), [("output.score", "outputs", "score"), ("field.score", "fields", "score")])
def test_answers_may_be_off_by_the_noise_of_float32_and_no_more(
    bench: Bench, column: str, part: str, name: str, then: float | None, differs: bool
) -> None:
    decide(bench, "noise", {"k1": (4.0, 1.0)})
    dtype = evidence(bench, "noise")[1].frame[column].dtype
    changed(bench, "noise", pl.lit(then, dtype=dtype).alias(column))

    done = again(bench, "noise")

    found = [(each.part, each.name, each.now) for made in done.decisions for each in made.differences]
    assert found == ([(part, name, 7.0)] if differs else [])


def test_a_changed_source_value_changes_all_that_was_made_of_it(bench: Bench) -> None:
    decide(bench, "source", {"k1": (3.0, 1.0)})
    changed(bench, "source", at("k1", "source.a", 5.0))

    (made,) = again(bench, "source").decisions

    assert differences(made) == [("features", "a", 3.0, 5.0), ("outputs", "score", 5.0, 9.0), ("fields", "score", 5.0, 9.0)]


def test_a_source_value_that_the_evidence_lost_holds_the_row_now(bench: Bench) -> None:
    decide(bench, "lacks", {"k1": (3.0, 1.0)})
    id, envelope = evidence(bench, "lacks")
    put_evidence(bench, id, replace(envelope, frame=envelope.frame.drop("source.b")))

    (made,) = again(bench, "lacks").decisions

    assert ("features", "b", 1.0, None) in differences(made)
    assert ("held", "stage", None, "map") in differences(made)


def test_a_held_row_is_held_again_for_the_same_reason(bench: Bench) -> None:
    decide(bench, "held", {"k1": (1.0, 1.0), "k2": (None, 1.0), "k3": (None, None)})
    assert again(bench, "held").equal == 3

    changed(bench, "held", at("k2", "held.reason", "somebody's mood"))
    (made,) = again(bench, "held").decisions

    ((part, name, then, now),) = differences(made)
    assert (part, name, then) == ("held", "reason", "somebody's mood")
    assert "blank" in now


def test_a_decision_is_made_again_by_the_release_of_its_time(bench: Bench) -> None:
    decide(bench, "older", {"k1": (3.0, 1.0)}, mapped("older", "a", "b"))
    old = current_release(bench.engine, "older").digest
    decide(bench, "older", {"k1": (3.0, 1.0)}, mapped("older", "a * 100", "b"))
    new = current_release(bench.engine, "older").digest

    done = rerun_record(bench.engine, "k1", 10, "test")

    assert [(made.release, made.equal) for made in done.decisions] == [(new, True), (old, True)]
    assert (again(bench, "older", 1).count, again(bench, "older", 2).count) == (1, 2)


def test_the_clock_is_that_of_the_decision(bench: Bench) -> None:
    decide(bench, "clock", {"k1": (3.0, 1.0)}, mapped("clock", "TODAY() - DATE(2000, 1, 1) + a", "b"))
    id, envelope = evidence(bench, "clock")
    engine, release = bench.engine, current_release(bench.engine, "clock")
    batch = Batch(envelope.frame["key"], envelope.frame.select(a="source.a", b="source.b"))
    then = datetime(2001, 1, 1, 12, tzinfo=UTC)
    made = decide_batch(engine.parts.plan(release), engine.parts.model(release), batch, then, 10.0)
    put_evidence(bench, id, decisions_envelope(engine, release, envelope.header["chunk"], made))

    done = rerun_record(bench.engine, "k1", 1, "test")

    assert made.features["x"].to_list() == [369.0]
    assert [(each.equal, each.clock) for each in done.decisions] == [(True, then.isoformat())]


def test_rows_that_were_looked_up_are_taken_from_the_evidence(bench: Bench) -> None:
    tables = memory.store("shops").tables
    tables.clear()
    memory.store("shops").put("records", Batch.of(["ada", "bob", "cyd"], pl.DataFrame({"a": [1.0, 2.0, 3.0]})))
    orders = pl.DataFrame({"customer": ["ada", "ada", "bob"], "amount": [10.0, 7.5, None], "state": ["won", "lost", "won"]})
    memory.store("shops").put("orders", Batch.of(["o1", "o2", "o3"], orders))
    mapping = {
        "mapping": "shops", "record": {"a": "number", "orders": {"amount": "number", "state": "text"}},
        "features": [{"name": "won", "formula": 'SUM(orders.amount, state = "won")'}, {"name": "n", "formula": "COUNT(orders)"}],
        "fields": [{"name": "score", "formula": "score"}],
    }  # fmt: skip
    lookup = {"name": "orders", "connection": "shops", "query": {"table": "orders", "by": "customer"}}
    connection, _, flow = yaml.safe_load_all(documents("shops", lookups=[lookup]))
    bench.apply(yaml.safe_dump_all([connection, mapping, flow]))
    request_run(bench.engine, "shops", "test")
    bench.drain()
    tables["orders"].rows.clear()

    assert again(bench, "shops").equal == 3

    rows = [[], [{"amount": 2.0, "state": "won"}], []]
    changed(bench, "shops", pl.Series("source.orders", rows, dtype=evidence(bench, "shops")[1].frame["source.orders"].dtype))
    (ada, bob) = again(bench, "shops").decisions
    assert differences(ada)[:2] == [("features", "won", 10.0, 0.0), ("features", "n", 2.0, 0.0)]
    assert differences(bob)[:1] == [("features", "won", 0.0, 2.0)]


def test_an_erased_row_is_passed_over_and_counted(bench: Bench) -> None:
    decide(bench, "erase", {f"k{n}": (float(n), 1.0) for n in range(5)})
    id, envelope = evidence(bench, "erase")
    place = envelope.frame["key"].index_of("k3")
    assert place is not None
    put_evidence(bench, id, envelope.without(place + 1))

    done, on_it = again(bench, "erase"), rerun_record(bench.engine, "k3", 10, "test")

    assert (done.count, done.equal, done.erased) == (4, 4, 1)
    assert (on_it.count, on_it.erased, on_it.decisions) == (0, 1, [])


def test_what_was_no_record_is_told_apart(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "whsec_" + "A" * 32)
    bench.apply(SENDER + "---\n" + documents("hooked", trigger={"webhook": "sender", "key": "id"}, source=None))
    release = current_release(bench.engine, "hooked")
    for id, a in (("e1", "2"), ("e2", "[2]"), ("e3", '"x"')):
        accept(bench.engine, release, "sender", Event(id, f'{{"id": "{id}", "a": {a}, "b": 1}}'.encode()))
    bench.drain()

    done = again(bench, "hooked")

    assert (done.count, done.equal, done.unread, done.all_equal) == (3, 2, 1, True)


def test_another_runtime_is_told_beside_the_result(bench: Bench) -> None:
    decide(bench, "runtime", {"k1": (3.0, 1.0), "k2": (3.0, 1.0)})
    id, envelope = evidence(bench, "runtime")
    runtime = {**envelope.header["runtime"], "polars": "0.1"}
    put_evidence(bench, id, replace(envelope, header={**envelope.header, "runtime": runtime}))

    done = again(bench, "runtime")

    assert (done.equal, done.decisions) == (2, [])
    assert [(each.name, each.then, each.now, count) for each, count in done.runtime.items()] == [
        ("polars", "0.1", pl.__version__, 2)
    ]


def test_a_decision_that_cannot_be_made_again_says_why(bench: Bench, tmp_path: Path) -> None:
    decide(bench, "lost", {"k1": (3.0, 1.0)})
    id, envelope = evidence(bench, "lost")

    put_evidence(bench, id, replace(envelope, header={**envelope.header, "release": "0" * 64}))
    without_release = again(bench, "lost")
    put_evidence(bench, id, envelope)
    with bench.engine.store.transaction("loss") as tx:
        tx.connection.execute(b"DELETE FROM model_file")
    elsewhere = bench.engine.settings.model_copy(update={"data_directory": tmp_path / "new"})
    engine = replace(bench.engine, parts=Wiring(elsewhere, bench.engine.store))
    without_model = rerun_flow(engine, "lost", 10, "test")

    reasons = []
    for done in (without_release, without_model):
        (made,) = done.decisions
        assert (done.impossible, done.all_equal, made.equal, made.key) == (1, False, None, "k1")
        reasons.append(made.impossible)
    assert "is not in the store: restore it" in reasons[0]
    assert "import the model again" in reasons[1]


def test_decisions_are_made_again_after_their_chunks_were_removed(bench: Bench) -> None:
    decide(bench, "aged", {"k1": (3.0, 1.0)})
    decide(bench, "other", {"k1": (3.0, 1.0)})
    seal_all(bench.engine)
    with bench.engine.store.transaction("age") as tx:
        tx.connection.execute(b"UPDATE chunk SET done_at = done_at - interval '20 years'")
    for topic in TOPICS:
        prune(bench.engine, topic)
    assert bench.all("SELECT id FROM chunk") == []

    assert again(bench, "aged").equal == 1
    assert rerun_record(bench.engine, "k1", 10, "test").equal == 2


def test_a_flow_that_is_not_there_is_named(bench: Bench) -> None:
    with pytest.raises(Misconfigured, match="there is no flow 'nobody'"):
        again(bench, "nobody")
    assert rerun_record(bench.engine, "nobody", 10, "test").count == 0

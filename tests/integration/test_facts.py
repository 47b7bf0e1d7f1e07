"""A write can name when a decision was made, by which model and release; that is evidence, and comes out the same again."""

from datetime import UTC, datetime

import pytest
from tests.engines import Bench, decisions_on, documents, put

from fieldline_connectors import memory
from fieldline_core.pipeline import manage
from fieldline_core.pipeline.rerun import rerun_record
from fieldline_server.apply import apply

NAME = "facts"
FIELDS = {"score": "score", "at": "decision.clock", "by": "decision.model", "release": "decision.release"}


def flow(fields: dict[str, str]) -> str:
    step = {"name": "answer", "connection": NAME, "target": {"table": "answers", "fields": fields}}
    return documents(NAME, writes=[step])


@pytest.fixture
def run(bench: Bench) -> Bench:
    """An engine that has written the facts of its decisions."""
    put(NAME, {"sound": (1.0, 0.0), "held": (None, 0.0)})
    bench.apply(flow(FIELDS))
    manage.request_run(bench.engine, NAME, "test")
    bench.drain()
    return bench


def test_facts_are_written_beside_the_fields(run: Bench) -> None:
    decision = decisions_on(run.engine, "sound")[0]
    row = memory.store(NAME).rows("answers")["sound"]
    assert row["by"] == "linear@1"
    assert row["release"] == decision["release"]
    assert row["at"].replace(tzinfo=UTC) == datetime.fromisoformat(decision["clock"])


def test_facts_are_in_the_evidence_but_for_a_row_that_is_held(run: Bench) -> None:
    assert decisions_on(run.engine, "sound")[0]["fields"]["decision.model"] == "linear@1"
    assert decisions_on(run.engine, "held")[0]["fields"]["decision.model"] is None


def test_a_decision_with_facts_comes_out_the_same_again(run: Bench) -> None:
    again = rerun_record(run.engine, "sound", 1, "test")
    assert (again.equal, again.different, again.impossible) == (1, 0, 0)


def test_a_fact_that_does_not_exist_is_refused_with_the_ones_that_do(bench: Bench) -> None:
    put(NAME, {"x": (1.0, 0.0)})
    found = apply(bench.engine, bench.registry, {"t.yaml": flow({"by": "decision.modle"})}, "test").findings
    assert any("decision.model" in str(each) for each in found)

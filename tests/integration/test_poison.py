"""Real workers: a row that kills its process, hints that get lost, and a broker that falls silent."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis as redis_client
from tests.conftest import Eventually
from tests.crash_matrix import EXPECTED, Field, OdbcSink, field, prepare_ground
from tests.processes import Fleet, Proxy, fleet

from fieldline_core.pipeline.invariants import check_invariants
from fieldline_core.pipeline.manage import list_runs, request_run
from fieldline_server.embedded import Postgres

POISON = """
import os, signal
from celery.signals import task_prerun

@task_prerun.connect(weak=False)
def arm(**_):
    from fieldline_mappings.plan import CompiledPlan

    features = CompiledPlan.features

    def dies(self, batch, clock):
        if "r13" in batch.keys:
            os.kill(os.getpid(), signal.SIGKILL)
        return features(self, batch, clock)

    CompiledPlan.features = dies
"""


@pytest.fixture
def at(postgres: Postgres, migrated_template: str, tmp_path: Path) -> Iterator[Field]:
    with field(prepare_ground(postgres, migrated_template, tmp_path), OdbcSink) as made:
        yield made
        assert check_invariants(made.bench.engine.store) == []


@pytest.fixture
def processes(at: Field, tmp_path: Path, redis_url: str) -> Iterator[Fleet]:
    settings = {
        "FIELDLINE_BROKER_URL": redis_url,
        "FIELDLINE_LEASE_S": "1",
        "FIELDLINE_RESEND_S": "1",
        "FIELDLINE_MAX_CRASHES": "2",
    }
    with fleet(tmp_path, {**at.environment, **settings}) as made:
        yield made
        print(made.logs())


def ended(at: Field) -> bool:
    """Whether every run has ended."""
    return not any(run["state"] in ("queued", "running") for run in list_runs(at.bench.engine))


def predictions(at: Field) -> Counter[str]:
    """How often each record has an answer, of those with the right one."""
    return Counter(key for key, score in at.sink.written() if EXPECTED[key] == score)


def test_a_row_that_kills_its_worker_is_dead_and_the_others_are_written(
    at: Field, processes: Fleet, tmp_path: Path, eventually: Eventually
) -> None:
    (tmp_path / "sitecustomize.py").write_text(POISON)
    processes.add("relay", "relay")
    processes.add("worker", "worker", "-c", "2", PYTHONPATH=str(tmp_path))

    eventually(lambda: ended(at))

    assert predictions(at) == dict.fromkeys(EXPECTED.keys() - {"r13"}, 1)
    (letter,) = at.bench.all("SELECT stage, reason FROM dead_letter")
    assert letter["stage"] == "score"
    assert "died" in letter["reason"]
    assert [run["state"] for run in list_runs(at.bench.engine)] == ["succeeded"]


def test_hints_that_the_broker_lost_are_sent_again(at: Field, processes: Fleet, redis_url: str, eventually: Eventually) -> None:
    with at.bench.engine.store.transaction("worker.seen") as tx:
        tx.run("relay.seen", id="somebody", queues=["cpu", "write"], slots=2)
    processes.add("relay", "relay")
    with redis_client.Redis.from_url(redis_url) as broker:
        eventually(lambda: broker.llen("cpu"))
        broker.flushall()
    processes.add("worker", "worker", "-c", "1")

    eventually(lambda: ended(at))

    assert predictions(at) == dict.fromkeys(EXPECTED, 1)
    assert at.sink.problems({row["key"] for row in at.bench.all("SELECT key FROM effect")}) == []


def test_a_worker_whose_broker_falls_silent_works_on(at: Field, processes: Fleet, redis_url: str, eventually: Eventually) -> None:
    with closing(Proxy(redis_url)) as way:
        processes.add("relay", "relay")
        processes.add("worker", "worker", "-c", "1", FIELDLINE_BROKER_URL=way.url, FIELDLINE_STALL_S="20")
        eventually(lambda: ended(at))

        way.fall_silent()
        request_run(at.bench.engine, "f", "test", rescore=True)
        eventually(lambda: ended(at))

    assert predictions(at) == dict.fromkeys(EXPECTED, 2)

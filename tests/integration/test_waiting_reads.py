"""Reads that wait for their source: begun once, asked after without a worker, given up with their run."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.engines import Bench, answers, documents, records

from fieldline_connectors import memory
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.pipeline import manage
from fieldline_core.pipeline.invariants import check_invariants
from fieldline_core.ports import Cursor, Page
from fieldline_server.cli import progress
from fieldline_server.embedded import Postgres
from fieldline_server.previewing import preview_flow

_ROWS = records({"x": (1.0, 0.0), "y": (2.0, 0.0), "z": (3.0, 0.0)})


class Preparing:
    """A source that is ready when it has been asked often enough."""

    def __init__(self, polls: int, wait_s: float = 0.0) -> None:
        self.polls, self.wait_s = polls, wait_s
        self.jobs = 0
        self.abandoned: list[Cursor] = []
        self.fails, self.deletes_fail = 0, 1
        self.leaves = False
        self.meanwhile: Callable[[], None] = lambda: None

    def read(self, connector: memory.Memory, query: Any, after: Cursor | None, limit: int) -> Iterator[Page]:
        """Begins a job, is asked after it, and gives its rows one by one."""
        if after is None:
            self.jobs += 1
            self.meanwhile()
            yield Page(_part(0, 0), {"job": self.jobs, "at": 0}, self.wait_s)
        elif self.polls > 0:
            self.polls -= 1
            if self.polls < self.fails:
                raise Unavailable("the source does not answer", 0.001)
            yield Page(_part(0, 0), after, self.wait_s)
        else:
            for at in range(after["at"], 3):
                yield Page(_part(at, 1), {**after, "at": at + 1})
            if self.leaves:
                yield Page(_part(0, 0), {**after, "at": 3}, left=True)

    def abandon(self, connector: memory.Memory, after: Cursor) -> None:
        """Notes what was given up; the first times that fails."""
        self.abandoned.append(after)
        if len(self.abandoned) <= self.deletes_fail:
            raise Unavailable("the source does not answer")


def _part(at: int, count: int) -> Batch:
    return Batch(_ROWS.keys.slice(at, count), _ROWS.frame.slice(at, count))


@pytest.fixture(scope="module")
def bench(postgres: Postgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("bench")
    made = Bench(postgres.create_database("waiting_reads", template=migrated_template), directory)
    made.import_linear(directory)
    yield made
    assert check_invariants(made.engine.store) == []
    made.close()
    postgres.drop_database("waiting_reads")


def preparing(monkeypatch: pytest.MonkeyPatch, source: Preparing) -> None:
    """Has connections to memory read from this source."""
    monkeypatch.setattr(memory.Memory, "read", lambda *given: source.read(*given))
    monkeypatch.setattr(memory.Memory, "abandon", lambda *given: source.abandon(*given), raising=False)


def test_a_source_that_prepares_is_asked_again_without_a_worker(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    preparing(monkeypatch, source := Preparing(polls=3, wait_s=3_600.0))
    bench.apply(documents("slowly"))
    run = manage.request_run(bench.engine, "slowly", "test")
    for _ in range(4):
        bench.drain()
        (row,) = manage.list_runs(bench.engine, id=run)
        assert (row["state"], row["reason"]) == ("running", "the source prepares what is to be read")
        assert list(progress._hints(bench.engine, dict(row), 0.0)) == [f"run {run} waits: {row['reason']}"]
        later = "SELECT lease_owner, attempts, due_at > now() + interval '59 minutes' AS later FROM run WHERE id = %s"
        assert [dict(held) for held in bench.all(later, run)] == [{"lease_owner": None, "attempts": 0, "later": True}]
        bench.all("UPDATE run SET due_at = now() RETURNING 1")
    bench.drain()

    assert answers("slowly") == {"x": 2.0, "y": 4.0, "z": 6.0}
    (row,) = manage.list_runs(bench.engine, id=run)
    assert (row["state"], row["reason"]) == ("succeeded", None)
    assert (source.jobs, source.abandoned) == (1, [])


@pytest.mark.parametrize("ends", ["cancelled", "limited", "failed"])
def test_what_a_source_prepared_for_a_run_that_ends_early_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    preparing(monkeypatch, source := Preparing(polls=1))
    source.fails = 1 if ends == "failed" else 0
    retry = {"first_s": 0.001, "max_attempts": 1}
    bench.apply(documents(ends, retry=retry))
    run = manage.request_run(bench.engine, ends, "test", row_limit=2 if ends == "limited" else None)
    if ends == "cancelled":
        bench.step()
        manage.cancel_run(bench.engine, run, "test", "no more")
    bench.drain()
    # The first try failed: it is tried again, and then no more.
    bench.all("UPDATE run SET due_at = now() RETURNING 1")
    bench.drain()
    bench.all("UPDATE run SET due_at = now() RETURNING 1")
    bench.drain()

    state = {"limited": "succeeded"}.get(ends, ends)
    assert [row["state"] for row in manage.list_runs(bench.engine, id=run)] == [state]
    assert [each["job"] for each in source.abandoned] == [1, 1]
    assert source.jobs == 1


@pytest.mark.parametrize("ends", ["exhausted", "read"])
def test_what_cannot_be_given_up_is_tried_again_after_ever_longer_waits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    preparing(monkeypatch, source := Preparing(polls=0))
    source.deletes_fail, source.leaves = 3, True
    bench.apply(documents(ends))
    run = manage.request_run(bench.engine, ends, "test")
    bench.step()
    if ends == "exhausted":
        # As after many attempts of its own; those to give up what is left are counted anew.
        bench.all("UPDATE run SET attempts = 20 WHERE id = %s RETURNING 1", run)
        manage.cancel_run(bench.engine, run, "test", "no more")
    waits = []
    while len(source.abandoned) < 4:
        bench.drain()
        due = "SELECT round(extract(epoch FROM due_at - now()) / 60)::int AS minutes, prepared FROM run WHERE id = %s"
        (row,) = bench.all(due, run)
        waits.append((row["minutes"], row["prepared"]))
        bench.all("UPDATE run SET due_at = now() WHERE id = %s RETURNING 1", run)
    bench.drain()
    assert waits == [(1, True), (2, True), (4, True), (8, False)]
    assert [each["job"] for each in source.abandoned] == [1] * 4
    if ends == "read":
        assert answers("read") == {"x": 2.0, "y": 4.0, "z": 6.0}


def test_what_was_begun_for_a_run_that_was_cancelled_meanwhile_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    preparing(monkeypatch, source := Preparing(polls=1))
    bench.apply(documents("meanwhile"))
    run = manage.request_run(bench.engine, "meanwhile", "test")
    source.meanwhile = lambda: manage.cancel_run(bench.engine, run, "test", "no more")
    bench.drain()
    assert source.abandoned == [{"job": 1, "at": 0}]


def test_a_preview_that_cannot_wait_asks_no_source_that_prepares(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    preparing(monkeypatch, source := Preparing(polls=1))
    bench.apply(documents("previewed"))
    monkeypatch.setattr(memory.MemoryQuery, "prepared", property(lambda query: True))
    with pytest.raises(Misconfigured, match="'fieldline preview previewed' waits for it"):
        preview_flow(bench.engine, bench.registry, "previewed", 2, "test", at_once=True)
    assert source.jobs == 0
    assert [each["key"] for each in preview_flow(bench.engine, bench.registry, "previewed", 2, "test")] == ["x"]

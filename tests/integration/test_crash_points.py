"""A process that ends at any line with an effect, and is started again, loses nothing, doubles nothing, changes no decision."""

import os
import signal
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.conftest import Eventually
from tests.crash_matrix import (
    Cell,
    Ground,
    OdbcSink,
    WebhookSink,
    every_site,
    field,
    prepare_ground,
    problems,
    run_cell,
    run_matrix,
    sends_and_receipts,
)
from tests.faults import drivers
from tests.processes import children_of

from fieldline_server.embedded import Postgres


@pytest.fixture
def ground(postgres: Postgres, migrated_template: str, tmp_path: Path) -> Ground:
    return prepare_ground(postgres, migrated_template, tmp_path)


class WithoutLedger(OdbcSink):
    """A table in which a repeated write counts twice."""

    def documents(self) -> list[dict[str, Any]]:
        connection, *others = super().documents()
        connection["settings"]["ledger"] = False
        return [connection, *others]

    def problems(self, effects: Set[str]) -> list[str]:
        return []


def test_the_matrix_notices_a_write_that_is_doubled(ground: Ground) -> None:
    with drivers(1) as (driver,):
        found = run_cell(ground, WithoutLedger, Cell("target.commit:after"), driver)
    assert [problem.partition(":")[0] for problem in found] == ["doubled"]


def test_a_flow_into_a_database_survives_a_crash_at_every_point(ground: Ground) -> None:
    assert run_matrix(ground, OdbcSink, every_site) == {}


def test_a_flow_of_webhooks_survives_a_crash_at_every_event_send_and_receipt(ground: Ground) -> None:
    assert run_matrix(ground, WebhookSink, sends_and_receipts) == {}


def test_a_process_that_freezes_while_it_writes_and_wakes_after_its_lease_changes_nothing(
    ground: Ground, eventually: Eventually
) -> None:
    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with field(ground, OdbcSink) as at, drivers(2) as (first, second), ThreadPoolExecutor(2) as pool:
        assert isinstance(at.sink, OdbcSink)
        ask = at.sink.ask
        with psycopg.connect(at.sink.url) as holder:
            holder.execute("LOCK TABLE predictions IN SHARE MODE")
            frozen = pool.submit(first.drive, at.environment)
            before = eventually(lambda: ask(waiting))
            (zombie,) = children_of(first.pid)
            os.kill(zombie, signal.SIGSTOP)
        successor = pool.submit(second.drive, at.environment)
        # The successor finds the zombie's row in the ledger, and whether it counts is not decided yet.
        eventually(lambda: set(ask(waiting)) - set(before))
        os.kill(zombie, signal.SIGCONT)

        assert (frozen.result(), successor.result()) == (0, 0)
        assert problems(at) == []
        assert at.bench.all("SELECT max(fence) AS most FROM effect")[0]["most"] > 1

"""An undo that ends at any line with an effect, and is asked for again, puts everything back, and each value once."""

import json
from collections import Counter
from collections.abc import Set
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.crash_matrix import Cell, Ground, OdbcSink, every_site, prepare_ground, run_matrix
from tests.engines import Bench

from fieldline_core.pipeline.manage import request_run
from fieldline_server.embedded import Postgres

pytestmark = pytest.mark.soak


class UndoneSink(OdbcSink):
    """A table whose values a bad release has overwritten, and is to have back; before it they were right."""

    def __init__(self, ground: Ground, name: str, stack: ExitStack) -> None:
        super().__init__(ground, name, stack)
        self._bench: Bench | None = None

    def documents(self) -> list[dict[str, Any]]:
        """A flow that writes ten times the score into the rows that it reads."""
        connection, mapping, flow = super().documents()
        mapping = json.loads(json.dumps(mapping))
        mapping["fields"][0]["formula"] = "score * 10"
        return [connection, mapping, {**flow, "writes": [write for write in flow["writes"] if write["name"] == "back"]}]

    def begin(self, bench: Bench) -> dict[str, str]:
        """Lets the bad release write everything, and asks for its undo."""
        self._bench = bench
        with psycopg.connect(self.url) as connection:
            connection.execute("UPDATE orders SET score = 2 * a - b")
        bench.engine = replace(bench.engine, settings=bench.engine.settings.model_copy(update={"chunk_rows": 10}))
        with bench.engine.store.transaction("worker") as tx:
            tx.run("relay.seen", id="worker", queues=["cpu", "write"], slots=4)
        run = request_run(bench.engine, "f", "test")
        bench.drain()
        bench.all("DELETE FROM worker RETURNING 1")
        assert self.ask("SELECT count(*) FROM orders WHERE score = 10 * (2 * a - b)") == [(30,)]
        return {"UNDO": str(run)}

    def written(self) -> list[tuple[str, float]]:
        """The values that are there."""
        return self.ask("SELECT id, score FROM orders")

    def problems(self, effects: Set[str]) -> list[str]:
        """Whether there was one undo, of three slices, each in the ledger once."""
        assert self._bench is not None
        ledger = {row[0] for row in self.ask("SELECT effect_key FROM fieldline_effect")}
        found = [] if ledger == effects and len(effects) == 6 else [f"{len(ledger)} writes in the ledger, {len(effects)} effects"]
        runs = [row["state"] for row in self._bench.all("SELECT state FROM run WHERE kind = 'undo'")]
        return found if runs == ["succeeded"] else [*found, f"the undos are {runs}"]


def of_the_undo(passed: Counter[str]) -> list[Cell]:
    """The sites of freezing, sending and noting the answer."""
    return [cell for cell in every_site(passed) if cell.site.startswith(("undo", "write.", "receive.", "target."))]


@pytest.fixture
def ground(postgres: Postgres, migrated_template: str, tmp_path: Path) -> Ground:
    return prepare_ground(postgres, migrated_template, tmp_path)


def test_an_undo_survives_a_crash_at_every_point(ground: Ground) -> None:
    seen: list[str] = []

    def chosen(passed: Counter[str]) -> list[Cell]:
        cells = of_the_undo(passed)
        seen.extend(str(cell) for cell in cells)
        return cells

    assert run_matrix(ground, UndoneSink, chosen) == {}
    assert {"undo.commit:before#1", "undo.commit:after#1", "target.commit:after#1", "receive.commit:before#1"} <= set(seen)

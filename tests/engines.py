"""An engine on a real store, with a flow from memory to memory, driven step by step in this process."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import polars as pl
import yaml

from fieldline_connectors import memory
from fieldline_core.batch import Batch
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.read import read
from fieldline_core.pipeline.relay import Relay
from fieldline_core.pipeline.score import score
from fieldline_core.pipeline.write import write
from fieldline_core.search import quoted, search_decisions
from fieldline_core.settings import Settings
from fieldline_server.apply import apply
from fieldline_server.wiring import Wiring, open_engine
from tests import models

VERBS = {"read": read, "score": score, "write": write}


def documents(name: str, **flow: Any) -> str:
    """The documents of a flow that reads a table in memory and writes its answers to another one."""
    mapping = {
        "mapping": name,
        "features": [{"field": "a"}, {"field": "b"}],
        "fields": [{"name": "score", "formula": "score"}],
    }
    step = {"name": "answer", "connection": name, "target": {"table": "answers", "fields": {"score": "score"}}}
    sentence = {
        "flow": name, "source": {"connection": name, "query": {"table": "records"}}, "mapping": name, "models": ["linear"],
        "writes": [step],
    }  # fmt: skip
    connection = {"connection": name, "connector": "memory", "settings": {"store": name}}
    return yaml.safe_dump_all([connection, mapping, {**sentence, **flow}])


def records(rows: Mapping[str, tuple[float | None, float | None]]) -> Batch:
    """Records with the fields `a` and `b` by key."""
    frame = pl.DataFrame(list(rows.values()), schema={"a": pl.Float64, "b": pl.Float64}, orient="row")
    return Batch.of(list(rows), frame)


class Bench:
    """An engine with its relay, whose hints are carried out at once and in this process."""

    def __init__(self, url: str, directory: Path, **settings: Any) -> None:
        given = {"data_directory": directory, "database_url": url, "chunk_rows": 100, "resend_s": 0.001, **settings}
        self.engine: Engine = open_engine(Settings(**given), "worker")
        assert isinstance(self.engine.parts, Wiring)
        self.registry = self.engine.parts.registry
        self.hints: list[tuple[str, str, int]] = []
        self.relay = Relay(self.engine, self._ring)
        with self.engine.store.transaction("worker") as tx:
            tx.run("relay.seen", id="worker", queues=["cpu", "write"], slots=4)

    def _ring(self, queue: str, verb: str, id: int) -> bool:
        self.hints.append((queue, verb, id))
        return True

    def import_linear(self, directory: Path) -> None:
        """Imports the model `linear`: score = 2a - b."""
        path = directory / "linear.onnx"
        onnx.save(models.linear(), path)
        self.registry.import_model(path, "linear", "test")

    def apply(self, text: str) -> None:
        """Applies documents that have no error."""
        done = apply(self.engine, self.registry, {"test.yaml": text}, "test")
        if done.findings:
            raise AssertionError("\n".join(str(finding) for finding in done.findings))

    def step(self) -> int:
        """One round of the relay, and everything that it rings for."""
        self.relay._swept_at = 0.0
        self.relay.round()
        hints, self.hints = self.hints, []
        for _, verb, id in hints:
            VERBS[verb](self.engine, id)
        return len(hints)

    def drain(self, rounds: int = 500) -> None:
        """Rounds until nothing is due."""
        for _ in range(rounds):
            if not self.step():
                return
        raise AssertionError("the work does not end")

    def all(self, sql: str, *values: object) -> Sequence[Mapping[str, Any]]:
        """Rows of the store, by SQL of the test."""
        with self.engine.store.transaction("test") as tx:
            return tx.connection.execute(sql.encode(), values).fetchall()

    def close_connections(self) -> None:
        """Closes the connections of this process; what is asked for later opens them again."""
        self.engine.parts.close()

    def close(self) -> None:
        """Closes the connections and the store."""
        self.engine.close()


def put(name: str, rows: Mapping[str, tuple[float | None, float | None]]) -> None:
    """Puts records into the memory of a flow."""
    memory.store(name).put("records", records(rows))


def decisions_on(engine: Engine, key: str) -> list[dict[str, Any]]:
    """The decisions on a record, newest first."""
    return list(search_decisions(engine, f"record:{quoted(key)}", "test").items)


def answers(name: str) -> dict[str, Any]:
    """The scores that a flow has written, by key."""
    return {key: row["score"] for key, row in memory.store(name).rows("answers").items()}

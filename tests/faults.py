"""An engine that a crash point may end, driven in one process, and the process that forks it.

`python -m tests.faults` imports everything and then forks a driver for each line `{"VARIABLE": "value", …}` that it reads;
it answers with the driver's exit status. Starting Python anew for each crash would take most of the time.
"""

import importlib
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import psycopg

from fieldline_connectors.registry import connector_names
from fieldline_core import crash
from fieldline_core.batch import Batch, Sifted
from fieldline_core.errors import Misconfigured
from fieldline_core.logs import configure_logs
from fieldline_core.pipeline.accept import accept
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.manage import current_release
from fieldline_core.pipeline.relay import Relay
from fieldline_core.pipeline.sequence import Sequencer, seal_all
from fieldline_core.pipeline.undo import UndoScope, apply_undo
from fieldline_core.ports import Event
from fieldline_core.settings import Settings
from fieldline_mappings.plan import CompiledPlan
from fieldline_server.wiring import open_engine
from tests.engines import VERBS

CRASHED = 137
UNFINISHED = 3
_PATIENCE_S = 30.0
_OPEN = """
SELECT EXISTS (SELECT 1 FROM run WHERE kind = 'batch' AND state IN ('queued', 'running'))
    OR EXISTS (SELECT 1 FROM chunk WHERE state IN ('read', 'scored')) OR EXISTS (SELECT 1 FROM inbox WHERE chunk_id IS NULL)"""

_LEFT = """
SELECT 'chunk', to_jsonb(c) - 'body' FROM chunk c WHERE state IN ('read', 'scored')
UNION ALL SELECT 'effect', to_jsonb(e) - 'body' FROM effect e WHERE state IN ('intended', 'submitted')
UNION ALL SELECT 'target', to_jsonb(t) FROM target t UNION ALL SELECT 'clock', to_jsonb(now())"""


class Drivers:
    """The process that forks drivers, one at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1],
            env={**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}, text=True,
        )  # fmt: skip

    def drive(self, environment: Mapping[str, str]) -> int:
        """Drives the work of a store to its end; the exit status of the driver, CRASHED where a crash point ended it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(dict(environment)) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    @property
    def pid(self) -> int:
        """The process that forks; a driver is its child."""
        return self._process.pid

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


@contextmanager
def drivers(count: int) -> Iterator[list[Drivers]]:
    """So many processes that fork drivers, to be used side by side."""
    made = [Drivers() for _ in range(count)]
    try:
        yield made
    finally:
        for each in made:
            each.close()


def drive() -> int:
    """Accepts the events of a sender that heard nothing, then does everything that is due, until nothing is open."""
    settings = Settings()
    engine = open_engine(settings, "driver")
    hints: list[tuple[str, int]] = []

    def ring(queue: str, verb: str, id: int) -> bool:
        hints.append((verb, id))
        return True

    relay, sequencer = Relay(engine, ring), Sequencer(engine)
    with engine.store.transaction("worker.seen") as tx:
        tx.run("relay.seen", id="driver", queues=["cpu", "write"], slots=4)
    _send_events(engine)
    _undo(engine)
    deadline = time.monotonic() + _PATIENCE_S
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as store:
        while store.execute(_OPEN).fetchone() == (True,):
            if time.monotonic() > deadline:
                print(*store.execute(_LEFT), sep="\n", file=sys.stderr)
                return UNFINISHED
            if not relay.round() + sequencer.round():
                time.sleep(0.02)
            while hints:
                verb, id = hints.pop(0)
                VERBS[verb](engine, id)
    seal_all(engine)
    engine.store.close()
    return 0


def _undo(engine: Engine) -> None:
    """Asks for an undo as a person does who does not know whether it was heard: again."""
    if run := os.environ.get("UNDO"):
        with suppress(Misconfigured):
            apply_undo(engine, UndoScope(run=int(run)), "test", "it was bad")


def _poison(key: str) -> None:
    """Lets one record end each process that scores it."""
    features = CompiledPlan.features

    def dies(self: CompiledPlan, batch: Batch, clock: datetime) -> Sifted:
        if key in batch.keys:
            os._exit(CRASHED)
        return features(self, batch, clock)

    CompiledPlan.features = dies  # type: ignore[method-assign]


def _send_events(engine: Engine) -> None:
    if path := os.environ.get("EVENTS"):
        flow, events = json.loads(Path(path).read_text())
        release = current_release(engine, flow)
        for event_id, body in events.items():
            accept(engine, release, "sender", Event(event_id, json.dumps(body).encode()))


def _drive_in_child(environment: Mapping[str, str]) -> None:
    status = 1
    try:
        os.dup2(2, 1)
        os.environ.update(environment)
        # Reads the environment again; whoever has imported `point` from it has the new state, too.
        importlib.reload(crash)
        configure_logs("error")
        if "POISON" in os.environ:
            _poison(os.environ["POISON"])
        status = drive()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Forks drivers until standard input ends."""
    assert threading.active_count() == 1
    # Each driver has what was looked up here.
    connector_names()
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            _drive_in_child(json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()

"""Two thousand leads and as many tasks, written to an org in a storm by a process that dies at each line that has an effect."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from fieldline_core.pipeline.manage import retry_target
from tests.crash_matrix import Cell, Field, Ground, MakeSink, decided, field, problems
from tests.crash_salesforce import SalesforceSink
from tests.faults import CRASHED, UNFINISHED, Drivers, drivers

_MOST_DEATHS = 15
"""Of one flow; a piece of work at which processes die more often than `max_crashes` is set aside as poisonous."""
_MOST_DRIVES = 40
_ROOM = {"FIELDLINE_CHUNK_ROWS": "200", "FIELDLINE_MAX_CRASHES": "20"}
_numbers = count(1)


class StormSink(SalesforceSink):
    """2,000 leads by collections, while the org fails in every way it has."""

    rows = 2_000
    settings: Mapping[str, Any] = {"timeout_s": 0.5, "total_timeout_s": 5}
    retry: Mapping[str, Any] = {"first_s": 0.02, "longest_s": 0.1, "max_attempts": 1000}
    faults: Sequence[Mapping[str, Any]] = (
        {"kind": "status", "status": 503, "rate": 0.2, "times": None},
        {"kind": "hold", "after_commit": True, "rate": 0.05, "times": None},
        {"kind": "lock", "rate": 0.02, "times": None},
    )


class BulkStormSink(StormSink):
    """The same with bulk jobs for the updates and for reading."""

    settings: Mapping[str, Any] = {
        "timeout_s": 0.5, "total_timeout_s": 5, "bulk_write_from": 100, "bulk_read_from": 100, "bulk_poll_s": 0.02,
    }  # fmt: skip


def run_storm(ground: Ground, make: MakeSink) -> tuple[list[str], list[str]]:
    """The sites at which a process died, and what was wrong; each site is died at once, in as few flows as may be."""
    with drivers(1) as (driver,):
        trace = ground.directory / f"storm-{next(_numbers)}"
        _, wrong = _flow(ground, make, driver, [], trace)
        waiting = [Cell(site) for site in Counter(trace.read_text().splitlines())]
        died: list[Cell] = []
        while waiting:
            met, found = _flow(ground, make, driver, waiting[:_MOST_DEATHS])
            # What is passed in some storms only comes last.
            missed = [cell for cell in waiting[:_MOST_DEATHS] if cell not in met]
            waiting = waiting[_MOST_DEATHS:] + (missed if met else [])
            died += met
            wrong += found
    return [str(cell) for cell in died], wrong


def _flow(
    ground: Ground, make: MakeSink, driver: Drivers, cells: Sequence[Cell], trace: Path | None = None
) -> tuple[list[Cell], list[str]]:
    """The cells at which one flow's processes died, one after the other, and what was wrong in the end."""
    with field(ground, make) as at:
        environment = {**at.environment, **_ROOM, **({"FIELDLINE_CRASH_TRACE": str(trace)} if trace else {})}
        seen: list[Mapping[Any, str]] = []
        status, met = CRASHED, list[Cell]()
        for cell in cells:
            once = ground.directory / f"died-{next(_numbers)}"
            status = driver.drive({**environment, "FIELDLINE_CRASH_AT": str(cell), "FIELDLINE_CRASH_ONCE": str(once)})
            if status != CRASHED:
                break
            met.append(cell)
            seen.append(decided(at.bench))
        for _ in range(_MOST_DRIVES):
            if status not in (CRASHED, UNFINISHED):
                break
            # What an operator does who does not want to wait for the breaker.
            retry_target(at.bench.engine, "test", "crm")
            status = driver.drive(environment)
        found = [f"the driver ended with {status}"] if status else []
        assert isinstance(at.sink, StormSink)
        at.sink.calm()
        return met, found + problems(at, seen) + _untrue_receipts(at)


def _untrue_receipts(at: Field) -> list[str]:
    """Whether each write says that it wrote every row, which is what the org shows."""
    counted = at.bench.all(
        "SELECT write_name, sum(written) AS written, sum(refused) AS refused, sum(left_alone) AS left_alone FROM effect GROUP BY 1"
    )
    right = {"written": at.sink.rows, "refused": 0, "left_alone": 0}
    wrong = [row for row in counted if row != {"write_name": row["write_name"], **right}]
    return [f"the receipts say {row}" for row in wrong] + ([] if len(counted) == 2 else ["a write is missing"])

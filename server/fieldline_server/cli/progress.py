"""How far long work is: a bar over records, and a run that is waited for."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fieldline_server.cli.show import console, note

if TYPE_CHECKING:
    from fieldline_core.pipeline.engine import Engine

_POLL_S = 0.15
_IDLE_S = 15.0
ENDED = frozenset({"succeeded", "failed", "cancelled"})


class Progress:
    """A bar over records on a terminal, nothing elsewhere."""

    def __init__(self, total: int | None) -> None:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        shown = console(stderr=True)
        text = TextColumn("{task.completed:,.0f} records  {task.description}")
        self._bar = Bar(BarColumn(), text, TimeElapsedColumn(), console=shown, disable=not shown.is_terminal)
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def update(self, rows: int, words: str) -> None:
        """Shows how far it is."""
        self._bar.update(self._task, completed=rows, description=words)


def follow_run(engine: "Engine", run_id: int, total: int | None = None) -> dict[str, Any]:
    """The run once it has ended, or once it waits for a person; on a terminal with a progress bar."""
    from rich.progress import BarColumn, Progress, TextColumn

    text = TextColumn("read {task.fields[rows]:,}  scored {task.fields[scored]:,}  held {task.fields[held]:,}  "
                      "written {task.fields[written]:,}  {task.fields[speed]:,.0f} rows/s")  # fmt: skip
    shown = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), text)
    with Progress(*columns, console=shown, disable=not shown.is_terminal) as progress:
        task = progress.add_task(f"run {run_id}", total=total, rows=0, scored=0, held=0, written=0, speed=0.0)
        for run in _states(engine, run_id):
            known = run["rows"] if run["exhausted"] else total
            parts = {name: run[name] for name in ("rows", "scored", "held", "written")}
            progress.update(task, total=known, completed=rows_done(run), speed=rows_per_s(run), **parts)
    return run


def rows_done(run: dict[str, Any]) -> int:
    """The rows of a run for which nothing remains to be done."""
    ended = run["written"] + run["held"] + run["refused"] + run["skipped"] + run["left_alone"] + run["dead"]
    return int(run["rows"] if run["state"] == "succeeded" else min(run["rows"], ended))


def rows_per_s(run: dict[str, Any]) -> float:
    """The rows that were done for each second, by the database's clock."""
    seconds = float(run.get("seconds") or 0.0)
    return rows_done(run) / seconds if seconds > 0 else 0.0


def reason_to_stop(engine: "Engine", run: dict[str, Any]) -> str:
    """Why a run cannot go on before a person acts, with what to do; empty where it can."""
    with engine.store.transaction("progress") as tx:
        flow = tx.one("flows.by_name", name=run["flow"])
        writes = tx.one("flows.writes_paused")
    if flow and flow["paused_at"]:
        return f"the flow is paused ({flow['paused_reason']}): mend that, then 'fieldline flows resume {run['flow']}'"
    if writes and writes["paused_at"]:
        return f"all write-backs are paused ({writes['reason']}): 'fieldline writes resume'"
    return ""


def _states(engine: "Engine", run_id: int) -> Iterator[dict[str, Any]]:
    """The run, again and again, until it ends or cannot go on."""
    told: set[str] = set()
    begun = time.monotonic()
    while True:
        run = _run(engine, run_id)
        yield run
        if run["state"] in ENDED:
            return
        if why := reason_to_stop(engine, run):
            note(f"run {run_id} waits: {why}")
            return
        for hint in _hints(engine, run, time.monotonic() - begun):
            if hint not in told:
                note(hint)
            told.add(hint)
        time.sleep(_POLL_S)


def _run(engine: "Engine", run_id: int) -> dict[str, Any]:
    from fieldline_core.pipeline.manage import list_runs

    (run,) = list_runs(engine, id=run_id, limit=1)
    with engine.store.transaction("progress.clock") as tx:
        clock = tx.one("flows.clock")
    ended = run["finished_at"] or (clock["now"] if clock else None)
    run["seconds"] = (ended - run["started_at"]).total_seconds() if run["started_at"] and ended else 0.0
    return run


def _hints(engine: "Engine", run: dict[str, Any], waited_s: float) -> Iterator[str]:
    """What may be in the way though nobody has stopped it."""
    with engine.store.transaction("progress.hints") as tx:
        served = {row["queue"] for row in tx.all("relay.slots")}
        targets = tx.all("flows.targets")
        flow = tx.one("flows.by_name", name=run["flow"])
    used = {write["connection"] for write in flow["body"]["flow"]["writes"]} if flow else set()
    for target in targets:
        if target["name"] in used and target["breaker"] != "closed":
            yield f"{target['name']} takes no writes now ({target['reason']}): tried again at {target['retry_at']:%H:%M:%SZ}"
    if run["reason"]:
        yield f"run {run['id']} waits: {run['reason']}"
    if waited_s > _IDLE_S and "cpu" not in served:
        yield "no worker of the queue cpu is alive: start one with 'fieldline worker'"

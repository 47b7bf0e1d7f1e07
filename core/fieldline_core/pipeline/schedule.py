"""Schedules: cron expressions and intervals, on the database's clock."""

from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

from fieldline_core.errors import Misconfigured
from fieldline_core.events import record
from fieldline_core.flow import Flow
from fieldline_core.logs import log
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.manage import add_run
from fieldline_core.pipeline.suspend import suspend_when_broken

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def schedule_text(flow: Flow) -> str | None:
    """The flow's schedule as one text, or None where it has none."""
    return flow.trigger.schedule or (f"every {flow.trigger.every}" if flow.trigger.every else None)


def next_time(schedule: str, after: datetime) -> datetime:
    """The first time after `after` (UTC) at which the schedule fires; raises Misconfigured where it is not one."""
    if schedule.startswith("every "):
        return after + _interval(schedule)
    try:
        fires: datetime = next(CronSim(schedule, after.astimezone(UTC)))
    except (CronSimError, StopIteration):
        raise Misconfigured(
            f"the schedule {schedule!r} is no cron expression (minute hour day month weekday), such as '0 6 * * *'"
        ) from None
    return fires


def next_after(schedule: str, due: datetime, now: datetime) -> datetime:
    """The first time after `now` at which a due schedule fires: an interval keeps its beat, what was missed is left out."""
    if not schedule.startswith("every "):
        return next_time(schedule, now)
    interval = _interval(schedule)
    return due + ((now - due) // interval + 1) * interval


def _interval(schedule: str) -> timedelta:
    text = schedule.removeprefix("every ")
    return timedelta(**{_UNITS[text[-1]]: int(text[:-1])})


def fire_schedules(engine: Engine) -> None:
    """Starts a run of each flow that is due; a flow that cannot be started pauses and does not keep the others from it."""
    with engine.store.transaction("schedules") as tx:
        due = tx.all("relay.due_schedules")
    for flow in due:
        with suspend_when_broken(engine, flow["id"], "its schedule cannot start a run"):
            _fire(engine, flow["id"])


def _fire(engine: Engine, flow_id: int) -> None:
    """Starts a run; where the last one still goes on it is skipped, and that is recorded."""
    with engine.store.transaction("schedule") as tx:
        flow = tx.one("relay.lock_due_schedule", flow=flow_id)
        if flow is None:
            return
        tx.run("relay.reschedule", flow=flow_id, next_at=next_after(flow["schedule"], flow["next_at"], flow["clock"]))
        if active := tx.one("runs.active", flow=flow_id):
            record(tx, "run.skipped", "schedule", {"flow": flow["name"], "run": active["id"]})
            log().warning("run_skipped", flow=flow["name"], run=active["id"])
        else:
            add_run(tx, engine.parts.release(flow["release_id"]), "schedule", engine.parts)

"""What people do to flows and runs; every act leaves an audit event in its own transaction."""

from typing import Any

from fieldline_core.errors import Misconfigured
from fieldline_core.events import record
from fieldline_core.flow import Release
from fieldline_core.pipeline.chunks import intake
from fieldline_core.pipeline.engine import Engine, Parts
from fieldline_core.store import Row, Transaction


def find_flow(tx: Transaction, name: str) -> Row:
    """The flow of that name with its current release; raises Misconfigured where there is none."""
    row = tx.one("flows.by_name", name=name)
    if row is None:
        raise Misconfigured(f"there is no flow {name!r}: see 'fieldline flows', or apply its document first")
    return row


def current_release(engine: Engine, flow: str) -> Release:
    """The release that new records of a flow are decided by."""
    with engine.store.transaction("flow") as tx:
        row = find_flow(tx, flow)
    if row["release_id"] is None:
        raise Misconfigured(f"the flow {flow!r} was never published: apply it again")
    return engine.parts.release(row["release_id"])


def add_run(
    tx: Transaction, release: Release, by: str, parts: Parts, *, row_limit: int | None = None, rescore: bool = False
) -> int:
    """Stores a run that is to be read; the relay rings for it."""
    query = parts.query(release)
    if query is None:
        raise Misconfigured(f"the flow {release.flow.flow} has no source to read: it runs when its webhook is called")
    row = tx.one("runs.add", flow=release.flow_id, release=release.id, kind="batch", by=by, row_limit=row_limit, rescore=rescore,
                 disjoint=not query.repeats, exhausted=False)  # fmt: skip
    assert row is not None
    detail = {"flow": release.flow.flow, "run": row["id"], "release": release.digest, "row_limit": row_limit, "rescore": rescore}
    record(tx, "run.requested", by, detail)
    tx.one("relay.notify")
    return int(row["id"])


def request_run(engine: Engine, flow: str, by: str, *, row_limit: int | None = None, rescore: bool = False) -> int:
    """Asks for a run of a flow and returns its id."""
    release = current_release(engine, flow)
    with engine.store.transaction("run.request") as tx:
        return add_run(tx, release, by, engine.parts, row_limit=row_limit, rescore=rescore)


def cancel_run(engine: Engine, run_id: int, by: str, reason: str) -> None:
    """Ends a batch run: chunks that were not scored are given up, what was decided is still written."""
    with engine.store.transaction("run.cancel") as tx:
        cancelled = tx.one("runs.cancel", id=run_id, reason=reason)
        if not cancelled:
            raise Misconfigured(f"run {run_id} cannot be cancelled: there is no such batch run, or it has ended")
        for chunk in tx.all("runs.cancel_chunks", id=run_id):
            record(tx, "chunk.buried", "engine", {"flow": cancelled["flow"], "chunk": chunk["id"], **intake(chunk)})
        record(tx, "run.cancelled", by, {"run": run_id, "reason": reason})


def pause_flow(engine: Engine, flow: str, by: str, reason: str) -> None:
    """Stops a flow: nothing of it is read, scored or written until it is resumed; events are still accepted."""
    with engine.store.transaction("flow.pause") as tx:
        if tx.run("flows.pause", flow=find_flow(tx, flow)["id"], by=by, reason=reason):
            record(tx, "flow.paused", by, {"flow": flow, "reason": reason})


def resume_flow(engine: Engine, flow: str, by: str) -> None:
    """Lets a flow go on, at once."""
    with engine.store.transaction("flow.resume") as tx:
        id = find_flow(tx, flow)["id"]
        if tx.run("flows.resume", flow=id):
            tx.run("flows.hasten_chunks", flow=id)
            tx.run("effects.forget_changes", flow=id)
            record(tx, "flow.resumed", by, {"flow": flow})
        tx.one("relay.notify")


def pause_writes(engine: Engine, by: str, reason: str) -> None:
    """Stops every write-back; reading and scoring go on."""
    with engine.store.transaction("writes.pause") as tx:
        if tx.run("flows.pause_writes", by=by, reason=reason):
            record(tx, "writes.paused", by, {"reason": reason})


def resume_writes(engine: Engine, by: str) -> None:
    """Lets write-backs go on."""
    with engine.store.transaction("writes.resume") as tx:
        if tx.run("flows.resume_writes"):
            record(tx, "writes.resumed", by)
        tx.one("relay.notify")


def retry_target(engine: Engine, by: str, name: str | None = None) -> int:
    """Closes the breaker of a target (of all, without a name) and makes its waiting writes due at once; returns their number."""
    with engine.store.transaction("target.retry") as tx:
        tx.run("effects.close_breaker", name=name)
        waiting = tx.run("effects.hasten", name=name)
        record(tx, "target.retried", by, {"target": name or "all", "effects": waiting})
        tx.one("relay.notify")
    return waiting


def list_runs(engine: Engine, **wanted: Any) -> list[Row]:
    """Runs with the counts of their rows, newest first; `id`, `flow`, `state`, `before`, `limit` narrow them."""
    given = {"id": None, "flow": None, "state": None, "before": None, "limit": 50, **wanted}
    with engine.store.transaction("runs") as tx:
        return tx.all("runs.listing", **given)

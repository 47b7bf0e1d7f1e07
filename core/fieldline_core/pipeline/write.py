"""The verb *write*: a frozen slice goes to its target, and the target's receipts are stored."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl
from psycopg.types.json import Jsonb

from fieldline_core.batch import Batch
from fieldline_core.crash import point
from fieldline_core.errors import Fenced, FieldlineError, Misconfigured, Rejected, StoreUnavailable, Unavailable
from fieldline_core.flow import Release, WriteStep
from fieldline_core.logs import log, milliseconds_since
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.freeze import thaw
from fieldline_core.pipeline.gate import pass_gate, report
from fieldline_core.pipeline.lease import Renewal, give_back, give_back_after_bug, retry_or_none
from fieldline_core.pipeline.present import people_first
from fieldline_core.pipeline.rivals import find_rivals
from fieldline_core.pipeline.settle import settle
from fieldline_core.ports import Polls, Slice
from fieldline_core.receipts import OVERTAKEN, Outcome, Pending, Receipts, RowReceipt
from fieldline_core.retry import RetryPolicy
from fieldline_core.states import EffectState
from fieldline_core.store import Row

_RIVAL_WAIT_S = 0.5
_MENDING_WAIT_S = 900.0


def write(engine: Engine, effect_id: int) -> None:
    """Sends a slice, or asks after one that its target still works on."""
    claim = pass_gate(engine, effect_id)
    if claim is None:
        return
    with Renewal(engine, "effects", effect_id, claim["fence"]):
        try:
            release = engine.parts.release(claim["release_id"])
            step = next(write for write in release.flow.writes if write.name == claim["write_name"])
            batch, before = thaw(engine.keyring.open(claim["body"], "effect"))
        except StoreUnavailable:
            # The lease ends by itself, as below.
            return
        except FieldlineError as error:
            give_back(engine, "effects", effect_id, claim["fence"], _MENDING_WAIT_S, str(error), counted=False)
            return
        try:
            if claim["crashes"] > engine.settings.max_crashes:
                reason = "its worker died each time it was written; it may or may not have been written"
                _give_up(engine, claim, release, batch, Outcome.UNKNOWN, reason)
            else:
                _write(engine, claim, release, step, batch, before)
        except (Fenced, StoreUnavailable):
            # Either another worker goes on, or the lease ends by itself when the store is back.
            return
        except FieldlineError as error:
            _put_off(engine, claim, release, step, batch, error)
        except Exception as error:
            give_back_after_bug(engine, "effects", effect_id, claim["fence"], error)
            raise


def _write(engine: Engine, claim: Row, release: Release, step: WriteStep, batch: Batch, before: pl.DataFrame | None) -> None:
    began = time.perf_counter()
    target = engine.parts.target(release, step)
    if claim["undo_of"] is not None:
        target = target.existing()
    rivals = find_rivals(engine, claim, step, target, batch, before)
    if rivals.older_open:
        why = "an older write of the same record is under way"
        give_back(engine, "effects", claim["id"], claim["fence"], _RIVAL_WAIT_S, why, counted=False)
        return
    changed: Mapping[int, RowReceipt] = {}
    if claim["undo_of"] is not None:
        rivals, changed = people_first(engine, release, step, target, batch, rivals)
    aside = {**dict.fromkeys(rivals.overtaken, OVERTAKEN), **changed}
    answer: Receipts | Pending = Receipts(len(batch), Outcome.SUPERSEDED, aside)
    # Where nothing has been sent yet and every row is set aside, nothing is.
    if len(aside) < len(batch) or claim["fence"] > 1:
        slice = Slice(claim["key"], claim["fence"], target, batch, rivals.before, frozenset(aside), claim["created_at"])
        answer = _send(engine, claim, step, slice)
        report(engine, claim["target"], None)
        answer = _with_reasons(answer, changed)
    if isinstance(answer, Pending):
        _submitted(engine, claim, answer)
        return
    settle(engine, claim, release, batch, answer, rivals.before)
    took = {"stage": "write", "duration_ms": milliseconds_since(began)}
    log().info("slice_written", effect=claim["id"], target=claim["target"], rows=len(batch) - len(rivals.overtaken), **took)


def _send(engine: Engine, claim: Row, step: WriteStep, slice: Slice) -> Receipts | Pending:
    connector: Any = engine.parts.connector(step.connection)
    if claim["state"] == EffectState.SUBMITTED and isinstance(connector, Polls):
        return connector.poll(slice, claim["handle"])
    point(f"write.{connector.name}.send:before")
    answer: Receipts | Pending = connector.write(slice)
    point(f"write.{connector.name}.send:after")
    if isinstance(answer, Receipts) and answer.rows != len(slice.batch):
        raise RuntimeError(f"{connector.name} answered {answer.rows} receipts for {len(slice.batch)} rows")
    return answer


def _with_reasons(answer: Receipts | Pending, changed: Mapping[int, RowReceipt]) -> Receipts | Pending:
    """The receipts, with what we saw ourselves of the rows that were therefore not sent."""
    if isinstance(answer, Pending) or not changed:
        return answer
    unsent = {row: why for row, why in changed.items() if answer[row].outcome is Outcome.SUPERSEDED}
    return replace(answer, others={**answer.others, **unsent})


def _submitted(engine: Engine, claim: Row, pending: Pending) -> None:
    with engine.store.transaction("write.submitted") as tx:
        handle = Jsonb(dict(pending.handle))
        if not tx.run("effects.submitted", id=claim["id"], fence=claim["fence"], handle=handle, wait_s=pending.poll_after_s):
            raise Fenced


def _put_off(engine: Engine, claim: Row, release: Release, step: WriteStep, batch: Batch, error: FieldlineError) -> None:
    # What the target has taken up may be done there, though it refused or never heard our questions about it.
    unknown = claim["unclear"] or claim["state"] == EffectState.SUBMITTED or error.sent
    outcome = Outcome.UNKNOWN if unknown else Outcome.REFUSED
    doubt = "; an earlier attempt may have arrived" if claim["unclear"] else ""
    if isinstance(error, Rejected):
        report(engine, claim["target"], None)
        _give_up(engine, claim, release, batch, outcome, f"{error}{doubt}")
        return
    if isinstance(error, Unavailable | Misconfigured):
        report(engine, claim["target"], error)
    if not retry_or_none(engine, "effects", claim["id"], claim["fence"], _policy(engine, step), error, claim["attempts"]):
        _give_up(engine, claim, release, batch, outcome, f"given up after {claim['attempts']} attempts: {error}{doubt}")


def _policy(engine: Engine, step: WriteStep) -> RetryPolicy:
    """What the step says, or else the waits that its connector's protocol asks for."""
    delays_s: tuple[float, ...] = getattr(engine.parts.connector(step.connection), "retry_delays_s", ())
    if step.retry != RetryPolicy() or not delays_s:
        return step.retry
    return RetryPolicy(delays_s=delays_s, max_attempts=len(delays_s) + 1)


def _give_up(engine: Engine, claim: Row, release: Release, batch: Batch, outcome: Outcome, reason: str) -> None:
    others = {row: RowReceipt(outcome, reason) for row in range(len(batch))}
    settle(engine, claim, release, batch, Receipts(len(batch), outcome, others))
    log().error("effect_given_up", effect=claim["id"], target=claim["target"], rows=len(batch), state=outcome.value)

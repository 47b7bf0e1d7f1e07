"""The gate before each target: pauses, blast radius, concurrency, rate and circuit breaker, shared by all workers."""

from fieldline_core.admission import TargetState, admit, failed, paced, succeeded
from fieldline_core.errors import FieldlineError, Misconfigured, Paced, Unavailable
from fieldline_core.events import record
from fieldline_core.logs import log
from fieldline_core.pipeline.engine import Engine
from fieldline_core.store import Row, Transaction


def pass_gate(engine: Engine, effect_id: int) -> Row | None:
    """The claimed effect, or None where it is not its turn; its wait is noted in the store."""
    with engine.store.transaction("write.claim") as tx:
        tx.one("effects.lock_target", id=effect_id)
        seen = tx.one("effects.peek", id=effect_id)
        if seen is None:
            return None
        state, wait = admit(_state(seen), seen["in_flight"], seen["clock"])
        if wait is not None:
            tx.run("effects.park", id=effect_id, wait_s=wait.seconds)
            tx.one("relay.notify")
            return None
        if not _within_bound(engine, tx, seen):
            return None
        _keep(tx, seen["target"], state)
        tx.run("relay.claimed", id=engine.owner.partition("/")[0])
        return tx.one("effects.claim", id=effect_id, owner=engine.owner, lease_s=engine.settings.lease_s)


def report(engine: Engine, target: str, error: FieldlineError | None) -> None:
    """Tells the target's breaker how a call went; one that we put off ourselves says nothing of the target."""
    with engine.store.transaction("write.breaker") as tx:
        row = tx.one("effects.target", name=target)
        if row is None:
            return
        before = _state(row)
        after = succeeded(before)
        if isinstance(error, Paced):
            after = paced(before, row["clock"], str(error), error.retry_after or 0.0)
        elif error is not None:
            asked = error.retry_after if isinstance(error, Unavailable) else None
            after = failed(before, row["clock"], str(error), retry_after_s=asked, person=isinstance(error, Misconfigured))
        if after != before:
            _keep(tx, target, after)
    if after.breaker != before.breaker:
        log().warning("breaker_moved", target=target, state=after.breaker)


def _within_bound(engine: Engine, tx: Transaction, seen: Row) -> bool:
    """Counts the rows of an effect once; past the bound of the flow's current release the flow pauses and says so."""
    bound = seen["bound"]
    if bound is None or seen["reserved"]:
        return True
    if tx.one("effects.reserve_changes", flow=seen["flow_id"], rows=seen["rows"], bound=int(bound)):
        return True
    reason = f"more than {bound} rows would have been changed within an hour (guards.max_changed_per_hour)"
    if tx.run("flows.pause", flow=seen["flow_id"], by="engine", reason=reason):
        record(tx, "flow.paused", "engine", {"flow": seen["flow_id"], "reason": reason})
    return False


def _state(row: Row) -> TargetState:
    return TargetState(row["concurrency"], row["rate_per_s"], row["burst"], row["tokens"], row["refilled_at"], row["breaker"],
                       row["failures"], row["retry_at"], row["reason"])  # fmt: skip


def _keep(tx: Transaction, target: str, state: TargetState) -> None:
    tx.run("effects.target_state", name=target, tokens=state.tokens, refilled_at=state.refilled_at, breaker=state.breaker,
           failures=state.failures, retry_at=state.retry_at, reason=state.reason)  # fmt: skip

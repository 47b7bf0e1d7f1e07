"""Whether a target takes one more write now: concurrency, rate and circuit breaker, held in the database for all workers."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import Field

from fieldline_core.ports import Document

OPEN_AFTER = 5
PROBE_AFTER_S = 5.0
PROBE_LATEST_S = 900.0


class TargetLimits(Document):
    """How hard a target system may be pressed."""

    rate_per_s: float | None = Field(None, gt=0)
    """Write calls for each second, over all workers."""
    burst: float = Field(10.0, ge=1)
    """Write calls that may come at once after a quiet time."""
    concurrency: int = Field(4, ge=1, le=256)
    """Write calls at the same time, over all workers."""


@dataclass(frozen=True, slots=True)
class TargetState:
    """A target's bucket and breaker as they stand in the store."""

    concurrency: int
    rate_per_s: float | None
    burst: float
    tokens: float
    refilled_at: datetime
    breaker: str = "closed"
    failures: int = 0
    retry_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now: ask again in `seconds`."""

    seconds: float
    reason: str


def admit(state: TargetState, in_flight: int, now: datetime) -> tuple[TargetState, Wait | None]:
    """The state after asking for one write call, and the wait where it is not allowed."""
    if state.retry_at and now < state.retry_at:
        why = "its connection paces its requests" if state.breaker == "closed" else "its circuit breaker is open"
        return state, Wait((state.retry_at - now).total_seconds(), why)
    if state.breaker != "closed" and in_flight > 0:
        return state, Wait(1.0, "one probe at a time while its circuit breaker is half open")
    if in_flight >= state.concurrency:
        return state, Wait(0.05, "as many writes as it takes at once are under way")
    if state.rate_per_s is None:
        return _probing(state), None
    elapsed_s = max(0.0, (now - state.refilled_at).total_seconds())
    tokens = min(state.burst, state.tokens + elapsed_s * state.rate_per_s)
    if tokens < 1:
        return state, Wait((1 - tokens) / state.rate_per_s, "its rate limit is used up")
    return replace(_probing(state), tokens=tokens - 1, refilled_at=now), None


def succeeded(state: TargetState) -> TargetState:
    """The state after a call that reached the target."""
    return replace(state, breaker="closed", failures=0, retry_at=None, reason=None)


def paced(state: TargetState, now: datetime, reason: str, wait_s: float) -> TargetState:
    """The state after a call that we put off ourselves: those behind it wait as long, and the breaker stays as it is."""
    return replace(state, retry_at=now + timedelta(seconds=wait_s), reason=reason)


def failed(state: TargetState, now: datetime, reason: str, *, retry_after_s: float | None, person: bool) -> TargetState:
    """The state after a call that did not; `person` opens the breaker at once, for a person must act."""
    failures = state.failures + 1
    if not person and failures < OPEN_AFTER and state.breaker == "closed" and not retry_after_s:
        return replace(state, failures=failures, reason=reason)
    doubled = min(PROBE_LATEST_S, PROBE_AFTER_S * 2 ** min(max(0, failures - OPEN_AFTER), 16))
    wait_s = max(retry_after_s or 0.0, PROBE_LATEST_S if person else 0.0 if retry_after_s else doubled)
    return replace(state, breaker="open", failures=failures, retry_at=now + timedelta(seconds=wait_s), reason=reason)


def _probing(state: TargetState) -> TargetState:
    return state if state.breaker == "closed" else replace(state, breaker="half_open")

"""When to try again: a policy that is data, and a decision that is pure."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field

from fieldline_core.errors import FieldlineError, Misconfigured, Paced, Rejected, Unavailable
from fieldline_core.ports import Document


class RetryPolicy(Document):
    """How often and how long to try again where the other side is unavailable."""

    first_s: float = Field(1.0, gt=0, le=900)
    """Upper bound of the first wait, in seconds."""
    longest_s: float = Field(900.0, gt=0, le=86_400)
    """Upper bound of any wait, in seconds."""
    max_attempts: int = Field(20, ge=1, le=1000)
    """Attempts in all; then the rows become dead letters."""
    delays_s: tuple[float, ...] = ()
    """Fixed waits instead of the growing ones, in seconds, before the second, third … attempt."""


@dataclass(frozen=True, slots=True)
class Again:
    """Try again in `wait_s` seconds; `counted` says whether this attempt uses up the budget."""

    wait_s: float
    counted: bool = True


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Set the work aside."""


def decide(
    policy: RetryPolicy, error: FieldlineError, attempts: int, jitter: Callable[[], float] = random.random
) -> Again | GiveUp:
    """What to do after attempt number `attempts` (from 1) failed; `jitter` gives numbers in [0, 1).

    Full jitter as in "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015).
    """
    if isinstance(error, Rejected):
        return GiveUp()
    if isinstance(error, Misconfigured):
        # A person must act first: the wait does not use up the budget.
        return Again(policy.longest_s, counted=False)
    if isinstance(error, Paced):
        # Not all at the same moment.
        return Again((error.retry_after or 0.0) + min(1.0, policy.first_s) * (1.0 + jitter()), counted=False)
    if attempts >= policy.max_attempts:
        return GiveUp()
    asked = error.retry_after or 0.0 if isinstance(error, Unavailable) else 0.0
    if policy.delays_s:
        return Again(max(asked, policy.delays_s[min(attempts, len(policy.delays_s)) - 1]))
    bound = min(policy.longest_s, policy.first_s * 2 ** min(attempts - 1, 32))
    return Again(max(asked, min(1.0, policy.first_s), bound * jitter()))

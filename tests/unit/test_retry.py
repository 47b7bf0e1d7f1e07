"""When to try again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_core.errors import Misconfigured, Paced, Rejected, Unavailable
from fieldline_core.retry import Again, GiveUp, RetryPolicy, decide

POLICY = RetryPolicy()
AWAY = Unavailable("away")


@given(attempts=st.integers(1, 19), jitter=st.floats(0, 1, exclude_max=True))
def test_waits_grow_with_full_jitter_from_one_second_to_fifteen_minutes(attempts: int, jitter: float) -> None:
    decision = decide(POLICY, AWAY, attempts, lambda: jitter)

    assert isinstance(decision, Again)
    assert 1.0 <= decision.wait_s <= max(1.0, min(900.0, 2.0 ** (attempts - 1)))


@given(asked=st.floats(0, 10_000), attempts=st.integers(1, 19))
def test_a_wait_that_was_asked_for_is_honoured(asked: float, attempts: int) -> None:
    decision = decide(POLICY, Unavailable("busy", retry_after=asked), attempts)

    assert isinstance(decision, Again)
    assert decision.wait_s >= asked


def test_the_budget_ends_the_attempts() -> None:
    assert decide(POLICY, AWAY, POLICY.max_attempts) == GiveUp()


def test_what_is_refused_is_not_tried_again() -> None:
    assert decide(POLICY, Rejected("too long"), 1) == GiveUp()


def test_what_a_person_must_mend_uses_up_no_attempt() -> None:
    assert decide(POLICY, Misconfigured("no password"), 10_000) == Again(900.0, counted=False)


@pytest.mark.parametrize(("attempt", "wait_s"), [(1, 5.0), (2, 300.0), (3, 1800.0), (9, 1800.0)])
def test_fixed_delays_are_taken_in_order(attempt: int, wait_s: float) -> None:
    assert decide(RetryPolicy(delays_s=(5.0, 300.0, 1800.0)), AWAY, attempt) == Again(wait_s)


@pytest.mark.parametrize("policy", [POLICY, RetryPolicy(max_attempts=1, delays_s=(900.0,))])
def test_what_we_put_off_ourselves_uses_up_no_attempt_and_waits_as_long_as_it_says(policy: RetryPolicy) -> None:
    assert decide(policy, Paced("too many in this minute", 40.0), 10_000, lambda: 0.5) == Again(41.5, counted=False)

"""Whether a target takes one more write."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_core.admission import OPEN_AFTER, TargetState, Wait, admit, failed, paced, succeeded

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FREE = TargetState(concurrency=2, rate_per_s=None, burst=10, tokens=10, refilled_at=NOW)
LIMITED = replace(FREE, rate_per_s=5.0, burst=10, tokens=10)


def test_a_free_target_takes_a_write() -> None:
    assert admit(FREE, 0, NOW) == (FREE, None)


def test_as_many_writes_as_allowed_run_at_once() -> None:
    _, wait = admit(FREE, 2, NOW)

    assert isinstance(wait, Wait)


@given(st.lists(st.floats(0, 0.3), min_size=50, max_size=200))
def test_the_rate_is_never_passed(pauses_s: list[float]) -> None:
    state, now, passed = LIMITED, NOW, 0
    for pause_s in pauses_s:
        now += timedelta(seconds=pause_s)
        state, wait = admit(state, 0, now)
        passed += wait is None

    assert passed <= 10 + 5.0 * (now - NOW).total_seconds() + 1e-6


def test_the_wait_says_when_there_is_a_token_again() -> None:
    empty = replace(LIMITED, tokens=0.0)
    _, wait = admit(empty, 0, NOW)

    assert wait is not None
    assert admit(empty, 0, NOW + timedelta(seconds=wait.seconds))[1] is None


def test_the_breaker_opens_after_several_failures_and_closes_with_a_success() -> None:
    state = FREE
    for _ in range(OPEN_AFTER):
        assert admit(state, 0, NOW)[1] is None
        state = failed(state, NOW, "away", retry_after_s=None, person=False)

    assert admit(state, 0, NOW)[1] is not None
    assert admit(succeeded(state), 0, NOW)[1] is None


def test_a_half_open_breaker_lets_one_probe_through() -> None:
    state = replace(FREE, breaker="open", failures=5, retry_at=NOW)

    probing, wait = admit(state, 0, NOW)

    assert wait is None
    assert probing.breaker == "half_open"
    assert admit(probing, 1, NOW)[1] is not None


@pytest.mark.parametrize(("retry_after_s", "person", "wait_s"), [(30.0, False, 30.0), (None, True, 900.0)])
def test_a_target_that_says_when_or_needs_a_person_is_left_alone_at_once(
    retry_after_s: float | None, person: bool, wait_s: float
) -> None:
    state = failed(FREE, NOW, "busy", retry_after_s=retry_after_s, person=person)

    assert state.retry_at == NOW + timedelta(seconds=wait_s)
    assert admit(state, 0, NOW)[1] is not None


@pytest.mark.parametrize("breaker", ["closed", "half_open"])
def test_a_call_that_we_put_off_ourselves_holds_the_others_and_leaves_the_breaker_as_it_is(breaker: str) -> None:
    state = paced(replace(FREE, breaker=breaker, failures=3), NOW, "too many in this minute", 40.0)

    held, wait = admit(state, 0, NOW)
    assert (held.breaker, held.failures, wait and wait.seconds) == (breaker, 3, 40.0)
    assert admit(state, 0, NOW + timedelta(seconds=40))[1] is None

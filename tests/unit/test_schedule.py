"""Schedules and flow documents."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fieldline_core.errors import Misconfigured
from fieldline_core.flow import Flow, effect_key
from fieldline_core.pipeline.schedule import next_time, schedule_text

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SENTENCE = {"flow": "x", "source": {"connection": "erp", "query": {}}, "mapping": "x", "models": ["m"]}


@pytest.mark.parametrize(
    ("schedule", "after"),
    [("0 6 * * *", timedelta(hours=18)), ("*/15 * * * *", timedelta(minutes=15)), ("every 90s", timedelta(seconds=90)),
     ("every 2d", timedelta(days=2))],
)  # fmt: skip
def test_a_schedule_says_when_it_fires_next(schedule: str, after: timedelta) -> None:
    assert next_time(schedule, NOON) == NOON + after


@given(st.text(max_size=30))
def test_what_is_no_cron_expression_is_refused_in_words(text: str) -> None:
    with suppress(Misconfigured):
        assert next_time(text, NOON) > NOON
    with pytest.raises(Misconfigured, match="cron"):
        next_time(f"never {text}", NOON)


def test_a_flow_says_its_schedule() -> None:
    assert schedule_text(Flow.model_validate({**SENTENCE, "trigger": {"every": "15m"}})) == "every 15m"
    assert schedule_text(Flow.model_validate(SENTENCE)) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trigger": {"every": "15m", "schedule": "0 6 * * *"}}, "one of schedule, every and webhook"),
        ({"trigger": {"webhook": "sender"}}, "record's key"),
        ({"source": None}, "reads from a source"),
        ({"flow": "Not A Name"}, "lower case"),
        ({"models": []}, "at least 1"),
    ],
)
def test_a_flow_that_makes_no_sense_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Flow.model_validate({**SENTENCE, **change})


def test_effect_keys_differ_by_everything_that_names_a_slice() -> None:
    names = product(("a", "b"), (1, 11), ("w", "1w"), (0, 1), (b"x", b"y"))

    assert len({effect_key(*name) for name in names}) == 32

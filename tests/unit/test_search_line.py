"""Search lines: what they ask for, and what is said of those that cannot be read."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_core.errors import Rejected
from fieldline_core.search import quoted, read_line
from fieldline_core.search.cursor import read_cursor, write_cursor
from fieldline_core.search.line import span
from fieldline_core.search.qualifiers import QUALIFIERS
from fieldline_core.zones import OUTCOMES

KINDS = ("decisions", "events")
PIECES = st.one_of(
    st.text(max_size=12), st.sampled_from([f"{name}:" for name in QUALIFIERS]), st.sampled_from(['"', "\\", " ", ":", "..", "@"]),
    st.sampled_from(["0.5..0.9", "2026-11-01", "7d", "churn@3", "812-17", *OUTCOMES]),
)  # fmt: skip


@given(st.lists(PIECES, max_size=12).map("".join), st.sampled_from(KINDS))
def test_any_text_is_read_or_refused_in_words(line: str, kind: str) -> None:
    try:
        wanted = read_line(line, kind)  # type: ignore[arg-type]
    except Rejected:
        pass
    else:
        assert span(wanted, datetime(2026, 11, 21, tzinfo=UTC)).keys() == {"since", "until"}


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=60))
def test_any_key_can_be_written_in_quotes(key: str) -> None:
    assert read_line(f"flow:leads record:{quoted(key)}", "decisions").record == key


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_a_range_is_read_as_its_numbers(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert read_line(f"score:{low!r}..{high!r}", "decisions").score == (low, high)


def test_all_qualifiers_of_decisions_together() -> None:
    line = "record:00Q flow:leads FLOW:cases model:churn@3 mapping:churn@9f86d081 mapping:@9f86d081 outcome:written outcome:held"
    wanted = read_line(f"{line} score:0.7..", "decisions")
    assert (wanted.record, wanted.flows, wanted.score) == ("00Q", ("leads", "cases"), (0.7, float("inf")))
    assert (wanted.models, wanted.mappings) == ((("churn", "3"),), (("churn", "9f86d081"), ("", "9f86d081")))
    assert wanted.outcomes == {"written", "held"}


def test_free_text_is_kept_word_by_word_and_phrase_by_phrase() -> None:
    wanted = read_line(r'actor:anna paused "the customer \"asked\" twice"', "events")
    assert (wanted.actors, wanted.texts) == (("anna",), ("paused", 'the customer "asked" twice'))


def test_the_parts_of_a_composite_key_are_written_one_after_another() -> None:
    assert read_line("record:5 record:8", "decisions").record == '["5", "8"]'


def test_a_day_is_meant_as_a_whole_and_an_age_from_now() -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert span(read_line("since:2026-11-01 until:2026-11-01", "events"), now) == {
        "since": "2026-11-01T00:00:00+00:00", "until": "2026-11-02T00:00:00+00:00",
    }  # fmt: skip
    assert span(read_line("since:7d until:2026-11-20T14:30+02:00", "events"), now) == {
        "since": (now - timedelta(days=7)).isoformat(), "until": "2026-11-20T12:30:00+00:00",
    }  # fmt: skip
    assert span(read_line("", "events"), now) == {"since": "-infinity", "until": "infinity"}


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ("flow:a flwo:b", "decisions", "at character 8: there is no qualifier 'flwo:'. Did you mean 'flow:'?"),
        ("key:1", "decisions", "at character 1: there is no qualifier 'key:'. Did you mean 'record:'?"),
        ("event:x", "events", "Did you mean 'action:'?"),
        ("zzz:x", "events", "There are action, actor, record"),
        ("outcome:writen", "decisions", "outcome: at character 1: there is no outcome 'writen'. Did you mean 'written'?"),
        ("action:run.reqested", "events", "Did you mean 'run.requested'?"),
        ("actor:anna", "decisions", "'actor:' narrows audit events, not decisions"),
        ("score:0.5", "events", "'score:' narrows decisions, not audit events"),
        ("score:0.9..0.1", "decisions", "score: at character 1: '0.9..0.1' is empty"),
        ("score:high", "decisions", "write it as 0.7..0.9, 0.7.. or ..0.3"),
        ("score:nan..1", "decisions", "is no range of numbers"),
        ("since:yesterday", "events", "write 2026-11-01, 2026-11-01T14:30 (both UTC) or 7d, 12h, 30m ago"),
        ("since:7d since:8d", "events", "at character 10: 'since:' is there twice"),
        ("decision:x", "decisions", "is written as 812-17"),
        ("model:churn@", "decisions", "is no name with a version"),
        ("flow:", "events", "'flow:' has no value"),
        ('flow:"leads', "events", "a quote is missing"),
        ('a"b', "events", "a quote is missing"),
        ("12:30", "events", "put a text with a colon in quotes"),
        ("---", "events", "no letter and no digit"),
        ("x" * 2001, "events", "at most 2,000 characters"),
        ("x " * 41, "events", "at most 40"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_place_and_the_fix(line: str, kind: str, words: str) -> None:
    with pytest.raises(Rejected) as refused:
        read_line(line, kind)  # type: ignore[arg-type]
    assert words in str(refused.value)


def test_a_key_without_its_qualifier_is_not_repeated() -> None:
    with pytest.raises(Rejected) as refused:
        read_line("ann@example.org", "decisions")
    assert str(refused.value).startswith("at character 1: a qualifier is missing: write record:KEY")
    assert "ann" not in str(refused.value)


def test_a_cursor_comes_back_as_its_place_for_its_own_line_only() -> None:
    cursor = write_cursor("flow:a  since:7d", ["2026-11-01", 7, 0])
    assert read_cursor("flow:a since:7d", cursor, str, int, int) == ["2026-11-01", 7, 0]
    with pytest.raises(Rejected, match="another search line"):
        read_cursor("flow:b", cursor, str, int, int)
    with pytest.raises(Rejected, match="not given out here"):
        read_cursor("flow:a since:7d", cursor, int)


@given(st.text(max_size=80))
def test_any_text_is_a_cursor_or_is_refused(text: str) -> None:
    with pytest.raises(Rejected):
        read_cursor("flow:a", text, int)

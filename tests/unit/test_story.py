"""A decision's story: in the order of time, in plain words, and complete."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fieldline_server.story import EntryLink, Erased, Known, Lineage, tell, tell_erased

BEGUN = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
LINEAGE = Lineage({"age": ("Age in days", "DAYS_SINCE(Created)", ("Created",))}, {"score": ("ROUND(p, 2)", ("back.Score",))})


def at(minutes: int) -> datetime:
    return BEGUN + timedelta(minutes=minutes)


def decision(**more: Any) -> dict[str, Any]:
    """A decision as it is found."""
    return {
        "decision": "7-3", "key": "L-1", "flow": "leads", "release": "r" * 64, "mapping": "m" * 64,
        "models": [{"name": "churn", "version": 3, "digest": "d" * 64}], "clock": at(1).isoformat(),
        "recorded_at": at(2).isoformat(), "runtime": {"polars": "2.1"}, "held": None, "source": {"Created": "2026-01-01"},
        "features": {"age": 324.0}, "outputs": {"p": 0.834}, "fields": {"score": 0.83}, "writes": [], **more,
    }  # fmt: skip


def write(event: int, minutes: int, outcome: str, **more: Any) -> dict[str, Any]:
    """What a target answered."""
    return {"write": "back", "target": "crm", "effect": "e", "attempt": 1, "detail": {}, "outcome": outcome, "reason": "",
            "before": {}, "at": at(minutes), "event": event, **more}  # fmt: skip


def entry(event: int, position: int | None, checkpoint: int | None) -> EntryLink:
    return EntryLink(event=event, position=position, checkpoint=checkpoint, sealed_at=at(30) if checkpoint else None)


CHUNK = {"received_at": at(0), "replay_of": None, "run": 5, "kind": "batch", "requested_by": "cli:ada"}
ENTRIES = {1: entry(1, 10, 12), 2: entry(2, 11, 12), 3: entry(3, 14, 15)}
WRITTEN = write(2, 3, "written", before={"Score": None})
UNDONE = write(3, 9, "written", before={"Score": 0.83}, undo=8, put_back={"Score": None})
ASKED = {"id": 3, "event": "undo.requested", "actor": "cli:eve", "at": at(8), "detail": {"run": 8, "why": "the release was bad"}}


def test_a_story_goes_from_the_record_to_the_log_in_the_order_of_time() -> None:
    story = tell(Known(decision(writes=[WRITTEN, UNDONE]), 1, ENTRIES, "crm", LINEAGE, CHUNK, acts=[ASKED]))

    assert [step.step for step in story.steps] == ["received", "mapped", "scored", "decided", "written", "put back", "sealed"]
    times = [step.at for step in story.steps]
    assert times == sorted(time for time in times if time)
    words = {step.step: step.words for step in story.steps}
    assert words["received"] == "Run 5, asked for by cli:ada, read the record from crm."
    assert words["scored"] == "The model churn@3 said p = 0.834."
    assert words["put back"] == (
        "The undo of run 8, which cli:eve asked for (the release was bad), put back what crm held before."
    )
    assert words["sealed"] == "The log holds it as entries 10, 11, 14, under the signed checkpoint at size 15."
    assert story.summary == "The decision was score = 0.83; crm got back what it held before."


def test_each_feature_names_its_formula_and_the_source_values_it_was_made_of() -> None:
    story = tell(Known(decision(writes=[WRITTEN]), 1, ENTRIES, "crm", LINEAGE, CHUNK))

    (feature,) = story.steps[1].facts
    assert (feature.name, feature.value, feature.about) == (
        "age", 324.0, "Age in days; = DAYS_SINCE(Created); from Created 2026-01-01",
    )  # fmt: skip
    assert story.steps[3].facts[0].about == "= ROUND(p, 2); goes to back.Score"
    (written,) = story.steps[4].facts
    assert (written.name, written.value, written.about) == ("Score", 0.83, "before: blank")


def test_a_record_that_was_read_again_because_somebody_touched_it_is_said_to_be() -> None:
    chunk = {**CHUNK, "kind": "events", "requested_by": "changes", "replay_of": 3}
    story = tell(Known(decision(writes=[WRITTEN]), 1, ENTRIES, "crm", LINEAGE, chunk))

    assert story.steps[0].words == (
        "The record was read again from crm: somebody had changed it before the decision on it was written."
    )


def test_a_story_can_be_told_without_what_was_lost_by_retention() -> None:
    story = tell(Known(decision(writes=[WRITTEN]), 1, ENTRIES))

    assert "no longer kept" in story.steps[0].words
    assert story.steps[1].facts[0].about == ""


@pytest.mark.parametrize(
    ("outcome", "reason", "words"),
    [
        ("refused", "no such field", "it refused it at attempt 1: no such field"),
        ("changed_by_person", "somebody changed the row", "it was left alone: somebody changed the row"),
        ("superseded", "a newer decision stands", "it was left alone: a newer decision stands"),
        ("unknown", "the answer was lost", "it may or may not have taken it at attempt 1: the answer was lost"),
    ],
)
def test_what_a_target_answered_is_said_in_words(outcome: str, reason: str, words: str) -> None:
    story = tell(Known(decision(writes=[write(2, 3, outcome, reason=reason)]), 1, ENTRIES, "crm", LINEAGE, CHUNK))

    assert story.steps[4].words == f"The write back to crm: {words}."


def test_a_held_record_has_a_story_that_says_why_and_what_became_of_it() -> None:
    letter = {"id": 4, "stage": "map", "state": "discarded", "reason": "blank", "created_at": at(2), "ended_at": at(20),
              "ended_by": "cli:ada", "ended_why": "a test record", "replay_run": None}  # fmt: skip
    held = decision(held={"stage": "map", "reason": "the feature 'age' is blank"}, outputs={"p": None}, fields={"score": None})

    story = tell(Known(held, 1, ENTRIES, "crm", LINEAGE, CHUNK, letters=[letter]))

    assert [step.step for step in story.steps] == ["received", "mapped", "held back", "set aside", "sealed"]
    assert story.summary == "The record was held back: the feature 'age' is blank."
    assert story.steps[3].words == "cli:ada discarded dead letter 4, because: a test record."


def test_what_waits_is_said_to_wait() -> None:
    waiting = {"write": "back", "target": "crm", "state": "intended", "attempts": 2, "due_at": at(5), "last_error": "503"}

    story = tell(Known(decision(), 1, ENTRIES, "crm", LINEAGE, CHUNK, waiting=[waiting]))

    assert story.steps[4].words == "The write back to crm waits after 2 attempts: 503."
    assert story.summary.endswith("it is still to be written.")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({1: entry(1, None, None)}, "It is durable, not yet sealed: the next checkpoint of the log will cover it."),
        ({1: entry(1, 0, 1), 2: entry(2, None, None)},
         "The log holds it as entry 0, under the signed checkpoint at size 1; 1 receipt durable, not yet sealed."),
    ],
)  # fmt: skip
def test_a_story_says_how_far_it_is_sealed(entries: Mapping[int, EntryLink], words: str) -> None:
    writes = [WRITTEN] if 2 in entries else []
    story = tell(Known(decision(writes=writes), 1, entries, "crm", LINEAGE, CHUNK))

    assert (story.steps[-1].words, story.steps[-1].at) == (words, None)


def test_who_answers_for_it_is_named_and_that_nobody_approved_is_said() -> None:
    acts = [
        {"id": 20, "event": "model.imported", "actor": "cli:bob", "at": at(-9), "detail": {"model": "churn@3"}},
        {"id": 21, "event": "config.published", "actor": "cli:ada", "at": at(-8),
         "detail": {"kind": "mapping", "name": "leads", "digest": "m" * 64, "changes": [{}, {}]}},
        {"id": 22, "event": "config.published", "actor": "cli:ada", "at": at(-7),
         "detail": {"kind": "release", "release": "r" * 64}},
    ]  # fmt: skip

    story = tell(Known(decision(), 1, ENTRIES, "crm", LINEAGE, CHUNK, acts=acts))

    assert [act.words for act in story.people] == [
        "cli:bob imported the model churn@3.",
        "cli:ada wrote and published the mapping leads (mmmmmmmmmmmm), with 2 changes to the version before.",
        "cli:ada published the flow leads with this mapping and model (release rrrrrrrrrrrr).",
        "No approval is recorded.",
    ]


def test_an_erased_decision_has_a_story_of_what_is_left() -> None:
    act = {"id": 9, "event": "record.erased", "actor": "cli:dpo", "at": at(60),
           "detail": {"key_hash": "ff", "why": "article 17", "despite": "", "flows": ["leads"], "decisions": 2,
                      "key_backups_until": "2026-12-21T00:00:00+00:00"}}  # fmt: skip

    story = tell_erased(Erased("7-3", {"flow": "leads"}, at(2), "ab" * 32, 1, [act], {**ENTRIES, 9: entry(9, 40, 41)}))

    assert ([step.step for step in story.steps], story.key) == (["recorded", "erased"], None)
    assert story.steps[0].facts[0].value == "ab" * 32
    assert story.steps[1].words == (
        "cli:dpo erased the record (article 17): 2 decisions, with all that belongs to them."
        " Backups of the keys may open it until 2026-12-21."
    )
    assert story.steps[1].entry == entry(9, 40, 41)
    assert "ff" not in story.model_dump_json(include={"steps": {1: {"facts"}}})

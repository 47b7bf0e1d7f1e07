"""What an EHR says of a refusal becomes one sentence with places and codes, and nothing of a person."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orjson import dumps as encode

from fieldline_connectors.fhir.refusals import masked, sentence


def said(*issues: dict[str, Any], values: tuple[str, ...] = ()) -> str:
    return sentence(encode({"resourceType": "OperationOutcome", "issue": list(issues)}), 422, values)


def test_a_refusal_is_one_sentence_with_words_places_and_codes() -> None:
    issue = {
        "code": "structure", "details": {"text": "Missing required property", "coding": [{"code": "59102"}]},
        "expression": ["Observation.status"], "diagnostics": "The element is missing.",
    }  # fmt: skip
    assert said(issue) == "Missing required property; The element is missing [422 Observation.status structure 59102]"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("Patient Zoe Miller is not admitted", "Patient … is not admitted"),
        ("Zoe Miller is deceased", "… is deceased"),
        ("zoë has no coverage since 1980-02-01", "… has no coverage since …"),
        ("no patient 4711 of born 01.02.80 in ward 12", "no patient … of born … in ward 12"),
        ("the reason 'glucose' is refused", "the reason … is refused"),
        ("GLUCOSE is not known here", "… is not known here"),
        ("see Patient/7 or call zoe@example.org", "see …"),
        ("Unknown code study, Observation.valueQuantity.unit must be a UCUM code", "Unknown code … Observation.valueQuantity.unit"),
        ("Invalid Resource: required Property missing", "Invalid Resource: required Property missing"),
        ("O'Neil, Zoe", "it gives no reason that can be shown"),
        ("too long " * 300, "too long too long too long"),
    ],
)
def test_what_may_be_about_a_person_is_left_out_of_a_servers_words(words: str, shown: str) -> None:
    issue = {"code": "invalid", "diagnostics": words, "expression": ["Observation.note", "Observation.where(id='study-001')"]}
    told = said(issue, values=("study-001", "Glucose is high", "Zoë Neil"))
    assert told.startswith(shown)
    assert told.endswith(" [422 Observation.note invalid]")
    assert len(told) < 300


VALUES = st.text("abcdefghiöäÄB019 -/.", min_size=4, max_size=12).map(str.strip).filter(lambda text: len(text) > 3)


@given(st.lists(VALUES, max_size=4))
def test_no_value_that_we_sent_comes_back_in_an_error(values: list[str]) -> None:
    words = f"cannot take {' and '.join(values)} nor {' '.join(values).upper()}, as {'-'.join(values)} is there"
    told = masked(words, values)
    assert not [value for value in values if re.search(rf"(?<!\w){re.escape(value)}(?!\w)", told, re.IGNORECASE)]


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"issue": 3}', b'{"issue": [3, {"details": 4, "expression": 5}]}'])
def test_an_answer_that_is_no_outcome_is_no_reason(body: bytes) -> None:
    assert sentence(body, 400).startswith("it gives no reason that can be shown [400")

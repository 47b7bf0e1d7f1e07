"""CDS Hooks on paper: what a trigger may say, what is found wrong with it, templates, cards and their ids."""

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fieldline_connectors.fhir import FhirQuery
from fieldline_connectors.fhir.cds import DataMissing, template
from fieldline_core.cds import Card
from fieldline_core.errors import Misconfigured
from fieldline_core.flow import Connection, Flow
from fieldline_core.keyring import Keyring
from fieldline_core.schema import FieldType
from fieldline_server.cds_answer import card_id, cards, decision_of
from fieldline_server.lint_cds import findings_of_cds
from fieldline_server.scoring import Answer

VIEW = {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "getResourceKey()"}]}]}
CHILD_VIEW = {
    "resource": "Observation", "select": [{"column": [{"name": "patient", "path": "subject.getReferenceKey(Patient)"}]}],
}  # fmt: skip
CARD = {"summary": "summary", "indicator": "indicator", "detail": "reason", "source": "Us"}
CDS = {
    "hook": "patient-view", "title": "T", "description": "D", "url": "https://fieldline.example/",
    "clients": [{"issuer": "https://ehr.example", "keys": "https://ehr.example/jwks"}], "card": CARD,
}  # fmt: skip
VISIT = {"label": "L", "description": "D", "create": {"resourceType": "Task", "for": "Patient/${patient}", "note": "${sumary}"}}
GIVEN = {"summary": FieldType.TEXT, "indicator": FieldType.TEXT, "reason": FieldType.TEXT, "points": FieldType.NUMBER}
CONNECTIONS = {
    "ehr": Connection(connection="ehr", connector="fhir", settings={"base_url": "https://ehr.example"}),
    "desk": Connection(connection="desk", connector="memory"),
}
KEYRING = Keyring({1: b"1" * 32}, b"i" * 32)


class Gives:
    """A plan that gives fields."""

    def fields_written(self) -> dict[str, FieldType]:
        """The fields."""
        return GIVEN


def flow(cds: dict[str, Any], **more: Any) -> Flow:
    lookup = {"name": "Observations", "connection": "ehr", "query": {"view": CHILD_VIEW, "key": "patient", "by": "patient"}}
    made = {"flow": "f", "trigger": {"cds": {**CDS, **cds}}, "source": {"connection": "ehr", "query": {"view": VIEW}},
            "lookups": [lookup], "mapping": "m", "models": ["m"]}  # fmt: skip
    return Flow.model_validate({**made, **more})


def found(made: Flow) -> list[tuple[str, str]]:
    return [(each.rule, each.path) for each in findings_of_cds(made, CONNECTIONS, Gives())]  # type: ignore[arg-type]


def test_a_sound_service_has_no_findings() -> None:
    assert found(flow({"prefetch": {"Observations": "Observation?patient={{context.patientId}}&_count=50"}})) == []
    assert flow({}).trigger.cds.root == "https://fieldline.example"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("cds", "more", "rule", "path"),
    [
        ({"card": {**CARD, "summary": "sumary"}}, {}, "unknown-field", "trigger.cds.card.summary"),
        ({"card": {**CARD, "indicator": "points"}}, {}, "cds-card", "trigger.cds.card.indicator"),
        ({"card": {**CARD, "suggestions": [VISIT]}}, {}, "unknown-field", "trigger.cds.card.suggestions[0].create"),
        ({"prefetch": {"Labs": "Observation?patient={{context.patientId}}"}}, {}, "cds-prefetch", "trigger.cds.prefetch.Labs"),
        ({"prefetch": {"record": "Person/{{context.patientId}}"}}, {}, "cds-prefetch", "trigger.cds.prefetch.record"),
        ({}, {"source": {"connection": "desk", "query": {"table": "t"}}}, "cds-connection", "source.connection"),
        ({}, {"lookups": [{"name": "L", "connection": "desk", "query": {}}]}, "cds-connection", "lookups[0].connection"),
    ],
)
def test_what_does_not_fit_is_found_at_its_place(cds: dict[str, Any], more: dict[str, Any], rule: str, path: str) -> None:
    assert found(flow(cds, **more)) == [(rule, path)]


@pytest.mark.parametrize(
    "cds",
    [
        {"hook": "appointment-book"},
        {"clients": []},
        {"clients": [{"issuer": "x", "keys": "ftp://x/y"}]},
        {"url": "fieldline.example"},
        {"prefetch": {"record": "Patient"}},
        {"prefetch": {"record": "Observation?code=1"}},
        {"prefetch": {"record": "Patient/{{context.patientId}}?x={{today()}}"}},
        {"card": {**CARD, "override_reasons": [{"code": "a b", "system": "s", "display": "d"}]}},
        {"card": {**CARD, "suggestions": [{**VISIT, "create": {"status": "draft"}}]}},
    ],
)
def test_a_trigger_that_is_none_is_refused(cds: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        flow(cds)


def test_a_service_is_no_webhook_and_its_lists_do_not_bear_the_record_s_name() -> None:
    with pytest.raises(ValidationError, match="a webhook or cds"):
        flow({}, trigger={"cds": CDS, "webhook": "senders", "key": "id"})
    with pytest.raises(ValidationError, match="no list of the name 'record'"):
        flow({}, lookups=[{"name": "record", "connection": "ehr", "query": {}}])
    with pytest.raises(ValidationError, match="reads from a source"):
        flow({}, source=None, lookups=[])


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"view": VIEW}, "Patient/{{context.patientId}}"),
        ({"view": VIEW, "parameters": {"active": "true"}}, "Patient?_id={{context.patientId}}&active=true"),
        (
            {"view": CHILD_VIEW, "key": "patient", "by": "patient", "parameters": {"code": ["a|b", "c d&e"]}},
            "Observation?patient={{context.patientId}}&code=a|b&code=c%20d%26e",
        ),
        (
            {"view": CHILD_VIEW, "key": "patient", "search": "Patient", "revinclude": ["Observation:subject"]},
            "Patient?_id={{context.patientId}}&_revinclude=Observation:subject",
        ),
    ],
)
def test_an_ehr_fetches_what_the_flow_reads(query: dict[str, Any], text: str) -> None:
    assert template(FhirQuery.model_validate(query)) == text


def card(**fields: Any) -> list[dict[str, Any]]:
    answer = Answer("k", {"summary": "S", "indicator": "info", "reason": None, **fields}, {}, None, "r", "c", (1, 0))
    return list(cards(Card.model_validate(CARD), answer, uuid.UUID(int=0)))


def test_a_card_shows_what_is_there() -> None:
    assert card() == [{"uuid": str(uuid.UUID(int=0)), "summary": "S", "indicator": "info", "source": {"label": "Us"}}]
    assert card(reason=" because ")[0]["detail"] == "because"
    assert card(summary=None) == card(summary=" ") == card(indicator=None) == []


@given(st.text(max_size=400).filter(str.strip))
def test_a_summary_has_fewer_than_140_characters(text: str) -> None:
    (made,) = card(summary=text)
    assert 0 < len(made["summary"]) < 140
    assert made["summary"] == text.strip() or made["summary"].endswith("…")


def test_an_indicator_is_one_of_three() -> None:
    with pytest.raises(Misconfigured, match="info, warning, critical or blank"):
        card(indicator="red")


def test_a_record_that_is_held_gives_no_card() -> None:
    held = Answer("k", None, None, "field 'bmi' is blank", "r", "c", (1, 0))
    with pytest.raises(DataMissing, match="'bmi' is blank"):
        list(cards(Card.model_validate(CARD), held, uuid.UUID(int=0)))


@given(st.integers(0, 2**48 - 1), st.integers(0, 4095), st.integers(0, 121))
def test_a_card_s_id_leads_to_its_decision_and_cannot_be_made_up(chunk: int, row: int, bit: int) -> None:
    made = card_id(KEYRING, 7, (chunk, row))
    assert (made.version, made.variant) == (8, uuid.RFC_4122)
    assert decision_of(KEYRING, 7, made) == (chunk, row)
    assert decision_of(KEYRING, 8, made) is None
    assert decision_of(KEYRING, 7, uuid.UUID(int=made.int ^ 1 << bit)) is None

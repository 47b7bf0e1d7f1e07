"""CDS Hooks over the real API: an EHR that signs its calls gets a card, and its clinicians' feedback is kept."""

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from polars.testing import assert_frame_equal
from tests.api import Template, problem
from tests.cds import PATIENT, Hospital, hospital

from fieldline_core.pipeline.enrich import with_children
from fieldline_core.pipeline.manage import pause_flow, resume_flow
from fieldline_server.cds_answer import Access, Call, Context, record_of
from fieldline_server.metrics import Metrics
from fieldline_server.scoring import Scorer
from fieldline_simulators.fhir import FIXED_TOKEN


@pytest.fixture(scope="module")
def place(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    with hospital(template, tmp_path_factory.mktemp("hospital")) as made:
        yield made


def called(place: Hospital, patient: str = PATIENT, **more: Any) -> dict[str, Any]:
    """What the EHR's own client says of a call."""
    answer = place.ehr.post("/_sim/cds/call", json={"service_url": place.service, "patient": patient, **more})
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


def only_card(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    (card,) = response.json()["cards"]
    return dict(card)


def test_the_services_say_what_they_are_to_be_given(place: Hospital) -> None:
    ordering, service = place.client.get("/cds-services").json()["services"]
    assert (ordering["id"], ordering["hook"]) == ("ordering", "order-select")
    assert service == {
        "hook": "patient-view", "id": "progression", "title": "Progression",
        "description": "How far diabetes may progress in a year.",
        "prefetch": {
            "record": "Patient/{{context.patientId}}",
            "Observations": "Observation?patient={{context.patientId}}&code=http://loinc.org|39156-5,http://loinc.org|8478-0",
        },
    }  # fmt: skip


def test_an_ehr_gets_a_card_on_what_it_fetched_before(place: Hospital) -> None:
    said = called(place)
    assert said["status"] == 200, said
    (card,) = said["answer"]["cards"]
    assert card.pop("uuid")
    assert card == {
        "summary": "Score -36.8 of 1967", "indicator": "warning", "detail": "Mean blood pressure and **body mass index**",
        "source": {"label": "Diabetes study"},
        "overrideReasons": [{"code": "known", "system": "https://fieldline.example/reasons", "display": "Known already"}],
    }  # fmt: skip


def test_the_decision_is_stored_under_the_patient_and_the_card_leads_to_it(place: Hospital) -> None:
    card = only_card(place.call(place.body("study-003")))
    (decision,) = place.client.get("/v1/decisions", params={"q": "record:study-003"}, headers=place.api.key()).json()["items"]
    assert decision["fields"]["summary"] == card["summary"]
    feedback = {"feedback": [{"card": card["uuid"], "outcome": "accepted", "outcomeTimestamp": "2026-01-01T00:00:00Z"}]}
    assert place.client.post(f"{place.service}/feedback", json=feedback, headers=place.signed()).status_code == 200
    detail = place.api.events("cds.feedback")[0]["detail"]
    found = place.client.get("/v1/decisions", params={"q": f"decision:{detail['decision']}"}, headers=place.api.key()).json()
    assert [each["key"] for each in found["items"]] == ["study-003"]
    assert place.api.events("score.requested")[0]["actor"] == f"cds:{place.root}"


def test_what_was_fetched_before_gives_the_columns_that_a_run_reads(place: Hospital) -> None:
    engine, release = place.api.engine, place.release
    read = engine.parts.connector("ehr").lookup(engine.parts.query(release), [PATIENT])
    body = place.body()
    body["prefetch"]["Observations"] = place.ehr.get(
        "/fhir/Observation", params={"patient": PATIENT, "code": "39156-5,8478-0"}
    ).json()
    call = msgspec.json.decode(msgspec.json.encode(body), type=Call)
    assert_frame_equal(record_of(engine, release, call).frame, with_children(engine, release, read).frame)
    lent = Call("patient-view", "1", Context(PATIENT), f"{place.root}/fhir", Access(FIXED_TOKEN))
    assert_frame_equal(record_of(engine, release, lent).frame, with_children(engine, release, read).frame)


def test_what_is_missing_is_read_with_the_token_that_the_call_lends(place: Hospital) -> None:
    (card,) = called(place, prefetch=False)["answer"]["cards"]
    assert card["summary"] == "Score -36.8 of 1967"


def test_a_page_that_others_follow_is_not_taken_for_all(place: Hospital) -> None:
    body = place.body()
    first = place.ehr.get("/fhir/Observation", params={"patient": PATIENT, "_count": 1}).json()
    body["prefetch"]["Observations"] = first
    problem(place.call(body), 412, "data_missing")
    lent = {"access_token": FIXED_TOKEN, "token_type": "Bearer"}
    assert only_card(place.call({**body, "fhirAuthorization": lent}))["summary"] == "Score -36.8 of 1967"


def test_a_service_can_be_asked_while_something_is_ordered(place: Hospital) -> None:
    order = {"service_url": place.service.replace("progression", "ordering"), "patient": PATIENT}
    said = place.ehr.post("/_sim/cds/call", json=order).json()
    assert (said["status"], len(said["answer"]["cards"])) == (200, 1), said


def test_what_a_clinician_has_done_by_a_click_is_kept_with_the_decision(place: Hospital) -> None:
    service = place.service.replace("progression", "ordering")
    (card,) = place.ehr.post("/_sim/cds/call", json={"service_url": service, "patient": PATIENT}).json()["answer"]["cards"]
    (suggestion,) = card["suggestions"]
    assert (card["selectionBehavior"], suggestion["label"]) == ("any", "Draft a control visit")
    (action,) = suggestion["actions"]
    assert (action["type"], action["resource"]["subject"]) == ("create", {"reference": f"Patient/{PATIENT}"})
    assert action["resource"]["note"] == [{"text": card["summary"]}]
    accepted = {"card": card["uuid"], "outcome": "accepted", "acceptedSuggestions": [{"id": suggestion["uuid"]}, {"id": "x"}]}
    assert place.ehr.post("/_sim/cds/feedback", json={"service_url": service, "feedback": accepted}).json()["status"] == 200
    assert place.api.events("cds.feedback")[0]["detail"]["suggestions"] == ["Draft a control visit"]


def test_calls_that_wait_are_scored_together(place: Hospital) -> None:
    engine, release = place.api.engine, place.release
    bodies = [place.body(), place.body("study-003"), place.body("study-004")]
    bodies[1]["prefetch"]["Observations"] = {"resourceType": "Bundle", "type": "searchset"}
    batches = [record_of(engine, release, msgspec.json.decode(msgspec.json.encode(body), type=Call)) for body in bodies]
    scorer = Scorer(engine, place.api.app.state.backend.registry, Metrics())
    coming = [scorer.ask(release, batch, "test") for batch in batches]
    plain = scorer.ask(release, [("study-002", {"born": "1967"})], "test")
    scorer.start()
    answers = [each.result(30)[0] for each in coming]
    assert [(each.key, each.held is None, each.decision[1]) for each in answers] == [
        (PATIENT, True, 0), ("study-003", False, 1), ("study-004", True, 2),
    ]  # fmt: skip
    assert len({each.decision[0] for each in answers}) == 1
    assert plain.result(30)[0].decision[0] != answers[0].decision[0]
    scorer.stop()


def test_nothing_is_said_where_the_mapping_says_nothing(place: Hospital) -> None:
    answer = place.call(place.body("study-002"))
    assert (answer.status_code, answer.json()) == (200, {"cards": []})


def _without(place: Hospital, *names: str) -> dict[str, Any]:
    body = place.body()
    return {**body, "prefetch": {name: None if name in names else value for name, value in body["prefetch"].items()}}


@pytest.mark.parametrize("missing", [("record",), ("Observations",), ("record", "Observations")])
def test_without_its_data_or_a_token_to_read_them_a_call_is_412(missing: tuple[str, ...], place: Hospital) -> None:
    said = problem(place.call(_without(place, *missing)), 412, "data_missing")
    assert "no whole prefetch" in said["detail"]
    assert PATIENT not in said["detail"]


def test_a_lent_token_is_sent_to_the_connection_s_own_server_and_to_no_other(place: Hospital) -> None:
    lent = {"access_token": FIXED_TOKEN, "token_type": "Bearer"}
    body = {**_without(place, "record"), "fhirAuthorization": lent, "fhirServer": "https://ehr.example/fhir"}
    assert "not the one of the connection" in problem(place.call(body), 412, "data_missing")["detail"]
    refused = {**_without(place, "record"), "fhirAuthorization": {**lent, "access_token": "another"}}
    assert "could not be read" in problem(place.call(refused), 412, "data_missing")["detail"]


def test_another_patient_s_data_are_no_data(place: Hospital) -> None:
    body = place.body()
    body["context"]["patientId"] = "study-002"
    problem(place.call(body), 412, "data_missing")


def test_data_that_do_not_do_for_an_answer_are_412_with_the_reason(place: Hospital) -> None:
    body = place.body()
    body["prefetch"]["Observations"] = {"resourceType": "Bundle", "type": "searchset"}
    assert "'bmi'" in problem(place.call(body), 412, "data_missing")["detail"]


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"hook": "order-sign"}, 422, "rejected"),
        ({"hook": None}, 422, "rejected"),
        ({"context": {"patientId": "../x"}}, 422, "rejected"),
        ({"context": {}}, 422, "rejected"),
        ({"prefetch": []}, 422, "rejected"),
        ({"prefetch": {"record": "x" * 1_100_000}}, 413, "too_large"),
    ],
)
def test_a_call_is_bounded_and_as_the_standard_writes_it(more: dict[str, Any], status: int, code: str, place: Hospital) -> None:
    problem(place.call(place.body(**more)), status, code)


def test_what_is_no_json_is_refused(place: Hospital) -> None:
    for raw in (b"{", b"[]", b'{"hook": 1, "hook": 2}', b"[" * 100_000):
        assert place.client.post(place.service, content=raw, headers=place.signed()).status_code in (413, 422)


@pytest.mark.parametrize("flow", ["nightly", "none", "Progression", "x" * 300])
def test_a_flow_that_is_no_service_is_not_found(flow: str, place: Hospital) -> None:
    for path in (f"/cds-services/{flow}", f"/cds-services/{flow}/feedback"):
        assert problem(place.client.post(path, json={}), 404, "not_found")


def test_a_paused_flow_gives_no_card(place: Hospital) -> None:
    flows = place.api.app.state.backend.flows
    pause_flow(place.api.engine, "progression", "test", "stocktaking")
    flows.forget("progression")
    said = problem(place.call(place.body()), 503, "unavailable")
    resume_flow(place.api.engine, "progression", "test")
    flows.forget("progression")
    assert "stocktaking" not in said["detail"]
    only_card(place.call(place.body()))


def told(card: str, **more: Any) -> dict[str, Any]:
    return {"feedback": [{"card": card, "outcome": "overridden", **more}]}


def test_feedback_keeps_the_code_of_a_declared_reason_and_no_words(place: Hospital) -> None:
    card = only_card(place.call(place.body()))["uuid"]
    for system, kept in (("https://fieldline.example/reasons", "known"), ("urn:x", "undeclared")):
        why = {"reason": {"code": "known", "system": system}, "userComment": "Jane Doe said so"}
        body = told(card, overrideReason=why)
        assert place.client.post(f"{place.service}/feedback", json=body, headers=place.signed()).json() == {}
        event = place.api.events("cds.feedback")[0]
        assert (event["actor"], event["detail"]["outcome"], event["detail"]["reason"]) == (f"cds:{place.root}", "overridden", kept)
        assert event["detail"]["card"] == card
        assert "Jane" not in str(event)


def test_the_ehr_s_own_client_sends_feedback(place: Hospital) -> None:
    (card,) = called(place)["answer"]["cards"]
    order = {"service_url": place.service, "feedback": {"card": card["uuid"], "outcome": "accepted"}}
    assert place.ehr.post("/_sim/cds/feedback", json=order).json()["status"] == 200


def test_feedback_on_a_card_that_was_never_given_is_refused_as_a_whole(place: Hospital) -> None:
    card = only_card(place.call(place.body()))["uuid"]
    made_up = card[:-1] + ("0" if card[-1] != "0" else "1")
    known = len(place.api.events("cds.feedback"))
    both = {"feedback": [*told(card)["feedback"], *told(made_up)["feedback"]]}
    bodies: list[dict[str, Any]] = [both, told("x"), {"feedback": []}, {}, told(card, outcome="ignored")]
    for each in bodies:
        problem(place.client.post(f"{place.service}/feedback", json=each, headers=place.signed()), 422, "rejected")
    large = told(card, comment="x" * 70_000)
    problem(place.client.post(f"{place.service}/feedback", json=large, headers=place.signed()), 413, "too_large")
    assert len(place.api.events("cds.feedback")) == known


def test_the_specification_says_who_calls_and_what_the_card_shows(place: Hospital) -> None:
    said = place.client.get("/v1/flows/progression/specification", headers=place.api.key()).json()
    assert said["trigger"] == "an EHR that calls by CDS Hooks (patient-view)"
    places = {each["name"]: each["goes_to"] for each in said["fields_written"]}
    assert places == {"summary": ["card.summary"], "indicator": ["card.indicator"], "reason": ["card.detail"]}
    other = place.client.get("/v1/flows/ordering/specification", headers=place.api.key()).json()
    assert other["fields_written"][0]["goes_to"] == ["card.summary", "card.suggestions[0]"]


def test_no_other_site_s_script_may_read_an_answer(place: Hospital) -> None:
    headers = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    assert place.client.options("/cds-services/progression", headers=headers).status_code == 405
    answer = place.client.get("/cds-services", headers=headers)
    assert not any(name.startswith("access-control") for name in answer.headers)

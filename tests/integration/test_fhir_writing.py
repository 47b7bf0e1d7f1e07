"""What real FHIR servers do while they are written to: lost answers, copies, conflicts, people; each is a test."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from tests.fhir_server import Server, fhir_server
from tests.fhir_writing import SYSTEM, batch_of, chart, connected, fail, outcomes, slice_of, target_of

from fieldline_connectors.fhir import Fhir, FhirTarget
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.findings import Severity
from fieldline_core.ports import Checks, Dedupe, Sink, Slice
from fieldline_core.receipts import Outcome, Receipts
from fieldline_core.schema import FieldType

pytestmark = pytest.mark.soak

PROFILES = ("medplum", "wso2", "epic", "oracle")
WRITTEN, UNCHANGED, REFUSED = Outcome.WRITTEN, Outcome.UNCHANGED, Outcome.REFUSED
RISKS = {f"study-00{number}": number / 10 for number in range(1, 6)}
UPSERT = {"operation": "upsert", "resource": "Observation"}


@pytest.fixture(params=PROFILES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with fhir_server(request.param) as server:
        yield server


@pytest.fixture
def medplum() -> Iterator[Server]:
    with fhir_server("medplum") as server:
        yield server


def held(server: Server) -> dict[str, list[Any]]:
    """The predictions in the charts, by patient; what was taken back is none."""
    found: dict[str, list[Any]] = {}
    for type in ("RiskAssessment", "Observation"):
        for each in chart(server, type):
            if each["status"] != "entered-in-error":
                value = each["prediction"][0]["probabilityDecimal"] if "prediction" in each else each["valueQuantity"]["value"]
                found.setdefault(each["subject"]["reference"].removeprefix("Patient/"), []).append(value)
    return found


ONCE = {key: [value] for key, value in RISKS.items()}


def until_written(connector: Fhir, target: FhirTarget, risks: Any = RISKS, effect: str = "first") -> Receipts:
    """Writes as the engine does: again, under a greater fence, until there are receipts."""
    for fence in range(1, 60):
        try:
            return connector.write(slice_of(target, risks, effect, fence))
        except Unavailable:
            continue
    raise AssertionError("it was never written")


def test_what_is_written_is_chosen_by_what_the_server_declares(server: Server) -> None:
    with connected(server) as connector:
        assert isinstance(connector, Sink)
        assert isinstance(connector, Checks)
        receipts = connector.write(slice_of(target_of(), RISKS))
        assert connector.dedupe(target_of()) is Dedupe.QUERY
        assert connector.write(slice_of(target_of(), RISKS, fence=2)) == receipts
    profile = server.simulator.ehr.profile.name
    assert receipts.detail["resource"] == ("RiskAssessment" if profile in ("medplum", "wso2") else "Observation")
    assert outcomes(receipts) == [WRITTEN] * 5
    assert held(server) == ONCE


def test_what_the_server_does_not_take_is_told_before_anything_runs() -> None:
    with fhir_server("epic", patients=1) as server, connected(server) as connector:
        flag = target_of(resource="Flag")
        (finding,) = connector.check_target(flag, {})
        assert finding.path == "resource"
        with pytest.raises(Misconfigured, match="does not let us create Flag"):
            connector.write(slice_of(flag, RISKS))
        found = list(connector.check_target(target_of(provenance=True), {"risk": FieldType.TEXT, "decision.clock": FieldType.TEXT}))
        assert [each.path for each in found] == ["fields.prediction", "fields.at", "provenance"]
        assert found[-1].severity is Severity.WARNING


@pytest.mark.parametrize(("bundle_rows", "nth"), [(1, 2), (3, 2), (50, 1)])
def test_a_server_that_is_overloaded_is_tried_again(server: Server, bundle_rows: int, nth: int) -> None:
    busy = {"kind": "status", "status": 503, "method": "POST", "nth": nth, "retry_after": 7, "path": "/fhir*"}
    with connected(server, bundle_rows=bundle_rows) as connector:
        fail(server, busy)
        with pytest.raises(Unavailable) as caught:
            connector.write(slice_of(target_of(), RISKS))
        assert (caught.value.retry_after, caught.value.sent) == (7, nth == 2)
        with pytest.raises(Unavailable, match="asked this connection to wait"):
            connector.write(slice_of(target_of(), RISKS, fence=2))
    with connected(server, bundle_rows=bundle_rows) as later:
        assert outcomes(later.write(slice_of(target_of(), RISKS, fence=2))) == [WRITTEN] * 5
    assert held(server) == ONCE


@pytest.mark.parametrize("kind", ["drop", "hold"])
@pytest.mark.parametrize("bundle_rows", [1, 50])
def test_after_a_lost_answer_it_is_looked_for_before_it_is_sent_again(server: Server, kind: str, bundle_rows: int) -> None:
    with connected(server, bundle_rows=bundle_rows, timeout_s=0.5 if kind == "hold" else 30) as connector:
        fail(server, {"kind": kind, "method": "POST", "path": "/fhir*", "after_commit": True})
        with pytest.raises(Unavailable) as caught:
            connector.write(slice_of(target_of(), RISKS))
        assert caught.value.sent
        assert outcomes(until_written(connector, target_of())) == [WRITTEN] * 5
    assert held(server) == ONCE


def test_what_was_written_before_we_lost_our_rights_may_have_arrived(medplum: Server) -> None:
    with connected(medplum, bundle_rows=1) as connector:
        fail(medplum, {"kind": "status", "status": 403, "method": "GET", "path": "/fhir/RiskAssessment*", "nth": 2, "times": 9})
        with pytest.raises(Misconfigured) as caught:
            connector.write(slice_of(target_of(), RISKS))
    assert (caught.value.sent, held(medplum)) == (True, ONCE)


@pytest.mark.parametrize("profile", ["medplum", "wso2", "oracle"])
def test_half_an_answer_to_a_bundle_is_none(profile: str) -> None:
    with fhir_server(profile) as server, connected(server) as connector:
        fail(server, {"kind": "cut", "method": "POST", "path": "/fhir", "after_commit": True})
        with pytest.raises(Unavailable) as caught:
            connector.write(slice_of(target_of(), RISKS))
        assert caught.value.sent
        assert outcomes(connector.write(slice_of(target_of(), RISKS, fence=2))) == [WRITTEN] * 5
        assert held(server) == ONCE


def together(server: Server, count: int, slices: Any, **settings: Any) -> list[Receipts]:
    """The receipts of so many connections that write at once, each until it is done."""
    barrier = Barrier(count)

    def run(number: int) -> Receipts:
        with connected(server, **settings) as connector:
            barrier.wait()
            return until_written(connector, *slices(number))

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


@pytest.mark.soak
@pytest.mark.parametrize("bundle_rows", [1, 50])
def test_of_sixteen_writers_that_lose_answers_none_loses_or_doubles_a_row(server: Server, bundle_rows: int) -> None:
    lost = {"method": "POST", "path": "/fhir*", "times": None, "rate": 0.15}
    busy = {"kind": "status", "status": 503, "times": None, "rate": 0.05, "path": "/fhir*"}
    fail(server, {"kind": "drop", "after_commit": True, **lost}, busy)
    answers = together(server, 16, lambda number: (target_of(), RISKS), bundle_rows=bundle_rows)
    fail(server)
    assert Counter(outcome for each in answers for outcome in outcomes(each)) == {WRITTEN: 80}
    assert held(server) == ONCE


@pytest.mark.soak
@pytest.mark.parametrize("profile", ["medplum", "wso2", "oracle"])
def test_writers_that_change_the_same_record_at_once_leave_one_resource(profile: str) -> None:
    with fhir_server(profile) as server:
        target = target_of(**UPSERT)
        answers = together(server, 6, lambda number: (target, {"study-001": number / 10}, f"effect {number}"), bundle_rows=1)
        assert [outcomes(each) for each in answers] == [[WRITTEN]] * 6
        (values,) = held(server).values()
    assert len(values) == 1
    assert values[0] in [number / 10 for number in range(6)]


@pytest.mark.parametrize("profile", ["medplum", "wso2", "oracle"])
def test_a_record_is_changed_under_its_version_and_read_again_where_that_is_stale(profile: str) -> None:
    with fhir_server(profile) as server, connected(server, bundle_rows=1) as connector:
        target = target_of(**UPSERT)
        assert outcomes(connector.write(slice_of(target, {"study-001": 0.1}))) == [WRITTEN]
        send, meddled = connector._wire.send, list[str]()

        def meddling(method: str, path: str, *more: Any) -> Any:
            if method == "PUT" and not meddled:
                meddled.append(path)
                (found,) = chart(server, "Observation")
                server.root.put(f"/_sim/resources/{path}", json={**found, "issued": "2026-06-02T00:00:00Z"})
            return send(method, path, *more)

        connector._wire.send = meddling  # type: ignore[assignment, method-assign]
        assert outcomes(connector.write(slice_of(target, {"study-001": 0.2}, "second", why=None))) == [WRITTEN]
        assert meddled
        assert outcomes(connector.write(slice_of(target, {"study-001": 0.2}, "third", why=None))) == [UNCHANGED]
        (found,) = chart(server, "Observation")
    assert found["valueQuantity"]["value"] == 0.2
    assert found["issued"] == "2026-06-02T00:00:00Z", "what a person added meanwhile is kept"
    assert "note" not in found, "the reason of the earlier decision does not stay"


def test_what_a_person_gave_another_status_is_left_alone(medplum: Server) -> None:
    with connected(medplum) as connector:
        for target in (target_of(), target_of(**UPSERT)):
            connector.write(slice_of(target, {"study-001": 0.1}))
        for type in ("RiskAssessment", "Observation"):
            (found,) = chart(medplum, type)
            medplum.root.put(f"/_sim/resources/{type}/{found['id']}", json={**found, "status": "entered-in-error"})
        assert outcomes(connector.write(slice_of(target_of(), {"study-001": 0.1}, fence=2))) == [WRITTEN]
        changed = connector.write(slice_of(target_of(**UPSERT), {"study-001": 0.2}, "second"))
    assert outcomes(changed) == [Outcome.CHANGED_BY_PERSON]
    assert held(medplum) == {}
    assert len(chart(medplum, "RiskAssessment")) == len(chart(medplum, "Observation")) == 1


@pytest.mark.parametrize("profile", ["medplum", "oracle"])
def test_copies_that_the_server_made_are_taken_back_and_told(profile: str) -> None:
    with fhir_server(profile) as server, connected(server) as connector:
        target = target_of(resource="Observation")
        connector.write(slice_of(target, RISKS))
        first = chart(server, "Observation")[0]
        for number in (1, 2):
            copy = {name: value for name, value in first.items() if name != "meta"}
            server.root.put(f"/_sim/resources/Observation/z-copy-{number}", json={**copy, "id": f"z-copy-{number}"})
        receipts = connector.write(slice_of(target, RISKS, fence=2))
        (copied,) = receipts.others.values()
        left = {each["id"]: each["status"] for each in chart(server, "Observation")}
    assert outcomes(receipts) == [WRITTEN] * 5
    assert copied.reason == "the server had made 3 copies of it, one is kept"
    assert receipts.detail["rows_with_copies"] == 1
    assert left[first["id"]] == "final"
    # Oracle lets nothing be deleted: there the copies stay, marked as written by mistake.
    assert [left.get(f"z-copy-{number}") for number in (1, 2)] == [None if profile == "medplum" else "entered-in-error"] * 2


def test_an_update_adds_nothing(medplum: Server) -> None:
    target = target_of(**UPSERT)
    with connected(medplum) as connector:
        connector.write(slice_of(target, {"study-001": 0.1}))
        receipts = connector.write(slice_of(target.existing(), {"study-001": 0.3, "study-002": 0.3}, "second"))
    assert outcomes(receipts) == [WRITTEN, REFUSED]
    assert held(medplum) == {"study-001": [0.3]}


@pytest.mark.parametrize("bundle_rows", [1, 50])
def test_a_row_that_the_server_refuses_is_told_without_its_words_about_people(medplum: Server, bundle_rows: int) -> None:
    refusal = {"kind": "status", "status": 422, "code": "processing", "message": "Zoe Miller is deceased", "vendor_code": "59109"}
    fail(medplum, {"path": "/fhir", "times": 1, **refusal}, {"path": "/fhir/RiskAssessment", "method": "POST", "nth": 2, **refusal})
    with connected(medplum, bundle_rows=bundle_rows) as connector:
        receipts = connector.write(slice_of(target_of(), RISKS))
    assert outcomes(receipts) == [WRITTEN, REFUSED, WRITTEN, WRITTEN, WRITTEN]
    told = "the server refused the RiskAssessment: … is deceased [422 processing 59109]"
    assert receipts[1].reason == told
    assert set(held(medplum)) == RISKS.keys() - {"study-002"}


def test_a_patient_behind_glass_stops_no_other(medplum: Server) -> None:
    glass = {"kind": "status", "status": 403, "vendor_code": "4130", "path": "/fhir/RiskAssessment", "method": "GET"}
    fail(medplum, {**glass, "times": 3})
    with connected(medplum) as connector:
        receipts = connector.write(slice_of(target_of(), RISKS))
    assert outcomes(receipts) == [REFUSED, REFUSED, WRITTEN, WRITTEN, WRITTEN]
    assert "break the glass" in receipts[0].reason


def test_a_patient_whose_chart_is_closed_stops_no_other_but_missing_rights_are_for_a_person(medplum: Server) -> None:
    closed = {"kind": "status", "status": 403, "path": "/fhir/RiskAssessment", "method": "POST"}
    with connected(medplum, bundle_rows=1) as connector:
        fail(medplum, {**closed, "nth": 2})
        assert outcomes(connector.write(slice_of(target_of(), RISKS))) == [WRITTEN, REFUSED, WRITTEN, WRITTEN, WRITTEN]
        fail(medplum, {**closed, "times": None})
        with pytest.raises(Misconfigured, match=r"does not let us write RiskAssessment: check the scopes .* \[403 forbidden\]"):
            connector.write(slice_of(target_of(), RISKS, "second"))


def test_the_wait_of_a_server_without_retry_after_is_heeded(medplum: Server) -> None:
    fail(medplum, {"kind": "status", "status": 429, "path": "/fhir", "method": "POST", "retry_after": 59})
    with connected(medplum) as connector, pytest.raises(Unavailable) as caught:
        connector.write(slice_of(target_of(), RISKS))
    assert (caught.value.retry_after, caught.value.sent) == (59, False)


def test_a_server_of_transactions_only_gets_those_and_a_bad_row_stops_no_other(medplum: Server) -> None:
    with connected(medplum) as connector:
        connector._wire.capabilities["rest"][0]["interaction"] = [{"code": "transaction"}]
        fail(medplum, {"kind": "status", "status": 400, "path": "/fhir", "method": "POST"})
        assert outcomes(connector.write(slice_of(target_of(), RISKS))) == [WRITTEN] * 5
        assert outcomes(connector.write(slice_of(target_of(), RISKS, "second"))) == [WRITTEN] * 5
    assert held(medplum) == {key: [value, value] for key, value in RISKS.items()}


def test_a_server_without_searches_by_identifier_is_searched_by_patient_and_code() -> None:
    with fhir_server("epic") as server, connected(server) as connector:
        for each in connector._wire.capabilities["rest"][0]["resource"]:
            each["searchParam"] = [found for found in each["searchParam"] if found["name"] != "identifier"]
        fail(server, {"kind": "drop", "method": "POST", "path": "/fhir*", "after_commit": True, "nth": 3})
        assert outcomes(until_written(connector, target_of())) == [WRITTEN] * 5
    assert held(server) == ONCE


@pytest.mark.parametrize("profile", ["medplum", "wso2"])
def test_each_decision_gets_one_provenance_whatever_is_lost(profile: str) -> None:
    with fhir_server(profile) as server:
        fail(server, {"kind": "drop", "method": "POST", "path": "/fhir*", "after_commit": True, "times": None, "rate": 0.2})
        target = target_of(provenance=True)
        together(server, 4, lambda number: (target, RISKS), bundle_rows=1)
        fail(server)
        with server.simulator.ehr.store.lock:
            every = list(server.simulator.ehr.store.all("Provenance"))
        ids = sorted(f"RiskAssessment/{each['id']}" for each in chart(server, "RiskAssessment"))
    assert sorted(each["target"][0]["reference"] for each in every) == ids
    assert all(each["entity"][0]["what"]["identifier"]["system"] == SYSTEM for each in every)


def test_a_provenance_that_cannot_be_is_told_and_the_decision_stands() -> None:
    with fhir_server("oracle") as server, connected(server) as connector:
        receipts = connector.write(slice_of(target_of(provenance=True), RISKS))
    assert outcomes(receipts) == [WRITTEN] * 5
    assert receipts[0].reason.startswith("no Provenance was added: ")
    assert held(server) == ONCE


def test_the_patient_may_stand_in_a_field(medplum: Server) -> None:
    target = target_of(patient="reason", fields={"prediction": "risk", "reason": "who", "model": "m", "at": "decision.clock"})
    with connected(medplum) as connector:
        receipts = connector.write(slice_of(target, {"order 1": 0.1, "order 2": 0.2}, why="Patient/study-003"))
    assert outcomes(receipts) == [WRITTEN] * 2
    assert held(medplum) == {"study-003": [0.1, 0.2]}


@pytest.mark.soak
@pytest.mark.parametrize("profile", ["medplum", "wso2"])
@pytest.mark.parametrize("site", ["fhir.send:before#1", "fhir.send:after#1", "fhir.send:before#3", "fhir.send:after#3"])
def test_a_killed_writer_is_repeated_without_harm(profile: str, site: str) -> None:
    with fhir_server(profile) as server:
        program = (
            "from tests.fhir_writing import *;"
            f"Fhir(settings({server.simulator.fhir_url!r}, bundle_rows=2)).write(slice_of(target_of(), {RISKS!r}))"
        )
        root = __file__.rpartition("/tests/")[0]
        died = subprocess.run([sys.executable, "-c", program], env={"FIELDLINE_CRASH_AT": site}, cwd=root, capture_output=True)
        assert died.returncode == 137, died.stderr
        with connected(server) as connector:
            assert outcomes(connector.write(slice_of(target_of(), RISKS, fence=2))) == [WRITTEN] * 5
        assert held(server) == ONCE


def test_a_row_with_the_key_of_a_later_one_is_not_written(medplum: Server) -> None:
    batch = batch_of({"study-001": 0.1, "study-002": 0.2})
    twice = Slice("e" * 64, 1, target_of(), Batch.of(["study-001", "study-001"], batch.frame))
    with connected(medplum) as connector:
        assert outcomes(connector.write(twice)) == [Outcome.SUPERSEDED, WRITTEN]
    assert held(medplum) == {"study-001": [0.2]}

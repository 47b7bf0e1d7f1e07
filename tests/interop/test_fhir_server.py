"""The connector against any FHIR R4 server: what it declares, pages, views, writes, conditions. It takes away what it has written.

Skipped where FHIR_BASE_URL is not set. Point it at a test system only: it writes into the chart of one patient.

    FHIR_BASE_URL=http://localhost:8080/fhir FHIR_TOKEN=… make interop ARGS="-k test_fhir_server -rs"

| Variable | What it is |
|---|---|
| FHIR_BASE_URL | Root of the API |
| FHIR_TOKEN | A bearer token; or |
| FHIR_USER, FHIR_PASSWORD | a user for basic authentication; or |
| FHIR_CLIENT_ID, FHIR_KEY_ID, FHIR_KEY_FILE | an app of SMART Backend Services: id, `kid` and PEM file of its key; or none |
| FHIR_SCOPE | Scope of the app's token; `system/*.read system/*.write` where it is left out |
| FHIR_PATIENT | Id of the patient to write about; the first that a search gives where it is left out |
| FHIR_PRIVATE_NETWORK | The network of a server that has no public address, such as 10.0.0.0/8 |
| FHIR_CA_FILE | Certificate authority (PEM) of the server |
"""

from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.fhir_writing import outcomes, slice_of, target_of
from tests.interop.fhir import IDENTIFIERS, FhirServer, Resource, given

from fieldline_connectors.fhir import FhirQuery, FhirTarget
from fieldline_connectors.fhir.abilities import Abilities, chosen
from fieldline_core.errors import Misconfigured
from fieldline_core.receipts import Outcome

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not given("FHIR_BASE_URL"), reason="FHIR_BASE_URL is not set: it names the FHIR server to try"),
]
OBSERVATIONS = {
    "view": {"resource": "Observation", "select": [{"column": [
        {"name": "id", "path": "getResourceKey()"}, {"name": "patient", "path": "subject.getReferenceKey(Patient)"},
        {"name": "code", "path": "code.coding.first().code"},
        {"name": "value", "path": "value.ofType(Quantity).value", "type": "decimal"},
    ]}]},
}  # fmt: skip
PATIENTS = {"view": {"resource": "Patient", "select": [{"column": [
    {"name": "id", "path": "getResourceKey()"}, {"name": "gender", "path": "gender"},
    {"name": "born", "path": "birthDate", "type": "string"},
]}]}}  # fmt: skip
_FEW, _ENOUGH = 2, 5


@pytest.fixture(scope="module")
def server() -> Iterator[FhirServer]:
    made = FhirServer(given("FHIR_BASE_URL").rstrip("/"))
    yield made
    left = list(made.clean_up({"Observation", _written_type(made)} - {""}))
    made.plain.close()
    assert not left, f"what these tests wrote and could not take back: {left}"


def _written_type(server: FhirServer) -> str:
    try:
        return able(server, target(server)).type
    except Misconfigured:
        return ""


def target(server: FhirServer, **more: object) -> FhirTarget:
    """Writes a probability under the code of this run."""
    return target_of(code=server.code, identifier_system=IDENTIFIERS, **more)


def able(server: FhirServer, target: FhirTarget) -> Abilities:
    """What the server lets us write of it."""
    return chosen(server.statement, target, "the server")


def able_or_skip(server: FhirServer, target: FhirTarget) -> Abilities:
    """The same; a server that lets us write nothing of it is told so."""
    try:
        return able(server, target)
    except Misconfigured as error:
        pytest.skip(str(error))


def observation(server: FhirServer, value: float, name: str) -> Resource:
    """An observation of this run, made past the connector."""
    return {
        "resourceType": "Observation", "status": "final", "code": {"coding": [server.code], "text": "Interoperability test"},
        "identifier": [{"system": IDENTIFIERS, "value": f"{server.code['code']}-{name}"}],
        "subject": {"reference": f"Patient/{server.patient}"}, "effectiveDateTime": "2026-06-01T10:00:00Z",
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "survey"}]}],
        "valueQuantity": {"value": value, "unit": "{score}", "system": "http://unitsofmeasure.org", "code": "{score}"},
    }  # fmt: skip


def created(server: FhirServer, value: float, name: str, **headers: str) -> Resource:
    """The observation as the server has it."""
    if not server.does("Observation", "create"):
        pytest.skip("the server does not declare that Observations can be created")
    answer = server.send("POST", "Observation", observation(server, value, name), **headers)
    assert answer.status_code in (200, 201), answer.text
    path = answer.headers["location"].split("/_history/")[0].rsplit("/", 2)
    return server.send("GET", f"Observation/{path[-1]}").raise_for_status().json()


def test_we_are_signed_in_and_the_server_says_what_it_is(server: FhirServer) -> None:
    with closing(server.connector()) as connector:
        connector.check()
        types = {entity.name for entity in connector.discover().entities}
    assert server.statement["fhirVersion"].startswith("4.")
    assert {"Patient", "Observation"} <= types


def test_pages_go_on_to_the_end_and_give_each_resource_once(server: FhirServer) -> None:
    there = {each["id"] for each in server.find("Observation", patient=server.patient)}
    for number in range(max(_ENOUGH - len(there), 0)):
        there.add(created(server, number, f"page-{number}")["id"])
    query = FhirQuery.model_validate({**OBSERVATIONS, "parameters": {"patient": server.patient}})
    with closing(server.connector(page_size=_FEW)) as connector:
        pages = [page.batch for page in connector.read(query, None, 1000)]
    keys = [key for batch in pages for key in batch.keys]
    assert len(pages) > 1
    assert sorted(keys) == sorted(there)


def test_a_reading_goes_on_behind_the_page_where_it_stopped(server: FhirServer) -> None:
    there = {each["id"] for each in server.find("Observation", patient=server.patient)}
    query = FhirQuery.model_validate({**OBSERVATIONS, "parameters": {"patient": server.patient}})
    with closing(server.connector(page_size=_FEW)) as connector:
        first = next(connector.read(query, None, 1000))
    with closing(server.connector(page_size=_FEW)) as connector:
        rest = [page.batch for page in connector.read(query, first.after, 1000)]
    assert {*first.batch.keys, *(key for batch in rest for key in batch.keys)} == there


def test_a_view_gives_a_patient_and_the_observations_that_belong_to_it(server: FhirServer) -> None:
    patient = server.send("GET", f"Patient/{server.patient}").raise_for_status().json()
    there = server.find("Observation", patient=server.patient)
    belonging = FhirQuery.model_validate({**OBSERVATIONS, "key": "patient", "by": "patient"})
    with closing(server.connector()) as connector:
        (row,) = connector.lookup(FhirQuery.model_validate(PATIENTS), [server.patient]).frame.to_dicts()
        found = connector.children(belonging, [server.patient])
    assert row == {"id": server.patient, "gender": patient.get("gender"), "born": patient.get("birthDate")}
    values = {each["id"]: each["valueQuantity"].get("value") for each in there if "valueQuantity" in each}
    assert set(found.frame["id"]) == {each["id"] for each in there}
    assert set(found.keys) <= {server.patient}
    for each in found.frame.filter(found.frame["id"].is_in(list(values))).to_dicts():
        assert each["value"] == pytest.approx(values[each["id"]])


def test_a_decision_is_written_once_and_found_again(server: FhirServer) -> None:
    wanted = target(server)
    type = able_or_skip(server, wanted).type
    known = {each["id"] for each in server.ours(type)}
    with closing(server.connector()) as connector:
        for fence in (1, 2):
            receipts = connector.write(slice_of(wanted, {server.patient: 0.35}, effect=f"{server.code['code']} once", fence=fence))
            assert outcomes(receipts) == [Outcome.WRITTEN], receipts[0].reason
    (made,) = [each for each in server.ours(type) if each["id"] not in known]
    assert made["subject"]["reference"].endswith(f"Patient/{server.patient}")
    assert "0.35" in str(made)


def test_an_upsert_changes_the_resource_that_it_made(server: FhirServer) -> None:
    wanted = target(server, operation="upsert")
    type = able_or_skip(server, wanted).type
    known = {each["id"] for each in server.ours(type)}
    with closing(server.connector()) as connector:
        for risk in (0.25, 0.75):
            receipts = connector.write(slice_of(wanted, {server.patient: risk}, effect=f"{server.code['code']} {risk}"))
            assert outcomes(receipts) == [Outcome.WRITTEN], receipts[0].reason
    (made,) = [each for each in server.ours(type) if each["id"] not in known]
    assert "0.75" in str(made)


def test_a_stale_version_is_refused_where_versions_are_declared(server: FhirServer) -> None:
    if not server.does("Observation", "update") or server.declared("Observation").get("versioning") != "versioned-update":
        pytest.skip("the server does not declare versioned updates of Observation: our If-Match may be passed over there")
    first = created(server, 1, "stale")
    tag, path = f'W/"{first["meta"]["versionId"]}"', f"Observation/{first['id']}"
    changed = {**first, "valueQuantity": {**first["valueQuantity"], "value": 2}}
    assert server.send("PUT", path, changed, if_match=tag).status_code == 200
    assert server.send("PUT", path, {**changed, "status": "amended"}, if_match=tag).status_code in (409, 412)
    assert server.send("GET", path).json()["status"] == "final"


def test_a_conditional_create_adds_nothing_twice_where_it_is_declared(server: FhirServer) -> None:
    if server.declared("Observation").get("conditionalCreate") is not True:
        pytest.skip("the server does not declare conditional creates of Observation: we search before we create")
    condition = f"identifier={IDENTIFIERS}|{server.code['code']}-once"
    first = created(server, 1, "once", if_none_exist=condition)
    again = server.send("POST", "Observation", observation(server, 1, "once"), if_none_exist=condition)
    assert again.status_code == 200, again.text
    found = [each["id"] for each in server.ours("Observation") if each["identifier"] == first["identifier"]]
    assert found == [first["id"]]


def test_a_parameter_that_is_not_declared_is_refused_before_it_is_sent(server: FhirServer) -> None:
    query = FhirQuery.model_validate({**OBSERVATIONS, "parameters": {"patient": server.patient, "nobody-declares-this": "x"}})
    with closing(server.connector()) as connector, pytest.raises(Misconfigured, match="does not declare the search parameter"):
        list(connector.read(query, None, 100))

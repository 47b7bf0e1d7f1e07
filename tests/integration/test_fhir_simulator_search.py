"""The simulated FHIR server finds what a search asks for."""

from collections.abc import Iterator
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class
from tests.fhir_server import LOINC, Server, fhir_server, named, observation

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with fhir_server() as made:
        made.create({
            "resourceType": "Patient", "id": "x", "identifier": named("p1"), "gender": "female", "birthDate": "1911-05-17",
            "name": [{"family": "Müller-Lüdenscheidt", "given": ["Eva", "Maria"]}],
        })  # fmt: skip
        made.create(observation(value=5.4, effectiveDateTime="2020-02-29", identifier=named("leap"), patient="study-012"))
        made.create({
            "resourceType": "RiskAssessment", "status": "final", "identifier": named("r1"),
            "subject": {"reference": "Patient/study-002"}, "prediction": [{"probabilityDecimal": 0.83}],
            "occurrenceDateTime": "2026-06-01",
        })  # fmt: skip
        yield made


@pytest.mark.parametrize(
    ("type", "parameters", "count"),
    [
        ("Patient", {}, 13),
        ("Patient", {"_id": "study-001,study-002,none"}, 2),
        ("Patient", {"gender": "female"}, 1),
        ("Patient", {"gender:not": "female"}, 12),
        ("Patient", {"identifier": "urn:test|p1"}, 1),
        ("Patient", {"identifier": "urn:other|p1"}, 0),
        ("Patient", {"identifier": "urn:test|"}, 1),
        ("Patient", {"family": "muller"}, 1),
        ("Patient", {"name": "maria"}, 1),
        ("Patient", {"name:exact": "maria"}, 0),
        ("Patient", {"name:contains": "scheidt"}, 1),
        ("Patient", {"birthdate": "1911"}, 1),
        ("Patient", {"birthdate": "1911-05"}, 1),
        ("Patient", {"birthdate": "gt1911-05-16", "gender": "female"}, 1),
        ("Patient", {"birthdate": "ge1911-05-18", "gender": "female"}, 0),
        ("Patient", {"gender:missing": "true"}, 0),
        ("Patient", {"family:missing": "true"}, 12),
        ("Patient", {"_has:RiskAssessment:patient:probability": "gt0.8"}, 1),
        ("Patient", {"_has:Observation:patient:value-quantity": "5.4|http://unitsofmeasure.org|kg/m2"}, 1),
        ("Observation", {"code": f"{LOINC}|39156-5"}, 13),
        ("Observation", {"code": "39156-5,8478-0", "patient": "study-001"}, 2),
        ("Observation", {"subject": "Patient/study-001"}, 10),
        ("Observation", {"subject:Patient": "study-001"}, 10),
        ("Observation", {"patient": "Patient/study-001"}, 10),
        ("Observation", {"patient.identifier": "https://fieldline.example/diabetes-study/patient|3"}, 10),
        ("Observation", {"subject:Patient.name": "study patient 003"}, 10),
        ("Observation", {"value-quantity": "5.4", "code": "39156-5"}, 1),
        ("Observation", {"value-quantity": "5", "code": "39156-5"}, 1),
        ("Observation", {"value-quantity": "lt3", "code": "39156-5"}, 0),
        ("Observation", {"date": "2020-02-29"}, 1),
        ("Observation", {"date": "lt2020-03", "code": "39156-5"}, 1),
        ("Observation", {"date": "eb2020-03-01"}, 1),
        ("Observation", {"date": "sa2020-03-01", "code": "39156-5"}, 12),
        ("Observation", {"_lastUpdated": "gt2100"}, 0),
        ("RiskAssessment", {"probability": "0.83"}, 1),
    ],
)  # fmt: skip
def test_a_search_finds_so_many(server: Server, type: str, parameters: dict[str, str], count: int) -> None:
    assert len(server.find(type, **parameters)) == count


def test_pages_hold_every_match_once(server: Server) -> None:
    found = server.find("Observation", code=f"{LOINC}|39156-5", _count="4")
    assert (len(found), len(set(found))) == (13, 13)


def test_included_resources_come_beside_the_matches(server: Server) -> None:
    asked = {"identifier": "urn:test|r1", "_include": "RiskAssessment:subject"}
    entries = server.fhir.get("/RiskAssessment", params=asked).json()["entry"]
    assert [(each["resource"]["resourceType"], each["search"]["mode"]) for each in entries] == [
        ("RiskAssessment", "match"),
        ("Patient", "include"),
    ]
    back = server.fhir.get("/Patient", params={"_id": "study-002", "_revinclude": "RiskAssessment:subject"}).json()["entry"]
    assert [each["search"]["mode"] for each in back] == ["match", "include"]


def test_results_are_sorted_as_asked(server: Server) -> None:
    found = server.fhir.get("/Observation", params={"code": "39156-5", "_sort": "-value-quantity", "_count": "100"}).json()["entry"]
    values = [each["resource"]["valueQuantity"]["value"] for each in found]
    assert values == sorted(values, reverse=True)


def test_a_count_is_told_without_resources(server: Server) -> None:
    bundle = server.fhir.get("/Observation", params={"patient": "study-001", "_summary": "count"}).json()
    assert (bundle["total"], "entry" in bundle) == (10, False)


def test_a_search_can_be_posted(server: Server) -> None:
    bundle = server.fhir.post("/Observation/_search", data={"patient": "study-001", "code": "39156-5"}).json()
    assert [each["resource"]["id"] for each in bundle["entry"]] == ["study-001-bmi"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"colour": "blue"}, "Unknown search parameter: colour"),
        ({"date": "yesterday"}, "Invalid date value"),
        ({"_offset": "10001"}, "exceeds maximum"),
        ({"_count": "many"}, "_count"),
        ({"_include": "Observation:nothing"}, "Invalid _include"),
        ({"subject.colour": "blue"}, "Unknown search parameter"),
    ],
)
def test_what_cannot_be_searched_by_is_refused(server: Server, query: dict[str, str], words: str) -> None:
    answer = server.fhir.get("/Observation", params=query)
    assert answer.status_code == 400
    assert words in answer.json()["issue"][0]["details"]["text"]


def test_every_declared_parameter_is_understood(server: Server) -> None:
    statement = server.fhir.get("/metadata").json()
    samples = {"date": "2026", "quantity": "5", "number": "5", "reference": "Patient/none"}
    for kind in statement["rest"][0]["resource"]:
        for each in kind["searchParam"]:
            query = {each["name"]: samples.get(each["type"], "none"), "_summary": "count"}
            assert server.fhir.get(f"/{kind['type']}", params=query).status_code == 200, (kind["type"], each)


def test_what_the_server_gives_are_fhir_resources(server: Server) -> None:
    bundle = server.fhir.get("/Observation", params={"patient": "study-001", "_include": "Observation:subject"}).json()
    documents: list[dict[str, Any]] = [
        bundle,
        server.fhir.get("/metadata").json(),
        server.fhir.get("/Patient/none").json(),
        server.fhir.get("/Patient/study-001/_history").json(),
        server.fhir.get("/Group/diabetes-study").json(),
        *(each["resource"] for each in bundle["entry"]),
    ]
    for document in documents:
        get_fhir_model_class(document["resourceType"]).model_validate(document)

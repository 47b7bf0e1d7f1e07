"""The simulated FHIR server writes, refuses and races in the ways of four vendors."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fhir_server import Server, fhir_server, named, observation

pytestmark = pytest.mark.soak

PROFILES = ("medplum", "wso2", "epic", "oracle")


@pytest.fixture(scope="module", params=PROFILES)
def any_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with fhir_server(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with fhir_server() as made:
        yield made


def words(answer: Any) -> str:
    issue = answer.json()["issue"][0]
    return str(issue.get("details", {}).get("text") or issue.get("diagnostics"))


def test_what_is_created_can_be_read_in_each_version(any_server: Server) -> None:
    made = any_server.create(observation(identifier=named("versions")))
    assert made.status_code == 201
    place = made.headers["location"].removeprefix(any_server.simulator.fhir_url)
    id = place.split("/")[2]
    read = any_server.fhir.get(f"/Observation/{id}")
    assert read.headers["etag"] == made.headers["etag"]
    changed = {**read.json(), "status": "amended"}
    updated = any_server.fhir.put(f"/Observation/{id}", json=changed, headers={"If-Match": read.headers["etag"]})
    assert updated.status_code == 200
    assert any_server.fhir.get(place).json()["status"] == "final"
    history = any_server.fhir.get(f"/Observation/{id}/_history").json()
    assert [each["resource"]["status"] for each in history["entry"]] == ["amended", "final"]


def test_a_stale_update_is_refused_in_the_vendors_way(any_server: Server) -> None:
    id = any_server.create(observation()).headers["location"].split("/")[-3]
    etag = any_server.fhir.get(f"/Observation/{id}").headers["etag"]
    for status, expected in (("amended", 200), ("corrected", 409 if any_server.simulator.ehr.profile.name == "oracle" else 412)):
        answer = any_server.fhir.put(f"/Observation/{id}", json=observation(id=id, status=status), headers={"If-Match": etag})
        assert answer.status_code == expected


@pytest.mark.parametrize(
    ("profile", "status", "place"), [("medplum", 400, "details"), ("wso2", 422, "diagnostics"), ("epic", 422, "details")]
)
def test_a_missing_element_is_named(profile: str, status: int, place: str) -> None:
    with fhir_server(profile, patients=1) as server:
        answer = server.create({"resourceType": "Observation", "code": {"text": "x"}})
    assert (answer.status_code, place in answer.json()["issue"][0]) == (status, True)
    assert answer.json()["issue"][0]["expression"] == ["Observation.status"]


@pytest.mark.parametrize(
    ("profile", "type", "method", "status"),
    [
        ("epic", "RiskAssessment", "POST", 404),
        ("epic", "Flag", "POST", 405),
        ("epic", "Provenance", "POST", 405),
        ("oracle", "Flag", "POST", 404),
        ("oracle", "Task", "POST", 404),
        ("medplum", "RiskAssessment", "POST", 201),
        ("wso2", "RiskAssessment", "POST", 201),
        ("medplum", "RiskAssessment", "PUT", 404),
        ("wso2", "RiskAssessment", "PUT", 201),
        ("epic", "Observation", "PATCH", 405),
        ("oracle", "Observation", "PATCH", 405),
        ("epic", "Observation", "DELETE", 405),
    ],
)
def test_a_vendor_refuses_what_it_does_not_declare(profile: str, type: str, method: str, status: int) -> None:
    resource = {"resourceType": type, "id": "new", "status": "final", "subject": {"reference": "Patient/study-001"}}
    with fhir_server(profile, patients=1) as server:
        url = f"/{type}" if method == "POST" else f"/{type}/new"
        assert server.fhir.request(method, url, json=resource).status_code == status
        declared = {each["type"]: each for each in server.fhir.get("/metadata").json()["rest"][0]["resource"]}
    names = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    interactions = [each["code"] for each in declared.get(type, {}).get("interaction", ())]
    assert (names[method] in interactions) == (status in (200, 201) or method == "PUT")


def test_an_unknown_parameter_has_four_answers() -> None:
    seen = {}
    for profile in PROFILES:
        with fhir_server(profile, patients=3) as server:
            answer = server.fhir.get("/Observation", params={"colour": "blue", "patient": "study-001"})
            modes = Counter(each["search"]["mode"] for each in answer.json().get("entry", ()))
            seen[profile] = answer.status_code, dict(modes)
    assert seen == {"medplum": (400, {}), "wso2": (200, {}), "epic": (200, {"match": 10, "outcome": 1}), "oracle": (400, {})}


def test_a_patch_with_a_test_heeds_the_version(server: Server) -> None:
    made = server.create(observation()).json()
    url, change = f"/Observation/{made['id']}", {"op": "replace", "path": "/status", "value": "amended"}
    version = {"op": "test", "path": "/meta/versionId", "value": made["meta"]["versionId"]}
    json_patch = {"Content-Type": "application/json-patch+json"}
    assert server.fhir.patch(url, json=[version, change], headers=json_patch).status_code == 200
    stale = server.fhir.patch(url, json=[version, {**change, "value": "corrected"}], headers=json_patch)
    assert stale.status_code == 400
    assert server.fhir.get(url).json()["status"] == "amended"
    # As on the real server, the header alone does not help.
    assert server.fhir.patch(url, json=[change], headers={**json_patch, "If-Match": 'W/"stale"'}).status_code == 200


@pytest.mark.parametrize(
    "operations",
    [
        {"op": "add"},
        [{"op": "no"}],
        [{"op": "remove", "path": "/nothing"}],
        ["x"],
        [{"op": "replace", "path": "/id", "value": "y"}],
    ],
)
def test_a_patch_that_cannot_be_applied_is_refused(server: Server, operations: Any) -> None:
    id = server.create(observation()).json()["id"]
    assert server.fhir.patch(f"/Observation/{id}", json=operations).status_code == 400


def test_conditional_writes_find_what_is_there(server: Server) -> None:
    condition = "identifier=urn:test|once"
    resource = observation(identifier=named("once"))
    first, again = (server.create(resource, If_None_Exist=condition) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    put = server.fhir.put(f"/Observation?{condition}", json={**resource, "status": "amended"})
    assert (put.status_code, put.json()["id"]) == (200, first.json()["id"])
    server.create(resource)
    assert server.create(resource, If_None_Exist=condition).status_code == 412
    assert server.fhir.put(f"/Observation?{condition}", json=resource).status_code == 412
    assert server.fhir.delete(f"/Observation?{condition}").status_code == 412


def test_a_condition_is_passed_over_in_silence_where_it_is_not_declared() -> None:
    for profile in ("epic", "oracle"):
        with fhir_server(profile, patients=1) as server:
            given = observation(identifier=named("twice"))
            assert [server.create(given, If_None_Exist="identifier=urn:test|twice").status_code for _ in range(2)] == [201, 201]
            assert len(server.find("Observation", patient="study-001", identifier="urn:test|twice")) == 2
            assert server.fhir.put("/Observation?identifier=urn:test|twice", json=given).status_code == 405


def test_what_is_deleted_is_gone_and_keeps_its_history(server: Server) -> None:
    id = server.create(observation()).json()["id"]
    assert server.fhir.delete(f"/Observation/{id}").status_code == 200
    assert server.fhir.get(f"/Observation/{id}").status_code == 410
    assert id not in server.find("Observation", patient="study-001", _count="1000")
    assert len(server.fhir.get(f"/Observation/{id}/_history").json()["entry"]) == 2


def test_an_unchanged_update_keeps_its_version_only_on_medplum() -> None:
    for profile, versions in (("medplum", 1), ("wso2", 2)):
        with fhir_server(profile, patients=1) as server:
            made = server.create(observation()).json()
            server.fhir.put(f"/Observation/{made['id']}", json=made)
            assert server.fhir.get(f"/Observation/{made['id']}/_history").json()["total"] == versions


def test_sixteen_conditional_creates_leave_as_many_copies_as_on_the_real_servers() -> None:
    for profile, copies in (("medplum", 1), ("wso2", 3)):
        with fhir_server(profile, patients=1, race_window_s=2.0) as server:
            given = {"json": observation(identifier=named("race")), "headers": {"If-None-Exist": "identifier=urn:test|race"}}
            statuses = Counter(server.together(16, "POST", "/Observation", **given))
            assert statuses[201] == copies
            assert set(statuses) == ({201, 200} if profile == "medplum" else {201, 412})
            assert len(server.find("Observation", identifier="urn:test|race")) == copies


def test_sixteen_conditional_updates_end_as_on_the_real_servers() -> None:
    for profile, copies, loser in (("medplum", 1, 409), ("wso2", 2, 412)):
        with fhir_server(profile, patients=1, race_window_s=2.0) as server:
            resource = observation(identifier=named("race"))
            statuses = Counter(server.together(16, "PUT", "/Observation?identifier=urn:test|race", json=resource))
            assert (statuses[201], loser in statuses) == (copies, True)
            assert len(server.find("Observation", identifier="urn:test|race")) == copies


def test_half_of_eight_blind_updates_conflict_on_medplum() -> None:
    with fhir_server(patients=1, race_window_s=2.0) as server:
        id = server.create(observation()).json()["id"]
        numbers = iter(range(8))
        statuses = Counter(server.together(8, "PUT", f"/Observation/{id}", json=observation(id=id, value=next(numbers) + 40)))
        assert statuses == {200: 4, 409: 4}


def test_a_transaction_is_done_as_a_whole(server: Server) -> None:
    patient = {"resourceType": "Patient", "name": [{"family": "New"}], "identifier": named("in-bundle")}
    about = observation(subject={"reference": "urn:uuid:1"}, identifier=named("in-bundle"))
    entries = [
        {"request": {"method": "POST", "url": "Observation"}, "resource": about},
        {"fullUrl": "urn:uuid:1", "request": {"method": "POST", "url": "Patient"}, "resource": patient},
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    done = server.fhir.post("", json=bundle)
    assert done.status_code == 200, done.text
    assert [each["response"]["status"] for each in done.json()["entry"]] == ["201", "201"]
    made = done.json()["entry"][0]["resource"]
    assert server.find("Patient", identifier="urn:test|in-bundle") == [made["subject"]["reference"].removeprefix("Patient/")]
    broken = {"request": {"method": "POST", "url": "Observation"}, "resource": {"resourceType": "Observation"}}
    refused = server.fhir.post("", json={**bundle, "entry": [*entries, broken]})
    assert (refused.status_code, words(refused)) == (400, "Entry 2: Missing required property")
    assert len(server.find("Patient", identifier="urn:test|in-bundle")) == 1
    asked = {"request": {"method": "GET", "url": "Patient?identifier=urn:test|in-bundle"}}
    batch = server.fhir.post("", json={**bundle, "type": "batch", "entry": [broken, asked, entries[1]]}).json()
    assert [each["response"]["status"] for each in batch["entry"]] == ["400", "200", "201"]
    assert len(batch["entry"][1]["resource"]["entry"]) == 1


def test_wso2_lets_an_invalid_entry_of_a_transaction_in() -> None:
    entry = {"request": {"method": "POST", "url": "Observation"}, "resource": {"resourceType": "Observation"}}
    with fhir_server("wso2", patients=1) as server:
        answer = server.fhir.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
        assert answer.json()["entry"][0]["response"]["status"] == "201"


def test_oracle_takes_batches_alone_repeats_ids_and_wants_a_patient() -> None:
    with fhir_server("oracle") as server:
        assert server.fhir.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": []}).status_code == 400
        assert server.fhir.post("", json={"resourceType": "Bundle", "type": "batch", "entry": []}).status_code == 200
        assert server.fhir.get("/Observation", params={"code": "39156-5"}).status_code == 400
        found = server.find("Observation", patient="study-001", _count="4")
        assert (len(found), len(set(found))) == (12, 10)


def test_epic_caps_pages_and_ends_their_sessions() -> None:
    with fhir_server("epic", patients=30) as server:
        bundle = server.fhir.get("/Observation", params={"_count": "500"}).json()
        assert [each["search"]["mode"] for each in bundle["entry"]] == ["match"] * 100 + ["outcome"]
        following = next(link["url"] for link in bundle["link"] if link["relation"] == "next")
        assert server.fhir.get(following).status_code == 200
        server.root.post("/_sim/expire-pages")
        expired = server.fhir.get(following)
        assert (expired.status_code, expired.json()["issue"][0]["details"]["coding"][0]["code"]) == (400, "4113")
        posted = server.fhir.post("/Observation/_search?patient=study-001", data={"code": "39156-5"}).json()
        assert posted["total"] == 30


def test_records_outlive_the_process_in_a_file(tmp_path: Path) -> None:
    with fhir_server("wso2", patients=2, state=tmp_path / "ehr.db") as server:
        made = server.create(observation()).json()
        server.fhir.put(f"/Observation/{made['id']}", json={**made, "status": "amended"})
    with fhir_server("wso2", patients=2, state=tmp_path / "ehr.db") as server:
        read = server.fhir.get(f"/Observation/{made['id']}")
        assert (read.headers["etag"], read.json()["status"]) == ('W/"2"', "amended")
        assert len(server.find("Patient")) == 2
        assert server.create(observation()).json()["id"] != made["id"]


def test_the_same_seed_gives_the_same_ids() -> None:
    made = []
    for seed in (1, 1, 2):
        with fhir_server(patients=1, seed=seed) as server:
            made.append(server.create(observation()).json()["id"])
    assert made[0] == made[1] != made[2]


def test_the_users_bundles_are_loaded_with_their_references(tmp_path: Path) -> None:
    patient = {"resourceType": "Patient", "id": "mine", "name": [{"family": "Given"}]}
    about = observation(subject={"reference": "urn:uuid:9"}, id="theirs")
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [
        {"fullUrl": "urn:uuid:9", "resource": patient, "request": {"method": "POST", "url": "Patient"}},
        {"resource": about, "request": {"method": "POST", "url": "Observation"}},
    ]}  # fmt: skip
    (tmp_path / "one.json").write_text(json.dumps(bundle))
    (tmp_path / "two.ndjson").write_text(json.dumps({"resourceType": "Organization", "id": "org", "name": "Clinic"}) + "\n")
    with fhir_server(patients=0, bundles=tmp_path) as server:
        assert server.fhir.get("/Observation/theirs").json()["subject"] == {"reference": "Patient/mine"}
        assert server.find("Organization", name="clin") == ["org"]

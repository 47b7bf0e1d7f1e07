"""Reading over FHIR: pages, changes, keys, what an empty search means, signing in, and refusals in our words."""

import base64
import itertools
import json
from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from pydantic import ValidationError
from tests.fhir_script import Asked, Script, ScriptedServer, bundle, capabilities, serving

from fieldline_connectors.fhir import Fhir, FhirConfig, FhirQuery
from fieldline_core.errors import Misconfigured, Rejected, Unavailable
from fieldline_core.ports import Children, Cursor, Discovers, Lookup, Page, Source
from fieldline_core.secret import Secret

VIEW = {"resource": "Observation", "select": [{"column": [
    {"name": "id", "path": "getResourceKey()", "type": "id"}, {"name": "patient", "path": "subject.getReferenceKey(Patient)"},
    {"name": "value", "path": "value.ofType(Quantity).value", "type": "decimal"},
]}]}  # fmt: skip


def observation(id: str, value: float, patient: str = "p1", updated: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    return {
        "resourceType": "Observation", "id": id, "meta": {"versionId": "1", "lastUpdated": updated},
        "subject": {"reference": f"Patient/{patient}"}, "valueQuantity": {"value": value},
    }  # fmt: skip


def query(**more: Any) -> FhirQuery:
    return FhirQuery.model_validate({"view": VIEW, **more})


def connector(server: ScriptedServer, **more: Any) -> Fhir:
    fhir = Fhir(FhirConfig.model_validate(server.settings(**more)))
    server.clients.callback(fhir.close)
    return fhir


def answering(*pages: Any, declared: tuple[str, ...] = ()) -> Script:
    """Metadata, and then the pages one after the other; the last one again and again."""
    left = [*pages]

    def script(asked: Asked) -> tuple[int, Any]:
        if asked.path.endswith("/metadata"):
            return 200, capabilities(*declared)
        found = left.pop(0) if len(left) > 1 else left[0]
        return found if isinstance(found, tuple) else (200, found)

    return script


def keys(pages: list[Page]) -> list[list[str]]:
    return [page.batch.keys.to_list() for page in pages]


def test_a_fhir_connector_offers_what_a_source_offers() -> None:
    fhir = Fhir(FhirConfig.model_validate({"base_url": "https://ehr.example/fhir/"}))
    assert all(isinstance(fhir, ability) for ability in (Source, Lookup, Children, Discovers))


def test_pages_follow_opaque_links_and_leave_out_what_comes_again() -> None:
    with serving(answering(bundle(observation("1", 1), observation("2", 2), next="/fhir?token=abc"),
                           bundle(observation("2", 2), observation("3", 3)))) as server:  # fmt: skip
        pages = [*connector(server, page_size=2).read(query(parameters={"code": "a|b"}), None, 10)]
    assert keys(pages) == [["1", "2"], ["3"]]
    assert pages[0].batch.frame["value"].to_list() == [1.0, 2.0]
    first, second = server.searches()
    assert first.parameters == [("code", "a|b"), ("_count", "2")]
    assert (second.path, second.parameters) == ("/fhir", [("token", "abc")])


def test_a_reading_goes_on_behind_its_cursor_and_ends() -> None:
    with serving(answering(bundle(observation("1", 1), next="/fhir?p=2"), bundle(observation("2", 2)))) as server:
        fhir = connector(server)
        first = next(fhir.read(query(), None, 10))
        rest = [*fhir.read(query(), json.loads(json.dumps(first.after)), 10)]
        assert keys(rest) == [["2"]]
        assert [*fhir.read(query(), rest[-1].after, 10)] == []


def test_a_page_of_the_server_is_split_at_the_limit() -> None:
    with serving(answering(bundle(*(observation(str(number), number) for number in range(5))))) as server:
        pages = [*connector(server).read(query(), None, 2)]
    assert keys(pages) == [["0", "1"], ["2", "3"], ["4"]]
    assert [page.after.get("end") for page in pages] == [None, None, True]


def test_a_search_whose_session_has_ended_is_made_again() -> None:
    ended = {"resourceType": "OperationOutcome", "issue": [{"code": "processing", "details": {"coding": [{"code": "4113"}]}}]}
    with serving(answering(bundle(observation("1", 1), next="/fhir?p=2"), (400, ended),
                           bundle(observation("1", 1), observation("2", 2)))) as server:  # fmt: skip
        assert keys([*connector(server).read(query(), None, 10)]) == [["1"], ["2"]]


def test_a_reading_that_goes_on_where_its_search_has_ended_skips_nothing_of_the_new_one() -> None:
    four = [observation(str(number), number) for number in range(4)]
    with serving(answering(bundle(observation("9", 9), next="/fhir?p=2"), bundle(*four), (410, {}), bundle(*four))) as server:
        fhir = connector(server)
        *_, behind_two = itertools.islice(fhir.read(query(), None, 2), 2)
        rest = [*fhir.read(query(), json.loads(json.dumps(behind_two.after)), 2)]
        assert (behind_two.after["skip"], keys(rest)) == (2, [["0", "1"], ["2", "3"]])
        assert "next" not in rest[0].after
    # Such a run may have a record twice: its chunks look at each other's decisions.
    assert query().repeats
    assert not query(export={}).repeats


def test_a_server_that_ends_each_search_before_its_last_page_is_told() -> None:
    ended: list[Any] = [bundle(observation("1", 1), next="/fhir?p=2"), (404, {})] * 6
    with serving(answering(*ended)) as server, pytest.raises(Unavailable, match="before their last page"):
        [*connector(server).read(query(), None, 10)]


def test_a_run_whose_search_is_ended_again_and_again_ends_though_each_reading_of_it_gets_on() -> None:
    def script(asked: Asked) -> tuple[int, Any]:
        if asked.path.endswith("/metadata"):
            return 200, capabilities()
        page = int(dict(asked.parameters).get("p", 1))
        return (200, bundle(observation(str(page), page), next=f"/fhir?p={page + 1}")) if page < 3 else (404, {})

    after: Cursor | None = None

    def reading(fhir: Fhir) -> None:
        nonlocal after
        with suppress(Unavailable):
            for page in fhir.read(query(), after, 10):
                after = json.loads(json.dumps(page.after))

    with serving(script) as server:
        fhir = connector(server)
        for _ in "12":
            reading(fhir)
        with pytest.raises(Rejected, match="narrow the query"):
            reading(fhir)


def test_a_reading_that_goes_on_with_a_first_page_skips_nothing_of_it() -> None:
    rows = [observation(str(number), number) for number in range(4)]
    with serving(answering(bundle(*rows), bundle(*rows[1:], rows[0]))) as server:
        fhir = connector(server)
        first = next(fhir.read(query(), None, 2))
        rest = [*fhir.read(query(), json.loads(json.dumps(first.after)), 2)]
    assert keys([first, *rest]) == [["0", "1"], ["1", "2"], ["3", "0"]]


def test_changes_are_read_from_the_overlap_before_the_newest() -> None:
    changed = query(changes=True, overlap_s=600)
    assert changed.incremental
    with serving(answering(bundle(observation("1", 1, updated="2026-01-02T05:00:00+02:00")), bundle())) as server:
        fhir = connector(server)
        first = [*fhir.read(changed, None, 10)]
        second = [*fhir.read(changed, first[-1].after, 10)]
    assert server.searches()[0].parameters[0] == ("_sort", "_lastUpdated")
    assert ("_lastUpdated", "ge2026-01-02T02:50:00.000+00:00") in server.searches()[1].parameters
    assert second[-1].after["since"] == first[-1].after["since"]


def test_a_search_by_post_keeps_its_parameters_out_of_the_address() -> None:
    with serving(answering(bundle(observation("1", 1)))) as server:
        [*connector(server, search_by="post").read(query(parameters={"code": ("a", "b")}), None, 10)]
    asked = server.searches()[0]
    assert (asked.method, asked.path) == ("POST", "/fhir/Observation/_search")
    assert asked.parameters == [("code", "a"), ("code", "b"), ("_count", "100")]


def test_what_is_read_along_gives_the_rows() -> None:
    asked = query(search="Patient", revinclude=["Observation:subject"])
    with serving(answering(bundle({"resourceType": "Patient", "id": "p1"}, observation("1", 1)))) as server:
        assert keys([*connector(server).read(asked, None, 10)]) == [["1"]]
    assert server.searches()[0].path == "/fhir/Patient"
    assert ("_revinclude", "Observation:subject") in server.searches()[0].parameters


def test_rows_are_found_by_their_key_or_by_what_they_belong_to() -> None:
    with serving(answering(bundle(observation("1", 1), observation("2", 2, "p2"), observation("3", 3, "p9")))) as server:
        fhir = connector(server)
        assert fhir.lookup(query(), ["1", "2", "gone"]).keys.to_list() == ["1", "2"]
        found = fhir.children(query(key="patient", by="patient"), ["p1", "p2,x"])
        assert found.keys.to_list() == ["p1"]
    assert ("patient", r"p1,p2\,x") in server.searches()[1].parameters


def test_a_server_that_takes_one_patient_at_a_time_is_asked_so() -> None:
    with serving(answering(*[bundle(observation(f"o{each}", 1, f"p{each}")) for each in range(3)])) as server:
        found = connector(server, search_rows=1).children(query(key="patient", by="patient"), ["p0", "p1", "p2"])
        assert found.keys.to_list() == ["p0", "p1", "p2"]
        assert [dict(asked.parameters)["patient"] for asked in server.searches()] == ["p0", "p1", "p2"]


def test_an_undeclared_parameter_is_refused() -> None:
    with serving(answering(bundle(observation("1", 1)), declared=("patient",))) as server:
        with pytest.raises(Misconfigured, match="does not declare the search parameter code of Observation"):
            [*connector(server).read(query(parameters={"code": "a"}), None, 10)]
        assert keys([*connector(server).read(query(changes=True), {"since": "2026-01-01T00:00:00+00:00"}, 10)]) == [["1"]]


def test_nothing_found_means_nothing_only_where_every_parameter_is_declared() -> None:
    since = {"since": "2026-01-01T00:00:00+00:00"}
    with serving(answering(bundle(), declared=("patient",))) as server, pytest.raises(Misconfigured, match="may not mean"):
        [*connector(server).read(query(changes=True), since, 10)]
    with serving(answering(bundle())) as server:
        assert keys([*connector(server).read(query(changes=True), since, 10)]) == [[]]


def test_a_next_page_at_another_address_is_not_followed() -> None:
    page = bundle(observation("1", 1), next="https://elsewhere.example/fhir?p=2")
    with serving(answering(page)) as server, pytest.raises(Misconfigured, match="another address"):
        [*connector(server).read(query(), None, 10)]


OUTCOME = {"issue": [{"code": "structure", "details": {"text": "Jane Doe has no such"}, "expression": ["Observation.status"]}]}


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (400, OUTCOME, Misconfigured, r"… has no such \[Observation.status, structure\]"),
        (403, OUTCOME, Misconfigured, "check the credentials"),
        (429, OUTCOME, Unavailable, "429"),
        (503, "no JSON object", Unavailable, "503"),
        (403, {"issue": [{"details": {"coding": [{"code": "4130"}]}}]}, Rejected, "break the glass"),
    ],
)
def test_a_refusal_is_told_without_a_person_s_data(status: int, body: Any, error: type[Exception], words: str) -> None:
    with serving(answering((status, body))) as server, pytest.raises(error, match=words) as caught:
        [*connector(server).read(query(), None, 10)]
    assert "Jane" not in str(caught.value)


def test_a_server_of_another_version_or_of_none_is_told() -> None:
    newer = {"resourceType": "CapabilityStatement", "fhirVersion": "5.0.0"}
    with serving(lambda asked: (200, newer)) as server, pytest.raises(Misconfigured, match=r"speaks FHIR 5\.0\.0"):
        connector(server).check()
    with serving(lambda asked: (200, {"hello": 1})) as server, pytest.raises(Misconfigured, match="no FHIR server"):
        connector(server).check()


def test_the_types_that_can_be_searched_are_discovered() -> None:
    with serving(answering(bundle())) as server:
        assert [entity.name for entity in connector(server).discover().entities] == ["Observation", "Patient"]


def test_a_query_names_a_column_of_its_view_and_leaves_our_parameters_alone() -> None:
    with pytest.raises(ValidationError, match="no column 'nobody'"):
        query(key="nobody")
    with pytest.raises(ValidationError, match="_count is set by Fieldline"):
        query(parameters={"_count": "5"})
    with pytest.raises(ValidationError, match="is no FHIRPath"):
        FhirQuery.model_validate({"view": {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "id("}]}]}})


@pytest.mark.parametrize("alg", ["RS384", "ES384"])
def test_a_signed_assertion_gives_a_token_that_is_kept_and_renewed_once(alg: str) -> None:
    key = rsa.generate_private_key(65537, 2048) if alg == "RS384" else ec.generate_private_key(ec.SECP384R1())
    refused, assertions = ["t1"], list[str]()

    def script(asked: Asked) -> tuple[int, Any]:
        if asked.path.endswith("smart-configuration"):
            return 200, {"token_endpoint": f"{server.url}/token"}
        if asked.path.endswith("/token"):
            assertions.append(dict(asked.parameters)["client_assertion"])
            return 200, {"access_token": f"t{len(assertions)}", "expires_in": 300}
        if asked.headers["authorization"].removeprefix("Bearer ") in refused:
            return 401, {}
        return 200, capabilities() if asked.path.endswith("/metadata") else bundle(observation("1", 1))

    with serving(script) as server:
        login = {"flow": "smart", "client_id": "app", "private_key": Secret(_pem(key)), "key_id": "k1"}
        fhir = connector(server, login=login)
        assert keys([*fhir.read(query(), None, 10)]) == [["1"]]
        assert keys([*fhir.read(query(), None, 10)]) == [["1"]]
        refused.append("t2")
        refused.append("t3")
        with pytest.raises(Misconfigured, match="check the credentials"):
            [*fhir.read(query(), None, 10)]
    claims = [_verified(each, key, alg) for each in assertions]
    assert len(claims) == 3
    assert len({each["jti"] for each in claims}) == 3
    assert all(each["iss"] == each["sub"] == "app" and each["aud"] == f"{server.url}/token" for each in claims)
    assert all(0 < each["exp"] - each["iat"] <= 300 for each in claims)


def test_plain_logins_are_sent() -> None:
    for login, sent in (
        ({"flow": "bearer", "token": Secret("abc")}, "Bearer abc"),
        ({"flow": "basic", "user": "u", "password": Secret("p")}, "Basic " + base64.b64encode(b"u:p").decode()),
    ):
        with serving(answering(bundle(observation("1", 1)))) as server:
            [*connector(server, login=login).read(query(), None, 10)]
        assert {asked.headers["authorization"] for asked in server.asked} == {sent}


def _pem(key: Any) -> str:
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return str(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain).decode())


def _verified(assertion: str, key: Any, alg: str) -> dict[str, Any]:
    """The claims of an assertion, its signature checked."""
    header, claims, signature = (base64.urlsafe_b64decode(part + "==") for part in assertion.split("."))
    assert json.loads(header) == {"alg": alg, "kid": "k1", "typ": "JWT"}
    signed = assertion.rpartition(".")[0].encode()
    if alg == "RS384":
        key.public_key().verify(signature, signed, padding.PKCS1v15(), SHA384())
    else:
        numbers = (int.from_bytes(half, "big") for half in (signature[:48], signature[48:]))
        key.public_key().verify(encode_dss_signature(*numbers), signed, ec.ECDSA(SHA384()))
    found: dict[str, Any] = json.loads(claims)
    return found

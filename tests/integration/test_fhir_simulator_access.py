"""The simulated FHIR server lets in who it should, and fails when it is told to."""

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from tests.fhir_server import Server, fhir_server, named, observation

from fieldline_simulators.fhir import CLIENT_ID, CLIENT_SECRET, PASSWORD, USER

pytestmark = pytest.mark.soak

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC = ec.generate_private_key(ec.SECP384R1())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with fhir_server("epic") as made:
        keys = [
            {**RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "rsa"},
            {**RSAAlgorithm.to_jwk(WEAK.public_key(), as_dict=True), "kid": "weak"},
            {**ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "kid": "ec"},
        ]
        made.root.put("/_sim/clients/backend", json={"scope": "system/*.rs system/Observation.c", "keys": {"keys": keys}})
        yield made


def smart(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.fhir.get("/.well-known/smart-configuration").json()
    return found


def assertion(server: Server, key: Any = EC, kid: str = "ec", algorithm: str = "ES384", **changed: Any) -> str:
    claims = {
        "iss": "backend", "sub": "backend", "aud": smart(server)["token_endpoint"], "exp": int(time.time()) + 240,
        "jti": str(uuid.uuid4()), **changed,
    }  # fmt: skip
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm, headers={"kid": kid})


def ask(server: Server, signed: str, scope: str = "system/*.rs") -> httpx.Response:
    form = {
        "grant_type": "client_credentials", "client_assertion": signed, "scope": scope,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }  # fmt: skip
    return server.root.post(smart(server)["token_endpoint"], data=form)


@pytest.mark.parametrize(("key", "kid", "algorithm"), [(EC, "ec", "ES384"), (RSA, "rsa", "RS384")])
def test_a_signed_assertion_gives_a_token(server: Server, key: Any, kid: str, algorithm: str) -> None:
    token = ask(server, assertion(server, key, kid, algorithm)).json()["access_token"]
    answer = server.root.get("/fhir/Patient/study-001", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"aud": "https://elsewhere.example/token"}, "udience"),
        ({"exp": 1_000_000}, "expired"),
        ({"exp": 4_000_000_000}, "five minutes"),
        ({"jti": None}, "jti"),
        ({"iss": "nobody"}, "Unknown client"),
        ({"sub": "another"}, "ubject"),
        ({"kid": "rsa"}, "assertion"),
        ({"kid": "none"}, "kid"),
        ({"key": WEAK, "kid": "weak", "algorithm": "RS384"}, "2048"),
        ({"key": "x" * 64, "algorithm": "HS384"}, "RS384"),
        ({"key": RSA, "kid": "rsa", "algorithm": "RS256"}, "RS384"),
    ],
)
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_an_assertion_that_does_not_hold_gives_none(server: Server, given: dict[str, Any], words: str) -> None:
    answer = ask(server, assertion(server, **given))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")
    assert words in answer.json()["error_description"]


def test_an_assertion_is_good_once_except_on_medplum(server: Server) -> None:
    signed = assertion(server)
    assert [ask(server, signed).status_code for _ in range(2)] == [200, 400]
    with fhir_server("medplum", patients=0) as medplum:
        key = {**ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "kid": "ec"}
        medplum.root.put("/_sim/clients/backend", json={"keys": {"keys": [key]}})
        again = assertion(medplum)
        assert [ask(medplum, again).status_code for _ in range(2)] == [200, 200]


def test_scopes_are_enforced(server: Server) -> None:
    def may(scope: str) -> list[int]:
        token = ask(server, assertion(server), scope).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        read = server.root.get("/fhir/Patient/study-001", headers=headers)
        created = server.root.post("/fhir/Observation", json=observation(), headers=headers)
        return [read.status_code, created.status_code]

    assert may("system/*.rs") == [200, 403]
    assert may("system/Observation.c") == [403, 201]
    assert may("system/*.rs system/Observation.c") == [200, 201]
    assert ask(server, assertion(server), "system/*.*").json()["error"] == "invalid_scope"


def test_a_secret_a_password_and_nothing(server: Server) -> None:
    form = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    token = server.root.post("/auth/token", data=form).json()["access_token"]
    assert server.root.get("/fhir/Patient", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert server.root.post("/auth/token", data={**form, "client_secret": "wrong"}).status_code == 400
    assert server.root.get("/fhir/Patient", auth=(USER, PASSWORD)).status_code == 200
    assert server.root.get("/fhir/Patient").status_code == 401
    assert server.root.get("/fhir/metadata").status_code == 200
    server.root.post("/_sim/expire-tokens")
    assert server.root.get("/fhir/Patient", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def order(server: Server, *faults: dict[str, Any]) -> None:
    server.root.put("/_sim/faults", json=list(faults)).raise_for_status()


@pytest.fixture
def medplum() -> Iterator[Server]:
    with fhir_server(patients=1) as made:
        yield made


def test_a_throttled_request_is_told_when_to_come_again(server: Server, medplum: Server) -> None:
    fault = {"kind": "status", "status": 429, "retry_after": 7}
    order(server, fault)
    answer = server.fhir.get("/Patient")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    order(medplum, fault)
    answer = medplum.fhir.get("/Patient")
    assert (answer.headers["ratelimit"], "retry-after" in answer.headers) == ('"requests";r=0;t=7', False)
    assert answer.json()["issue"][0]["code"] == "throttled"
    assert medplum.fhir.get("/Patient").status_code == 200


@pytest.mark.parametrize("kind", ["drop", "cut", "status"])
def test_an_answer_is_lost_after_the_write(medplum: Server, kind: str) -> None:
    order(medplum, {"kind": kind, "method": "POST", "after_commit": True})
    if kind == "status":
        assert medplum.create(observation(identifier=named("lost"))).status_code == 503
    else:
        with pytest.raises(httpx.RemoteProtocolError):
            medplum.create(observation(identifier=named("lost")))
    assert len(medplum.find("Observation", identifier="urn:test|lost")) == 1


def test_a_connection_ends_before_anything_is_done(medplum: Server) -> None:
    order(medplum, {"kind": "drop", "method": "POST", "path": "/fhir/Observation"})
    with pytest.raises(httpx.RemoteProtocolError):
        medplum.create(observation(identifier=named("lost")))
    assert medplum.find("Observation", identifier="urn:test|lost") == []


def test_a_held_answer_ends_when_the_client_gives_up(medplum: Server) -> None:
    order(medplum, {"kind": "hold", "after_commit": True, "method": "POST"})
    with pytest.raises(httpx.ReadTimeout):
        medplum.fhir.post("/Observation", json=observation(identifier=named("held")), timeout=0.5)
    assert len(medplum.find("Observation", identifier="urn:test|held")) == 1


def test_the_same_seed_strikes_the_same_requests(medplum: Server) -> None:
    seen = []
    for _ in range(2):
        order(medplum, {"kind": "status", "rate": 0.5, "times": None})
        seen.append([medplum.fhir.get("/metadata").status_code for _ in range(12)])
    assert seen[0] == seen[1]
    assert set(seen[0]) == {200, 503}


def test_an_expired_token_is_refused_once(medplum: Server) -> None:
    token = medplum.root.post("/_sim/tokens", json={"scope": "system/*.rs"}).json()["access_token"]
    order(medplum, {"kind": "expire"})
    assert medplum.root.get("/fhir/Patient", headers={"Authorization": f"Bearer {token}"}).status_code == 401


@pytest.mark.parametrize("orders", [{}, ["x"], [{"kind": "melt"}], [{"kind": "drop", "colour": "blue"}]])
def test_an_order_that_makes_no_fault_is_refused(medplum: Server, orders: Any) -> None:
    answer = medplum.root.put("/_sim/faults", content=json.dumps(orders), headers={"Content-Type": "application/json"})
    assert answer.status_code == 400

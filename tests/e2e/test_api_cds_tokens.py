"""Who may call a CDS service: an EHR on its list, by a token that it signed for this one call; all others learn nothing."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from tests.api import Template, problem
from tests.cds import Hospital, bearer, hospital
from tests.fhir_script import Asked, ScriptedServer, serving

from fieldline_connectors.http import HttpConfig
from fieldline_core.errors import Unavailable
from fieldline_server import cds_trust
from fieldline_server.cds_trust import KeySets
from fieldline_simulators.fhir.cds import KEY_ID

Forgery = Callable[[Hospital], dict[str, str]]
OTHER_KEY = ec.generate_private_key(ec.SECP384R1())
P256 = ec.generate_private_key(ec.SECP256R1())
WEAK = rsa.generate_private_key(65537, 1024)
SHA384 = ECAlgorithm(ECAlgorithm.SHA384)
RSA = rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def place(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    with hospital(template, tmp_path_factory.mktemp("hospital")) as made:
        yield made


def saying(**claims: Any) -> Forgery:
    """A token of the EHR's own key with other claims; a callable claim is given the hospital."""
    return lambda place: place.signed(**{name: value(place) if callable(value) else value for name, value in claims.items()})


def headed(key: Any = None, algorithm: str = "ES384", **header: Any) -> Forgery:
    """A sound token's claims under another header, or signed by another key."""
    return lambda place: bearer(
        jwt.encode(place.claims(), place.signing if key is None else key, algorithm=algorithm, headers=place.header(**header))
    )


def unsigned(place: Hospital) -> dict[str, str]:
    return by_hand({"alg": "none", "typ": "JWT", **place.header()}, place.claims(), lambda data: b"")


def by_hand(header: dict[str, Any], claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> dict[str, str]:
    """A token such as PyJWT refuses to make."""
    signed = b".".join(_text(json.dumps(part).encode()) for part in (header, claims))
    return bearer((signed + b"." + _text(sign(signed))).decode())


def _text(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def odd(header: dict[str, Any], claims: Callable[[Hospital], dict[str, Any]]) -> Forgery:
    """A token of the EHR's own key whose header or claims are of another form."""

    def made(place: Hospital) -> dict[str, str]:
        whole = {"alg": "ES384", "typ": "JWT", **place.header(), **header}
        return by_hand(whole, {**place.claims(), **claims(place)}, lambda data: SHA384.sign(data, place.signing))

    return made


def by_the_public_key(place: Hospital) -> dict[str, str]:
    pem = place.signing.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = {"alg": "HS384", "typ": "JWT", **place.header()}
    return by_hand(header, place.claims(), lambda data: hmac.digest(pem, data, hashlib.sha384))


def changed(place: Hospital) -> dict[str, str]:
    """Another patient's claims under the signature of a sound token."""
    head, _, seal = place.signed()["authorization"].removeprefix("Bearer ").split(".")
    claims = _text(json.dumps(place.claims(jti="another")).encode()).decode()
    return bearer(f"{head}.{claims}.{seal}")


NOW = time.time
FORGERIES: dict[str, Forgery] = {
    "nothing": lambda place: {},
    "no bearer": lambda place: {"authorization": "Basic eDp5"},
    "no token": lambda place: {"authorization": "Bearer"},
    "no JWT": lambda place: bearer("a.b.c"),
    "an API key": lambda place: place.api.key(),
    "too long": lambda place: bearer("x" * 9000),
    "deeply nested": lambda place: bearer(".".join([base64.urlsafe_b64encode(b"[" * 3000).decode()] * 2)),
    "unsigned": unsigned,
    "the public key as a secret": by_the_public_key,
    "a changed claim": changed,
    "another key": headed(OTHER_KEY),
    "another curve": headed(P256, "ES256"),
    "RSA under the id of a key that is none": headed(RSA, "RS384"),
    "an algorithm that is not on the list": headed(RSA, "RS256"),
    "an unknown key": headed(kid="unknown"),
    "a key without an id": odd({"kid": None}, lambda place: {}),
    "a key whose id is no text": odd({"kid": ["x"]}, lambda place: {}),
    "a jku that is no text": odd({"jku": {}}, lambda place: {}),
    "another jku": headed(jku="https://evil.example/jwks.json"),
    "no issuer": saying(iss=None),
    "another issuer": saying(iss="https://evil.example"),
    "an issuer that is no text": odd({}, lambda place: {"iss": [place.root]}),
    "no audience": saying(aud=None),
    "another service": saying(aud=lambda place: f"{place.service}-2"),
    "the feedback of a service": saying(aud=lambda place: f"{place.service}/feedback"),
    "another host": saying(aud="https://elsewhere.example/cds-services/progression"),
    "no end": saying(exp=None),
    "expired": saying(exp=lambda _: int(NOW()) - 60, iat=lambda _: int(NOW()) - 200),
    "a long life": saying(exp=lambda _: int(NOW()) + 3600),
    "an end beyond all time": saying(exp=1e400),
    "no beginning": saying(iat=None),
    "a beginning to come": saying(iat=lambda _: int(NOW()) + 120),
    "an old beginning": saying(iat=lambda _: int(NOW()) - 1000),
    "not before": saying(nbf=lambda _: int(NOW()) + 120),
    "no id": saying(jti=None),
    "an id that is no text": odd({}, lambda place: {"jti": 7}),
    "an end that is no number": odd({}, lambda place: {"exp": True}),
    "an empty id": saying(jti=""),
    "a long id": saying(jti="x" * 300),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_token_that_does_not_hold_is_refused_without_a_word_about_why(name: str, place: Hospital) -> None:
    answer = place.client.post(place.service, json={"hook": "patient-view"}, headers=FORGERIES[name](place))
    assert problem(answer, 401, "forged")["detail"] == (
        "the call bears no token for this address that an EHR known to the service signed for it alone"
    )


def test_a_token_is_for_one_call(place: Hospital) -> None:
    headers = place.signed()
    assert place.client.post(place.service, json=place.body(), headers=headers).status_code == 200
    problem(place.client.post(place.service, json=place.body(), headers=headers), 401, "forged")
    problem(place.client.post(f"{place.service}/feedback", json={"feedback": []}, headers=headers), 401, "forged")


def test_of_many_calls_with_one_token_at_once_one_is_answered(place: Hospital) -> None:
    headers, body = place.signed(), place.body()
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(place.client.post, place.service, json=body, headers=headers) for _ in range(8)]
    assert sorted(each.result().status_code for each in asked) == [200, *[401] * 7]


def test_a_token_is_refused_before_the_body_is_read(place: Hospital) -> None:
    problem(place.client.post(place.service, content=b" " * 2_000_000), 401, "forged")


def test_feedback_may_be_addressed_to_its_own_address_or_to_the_service(place: Hospital) -> None:
    for audience in (place.service, f"{place.service}/feedback"):
        answer = place.client.post(f"{place.service}/feedback", json={}, headers=place.signed(aud=audience))
        problem(answer, 422, "rejected")
    problem(place.client.post(f"{place.service}/feedback", json={}, headers=place.signed(aud=f"{place.root}")), 401, "forged")


def test_a_refused_call_is_counted(place: Hospital) -> None:
    place.client.post(place.service)
    assert 'fieldline_hook_events_total{flow="progression",outcome="forged"}' in place.client.get("/metrics").text
    assert place.api.events("hook.rejected")[0]["detail"]["flow"] == "progression"


def key_set(*keys: dict[str, Any]) -> Callable[[Asked], tuple[int, Any]]:
    return lambda asked: (200, {"keys": list(keys)})


def settings(server: ScriptedServer) -> HttpConfig:
    return HttpConfig.model_validate({"allow_private": server.settings()["allow_private"]})


def test_keys_are_read_once_and_again_only_for_one_that_is_not_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(key_set({"kid": "a"}, {"kid": "b"}, {"kid": 7}, {})) as server:
        keys, http = KeySets(), settings(server)
        assert [keys.find(server.url, kid, http) for kid in ("a", "b", "c", "c", "a")] == [
            {"kid": "a"}, {"kid": "b"}, None, None, {"kid": "a"},
        ]  # fmt: skip
        assert len(server.asked) == 1
        monkeypatch.setattr(cds_trust, "_AGAIN_S", -1.0)
        server.script = key_set({"kid": "c"})
        assert keys.find(server.url, "c", http) == {"kid": "c"}
        assert keys.find(server.url, "a", http) is None


@pytest.mark.parametrize("answer", [(500, {}), (302, {}), (200, []), (200, {"keys": 7}), (200, {"keys": ["x" * 300_000]})])
def test_keys_that_cannot_be_read_are_told_as_an_outage_and_earlier_ones_are_kept(
    answer: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cds_trust, "_AGAIN_S", -1.0)
    with serving(lambda asked: answer) as server:
        keys, http = KeySets(), settings(server)
        with pytest.raises(Unavailable, match="keys of the EHR"):
            keys.find(server.url, "a", http)
        server.script = key_set({"kid": "a"})
        keys.find(server.url, "a", http)
        server.script = lambda asked: answer
        assert keys.find(server.url, "b", http) is None
        assert keys.find(server.url, "a", http) == {"kid": "a"}


@pytest.mark.parametrize(("key", "status"), [(RSA, 422), (WEAK, 401)], ids=["2,048 bits", "1,024 bits"])
def test_an_rsa_key_of_the_set_must_be_strong(key: Any, status: int, place: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": KEY_ID}
    monkeypatch.setattr(place.api.app.state.backend.trust, "_keys", _Only(found))
    header = {"alg": "RS384", "typ": "JWT", **place.header()}
    token = by_hand(header, place.claims(), lambda data: RSAAlgorithm(RSAAlgorithm.SHA384).sign(data, key))
    assert place.client.post(place.service, json={}, headers=token).status_code == status


def test_a_symmetric_key_of_the_set_signs_nothing(place: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = {"kty": "oct", "k": base64.urlsafe_b64encode(b"x" * 48).decode(), "kid": KEY_ID}
    monkeypatch.setattr(place.api.app.state.backend.trust, "_keys", _Only(secret))
    token = jwt.encode(place.claims(), b"x" * 48, algorithm="HS384", headers=place.header())
    problem(place.client.post(place.service, json={}, headers=bearer(token)), 401, "forged")


class _Only:
    """A key set of one key."""

    def __init__(self, key: dict[str, Any]) -> None:
        self._key = key

    def find(self, *_: Any) -> dict[str, Any]:
        """The key."""
        return self._key

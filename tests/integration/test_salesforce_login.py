"""Signing in to an org, and an administrator's mistakes there: each refusal says what to change."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.salesforce_org import SimulatedOrg, simulated_org

from fieldline_connectors.salesforce import Salesforce
from fieldline_core.errors import Misconfigured
from fieldline_core.secret import Secret


def key_pair() -> tuple[str, str]:
    """A private key and the public key that belongs to it, in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


@pytest.fixture(scope="module")
def keys() -> tuple[str, str]:
    return key_pair()


@pytest.fixture
def org(keys: tuple[str, str]) -> Iterator[SimulatedOrg]:
    with simulated_org(leads=1) as org:
        org.admin("PUT", "/_sim/apps/jwt", {"certificate": keys[1]})
        yield org


def expired_pair() -> tuple[str, str]:
    """A private key and a certificate of it that was good for one day of last year."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fieldline")])
    begun = datetime.now(UTC) - timedelta(days=365)
    made = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number(), begun, begun + timedelta(days=1))
    form, pem = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
    certificate = made.sign(private, hashes.SHA256()).public_bytes(pem)
    return private.private_bytes(pem, form, serialization.NoEncryption()).decode(), certificate.decode()


def jwt(org: SimulatedOrg, key: str, **more: Any) -> dict[str, Any]:
    return {"flow": "jwt_bearer", "client_id": "jwt", "username": org.user, "private_key": Secret(key), **more}


def test_a_signed_assertion_lets_us_in(org: SimulatedOrg, keys: tuple[str, str]) -> None:
    with closing(Salesforce(org.config(login=jwt(org, keys[0])))) as connector:
        connector.check()


@pytest.mark.parametrize(
    ("behaviour", "login", "sentence"),
    [
        ({}, {"private_key": Secret(key_pair()[0])}, "`private_key` does not belong to the certificate"),
        ({}, {"client_id": "nobody"}, "the org does not know the consumer key"),
        ({}, {"username": "nobody@example.com"}, "`username`"),
        ({"check_audience": True, "sandbox": True}, {}, "https://test.salesforce.com"),
    ],
    ids=["another key", "another app", "another user", "a sandbox with the audience of production"],
)
def test_a_mistake_in_the_login_says_what_to_change(
    org: SimulatedOrg, keys: tuple[str, str], behaviour: dict[str, Any], login: dict[str, Any], sentence: str
) -> None:
    org.admin("PUT", "/_sim/behaviour", behaviour)
    config = org.config(login={**jwt(org, keys[0]), **login})
    with closing(Salesforce(config)) as connector, pytest.raises(Misconfigured) as caught:
        connector.check()
    assert sentence in str(caught.value)


def test_an_expired_certificate_says_what_to_change(org: SimulatedOrg) -> None:
    key, certificate = expired_pair()
    org.admin("PUT", "/_sim/apps/jwt", {"certificate": certificate})
    with closing(Salesforce(org.config(login=jwt(org, key)))) as connector, pytest.raises(Misconfigured) as caught:
        connector.check()
    assert "or that certificate has expired; upload the current one" in str(caught.value)


def test_a_wrong_secret_a_missing_permission_and_an_old_version_say_what_to_change(org: SimulatedOrg) -> None:
    login = {"flow": "client_credentials", "client_id": "fieldline", "client_secret": Secret("wrong")}
    with closing(Salesforce(org.config(login=login))) as connector, pytest.raises(Misconfigured, match="copy both again"):
        connector.check()
    with closing(Salesforce(org.config(api_version="99.0"))) as connector, pytest.raises(Misconfigured, match="api_version"):
        connector.check()
    org.admin("PUT", f"/_sim/users/{org.user}/access", {"api_enabled": False})
    with closing(Salesforce(org.config())) as connector, pytest.raises(Misconfigured, match="API Enabled"):
        connector.check()

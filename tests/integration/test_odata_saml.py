"""Assertions that Fieldline signs itself, at a token endpoint that checks them with code of its own."""

import base64
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError
from tests.odata_connections import LOOPBACK

from fieldline_connectors.odata import Odata, OdataConfig
from fieldline_connectors.odata.saml import SamlSigner, issued
from fieldline_core.errors import Misconfigured
from fieldline_core.secret import Secret
from fieldline_simulators import sap

ISSUER, TOKEN_URL = "fieldline.example", "https://s4.example/sap/bc/sec/oauth2/token"


def identity() -> tuple[str, str]:
    """A certificate and its key."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fieldline")])
    began = datetime.now(UTC) - timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), began, began + timedelta(days=30))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.sign(key, SHA256()).public_bytes(Encoding.PEM).decode(), pem.decode()


@pytest.fixture(scope="module")
def ours() -> tuple[str, str]:
    return identity()


@pytest.fixture
def simulator(ours: tuple[str, str]) -> Iterator[sap.Simulator]:
    with sap.running(sap.Options(partners=1, orders=1, hours=1)) as simulator:
        simulator.system.sessions.assertions.trusted[ISSUER] = ours[0]
        yield simulator


def signer(pair: tuple[str, str], **changes: Any) -> dict[str, Any]:
    """What is written into an assertion."""
    secrets = {"certificate": Secret(pair[0]), "private_key": Secret(pair[1])}
    return {"issuer": ISSUER, "audience": "S4H_100", "name_id": sap.USER, **secrets, **changes}


def connect(simulator: sap.Simulator, **issue: Any) -> Odata:
    login = {
        "flow": "saml_bearer", "token_url": f"{simulator.url}/sap/bc/sec/oauth2/token", "client_id": sap.CLIENT_ID,
        "client_secret": Secret(sap.CLIENT_SECRET), "issue": issue,
    }  # fmt: skip
    return Odata(OdataConfig.model_validate({"service_url": simulator.v4_url, "login": login, "allow_private": LOOPBACK}))


def test_an_assertion_of_our_own_lets_us_in_and_each_login_has_another(simulator: sap.Simulator, ours: tuple[str, str]) -> None:
    with closing(connect(simulator, **signer(ours))) as odata:
        odata.check()
        simulator.system.sessions.end()
        odata.check()


def test_what_the_system_does_not_trust_is_refused_without_a_secret(simulator: sap.Simulator, ours: tuple[str, str]) -> None:
    wrong = [signer(identity()), *(signer(ours, **each) for each in ({"audience": "S4H_200"}, {"name_id": "NOBODY"},
             {"recipient": "https://elsewhere.example"}, {"issuer": "another"}))]  # fmt: skip
    for issue in wrong:
        with closing(connect(simulator, **issue)) as odata, pytest.raises(Misconfigured, match=r"\[invalid_grant\]") as caught:
            odata.check()
        assert "PRIVATE KEY" not in str(caught.value)


def test_an_assertion_holds_once_for_some_minutes_and_only_as_it_was_signed(ours: tuple[str, str]) -> None:
    # Names with signs that the canonical form writes in a way of its own.
    names = {"issuer": 'A & B <"é">', "name_id": 'MILLER\t& "SONS" >\'', "audience": "S4H_100"}
    text = issued(SamlSigner.model_validate(signer(ours, **names)), "the client", TOKEN_URL, ours[1], ours[0])
    now = datetime.now(UTC)
    assertions = sap.System(sap.Options()).sessions.assertions
    assertions.trusted[names["issuer"]] = ours[0]
    for hours, client, place in ((0.2, "the client", TOKEN_URL), (-0.2, "the client", TOKEN_URL), (0, "another", TOKEN_URL)):
        with pytest.raises(ValueError, match=r"does not hold now|another client"):
            assertions.user(text, client, place, now + timedelta(hours=hours))
    body = base64.urlsafe_b64decode(text + "==")
    for old, new in ((b"MILLER", b"MULLER"), (b'Recipient="https://s4', b'Recipient="https://s5'), (b"#sha256", b"#sha512")):
        assert old in body
        changed = base64.urlsafe_b64encode(body.replace(old, new)).decode()
        with pytest.raises(ValueError, match=r"not the one that was signed|in a way that is not taken"):
            assertions.user(changed, "the client", TOKEN_URL, now)
    assert assertions.user(text, "the client", TOKEN_URL, now) == names["name_id"]
    with pytest.raises(ValueError, match="used before"):
        assertions.user(text, "the client", TOKEN_URL, now)


def test_a_key_of_another_certificate_and_a_missing_package_are_told_to_a_person(
    ours: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SamlSigner.model_validate(signer(ours))
    for key in (identity()[1], "no key"):
        with pytest.raises(Misconfigured, match="do not fit together"):
            issued(settings, "app", TOKEN_URL, key, ours[0])
    monkeypatch.setitem(sys.modules, "signxml.algorithms", None)
    with pytest.raises(Misconfigured, match=r"install `fieldline\[saml\]`"):
        issued(settings, "app", TOKEN_URL, ours[1], ours[0])


@pytest.mark.parametrize("field", ["issuer", "audience", "name_id", "name_id_format", "recipient"])
def test_a_sign_that_xml_does_not_have_is_told_with_its_field(ours: tuple[str, str], field: str) -> None:
    for text in ("a\x01b", "a\nb", "a\uffffb"):
        with pytest.raises(ValidationError, match=rf"{field}\n"):
            SamlSigner.model_validate(signer(ours, **{field: text}))


def test_a_certificate_may_be_in_the_older_form_of_pem(ours: tuple[str, str]) -> None:
    older = ours[0].replace("BEGIN CERTIFICATE", "BEGIN X509 CERTIFICATE").replace("END CERTIFICATE", "END X509 CERTIFICATE")
    text = issued(SamlSigner.model_validate(signer(ours)), "app", TOKEN_URL, ours[1], older)
    assertions = sap.System(sap.Options()).sessions.assertions
    assertions.trusted[ISSUER] = ours[0]
    assert assertions.user(text, "app", TOKEN_URL, datetime.now(UTC)) == sap.USER


def test_an_assertion_is_either_given_or_issued(ours: tuple[str, str]) -> None:
    login = {"flow": "saml_bearer", "token_url": TOKEN_URL, "client_id": "app", "client_secret": Secret("x")}
    for more in ({}, {"issue": signer(ours), "assertion": Secret("y")}):
        with pytest.raises(ValidationError, match="either `assertion`"):
            OdataConfig.model_validate({"service_url": "https://s4.example/api", "login": {**login, **more}})

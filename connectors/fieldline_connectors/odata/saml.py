"""SAML assertions that Fieldline issues itself for a technical user (RFC 7522), each for one login and for five minutes."""

import base64
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from pydantic import Field

from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Document
from fieldline_core.secret import Secret

_LASTS = timedelta(minutes=5)
_CLOCKS_DIFFER = timedelta(minutes=1)
_SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
_DSIG = "http://www.w3.org/2000/09/xmldsig#"
_BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
XML_TEXT = r"^[^\x00-\x08\x0a-\x1f\x7f\ufffe\uffff]+$"
"""What may stand in an assertion: a line without characters that XML does not have."""


class SamlSigner(Document):
    """What Fieldline puts into an assertion that it issues itself, and signs with a key that the system trusts."""

    issuer: str = Field(min_length=1, max_length=1_024, pattern=XML_TEXT, examples=["fieldline.example"])
    """Name of the issuer, as the system has it among its trusted providers (transaction SAML2, *OAuth 2.0 identity providers*)."""
    audience: str = Field(min_length=1, max_length=1_024, pattern=XML_TEXT, examples=["S4H_100"])
    """Name of the system's own provider (transaction SAML2, *local provider*)."""
    name_id: str = Field(min_length=1, max_length=256, pattern=XML_TEXT, examples=["FIELDLINE"])
    """The technical user, as `name_id_format` says."""
    name_id_format: str = Field(
        "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified", min_length=1, max_length=256, pattern=XML_TEXT
    )
    """What the name is: a user name, or such as `urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress`."""
    recipient: str | None = Field(None, min_length=1, max_length=2_048, pattern=XML_TEXT)
    """Address that the assertion is for; where it is left out, the `token_url`."""
    certificate: Secret
    """The certificate that the system trusts, in PEM."""
    private_key: Secret
    """Its RSA key, in PEM without a password."""


def issued(signer: SamlSigner, client_id: str, token_url: str, key: str, certificate: str) -> str:
    """A new assertion in base64url; raises Misconfigured where it cannot be signed."""
    root = _assertion(signer, client_id, signer.recipient or token_url, datetime.now(UTC))
    signed = _signed(tostring(root), f"#{root.get('ID')}", *_pair(key, certificate))
    return base64.urlsafe_b64encode(signed).decode().rstrip("=")


def _assertion(signer: SamlSigner, client_id: str, recipient: str, now: datetime) -> Element:
    ends = _written(now + _LASTS)
    root = Element(_saml("Assertion"), {"ID": f"_{token_hex(20)}", "Version": "2.0", "IssueInstant": _written(now)})
    _add(root, "Issuer", signer.issuer)
    # The schema wants the signature here, which takes the place of this element.
    SubElement(root, f"{{{_DSIG}}}Signature", {"Id": "placeholder"})
    subject = _add(root, "Subject")
    _add(subject, "NameID", signer.name_id, Format=signer.name_id_format)
    confirmation = _add(subject, "SubjectConfirmation", Method=_BEARER)
    _add(confirmation, "SubjectConfirmationData", NotOnOrAfter=ends, Recipient=recipient)
    conditions = _add(root, "Conditions", NotBefore=_written(now - _CLOCKS_DIFFER), NotOnOrAfter=ends)
    _add(_add(conditions, "AudienceRestriction"), "Audience", signer.audience)
    statement = _add(root, "AuthnStatement", AuthnInstant=_written(now))
    _add(_add(statement, "AuthnContext"), "AuthnContextClassRef", "urn:oasis:names:tc:SAML:2.0:ac:classes:X509")
    # A client of SAP may be set up to want it (SOAUTH2: requires attribute "client_id").
    attribute = _add(_add(root, "AttributeStatement"), "Attribute", Name="client_id")
    _add(attribute, "AttributeValue", client_id)
    return root


def _saml(name: str) -> str:
    return f"{{{_SAML}}}{name}"


def _add(parent: Element, name: str, text: str | None = None, **attributes: str) -> Element:
    made = SubElement(parent, _saml(name), attributes)
    made.text = text
    return made


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _pair(key: str, certificate: str) -> tuple[RSAPrivateKey, str]:
    """The key, and the certificates as the signing package reads them; the first must be that of the key."""
    try:
        found = load_pem_private_key(key.encode(), None)
        chain = load_pem_x509_certificates(certificate.encode())
        fits = chain[0].public_key() == found.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        fits = False
    if not fits or not isinstance(found, RSAPrivateKey):
        raise Misconfigured("certificate and private_key of `issue` do not fit together, or are no RSA in PEM without a password")
    return found, "".join(each.public_bytes(Encoding.PEM).decode() for each in chain)


def _signed(document: bytes, reference: str, key: RSAPrivateKey, certificate: str) -> bytes:
    """The document with its signature: RSA with SHA-256, exclusive canonical form."""
    try:
        from lxml import etree
        from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureConstructionMethod, SignatureMethod
        from signxml.signer import XMLSigner
    except ImportError:
        raise Misconfigured("signing SAML assertions needs more packages: install `fieldline[saml]`") from None
    signer: Any = XMLSigner(
        method=SignatureConstructionMethod.enveloped,
        signature_algorithm=SignatureMethod.RSA_SHA256,
        digest_algorithm=DigestAlgorithm.SHA256,
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    made = signer.sign(etree.fromstring(document), key=key, cert=certificate, reference_uri=reference, id_attribute="ID")
    signed: bytes = etree.tostring(made)
    return signed

"""SAML assertions at the token endpoint (RFC 7522): who signed them, for whom, for how long, and that none comes twice."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from xml.dom.minidom import Element
from xml.parsers.expat import ExpatError

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.x509 import load_pem_x509_certificate
from defusedxml import DefusedXmlException
from defusedxml.minidom import parseString

from fieldline_simulators.sap.canonical import canonical

_SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
_DSIG = "http://www.w3.org/2000/09/xmldsig#"
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
_RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
_ENVELOPED = f"{_DSIG}enveloped-signature"
_BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_MOST_BYTES = 100_000
_LONGEST = timedelta(minutes=15)

Trusted: TypeAlias = dict[str, str]
"""Issuer -> its certificate in PEM."""


@dataclass(slots=True)
class Assertions:
    """The issuers that a system trusts, and the assertions that it has seen."""

    audience: str
    trusted: Trusted = field(default_factory=dict)
    _seen: dict[str, datetime] = field(default_factory=dict)

    def user(self, text: str, client_id: str, recipient: str, now: datetime | None = None) -> str:
        """The user that an assertion stands for; raises ValueError with what is wrong."""
        now = now or datetime.now(UTC)
        root = _parsed(text)
        self._check_signature(root)
        self._check_conditions(root, now)
        self._check_attributes(root, client_id)
        confirmation = _one(_one(root, _SAML, "Subject"), _SAML, "SubjectConfirmation")
        data = _one(confirmation, _SAML, "SubjectConfirmationData")
        if confirmation.getAttribute("Method") != _BEARER or data.getAttribute("Recipient") != recipient:
            raise ValueError("the recipient is another one")
        ends = _moment(data.getAttribute("NotOnOrAfter"))
        if not now < ends <= now + _LONGEST:
            raise ValueError("the assertion is too old, or lasts too long")
        self._seen = {id: until for id, until in self._seen.items() if until > now}
        if root.getAttribute("ID") in self._seen:
            raise ValueError("the assertion was used before")
        self._seen[root.getAttribute("ID")] = ends
        return _text(_one(_one(root, _SAML, "Subject"), _SAML, "NameID"))

    def _check_signature(self, root: Element) -> None:
        pem = self.trusted.get(_text(_one(root, _SAML, "Issuer")))
        if pem is None:
            raise ValueError("the issuer is not trusted")
        signature = _one(root, _DSIG, "Signature")
        signed = _one(signature, _DSIG, "SignedInfo")
        reference = _one(signed, _DSIG, "Reference")
        _check_algorithms(signed, reference)
        if reference.getAttribute("URI") != f"#{root.getAttribute('ID')}" or not root.getAttribute("ID"):
            raise ValueError("what is signed is not the assertion")
        digest = Hash(SHA256())
        digest.update(canonical(root, without=signature))
        if digest.finalize() != _decoded(_text(_one(reference, _DSIG, "DigestValue"))):
            raise ValueError("the assertion is not the one that was signed")
        # The key that it brings along says nothing.
        key = load_pem_x509_certificate(pem.encode()).public_key()
        assert isinstance(key, RSAPublicKey)
        try:
            key.verify(_decoded(_text(_one(signature, _DSIG, "SignatureValue"))), canonical(signed), PKCS1v15(), SHA256())
        except InvalidSignature:
            raise ValueError("the signature is wrong") from None

    def _check_conditions(self, root: Element, now: datetime) -> None:
        conditions = _one(root, _SAML, "Conditions")
        if not _moment(conditions.getAttribute("NotBefore")) <= now < _moment(conditions.getAttribute("NotOnOrAfter")):
            raise ValueError("the assertion does not hold now")
        if _text(_one(_one(conditions, _SAML, "AudienceRestriction"), _SAML, "Audience")) != self.audience:
            raise ValueError("the audience is another one")

    def _check_attributes(self, root: Element, client_id: str) -> None:
        statements = _all(root, _SAML, "AttributeStatement")
        attributes = [each for statement in statements for each in _all(statement, _SAML, "Attribute")]
        named: Mapping[str, str] = {each.getAttribute("Name"): _text(_one(each, _SAML, "AttributeValue")) for each in attributes}
        if named.get("client_id", client_id) != client_id:
            raise ValueError("the assertion is for another client")


def _check_algorithms(signed: Element, reference: Element) -> None:
    transforms = [each.getAttribute("Algorithm") for each in _all(_one(reference, _DSIG, "Transforms"), _DSIG, "Transform")]
    found = [
        _one(place, _DSIG, name).getAttribute("Algorithm")
        for place, name in ((signed, "CanonicalizationMethod"), (signed, "SignatureMethod"), (reference, "DigestMethod"))
    ]
    if transforms != [_ENVELOPED, _EXCLUSIVE] or found != [_EXCLUSIVE, _RSA_SHA256, _SHA256]:
        raise ValueError("the signature is made in a way that is not taken")


def _parsed(text: str) -> Element:
    try:
        body = _decoded(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
        root = parseString(body[:_MOST_BYTES].decode(), forbid_dtd=True).documentElement
    except (ExpatError, DefusedXmlException, ValueError):
        raise ValueError("the assertion is no XML in base64url") from None
    if root is None or (root.namespaceURI, root.localName) != (_SAML, "Assertion"):
        raise ValueError("it is no assertion")
    return root


def _all(parent: Element, space: str, name: str) -> list[Element]:
    return [
        each for each in parent.childNodes if isinstance(each, Element) and (each.namespaceURI, each.localName) == (space, name)
    ]


def _one(parent: Element, space: str, name: str) -> Element:
    found = _all(parent, space, name)
    if len(found) != 1:
        raise ValueError(f"the assertion has not one {name}")
    return found[0]


def _text(element: Element) -> str:
    return "".join(each.data for each in element.childNodes if each.nodeType == each.TEXT_NODE).strip()


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment without a zone")
    return moment


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("no base64") from None

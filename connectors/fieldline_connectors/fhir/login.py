"""Signing in to a FHIR server: SMART Backend Services, or the plain ways of test servers."""

import base64
import secrets
import time
from collections.abc import Generator
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

import httpx
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import Field, HttpUrl

from fieldline_connectors.http import UNTHROTTLED, Token, answer, token_of
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Document
from fieldline_core.secret import Secret

_ASSERTION_S = 240
_JSON = {"accept": "application/json"}
_LEAST_RSA_BITS = 2048
_KIND = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Smart(Document):
    """SMART Backend Services: a signed assertion for a token. What Epic and Oracle Health ask for."""

    flow: Literal["smart"]
    """This way of signing in."""
    client_id: str = Field(min_length=1, max_length=512)
    """Id of the app, as it was registered."""
    private_key: Secret
    """Private key in PEM without a password: RSA of at least 2,048 bits (RS384) or the curve P-384 (ES384)."""
    key_id: str = Field(min_length=1, max_length=256)
    """The key's `kid` in the registered key set."""
    scope: str = Field("system/*.read", max_length=4_000)
    """What the token is for."""
    token_url: HttpUrl | None = None
    """Where tokens are given out; the server's `.well-known/smart-configuration` says it where this is left out."""


class Basic(Document):
    """User name and password, for test servers."""

    flow: Literal["basic"]
    """This way of signing in."""
    user: str = Field(min_length=1, max_length=256, pattern=r"^[^:\x00-\x1f]+$")
    """Name of the user."""
    password: Secret
    """Password of that user."""


class Bearer(Document):
    """A token that somebody else renews, for test servers."""

    flow: Literal["bearer"]
    """This way of signing in."""
    token: Secret
    """The token; `file:/path` is read again for each request."""


Login: TypeAlias = Annotated[Smart | Basic | Bearer, Field(discriminator="flow")]


def authorization(login: Basic | Bearer) -> httpx.Auth:
    """What signs each request where nobody gives out tokens."""
    if isinstance(login, Basic):
        return httpx.BasicAuth(login.user, login.password.reveal())
    return _BearerAuth(login)


class _BearerAuth(httpx.Auth):
    def __init__(self, login: Bearer) -> None:
        self._login = login

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["authorization"] = f"Bearer {self._login.token.reveal().strip()}"
        yield request


def sign_in(login: Smart, base: str, client: httpx.Client, private_key: str) -> Token:
    """A new token; raises Misconfigured with what a person has to change, or Unavailable."""
    url = str(login.token_url) if login.token_url else _discovered(base, client)
    form = {
        "grant_type": "client_credentials", "scope": login.scope, "client_assertion_type": _KIND,
        "client_assertion": assertion(login, private_key, url, int(time.time())),
    }  # fmt: skip
    response = client.post(url, data=form, headers=_JSON, extensions=UNTHROTTLED)
    return token_of(response, "`client_id`, `key_id`, the registered public key, and the scope", "`token_url`")


def _discovered(base: str, client: httpx.Client) -> str:
    response = answer(client.get(f"{base}/.well-known/smart-configuration", headers=_JSON, extensions=UNTHROTTLED))
    try:
        found = orjson.loads(response.content)["token_endpoint"]
        known = bool(urlsplit(found).hostname)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        known = False
    if not known:
        raise Misconfigured(f"{response.request.url.host} does not say where tokens are given out: write `token_url`")
    return str(found)


def assertion(login: Smart, private_key: str, audience: str, now: int) -> str:
    """The signed assertion that asks for a token: for one use, and for less than five minutes."""
    key = _key(private_key)
    header = {"alg": "RS384" if isinstance(key, RSAPrivateKey) else "ES384", "kid": login.key_id, "typ": "JWT"}
    claims = {
        "iss": login.client_id, "sub": login.client_id, "aud": audience, "iat": now, "exp": now + _ASSERTION_S,
        "jti": secrets.token_urlsafe(24),
    }  # fmt: skip
    signed = b".".join(_base64url(orjson.dumps(part)) for part in (header, claims))
    return (signed + b"." + _base64url(_signature(key, signed))).decode()


def _signature(key: RSAPrivateKey | EllipticCurvePrivateKey, data: bytes) -> bytes:
    if isinstance(key, RSAPrivateKey):
        return key.sign(data, PKCS1v15(), SHA384())
    r, s = decode_dss_signature(key.sign(data, ECDSA(SHA384())))
    return r.to_bytes(48, "big") + s.to_bytes(48, "big")


def _key(pem: str) -> RSAPrivateKey | EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS:
        return key
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP384R1):
        return key
    raise Misconfigured(
        "the private_key of the FHIR connection is no PEM without a password of an RSA key (2,048 bits) or of P-384"
    )


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")

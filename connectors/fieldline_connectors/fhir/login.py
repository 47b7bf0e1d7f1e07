"""Signing in to a FHIR server: SMART Backend Services, or the plain ways of test servers."""

import base64
import secrets
import threading
import time
from collections.abc import Generator
from typing import Annotated, Any, Literal, TypeAlias
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

from fieldline_connectors.http import answer
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.ports import Document
from fieldline_core.secret import Secret

_ASSERTION_S = 240
_SPARE_S = 60.0
_SHORTEST_S = 5.0
_LONGEST_S = 86_400.0
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


def authorization(login: Login, base: str, client: httpx.Client) -> httpx.Auth:
    """What signs each request of a connection."""
    if isinstance(login, Smart):
        return SmartAuth(login, base, client)
    if isinstance(login, Basic):
        return httpx.BasicAuth(login.user, login.password.reveal())
    return _BearerAuth(login)


class _BearerAuth(httpx.Auth):
    def __init__(self, login: Bearer) -> None:
        self._login = login

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["authorization"] = f"Bearer {self._login.token.reveal().strip()}"
        yield request


class SmartAuth(httpx.Auth):
    """Keeps a token until shortly before it expires, and asks once for another where the server refuses it."""

    def __init__(self, login: Smart, base: str, client: httpx.Client) -> None:
        self._login = login
        self._base = base
        self._client = client
        self._lock = threading.Lock()
        self._token = ""
        self._ends_at = 0.0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """The request with a token, and once more with another one after a 401."""
        token = self.token()
        request.headers["authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401:
            request.headers["authorization"] = f"Bearer {self.token(instead_of=token)}"
            yield request

    def token(self, instead_of: str | None = None) -> str:
        """A token that has not expired; another one than the refused. Of all threads that ask at once, one signs in."""
        with self._lock:
            if not self._token or self._token == instead_of or time.monotonic() >= self._ends_at:
                self._sign_in()
            return self._token

    def _sign_in(self) -> None:
        url = str(self._login.token_url) if self._login.token_url else self._discovered()
        form = {
            "grant_type": "client_credentials", "scope": self._login.scope, "client_assertion_type": _KIND,
            "client_assertion": assertion(self._login, url, int(time.time())),
        }  # fmt: skip
        response = self._client.post(url, data=form, headers={"accept": "application/json"})
        body = _object(response)
        host = response.request.url.host
        if response.status_code in (400, 401, 403):
            code = str(body.get("error", response.status_code))[:60]
            raise Misconfigured(
                f"{host} refused to sign us in [{code}]: check `client_id`, `key_id`, the registered public key, and the scope"
            )
        answer(response)
        token, seconds = body.get("access_token"), body.get("expires_in")
        if not isinstance(token, str) or not token:
            raise Unavailable(f"{host} answered without a token: check `token_url`")
        lasts = min(float(seconds), _LONGEST_S) if isinstance(seconds, int | float) and not isinstance(seconds, bool) else 300.0
        self._token, self._ends_at = token, time.monotonic() + max(lasts - _SPARE_S, min(lasts, _SHORTEST_S))

    def _discovered(self) -> str:
        response = self._client.get(f"{self._base}/.well-known/smart-configuration", headers={"accept": "application/json"})
        found = _object(answer(response)).get("token_endpoint")
        host = response.request.url.host
        if not isinstance(found, str) or not urlsplit(found).hostname:
            raise Misconfigured(f"{host} does not say where tokens are given out: write `token_url`")
        return found


def assertion(login: Smart, audience: str, now: int) -> str:
    """The signed assertion that asks for a token: for one use, and for less than five minutes."""
    key = _key(login.private_key.reveal())
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


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}

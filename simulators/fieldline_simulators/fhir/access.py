"""Who may come in: SMART Backend Services, a client secret, and for tests a fixed token or a name and password."""

import base64
import binascii
import hmac
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from fieldline_simulators.fhir.calls import Pairs
from fieldline_simulators.fhir.outcomes import Refusal
from fieldline_simulators.fhir.profiles import Profile

CLIENT_ID, CLIENT_SECRET = "fieldline", "app-secret"
USER, PASSWORD = "tester", "test-password"
FIXED_TOKEN = "test-token"  # noqa: S105
ALGORITHMS = ("RS384", "ES384")
ALL = "system/*.cruds"

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LONGEST_S, _LEEWAY_S = 300, 5
_FEWEST_RSA_BITS = 2048
_VERBS = {"read": "rs", "write": "cud", "*": "cruds"}


class TokenRefused(Exception):
    """No token for this request: OAuth's error and what is wrong."""

    def __init__(self, error: str, words: str) -> None:
        super().__init__(words)
        self.error = error


@dataclass(slots=True)
class Client:
    """An application that may ask for tokens."""

    secret: str = ""
    scope: str = ALL
    keys: dict[str, Any] = field(default_factory=dict)
    keys_url: str = ""


class Access:
    """The clients and their tokens."""

    def __init__(self, profile: Profile, token_s: int) -> None:
        self.profile = profile
        self.clients = {CLIENT_ID: Client(CLIENT_SECRET)}
        self._token_s = token_s
        self._tokens: dict[str, tuple[str, float]] = {}
        self._assertions: dict[str, float] = {}
        self._lock = threading.Lock()
        self._http = httpx.Client(trust_env=False, timeout=5)

    def token(self, form: Pairs, authorization: str, token_url: str) -> dict[str, Any]:
        """Answers a request for a token; raises TokenRefused."""
        given = dict(form)
        if given.get("grant_type") != "client_credentials":
            raise TokenRefused("unsupported_grant_type", "Only client_credentials is served")
        if given.get("client_assertion_type") == _ASSERTION:
            client = self._by_assertion(given.get("client_assertion", ""), token_url)
        else:
            client = self._by_secret(given, authorization)
        granted = [each for each in given.get("scope", client.scope).split() if _within(each, client.scope)]
        if not granted:
            raise TokenRefused("invalid_scope", "None of these scopes is granted to this client")
        return self.issue(" ".join(granted))

    def issue(self, scope: str) -> dict[str, Any]:
        """A token with these scopes."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            now = time.monotonic()
            self._tokens = {kept: value for kept, value in self._tokens.items() if value[1] > now}
            self._tokens[token] = scope, now + self._token_s
        return {"access_token": token, "token_type": "bearer", "expires_in": self._token_s, "scope": scope}

    def end(self, token: str = "") -> None:
        """Ends one token, or all."""
        with self._lock:
            self._tokens = {kept: value for kept, value in self._tokens.items() if token and kept != token}

    def scopes(self, authorization: str) -> tuple[str, ...] | None:
        """The scopes of a request, None for all of them; raises Refusal for who is not known."""
        kind, _, rest = authorization.partition(" ")
        if not self.profile.authenticated or (
            kind.lower() == "bearer" and hmac.compare_digest(rest.encode(), FIXED_TOKEN.encode())
        ):
            return None
        if kind.lower() == "basic" and _decoded(rest) == f"{USER}:{PASSWORD}":
            return None
        with self._lock:
            scope, until = self._tokens.get(rest, ("", 0.0)) if kind.lower() == "bearer" else ("", 0.0)
        if until <= time.monotonic():
            raise Refusal(401, "login", "Unauthorized", id="unauthorized", headers={"WWW-Authenticate": "Bearer"})
        return tuple(scope.split())

    def may(self, scopes: tuple[str, ...] | None, type: str, verb: str) -> bool:
        """Whether scopes let one of create, read, update, delete and search (c, r, u, d, s) be done to a type."""
        return scopes is None or any(_grants(each, type, verb) for each in scopes)

    def close(self) -> None:
        """Closes connections."""
        self._http.close()

    def _by_secret(self, given: dict[str, str], authorization: str) -> Client:
        id, secret = given.get("client_id", ""), given.get("client_secret", "")
        if authorization.lower().startswith("basic "):
            id, _, secret = (unquote(each) for each in _decoded(authorization[6:]).partition(":"))
        client = self.clients.get(id)
        if client is None or not client.secret or not hmac.compare_digest(secret.encode(), client.secret.encode()):
            raise TokenRefused("invalid_client", "Unknown client or wrong secret")
        return client

    def _by_assertion(self, assertion: str, token_url: str) -> Client:
        try:
            header = jwt.get_unverified_header(assertion)
            named = jwt.decode(assertion, options={"verify_signature": False}).get("iss", "")
            client = self.clients.get(named)
            if client is None or header.get("alg") not in ALGORITHMS:
                raise TokenRefused("invalid_client", "Unknown client, or signed by neither RS384 nor ES384")
            key = self._key(client, header)
            claims = jwt.decode(
                assertion, key, algorithms=[header["alg"]], audience=token_url, issuer=named, leeway=_LEEWAY_S, subject=named,
                options={"require": ["iss", "sub", "aud", "exp", "jti"]},
            )  # fmt: skip
        except (jwt.PyJWTError, httpx.HTTPError, ValueError) as error:
            raise TokenRefused("invalid_client", f"The assertion does not hold: {error}") from None
        self._use_once(claims)
        return client

    def _key(self, client: Client, header: dict[str, Any]) -> Any:
        keys = self._http.get(client.keys_url).raise_for_status().json() if client.keys_url else client.keys
        found = next((each for each in keys.get("keys", ()) if each.get("kid") == header.get("kid") and header.get("kid")), None)
        if found is None:
            raise TokenRefused("invalid_client", "The client has no key of this kid")
        key = jwt.PyJWK(found, algorithm=header["alg"]).key
        if isinstance(key, RSAPublicKey) and key.key_size < _FEWEST_RSA_BITS:
            raise TokenRefused("invalid_client", f"An RSA key needs {_FEWEST_RSA_BITS} bits")
        return key

    def _use_once(self, claims: dict[str, Any]) -> None:
        now = time.time()
        if claims["exp"] > now + _LONGEST_S + _LEEWAY_S:
            raise TokenRefused("invalid_client", "The assertion lives longer than five minutes")
        with self._lock:
            self._assertions = {jti: until for jti, until in self._assertions.items() if until > now - _LEEWAY_S}
            key = f"{claims['iss']} {claims['jti']}"
            if key in self._assertions and not self.profile.replayed_assertions:
                raise TokenRefused("invalid_client", "This assertion was used before")
            self._assertions[key] = float(claims["exp"])


def _decoded(basic: str) -> str:
    try:
        return base64.b64decode(basic, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _parts(scope: str) -> tuple[str, str] | None:
    context, slash, rest = scope.partition("?")[0].partition("/")
    type, dot, verbs = rest.partition(".")
    return (type, _VERBS.get(verbs, verbs)) if context in ("system", "user") and slash and dot else None


def _grants(scope: str, type: str, verb: str) -> bool:
    parts = _parts(scope)
    return parts is not None and parts[0] in ("*", type) and verb in parts[1]


def _within(scope: str, allowed: str) -> bool:
    parts = _parts(scope)
    return parts is not None and all(any(_grants(each, parts[0], verb) for each in allowed.split()) for verb in parts[1])

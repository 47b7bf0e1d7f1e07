"""Signing in: each way is its settings, and how a request is made to carry it."""

import ssl
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import httpx
import orjson
from pydantic import Field, HttpUrl

from fieldline_connectors.http import answer
from fieldline_core.errors import Misconfigured, Rejected, Unavailable
from fieldline_core.ports import Document
from fieldline_core.secret import Secret

_SAML_GRANT = "urn:ietf:params:oauth:grant-type:saml2-bearer"
_SPARE_S = 60.0
_SHORTEST_S = 5.0


class Basic(Document):
    """User name and password of a technical user (in S/4HANA Cloud of a communication user)."""

    flow: Literal["basic"]
    """This way of signing in."""
    user: str = Field(min_length=1, max_length=256, pattern=r"^[^:\x00-\x1f]+$")
    """Name of the user."""
    password: Secret
    """Password of that user."""


class ClientCredentials(Document):
    """OAuth 2.0 with the app's own credentials: Dynamics 365, SAP BTP and S/4HANA Cloud communication arrangements."""

    flow: Literal["client_credentials"]
    """This way of signing in."""
    token_url: HttpUrl = Field(examples=["https://login.microsoftonline.com/TENANT/oauth2/v2.0/token"])
    """Where tokens are given out."""
    client_id: str = Field(min_length=1, max_length=512)
    """Id of the app."""
    client_secret: Secret
    """Secret of the app."""
    scope: str | None = Field(None, max_length=2_000, examples=["https://acme.crm4.dynamics.com/.default"])
    """What the token is for."""


class SamlBearer(Document):
    """OAuth 2.0 with a SAML assertion that your identity provider signed for the technical user (RFC 7522)."""

    flow: Literal["saml_bearer"]
    """This way of signing in."""
    token_url: HttpUrl = Field(examples=["https://s4.example/sap/bc/sec/oauth2/token"])
    """Where tokens are given out."""
    client_id: str = Field(min_length=1, max_length=512)
    """Id of the OAuth client."""
    client_secret: Secret
    """Secret of the OAuth client."""
    assertion: Secret
    """The signed assertion in base64url; `file:/path`, which is read at every login, where something renews it."""
    scope: str | None = Field(None, max_length=2_000)
    """What the token is for."""


class Certificate(Document):
    """A client certificate (X.509) that the system maps to a technical user."""

    flow: Literal["certificate"]
    """This way of signing in."""
    certificate: Secret
    """The certificate with its chain, in PEM."""
    private_key: Secret
    """Its private key, in PEM without a password."""


Login: TypeAlias = Annotated[Basic | ClientCredentials | SamlBearer | Certificate, Field(discriminator="flow")]
"""A way of signing in."""


@dataclass(frozen=True, slots=True)
class _Token:
    access: str = field(repr=False)
    ends_at: float


class Bearer(httpx.Auth):
    """Puts a token on each request; one that has expired or was refused is renewed once."""

    def __init__(self, login: ClientCredentials | SamlBearer, client: httpx.Client) -> None:
        self._login = login
        self._client = client
        self._token: _Token | None = None
        self._lock = threading.Lock()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """The request with a token, and once more with another one where that is refused."""
        token = self._current(None)
        request.headers["authorization"] = f"Bearer {token.access}"
        response = yield request
        if response.status_code == 401:
            request.headers["authorization"] = f"Bearer {self._current(token).access}"
            yield request

    def _current(self, refused: _Token | None) -> _Token:
        """A token that has some time left; of all threads that need one at once, the first fetches it."""
        with self._lock:
            token = self._token
            if token is None or token is refused or token.ends_at < time.monotonic():
                self._token = token = self._fetched()
            return token

    def _fetched(self) -> _Token:
        login = self._login
        form = {"grant_type": "client_credentials"}
        if isinstance(login, SamlBearer):
            form = {"grant_type": _SAML_GRANT, "assertion": login.assertion.reveal().strip()}
        form |= {"client_id": login.client_id, **({"scope": login.scope} if login.scope else {})}
        # In the body, as Entra ID wants it; SAP takes the header only, and both take both.
        form["client_secret"] = login.client_secret.reveal()
        secret = httpx.BasicAuth(login.client_id, login.client_secret.reveal())
        return _token(self._client.post(str(login.token_url), data=form, auth=secret))


def authorization(login: Login, client: httpx.Client) -> httpx.Auth | None:
    """What puts the credentials on each request; None where the connection itself carries them."""
    match login:
        case Basic():
            return httpx.BasicAuth(login.user, login.password.reveal())
        case Certificate():
            return None
    return Bearer(login, client)


def identify(login: Login, context: ssl.SSLContext) -> None:
    """Puts a client certificate into the TLS settings; the key is in a file only while it is read, in a folder of its own."""
    if not isinstance(login, Certificate):
        return
    with tempfile.TemporaryDirectory(prefix="fieldline-") as folder:
        file = Path(folder, "identity.pem")
        file.touch(mode=0o600)
        file.write_text(f"{login.private_key.reveal().strip()}\n{login.certificate.reveal().strip()}\n")
        try:
            # An empty password: OpenSSL would ask the terminal for one otherwise.
            context.load_cert_chain(file, password="")
        except (ssl.SSLError, OSError, ValueError):
            raise Misconfigured(
                "certificate and private_key of the login do not fit together, or are no PEM without a password"
            ) from None


def _token(response: httpx.Response) -> _Token:
    host = response.request.url.host
    body: object = None
    with suppress(orjson.JSONDecodeError):
        body = orjson.loads(response.content)
    found = body if isinstance(body, dict) else {}
    if response.status_code in (400, 401, 403):
        code = str(found.get("error", response.status_code))[:60]
        raise Misconfigured(f"{host} gave no token: check client_id, client_secret, scope and assertion of the login [{code}]")
    try:
        answer(response)
    except Rejected:
        raise Misconfigured(f"{host} gave no token: check the token_url of the login [{response.status_code}]") from None
    access, lasts_s = found.get("access_token"), found.get("expires_in", 300)
    if not isinstance(access, str) or not access.isascii():
        raise Unavailable(f"{host} answered without a token: check the token_url of the login")
    seconds = float(lasts_s) if isinstance(lasts_s, int | float | str) and str(lasts_s).isdigit() else 300.0
    return _Token(access, time.monotonic() + max(seconds - _SPARE_S, _SHORTEST_S))

"""Requests to one service: on its own origin only, signed in, with a CSRF token and every cookie, refusals in our words."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from fieldline_connectors.http import Throttle, Token, TokenAuth, Tokens, guarded_client
from fieldline_connectors.odata.config import OdataConfig
from fieldline_connectors.odata.errors import translated, unsent
from fieldline_connectors.odata.login import Basic, Certificate, ClientCredentials, SamlBearer, identify, secrets_of, sign_in
from fieldline_core import crash
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.ports import Shared

_SAFE = ("GET", "HEAD")
_MOST_COOKIES = 100


@dataclass(slots=True)
class _Session:
    """What the server gave us to send back: all cookies, whatever their names, and the token that belongs to them."""

    cookies: dict[str, str] = field(default_factory=dict, repr=False)
    token: str | None = field(default=None, repr=False)


class Wire:
    """The one way to a service; may be used by several threads at once."""

    def __init__(self, config: OdataConfig) -> None:
        self.config = config
        self._session = _Session()
        self._lock = threading.Lock()
        self._throttle = Throttle(config, str(config.service_url))
        login = config.login
        self._tokens = (
            Tokens(Token, login.model_dump_json(), partial(secrets_of, login), lambda *found: sign_in(login, self._client, *found))
            if isinstance(login, ClientCredentials | SamlBearer) else None
        )  # fmt: skip
        self.root = f"{str(config.service_url).rstrip('/')}/"
        self.place = f"{config.service_url.host}, {self.root.rstrip('/').rpartition('/')[2]}"

    def share(self, shared: Shared) -> None:
        """Has the token and the manners toward the service in common with other processes."""
        self._throttle.shared = shared
        if self._tokens:
            self._tokens.shared = shared

    def close(self) -> None:
        """Closes the connections."""
        if "_client" in self.__dict__:
            self._client.close()
            del self._client

    @cached_property
    def _client(self) -> httpx.Client:
        login = self.config.login
        identity = partial(identify, login) if isinstance(login, Certificate) else None
        throttle = self._throttle
        client = guarded_client(self.config, identity=identity, around=throttle.around, connections=throttle.connections)
        # Cookies are kept here and sent to the service alone; the client itself takes none.
        client.cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        return client

    @cached_property
    def _auth(self) -> httpx.Auth | None:
        login = self.config.login
        if isinstance(login, Basic):
            return httpx.BasicAuth(login.user, login.password.reveal())
        return TokenAuth(self._tokens) if self._tokens else None

    def get(self, path: str, headers: Mapping[str, str] | None = None, **extensions: Any) -> httpx.Response:
        """The answer to a question; raises where it was refused."""
        return self.accepted(self.send("GET", path, headers, extensions=extensions), reading=True)

    def accepted(self, response: httpx.Response, *, reading: bool) -> httpx.Response:
        """The response, or the error that its status means."""
        if response.status_code >= 300:
            raise translated(response, self.place, reading=reading)
        return response

    def send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"",
        extensions: Mapping[str, Any] | None = None,
    ) -> httpx.Response:  # fmt: skip
        """The answer, whatever its status; a CSRF token that the server does not take any more is fetched again once."""
        protected = method not in _SAFE and self.config.needs_csrf
        token = self._token(None) if protected else None
        response = self._once(method, path, headers, body, extensions, token)
        if protected and _wants_token(response):
            response = self._once(method, path, headers, body, extensions, self._token(token))
            if _wants_token(response):
                raise Misconfigured(
                    f"{self.place}: the CSRF token was refused twice: a proxy may drop cookies, or the login makes no session"
                )
        return response

    def post(
        self, path: str, headers: Mapping[str, str], body: bytes, extensions: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """The answer of a place beside the service that asks for no CSRF token, whatever its status."""
        return self._once("POST", path, headers, body, extensions, None)

    def heed(self, response: httpx.Response) -> None:
        """Has all workers wait where an answer inside another one asks for it."""
        self._throttle.heed(httpx.Request("POST", self.root), response)

    def url(self, link: str, base: str | None = None) -> str:
        """Where a link of the service leads to: its path and query on the configured origin, whatever host it names."""
        parts = urlsplit(urljoin(base or self.root, link))
        own = urlsplit(self.root)
        query = parts.query
        client = self.config.sap_client
        if client and "sap-client=" not in query:
            query = f"{query}&sap-client={client}" if query else f"sap-client={client}"
        return f"{own.scheme}://{own.netloc}{parts.path}{'?' + query if query else ''}"

    def _once(
        self, method: str, path: str, headers: Mapping[str, str] | None, body: bytes, extensions: Mapping[str, Any] | None,
        token: str | None,
    ) -> httpx.Response:  # fmt: skip
        with self._lock:
            cookies = "; ".join(f"{name}={value}" for name, value in self._session.cookies.items())
        sent = {
            **({"accept-language": self.config.language} if self.config.language else {}),
            **(headers or {}),
            **({"cookie": cookies} if cookies else {}),
            **({"x-csrf-token": token} if token else {}),
        }
        request = self._client.build_request(method, self.url(path), headers=sent, content=body, extensions=dict(extensions or {}))
        writing = method not in _SAFE
        if writing:
            crash.point("odata.send:before")
        try:
            response = self._client.send(request, auth=self._auth)
        except Unavailable as error:
            raise (error if writing else unsent(error)) from None
        if writing:
            crash.point("odata.send:after")
        self._keep_cookies(response)
        return response

    def _keep_cookies(self, response: httpx.Response) -> None:
        found: dict[str, str] = {}
        for header in response.headers.get_list("set-cookie"):
            # Attributes such as Domain name a host that we may not know the service by, so none is looked at.
            name, equals, value = header.partition(";")[0].partition("=")
            if equals and name.strip():
                found[name.strip()] = value.strip()
        if found:
            with self._lock:
                merged = {**self._session.cookies, **found}
                self._session.cookies = dict(list(merged.items())[-_MOST_COOKIES:])

    def _token(self, refused: str | None) -> str:
        """The token of the session; of all threads whose token was refused, one fetches another."""
        with self._lock:
            token = self._session.token
        if token is not None and token != refused:
            return token
        token = self._fetched_token()
        with self._lock:
            self._session.token = token
        return token

    def _fetched_token(self) -> str:
        for method in ("HEAD", "GET"):
            response = self._once(method, "", {"x-csrf-token": "Fetch", "accept": "application/json"}, b"", None, None)
            token: str = response.headers.get("x-csrf-token", "")
            if token and token.lower() not in ("required", "fetch"):
                return token
            if response.status_code in (401, 429, 503):
                raise translated(response, self.place, reading=True)
        if response.status_code >= 300:
            raise translated(response, self.place, reading=True)
        raise Unavailable(f"{self.place}: the service gave no CSRF token: where it needs none, set `csrf: false`")


def _wants_token(response: httpx.Response) -> bool:
    return response.status_code == 403 and response.headers.get("x-csrf-token", "").lower() == "required"

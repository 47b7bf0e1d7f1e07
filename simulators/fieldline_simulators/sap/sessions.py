"""Who may come in, and the sessions: a CSRF token holds only with the cookies that it was given out with."""

import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from fieldline_simulators.sap.calls import as_json
from fieldline_simulators.sap.errors import Refused
from fieldline_simulators.sap.saml import Assertions
from fieldline_simulators.serving import Reply

USER, PASSWORD = "FIELDLINE", "Welcome-2-SAP"
CLIENT_ID, CLIENT_SECRET = "fieldline", "app-secret"
SAML_GRANT = "urn:ietf:params:oauth:grant-type:saml2-bearer"
TOKEN_PATH = "/sap/bc/sec/oauth2/token"  # noqa: S105

_MOST_SESSIONS, _MOST_TOKENS = 1_000, 1_000
_TOKEN_S = 3_600


@dataclass(slots=True)
class _Session:
    token: str
    context: str
    until: float


@dataclass(slots=True)
class Sessions:
    """Logins, access tokens and sessions; all calls come with the lock held."""

    client: str
    csrf_s: float
    #: Host that the cookies are for: that of the system behind a proxy, which its clients do not know it by.
    domain: str = ""
    secure: bool = False
    users: dict[str, str] = field(default_factory=lambda: {USER: PASSWORD})
    apps: dict[str, str] = field(default_factory=lambda: {CLIENT_ID: CLIENT_SECRET})
    assertions: Assertions = field(init=False)
    _sessions: dict[str, _Session] = field(default_factory=dict)
    _tokens: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.assertions = Assertions(self.provider)

    @property
    def provider(self) -> str:
        """The name of the system's own SAML provider, which is the audience of its assertions."""
        return f"S4H_{self.client}"

    @property
    def cookie(self) -> str:
        """The name of the session's cookie."""
        return f"SAP_SESSIONID_S4H_{self.client}"

    def admit(self, headers: Mapping[str, str], options: Mapping[str, str]) -> None:
        """Raises Refused for whom it does not know, and for another client."""
        asked = options.get("sap-client", self.client)
        kind, _, rest = headers.get("authorization", "").partition(" ")
        known = self._knows(rest) if kind.lower() == "basic" else kind.lower() == "bearer" and self._issued(rest)
        if not known or asked != self.client:
            words = "Logon Error Message" if asked == self.client else f"Client {asked[:8]} is not available in this system"
            challenge = {"WWW-Authenticate": f'Basic realm="SAP NetWeaver Application Server [S4H/{self.client}]"'}
            raise Refused(401, "SLOGIN/401", words, headers=challenge, page=True)

    def issue(self, body: bytes, headers: Mapping[str, str], origin: str) -> Reply:
        """An access token for an app's own credentials, or for the user of a SAML assertion that it brings."""
        form = dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=20)) if body.count(b"&") < 20 else {}
        id, secret = form.get("client_id", ""), form.get("client_secret", "")
        kind, _, rest = headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            id, _, secret = (unquote(each) for each in _decoded(rest).partition(":"))
        if form.get("grant_type") not in ("client_credentials", SAML_GRANT):
            return as_json({"error": "unsupported_grant_type"}, 400)
        if not _same(self.apps.get(id, ""), secret):
            return as_json({"error": "invalid_client"}, 401)
        if form["grant_type"] == SAML_GRANT:
            try:
                user = self.assertions.user(form.get("assertion", ""), id, f"{origin}{TOKEN_PATH}")
            except ValueError as error:
                return as_json({"error": "invalid_grant", "error_description": f"SAML: {error}"}, 400)
            if user.upper() not in self.users:
                return as_json({"error": "invalid_grant", "error_description": "SAML: there is no such user"}, 400)
        token, now = secrets.token_urlsafe(24), time.monotonic()
        self._tokens = {kept: until for kept, until in list(self._tokens.items())[-_MOST_TOKENS:] if until > now}
        self._tokens[token] = now + _TOKEN_S
        return as_json({"access_token": token, "token_type": "Bearer", "expires_in": _TOKEN_S, "scope": form.get("scope", "")})

    def fetch(self, headers: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
        """A CSRF token, with the cookies that belong to it; a session that lives keeps its own."""
        found = self._current(headers)
        if found is not None:
            return found.token, ()
        name, made = secrets.token_urlsafe(24), _Session(secrets.token_urlsafe(18), secrets.token_hex(8), self._ends())
        self._sessions = dict(list(self._sessions.items())[-_MOST_SESSIONS + 1 :])
        self._sessions[name] = made
        domain = f"; domain={self.domain}" if self.domain else ""
        attributes = f"path=/; HttpOnly{domain}{'; secure' if self.secure else ''}"
        cookies = (
            f"sap-usercontext=sap-client={self.client}; path=/", f"{self.cookie}={name}; {attributes}",
            f"sap-XSRF_S4H_{self.client}={made.context}; {attributes}",
        )  # fmt: skip
        return made.token, cookies

    def check_token(self, headers: Mapping[str, str]) -> None:
        """Raises Refused where the token is missing, too old, or of another session."""
        found = self._current(headers)
        if found is None or not _same(found.token, headers.get("x-csrf-token", "")):
            raise Refused(403, "", "CSRF token validation failed", headers={"X-CSRF-Token": "Required"})

    def end(self, headers: Mapping[str, str] | None = None) -> None:
        """Ends the session of a request, or all, with their access tokens."""
        if headers is None:
            self._sessions.clear()
            self._tokens.clear()
        else:
            self._sessions.pop(_cookies(headers).get(self.cookie, ""), None)

    def _current(self, headers: Mapping[str, str]) -> _Session | None:
        cookies = _cookies(headers)
        found = self._sessions.get(cookies.get(self.cookie, ""))
        if found is None or found.until < time.monotonic() or cookies.get(f"sap-XSRF_S4H_{self.client}") != found.context:
            return None
        return found

    def _ends(self) -> float:
        return time.monotonic() + self.csrf_s

    def _knows(self, basic: str) -> bool:
        user, _, password = _decoded(basic).partition(":")
        return _same(self.users.get(user.upper(), ""), password)

    def _issued(self, token: str) -> bool:
        return self._tokens.get(token, 0.0) > time.monotonic()


def _same(wanted: str, given: str) -> bool:
    return bool(wanted) and hmac.compare_digest(wanted.encode(), given.encode())


def _decoded(basic: str) -> str:
    try:
        return base64.b64decode(basic, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


def _cookies(headers: Mapping[str, str]) -> Mapping[str, Any]:
    parts = (each.strip().partition("=") for each in headers.get("cookie", "").split(";"))
    return {name: value for name, _, value in parts}

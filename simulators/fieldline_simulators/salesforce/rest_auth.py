"""Logins by OAuth, and who is logged in."""

import base64
import binascii
import hashlib
import hmac
from datetime import datetime
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from fieldline_simulators.salesforce.calls import Answer, Call, Routes, as_json, as_text
from fieldline_simulators.salesforce.schema import Row
from fieldline_simulators.salesforce.sessions import App

routes = Routes()
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_AHEAD_S = 180 + 30
_AUDIENCES = {False: "https://login.salesforce.com", True: "https://test.salesforce.com"}


class OAuthError(Exception):
    """A refusal of the token endpoint."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error, self.description = error, description


@routes.on("POST", "/services/oauth2/token", session=False)
def token(call: Call) -> Answer:
    """Gives an access token."""
    form = call.form()
    flows = {
        JWT_BEARER: _by_assertion, "client_credentials": _by_credentials, "refresh_token": _by_refresh_token,
        "password": _by_password,
    }  # fmt: skip
    try:
        flow = flows.get(form.get("grant_type", ""))
        if flow is None:
            raise OAuthError("unsupported_grant_type", "grant type not supported")
        user, app = flow(call, form)
        if not user.get("IsActive", True):
            raise OAuthError("invalid_grant", "inactive user")
    except OAuthError as refused:
        return as_json({"error": refused.error, "error_description": refused.description}, 400)
    return as_json(issue(call, user, app.client_secret))


def issue(call: Call, user: Row, secret: str) -> dict[str, str]:
    """A new session as the token endpoint answers it."""
    org, now = call.org, call.org.now()
    made = org.sessions.begin(org.org_id, user["Id"], now)
    org.save()
    identity, issued = identity_url(call, user), str(int(now.timestamp() * 1000))
    signature = base64.b64encode(hmac.new(secret.encode(), f"{identity}{issued}".encode(), hashlib.sha256).digest()).decode()
    return {"access_token": made, "signature": signature, "scope": "api", "instance_url": call.base_url, "id": identity,
            "token_type": "Bearer", "issued_at": issued}  # fmt: skip


def identity_url(call: Call, user: Row) -> str:
    """Where a user's identity is found."""
    return f"{call.base_url}/id/{call.org.org_id}/{user['Id']}"


@routes.on("GET", "/services/oauth2/userinfo", session=False)
@routes.on("POST", "/services/oauth2/userinfo", session=False)
def userinfo(call: Call) -> Answer:
    """Says who is logged in."""
    user = _user_of(call)
    return as_json(_identity(call, user)) if user else as_text("Bad_OAuth_Token", 403)


@routes.on("GET", "/id/{org_id}/{user_id}", session=False)
def identity(call: Call, org_id: str, user_id: str) -> Answer:
    """Says who a user is."""
    user = _user_of(call)
    if user is None or org_id[:15] != call.org.org_id[:15]:
        return as_text("Bad_OAuth_Token" if user is None else "Wrong_Org", 403)
    return as_json({**_identity(call, user), "id": identity_url(call, user), "asserted_user": user["Id"][:15] == user_id[:15]})


@routes.on("POST", "/services/oauth2/revoke", session=False)
def revoke(call: Call) -> Answer:
    """Ends a session."""
    if call.org.sessions.end(call.form().get("token", "")):
        return Answer()
    return as_json({"error": "unsupported_token_type", "error_description": "this token type is not supported"}, 400)


@routes.on("POST", "/services/oauth2/introspect", session=False)
def introspect(call: Call) -> Answer:
    """Says whether a token is good."""
    user_id = call.org.sessions.user_of(call.form().get("token", ""), call.org.now())
    row = call.org.row_of(user_id)
    return as_json(
        {"active": True, "scope": "api", "username": row["Username"], "sub": identity_url(call, row)} if row else {"active": False}
    )


def _user_of(call: Call) -> Row | None:
    return call.org.row_of(call.org.sessions.user_of(call.token, call.org.now()))


def _identity(call: Call, user: Row) -> dict[str, Any]:
    data = f"{call.base_url}/services/data/v{{version}}"
    urls = {name: f"{data}/{name}/" for name in ("sobjects", "query", "search", "recent")}
    return {
        "sub": identity_url(call, user), "user_id": user["Id"], "organization_id": call.org.org_id,
        "preferred_username": user["Username"], "username": user["Username"], "nickname": user.get("Alias"),
        "name": user.get("Name"), "email": user.get("Email"), "user_type": "STANDARD", "language": "en_US", "locale": "en_US",
        "utcOffset": 0, "active": True, "urls": {"rest": f"{data}/", **urls},
    }  # fmt: skip


def _app(call: Call, client_id: str) -> App:
    app = call.org.apps.get(client_id)
    if app is None:
        raise OAuthError("invalid_client_id", "client identifier invalid")
    return app


def _app_with_secret(call: Call, form: dict[str, str]) -> App:
    client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    kind, _, encoded = call.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise OAuthError("invalid_client", "invalid client credentials") from None
    app = _app(call, client_id)
    if not hmac.compare_digest(app.client_secret.encode(), secret.encode()):
        raise OAuthError("invalid_client", "invalid client credentials")
    return app


def _by_credentials(call: Call, form: dict[str, str]) -> tuple[Row, App]:
    app = _app_with_secret(call, form)
    user = call.org.user(app.run_as) if app.run_as else None
    if user is None:
        raise OAuthError("invalid_grant", "no client credentials user enabled")
    return user, app


def _by_refresh_token(call: Call, form: dict[str, str]) -> tuple[Row, App]:
    app = _app(call, form.get("client_id", ""))
    user = call.org.row_of(call.org.sessions.refreshed_user(form.get("refresh_token", "")))
    if user is None:
        raise OAuthError("invalid_grant", "expired access/refresh token")
    return user, app


def _by_password(call: Call, form: dict[str, str]) -> tuple[Row, App]:
    app = _app_with_secret(call, form)
    user = call.org.user(form.get("username", ""))
    if user is None or not call.org.accepts_password(form.get("password", "")):
        raise OAuthError("invalid_grant", "authentication failure")
    return user, app


def _by_assertion(call: Call, form: dict[str, str]) -> tuple[Row, App]:
    signed, claims, signature = _split(form.get("assertion", ""))
    app = _app(call, str(claims.get("iss", "")))
    _check_signature(app, signed, signature, call.org.now())
    audience = str(claims.get("aud", "")).rstrip("/")
    behaviour = call.org.behaviour
    audiences = [_AUDIENCES[behaviour.sandbox]] if behaviour.check_audience else list(_AUDIENCES.values())
    if audience not in (*audiences, call.base_url):
        raise OAuthError("invalid_grant", "audience is invalid")
    # simple-salesforce sends the time as text.
    expires = str(claims.get("exp", "")).partition(".")[0]
    left = int(expires) - call.org.now().timestamp() if expires.isdecimal() else -1
    if left <= 0 or left > _AHEAD_S:
        raise OAuthError("invalid_grant", "expired authorization code" if left <= 0 else "invalid assertion")
    user = call.org.user(str(claims.get("sub", "")))
    if user is None:
        raise OAuthError("invalid_grant", "user hasn't approved this consumer")
    if app.approved and user["Username"] not in app.approved:
        raise OAuthError("invalid_app_access", "user is not admin approved to access this app")
    return user, app


def _split(assertion: str) -> tuple[bytes, dict[str, Any], bytes]:
    """What was signed, the claims, and the signature; raises where this is no token signed by RS256."""
    try:
        header, claims, signature = assertion.split(".")
        kind, said = (orjson.loads(_decoded(part)) for part in (header, claims))
        if kind["alg"] != "RS256":
            raise ValueError(kind["alg"])
        return f"{header}.{claims}".encode(), dict(said), _decoded(signature)
    except (ValueError, KeyError, TypeError):
        raise OAuthError("invalid_grant", "invalid assertion") from None


def _decoded(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)


def _check_signature(app: App, signed: bytes, signature: bytes, now: datetime) -> None:
    try:
        key = read_key(app.certificate)
        if "CERTIFICATE" in app.certificate and load_pem_x509_certificate(app.certificate.encode()).not_valid_after_utc < now:
            raise ValueError("expired")
        key.verify(signature, signed, PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        raise OAuthError("invalid_grant", "invalid assertion") from None


def read_key(pem: str) -> RSAPublicKey:
    """The key of a certificate, or a public key; raises ValueError where it is neither."""
    encoded = pem.encode()
    key = load_pem_x509_certificate(encoded).public_key() if "CERTIFICATE" in pem else load_pem_public_key(encoded)
    if not isinstance(key, RSAPublicKey):
        raise ValueError("an app is registered with an RSA key")
    return key

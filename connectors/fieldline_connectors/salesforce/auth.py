"""Signing in: OAuth with a signed assertion or with the app's own credentials, and what refusals mean."""

import base64
import re
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fieldline_connectors.http import answer
from fieldline_connectors.salesforce.config import JwtBearer, SalesforceConfig
from fieldline_core.errors import Misconfigured, Unavailable

_ASSERTION_S = 170
_TOKEN_PATH = "services/oauth2/token"  # noqa: S105
_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"

REFUSALS: tuple[tuple[str, str, str], ...] = (
    ("invalid_grant", "approved this consumer", "the integration user has not been approved for the External Client App: under "
     "Policies set 'Admin approved users are pre-authorized' and add its permission set; and check `username`"),
    ("invalid_app_access", "", "the integration user has not been approved for the External Client App: under Policies add its "
     "permission set"),
    ("invalid_grant", "audience", "the assertion is meant for another kind of org: for a sandbox `url` is its own address "
     "(NAME--SANDBOX.sandbox.my.salesforce.com) and `audience` https://test.salesforce.com, for production "
     "https://login.salesforce.com"),
    ("invalid_grant", "no client credentials user", "the External Client App has no user to run as: set 'Run As' under the "
     "client credentials flow in its Policies"),
    ("invalid_grant", "not supported on this domain", "this way of signing in works at the org's own address only: give its My "
     "Domain as `url`"),
    ("invalid_grant", "assertion", "the signature was not accepted: `private_key` does not belong to the certificate in the "
     "External Client App, or that certificate has expired; upload the current one"),
    ("invalid_grant", "expired", "the signature was not accepted as current: upload a certificate that has not expired, and check "
     "the clock of this machine"),
    ("invalid_grant", "user", "the org has no active user of that name: check `username`; in a sandbox it ends with the "
     "sandbox's name"),
    ("invalid_grant", "", "the org refused to sign us in: check `username`, the certificate of `private_key` and the Policies of "
     "the External Client App"),
    ("invalid_client_id", "", "the org does not know the consumer key: `client_id` must come from an app in this very org (one of "
     "production is unknown in a sandbox that was made before it)"),
    ("invalid_client", "", "the org refused the consumer key or secret: copy both again from the External Client App of this org"),
    ("unsupported_grant_type", "", "the External Client App does not allow this flow: enable it in its OAuth settings"),
    ("inactive_org", "", "the org is locked or has expired: ask Salesforce"),
    ("inactive_user", "", "the integration user is inactive: activate it, or unfreeze it"),
)  # fmt: skip
"""Error, part of its description, and what to do about it; the first that fits."""


@dataclass(frozen=True, slots=True)
class Token:
    """A session of the org, and the address where it is valid."""

    access: str = field(repr=False)
    instance: str
    org: str = ""
    user: str = ""
    ends_at: float | None = None
    """Salesforce does not say: it lasts until it is refused."""


def secret_of(config: SalesforceConfig) -> str:
    """The secret that signs us in: the private key, or the app's secret."""
    login = config.login
    return (login.private_key if isinstance(login, JwtBearer) else login.client_secret).reveal()


def sign_in(config: SalesforceConfig, client: httpx.Client, secret: str) -> Token:
    """A new token; raises Misconfigured with what a person has to change, or Unavailable."""
    url = f"{str(config.url).rstrip('/')}/{_TOKEN_PATH}"
    login = config.login
    if isinstance(login, JwtBearer):
        form = {"grant_type": _JWT_GRANT, "assertion": assertion(config, login, secret, int(time.time()))}
        response = client.post(url, data=form)
    else:
        basic = httpx.BasicAuth(login.client_id, secret)
        response = client.post(url, data={"grant_type": "client_credentials"}, auth=basic)
    return _token(response)


def assertion(config: SalesforceConfig, login: JwtBearer, private_key: str, now: int) -> str:
    """The signed assertion that asks for a token, valid for less than three minutes."""
    claims = {"iss": login.client_id, "sub": login.username, "aud": config.audience, "exp": now + _ASSERTION_S}
    parts = [orjson.dumps(part) for part in ({"alg": "RS256"}, claims)]
    signed = b".".join(map(_base64url, parts))
    return (signed + b"." + _base64url(_key(private_key).sign(signed, PKCS1v15(), SHA256()))).decode()


def _key(pem: str) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise Misconfigured("the private_key of the Salesforce connection is no RSA key in PEM without a password")
    return key


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _token(response: httpx.Response) -> Token:
    host = response.request.url.host
    body = _object(response)
    if response.status_code in (400, 401, 403) and "error" in body:
        raise Misconfigured(f"{host}: {refusal(str(body['error']), str(body.get('error_description', '')))}")
    if response.status_code == 404:
        raise Misconfigured(f"{host} has no Salesforce login: check `url`, the org's My Domain address")
    answer(response)
    access, instance = body.get("access_token"), body.get("instance_url")
    if not isinstance(access, str) or not isinstance(instance, str) or not urlsplit(instance).hostname:
        raise Unavailable(f"{host} answered without a token: check `url`, the org's My Domain address")
    return Token(access, instance.rstrip("/"), *_identity(body.get("id")))


def _identity(identity: Any) -> tuple[str, str]:
    """Ids of org and user from the identity URL, `https://login.salesforce.com/id/ORG/USER`; empty where there is none."""
    found = re.search(r"/id/(00D[A-Za-z0-9]{12,15})/(005[A-Za-z0-9]{12,15})?", str(identity))
    return (found[1], found[2] or "") if found else ("", "")


def refusal(error: str, description: str) -> str:
    """What to do about an OAuth error, with its code at the end."""
    said = description.lower()
    words = next((words for code, part, words in REFUSALS if code == error and part in said), "the org refused to sign us in")
    return f"{words} [{error[:60]}]"


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}

"""The one HTTP client: how a connection configures it, and what an answer's status means."""

import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path

import httpx
from pydantic import Field

from fieldline_connectors.http.addresses import PrivateHost, Resolve, resolve
from fieldline_connectors.http.transport import MAX_CONNECTIONS, GuardedTransport
from fieldline_core.errors import Misconfigured, Rejected, Unavailable
from fieldline_core.ports import ConnectorConfig

_LONGEST_WAIT_S = 7 * 86_400.0
_NOTHING_LEFT = re.compile(r"\br=0;t=(\d{1,6})\b")


class HttpConfig(ConnectorConfig):
    """Settings of every connection that speaks HTTP."""

    allow_private: tuple[PrivateHost, ...] = ()
    """Hosts in private networks that this connection may reach, each with its network; all others must be public."""
    ca_file: Path | None = None
    """File with the certificate authorities (PEM) to trust beside the public ones."""
    connect_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """Longest wait for a connection, in seconds."""
    timeout_s: float = Field(default=30.0, gt=0, le=600)
    """Longest silence of the other side while it answers, in seconds."""
    total_timeout_s: float = Field(default=120.0, gt=0, le=3600)
    """Longest time for a request and its whole answer, in seconds."""
    max_answer_bytes: int = Field(default=64 * 1024 * 1024, ge=1024, le=4 * 1024**3)
    """Largest answer that is read, in bytes after unpacking."""


def guarded_client(
    config: HttpConfig,
    resolve: Resolve = resolve,
    identity: Callable[[ssl.SSLContext], None] | None = None,
    around: Callable[[httpx.BaseTransport], httpx.BaseTransport] | None = None,
    connections: int = MAX_CONNECTIONS,
) -> httpx.Client:
    """A client for one connection: permitted hosts only, no redirects, no proxies or settings from the environment.

    `identity` puts a client certificate into the TLS settings, which are then the connection's own; `around` is what each request
    passes before it goes out, such as a throttle.
    """
    tls = _tls(config.ca_file) if identity is None else _tls.__wrapped__(config.ca_file)
    if identity is not None:
        identity(tls)
    transport = GuardedTransport(tls, config.allow_private, resolve, config.total_timeout_s, config.max_answer_bytes, connections)
    return httpx.Client(
        transport=around(transport) if around else transport,
        timeout=httpx.Timeout(config.timeout_s, connect=config.connect_timeout_s, pool=config.connect_timeout_s),
        headers={"user-agent": "fieldline", "accept-encoding": "gzip"},
        follow_redirects=False,
        trust_env=False,
    )


def answer(response: httpx.Response) -> httpx.Response:
    """The response, or the error that its status means; messages hold neither its path nor its body."""
    match response.status_code:
        case code if code < 300 or code == 304:
            return response
        case code if code < 400:
            raise Misconfigured(f"{reason(response)}, a redirect: those are not followed, so configure the final address")
        case 401 | 403 | 407:
            raise Misconfigured(f"{reason(response)}: check the credentials of this connection and their permissions")
        case 425 | 429:
            raise Unavailable(reason(response), wait_asked(response))
        case 501 | 505:
            raise Rejected(reason(response))
        case code if code == 408 or code >= 500:
            # A server that names a time to come back has not begun; a gateway that just fails may have passed it on.
            raise Unavailable(reason(response), wait := wait_asked(response), sent=wait is None)
        case _:
            raise Rejected(reason(response))


def reason(response: httpx.Response) -> str:
    """Who answered what, in words without any value of a record."""
    try:
        phrase = f" {HTTPStatus(response.status_code).phrase}"
    except ValueError:
        phrase = ""
    return f"{response.request.url.host} answered {response.status_code}{phrase}"


def wait_asked(response: httpx.Response) -> float | None:
    """The wait in seconds that Retry-After asks for, given in seconds or as a date; at most a week.

    Some servers send a `RateLimit` header in its place: nothing is left (`r=0`) for so many seconds (`t=59`).
    """
    asked = response.headers.get("retry-after", "").strip()
    if not asked and response.status_code == 429 and (found := _NOTHING_LEFT.search(response.headers.get("ratelimit", ""))):
        return min(float(found[1]), 3_600.0)
    if asked.isascii() and asked.isdigit():
        return min(float(asked[:12]), _LONGEST_WAIT_S)
    try:
        moment = parsedate_to_datetime(asked)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((aware - datetime.now(UTC)).total_seconds(), 0.0), _LONGEST_WAIT_S)


@lru_cache(maxsize=16)
def _tls(ca_file: Path | None) -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if ca_file:
            context.load_verify_locations(ca_file)
    except OSError as error:
        raise Misconfigured(f"the ca_file {ca_file} cannot be read as PEM certificates: {error.strerror or error}") from None
    return context

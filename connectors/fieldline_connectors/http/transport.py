"""The transport under every request of Fieldline: guarded, bounded, and with errors in our three words."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from ssl import SSLCertVerificationError, SSLContext

import httpcore
import httpx

from fieldline_connectors.http.addresses import PrivateHost, Resolve, plain_host
from fieldline_connectors.http.network import GuardedNetwork, ending_at
from fieldline_connectors.inflate import inflate
from fieldline_core.errors import Misconfigured, Unavailable

MAX_CONNECTIONS = 20
"""Connections of one client, where nothing says that it needs more."""
_KEEPALIVE_S = 5.0
_NOT_SENT = (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout)
_WORDS: dict[type[Exception], str] = {
    httpcore.ConnectTimeout: "it did not accept the connection in time",
    httpcore.PoolTimeout: "all connections are in use",
    httpcore.ReadTimeout: "its time was over",
    httpcore.WriteTimeout: "its time was over",
    httpcore.RemoteProtocolError: "what it sent is no complete HTTP answer",
}


class GuardedTransport(httpx.BaseTransport):
    """Sends requests to permitted hosts over TLS, follows nothing, and bounds time and size of the answer.

    The request extensions `total_timeout_s` and `max_bytes` replace the bounds for one request.
    """

    def __init__(
        self, tls: SSLContext, private: Sequence[PrivateHost], resolve: Resolve, total_timeout_s: float, max_bytes: int,
        connections: int = MAX_CONNECTIONS,
    ) -> None:  # fmt: skip
        self._plain_http = frozenset(entry.host for entry in private)
        self._total_timeout_s = total_timeout_s
        self._max_bytes = max_bytes
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=_KEEPALIVE_S,
            network_backend=GuardedNetwork(private, resolve),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, whatever its status; raises Unavailable or Misconfigured where there is none."""
        host = self._allowed_host(request.url)
        ends_at = time.monotonic() + request.extensions.get("total_timeout_s", self._total_timeout_s)
        with ending_at(ends_at), _translated(host):
            answer = self._pool.handle_request(_core_request(request))
        headers = httpx.Headers(answer.headers)
        encoding = headers.pop("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip"):
            answer.close()
            raise Unavailable(f"{host} answered in an encoding that was not asked for; only gzip is", sent=True)
        max_bytes = request.extensions.get("max_bytes", self._max_bytes)
        body = _Body(answer, host, ends_at, max_bytes, packed=encoding != "identity")
        return httpx.Response(answer.status, headers=headers, stream=body, extensions=answer.extensions)

    def close(self) -> None:
        """Closes all connections."""
        self._pool.close()

    def _allowed_host(self, url: httpx.URL) -> str:
        host = plain_host(url.host)
        if not host:
            raise Misconfigured("the address of a connection has no host: write it as https://host/path")
        if url.userinfo:
            raise Misconfigured(f"the address of {host} holds a user name: give credentials in the connection's own settings")
        if url.scheme != "https" and (url.scheme != "http" or host not in self._plain_http):
            raise Misconfigured(f"the address of {host} must begin with https:// (http is for hosts that allow_private names)")
        return host


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response, host: str, ends_at: float, max_bytes: int, packed: bool) -> None:
        self._answer = answer
        self._host = host
        self._ends_at = ends_at
        self._max_bytes = max_bytes
        self._packed = packed

    def __iter__(self) -> Iterator[bytes]:
        total = 0
        try:
            for chunk in inflate(self._arriving(), self._max_bytes) if self._packed else self._arriving():
                total += len(chunk)
                if total > self._max_bytes:
                    raise ValueError(f"more than {self._max_bytes:,} bytes")
                yield chunk
        except ValueError as error:
            raise Unavailable(f"{self._host} answered {error}", sent=True) from None

    def _arriving(self) -> Iterator[bytes]:
        chunks = self._answer.iter_stream()
        while True:
            with ending_at(self._ends_at), _translated(self._host):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def close(self) -> None:
        self._answer.close()


def _core_request(request: httpx.Request) -> httpcore.Request:
    assert isinstance(request.stream, Iterable)
    url = httpcore.URL(scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path)
    return httpcore.Request(request.method, url, headers=request.headers.raw, content=request.stream, extensions=request.extensions)


@contextmanager
def _translated(host: str) -> Iterator[None]:
    try:
        yield
    except _NOT_SENT as error:
        if isinstance(_cause(error), SSLCertVerificationError):
            raise Misconfigured(f"the certificate of {host} is not trusted: give its authority as ca_file") from None
        raise Unavailable(f"{host} cannot be reached: {_WORDS.get(type(error), 'no connection')}") from None
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
        raise Unavailable(f"{host} did not answer in full: {_WORDS.get(type(error), 'the connection broke')}", sent=True) from None
    except httpcore.LocalProtocolError:
        raise Misconfigured(f"a header for {host} holds a character that HTTP does not allow: correct the setting") from None


def _cause(error: BaseException) -> BaseException:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return error

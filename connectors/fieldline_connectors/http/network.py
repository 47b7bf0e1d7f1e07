"""TCP connections that go only to checked addresses, and give up when the request's time is over."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from ssl import SSLContext
from typing import Any

import httpcore

from fieldline_connectors.http.addresses import PrivateHost, Resolve, checked_addresses

_ends_at: ContextVar[float] = ContextVar("ends_at", default=float("inf"))


@contextmanager
def ending_at(moment: float) -> Iterator[None]:
    """Network calls inside end at that moment of the monotonic clock, however slowly the other side drips."""
    token = _ends_at.set(moment)
    try:
        yield
    finally:
        _ends_at.reset(token)


def _remaining(timeout: float | None, error: type[httpcore.TimeoutException]) -> float | None:
    left = _ends_at.get() - time.monotonic()
    if left <= 0:
        raise error("the time for the whole request is over")
    return min(left, timeout if timeout is not None else left) if left != float("inf") else timeout


class _TimedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _remaining(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _remaining(timeout, httpcore.ConnectTimeout)
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class GuardedNetwork(httpcore.NetworkBackend):
    """Resolves a host once, checks every address, and connects to one of those: a name server cannot change its mind.

    TLS above it still asks for the host's name, because the pool keeps that; only the socket goes to the address.
    """

    def __init__(self, private: Sequence[PrivateHost], resolve: Resolve) -> None:
        self._private = private
        self._resolve = resolve
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first checked address that answers."""
        options = list(socket_options or ())
        *others, last = checked_addresses(host, port, self._private, self._resolve)
        for address in others:
            try:
                return self._connected(address, port, timeout, local_address, options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connected(last, port, timeout, local_address, options)

    def _connected(
        self, address: str, port: int, timeout: float | None, local_address: str | None, options: list[Any]
    ) -> httpcore.NetworkStream:
        left = _remaining(timeout, httpcore.ConnectTimeout)
        return _TimedStream(self._sockets.connect_tcp(address, port, left, local_address, options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """Refuses: a Unix socket is no host that could be checked."""
        raise httpcore.UnsupportedProtocol("requests go to hosts, not to Unix sockets")

"""Calls of the Pub/Sub API for one listener: over TLS, to addresses that were checked, ended as soon as it is told to stop."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import certifi
import grpc

from fieldline_connectors.http import Resolve, checked_addresses, resolve
from fieldline_connectors.http.addresses import plain_host
from fieldline_connectors.salesforce.auth import Token
from fieldline_connectors.salesforce.config import SalesforceConfig
from fieldline_connectors.salesforce.pubsub_errors import Refusal, meaning
from fieldline_connectors.salesforce.pubsub_messages import PACKAGE, FetchRequest, FetchResponse
from fieldline_core.errors import Misconfigured, Unavailable

_LOOK_S = 1.0
_SILENT_S = 330.0
"""The org says something at least every 270 seconds."""
_KEEPALIVE_MS = 300_000
"""The shortest that every gRPC server allows; what is silent for longer is noticed by `_SILENT_S`."""
_MAX_MESSAGE_BYTES = 2**31 - 1
_MAX_CODE_CHARS = 200


class Ended(Exception):
    """The listener was told to stop while it waited."""


def open_channel(config: SalesforceConfig, resolve: Resolve = resolve) -> Any:
    """A channel to `pubsub_url`; raises Misconfigured where it may not go there."""
    url = config.pubsub_url
    host, port = plain_host(url.host or ""), url.port or 443
    plain = url.scheme == "http"
    if plain and host not in {entry.host for entry in config.allow_private}:
        raise Misconfigured(f"pubsub_url of {host} must begin with https:// (http is for hosts that allow_private names)")
    target = _target(checked_addresses(host, port, config.allow_private, resolve), port)
    options = (
        # The name for TLS and for the server; the target holds nothing but addresses, which no name server can change any more.
        ("grpc.default_authority", f"{host}:{port}"),
        ("grpc.enable_http_proxy", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.max_receive_message_length", min(config.max_answer_bytes, _MAX_MESSAGE_BYTES)),
        ("grpc.primary_user_agent", "fieldline"),
    )
    if plain:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(_authorities(config.ca_file)), options)


def _target(addresses: Sequence[str], port: int) -> str:
    """The addresses as gRPC takes them: of one family, which is that of the one that the resolver prefers."""
    versions = {address: ip_address(address).version for address in addresses}
    version = versions[addresses[0]]
    shown = (f"[{address}]" if version == 6 else address for address in addresses if versions[address] == version)
    return f"ipv{version}:" + ",".join(f"{address}:{port}" for address in shown)


def _authorities(ca_file: Path | None) -> bytes:
    """The public authorities, and those of the connection."""
    try:
        own = ca_file.read_bytes() if ca_file else b""
    except OSError as error:
        raise Misconfigured(f"the ca_file {ca_file} cannot be read as PEM certificates: {error.strerror or error}") from None
    return Path(certifi.where()).read_bytes() + b"\n" + own


class Line:
    """One listener's calls about one topic; closed by whoever opened it."""

    def __init__(self, config: SalesforceConfig, topic: str, stopped: Callable[[], bool]) -> None:
        self._channel = open_channel(config)
        self._timeout_s = config.timeout_s
        self._place = str(config.pubsub_url.host)
        self._topic = topic
        self._stopped = stopped
        self._metadata: tuple[tuple[str, str], ...] = ()
        self._waits_since = float("inf")
        self._fell_silent = False

    def sign_in(self, token: Token) -> None:
        """Has the calls from now on made with that session."""
        if not token.org:
            raise Misconfigured(
                f"{self._place} needs the org's Id, and the login did not give it: check `url`, the My Domain address"
            )
        self._metadata = (("accesstoken", token.access), ("instanceurl", token.instance), ("tenantid", token.org))

    def ask(self, method: str, request: Any, answer: Any) -> Any:
        """The answer to one call; raises Ended where the listener is told to stop meanwhile."""
        ask = self._channel.unary_unary(
            f"/{PACKAGE}.PubSub/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        call = ask.future(request, timeout=self._timeout_s, metadata=self._metadata)
        while not self._stopped():
            try:
                return call.result(timeout=_LOOK_S)
            except grpc.FutureTimeoutError:
                continue
            except grpc.RpcError as error:
                raise self._meaning(error) from None
        call.cancel()
        raise Ended

    def subscribe(self, first: Any) -> Iterator[Any]:
        """The responses as they arrive; events are asked for anew when the caller is done with as many.

        Raises Ended where the listener is told to stop while it waits.
        """
        requests: SimpleQueue[Any] = SimpleQueue()
        requests.put(first)
        subscribe = self._channel.stream_stream(
            f"/{PACKAGE}.PubSub/Subscribe",
            request_serializer=FetchRequest.SerializeToString,
            response_deserializer=FetchResponse.FromString,
        )
        call, over = subscribe(iter(requests.get, None), metadata=self._metadata), threading.Event()
        watch = threading.Thread(target=self._watch, args=(call, over), name="pubsub-watch", daemon=True)
        watch.start()
        try:
            while True:
                response = self._next(call)
                yield response
                if response.events:
                    requests.put(FetchRequest(num_requested=len(response.events)))
        finally:
            over.set()
            requests.put(None)
            call.cancel()
            watch.join()

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _next(self, call: Any) -> Any:
        if self._stopped():
            raise Ended
        self._waits_since = time.monotonic()
        try:
            return next(call)
        except StopIteration:
            raise Unavailable(f"{self._place} has ended the subscription to {self._topic}") from None
        except grpc.RpcError as error:
            raise self._meaning(error) from None
        finally:
            self._waits_since = float("inf")

    def _watch(self, call: Any, over: threading.Event) -> None:
        """Cancels the call when the listener is told to stop, or when the other side is silent for too long."""
        while not over.wait(_LOOK_S):
            self._fell_silent = time.monotonic() - self._waits_since > _SILENT_S
            if self._fell_silent or self._stopped():
                call.cancel()
                return

    def _meaning(self, error: Any) -> Exception:
        if self._stopped():
            return Ended()
        if self._fell_silent:
            return Unavailable(f"{self._place} has been silent for too long: the connection is made anew")
        code = ""
        with suppress(AttributeError):
            trailers = {entry.key: entry.value for entry in error.trailing_metadata() or ()}
            code = str(trailers.get("error-code") or "")[:_MAX_CODE_CHARS]
        return meaning(Refusal(error.code().name, code, str(error.details() or "")), self._place, self._topic)

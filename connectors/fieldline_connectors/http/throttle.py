"""Manners toward one server, for all workers of a connection together: requests in a minute, requests at once, pauses it asks for.

They are kept where the connection's processes share values, and changed there twice for each request. A process that dies leaves
its place among the requests at once to the others soon: a request that takes long renews its place while its answer arrives.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

import httpx
import msgspec
from pydantic import Field

from fieldline_connectors.http.client import HttpConfig, wait_asked
from fieldline_connectors.http.shared import OfProcess
from fieldline_connectors.http.transport import MAX_CONNECTIONS
from fieldline_core.errors import Paced, Unavailable
from fieldline_core.ports import Shared

IN_TURN: Mapping[str, Any] = {"patience_s": 300.0}
"""Extension of a request behind others of the same write: it waits for its turn, as not every write can be begun anew."""

_SHORT_WAIT_S = 2.0
_LOOK_AGAIN_S = 0.1
_BUSY_S = 5.0
_WINDOW_S = 60
_SPARE_S = 10.0
_BOOKED_S = 120.0
_LONGEST_PAUSE_S = 3_600.0


class ThrottledConfig(HttpConfig):
    """Settings of a connection that keeps to a pace."""

    requests_per_minute: int = Field(1_200, ge=1, le=1_000_000)
    """Most requests in any minute, by all workers of this connection together."""
    max_concurrent: int = Field(8, ge=1, le=1_000)
    """Most requests at once, by all workers of this connection together."""


@dataclass(slots=True)
class _Kept:
    """What the workers of a connection know of each other; times are seconds since 1970."""

    sent: dict[int, int] = field(default_factory=dict)
    """Second -> requests that began in it, for the last minute."""
    under_way: dict[str, float] = field(default_factory=dict)
    """Request -> when it is over at the latest."""
    paused_until: float = 0.0


class Throttle:
    """Lets a request go out when the manners of the connection to the server at `address` allow it."""

    def __init__(
        self, config: ThrottledConfig, address: str, clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self.shared: Shared = OfProcess()
        self.connections = max(MAX_CONNECTIONS, config.max_concurrent + 1)
        """Connections that one process may need: one for each request at once, and one to sign in."""
        self._server = httpx.URL(address).netloc
        self._config = config
        self._clock = clock
        self._sleep = sleep

    def around(self, transport: httpx.BaseTransport) -> httpx.BaseTransport:
        """The transport, kept to the pace."""
        return _Throttled(transport, self)

    def booked_s(self, lasts_s: float | None) -> float:
        """For how long a request of so many seconds at most books its place; a server is silent for no longer than that."""
        return min(lasts_s or self._config.total_timeout_s, max(_BOOKED_S, self._config.timeout_s))

    def enter(self, host: str, lasts_s: float, patience_s: float = _SHORT_WAIT_S) -> str:
        """Counts a request that lasts so long at most, and returns its name.

        Waits a moment where it is too early; raises Paced, with the wait, where the patience is not enough.
        """
        name, patient_until, pause_s = token_hex(8), self._clock() + patience_s, _LOOK_AGAIN_S
        while True:
            wait_s, why = self._entered(name, lasts_s)
            if not why:
                return name
            if self._clock() + wait_s > patient_until:
                raise Paced(f"{host}: {why}", wait_s if wait_s > _SHORT_WAIT_S else _BUSY_S)
            # Not all at the same moment.
            self._sleep(max(wait_s, pause_s * random.uniform(1.0, 1.5)))  # noqa: S311
            pause_s = min(pause_s * 1.5, _SHORT_WAIT_S)

    def stay(self, name: str, lasts_s: float) -> None:
        """Keeps the place of a request that goes on, for so long at most."""

        def change(kept: bytes | None) -> bytes:
            state = _opened(kept)
            state.under_way[name] = self._clock() + lasts_s + _SPARE_S
            return msgspec.json.encode(state)

        with suppress(Unavailable):
            self.shared.update("throttle", change)

    def leave(self, name: str) -> None:
        """Makes room for another request; where the store is away, the time of this one makes it."""

        def change(kept: bytes | None) -> bytes:
            state = _opened(kept)
            state.under_way.pop(name, None)
            return msgspec.json.encode(state)

        # What the server answered is known by now, and must not be lost for this.
        with suppress(Unavailable):
            self.shared.update("throttle", change)

    def heed(self, request: httpx.Request, response: httpx.Response) -> None:
        """Has all workers wait where the server asks one of them to; a host that only keeps files for it is another server."""
        asked = response.status_code in (429, 503) and request.url.netloc == self._server
        asked_s = wait_asked(response) if asked else None
        if not asked_s:
            return
        until = self._clock() + min(asked_s, _LONGEST_PAUSE_S)

        def change(kept: bytes | None) -> bytes:
            state = _opened(kept)
            state.paused_until = max(state.paused_until, until)
            return msgspec.json.encode(state)

        with suppress(Unavailable):
            self.shared.update("throttle", change)

    def _entered(self, name: str, lasts_s: float) -> tuple[float, str]:
        """No reason where the request was counted, else how long to wait, and why."""
        found = (0.0, "")

        def change(kept: bytes | None) -> bytes | None:
            nonlocal found
            state, now = _opened(kept), self._clock()
            found = self._reason(state, now)
            if found[1]:
                return kept
            state.sent[int(now)] = state.sent.get(int(now), 0) + 1
            state.under_way[name] = now + lasts_s + _SPARE_S
            return msgspec.json.encode(state)

        self.shared.update("throttle", change)
        return found

    def _reason(self, state: _Kept, now: float) -> tuple[float, str]:
        """Forgets what is over, and says what a request has to wait for."""
        # A clock that was set back, or another machine's that is ahead, must not hold anybody up for longer than that.
        state.sent = {second: count for second, count in state.sent.items() if abs(int(now) - second) <= _WINDOW_S}
        state.under_way = {name: ends_at for name, ends_at in state.under_way.items() if ends_at > now}
        if now < state.paused_until <= now + _LONGEST_PAUSE_S:
            wait_s = state.paused_until - now
            return wait_s, f"the server has asked this connection to wait; it goes on in {wait_s:.0f} s"
        most = self._config.requests_per_minute
        if sum(state.sent.values()) >= most:
            wait_s = max(min(state.sent) + _WINDOW_S + 1 - now, _LOOK_AGAIN_S)
            return wait_s, f"{most:,} requests were sent in the last minute, as many as `requests_per_minute` allows"
        if len(state.under_way) >= self._config.max_concurrent:
            return _LOOK_AGAIN_S, f"{len(state.under_way):,} requests are under way, as many as `max_concurrent` allows"
        return 0.0, ""


class _Throttled(httpx.BaseTransport):
    def __init__(self, transport: httpx.BaseTransport, throttle: Throttle) -> None:
        self._transport = transport
        self._throttle = throttle

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer; the request is under way until the answer is read or closed."""
        if request.extensions.get("unthrottled"):
            return self._transport.handle_request(request)
        lasts_s = self._throttle.booked_s(request.extensions.get("total_timeout_s"))
        name = self._throttle.enter(request.url.host, lasts_s, request.extensions.get("patience_s", _SHORT_WAIT_S))
        try:
            response = self._transport.handle_request(request)
        except BaseException:
            self._throttle.leave(name)
            raise
        self._throttle.heed(request, response)
        if response.is_closed:
            self._throttle.leave(name)
            return response
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = _UnderWay(response.stream, self._throttle, name, lasts_s)
        return response

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()


class _UnderWay(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, throttle: Throttle, name: str, lasts_s: float) -> None:
        self._stream = stream
        self._throttle = throttle
        self._name = name
        self._lasts_s = lasts_s

    def __iter__(self) -> Iterator[bytes]:
        """The answer; its place is kept for as long as it arrives."""
        clock = self._throttle._clock
        renew_at = clock() + self._lasts_s / 2
        for chunk in self._stream:
            if clock() >= renew_at:
                self._throttle.stay(self._name, self._lasts_s)
                renew_at = clock() + self._lasts_s / 2
            yield chunk

    def close(self) -> None:
        """Closes the answer, and makes room for another request."""
        try:
            self._stream.close()
        finally:
            self._throttle.leave(self._name)


def _opened(kept: bytes | None) -> _Kept:
    try:
        return msgspec.json.decode(kept, type=_Kept) if kept else _Kept()
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Another version of Fieldline kept it in another form: what it counted is over in a minute.
        return _Kept()

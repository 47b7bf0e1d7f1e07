"""One token for all threads and workers of a connection, and one login where it has expired or was refused."""

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Generic, Protocol, TypeVar

import httpx
import msgspec
import orjson

from fieldline_connectors.http.client import answer
from fieldline_connectors.http.shared import OfProcess
from fieldline_core.errors import Misconfigured, Rejected, Unavailable
from fieldline_core.ports import Shared

UNTHROTTLED: Mapping[str, Any] = {"unthrottled": True}
"""Extension of a request that signs in: it waits for no other request, as those wait for its token."""

_SPARE_S = 60.0
_SHORTEST_S = 5.0
_LONGEST_S = 86_400.0
_UNTOLD_S = 300.0


class Lasting(Protocol):
    """What lets us in until a moment (seconds since 1970), or until it is refused."""

    @property
    def ends_at(self) -> float | None:
        """The moment."""
        ...


T = TypeVar("T", bound=Lasting)


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token."""

    access: str = field(repr=False)
    ends_at: float


def token_of(response: httpx.Response, check: str, place: str, clock: Callable[[], float] = time.time) -> Token:
    """The token in an answer of OAuth; without one, `check` says which settings to look at, and `place` which holds the address."""
    host, body = response.request.url.host, _object(response)
    if response.status_code in (400, 401, 403):
        raise Misconfigured(f"{host} gave no token: check {check} [{str(body.get('error', response.status_code))[:60]}]")
    try:
        answer(response)
    except Rejected:
        raise Misconfigured(f"{host} gave no token: check {place} [{response.status_code}]") from None
    access = body.get("access_token")
    if not isinstance(access, str) or not access or not access.isascii():
        raise Unavailable(f"{host} answered without a token: check {place}")
    return Token(access, clock() + _lasts_s(body.get("expires_in")))


def _lasts_s(told: object) -> float:
    """How long to keep a token: until shortly before the end of the seconds that the server gave it."""
    number = str(told).isascii() and str(told).replace(".", "", 1).isdigit()
    seconds = min(float(str(told)[:12]), _LONGEST_S) if number else _UNTOLD_S
    return max(seconds - _SPARE_S, min(seconds, _SHORTEST_S))


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


class Tokens(Generic[T]):
    """The token of a connection: in memory, else the one that another process has, else a new one.

    A token of other `settings` is none of ours. `secrets` are read before the lock is taken, as a secret may lie in the store that
    holds it; `sign_in` gets them.
    """

    def __init__(
        self,
        kind: type[T],
        settings: str,
        secrets: Callable[[], tuple[str, ...]],
        sign_in: Callable[..., T],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.shared: Shared = OfProcess()
        self._kind = kind
        self._secrets = secrets
        self._sign_in = sign_in
        self._clock = clock
        self._current: T | None = None
        self._settings = sha256(settings.encode()).hexdigest()

    def current(self) -> T:
        """A token that has some time left, and was valid when it was last used."""
        # Threads that come here at once find the lock, and then the token of the first.
        kept = self._current
        return kept if kept and self._lasts(kept) else self._fetched(None)

    def instead_of(self, refused: T) -> T:
        """Another token than the one that the server has refused; of all who ask at once, one signs in."""
        kept = self._current
        return kept if kept and kept != refused and self._lasts(kept) else self._fetched(refused)

    def _lasts(self, token: T) -> bool:
        return token.ends_at is None or self._clock() < token.ends_at

    def _fetched(self, refused: T | None) -> T:
        secrets = self._secrets()

        def change(kept: bytes | None) -> bytes:
            token = self._opened(kept)
            if token is None or token == refused or not self._lasts(token):
                token = self._signed_in(secrets)
            return msgspec.json.encode({"settings": self._settings, "token": token})

        token = self._opened(self.shared.update("token", change))
        assert token is not None
        self._current = token
        return token

    def _signed_in(self, secrets: tuple[str, ...]) -> T:
        try:
            return self._sign_in(*secrets)
        except Unavailable as error:
            # Whatever became of the login, nothing of what needs the token was sent.
            raise Unavailable(str(error), error.retry_after) from None

    def _opened(self, kept: bytes | None) -> T | None:
        """The token that was kept, unless the settings it was made with have changed."""
        found = orjson.loads(kept) if kept else {}
        if found.get("settings") != self._settings:
            return None
        try:
            return msgspec.convert(found.get("token"), self._kind)
        except msgspec.ValidationError:
            # Another version of Fieldline kept it in another form.
            return None


class TokenAuth(httpx.Auth):
    """Puts the token of a connection on each request, and another one where that is refused, once."""

    def __init__(self, tokens: Tokens[Token]) -> None:
        self.tokens = tokens

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """The request with a token, and once more with another one after a 401."""
        token = self.tokens.current()
        request.headers["authorization"] = f"Bearer {token.access}"
        response = yield request
        if response.status_code == 401:
            request.headers["authorization"] = f"Bearer {self.tokens.instead_of(token).access}"
            yield request

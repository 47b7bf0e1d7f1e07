"""One token for all threads and workers, and one login when it has expired."""

import threading
from collections.abc import Callable
from hashlib import sha256

import httpx
import orjson

from fieldline_connectors.salesforce.auth import Token, secret_of, sign_in
from fieldline_connectors.salesforce.config import SalesforceConfig
from fieldline_core.ports import Shared


class OfProcess:
    """Shared values where no store is at hand: those of this object."""

    def __init__(self) -> None:
        self._values: dict[str, bytes | None] = {}
        self._lock = threading.Lock()

    def update(self, name: str, change: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """The new value, made from the old one under a lock."""
        with self._lock:
            self._values[name] = change(self._values.get(name))
            return self._values[name]


class Tokens:
    """The token of a connection: in memory, else the one that another process has, else a new one."""

    def __init__(self, config: SalesforceConfig, client: httpx.Client, shared: Shared) -> None:
        self.shared = shared
        self._config = config
        self._client = client
        self._current: Token | None = None
        self._login = sha256(config.model_dump_json(include={"url", "login"}).encode()).hexdigest()

    def current(self) -> Token:
        """A token that was valid when it was last used."""
        # Threads that come here at once find the lock, and then the token of the first.
        return self._current or self._fetched(None)

    def instead_of(self, refused: Token) -> Token:
        """Another token than the one that the org has refused; of all who ask at once, one signs in."""
        if self._current is not None and self._current != refused:
            return self._current
        return self._fetched(refused)

    def _fetched(self, refused: Token | None) -> Token:
        # Before the lock: a secret may be in the store as well.
        secret = secret_of(self._config)

        def change(kept: bytes | None) -> bytes:
            token = self._opened(kept)
            if token is None or token == refused:
                token = sign_in(self._config, self._client, secret)
            return orjson.dumps({"login": self._login, "access": token.access, "instance": token.instance, "org": token.org})

        self._current = self._opened(self.shared.update("token", change))
        assert self._current is not None
        return self._current

    def _opened(self, kept: bytes | None) -> Token | None:
        """The token that was kept, unless the settings it was made with have changed."""
        value = orjson.loads(kept) if kept else {}
        if value.get("login") != self._login or "org" not in value:
            return None
        return Token(value["access"], value["instance"], value["org"])

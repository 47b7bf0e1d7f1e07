"""Requests to one FHIR server: to its own address only, signed in, with refusals in its words."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import orjson

from fieldline_connectors.fhir.config import FhirConfig
from fieldline_connectors.fhir.login import Basic, Bearer, Smart, authorization, sign_in
from fieldline_connectors.fhir.refusals import outcome
from fieldline_connectors.http import Throttle, Token, TokenAuth, Tokens, answer, guarded_client
from fieldline_core import crash
from fieldline_core.errors import Misconfigured, Rejected, Unavailable
from fieldline_core.ports import Shared

_JSON = {"accept": "application/fhir+json"}
BREAK_THE_GLASS = {"4130", "4131", "4134"}
"""Codes that ask a clinician for a reason, which no program may give."""
_SESSION_ENDED = {"4113"}
_STATED_S = 120.0
_LONGEST_DOWNLOAD_S = 3_600.0
_LARGEST_DOWNLOAD = 64 * 1024**3
Parameters = Sequence[tuple[str, str]]


class Ended(Exception):
    """The server has forgotten a search's next page, or an export: it is to be asked for again."""


class Wire:
    """The one way to a server; may be used by several threads at once."""

    def __init__(self, config: FhirConfig) -> None:
        self.config = config
        self._stated: tuple[float, dict[str, Any]] | None = None
        self._throttle = Throttle(config, config.root)
        self._tokens = self._smart(config.login) if isinstance(config.login, Smart) else None

    def _smart(self, login: Smart) -> Tokens[Token]:
        settings = self.config.model_dump_json(include={"base_url", "login"})
        return Tokens(
            Token, settings, lambda: (login.private_key.reveal(),), lambda key: sign_in(login, self.config.root, self._client, key)
        )

    @cached_property
    def _client(self) -> httpx.Client:
        return guarded_client(self.config, around=self._throttle.around, connections=self._throttle.connections)

    @cached_property
    def auth(self) -> httpx.Auth | None:
        """What signs the requests."""
        login = self.config.login
        if isinstance(login, Basic | Bearer):
            return authorization(login)
        return TokenAuth(self._tokens) if self._tokens else None

    def share(self, shared: Shared) -> None:
        """Has the token and the manners toward the server in common with other processes."""
        self._throttle.shared = shared
        if self._tokens:
            self._tokens.shared = shared

    def close(self) -> None:
        """Closes the connections; what is asked later opens them again."""
        if client := self.__dict__.pop("_client", None):
            client.close()

    def sign_in(self) -> None:
        """Returns where the server gives us a token, or needs none."""
        if self._tokens:
            self._tokens.current()

    def search(self, resource: str, parameters: Parameters) -> bytes:
        """The first page of a search."""
        url = f"{self.config.root}/{resource}"
        if self.config.search_by == "post":
            form: dict[str, list[str]] = {}
            for name, value in parameters:
                form.setdefault(name, []).append(value)
            return self._answered("POST", f"{url}/_search", data=form)
        return self._answered("GET", url, params=parameters)

    def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> httpx.Response:  # fmt: skip
        """The answer to a write, whatever its status."""
        sent = {**_JSON, "content-type": "application/fhir+json", **(headers or {})}
        url = f"{self.config.root}/{path}" if path else self.config.root
        crash.point("fhir.send:before")
        response = self._client.request(method, url, headers=sent, content=body, auth=self.auth, extensions=dict(extensions or {}))
        crash.point("fhir.send:after")
        return response

    def next(self, link: str) -> bytes:
        """The page behind a `next` link; raises Ended where the server no longer has it."""
        return self._answered("GET", self.own(link, "next pages"), following=True)

    def own(self, address: str, what: str) -> str:
        """An address that the server names, which is to be at its own origin: our credentials go nowhere else."""
        url = urljoin(f"{self.config.root}/", address)
        ours, theirs = urlsplit(self.config.root), urlsplit(url)
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            raise Misconfigured(f"{ours.hostname} gives {what} at another address: set `base_url` to the one it uses itself")
        return url

    def fetch(self, method: str, url: str, headers: Mapping[str, str]) -> httpx.Response:
        """The answer of our own server, whatever its status."""
        return self._client.request(method, url, headers={**_JSON, **headers}, auth=self.auth)

    @contextmanager
    def download(self, url: str, headers: Mapping[str, str], *, signed: bool) -> Iterator[httpx.Response]:
        """A large answer while it arrives, whatever its status; only where it is `signed` with our credentials."""
        bounds = {"total_timeout_s": _LONGEST_DOWNLOAD_S, "max_bytes": _LARGEST_DOWNLOAD}
        with self._client.stream("GET", url, headers=headers, auth=self.auth if signed else None, extensions=bounds) as response:
            yield response

    @property
    def capabilities(self) -> dict[str, Any]:
        """The server's CapabilityStatement, read anew after some minutes: somebody may allow at the server what it refused."""
        stated = self._stated
        if stated is not None and time.monotonic() - stated[0] <= _STATED_S:
            return stated[1]
        try:
            found = self._capabilities()
        except Unavailable:
            if stated is None:
                raise
            found = stated[1]
        self._stated = (time.monotonic(), found)
        return found

    def _capabilities(self) -> dict[str, Any]:
        try:
            found = orjson.loads(self._answered("GET", f"{self.config.root}/metadata"))
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict) or found.get("resourceType") != "CapabilityStatement":
            raise Misconfigured(f"{self.host} is no FHIR server: `base_url` is the root of its API")
        if not str(found.get("fhirVersion", "4.")).startswith("4."):
            raise Misconfigured(f"{self.host} speaks FHIR {str(found['fhirVersion'])[:20]}; this connector reads R4")
        return found

    @property
    def host(self) -> str:
        """The server's name."""
        return urlsplit(self.config.root).hostname or ""

    def _answered(self, method: str, url: str, *, following: bool = False, **content: Any) -> bytes:
        response = self._client.request(method, url, headers=_JSON, auth=self.auth, **content)
        return self.checked(response, following=following).content

    def checked(self, response: httpx.Response, *, following: bool = False) -> httpx.Response:
        """The answer, or the error that it means; Ended where what we go on with is no longer there."""
        if response.status_code < 400:
            return answer(response)
        codes, words = outcome(response)
        if following and (response.status_code in (404, 410) or codes & _SESSION_ENDED):
            raise Ended
        if codes & BREAK_THE_GLASS:
            raise Rejected(f"{self.host} asks for a reason before it shows this patient (break the glass): it is not asked again")
        said = f": {words}" if words else ""
        try:
            answer(response)
        except Unavailable as error:
            raise Unavailable(f"{error}{said}", error.retry_after, sent=error.sent) from None
        except Rejected as error:
            # A search that is refused is wrong for every record.
            raise Misconfigured(f"{error}{said}") from None
        except Misconfigured as error:
            raise Misconfigured(f"{error}{said}") from None
        raise AssertionError("an answer of 400 or more is an error")

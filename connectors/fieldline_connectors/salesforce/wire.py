"""Requests to one org: signed in, counted, bounded, repeated where that is harmless, with errors in our words."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

import httpx
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from fieldline_connectors.http import OfProcess, Tokens, guarded_client
from fieldline_connectors.salesforce.auth import Token, secret_of, sign_in
from fieldline_connectors.salesforce.budget import Budget
from fieldline_connectors.salesforce.config import SalesforceConfig
from fieldline_connectors.salesforce.errors import faults, translated
from fieldline_core.errors import Unavailable
from fieldline_core.ports import Shared

Body: TypeAlias = bytes | Callable[[], Iterator[bytes]]
"""What a request sends; a function where it is streamed, so that it can be sent again."""

_ATTEMPTS = 4
_SHORT_WAIT_S = 2.0
_RETRIEVE = re.compile(r"composite/sobjects/\w+")
_BULK_STATE = re.compile(r"jobs/")


class Wire:
    """The one way to an org; may be used by several threads at once."""

    def __init__(self, config: SalesforceConfig) -> None:
        self.config = config
        self._client = guarded_client(config)
        settings = config.model_dump_json(include={"url", "login"})
        self.tokens = Tokens(Token, settings, lambda: (secret_of(config),), partial(sign_in, config, self._client))
        self.budget = Budget(config, OfProcess())
        self.place = str(config.url.host)

    def share(self, shared: Shared) -> None:
        """Has the token and the count of calls in common with other processes."""
        self.tokens.shared = self.budget.shared = shared

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Body = b"") -> httpx.Response:
        """The whole answer to a request for a path below the API's version; raises where it was refused."""
        again = Retrying(
            retry=retry_if_exception(_passes_soon),
            stop=stop_after_attempt(_ATTEMPTS if repeatable(method, path) else 1),
            wait=wait_random_exponential(multiplier=0.2, max=_SHORT_WAIT_S),
            reraise=True,
        )
        answer: httpx.Response = again(self._once, method, path, headers, body)
        return answer

    def _once(self, method: str, path: str, headers: Mapping[str, str] | None, body: Body) -> httpx.Response:
        with self.stream(method, path, headers, body) as response:
            response.read()
            return response

    @contextmanager
    def stream(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Body = b""
    ) -> Iterator[httpx.Response]:
        """The answer while it arrives; a session that has ended is renewed once."""
        token = self.tokens.current()
        response = self._sent(token, method, path, headers, body)
        try:
            if response.status_code == 401 and _session_ended(response):
                response.close()
                token = self.tokens.instead_of(token)
                response = self._sent(token, method, path, headers, body)
            if response.status_code >= 300:
                response.read()
                raise translated(response, self.place)
            yield response
        finally:
            response.close()

    def _sent(self, token: Token, method: str, path: str, headers: Mapping[str, str] | None, body: Body) -> httpx.Response:
        self.budget.spend()
        root = "" if path.startswith("/") else f"/services/data/v{self.config.api_version}/"
        content = body if isinstance(body, bytes) else body()
        request = self._client.build_request(
            method, f"{token.instance}{root}{path}", headers={**self._headers(), **(headers or {})}, content=content
        )
        # After the caller's headers: the adapter hands over those of a library that knows another token.
        request.headers["authorization"] = f"Bearer {token.access}"
        response = self._client.send(request, stream=True)
        self.budget.note(response.headers)
        return response

    def _headers(self) -> dict[str, str]:
        """The headers of every request, at every attempt."""
        config = self.config
        duplicates = {"sforce-duplicate-rule-header": "allowSave=true"} if config.duplicate_rules == "allow" else {}
        return {
            "accept": "*/*",
            "sforce-auto-assign": "TRUE" if config.assignment_rules else "FALSE",
            "sforce-call-options": f"client={config.client_name}",
        } | duplicates


def repeatable(method: str, path: str) -> bool:
    """Whether a request may be sent again when it is not known what became of it."""
    if method == "GET":
        return True
    # Updates and upserts say what a record is to be, so the second one changes nothing; a bulk job moves on once.
    return (method == "PATCH" and not _BULK_STATE.search(path)) or (method == "POST" and bool(_RETRIEVE.search(path)))


def _passes_soon(error: BaseException) -> bool:
    return isinstance(error, Unavailable) and (error.retry_after or 0.0) <= _SHORT_WAIT_S


def _session_ended(response: httpx.Response) -> bool:
    response.read()
    try:
        return any(fault.code == "INVALID_SESSION_ID" for fault in faults(response.json()))
    except ValueError:
        return False

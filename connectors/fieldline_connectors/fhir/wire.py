"""Requests to one FHIR server: to its own address only, signed in, with refusals in its words."""

import re
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import orjson

from fieldline_connectors.fhir.config import FhirConfig
from fieldline_connectors.fhir.login import SmartAuth, authorization
from fieldline_connectors.http import answer, guarded_client
from fieldline_core import crash
from fieldline_core.errors import Misconfigured, Rejected, Unavailable

_JSON = {"accept": "application/fhir+json"}
BREAK_THE_GLASS = {"4130", "4131", "4134"}
"""Codes that ask a clinician for a reason, which no program may give."""
_NOTHING_LEFT = re.compile(r"\br=0;t=(\d{1,6})\b")
_SESSION_ENDED = {"4113"}
Parameters = Sequence[tuple[str, str]]


class Ended(Exception):
    """The server has forgotten a search's next page: it is to be searched again."""


class Wire:
    """The one way to a server; may be used by several threads at once."""

    def __init__(self, config: FhirConfig) -> None:
        self.config = config
        self._lock = threading.Lock()

    @cached_property
    def _client(self) -> httpx.Client:
        return guarded_client(self.config)

    @cached_property
    def auth(self) -> httpx.Auth | None:
        """What signs the requests."""
        return authorization(self.config.login, self.config.root, self._client) if self.config.login else None

    def close(self) -> None:
        """Closes the connections."""
        if "_client" in self.__dict__:
            self._client.close()

    def sign_in(self) -> None:
        """Returns where the server gives us a token, or needs none."""
        if isinstance(self.auth, SmartAuth):
            self.auth.token()

    def search(self, resource: str, parameters: Parameters) -> bytes:
        """The first page of a search."""
        url = f"{self.config.root}/{resource}"
        if self.config.search_by == "post":
            form: dict[str, list[str]] = {}
            for name, value in parameters:
                form.setdefault(name, []).append(value)
            return self._answered("POST", f"{url}/_search", data=form)
        return self._answered("GET", url, params=parameters)

    def send(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> httpx.Response:
        """The answer to a write, whatever its status."""
        sent = {**_JSON, "content-type": "application/fhir+json", **(headers or {})}
        url = f"{self.config.root}/{path}" if path else self.config.root
        crash.point("fhir.send:before")
        response = self._client.request(method, url, headers=sent, content=body, auth=self.auth)
        crash.point("fhir.send:after")
        return response

    def next(self, link: str) -> bytes:
        """The page behind a `next` link; raises Ended where the server no longer has it."""
        url = urljoin(f"{self.config.root}/", link)
        ours, theirs = urlsplit(self.config.root), urlsplit(url)
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            raise Misconfigured(f"{ours.hostname} gives next pages at another address: set `base_url` to the one it uses itself")
        return self._answered("GET", url, following=True)

    @cached_property
    def capabilities(self) -> dict[str, Any]:
        """The server's CapabilityStatement, read once."""
        found = orjson.loads(self._answered("GET", f"{self.config.root}/metadata"))
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
        if response.status_code < 400:
            return answer(response).content
        codes, words = outcome(response)
        if following and (response.status_code in (404, 410) or codes & _SESSION_ENDED):
            raise Ended
        if codes & BREAK_THE_GLASS:
            raise Rejected(f"{self.host} asks for a reason before it shows this patient (break the glass): it is not asked again")
        said = f": {words}" if words else ""
        try:
            answer(response)
        except Unavailable as error:
            raise Unavailable(f"{error}{said}", error.retry_after or wait_told(response), sent=error.sent) from None
        except Rejected as error:
            # A search that is refused is wrong for every record.
            raise Misconfigured(f"{error}{said}") from None
        except Misconfigured as error:
            raise Misconfigured(f"{error}{said}") from None
        raise AssertionError("an answer of 400 or more is an error")


def outcome(response: httpx.Response) -> tuple[set[str], str]:
    """The codes of an OperationOutcome, and what it says of the request's form; its free words may hold a person's data."""
    issues = issues_of(response.content)
    codes = codes_of(issues)
    kinds = [str(issue.get("code", ""))[:40] for issue in issues]
    places = [place for issue in issues for place in places_of(issue)]
    return codes, ", ".join(dict.fromkeys(part for part in (*kinds, *sorted(codes), *places) if part))


def issues_of(body: bytes) -> list[dict[str, Any]]:
    """The first issues of an OperationOutcome; none where it is something else."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return []
    return [issue for issue in _list(found, "issue") if isinstance(issue, dict)][:5]


def codes_of(issues: Sequence[Mapping[str, Any]]) -> set[str]:
    """The vendor's own codes in these issues."""
    codings = [coding for issue in issues for coding in _list(issue.get("details"), "coding")]
    return {str(coding["code"])[:40] for coding in codings if isinstance(coding, dict) and "code" in coding}


def places_of(issue: Mapping[str, Any]) -> list[str]:
    """The elements that an issue is about."""
    return [str(place)[:80] for name in ("expression", "location") for place in _list(issue, name)[:3]]


def _list(node: Any, name: str) -> list[Any]:
    found = node.get(name) if isinstance(node, dict) else None
    return found if isinstance(found, list) else []


def wait_told(response: httpx.Response) -> float | None:
    """The wait in seconds that a `RateLimit` header asks for, which some servers send in place of Retry-After."""
    found = _NOTHING_LEFT.search(response.headers.get("ratelimit", ""))
    return min(float(found[1]), 3_600.0) if found else None

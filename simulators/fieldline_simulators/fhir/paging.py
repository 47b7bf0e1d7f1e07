"""Bundles of search results and histories, and the links from page to page."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fieldline_simulators.fhir.outcomes import Refusal, invalid, outcome
from fieldline_simulators.fhir.profiles import Profile
from fieldline_simulators.fhir.search import Found, Pairs, Resource
from fieldline_simulators.fhir.store import Version, stamp

_MOST_SESSIONS = 1000


@dataclass(frozen=True, slots=True)
class Session:
    """A search whose results are kept for its pages."""

    type: str
    pairs: Pairs
    matches: list[Resource]
    until: float


@dataclass(frozen=True, slots=True)
class Page:
    """Where in the matches a page begins and how many it may have."""

    start: int
    size: int


class Pages:
    """Cuts what was found into pages, in one vendor's way."""

    def __init__(self, profile: Profile, session_s: float) -> None:
        self.profile = profile
        self._session_s = session_s
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def page_of(self, pairs: Pairs) -> Page:
        """The page that a query asks for; raises Refusal beyond the vendor's caps."""
        given = dict(pairs)
        size = min(int(given.get("_count", self.profile.page_size)), self.profile.most_entries)
        if self.profile.paging == "page":
            return Page((max(int(given.get("_page", 1)), 1) - 1) * size, size)
        start = int(given.get("_offset", 0))
        if self.profile.most_offset is not None and start > self.profile.most_offset:
            raise invalid(f"Search offset exceeds maximum (got {start}, max {self.profile.most_offset})")
        return Page(start, size)

    def searchset(
        self, base_url: str, type: str, pairs: Pairs, found: Found, include: Callable[[list[Resource]], list[Resource]],
        page: Page, session: str = "",
    ) -> Resource:  # fmt: skip
        """One page as a bundle; `include` says what comes with its matches."""
        given = dict(pairs)
        bundle: Resource = {"resourceType": "Bundle", "type": "searchset"}
        if given.get("_summary") == "count":
            return {**bundle, "total": len(found.matches)}
        end = page.start + page.size
        matches = found.matches[page.start : end]
        if self.profile.counts_unasked or given.get("_total") in ("accurate", "estimate"):
            bundle["total"] = len(found.matches)
        links = [{"relation": "self", "url": _url(base_url, type, pairs)}]
        if end < len(found.matches) and page.size:
            links.append({"relation": "next", "url": self._next(base_url, type, pairs, found, end, session)})
        bundle["link"] = links
        entries = [_entry(base_url, each, "match") for each in matches]
        entries += [_entry(base_url, each, "include") for each in include(matches)]
        warned = self._warnings(found, given)
        return {**bundle, "entry": entries + warned} if entries or warned else bundle

    def resume(self, token: str, offset: str) -> tuple[Session, Page]:
        """The kept search behind a next link; raises Refusal when it has expired."""
        with self._lock:
            kept = self._sessions.get(token)
        if kept is None or kept.until < time.monotonic() or not offset.isdecimal():
            raise Refusal(400, "expired", "The session of this search has expired: search again", vendor_code="4113")
        return kept, Page(int(offset), self.page_of(kept.pairs).size)

    def expire(self) -> int:
        """Ends all sessions now, and says how many."""
        with self._lock:
            ended = len(self._sessions)
            self._sessions.clear()
        return ended

    def _next(self, base_url: str, type: str, pairs: Pairs, found: Found, end: int, session: str) -> str:
        if self.profile.paging == "session":
            token = session or self._keep(type, pairs, found.matches)
            start = end - 1 if self.profile.repeats_ids and self.page_of(pairs).size > 1 else end
            return f"{base_url}/{type}?{urlencode({'_session': token, '_offset': start})}"
        kept = [(name, value) for name, value in pairs if name not in ("_offset", "_page", "_count")]
        size = self.page_of(pairs).size
        where = ("_page", str(end // size + 1)) if self.profile.paging == "page" else ("_offset", str(end))
        return _url(base_url, type, [*kept, ("_count", str(size)), where])

    def _keep(self, type: str, pairs: Pairs, matches: list[Resource]) -> str:
        token = secrets.token_urlsafe(12)
        with self._lock:
            self._sessions[token] = Session(type, pairs, matches, time.monotonic() + self._session_s)
            while len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return token

    def _warnings(self, found: Found, given: dict[str, str]) -> list[Resource]:
        words = [("not-supported", each, "59109") for each in found.ignored]
        if self.profile.unknown_parameter == "warn" and int(given.get("_count", 0)) > self.profile.most_entries:
            words.append(("too-costly", f"At most {self.profile.most_entries} resources come at once", "59133"))
        made = [outcome("warning", code, text, self.profile, vendor_code=number) for code, text, number in words]
        return [{"resource": each, "search": {"mode": "outcome"}} for each in made]


def history_bundle(base_url: str, versions: list[Version]) -> Resource:
    """The versions of one resource, newest first."""
    entries = [_history_entry(base_url, each) for each in reversed(versions)]
    return {"resourceType": "Bundle", "type": "history", "total": len(entries), "entry": entries}


def _history_entry(base_url: str, version: Version) -> Resource:
    url = f"{version.type}/{version.id}"
    status = {"POST": "201", "DELETE": "204"}.get(version.method, "200")
    made: Resource = {
        "fullUrl": f"{base_url}/{url}",
        "request": {"method": version.method, "url": version.type if version.method == "POST" else url},
        "response": {"status": status, "etag": f'W/"{version.version_id}"', "lastModified": stamp(version.updated)},
    }
    return made if version.resource is None else {**made, "resource": version.resource}


def _entry(base_url: str, resource: Resource, mode: str) -> dict[str, Any]:
    url = f"{base_url}/{resource['resourceType']}/{resource['id']}"
    return {"fullUrl": url, "resource": resource, "search": {"mode": mode}}


def _url(base_url: str, type: str, pairs: Pairs) -> str:
    return f"{base_url}/{type}?{urlencode(pairs)}" if pairs else f"{base_url}/{type}"

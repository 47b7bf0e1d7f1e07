"""Searches: page by page, by changes, by keys."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple, TypeAlias

import msgspec

from fieldline_connectors.fhir.config import FhirQuery
from fieldline_connectors.fhir.rows import Rows
from fieldline_connectors.fhir.views import Reader
from fieldline_connectors.fhir.views.compiler import Row
from fieldline_connectors.fhir.wire import Ended, Parameters, Wire
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured, Rejected, Unavailable
from fieldline_core.findings import Finding
from fieldline_core.ports import Cursor, Page

_KEYS = 50
_MAX_PAGES = 100_000
_MOST_ANEW = 5
_UNDECLARED = ("_id", "_lastUpdated")
Placed: TypeAlias = tuple[int, Row]
"""A row and its place on the server's page, where those that came on an earlier page count too."""


class _Found(NamedTuple):
    """One page: the link to the next, its rows, the newest change, and whether it is the first of a search that was made again."""

    link: str | None
    rows: list[Placed]
    newest: str | None
    anew: bool


class _Link(msgspec.Struct):
    relation: str = ""
    url: str = ""


class _Meta(msgspec.Struct):
    lastUpdated: str = ""  # noqa: N815


class _Head(msgspec.Struct):
    resourceType: str = ""  # noqa: N815
    link: list[_Link] = []
    entry: list[msgspec.Raw] = []

    @property
    def next(self) -> str | None:
        """The address of the next page."""
        return next((link.url for link in self.link if link.relation == "next" and link.url), None)


_heads = msgspec.json.Decoder(_Head)


class Search:
    """One query on one server."""

    def __init__(self, wire: Wire, query: FhirQuery) -> None:
        self._wire = wire
        self._query = query
        self._view = query.compiled
        self._made = Rows(query, wire.config.timezone)
        # What is searched carries the time of its change, though the view may read what comes along.
        types = {self._view.resource, query.searched}
        self._reader = Reader(types, digits=self._view.digits, references=self._view.references)

    def pages(self, after: Cursor | None, limit: int) -> Iterator[Page]:
        """Pages of at most `limit` rows behind the cursor."""
        here = dict(after or {})
        if here.get("end") and not self._query.changes:
            return
        since, newest, times = here.get("since"), here.get("newest"), here.get("anew", 0)
        for link, rows, found, anew in self._bundles(here.get("next"), since):
            if anew:
                times += 1
                here = {"since": since, "newest": newest, "anew": times}
            if times > _MOST_ANEW:
                # What this run had is read again each time, so that it would go on for ever.
                words = f"{self._wire.host} has ended this run's search {times} times before its last page: narrow the query"
                raise Rejected(words)
            latest = max((each for each in (newest, found) if each), default=None)
            left = self._unread(rows, here)
            for start in range(0, len(left) - limit, limit):
                part = left[start : start + limit]
                skip = part[-1][0] + 1
                yield Page(self._batch(part), {**here, "skip": skip, "begun": self._begun(rows, skip)})
            there = {"next": link, "since": since, "newest": latest, "anew": times}
            behind = there if link else {"end": True, "since": latest or since}
            last = left[(len(left) - 1) // limit * limit :] if left else []
            # Where nothing is left, what was reached is still to be remembered for the next run.
            if last or (link is None and self._query.changes):
                yield Page(self._batch(last), behind)
            here, newest = behind, latest

    def _unread(self, rows: list[Placed], here: Cursor) -> list[Placed]:
        """The rows of the page from which a reading goes on; all, where a search that is made again begins with others now."""
        skip = here.get("skip", 0)
        if not here.get("next") and here.get("begun") != self._begun(rows, skip):
            return rows
        return [(place, row) for place, row in rows if place >= skip]

    def _begun(self, rows: list[Placed], end: int) -> str:
        """What tells whether a page begins with the same records up to a place."""
        keys = [str(row[self._made.key]) for place, row in rows if place < end]
        return sha256("\0".join(keys).encode()).hexdigest()

    def by_keys(self, keys: Sequence[str]) -> Batch:
        """The rows whose key is one of these."""
        wanted, rows = frozenset(keys), list[Placed]()
        size = _KEYS if self._wire.config.search_rows > 1 else 1
        for start in range(0, len(keys), size):
            value = ",".join(_escaped(key) for key in keys[start : start + size])
            for found in self._bundles(None, None, [(self._query.by, value)]):
                rows += [(place, row) for place, row in found.rows if row[self._made.key] in wanted]
        return self._batch(rows)

    def given(self, data: bytes, keys: Sequence[str]) -> Batch | None:
        """The rows with these keys in a resource or bundle that somebody hands us; None where it is neither, or not whole."""
        try:
            head = _heads.decode(data)
        except msgspec.MsgspecError:
            return None
        if head.resourceType in ("", "OperationOutcome") or head.next is not None:
            return None
        wanted = frozenset(keys)
        rows, _ = self._rows(data, set())
        return self._batch([(place, row) for place, row in rows if row[self._made.key] in wanted])

    def _bundles(self, link: str | None, since: str | None, more: Parameters = ()) -> Iterator[_Found]:
        """What is on each page. A search that the server ends before its last page is made again, from its first page on.

        Of what comes again, that is left out which this reading had; what an earlier one had is not known any more.
        """
        parameters = [*self._parameters(since), *more]
        self._declared([name for name, _ in parameters], told=True)
        seen, empty, whole, ended = set[tuple[Any, ...]](), True, link is None, 0
        for _ in range(_MAX_PAGES):
            try:
                data = self._wire.next(link) if link else self._wire.search(self._query.searched, parameters)
            except Ended:
                ended += 1
                if ended > _MOST_ANEW:
                    raise Unavailable(f"{self._wire.host} ends its searches before their last page was read") from None
                link, whole = None, True
                continue
            head = _heads.decode(data)
            if head.resourceType != "Bundle":
                raise Misconfigured(f"{self._wire.host} answered a search with something else than a Bundle: check `base_url`")
            rows, newest = self._rows(data, seen)
            empty &= not head.entry
            if empty and whole and head.next is None:
                self._declared([name for name, _ in parameters], told=False)
            yield _Found(head.next, rows, newest, anew=link is None and ended > 0)
            link = head.next
            if link is None:
                return
        raise Rejected(f"{self._wire.host} gives pages without end")

    def _rows(self, data: bytes, seen: set[tuple[Any, ...]]) -> tuple[list[Placed], str | None]:
        """The rows of a page without the resources of an earlier one, and the newest change among those searched."""
        rows, place, newest = list[Placed](), 0, ""
        for resource, references in self._reader.bundle(data):
            meta = resource.get("meta") or {}
            name = (resource.get("resourceType"), resource.get("id"), meta.get("versionId"))
            if resource.get("resourceType") == self._query.searched:
                newest = max(newest, _in_utc(meta.get("lastUpdated")))
            found = self._view.rows(resource, references)
            if name[1] is None or name not in seen:
                seen.add(name)
                rows += enumerate(found, place)
            place += len(found)
        return rows, newest or None

    def _parameters(self, since: str | None) -> list[tuple[str, str]]:
        query = self._query
        given = [
            (name, each) for name, value in query.parameters.items() for each in ([value] if isinstance(value, str) else value)
        ]
        if query.changes:
            given.append(("_sort", "_lastUpdated"))
        if since:
            low = datetime.fromisoformat(since) - timedelta(seconds=query.overlap_s)
            given.append(("_lastUpdated", f"ge{low.isoformat(timespec='milliseconds')}"))
        given += [("_include", each) for each in query.include] + [("_revinclude", each) for each in query.revinclude]
        return [*given, ("_count", str(self._wire.config.page_size))]

    def _declared(self, names: Sequence[str], *, told: bool) -> None:
        """Refuses parameters that the server does not declare: it may pass over them, and give everybody or nobody.

        `_id` and `_lastUpdated`, which many servers take without a word, matter only where nothing was found (not `told`).
        """
        filters = {name.partition(":")[0].partition(".")[0] for name in names} - {"_sort", "_count", "_include", "_revinclude"}
        missing = filters - declared(self._wire.capabilities, self._query.searched) - {"_has"}
        if wrong := sorted(missing - {*_UNDECLARED} if told else missing):
            raise Misconfigured(
                f"{self._wire.host} does not declare the search parameter {wrong[0]} of {self._query.searched}"
                f"{'' if told else ', and found nothing, which may not mean that there is nothing'}: see its CapabilityStatement"
            )

    def _batch(self, placed: Sequence[Placed]) -> Batch:
        return self._made.batch([row for _, row in placed])


def declared(statement: Mapping[str, Any], resource: str) -> set[str]:
    """The search parameters that a CapabilityStatement declares for a type of resource."""
    rest = [each for each in statement.get("rest", []) if each.get("mode", "server") == "server"]
    own = [found for each in rest for found in each.get("resource", []) if found.get("type") == resource]
    return {parameter.get("name", "") for each in (*rest, *own) for parameter in each.get("searchParam", [])}


def undeclared(wire: Wire, query: FhirQuery) -> Iterator[Finding]:
    """The parameters of a query that its server does not declare, and so may pass over."""
    known = declared(wire.capabilities, query.searched) | {*_UNDECLARED, "_has"}
    for name in query.parameters:
        if name.partition(":")[0].partition(".")[0] not in known:
            words = f"{wire.host} does not declare this search parameter of {query.searched}: see its CapabilityStatement"
            yield Finding("does-not-fit", f"parameters.{name}", words)


def _in_utc(moment: Any) -> str:
    """A time as a text that sorts as the time does."""
    try:
        found = datetime.fromisoformat(moment)
    except (TypeError, ValueError):
        return ""
    return found.astimezone(UTC).isoformat(timespec="microseconds") if found.tzinfo else ""


def _escaped(key: str) -> str:
    for sign in "\\,$|":
        key = key.replace(sign, f"\\{sign}")
    return key

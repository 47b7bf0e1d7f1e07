"""Bulk Data `$export`: begun, asked after while no worker waits, and its files read line by line.

A cursor names the job (`job`) and, once its files are there, the place of the next row in them (`file`, `at`, `row`). Without a job
it says from when on changes are to be exported (`since`). The last may name a job that the server has not deleted yet (`left`).
"""

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from urllib.parse import urlencode, urljoin

import httpx
import msgspec

from fieldline_connectors.fhir.config import FhirQuery
from fieldline_connectors.fhir.lines import behind, lines
from fieldline_connectors.fhir.refusals import issues_of, outcome
from fieldline_connectors.fhir.rows import Rows
from fieldline_connectors.fhir.views import Reader
from fieldline_connectors.fhir.views.compiler import Row
from fieldline_connectors.fhir.wire import Ended, Wire
from fieldline_connectors.http import answer, reason, wait_asked
from fieldline_core import crash
from fieldline_core.errors import FieldlineError, Misconfigured, Rejected, Unavailable
from fieldline_core.findings import Finding, Severity
from fieldline_core.logs import log
from fieldline_core.ports import Cursor, Page

_SLOWEST = 12
_SHORTEST_S = 0.1
_MOST_ANEW = 3
_MOST_ISSUES = 1_000
_ABOUT_JOB = {"accept": "application/json, application/fhir+json"}
_PASSING = {"transient", "lock-error", "no-store", "exception", "timeout", "incomplete", "throttled"}
"""FHIR's codes of what may go well the next time."""
Place: TypeAlias = tuple[int, int, int]
"""A row's file, the byte there at which its line begins, and its number among the rows of that line."""


class _File(msgspec.Struct):
    type: str = ""
    url: str = ""
    count: int | None = None


class _Manifest(msgspec.Struct):
    transactionTime: str = ""  # noqa: N815
    requiresAccessToken: bool = True  # noqa: N815
    output: list[_File] = []
    error: list[_File] = []
    deleted: list[_File] = []


_manifests = msgspec.json.Decoder(_Manifest)


class Exported:
    """One query on one server, read by an export."""

    def __init__(self, wire: Wire, query: FhirQuery) -> None:
        assert query.export is not None
        self._wire = wire
        self._query = query
        self._export = query.export
        self._view = query.compiled
        self._made = Rows(query, wire.config.timezone)
        self._reader = Reader({self._view.resource}, digits=self._view.digits)

    def pages(self, after: Cursor | None, limit: int) -> Iterator[Page]:
        """Pages of at most `limit` rows behind the cursor, or one that says when to ask again."""
        here: Cursor = after or {}
        if "job" not in here:
            yield self._begun(here)
            return
        try:
            for page in self._job_pages(here, limit):
                yield page
                here = page.after
        except Ended:
            yield self._anew(here)

    def _begun(self, here: Cursor) -> Page:
        # Nothing, unless the last reading could not have its job deleted.
        self._deleted(here)
        asked = [("_type", self._view.resource)]
        if here.get("since"):
            low = datetime.fromisoformat(here["since"]) - timedelta(seconds=self._query.overlap_s)
            asked.append(("_since", low.isoformat(timespec="milliseconds")))
        path = {"system": "", "patient": "Patient/", "group": f"Group/{self._export.group}/"}[self._export.level]
        crash.point("fhir.export:before")
        url = f"{self._wire.config.root}/{path}$export?{urlencode(asked)}"
        response = self._wire.checked(self._wire.fetch("GET", url, {"prefer": "respond-async"}))
        crash.point("fhir.export:after")
        if response.status_code != 202 or not (place := response.headers.get("content-location")):
            raise Misconfigured(f"{self._wire.host} does not answer an export with a place to ask after it (202, Content-Location)")
        job = self._wire.own(place, "the state of exports")
        return self._waiting({**_kept(here), "job": job}, wait_asked(response))

    def _waiting(self, here: Cursor, told_s: float | None) -> Page:
        """The page that says when to ask again; raises Misconfigured where it takes too long."""
        asked, slow_s = here.get("asked", 0), self._export.poll_s * _SLOWEST
        # What the server asks for is asked for, but not faster than a wait that adds up.
        ours_s = min(self._export.poll_s * 1.5 ** min(asked, 30), slow_s)
        wait_s = ours_s if told_s is None else min(max(told_s, _SHORTEST_S), self._export.longest_s)
        waited_s = here.get("waited_s", 0.0) + wait_s
        if here.get("waited_s", 0.0) >= self._export.longest_s:
            raise Misconfigured(
                f"{self._wire.host} did not end an export within {self._export.longest_s:,.0f} s: raise `longest_s`, or export less"
            )
        return Page(self._made.batch(()), {**here, "asked": asked + 1, "waited_s": waited_s}, wait_s)

    def _anew(self, here: Cursor) -> Page:
        """The page after which another export is begun, where the server no longer has the job."""
        times = here.get("anew", 0) + 1
        # Only a run that reads changes may meet a record twice.
        if any(here.get(name) for name in ("file", "at", "row")) and not self._query.changes:
            raise Rejected(f"{self._wire.host} no longer has the export of which this run has read a part: run the flow again")
        if times > _MOST_ANEW:
            raise Rejected(f"{self._wire.host} forgets its exports before they are read")
        # It may have forgotten a file only.
        self._deleted(here)
        return Page(self._made.batch(()), {**_kept(here), "anew": times}, self._export.poll_s)

    def _job_pages(self, here: Cursor, limit: int) -> Iterator[Page]:
        if here.get("file") is None or here["file"] < here["files"]:
            response = self._wire.fetch("GET", self._wire.own(here["job"], "the state of exports"), _ABOUT_JOB)
            if response.status_code == 202 or (response.status_code in (429, 503) and wait_asked(response) is not None):
                yield self._waiting(here, wait_asked(response))
                return
            manifest = self._manifest(response)
            files = [file for file in manifest.output if file.type == self._view.resource]
            here = self._opened(here, manifest, len(files))
            for page in self._file_pages(manifest, files, here, limit):
                yield page
                here = page.after
        deleted = self._deleted(here)
        if self._query.changes:
            there: Cursor = {"since": here["begun"]}
            # Behind this place the next run begins an export of its own: this run is to end with it.
            yield Page(self._made.batch(()), there if deleted else {**there, "left": here["job"]}, left=not deleted, ends=True)
        elif not deleted:
            yield Page(self._made.batch(()), here, left=True)

    def _deleted(self, here: Cursor) -> bool:
        """Whether the server needs to be asked no more to delete the job."""
        try:
            abandon(self._wire, here)
        except FieldlineError:
            return False
        return True

    def _manifest(self, response: httpx.Response) -> _Manifest:
        codes = {str(issue.get("code")) for issue in issues_of(response.content)} if response.status_code >= 500 else set()
        if codes and not codes & _PASSING:
            raise Rejected(f"{self._wire.host} could not export: {outcome(response)[1]}")
        content = self._wire.checked(response, following=True).content
        try:
            found = _manifests.decode(content)
        except msgspec.MsgspecError:
            found = _Manifest()
        if _moment(found.transactionTime) is None:
            raise Rejected(f"{self._wire.host} answers for an export with something else than the list of its files")
        return found

    def _opened(self, here: Cursor, manifest: _Manifest, files: int) -> Cursor:
        """The cursor with what is known of the job; raises Ended where the list of its files is another one than before."""
        if here.get("begun") is None:
            self._report(manifest)
            return {**here, "begun": manifest.transactionTime, "files": files, "file": 0, "at": 0, "row": 0}
        if (here["begun"], here["files"]) != (manifest.transactionTime, files):
            raise Ended
        return here

    def _report(self, manifest: _Manifest) -> None:
        """Says what the server could not export, or has deleted: in the log, or by ending the run before anything is read."""
        if manifest.deleted:
            log().warning("export_deletions_left_out", reason=_deletions(manifest, self._wire.host))
        counted: Counter[str] = Counter()
        for file in manifest.error:
            with closing(self._lines(manifest, file, 0)) as found:
                for _, line in found:
                    issues = [issue for issue in issues_of(line) if issue.get("severity") in ("error", "fatal")]
                    counted.update(str(issue.get("code", ""))[:40] for issue in issues)
                    if counted.total() >= _MOST_ISSUES:
                        break
        if not counted:
            return
        words = ", ".join(f"{count} times {code}" for code, count in counted.most_common(5))
        if self._export.errors == "refuse":
            raise Rejected(
                f"{self._wire.host} could not export all ({words}): mend that there, or write `errors: pass` to read the rest"
            )
        log().warning("export_incomplete", reason=f"{self._wire.host} could not export all ({words})")

    def _file_pages(self, manifest: _Manifest, files: Sequence[_File], here: Cursor, limit: int) -> Iterator[Page]:
        held: list[Row] = []
        with closing(self._rows(manifest, files, (here["file"], here["at"], here["row"]))) as rows:
            for (file, at, number), row in rows:
                if len(held) == limit:
                    yield Page(self._made.batch(held), {**here, "file": file, "at": at, "row": number})
                    held = []
                held.append(row)
        if held:
            yield Page(self._made.batch(held), {**here, "file": len(files), "at": 0, "row": 0})

    def _rows(self, manifest: _Manifest, files: Sequence[_File], begin: Place) -> Generator[tuple[Place, Row], None, None]:
        """The rows from a place on, each with its own."""
        for number in range(begin[0], len(files)):
            first = begin[1] if number == begin[0] else 0
            with closing(self._lines(manifest, files[number], first)) as found:
                for at, line in found:
                    rows = [row for each in self._reader.line(line) for row in self._view.rows(*each)]
                    placed = (((number, at, n), row) for n, row in enumerate(rows))
                    yield from ((place, row) for place, row in placed if place >= begin)

    def _lines(self, manifest: _Manifest, file: _File, at: int) -> Generator[tuple[int, bytes], None, None]:
        """The lines of a file from a byte on; our credentials go to the server's own origin only."""
        url = urljoin(f"{self._wire.config.root}/", file.url)
        if manifest.requiresAccessToken:
            url = self._wire.own(file.url, "files that ask for our token")
        part = {"range": f"bytes={at}-", "accept-encoding": "identity"} if at else {}
        asked = {"accept": "application/fhir+ndjson", **part}
        with self._wire.download(url, asked, signed=manifest.requiresAccessToken) as response:
            if response.status_code in (404, 410, 416):
                raise Ended
            if response.status_code in (401, 403) and not manifest.requiresAccessToken:
                raise Unavailable(f"{reason(response)} to the address of an exported file: another address is asked for")
            answer(response)
            begins = at if response.headers.get("content-range", "").startswith(f"bytes {at}-") else 0
            yield from lines(behind(response.iter_bytes(), at - begins), at)


def abandon(wire: Wire, after: Cursor) -> None:
    """Has the server delete the job of a cursor with its files; one that is gone, or that it does not delete, is left alone."""
    job = after.get("job") or after.get("left")
    if not job:
        return
    response = wire.fetch("DELETE", wire.own(job, "the state of exports"), {})
    if response.status_code == 429 or response.status_code >= 500:
        wire.checked(response)


def unoffered(wire: Wire, query: FhirQuery) -> Iterator[Finding]:
    """Whether the server does not say that it exports what the query reads."""
    assert query.export is not None
    level = query.export.level
    rest = [each for each in wire.capabilities.get("rest", []) if each.get("mode", "server") == "server"]
    owners = rest
    if level != "system":
        type = level.capitalize()
        owners = [found for each in rest for found in each.get("resource", []) if found.get("type") == type]
    named = {_last(each) for owner in owners for each in owner.get("operation", [])}
    if not named & {"export", f"{level}-export"}:
        words = f"{wire.host} does not declare $export of the level {level}: see its CapabilityStatement"
        yield Finding("does-not-fit", "export.level", words, severity=Severity.WARNING)


def _last(operation: Mapping[str, Any]) -> str:
    """What an operation is called, without its sign and its address."""
    return str(operation.get("name") or operation.get("definition") or "").rpartition("/")[2].lstrip("$")


def _kept(here: Cursor) -> dict[str, Any]:
    """What of a cursor holds for the next job, too."""
    return {name: here[name] for name in ("since", "anew") if name in here}


def _deletions(manifest: _Manifest, host: str) -> str:
    counts = [file.count for file in manifest.deleted]
    files = f"in {len(counts)} file{'s' if len(counts) > 1 else ''}"
    known = f"{sum(filter(None, counts)):,} entries {files}" if None not in counts else files
    return f"{host} lists resources that were deleted there ({known}): they are left out, and what was decided on them stays"


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None

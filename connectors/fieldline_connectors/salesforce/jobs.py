"""Jobs of the Bulk API 2.0, for queries and for writes: small requests about large work."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

import orjson

from fieldline_connectors.salesforce.bulk_csv import records
from fieldline_connectors.salesforce.errors import job_fault
from fieldline_connectors.salesforce.wire import Wire
from fieldline_core import crash
from fieldline_core.errors import Misconfigured, Rejected, Unavailable

_JSON = {"content-type": "application/json; charset=UTF-8"}
_CSV = {"content-type": "text/csv; charset=UTF-8"}
DONE = ("JobComplete", "Failed", "Aborted")
Results = Literal["successfulResults", "failedResults", "unprocessedrecords"]


class Gone(Exception):
    """The org no longer has the job: jobs are kept for seven days."""


class Jobs:
    """The bulk jobs of one org."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def query(self, soql: str, *, deleted: bool) -> str:
        """Starts a query and answers the job's id."""
        crash.point("salesforce.query:before")
        job = self._begin("jobs/query", {"operation": "queryAll" if deleted else "query", "query": soql})
        crash.point("salesforce.query:after")
        return job

    def is_ready(self, job: str) -> bool:
        """Whether a query has its results; raises Misconfigured where it failed, Gone where the job is no more."""
        about = self.state("query", job)
        if about["state"] in DONE and about["state"] != "JobComplete":
            fault = job_fault(str(about.get("errorMessage") or "the job was aborted"))
            raise Misconfigured(f"{self._wire.place}: a bulk query failed: {fault.words}")
        return bool(about["state"] == "JobComplete")

    def give_up(self, job: str) -> None:
        """Ends a query that is under way, or removes its results; nothing where the job is no more."""
        with suppress(Gone, Rejected):
            if self.state("query", job)["state"] in DONE:
                self._wire.request("DELETE", f"jobs/query/{job}")
            else:
                self._wire.request("PATCH", f"jobs/query/{job}", _JSON, b'{"state":"Aborted"}')

    def page(self, job: str, locator: str | None, most: int, known: Sequence[str]) -> tuple[list[dict[str, str]], str | None]:
        """A page of a query's rows, and the locator of the next one; raises Gone where the job is no more."""
        place = f"jobs/query/{job}/results?maxRecords={most}{f'&locator={locator}' if locator else ''}"
        with self._still_there(), self._wire.stream("GET", place, {"accept": "text/csv"}) as response:
            found = list(self._read(response.iter_bytes(), known))
            following = response.headers.get("sforce-locator", "null")
        return found, None if following in ("null", "") else following

    def upload(self, operation: str, name: str, key: str | None, body: Callable[[], Iterator[bytes]]) -> str:
        """Makes an open job with its rows; nothing happens in the org before `start`."""
        about = {"object": name, "operation": operation, "contentType": "CSV", "lineEnding": "LF", "columnDelimiter": "COMMA"}
        job = self._begin("jobs/ingest", about | ({"externalIdFieldName": key} if key else {}))
        self._wire.request("PUT", f"jobs/ingest/{job}/batches", _CSV, body)
        return job

    def start(self, job: str) -> None:
        """Lets the org work on an open job."""
        self._wire.request("PATCH", f"jobs/ingest/{job}", _JSON, b'{"state":"UploadComplete"}')

    def abort(self, job: str) -> None:
        """Keeps the org from working on an open job."""
        self._wire.request("PATCH", f"jobs/ingest/{job}", _JSON, b'{"state":"Aborted"}')

    def state(self, kind: Literal["query", "ingest"], job: str) -> dict[str, Any]:
        """How far a job is; raises Gone where it is no more."""
        with self._still_there():
            found: dict[str, Any] = orjson.loads(self._wire.request("GET", f"jobs/{kind}/{job}").content)
            return found

    def results(self, job: str, which: Results) -> Iterator[dict[str, str]]:
        """The rows of a write job that ended one way, as they arrive."""
        with self._still_there(), self._wire.stream("GET", f"jobs/ingest/{job}/{which}", {"accept": "text/csv"}) as response:
            yield from self._read(response.iter_bytes())

    def _begin(self, path: str, about: dict[str, str]) -> str:
        answer = orjson.loads(self._wire.request("POST", path, _JSON, orjson.dumps(about)).content)
        return str(answer["id"])

    def _read(self, pieces: Iterator[bytes], known: Sequence[str] = ()) -> Iterator[dict[str, str]]:
        try:
            yield from records(pieces, known)
        except ValueError as error:
            raise Unavailable(f"{self._wire.place}: {error}") from None

    @contextmanager
    def _still_there(self) -> Iterator[None]:
        try:
            yield
        except (Misconfigured, Rejected) as error:
            if "[NOT_FOUND]" in str(error) or " 404 " in str(error):
                raise Gone from None
            raise

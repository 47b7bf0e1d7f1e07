"""Jobs of the Bulk API 2.0, for queries and for writes: small requests about large work."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import orjson

from fieldline_connectors.salesforce.bulk_csv import records
from fieldline_connectors.salesforce.errors import job_fault
from fieldline_connectors.salesforce.wire import Wire
from fieldline_core.errors import Misconfigured, Rejected, Unavailable

_JSON = {"content-type": "application/json; charset=UTF-8"}
_CSV = {"content-type": "text/csv; charset=UTF-8"}
_SLOWEST = 12
DONE = ("JobComplete", "Failed", "Aborted")
Results = Literal["successfulResults", "failedResults", "unprocessedrecords"]


class Gone(Exception):
    """The org no longer has the job: jobs are kept for seven days."""


class Jobs:
    """The bulk jobs of one org."""

    def __init__(self, wire: Wire, sleep: Callable[[float], None] = time.sleep) -> None:
        self._wire = wire
        self._sleep = sleep

    def query(self, soql: str, *, deleted: bool) -> str:
        """Starts a query, waits for its end, and answers the job's id."""
        job = self._begin("jobs/query", {"operation": "queryAll" if deleted else "query", "query": soql})
        waited, wait_s = 0.0, self._wire.config.bulk_poll_s
        while (state := self.state("query", job)["state"]) not in DONE:
            if waited > self._wire.config.bulk_wait_s:
                self._wire.request("PATCH", f"jobs/query/{job}", _JSON, b'{"state":"Aborted"}')
                raise Unavailable(f"{self._wire.place}: a bulk query did not end within {waited:.0f} s (bulk_wait_s)")
            self._sleep(wait_s)
            waited += wait_s
            wait_s = min(wait_s * 1.5, self._wire.config.bulk_poll_s * _SLOWEST)
        if state != "JobComplete":
            self._failed("query", job)
        return job

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

    def _failed(self, kind: Literal["query", "ingest"], job: str) -> None:
        fault = job_fault(str(self.state(kind, job).get("errorMessage") or "the job was aborted"))
        raise Misconfigured(f"{self._wire.place}: a bulk query failed: {fault.words}")

    @contextmanager
    def _still_there(self) -> Iterator[None]:
        try:
            yield
        except (Misconfigured, Rejected) as error:
            if "[NOT_FOUND]" in str(error) or " 404 " in str(error):
                raise Gone from None
            raise

"""Bulk jobs: they are taken in order by one thread, in batches of 200 records that are committed one by one.

With a state file a job that was under way goes on behind the last batch that was committed.
"""

import threading
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from fieldline_simulators.salesforce import dml
from fieldline_simulators.salesforce.access import Actor
from fieldline_simulators.salesforce.bulk_csv import BadUpload, read_rows, values_of
from fieldline_simulators.salesforce.errors import ApiError, not_found
from fieldline_simulators.salesforce.org import Org, Transaction
from fieldline_simulators.salesforce.soql_run import Result, run_query
from fieldline_simulators.salesforce.values import timestamp

_BATCH = 200
ENDED = frozenset({"JobComplete", "Failed", "Aborted"})
Outcome = tuple[str, bool, str]


@dataclass(slots=True)
class Job:
    """A job: ingest or query, its state, and what came of its lines: id, whether created, error."""

    id: str
    type: str
    operation: str
    object: str
    user_id: str
    created: str
    api_version: float
    state: str
    modified: str = ""
    external_id: str = ""
    query: str = ""
    delimiter: str = "COMMA"
    line_ending: str = "LF"
    client: str = ""
    auto_assign: bool = True
    error: str = ""
    processed: int = 0
    failed: int = 0
    content: bytes | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    result: Result | None = None

    def saved(self) -> dict[str, Any]:
        """For the store: all but what is kept beside it."""
        apart = {"content", "outcomes", "result"}
        return {name: getattr(self, name) for name in self.__slots__ if name not in apart}

    def as_dict(self, *, whole: bool = True) -> dict[str, Any]:
        """As answers hold it."""
        kind = "ingest" if self.type == "V2Ingest" else "query"
        url = f"services/data/v{self.api_version}/jobs/{kind}/{self.id}"
        told: dict[str, Any] = {
            "id": self.id, "operation": self.operation, "object": self.object, "createdById": self.user_id,
            "createdDate": self.created,
            "systemModstamp": self.modified or self.created, "state": self.state, "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": self.api_version, "lineEnding": self.line_ending, "columnDelimiter": self.delimiter,
        }  # fmt: skip
        if kind == "ingest":
            told |= {"contentUrl": f"{url}/batches"}
            told |= {"externalIdFieldName": self.external_id} if self.external_id else {}
        if whole:
            told |= {
                "jobType": self.type,
                "numberRecordsProcessed": self.processed,
                "retries": 0,
                "totalProcessingTime": self.processed // 10,
            }
        if whole and kind == "ingest":
            told |= {"numberRecordsFailed": self.failed, "apiActiveProcessingTime": self.processed // 20, "apexProcessingTime": 0}
        return told | ({"errorMessage": self.error} if self.error and whole else {})


class Jobs:
    """All jobs of an org, and the thread that carries them out."""

    def __init__(self, org: Org) -> None:
        self._org = org
        self.all: dict[str, Job] = {}
        self._queue: deque[str] = deque()
        self._more = threading.Condition(org.lock)
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None
        for saved, content, outcomes in org.store.jobs() if org.store else ():
            job = Job(**saved, content=content, outcomes=[(each[0], each[1], each[2]) for each in outcomes])
            self.all[job.id] = job
            if job.state in ("UploadComplete", "InProgress"):
                self.start(job)

    def find(self, job_id: str, kind: str) -> Job:
        """A job; raises NOT_FOUND."""
        job = next((each for name, each in self.all.items() if name[:15] == job_id[:15]), None)
        if job is None or job.type != kind:
            raise not_found()
        return job

    def object_of(self, job_id: str) -> str:
        """The object of a job; empty where there is no such job."""
        job = self.all.get(job_id)
        return job.object if job else ""

    def add(self, job: Job) -> None:
        """Takes a new job."""
        self.all[job.id] = job
        self._save(job)

    def upload(self, job: Job, content: bytes) -> None:
        """Keeps what was uploaded."""
        job.content = content
        self._save(job, content)

    def move(self, job: Job, state: str, error: str = "") -> None:
        """Puts a job into a state."""
        job.state, job.error, job.modified = state, error, timestamp(self._org.now())
        self._save(job)

    def remove(self, job: Job) -> None:
        """Forgets a job."""
        del self.all[job.id]
        if self._org.store:
            self._org.store.remove_job(job.id)

    def start(self, job: Job) -> None:
        """Lets a job be carried out."""
        with self._more:
            self._queue.append(job.id)
            self._more.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="salesforce-bulk", daemon=True)
                self._thread.start()

    def result_of(self, job: Job) -> Result:
        """What a query job found; asked again where the org was started anew since."""
        if job.result is None:
            job.result = self._found(job)
        return job.result

    def close(self) -> None:
        """Ends the thread behind the batch that it is at."""
        self._ends.set()
        with self._more:
            self._more.notify_all()
        if self._thread:
            self._thread.join()

    def _save(self, job: Job, content: bytes | None = None) -> None:
        self._org.save(jobs=[(job.id, job.saved(), content)])

    def _run(self) -> None:
        while not self._ends.is_set():
            with self._more:
                if not self._queue:
                    self._more.wait()
                    continue
                job = self.all.get(self._queue.popleft())
            if job is not None and job.state in ("UploadComplete", "InProgress"):
                self._carry_out(job)

    def _carry_out(self, job: Job) -> None:
        with self._org.lock:
            if job.state != "InProgress":
                self.move(job, "InProgress")
        self._ends.wait(self._org.options.bulk_s)
        try:
            if job.type == "V2Query":
                self._find(job)
            else:
                self._ingest(job)
        except (BadUpload, ApiError) as refused:
            with self._org.lock:
                self.move(job, "Failed", str(refused))

    def _find(self, job: Job) -> None:
        with self._org.lock:
            if self._org.faults.of_job(job.object, job.operation):
                return self.move(job, "Failed", "InternalServerError : the query was ended")
            job.result = self._found(job)
            job.processed = job.result.total
            self.move(job, "JobComplete")

    def _found(self, job: Job) -> Result:
        access = self._org.actor(job.user_id).access
        return run_query(self._org, access, job.query, deleted=job.operation == "queryAll")

    def _ingest(self, job: Job) -> None:
        header, lines = read_rows(job.content or b"", job.delimiter, job.line_ending)
        self._check_header(job, header)
        last = self._last_line(job)
        rows = islice(lines, len(job.outcomes), last)
        while batch := list(islice(rows, _BATCH)):
            if self._ends.is_set() or job.state == "Aborted":
                return
            self._write(job, header, batch)
        with self._org.lock:
            if job.state == "InProgress":
                self.move(
                    job,
                    "JobComplete" if last is None else "Failed",
                    "" if last is None else "InternalServerError : the job was ended",
                )

    def _last_line(self, job: Job) -> int | None:
        """Where a fault ends the job; None where none does."""
        with self._org.lock:
            fault = self._org.faults.of_job(job.object, job.operation)
        if fault is None:
            return None
        _, lines = read_rows(job.content or b"", job.delimiter, job.line_ending)
        return sum(1 for _ in lines) // 2

    def _check_header(self, job: Job, header: list[str]) -> None:
        kind, actor = self._org.kind(job.object), self._org.actor(job.user_id)
        for name in header:
            relation, _, rest = name.partition(".")
            field = kind.get(name)
            if not (field and actor.access.sees(kind, field)) and not (rest and kind.by_relationship(relation)):
                raise BadUpload(f"InvalidBatch : Field name not found : {name}")
        wanted = {"upsert": job.external_id}.get(job.operation, "" if job.operation == "insert" else "Id")
        if wanted and wanted.lower() not in (name.lower() for name in header):
            raise BadUpload(f"InvalidBatch : Field name not found : {wanted}")

    def _write(self, job: Job, header: list[str], batch: list[list[str]]) -> None:
        actor = Actor(job.user_id, self._org.actor(job.user_id).access, "bulk", f"{job.api_version}", job.client, job.auto_assign)
        with self._org.transaction(actor) as tx:
            done = [self._write_line(tx, job, header, line) for line in batch]
            first = len(job.outcomes)
            job.outcomes += done
            job.processed += len(done)
            job.failed += sum(bool(error) for *_, error in done)
            job.modified = tx.at
            tx.beside["jobs"] = [(job.id, job.saved(), None)]
            tx.beside["outcomes"] = [(job.id, first + at, outcome) for at, outcome in enumerate(done)]

    def _write_line(self, tx: Transaction, job: Job, header: list[str], line: list[str]) -> Outcome:
        mark = tx.mark()
        record_id = ""
        try:
            values = values_of(header, line)
            by = "Id" if job.operation != "upsert" else job.external_id
            key = next((values.pop(name) for name in list(values) if name.lower() == by.lower()), None)
            record_id = str(key or "") if by == "Id" else ""
            saved = self._apply(tx, job, key, {name: value for name, value in values.items() if name.lower() != "id"})
        except ApiError as error:
            tx.back_to(mark)
            return record_id, False, error.as_text()
        except ValueError as error:
            return "", False, f"INVALID_FIELD:{error}: --"
        return saved.id, saved.created, ""

    def _apply(self, tx: Transaction, job: Job, key: Any, values: dict[str, Any]) -> dml.Saved:
        if job.operation == "insert":
            return dml.insert(tx, job.object, values, from_csv=True)
        if job.operation == "upsert":
            return dml.upsert(tx, job.object, job.external_id, key, values, from_csv=True)
        if not key:
            raise ApiError("MISSING_ARGUMENT", "Id not specified in an update call", [])
        if job.operation == "update":
            return dml.update(tx, job.object, str(key), values, from_csv=True)
        return dml.delete(tx, job.object, str(key))


def new_job(org: Org, **facts: Any) -> Job:
    """A job with the next id."""
    return Job(id=org.next_id("750"), created=timestamp(org.now()), **facts)

"""Bulk API 2.0: jobs that write what is uploaded, and jobs that query."""

from collections.abc import Iterable
from email import message_from_bytes
from typing import Any

import orjson

from fieldline_simulators.salesforce import dml
from fieldline_simulators.salesforce.bulk_csv import DELIMITERS, LINE_ENDINGS, cell, split_rows, write_rows
from fieldline_simulators.salesforce.calls import DATA, Answer, Call, Routes, as_json
from fieldline_simulators.salesforce.errors import ApiError
from fieldline_simulators.salesforce.jobs import ENDED, Job, new_job
from fieldline_simulators.salesforce.org import Transaction
from fieldline_simulators.salesforce.soql_run import Result, run_query
from fieldline_simulators.salesforce.soql_syntax import Query, parse_query

routes = Routes()
_INGEST, _QUERY = DATA + "/jobs/ingest", DATA + "/jobs/query"
_MOST_BYTES = 150_000_000
_OPERATIONS = frozenset({"insert", "update", "upsert", "delete", "hardDelete"})
_PAGES = 5


@routes.on("POST", _INGEST)
def create_ingest(call: Call) -> Answer:
    """Opens a job; with the upload in the same call it is started at once."""
    asked, content = _asked(call)
    operation, kind = str(asked.get("operation")), call.org.schema.get(str(asked.get("object")))
    if operation not in _OPERATIONS:
        raise ApiError("INVALIDJOB", f"Unable to parse Job: operation {operation} is not known")
    if kind is None:
        raise ApiError("INVALIDENTITY", f"Entity '{asked.get('object')}' is not supported by the Bulk API.")
    external_id = str(asked.get("externalIdFieldName") or "")
    if operation == "upsert":
        if not external_id:
            raise ApiError(
                "INVALIDJOB", "External ID was blank for " + kind.name + ". An External ID must be specified for upsert."
            )
        _check_external_id(call, kind.name, external_id)
    job = _new(call, "V2Ingest", asked, operation=operation, object=kind.name, external_id=external_id, state="Open")
    call.jobs.add(job)
    if content is not None:
        call.jobs.upload(job, content)
        _complete(call, job)
    return as_json(job.as_dict(whole=False))


def _check_external_id(call: Call, name: str, external_id: str) -> None:
    try:
        dml.external_id(Transaction(call.org, call.actor), call.org.kind(name), external_id)
    except ApiError:
        words = f"Field name provided, {external_id} does not match an External ID for {name}"
        raise ApiError("INVALIDJOB", f"InvalidJob : {words}") from None


def _asked(call: Call) -> tuple[dict[str, Any], bytes | None]:
    """What a job is created with; in a call of several parts the second one is the upload."""
    kind = call.headers.get("content-type", "")
    if not kind.startswith("multipart/"):
        return call.document(), None
    message = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + call.body)
    parts = [part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()]
    try:
        document, content = (part for part in parts if isinstance(part, bytes))
        return dict(orjson.loads(document)), content
    except ValueError:
        raise ApiError("INVALIDJOB", "A job in several parts has the job in JSON and then the data in CSV") from None


def _new(call: Call, kind: str, asked: dict[str, Any], **facts: Any) -> Job:
    delimiter, ending = str(asked.get("columnDelimiter") or "COMMA"), str(asked.get("lineEnding") or "LF")
    if delimiter not in DELIMITERS or ending not in LINE_ENDINGS or str(asked.get("contentType") or "CSV") != "CSV":
        raise ApiError("INVALIDJOB", "Unable to parse Job: columnDelimiter, lineEnding or contentType is not known")
    actor = call.acting()
    return new_job(call.org, type=kind, user_id=actor.user_id, api_version=float(call.version), delimiter=delimiter,
                   line_ending=ending, client=actor.client, auto_assign=actor.auto_assign, **facts)  # fmt: skip


@routes.on("GET", _INGEST)
def list_ingest(call: Call) -> Answer:
    """Lists the jobs that write."""
    return _list(call, "V2Ingest")


@routes.on("GET", _QUERY)
def list_query(call: Call) -> Answer:
    """Lists the jobs that query."""
    return _list(call, "V2Query")


def _list(call: Call, kind: str) -> Answer:
    jobs = [each.as_dict(whole=False) for each in call.jobs.all.values() if each.type == kind]
    at = int(call.query.get("queryLocator", "0")) if call.query.get("queryLocator", "0").isdecimal() else 0
    more = at + 1000 < len(jobs)
    path = f"{call.data_url}/jobs/{'ingest' if kind == 'V2Ingest' else 'query'}?queryLocator={at + 1000}"
    return as_json({"done": not more, "records": jobs[at : at + 1000], "nextRecordsUrl": path if more else None})


@routes.on("PUT", _INGEST + "/{job}/batches")
def upload(call: Call, job: str) -> Answer:
    """Takes the data of a job, once."""
    found = call.jobs.find(job, "V2Ingest")
    if not call.headers.get("content-type", "text/csv").startswith("text/csv"):
        raise ApiError("UNSUPPORTED_MEDIA_TYPE", "Content-Type is text/csv", status=415)
    if len(call.body) > _MOST_BYTES:
        raise ApiError("REQUEST_ENTITY_TOO_LARGE", f"The upload has more than {_MOST_BYTES} bytes", status=413)
    if found.state != "Open" or found.content is not None:
        raise _wrong_state(found, "Content can be uploaded once, to an open job")
    call.jobs.upload(found, call.body)
    return Answer(201)


def _wrong_state(job: Job, words: str) -> ApiError:
    return ApiError("InvalidJobState", f"{words}: job {job.id} is {job.state}")


@routes.on("PATCH", _INGEST + "/{job}")
def change_ingest(call: Call, job: str) -> Answer:
    """Closes a job for processing, or ends it."""
    return _change(call, call.jobs.find(job, "V2Ingest"), ("UploadComplete", "Aborted"))


@routes.on("PATCH", _QUERY + "/{job}")
def change_query(call: Call, job: str) -> Answer:
    """Ends a query."""
    return _change(call, call.jobs.find(job, "V2Query"), ("Aborted",))


def _change(call: Call, job: Job, allowed: tuple[str, ...]) -> Answer:
    state = str(call.document().get("state"))
    if state not in allowed or job.state in ENDED or (state == "UploadComplete" and job.state != "Open"):
        raise _wrong_state(job, f"The state cannot become {state}")
    if state == "UploadComplete":
        _complete(call, job)
    else:
        call.jobs.move(job, state)
    return as_json(job.as_dict(whole=False))


def _complete(call: Call, job: Job) -> None:
    call.jobs.move(job, "UploadComplete")
    call.jobs.start(job)


@routes.on("GET", _INGEST + "/{job}")
def show_ingest(call: Call, job: str) -> Answer:
    """Shows how far a job is."""
    return as_json(call.jobs.find(job, "V2Ingest").as_dict())


@routes.on("GET", _QUERY + "/{job}")
def show_query(call: Call, job: str) -> Answer:
    """Shows how far a query is."""
    return as_json(call.jobs.find(job, "V2Query").as_dict())


@routes.on("DELETE", _INGEST + "/{job}")
def remove_ingest(call: Call, job: str) -> Answer:
    """Forgets a job that has ended."""
    return _remove(call, call.jobs.find(job, "V2Ingest"))


@routes.on("DELETE", _QUERY + "/{job}")
def remove_query(call: Call, job: str) -> Answer:
    """Forgets a query that has ended."""
    return _remove(call, call.jobs.find(job, "V2Query"))


def _remove(call: Call, job: Job) -> Answer:
    if job.state not in ENDED:
        raise _wrong_state(job, "Only a job that has ended can be deleted")
    call.jobs.remove(job)
    return Answer(204)


@routes.on("GET", _INGEST + "/{job}/successfulResults")
def successful(call: Call, job: str) -> Answer:
    """The lines that were written."""
    found = call.jobs.find(job, "V2Ingest")
    rows = ([done, str(created).lower(), *line] for line, (done, created, error) in _outcomes(found) if not error)
    return _csv(found, ["sf__Id", "sf__Created"], rows)


@routes.on("GET", _INGEST + "/{job}/failedResults")
def failed(call: Call, job: str) -> Answer:
    """The lines that were refused, and why."""
    found = call.jobs.find(job, "V2Ingest")
    return _csv(found, ["sf__Id", "sf__Error"], ([done, error, *line] for line, (done, _, error) in _outcomes(found) if error))


@routes.on("GET", _INGEST + "/{job}/unprocessedrecords")
def unprocessed(call: Call, job: str) -> Answer:
    """The lines that the job did not come to."""
    found = call.jobs.find(job, "V2Ingest")
    lines = split_rows(found.content, found.delimiter)[1] if found.content and found.state in ENDED else iter(())
    return _csv(found, [], (line for at, line in enumerate(lines) if at >= len(found.outcomes)))


def _outcomes(job: Job) -> Iterable[tuple[list[str], tuple[str, bool, str]]]:
    if not job.content or not job.outcomes:
        return ()
    return zip(split_rows(job.content, job.delimiter)[1], job.outcomes, strict=False)


def _csv(job: Job, more: list[str], rows: Iterable[list[str]]) -> Answer:
    names = split_rows(job.content or b"", job.delimiter)[0]
    return Answer(200, write_rows([*more, *names], rows, job.delimiter, job.line_ending), {"Content-Type": "text/csv"})


@routes.on("POST", _QUERY)
def create_query(call: Call) -> Answer:
    """Starts a query."""
    asked = call.document()
    text, operation = str(asked.get("query") or ""), str(asked.get("operation") or "query")
    if operation not in ("query", "queryAll"):
        raise ApiError("INVALIDJOB", f"Unable to parse Job: operation {operation} is not known")
    query = parse_query(text)
    result = run_query(call.org, call.actor.access, query, deleted=operation == "queryAll")
    _check_bulk(query, result)
    job = _new(call, "V2Query", asked, operation=operation, object=result.kind.name, query=text, state="UploadComplete")
    call.jobs.add(job)
    call.jobs.start(job)
    return as_json(job.as_dict(whole=False))


def _check_bulk(query: Query, result: Result) -> None:
    if result.aggregate:
        raise ApiError(
            "API_ERROR", "Implementation restriction: aggregate relationships and functions are not supported in Bulk Query"
        )
    if any(isinstance(each, Query) for each in query.select):
        raise ApiError("API_ERROR", "Implementation restriction: parent-to-child relationships are not supported in Bulk Query")
    if any(field.type == "address" for _, field, _ in result.columns):
        raise ApiError("API_ERROR", "Selecting compound data not supported in Bulk Query")


@routes.on("GET", _QUERY + "/{job}/results")
def results(call: Call, job: str) -> Answer:
    """A page of what a query found."""
    found = call.jobs.find(job, "V2Query")
    _check_same_version(call, found)
    if found.state != "JobComplete":
        return Answer(204)
    result = call.jobs.result_of(found)
    asked, at = call.query.get("maxRecords", ""), call.query.get("locator", "0") or "0"
    size = int(asked) if asked.isdecimal() and int(asked) else call.org.options.bulk_rows
    first = int(at, 36) if at.isalnum() and at.isascii() else -1
    if not 0 <= first <= len(result.rows):
        raise ApiError("INVALID_QUERY_LOCATOR", "invalid query locator")
    page, end = result.rows[first : first + size], first + size
    cells = [(get, field.type) for _, field, get in result.columns]
    rows = ([cell(get(row), kind) for get, kind in cells] for row in page)
    content = write_rows([name for name, *_ in result.columns], rows, found.delimiter, found.line_ending)
    locator = _locator(end) if end < len(result.rows) else "null"
    return Answer(200, content, {"Content-Type": "text/csv", "Sforce-Locator": locator, "Sforce-NumberOfRecords": str(len(page))})


def _locator(number: int) -> str:
    """A place in the results, as text that says nothing to a client."""
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
    return digits or "0"


def _check_same_version(call: Call, job: Job) -> None:
    if float(call.version) != job.api_version:
        words = f"The version of the API is not that of the job: v{job.api_version}"
        raise ApiError("API_VERSION_MISMATCH", words, status=409)


@routes.on("GET", _QUERY + "/{job}/resultPages")
def result_pages(call: Call, job: str) -> Answer:
    """Where up to five pages of what a query found are."""
    found = call.jobs.find(job, "V2Query")
    _check_same_version(call, found)
    if found.state != "JobComplete":
        return Answer(204)
    total, size = len(call.jobs.result_of(found).rows), call.org.options.bulk_rows
    start = call.query.get("locator", "0")
    first = int(start, 36) if start.isalnum() and start.isascii() else 0
    begins = list(range(first, max(total, 1), size))
    base = f"{call.data_url}/jobs/query/{found.id}"
    pages = [{"resultUrl": f"{base}/results?locator={_locator(at)}&maxRecords={size}"} for at in begins[:_PAGES]]
    more = f"{base}/resultPages?locator={_locator(begins[_PAGES])}" if len(begins) > _PAGES else None
    return as_json({"resultPages": pages, "nextRecordsUrl": more, "done": more is None})

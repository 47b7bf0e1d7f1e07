"""Writing by bulk jobs: uploaded first, started only when the job's id is safe in the store, polled until the org is done."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from fieldline_connectors.salesforce.bulk_csv import encoded
from fieldline_connectors.salesforce.changes import Changes, refused
from fieldline_connectors.salesforce.config import SalesforceTarget
from fieldline_connectors.salesforce.errors import Kind, job_fault
from fieldline_connectors.salesforce.jobs import DONE, Gone, Jobs
from fieldline_connectors.salesforce.values import cell
from fieldline_core import crash
from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.ports import Slice
from fieldline_core.receipts import Outcome, Pending, Receipts, RowReceipt

_WRITTEN = RowReceipt(Outcome.WRITTEN)
_UNTOLD = RowReceipt(Outcome.UNKNOWN, "the org's results do not name this row")
_SLOWEST = 12


def submit(jobs: Jobs, target: SalesforceTarget, made: Changes) -> Pending:
    """Uploads the changes as a job that is not started yet: the handle is stored first, so that no job works unknown to us."""
    named = "Id" if target.operation == "update" else target.key
    sent = [{("Id" if name == "id" else name): cell(value) for name, value in record.items()} for record in made.records.values()]
    key = target.key if target.operation == "upsert" else None
    job = jobs.upload(target.operation, target.object, key, encoded(sent))
    crash.point("salesforce.job.upload:after")
    return Pending({"job": job, "key": named, "aside": _packed(made.aside), "asked": 0}, 0.0)


def poll(
    jobs: Jobs,
    slice: Slice,
    handle: Mapping[str, Any],
    anew: Callable[[Slice], Receipts | Pending],
    resend: Callable[[Slice, list[int]], Mapping[int, RowReceipt]],
    poll_s: float,
) -> Receipts | Pending:
    """The receipts of a job that has ended, or Pending; `anew` writes the slice again, `resend` only rows that were locked."""
    job = str(handle["job"])
    overtaken = bool(slice.overtaken - _unpacked(handle["aside"]).keys())
    try:
        if not handle["asked"] and not overtaken and _starts(jobs, job):
            return Pending({**handle, "asked": 1}, poll_s)
        about = jobs.state("ingest", job)
        if not handle["asked"] and (about["state"] == "Aborted" or (overtaken and about["state"] == "Open")):
            # Newer decisions came in between, and nothing has happened yet; an earlier attempt may have come as far as here.
            _aborts(jobs, job, about)
            return anew(slice)
        if about["state"] == "Open":
            jobs.start(job)
        if about["state"] not in DONE:
            asked = int(handle["asked"]) + 1
            return Pending({**handle, "asked": asked}, poll_s * min(1.5 ** (asked - 1), _SLOWEST))
        return _receipts(jobs, slice, handle, about, resend)
    except Gone:
        return anew(slice)


def _starts(jobs: Jobs, job: str) -> bool:
    """Starts a job that is most likely open; where it is not, its state says why: an earlier attempt has started it."""
    crash.point("salesforce.job.start:before")
    try:
        jobs.start(job)
    except (Misconfigured, Rejected):
        return False
    crash.point("salesforce.job.start:after")
    return True


def _aborts(jobs: Jobs, job: str, about: Mapping[str, Any]) -> None:
    """Ends a job that nobody has started, so that it never works beside the one in its place."""
    if about["state"] == "Open":
        crash.point("salesforce.job.abort:before")
        jobs.abort(job)
        crash.point("salesforce.job.abort:after")


def _receipts(
    jobs: Jobs, slice: Slice, handle: Mapping[str, Any], about: Mapping[str, Any],
    resend: Callable[[Slice, list[int]], Mapping[int, RowReceipt]],
) -> Receipts:  # fmt: skip
    job, column = str(handle["job"]), str(handle["key"])
    found = _unpacked(handle["aside"])
    rows = {_norm(column, key): row for row, key in enumerate(slice.batch.keys) if row not in found}
    for result in jobs.results(job, "successfulResults"):
        found[rows[_norm(column, _of(result, column))]] = _WRITTEN
    again: list[int] = []
    # The org counts what it refused, so that nothing has to be fetched where that is nothing.
    for result in jobs.results(job, "failedResults") if about.get("numberRecordsFailed") != 0 else ():
        fault = job_fault(result["sf__Error"])
        row = rows[_norm(column, _of(result, column))]
        if fault.meaning.kind is Kind.LOCK:
            again.append(row)
        else:
            found[row] = refused(fault.words)
    found.update(resend(slice, again) if again else {})
    if about["state"] != "JobComplete":
        why = refused(f"the bulk job {about['state'].lower()}: {job_fault(str(about.get('errorMessage') or '')).words}")
        found.update({row: why for row in rows.values() if row not in found})
    found.update({row: _UNTOLD for row in rows.values() if row not in found})
    others = {row: receipt for row, receipt in found.items() if receipt != _WRITTEN}
    return Receipts(len(slice.batch), others=others, detail={"job": job})


def _of(result: Mapping[str, str], column: str) -> str:
    return next((value for name, value in result.items() if name.lower() == column.lower()), "")


def _norm(column: str, key: str) -> str:
    return key[:15] if column == "Id" else key.casefold()


def _packed(aside: Mapping[int, RowReceipt]) -> list[list[Any]]:
    """The receipts as JSON, each kind once with its rows: a handle is kept in the store."""
    kinds: dict[RowReceipt, list[int]] = defaultdict(list)
    for row, receipt in aside.items():
        kinds[receipt].append(row)
    return [[receipt.outcome, receipt.reason, rows] for receipt, rows in kinds.items()]


def _unpacked(packed: list[list[Any]]) -> dict[int, RowReceipt]:
    return {row: RowReceipt(Outcome(outcome), reason) for outcome, reason, rows in packed for row in rows}

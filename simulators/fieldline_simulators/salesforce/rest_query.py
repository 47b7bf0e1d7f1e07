"""Queries page by page, searches, and what was updated or deleted in a time."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fieldline_simulators.salesforce.calls import DATA, Answer, Call, Routes, as_json
from fieldline_simulators.salesforce.describe import column_metadata
from fieldline_simulators.salesforce.errors import ApiError
from fieldline_simulators.salesforce.schema import Row
from fieldline_simulators.salesforce.soql_run import Result, run_query
from fieldline_simulators.salesforce.values import read_time, timestamp

routes = Routes()
_LEAST, _MOST_OPEN = 200, 50
_LIVES = timedelta(days=2)
_FIND = re.compile(r"\s*FIND\s*\{(?P<words>[^}]*)\}(?:\s+IN\s+\w+\s+FIELDS)?(?:\s+RETURNING\s+(?P<objects>.+))?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A query whose rows are not yet all fetched: it shows them as they were when it began."""

    user_id: str
    begun: datetime
    page: int
    result: Result


@routes.on("GET", DATA + "/query")
def query(call: Call) -> Answer:
    """Begins a query."""
    return _begin(call, deleted=False)


@routes.on("GET", DATA + "/queryAll")
def query_all(call: Call) -> Answer:
    """Begins a query of deleted records too."""
    return _begin(call, deleted=True)


@routes.on("GET", DATA + "/query/{locator}")
@routes.on("GET", DATA + "/queryAll/{locator}")
def query_more(call: Call, locator: str) -> Answer:
    """Gives the next page of a query."""
    name, _, at = locator.rpartition("-")
    cursor = call.org.cursors.get(name)
    if cursor is None or cursor.user_id != call.actor.user_id or not at.isdecimal() or cursor.begun + _LIVES < call.org.now():
        raise ApiError("INVALID_QUERY_LOCATOR", "invalid query locator")
    return _page(call, name, cursor, int(at))


@routes.on("GET", DATA + "/tooling/query")
def tooling_query(call: Call) -> Answer:
    """Answers that no object of the tooling API is there."""
    found = re.search(r"\bFROM\s+(\w+)", call.query.get("q", ""), re.IGNORECASE)
    raise ApiError("INVALID_TYPE", f"sObject type '{found[1] if found else ''}' is not supported.")


def _begin(call: Call, *, deleted: bool) -> Answer:
    text = call.query.get("q")
    if not text:
        raise ApiError("MALFORMED_QUERY", "A query string has to be specified")
    result = run_query(call.org, call.actor.access, text, deleted=deleted)
    if call.query.get("columns", "").lower() == "true":
        return as_json({
            "columnMetadata": column_metadata([(name, field) for name, field, _ in result.columns]), "entityName": result.kind.name,
            "groupBy": bool(result.query.group_by), "idSelected": any(name == "Id" for name, *_ in result.columns),
            "keyPrefix": result.kind.prefix,
        })  # fmt: skip
    return _page(call, call.org.next_id("0r8"), Cursor(call.actor.user_id, call.org.now(), _page_rows(call), result), 0)


def _page_rows(call: Call) -> int:
    found = re.search(r"batchsize\s*=\s*(\d+)", call.headers.get("sforce-query-options", ""), re.IGNORECASE)
    return min(max(int(found[1]), _LEAST), 2000) if found else call.org.options.page_rows


def _page(call: Call, name: str, cursor: Cursor, at: int) -> Answer:
    result, end = cursor.result, at + cursor.page
    records = [result.show(row, call.version) for row in result.rows[at:end]]
    more = end < len(result.rows)
    if more and name not in call.org.cursors:
        _keep(call, name, cursor)
    following = {"nextRecordsUrl": f"{call.data_url}/query/{name}-{end}"} if more else {}
    return as_json({"totalSize": result.total, "done": not more, **following, "records": records})


def _keep(call: Call, name: str, cursor: Cursor) -> None:
    """Opens a cursor; of a user's too many the oldest is closed."""
    cursors = call.org.cursors
    own = [each for each, kept in cursors.items() if kept.user_id == cursor.user_id]
    for each in own[: len(own) - _MOST_OPEN + 1]:
        del cursors[each]
    cursors[name] = cursor


@routes.on("GET", DATA + "/search")
def search(call: Call) -> Answer:
    """Finds records in whose name, company or e-mail address the words stand."""
    asked = _FIND.fullmatch(call.query.get("q", ""))
    if asked is None:
        raise ApiError("MALFORMED_SEARCH", "No search term found. The search term must be enclosed in braces.")
    names = re.findall(r"(\w+)\s*(?:\([^)]*\))?", asked["objects"] or "") or ["Account", "Contact", "Lead", "Opportunity"]
    words, found = asked["words"].strip("*\"' ").lower(), []
    for name in names:
        kind = call.org.kind(name)
        rows = (row for row in call.org.tables[kind.name].live() if _says(row, words))
        found += [_found(call, kind.name, row) for row, _ in zip(rows, range(200), strict=False)]
    return as_json({"searchRecords": found})


def _says(row: Row, words: str) -> bool:
    return any(words in str(row.get(name) or "").lower() for name in ("Name", "Company", "Email"))


def _found(call: Call, name: str, row: Row) -> dict[str, object]:
    return {"attributes": {"type": name, "url": f"{call.data_url}/sobjects/{name}/{row['Id']}"}, "Id": row["Id"]}


@routes.on("GET", DATA + "/sobjects/{object}/updated")
def updated(call: Call, object: str) -> Answer:
    """Lists the ids of the records that were changed in a time."""
    begin, end = _span(call)
    rows = call.org.table(object).live()
    return as_json({"ids": [row["Id"] for row in rows if begin <= row["LastModifiedDate"] < end], "latestDateCovered": end})


@routes.on("GET", DATA + "/sobjects/{object}/deleted")
def deleted(call: Call, object: str) -> Answer:
    """Lists the records that were deleted in a time."""
    begin, end = _span(call)
    rows = [row for row in call.org.table(object).rows.values() if row["IsDeleted"] and begin <= row["SystemModstamp"] < end]
    return as_json({
        "deletedRecords": [{"id": row["Id"], "deletedDate": row["SystemModstamp"]} for row in rows],
        "earliestDateAvailable": timestamp(call.org.now() - timedelta(days=30)), "latestDateCovered": end,
    })  # fmt: skip


def _span(call: Call) -> tuple[str, str]:
    try:
        # A plus that was not escaped has become a blank.
        begin, end = (read_time(call.query.get(name, "").replace(" ", "+")).astimezone(UTC) for name in ("start", "end"))
    except ValueError:
        raise ApiError("INVALID_REPLICATION_DATE", "start and end are times of ISO 8601") from None
    if begin >= end or begin < call.org.now() - timedelta(days=30):
        raise ApiError("INVALID_REPLICATION_DATE", "startDate cannot be more than 30 days ago, and must be before endDate")
    return timestamp(begin), timestamp(end)

"""What there is: versions, resources, limits, objects and their fields."""

from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime

from fieldline_simulators.salesforce.calls import DATA, NEWEST, OLDEST, Answer, Call, Routes, as_json
from fieldline_simulators.salesforce.describe import describe_briefly, describe_object, picklist_values
from fieldline_simulators.salesforce.errors import not_found
from fieldline_simulators.salesforce.record_types import values_for
from fieldline_simulators.salesforce.rest_auth import identity_url

routes = Routes()
_SEASONS = ("Winter", "Spring", "Summer")
_RESOURCES = ("sobjects", "query", "queryAll", "search", "limits", "composite", "jobs", "tooling", "ui-api", "chatter")
_LIMITS = {
    "DailyBulkApiBatches": 15000, "DailyBulkV2QueryJobs": 10000, "DailyBulkV2QueryFileStorageMB": 976562,
    "DailyAsyncApexExecutions": 250000, "DailyDeliveredPlatformEvents": 50000, "DailyStreamingApiEvents": 200000,
    "DataStorageMB": 1024, "FileStorageMB": 1024, "HourlyPublishedPlatformEvents": 50000, "DailyWorkflowEmails": 1000,
}  # fmt: skip


@routes.on("GET", "/services/data", session=False)
def versions(call: Call) -> Answer:
    """Lists the versions of the API, oldest first."""
    return as_json([
        {"label": f"{_SEASONS[(each - 59) % 3]} '{24 + (each - 59) // 3:02}", "url": f"/services/data/v{each}.0",
        "version": f"{each}.0"}
        for each in range(OLDEST, NEWEST + 1)
    ])  # fmt: skip


@routes.on("GET", DATA)
def resources(call: Call) -> Answer:
    """Lists the resources of a version."""
    user = call.org.row_of(call.actor.user_id)
    found = {name: f"{call.data_url}/{name}" for name in _RESOURCES}
    return as_json({**found, "identity": identity_url(call, user) if user else None})


@routes.on("GET", DATA + "/limits")
def limits(call: Call) -> Answer:
    """Says what is left of each limit."""
    usage = call.org.usage
    calls = {"Max": usage.limit, "Remaining": max(0, usage.limit - usage.used(call.org.now()))}
    return as_json({"DailyApiRequests": calls, **{name: {"Max": most, "Remaining": most} for name, most in _LIMITS.items()}})


@routes.on("GET", DATA + "/sobjects")
def objects(call: Call) -> Answer:
    """Lists all objects."""
    kinds = call.org.schema.objects.values()
    return as_json(
        {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": [describe_briefly(each, call.data_url) for each in kinds]}
    )


@routes.on("GET", DATA + "/sobjects/{object}")
def basic(call: Call, object: str) -> Answer:
    """Describes an object in short."""
    return as_json({"objectDescribe": describe_briefly(call.org.kind(object), call.data_url), "recentItems": []})


@routes.on("GET", DATA + "/sobjects/{object}/describe")
def describe(call: Call, object: str) -> Answer:
    """Describes an object, unless it is as it was at a time."""
    kind, changed = call.org.kind(object), call.org.schema_changed
    headers = {"Last-Modified": format_datetime(changed, usegmt=True)}
    since = _http_date(call.headers.get("if-modified-since", ""))
    if since and since >= changed:
        return Answer(304, headers=headers)
    return as_json(describe_object(call.org, call.actor.access, kind, call.data_url), headers=headers)


def _http_date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text) if text else None
    except ValueError:
        return None


@routes.on("GET", DATA + "/ui-api/object-info/{object}/picklist-values/{record_type}")
def picklists(call: Call, object: str, record_type: str) -> Answer:
    """Lists the values of all pick lists for a record type."""
    kind = call.org.kind(object)
    seen = [each for each in kind.fields.values() if each.values and call.actor.access.sees(kind, each)]
    found = {each.name: picklist_values(each, values_for(call.org, kind, record_type, each)) for each in seen}
    return as_json({"eTag": str(call.org.feed.latest), "picklistFieldValues": found})


@routes.on("GET", DATA + "/ui-api/object-info/{object}/picklist-values/{record_type}/{field}")
def picklist(call: Call, object: str, record_type: str, field: str) -> Answer:
    """Lists the values of a pick list for a record type."""
    kind = call.org.kind(object)
    found = kind.get(field)
    if found is None or not found.values or not call.actor.access.sees(kind, found):
        raise not_found()
    return as_json(picklist_values(found, values_for(call.org, kind, record_type, found)))

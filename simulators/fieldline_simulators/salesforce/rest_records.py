"""Single records: create, read, update, delete, and all of it by an external id."""

from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from fieldline_simulators.salesforce import dml
from fieldline_simulators.salesforce.calls import DATA, Answer, Call, Routes, as_json
from fieldline_simulators.salesforce.errors import ApiError, not_found
from fieldline_simulators.salesforce.org import Transaction
from fieldline_simulators.salesforce.schema import Row, SObject
from fieldline_simulators.salesforce.values import read_time

routes = Routes()


@routes.on("POST", DATA + "/sobjects/{object}")
def create(call: Call, object: str) -> Answer:
    """Creates a record."""
    values = call.document()
    with call.org.transaction(call.acting()) as tx:
        made = dml.insert(tx, object, values)
    return _created(call, object, made, {})


@routes.on("GET", DATA + "/sobjects/{object}/{id}")
def read(call: Call, object: str, id: str) -> Answer:
    """Reads a record."""
    table = call.org.table(object)
    row = _existing(call, object, id)
    if (unchanged := _precondition(call, row)) is not None:
        return unchanged
    return as_json(_shown(call, table.kind, row), headers=_validators(row))


@routes.on("PATCH", DATA + "/sobjects/{object}/{id}")
def change(call: Call, object: str, id: str) -> Answer:
    """Changes a record."""
    values = call.document()
    _precondition(call, _existing(call, object, id))
    with call.org.transaction(call.acting()) as tx:
        dml.update(tx, object, id, values)
    return Answer(204)


@routes.on("DELETE", DATA + "/sobjects/{object}/{id}")
def remove(call: Call, object: str, id: str) -> Answer:
    """Deletes a record."""
    _precondition(call, _existing(call, object, id))
    with call.org.transaction(call.acting()) as tx:
        dml.delete(tx, object, id)
    return Answer(204)


@routes.on("PATCH", DATA + "/sobjects/{object}/{field}/{value:rest}")
def upsert(call: Call, object: str, field: str, value: str) -> Answer:
    """Changes the record with an external id, or creates it."""
    values, only = call.document(), call.query.get("updateOnly", "").lower() == "true"
    found = dml.external_id(Transaction(call.org, call.actor), call.org.kind(object), field)
    if any(name.lower() == found.name.lower() for name in values):
        raise ApiError("INVALID_FIELD", f"The {found.name} field should not be specified in the sobject data.", [found.name])
    try:
        with call.org.transaction(call.acting()) as tx:
            made = dml.upsert(tx, object, field, value, values, update_only=only)
    except dml.Ambiguous as several:
        return _choices(call, object, several.ids)
    if made.created:
        return _created(call, object, made, {"created": True})
    if float(call.version) < 46:
        return Answer(204)
    return as_json({"id": made.id, "success": True, "errors": [], "created": False})


@routes.on("GET", DATA + "/sobjects/{object}/{field}/{value:rest}")
def read_by(call: Call, object: str, field: str, value: str) -> Answer:
    """Reads the record with an external id."""
    row = _by_key(call, object, field, value)
    if isinstance(row, Answer):
        return row
    return as_json(_shown(call, call.org.kind(object), row), headers=_validators(row))


@routes.on("DELETE", DATA + "/sobjects/{object}/{field}/{value:rest}")
def remove_by(call: Call, object: str, field: str, value: str) -> Answer:
    """Deletes the record with an external id."""
    row = _by_key(call, object, field, value)
    if isinstance(row, Answer):
        return row
    return remove(call, object, row["Id"])


@routes.on("POST", DATA + "/chatter/feed-elements")
def post(call: Call) -> Answer:
    """Posts to the feed of a record."""
    asked = call.document()
    parts = (asked.get("body") or {}).get("messageSegments") or []
    text = "".join(str(part.get("text") or f"@{part.get('id', '')}") for part in parts)
    with call.org.transaction(call.acting()) as tx:
        made = dml.insert(tx, "FeedItem", {"ParentId": asked.get("subjectId"), "Body": text})
    element = {"id": made.id, "feedElementType": "FeedItem", "body": {"text": text}, "parent": {"id": asked.get("subjectId")}}
    return as_json({**element, "url": f"{call.data_url}/chatter/feed-elements/{made.id}"}, 201)


def _existing(call: Call, name: str, record_id: str) -> Row:
    """The record of an id; where a request is about one record, one that never was is not found."""
    try:
        return dml.live_row(call.org.table(name), record_id)
    except ApiError as error:
        raise not_found() if error.code == "INVALID_CROSS_REFERENCE_KEY" else error from None


def _created(call: Call, name: str, made: dml.Saved, more: dict[str, Any]) -> Answer:
    location = f"{call.data_url}/sobjects/{call.org.kind(name).name}/{made.id}"
    return as_json({"id": made.id, "success": True, "errors": [], **more}, 201, {"Location": location})


def _choices(call: Call, name: str, ids: list[str]) -> Answer:
    return as_json([f"{call.data_url}/sobjects/{call.org.kind(name).name}/{each}" for each in ids], 300)


def _by_key(call: Call, name: str, field: str, value: str) -> "Row | Answer":
    table = call.org.table(name)
    by = dml.external_id(Transaction(call.org, call.actor), table.kind, field)
    found = [_existing(call, name, value)] if by.name == "Id" else table.find_live(by.name, value)
    if not found:
        raise not_found()
    return found[0] if len(found) == 1 else _choices(call, name, [row["Id"] for row in found])


def _shown(call: Call, kind: SObject, row: Row) -> dict[str, Any]:
    """A record with the fields that were asked for, or with all that the user sees."""
    access = call.actor.access
    fields = [each for each in kind.fields.values() if access.sees(kind, each)]
    if asked := call.query.get("fields"):
        fields = [call.actor.field(kind, name.strip()) for name in asked.split(",")]
    attributes = {"type": kind.name, "url": f"{call.data_url}/sobjects/{kind.name}/{row['Id']}"}
    return {"attributes": attributes, **{each.name: row.get(each.name) for each in fields}}


def _validators(row: Row) -> dict[str, str]:
    return {"ETag": _etag(row), "Last-Modified": format_datetime(_modified(row), usegmt=True)}


def _etag(row: Row) -> str:
    return f'"{row["Id"]}-{_modified(row).timestamp():.0f}"'


def _modified(row: Row) -> datetime:
    return read_time(row["SystemModstamp"])


def _precondition(call: Call, row: Row) -> Answer | None:
    """Raises 412 where the record is another than the client wants, and answers 304 where it has it already."""
    headers, reading = call.headers, call.method in ("GET", "HEAD")
    wanted, known = headers.get("if-match"), headers.get("if-none-match")
    before, since = _date(headers.get("if-unmodified-since", "")), _date(headers.get("if-modified-since", ""))
    if (wanted and _etag(row) not in wanted and wanted.strip() != "*") or (before and _modified(row) > before):
        raise ApiError("PRECONDITION_FAILED", "The record has changed", status=412)
    if reading and ((known and _etag(row) in known) or (since and _modified(row) <= since)):
        return Answer(304, headers=_validators(row))
    if not reading and since and _modified(row) <= since:
        raise ApiError("PRECONDITION_FAILED", "The record has not changed", status=412)
    return None


def _date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text) if text else None
    except ValueError:
        return None

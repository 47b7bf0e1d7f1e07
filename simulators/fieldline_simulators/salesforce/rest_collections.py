"""Collections: up to 200 records in one call, each with its own receipt, though the answer as a whole is 200."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from fieldline_simulators.salesforce import dml
from fieldline_simulators.salesforce.calls import DATA, Answer, Call, Routes, as_json
from fieldline_simulators.salesforce.errors import ApiError
from fieldline_simulators.salesforce.ids import full_id, is_id
from fieldline_simulators.salesforce.org import Transaction

routes = Routes()
_MOST, _MOST_CHUNKS, _MOST_RETRIEVED = 200, 10, 2000
_WHY = "Record rolled back because not all records were valid and the request was using AllOrNone header"
_ROLLED_BACK = ApiError("ALL_OR_NONE_OPERATION_ROLLED_BACK", _WHY, [])

Write = Callable[[Transaction, dict[str, Any]], dml.Saved]


@routes.on("POST", DATA + "/composite/sobjects")
def create(call: Call) -> Answer:
    """Creates records."""
    return _write_all(call, lambda tx, record: dml.insert(tx, _type_of(record), record))


@routes.on("PATCH", DATA + "/composite/sobjects")
def change(call: Call) -> Answer:
    """Changes records."""
    seen: set[str] = set()

    def write(tx: Transaction, record: dict[str, Any]) -> dml.Saved:
        record_id, values = _split(record, "Id")
        if not is_id(record_id):
            raise ApiError("MISSING_ARGUMENT", "Id not specified in an update call", [])
        if full_id(record_id) in seen:
            raise ApiError("DUPLICATE_VALUE", f"duplicate id specified: {record_id}", [])
        seen.add(full_id(record_id))
        return dml.update(tx, _type_of(record), record_id, values)

    return _write_all(call, write)


@routes.on("PATCH", DATA + "/composite/sobjects/{object}/{field}")
def upsert(call: Call, object: str, field: str) -> Answer:
    """Changes records by an external id, or creates them."""
    dml.external_id(Transaction(call.org, call.actor), call.org.kind(object), field)
    seen: set[str] = set()

    def write(tx: Transaction, record: dict[str, Any]) -> dml.Saved:
        key, values = _split(record, field)
        if str(key).lower() in seen:
            raise ApiError("DUPLICATE_VALUE", f"Duplicate external id specified: {key}", [field])
        if key is not None:
            seen.add(str(key).lower())
        return dml.upsert(tx, object, field, key, values)

    return _write_all(call, write, with_created=True)


@routes.on("DELETE", DATA + "/composite/sobjects")
def remove(call: Call) -> Answer:
    """Deletes records."""
    ids = [each.strip() for each in call.query.get("ids", "").split(",") if each.strip()]

    def write(tx: Transaction, record: dict[str, Any]) -> dml.Saved:
        record_id = record["Id"]
        kind = call.org.schema.of_id(record_id)
        if kind is None or full_id(record_id) not in call.org.tables[kind.name].rows:
            raise ApiError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", [])
        return dml.delete(tx, kind.name, record_id)

    return _receipts(call, [{"Id": each} for each in ids], write, call.query.get("allOrNone", "").lower() == "true")


@routes.on("POST", DATA + "/composite/sobjects/{object}")
def retrieve(call: Call, object: str) -> Answer:
    """Reads records by their ids."""
    asked, kind = call.document(), call.org.kind(object)
    if not all(isinstance(asked.get(name), list) for name in ("ids", "fields")):
        raise ApiError("JSON_PARSER_ERROR", "ids and fields are lists [line:1, column:2]")
    ids, names = ([str(each) for each in asked[name]] for name in ("ids", "fields"))
    return _retrieved(call, object, ids, [call.actor.field(kind, name).name for name in names])


@routes.on("GET", DATA + "/composite/sobjects/{object}")
def retrieve_by_url(call: Call, object: str) -> Answer:
    """Reads records whose ids are in the address."""
    kind = call.org.kind(object)
    names = [call.actor.field(kind, name.strip()).name for name in call.query.get("fields", "").split(",") if name.strip()]
    return _retrieved(call, object, call.query.get("ids", "").split(","), names)


def _retrieved(call: Call, name: str, ids: list[str], fields: list[str]) -> Answer:
    if len(ids) > _MOST_RETRIEVED:
        raise ApiError("EXCEEDED_ID_LIMIT", f"record limit reached. cannot submit more than {_MOST_RETRIEVED} records in this call")
    table, found = call.org.table(name), []
    for each in ids:
        row = table.rows.get(full_id(each))
        attributes = {"type": table.kind.name, "url": f"{call.data_url}/sobjects/{table.kind.name}/{full_id(each)}"}
        live = row is not None and not row["IsDeleted"]
        found.append({"attributes": attributes, **{field: row[field] for field in fields}} if live and row is not None else None)
    return as_json(found)


def _write_all(call: Call, write: Write, *, with_created: bool = False) -> Answer:
    asked = call.document()
    records = asked.get("records")
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise ApiError("JSON_PARSER_ERROR", "records is a list of SObjects [line:1, column:2]")
    return _receipts(call, records, write, asked.get("allOrNone") is True, with_created=with_created)


def _receipts(call: Call, records: list[dict[str, Any]], write: Write, all_or_none: bool, *, with_created: bool = False) -> Answer:
    if len(records) > _MOST:
        raise ApiError("EXCEEDED_ID_LIMIT", f"record limit reached. cannot submit more than {_MOST} records into this call")
    kinds = [str(_attributes(record).get("type")) for record in records]
    if sum(one != other for one, other in pairwise(kinds)) >= _MOST_CHUNKS:
        raise ApiError("LIMIT_EXCEEDED", f"Cannot have more than {_MOST_CHUNKS} chunks in a single operation.")
    found: list[dml.Saved | ApiError] = []
    with call.org.transaction(call.acting()) as tx:
        begun = tx.mark()
        for record in records:
            mark = tx.mark()
            try:
                found.append(write(tx, record))
            except ApiError as error:
                tx.back_to(mark)
                found.append(error)
        failed = any(isinstance(each, ApiError) for each in found)
        if all_or_none and failed:
            tx.back_to(begun)
            found = [each if isinstance(each, ApiError) else _ROLLED_BACK for each in found]
    return as_json([_receipt(each, with_created) for each in found])


def _receipt(found: dml.Saved | ApiError, with_created: bool) -> dict[str, Any]:
    if isinstance(found, ApiError):
        return {"success": False, "errors": [found.as_row()]}
    return {"id": found.id, "success": True, "errors": [], **({"created": found.created} if with_created else {})}


def _attributes(record: dict[str, Any]) -> dict[str, Any]:
    found = record.get("attributes")
    return found if isinstance(found, dict) else {}


def _type_of(record: dict[str, Any]) -> str:
    kind = _attributes(record).get("type")
    if not kind:
        raise ApiError("INVALID_TYPE", "attributes.type is not specified", [])
    return str(kind)


def _split(record: dict[str, Any], name: str) -> tuple[Any, dict[str, Any]]:
    """The value of one field, in whatever case it is written, and the others."""
    key = next((each for each in record if each.lower() == name.lower()), name)
    return record.get(key), {each: value for each, value in record.items() if each != key}

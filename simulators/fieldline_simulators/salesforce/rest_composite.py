"""Several requests in one: composite with references, batch without, and trees of new records."""

import re
from typing import Any
from urllib.parse import quote

from fieldline_simulators.salesforce import dml
from fieldline_simulators.salesforce.calls import DATA, Answer, Call, Routes, as_json
from fieldline_simulators.salesforce.errors import ApiError

routes = Routes()
_MOST = 25
_REFERENCE = re.compile(r"@\{([^}]+)\}")
_WHY = "The transaction was rolled back since another operation in the same transaction failed."
_HALTED = {"errorCode": "PROCESSING_HALTED", "message": _WHY}


class _Halted(Exception):
    """A part failed where all or none were to succeed."""


@routes.on("POST", DATA + "/composite")
def composite(call: Call) -> Answer:
    """Carries out requests in order; a later one may name what an earlier one answered."""
    asked = call.document()
    parts = _parts(asked, "compositeRequest")
    found: list[tuple[dict[str, Any], Answer]] = []
    try:
        with call.org.transaction(call.acting()):
            for part in parts:
                found.append((part, _compose(call, part, {str(done.get("referenceId")): made.value for done, made in found})))
                if asked.get("allOrNone") is True and found[-1][1].status >= 400:
                    raise _Halted
    except _Halted:
        return as_json({"compositeResponse": [
            _response(part, found[-1][1] if part is found[-1][0] else as_json([_HALTED], 400)) for part in parts
        ]})  # fmt: skip
    return as_json({"compositeResponse": [_response(part, made) for part, made in found]})


def _parts(asked: dict[str, Any], name: str) -> list[dict[str, Any]]:
    parts = asked.get(name)
    if not isinstance(parts, list) or not parts or not all(isinstance(each, dict) for each in parts):
        raise ApiError("JSON_PARSER_ERROR", f"{name} is a list of requests [line:1, column:2]")
    if len(parts) > _MOST:
        raise ApiError("LIMIT_EXCEEDED", f"The number of requests exceeds the limit of {_MOST}")
    return parts


def _compose(call: Call, part: dict[str, Any], known: dict[str, Any]) -> Answer:
    try:
        url = _REFERENCE.sub(lambda found: quote(str(_lookup(found[1], known)), safe=""), str(part.get("url", "")))
        body = _filled(part.get("body"), known)
    except (KeyError, IndexError, TypeError):
        return _refused("PROCESSING_HALTED", "Invalid reference specified. No value for the reference was found")
    return _carry_out(call, str(part.get("method", "GET")), url, part.get("httpHeaders") or {}, body)


def _carry_out(call: Call, method: str, url: str, headers: dict[str, Any], body: Any) -> Answer:
    # The dispatcher knows this module.
    from fieldline_simulators.salesforce.api import carry_out

    if not url.startswith("/services/data/v"):
        return _refused("INVALID_REQUEST", f"The url '{url}' is not a resource of the API")
    inner = call.part(method, url, headers, body)
    try:
        route, params = call.routes.find(inner.method, inner.path)
    except ApiError as error:
        return as_json(error.as_rest(), error.status)
    return carry_out(inner, route, params)


def _refused(code: str, message: str) -> Answer:
    return as_json([{"errorCode": code, "message": message}], 400)


def _filled(value: Any, known: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(each, known) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, known) for each in value]
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    return _lookup(whole[1], known) if whole else _REFERENCE.sub(lambda found: str(_lookup(found[1], known)), value)


def _lookup(path: str, known: dict[str, Any]) -> Any:
    """A value of an earlier answer: `ref.id`, or `ref.records[0].Id`."""
    name, *steps = [step for step in re.split(r"[.\[\]]+", path) if step]
    value = known[name]
    for step in steps:
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def _response(part: dict[str, Any], made: Answer) -> dict[str, Any]:
    headers = {name: value for name, value in made.headers.items() if name in ("Location", "ETag")}
    return {"body": made.value, "httpHeaders": headers, "httpStatusCode": made.status, "referenceId": part.get("referenceId")}


@routes.on("POST", DATA + "/composite/batch")
def batch(call: Call) -> Answer:
    """Carries out requests that know nothing of one another."""
    asked = call.document()
    found: list[Answer] = []
    for part in _parts(asked, "batchRequests"):
        if asked.get("haltOnError") is True and any(each.status >= 400 for each in found):
            found.append(as_json([{"errorCode": "BATCH_PROCESSING_HALTED", "message": "Batch processing halted per request"}], 412))
            continue
        url = str(part.get("url", "")).lstrip("/")
        full = f"/{url}" if url.startswith("services/") else f"/services/data/{url}"
        found.append(_carry_out(call, str(part.get("method", "GET")), full, {}, part.get("richInput")))
    results = [{"statusCode": each.status, "result": each.value} for each in found]
    return as_json({"hasErrors": any(each.status >= 400 for each in found), "results": results})


class _TreeFailed(Exception):
    """A record of a tree was refused."""

    def __init__(self, reference: str, error: ApiError) -> None:
        self.reference, self.error = reference, error


@routes.on("POST", DATA + "/composite/tree/{object}")
def tree(call: Call, object: str) -> Answer:
    """Creates records with their children; all or none."""
    records = call.document().get("records")
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise ApiError("JSON_PARSER_ERROR", "records is a list of SObjects [line:1, column:2]")
    made: list[dict[str, str]] = []
    try:
        with call.org.transaction(call.acting()) as tx:
            for record in records:
                _plant(call, tx, object, record, {}, made)
    except _TreeFailed as failed:
        errors = [failed.error.as_row()]
        return as_json({"hasErrors": True, "results": [{"referenceId": failed.reference, "errors": errors}]}, 400)
    return as_json({"hasErrors": False, "results": made}, 201)


def _plant(call: Call, tx: Any, name: str, record: dict[str, Any], more: dict[str, str], made: list[dict[str, str]]) -> None:
    reference = str((record.get("attributes") or {}).get("referenceId"))
    relations = {each: (child, field) for each, child, field in call.org.schema.children_of(call.org.kind(name).name)}
    values = {each: value for each, value in record.items() if not (isinstance(value, dict) and "records" in value)}
    if len(made) >= 200:
        raise _TreeFailed(reference, ApiError("LIMIT_EXCEEDED", "A tree has at most 200 records", []))
    try:
        planted = dml.insert(tx, name, {**values, **more}).id
    except ApiError as error:
        raise _TreeFailed(reference, error) from None
    made.append({"referenceId": reference, "id": planted})
    for relation in record.keys() - values.keys():
        if relation not in relations:
            raise _TreeFailed(reference, ApiError("INVALID_FIELD", f"No such relationship '{relation}' on {name}", []))
        child, field = relations[relation]
        for each in record[relation]["records"]:
            _plant(call, tx, child.name, each, {field.name: planted}, made)

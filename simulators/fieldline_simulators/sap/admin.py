"""What only a simulator has: the page, faults, sessions that end, IDocs that are posted, and records as a person sees them.

GET  /                                 the page
GET  /_sim/status                      how many records there are, and the position of the last change
GET|PUT /_sim/faults                   the faults that are set; a PUT replaces them (see faults.py)
DELETE /_sim/sessions                  ends every session and access token
PUT  /_sim/idocs/{number}              {"status": "53", "text": ""}: what the application does that posts an IDoc
GET  /_sim/records/{set}?search=       records for the page, the last changed first
PATCH /_sim/records/{set}?key=         a person changes one; the key is its parts with a bar between them
"""

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import orjson

from fieldline_simulators.sap.calls import address, as_json, decoded
from fieldline_simulators.sap.errors import Refused, malformed, no_entity, not_allowed
from fieldline_simulators.sap.idocs import set_status
from fieldline_simulators.sap.model import EntitySet
from fieldline_simulators.sap.system import System
from fieldline_simulators.sap.values import taken
from fieldline_simulators.sap.writes import as_person, as_text
from fieldline_simulators.serving import Reply

_PAGE_ROWS = 100

Handler = Callable[[System, str, Mapping[str, str], bytes], Reply]


def answer(system: System, method: str, target: str, body: bytes) -> Reply:
    """What the simulator's own addresses answer; raises nothing."""
    try:
        path, options = address(target)
        area, _, name = decoded(path).removeprefix("/_sim/").partition("/")
        if path in ("/", "") and method in ("GET", "HEAD"):
            return _page()
        handler = _ROUTES.get((method, area)) if path.startswith("/_sim/") else None
        if handler is None:
            raise not_allowed(method[:20], path[:60])
        with system.store.lock:
            return handler(system, name, options, body)
    except Refused as error:
        return as_json({"error": error.message}, error.status)


def _page() -> Reply:
    body = (files("fieldline_simulators.sap") / "page.html").read_bytes()
    return Reply(200, body, {"Content-Type": "text/html;charset=utf-8", "Cache-Control": "no-store"})


def _status(system: System, name: str, options: Mapping[str, str], body: bytes) -> Reply:
    counts = {each.name: system.store.count(each.name) for each in system.options.model.sets}
    return as_json({"client": system.options.client, "records": counts, "latest": system.store.position})


def _faults(system: System, name: str, options: Mapping[str, str], body: bytes) -> Reply:
    return as_json(system.faults.as_list())


def _set_faults(system: System, name: str, options: Mapping[str, str], body: bytes) -> Reply:
    try:
        system.faults.set(_json(body))
    except ValueError as error:
        raise malformed(str(error)) from None
    return as_json(system.faults.as_list())


def _end_sessions(system: System, name: str, options: Mapping[str, str], body: bytes) -> Reply:
    system.sessions.end()
    return Reply(204)


def _set_idoc(system: System, name: str, options: Mapping[str, str], body: bytes) -> Reply:
    asked = _object(body)
    row = set_status(system.store, name, str(asked.get("status", "")), str(asked.get("text", "")))
    return as_json({"Docnum": row["Docnum"], "Status": row["Status"], "StatusText": row["StatusText"]})


def _records(system: System, name: str, options: Mapping[str, str], body: bytes) -> Reply:
    entity_set, wanted = _set(system, name), options.get("search", "").lower()
    found = [
        each for each in system.store.all(entity_set)
        if not wanted or any(wanted in value.lower() for value in each.row.values() if isinstance(value, str))
    ]  # fmt: skip
    found.sort(key=lambda each: -each.position if each.version > 1 else 0)
    rows = [
        {"key": "|".join(map(str, entity_set.key_of(each.row))), "version": each.version, "values": as_text(entity_set, each.row)}
        for each in found[:_PAGE_ROWS]
    ]  # fmt: skip
    properties = [{"name": each.name, "label": each.label or each.name, "type": each.type} for each in entity_set.properties]
    return as_json({
        "set": name, "sets": [{"name": each.name, "label": each.label or each.name} for each in system.options.model.sets],
        "total": len(found), "latest": system.store.position, "properties": properties, "records": rows,
    })  # fmt: skip


def _edit(system: System, name: str, options: Mapping[str, str], body: bytes) -> Reply:
    entity_set = _set(system, name)
    parts = options.get("key", "")
    found = next((each for each in system.store.all(entity_set) if "|".join(map(str, entity_set.key_of(each.row))) == parts), None)
    if found is None:
        raise no_entity(name)
    values = {}
    for each, value in _object(body).items():
        if each not in entity_set.by_name or each in entity_set.keys:
            raise malformed(f"'{each[:60]}' cannot be changed")
        values[each] = taken(entity_set.by_name[each], value, v4=True)
    return as_json(as_text(entity_set, as_person(system.store, entity_set, entity_set.key_of(found.row), values).row))


def _set(system: System, name: str) -> EntitySet:
    found = system.options.model.by_set.get(name)
    if found is None:
        raise no_entity(name[:60])
    return found


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise malformed(f"The body is no JSON: {error}") from None


def _object(body: bytes) -> dict[str, Any]:
    found = _json(body)
    if not isinstance(found, dict):
        raise malformed("The body is no JSON object")
    return found


_ROUTES: Mapping[tuple[str, str], Handler] = {
    ("GET", "status"): _status, ("GET", "faults"): _faults, ("PUT", "faults"): _set_faults, ("DELETE", "sessions"): _end_sessions,
    ("PUT", "idocs"): _set_idoc, ("GET", "records"): _records, ("PATCH", "records"): _edit,
}  # fmt: skip

"""Writing: create (also with child records), PATCH and MERGE, PUT, DELETE, upsert by an alternate key, each under its ETag."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from fieldline_simulators.sap.calls import Call
from fieldline_simulators.sap.errors import Refused, malformed, no_entity, not_allowed
from fieldline_simulators.sap.expanding import key_text
from fieldline_simulators.sap.faults import Faults
from fieldline_simulators.sap.model import EntitySet, Navigation, Property, Row
from fieldline_simulators.sap.queries import Reader
from fieldline_simulators.sap.resources import Resource, resolve
from fieldline_simulators.sap.store import Key, Record, Store
from fieldline_simulators.sap.values import shown, taken
from fieldline_simulators.serving import Reply

_MOST_REMEMBERED = 10_000
_REPEATED = {
    False: ("requestid", "repeatabilitycreation"), True: ("repeatability-request-id", "repeatability-first-sent"),
}  # fmt: skip
_EMPTY: Mapping[str, Any] = {"String": "", "Boolean": False}


@dataclass(slots=True)
class Writer:
    """Changes the records of a store; the caller is in a transaction."""

    store: Store
    reader: Reader
    faults: Faults
    #: For a request id the key of the record that it created, when it was first sent, and what was answered.
    repeated: dict[str, tuple[Key, str, Reply]]

    def write(self, call: Call) -> Reply:
        """What a changing request gets; raises Refused."""
        found = resolve(self.store, call)
        if found.property is not None or found.tail:
            raise not_allowed(call.method, call.path[:60])
        if not found.one:
            if call.method != "POST":
                raise not_allowed(call.method, found.entity_set.name)
            return self._created_once(call, found)
        match call.method:
            case "DELETE":
                return self._delete(call, found)
            case "PUT":
                return self._change(call, found, whole=True)
            case "PATCH":
                return self._change(call, found)
            case "MERGE" if not call.v4:
                return self._change(call, found)
        raise not_allowed(call.method[:20], found.entity_set.name)

    def _created_once(self, call: Call, found: Resource) -> Reply:
        id_name, time_name = _REPEATED[call.v4]
        request_id = call.headers.get(id_name, "")[:100] if found.entity_set.repeatable else ""
        first_sent = call.headers.get(time_name, "")[:100]
        known = self.repeated.get(request_id)
        # A record that was taken back with its changeset is created anew.
        if known and self.store.get(found.entity_set, known[0]):
            if known[1] != first_sent:
                headers = {"Repeatability-Result": "rejected"}
                raise Refused(412, "/IWFND/CM_MGW/598", "The request id belongs to another time of first sending", headers=headers)
            return replace(known[2], headers={**known[2].headers, "Repeatability-Result": "accepted"})
        made = self._add(call, found.entity_set, call.json(), dict(found.given or {}))
        answer = self._created(call, found.entity_set, made)
        if request_id:
            self.repeated[request_id] = (found.entity_set.key_of(made.row), first_sent, answer)
            for oldest in list(itertools.islice(self.repeated, max(len(self.repeated) - _MOST_REMEMBERED, 0))):
                del self.repeated[oldest]
        return answer

    def _created(self, call: Call, entity_set: EntitySet, made: Record) -> Reply:
        headers = {"Location": f"{call.root}{entity_set.name}({key_text(entity_set, made.row, v4=call.v4)})", "ETag": made.etag}
        if call.preferences.get("return") == "minimal":
            return Reply(204, b"", {**headers, "OData-EntityId": headers["Location"], "Preference-Applied": "return=minimal"})
        answer = self.reader.one(call, entity_set, made, 201)
        return replace(answer, headers={**answer.headers, **headers})

    def _add(self, call: Call, entity_set: EntitySet, document: dict[str, Any], given: Row) -> Record:
        if not entity_set.creatable:
            raise not_allowed("POST", entity_set.name)
        children = {name: document[name] for name in document if entity_set.navigation(name)}
        values = self._values(call, entity_set, {name: document[name] for name in document if name not in children})
        for name in values:
            kind = entity_set.by_name[name]
            if not kind.creatable and name not in entity_set.keys and values[name] != kind.initial:
                raise Refused(400, "/IWBEP/CM_MGW_RT/026", f"Property '{name}' cannot be set when a record is created", name)
        row = {each.name: each.initial for each in entity_set.properties} | values | given
        self._number(entity_set, row)
        if missing := [name for name in entity_set.keys if row[name] is None]:
            raise malformed(f"Key property '{missing[0]}' is missing", missing[0])
        self._put_allowed(call, entity_set, row)
        key = entity_set.key_of(row)
        if self.store.get(entity_set, key):
            raise Refused(400, "/BOBF/CM_DAC/100", f"A record of '{entity_set.name}' with this key exists already")
        made = self.store.put(entity_set, _filled(entity_set, row))
        for name, rows in children.items():
            navigation = entity_set.navigation(name)
            assert navigation is not None
            self._add_children(call, navigation, rows, made.row)
        return made

    def _add_children(self, call: Call, navigation: Navigation, rows: Any, parent: Row) -> None:
        found = rows.get("results") if isinstance(rows, dict) and not call.v4 else rows
        if not navigation.many or not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise malformed(f"'{navigation.name}' takes a list of records", navigation.name)
        target = self.store.model.by_set[navigation.target]
        for each in found:
            self._add(call, target, each, {theirs: parent[own] for own, theirs in navigation.on})

    def _number(self, entity_set: EntitySet, row: Row) -> None:
        name = entity_set.numbered
        if not name or row[name] not in (None, ""):
            return
        kind = entity_set.by_name[name]
        if kind.type == "Guid":
            row[name] = uuid4()
            return
        others = [record.row for record in self.store.all(entity_set)]
        same = [each for each in others if all(each[key] == row[key] for key in entity_set.keys if key != name)]
        step = 10 if len(entity_set.keys) > 1 else 1
        highest = max((int(each[name]) for each in same if str(each[name]).isdecimal()), default=0)
        row[name] = str(highest + step).zfill(kind.length or 10)

    def _change(self, call: Call, found: Resource, *, whole: bool = False) -> Reply:
        entity_set = found.entity_set
        if found.record is None:
            if found.alternate is None or "if-match" in call.headers or call.method != "PATCH":
                raise no_entity(entity_set.name)
            return self._created(call, entity_set, self._add(call, entity_set, call.json(), found.alternate))
        if not entity_set.updatable:
            raise not_allowed(call.method, entity_set.name)
        self._check_version(call, entity_set, found.record)
        values = self._values(call, entity_set, call.json())
        values = {name: value for name, value in values.items() if name not in entity_set.keys}
        held = found.record.row
        for name, value in values.items():
            if not entity_set.by_name[name].updatable and value != held[name]:
                raise Refused(400, "/IWBEP/CM_MGW_RT/027", f"Property '{name}' cannot be changed", name)
        emptied = {each.name: each.initial for each in entity_set.properties if each.updatable} if whole else {}
        row = _filled(entity_set, {**held, **emptied, **{name: held[name] for name in entity_set.keys}, **values})
        self._put_allowed(call, entity_set, row)
        made = self.store.put(entity_set, row)
        if not call.v4 or call.preferences.get("return") == "minimal":
            return Reply(204, b"", {"ETag": made.etag})
        return self.reader.one(replace(call, headers={**call.headers, "if-none-match": ""}), entity_set, made)

    def _delete(self, call: Call, found: Resource) -> Reply:
        record = found.present()
        if not found.entity_set.deletable:
            raise not_allowed("DELETE", found.entity_set.name)
        self._check_version(call, found.entity_set, record)
        self.faults.of_record(found.entity_set.name, key_text(found.entity_set, record.row, v4=True), "DELETE")
        self.store.remove(found.entity_set, found.entity_set.key_of(record.row))
        return Reply(204)

    def _check_version(self, call: Call, entity_set: EntitySet, record: Record) -> None:
        if call.headers.get("if-none-match", "").strip() == "*":
            raise Refused(412, "/IWFND/CM_MGW/596", f"A record of '{entity_set.name}' exists already")
        wanted = call.headers.get("if-match", "").strip()
        if not wanted:
            raise Refused(428, "/IWFND/CM_MGW/593", "Data access requires a precondition (header If-Match)")
        if wanted != "*" and record.etag not in [each.strip() for each in wanted.split(",")]:
            raise Refused(412, "/IWFND/CM_MGW/596", "Precondition failed: the record was changed in the meantime")

    def _put_allowed(self, call: Call, entity_set: EntitySet, row: Row) -> None:
        self.faults.of_record(entity_set.name, key_text(entity_set, row, v4=True), call.method)
        if why := entity_set.refusal(row):
            raise Refused(400, "ZPLAN/012", why)

    def _values(self, call: Call, entity_set: EntitySet, document: dict[str, Any]) -> Row:
        kinds = entity_set.by_name
        found: Row = {}
        for name, value in document.items():
            if name.startswith(("__", "@")) or "@" in name:
                continue
            if name not in kinds:
                raise malformed(f"Property '{name[:60]}' is invalid", name[:60])
            found[name] = taken(kinds[name], value, v4=call.v4)
        return found


def _filled(entity_set: EntitySet, row: Row) -> Row:
    """The row, with the empty values that ABAP knows where a property may not be null."""
    return {
        each.name: _empty(each) if row[each.name] is None and not each.nullable else row[each.name]
        for each in entity_set.properties
    }


def _empty(kind: Property) -> Any:
    if kind.type in _EMPTY:
        return _EMPTY[kind.type]
    if kind.type in ("Byte", "Int16", "Int32", "Int64", "Decimal", "Double"):
        return taken(kind, "0" if kind.type == "Decimal" else 0, v4=True)
    raise malformed(f"Property '{kind.name}' must not be null", kind.name)


def as_person(store: Store, entity_set: EntitySet, key: tuple[Any, ...], values: Mapping[str, Any]) -> Record:
    """Changes or adds a record past all that the service refuses, as somebody at a screen would; values are Python's."""
    with store.atomic():
        held = store.get(entity_set, key)
        blank = {each.name: each.initial for each in entity_set.properties}
        row = {**(held.row if held else blank), **dict(zip(entity_set.keys, key, strict=True)), **values}
        return store.put(entity_set, row)


def as_text(entity_set: EntitySet, row: Row) -> dict[str, Any]:
    """A row as the simulator's own page takes it."""
    return {each.name: shown(each, row[each.name], v4=True, exact=True) for each in entity_set.properties}

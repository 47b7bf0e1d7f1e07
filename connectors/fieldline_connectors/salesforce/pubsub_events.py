"""What an event says: which records have changed, in which fields; no value of a record is decoded."""

import io
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from fastavro import parse_schema, schemaless_reader
from fastavro.schema import SchemaParseException, UnknownType

from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Change

_MAX_SCHEMA_BYTES = 4 * 1024 * 1024
_MAX_PAYLOAD_BYTES = 4 * 1024 * 1024
_HEADER = "ChangeEventHeader"
_ID = re.compile(r"(?!0{15})[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?")
_BITS = re.compile(r"(?:(\d{1,4})-)?0x([0-9A-Fa-f]{1,1024})")
_GONE = ("DELETE", "GAP_DELETE")
_OVERFLOW = "GAP_OVERFLOW"
# Salesforce sets them at every write, whoever makes it.
_SET_BY_SYSTEM = {"LastModifiedDate", "LastModifiedById", "SystemModstamp"}
_MALFORMED = (
    AttributeError, EOFError, LookupError, MemoryError, OverflowError, RecursionError, TypeError, ValueError, struct.error,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """What one event tells; `gap` says that it stands for changes that it does not name."""

    changes: tuple[Change, ...] = ()
    gap: bool = False


_LOST = Told(gap=True)


class ChangeSchema:
    """The schema of an object's change events; of a payload only the header is read, which is its first field."""

    def __init__(self, schema_json: str) -> None:
        schema = _loaded(schema_json)
        self._head = _until(schema, _HEADER)
        self._fields = schema["fields"]
        self._named = dict(_records(schema))

    def told(self, payload: bytes, replay_id: bytes, client_name: str) -> Told:
        """The records that the event names, but for those that are gone and for what we wrote ourselves."""
        header = _read(self._head, payload).get(_HEADER)
        if not isinstance(header, Mapping):
            return _LOST
        kind, ids = str(header.get("changeType")), _texts(header, "recordIds")
        if kind in _GONE or (not kind.startswith("GAP_") and _is_from(client_name, header.get("changeOrigin"))):
            return Told()
        if kind == _OVERFLOW or not ids or not all(map(_ID.fullmatch, ids)):
            return _LOST
        fields = self._changed(header) if kind == "UPDATE" else frozenset()
        # After a migration of the org a replay id may come again; with the moment of the change it does not.
        moment = header.get("commitTimestamp")
        event = f"{replay_id.hex()}.{moment if isinstance(moment, int) else 0:x}"
        return Told(tuple(Change(f"{event}.{id}", id, fields) for id in ids))

    def _changed(self, header: Mapping[str, Any]) -> frozenset[str]:
        """The fields that an update changed; none where its bitmaps cannot be read, because then it may be any."""
        bitmaps = [bits for name in ("changedFields", "nulledFields", "diffFields") for bits in _texts(header, name)]
        try:
            names = {name for bitmap in bitmaps for name in self._names(bitmap)}
        except (LookupError, ValueError):
            return frozenset()
        return frozenset(names - _SET_BY_SYSTEM)

    def _names(self, bitmap: str) -> Iterator[str]:
        found = _BITS.fullmatch(bitmap)
        if found is None:
            raise ValueError(bitmap)
        parent, bits = found.groups()
        if parent is None:
            yield from (field["name"] for field in _selected(self._fields, bits))
            return
        compound = self._fields[int(parent)]
        inner = self._record_of(compound["type"])
        yield from (_whole_name(compound["name"], field["name"]) for field in _selected(inner["fields"], bits))

    def _record_of(self, kind: Any) -> Mapping[str, Any]:
        """The record that a type is, may be, or names."""
        for each in kind if isinstance(kind, list) else [kind]:
            found = self._named.get(_short(each)) if isinstance(each, str) else each
            if isinstance(found, Mapping) and found.get("type") == "record":
                return found
        raise ValueError("a nested bitmap for a field that has no parts")


class KeySchema:
    """The schema of a platform event; of a payload only what stands before the key is read, and the key."""

    def __init__(self, schema_json: str, key: str, channel: str) -> None:
        schema = _loaded(schema_json)
        names = {str(field["name"]).lower(): str(field["name"]) for field in schema["fields"]}
        if key.lower() not in names:
            raise Misconfigured(f"the platform event of {channel} has no field {key}: check `key` and its API name")
        self._key = names[key.lower()]
        self._head = _until(schema, self._key)

    def told(self, payload: bytes, event_id: str) -> Told:
        """The record that the event names; none where its key is empty."""
        record = _read(self._head, payload)
        if self._key not in record:
            return _LOST
        key = record[self._key]
        return Told((Change(event_id, str(key)),)) if key not in (None, "") else Told()


def _loaded(schema_json: str) -> Mapping[str, Any]:
    """The schema; raises ValueError where it is no bounded record."""
    if len(schema_json) > _MAX_SCHEMA_BYTES:
        raise ValueError("the schema is too large")
    loaded = orjson.loads(schema_json)
    schema: Mapping[str, Any] = loaded if isinstance(loaded, dict) else {}
    fields = schema.get("fields")
    if not isinstance(fields, list) or not all(isinstance(each, dict) and isinstance(each.get("name"), str) for each in fields):
        raise ValueError("the schema is no record")
    return schema


def _until(schema: Mapping[str, Any], last: str) -> Any:
    """The schema of a record's beginning: a reader stops behind that field."""
    count = next((number for number, field in enumerate(schema["fields"], 1) if field["name"] == last), 0)
    if not count:
        raise ValueError(f"the schema has no {last}")
    try:
        return parse_schema({**schema, "fields": schema["fields"][:count]})
    except (SchemaParseException, UnknownType, *_MALFORMED) as error:
        raise ValueError("the schema cannot be read") from error


def _read(schema: Any, payload: bytes) -> Mapping[str, Any]:
    """The beginning of a payload, or nothing where it is malformed."""
    if len(payload) > _MAX_PAYLOAD_BYTES:
        return {}
    try:
        record = schemaless_reader(io.BytesIO(payload), schema, None)
    except _MALFORMED:
        return {}
    return record if isinstance(record, Mapping) else {}


def _texts(header: Mapping[str, Any], name: str) -> list[str]:
    found = header.get(name)
    return [str(each) for each in found] if isinstance(found, list) else []


def _records(kind: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The records that are defined somewhere in a schema, by their names without namespaces, which may be inherited."""
    if isinstance(kind, list):
        for each in kind:
            yield from _records(each)
    elif isinstance(kind, Mapping) and kind.get("type") == "record":
        yield _short(str(kind.get("name"))), kind
        for field in kind.get("fields") or ():
            yield from _records(field.get("type"))


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _selected(fields: Sequence[Mapping[str, Any]], bits: str) -> Iterator[Mapping[str, Any]]:
    """The fields whose bit is set: bit i, from the right, stands for field i; raises IndexError where there is none."""
    number = int(bits, 16)
    return (fields[place] for place in range(number.bit_length()) if number >> place & 1)


def _whole_name(compound: str, part: str) -> str:
    """The record's own field for a part of a compound one: BillingAddress and City make BillingCity."""
    if compound.endswith("__c"):
        return f"{compound[:-1]}{part}__s"
    return f"{compound.removesuffix('Address')}{part}" if compound.endswith("Address") else part


def _is_from(client_name: str, origin: Any) -> bool:
    """Whether a change was made under that client name: `com/salesforce/api/rest/64.0;client=fieldline`."""
    return f"client={client_name}" in str(origin or "").split(";")[1:]

"""Events as Avro: the schemas of change events and platform events, and their payloads.

As in a real org, parts of a name and of an address are fields of a compound field, so that `FirstName` changes as `Name.FirstName`,
and an account's `Name` is a union of a text and a record.
"""

import io
import json
from base64 import urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from hashlib import md5
from typing import Any

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from fieldline_simulators.salesforce.changes import Change
from fieldline_simulators.salesforce.schema import Field, SObject
from fieldline_simulators.salesforce.values import read_time

CHANGES = ("CREATE", "UPDATE", "DELETE", "UNDELETE")
GAPS = ("GAP_CREATE", "GAP_UPDATE", "GAP_DELETE", "GAP_UNDELETE", "GAP_OVERFLOW")
NAMESPACE = "com.sforce.eventbus"

_STRINGS = {"type": "array", "items": "string"}
_HEADER = {
    "type": "record",
    "name": "ChangeEventHeader",
    "fields": [
        {"name": "entityName", "type": "string"},
        {"name": "recordIds", "type": _STRINGS},
        {"name": "changeType", "type": {"type": "enum", "name": "ChangeType", "symbols": [*CHANGES, *GAPS, "SNAPSHOT"]}},
        {"name": "changeOrigin", "type": "string"},
        {"name": "transactionKey", "type": "string"},
        {"name": "sequenceNumber", "type": "int"},
        {"name": "commitTimestamp", "type": "long"},
        {"name": "commitNumber", "type": "long"},
        {"name": "commitUser", "type": "string"},
        {"name": "nulledFields", "type": _STRINGS},
        {"name": "diffFields", "type": _STRINGS},
        {"name": "changedFields", "type": _STRINGS},
    ],
}
_NAME = ("Salutation", "FirstName", "LastName", "MiddleName", "InformalName", "Suffix")
_ADDRESS = ("Street", "City", "State", "PostalCode", "Country", "StateCode", "CountryCode")
_PARTS = {"Name": ("Switchable_PersonName", _NAME), "Address": ("Address", _ADDRESS), "BillingAddress": ("Address", _ADDRESS)}
_PERSON = {"FirstName": ("Name", "FirstName"), "LastName": ("Name", "LastName")}
_COMPOUND = {
    "Lead": {**_PERSON, **{each: ("Address", each) for each in ("City", "State", "Country")}},
    "Contact": _PERSON,
    "User": _PERSON,
    "Account": {"BillingCity": ("BillingAddress", "City"), "BillingCountry": ("BillingAddress", "Country")},
}
_AVRO = {
    "double": "double", "currency": "double", "percent": "double", "int": "int", "boolean": "boolean", "date": "long",
    "datetime": "long",
}  # fmt: skip
_SILENT = frozenset({"Id", "IsDeleted", "SystemModstamp"})
_MIDNIGHT = "T00:00:00+00:00"


@dataclass(frozen=True)
class Schema:
    """One Avro schema by its fingerprint."""

    json: str

    @cached_property
    def id(self) -> str:
        """The fingerprint."""
        return urlsafe_b64encode(md5(self.json.encode(), usedforsecurity=False).digest()).rstrip(b"=").decode()

    @cached_property
    def parsed(self) -> Any:
        """For the codec."""
        return parse_schema(json.loads(self.json))

    def encode(self, record: Mapping[str, Any]) -> bytes:
        """A record in Avro's binary form."""
        out = io.BytesIO()
        schemaless_writer(out, self.parsed, dict(record))
        return out.getvalue()

    def decode(self, payload: bytes) -> dict[str, Any]:
        """A record from Avro's binary form; raises where it is none, or where something is left behind it."""
        source = io.BytesIO(payload)
        record = schemaless_reader(source, self.parsed, None)
        if not isinstance(record, dict) or source.read(1):
            raise ValueError("the payload is longer than the schema says")
        return record


def change_schema(kind: SObject) -> Schema:
    """The schema of an object's change events."""
    header = {"name": "ChangeEventHeader", "type": _HEADER}
    fields = [_field(kind, name) for name in columns(kind)]
    return _schema(change_event(kind.name), [header, *fields])


def event_schema(name: str, fields: Mapping[str, str]) -> Schema:
    """The schema of a platform event."""
    own = [_optional(each, _AVRO.get(kind, "string")) for each, kind in fields.items()]
    return _schema(name, [{"name": "CreatedDate", "type": "long"}, {"name": "CreatedById", "type": "string"}, *own])


def change_event(object_name: str) -> str:
    """What the change events of an object are called."""
    return f"{object_name.removesuffix('__c')}__ChangeEvent" if object_name.endswith("__c") else f"{object_name}ChangeEvent"


def columns(kind: SObject) -> list[str]:
    """The fields of a change event behind its header, in the schema's order."""
    compound = _COMPOUND.get(kind.name, {})
    kept = (each for each in kind.fields.values() if each.name not in _SILENT and not each.formula)
    return list(dict.fromkeys(compound.get(each.name, (each.name,))[0] for each in kept))


def encode_change(kind: SObject, schema: Schema, changes: Sequence[Change], hidden: Collection[str] = ()) -> bytes:
    """The payload of one change event for records that changed alike, without the fields that the subscriber must not see."""
    places, change = columns(kind), changes[0]
    ids = change.values["recordIds"] if change.kind in GAPS else [each.record_id for each in changes]
    seen = {name: value for name, value in change.values.items() if name not in hidden and _told(kind, name)}
    record = _nest(kind, seen) if change.kind in CHANGES else {}
    updated = seen if change.kind == "UPDATE" else {}
    nulled = {name: value for name, value in updated.items() if value is None}
    header = {
        "entityName": kind.name, "recordIds": ids,
        "changeType": change.kind, "changeOrigin": change.origin, "transactionKey": change.transaction_key,
        "sequenceNumber": change.sequence, "commitTimestamp": change.at_ms, "commitNumber": change.commit_number,
        "commitUser": change.user_id, "diffFields": [],
        "nulledFields": _bitmaps(kind, places, nulled), "changedFields": _bitmaps(kind, places, updated),
    }  # fmt: skip
    return schema.encode({**dict.fromkeys(places), **record, "ChangeEventHeader": header})


def encode_event(schema: Schema, change: Change, fields: Mapping[str, str]) -> bytes:
    """The payload of a platform event."""
    own = {name: _value(fields[name], value) for name, value in change.values.items() if name in fields}
    return schema.encode({**dict.fromkeys(fields), **own, "CreatedDate": change.at_ms, "CreatedById": change.user_id})


def _schema(name: str, fields: list[dict[str, Any]]) -> Schema:
    return _known(json.dumps({"type": "record", "name": name, "namespace": NAMESPACE, "fields": fields}, separators=(",", ":")))


@lru_cache(maxsize=256)
def _known(text: str) -> Schema:
    """The same schema for the same text, so that it is parsed once."""
    return Schema(text)


def _optional(name: str, *kinds: Any) -> dict[str, Any]:
    return {"name": name, "type": ["null", *kinds], "default": None}


def _field(kind: SObject, name: str) -> dict[str, Any]:
    record, parts = _PARTS.get(name, ("", ()))
    if record == "Address" or (record and kind.name in ("Lead", "Contact", "User")):
        return _optional(name, {"type": "record", "name": record, "fields": [_optional(part, "string") for part in parts]})
    if name == "Name" and kind.name == "Account":
        return _optional(
            name, "string", {"type": "record", "name": record, "fields": [_optional(part, "string") for part in parts]}
        )
    return _optional(name, _AVRO.get(kind.fields[name].type, "string"))


def _told(kind: SObject, name: str) -> bool:
    found: Field | None = kind.fields.get(name)
    return found is not None and name not in _SILENT and found.formula is None


def _nest(kind: SObject, values: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in values.items():
        parent, *child = _COMPOUND.get(kind.name, {}).get(name, (name,))
        ready = _value(kind.fields[name].type, value)
        if not child:
            made[parent] = ready
        else:
            made.setdefault(parent, {})[child[0]] = ready
    return made


def _value(kind: str, value: Any) -> Any:
    if value is None or kind not in _AVRO:
        return value if value is None else str(value)
    if kind in ("date", "datetime"):
        return value if isinstance(value, int) else _epoch_ms(read_time(f"{value}{_MIDNIGHT}" if len(value) == 10 else value))
    return {"boolean": bool, "int": int}.get(kind, float)(value)


def _epoch_ms(moment: datetime) -> int:
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


def _bitmaps(kind: SObject, places: list[str], names: Collection[str]) -> list[str]:
    """Bit i stands for the schema's field i; the header is field 0. Parts of a compound field have a bitmap of their own."""
    own, nested = 0, dict[int, int]()
    for name in names:
        parent, *child = _COMPOUND.get(kind.name, {}).get(name, (name,))
        at = places.index(parent) + 1
        if child:
            nested[at] = nested.get(at, 0) | 1 << _PARTS[parent][1].index(child[0])
        else:
            own |= 1 << at
    top = [_hex(own)] if own else []
    return [*top, *(f"{at}-{_hex(bits)}" for at, bits in sorted(nested.items()))]


def _hex(bits: int) -> str:
    text = f"{bits:X}"
    return f"0x{text.zfill(len(text) + len(text) % 2)}"

"""Record types: kinds of records of one object, of which each may allow fewer values of a pick list."""

from collections.abc import Mapping, Sequence
from typing import Any

from fieldline_simulators.salesforce.errors import ApiError, not_found
from fieldline_simulators.salesforce.org import Org
from fieldline_simulators.salesforce.schema import Field, Row, SObject, reference

MASTER_RECORD_TYPE = "012000000000000AAA"


def add_record_type(org: Org, object_name: str, name: str, values: Mapping[str, Sequence[str]]) -> str:
    """Adds a record type whose pick lists hold these values, or replaces it, and answers its id."""
    kind = org.kind(object_name)
    allowed: dict[str, Sequence[str]] = {}
    for field_name, some in values.items():
        field = kind.get(field_name)
        if field is None or not set(some) <= set(field.values):
            raise ApiError("SIMULATOR", f"{field_name}: a record type allows some values of a pick list of {kind.name}")
        allowed[field.name] = tuple(each for each in field.values if each in some)
    if kind.get("RecordTypeId") is None:
        org.add_field(kind.name, reference("RecordTypeId", "RecordType", "RecordType", label="Record Type ID"))
    known = [row["Id"] for row in types_of(org, kind) if row["DeveloperName"] == name]
    record_type = known[0] if known else org.next_id("012")
    told = {"Id": record_type, "Name": name.replace("_", " "), "DeveloperName": name, "SobjectType": kind.name}
    with org.transaction(org.administrator()) as tx:
        system = dict.fromkeys(("CreatedDate", "LastModifiedDate", "SystemModstamp"), tx.at)
        by = dict.fromkeys(("CreatedById", "LastModifiedById"), tx.actor.user_id)
        tx.put(org.tables["RecordType"], {**org.kind("RecordType").blank(), **system, **by, **told}, "CREATE", told)
        org.allowed[record_type] = allowed
    return record_type


def types_of(org: Org, kind: SObject) -> list[Row]:
    """The record types of an object."""
    return [row for row in org.tables["RecordType"].live() if row["SobjectType"] == kind.name]


def describe_types(org: Org, kind: SObject, data_url: str) -> list[dict[str, Any]]:
    """The record types as a description of their object tells them; the master, which allows all, comes last."""
    own = [_info(row["Id"], row["Name"], row["DeveloperName"], kind, data_url) for row in types_of(org, kind)]
    master = _info(MASTER_RECORD_TYPE, "Master", "Master", kind, data_url)
    return [*own, {**master, "master": True, "defaultRecordTypeMapping": True}]


def _info(record_type: str, name: str, developer_name: str, kind: SObject, data_url: str) -> dict[str, Any]:
    layout = f"{data_url}/sobjects/{kind.name}/describe/layouts/{record_type}"
    return {"active": True, "available": True, "defaultRecordTypeMapping": False, "developerName": developer_name,
            "master": False, "name": name, "recordTypeId": record_type, "urls": {"layout": layout}}  # fmt: skip


def values_for(org: Org, kind: SObject, record_type: str, field: Field) -> tuple[str, ...]:
    """The values of a pick list for a record type of its object; raises NOT_FOUND where there is no such type."""
    if record_type[:15] == MASTER_RECORD_TYPE[:15]:
        return field.values
    found = next((row["Id"] for row in types_of(org, kind) if row["Id"][:15] == record_type[:15]), None)
    if found is None:
        raise not_found()
    return tuple(org.allowed[found].get(field.name, field.values))


def check_record_type(org: Org, kind: SObject, row: Row, changed: Row) -> None:
    """Raises for a value that a restricted pick list has, but not for the record's type."""
    allowed = org.allowed.get(row.get("RecordTypeId") or "", {})
    for name, values in allowed.items():
        field, value = kind.fields[name], changed.get(name)
        if field.restricted and value is not None and not set(value.split(";")) <= set(values):
            words = f"{field.title}: bad value for restricted picklist field: {value}"
            raise ApiError("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", words, [name])

"""Insert, update, upsert, delete: one record each, with the checks that an org makes, in its order and its words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fieldline_simulators.salesforce.errors import ApiError, not_found
from fieldline_simulators.salesforce.ids import full_id, is_id
from fieldline_simulators.salesforce.org import Transaction
from fieldline_simulators.salesforce.record_types import check_record_type
from fieldline_simulators.salesforce.rules import check_rules
from fieldline_simulators.salesforce.schema import Field, Row, SObject
from fieldline_simulators.salesforce.table import Table
from fieldline_simulators.salesforce.values import read_value


@dataclass(frozen=True, slots=True)
class Saved:
    """A record that was written."""

    id: str
    created: bool


class Ambiguous(ApiError):
    """Several records have the external id."""

    def __init__(self, ids: list[str]) -> None:
        super().__init__("DUPLICATE_EXTERNAL_ID", "The external ID provided matches more than one record", [], 300)
        self.ids = ids


def insert(tx: Transaction, name: str, values: Mapping[str, Any], *, from_csv: bool = False, key: str = "") -> Saved:
    """Creates a record."""
    table = tx.org.table(name)
    kind = table.kind
    if not kind.createable:
        raise ApiError("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", f"entity type {kind.name} does not support create", [])
    written = _read(tx, kind, values, from_csv, creating=True)
    tx.org.faults.of_record(kind.name, key, "insert")
    by, at = tx.actor.user_id, tx.at
    system = {"CreatedDate": at, "LastModifiedDate": at, "SystemModstamp": at, "CreatedById": by, "LastModifiedById": by}
    row = {**kind.blank(), **({"OwnerId": by} if "OwnerId" in kind.fields else {}), **system, **written, "IsDeleted": False}
    _assign(tx, kind, row)
    _check(tx, table, row, written)
    row["Id"] = tx.org.next_id(kind.prefix)
    _compute(kind, row)
    tx.put(
        table, row, "CREATE", {each: value for each, value in row.items() if value is not None and each not in ("Id", "IsDeleted")}
    )
    return Saved(row["Id"], created=True)


def update(tx: Transaction, name: str, record_id: str, values: Mapping[str, Any], *, from_csv: bool = False) -> Saved:
    """Changes a record."""
    table = tx.org.table(name)
    kind = table.kind
    old = live_row(table, record_id)
    written = _read(tx, kind, values, from_csv, creating=False)
    tx.org.faults.of_record(kind.name, old["Id"], "update")
    if old.get("IsConverted"):
        raise ApiError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", [])
    row = {**old, **written, "LastModifiedDate": tx.at, "SystemModstamp": tx.at, "LastModifiedById": tx.actor.user_id}
    _assign(tx, kind, row)
    _check(tx, table, row, {each: value for each, value in written.items() if old.get(each) != value})
    _compute(kind, row)
    silent = {"SystemModstamp", *(each.name for each in kind.formulas())}
    changed = {each: value for each, value in row.items() if old.get(each) != value and each not in silent}
    tx.put(table, row, "UPDATE", {**changed, "LastModifiedDate": tx.at})
    return Saved(old["Id"], created=False)


def delete(tx: Transaction, name: str, record_id: str) -> Saved:
    """Puts a record into the recycle bin."""
    table = tx.org.table(name)
    old = live_row(table, record_id)
    if not table.kind.deletable:
        raise ApiError("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id", [])
    tx.org.faults.of_record(table.kind.name, old["Id"], "delete")
    tx.put(table, {**old, "IsDeleted": True, "LastModifiedDate": tx.at, "SystemModstamp": tx.at}, "DELETE", {})
    return Saved(old["Id"], created=False)


def upsert(
    tx: Transaction, name: str, by: str, key: Any, values: Mapping[str, Any], *, from_csv: bool = False, update_only: bool = False
) -> Saved:
    """Changes the record with this external id, or creates it."""
    table = tx.org.table(name)
    field = external_id(tx, table.kind, by)
    if key is None or key == "":
        raise ApiError("MISSING_ARGUMENT", f"{field.name} not specified", [field.name])
    if field.name == "Id":
        return update(tx, name, str(key), values, from_csv=from_csv)
    key = read_value(field, key, from_csv=from_csv)
    tx.org.faults.of_record(table.kind.name, str(key), "upsert")
    found = table.find_live(field.name, key)
    if len(found) > 1:
        raise Ambiguous([row["Id"] for row in found])
    if found:
        return update(tx, name, found[0]["Id"], values, from_csv=from_csv)
    if update_only:
        raise not_found()
    return insert(tx, name, {**values, field.name: key}, from_csv=from_csv, key=str(key))


def external_id(tx: Transaction, kind: SObject, name: str) -> Field:
    """The field that records can be named by; raises NOT_FOUND."""
    field = kind.get(name)
    if field is None or not (field.external_id or field.id_lookup) or not tx.actor.access.sees(kind, field):
        raise not_found(f"Provided external ID field does not exist or is not accessible: {name}")
    return field


def live_row(table: Table, record_id: str) -> Row:
    """The record of this id; raises what is answered where there is none."""
    row = table.rows.get(full_id(record_id)) if is_id(record_id) else None
    if row is None:
        raise ApiError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", [], 404)
    if row["IsDeleted"]:
        raise ApiError("ENTITY_IS_DELETED", "entity is deleted", [], 404)
    return row


def _read(tx: Transaction, kind: SObject, values: Mapping[str, Any], from_csv: bool, *, creating: bool) -> Row:
    """The values as they are kept; raises where a field is not there, not to be written, or does not take its value."""
    written: Row = {}
    closed = []
    for name, raw in values.items():
        if name == "attributes":
            continue
        parent = kind.by_relationship(name.partition(".")[0]) if isinstance(raw, dict) or "." in name else None
        if parent is not None:
            written[parent.name] = _parent_id(tx, parent, name, raw)
            continue
        field = tx.actor.field(kind, name)
        if field.name == "Id":
            raise ApiError("INVALID_FIELD", "The Id field should not be specified in the sobject data.", ["Id"])
        if not (field.createable if creating else field.updateable) or not tx.actor.access.writes(kind, field):
            closed.append(field.name)
            continue
        written[field.name] = read_value(field, raw, from_csv=from_csv)
    if closed:
        raise ApiError(
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            f"Unable to create/update fields: {', '.join(closed)}. Please check the security settings of this field and verify "
            "that it is read/write for your profile or permission set.",
            closed,
        )
    return written


def _parent_id(tx: Transaction, reference: Field, name: str, raw: Any) -> str | None:
    """The id of a parent that is named by an external id: `{"Account": {"Key__c": "1"}}`, or `Account.Key__c` in CSV."""
    pairs = {name.partition(".")[2]: raw} if not isinstance(raw, dict) else {k: v for k, v in raw.items() if k != "attributes"}
    (by, key), *_ = pairs.items() if pairs else [("", None)]
    if key is None or key == "":
        return None
    key = str(key)
    for target in reference.refers_to:
        table = tx.org.tables[target]
        field = table.kind.get(by)
        if field is not None and table.indexed(field.name):
            found = table.find_live(field.name, full_id(key) if field.name == "Id" else key)
            if len(found) == 1:
                return str(found[0]["Id"])
    raise ApiError(
        "INVALID_FIELD", f"Foreign key external ID: {key} not found for field {by} in entity {reference.refers_to[0]}", []
    )


def _assign(tx: Transaction, kind: SObject, row: Row) -> None:
    """Runs the assignment rule, unless the request forbade it: it moves a lead to the next owner of a queue."""
    if kind.name == "Lead" and tx.org.behaviour.assignment_rule and tx.actor.auto_assign:
        users = list(tx.org.tables["User"].rows)
        row["OwnerId"] = users[(users.index(row["OwnerId"]) + 1) % len(users)] if row["OwnerId"] in users else users[0]


def _compute(kind: SObject, row: Row) -> None:
    for field in kind.formulas():
        row[field.name] = field.formula(row) if field.formula else None


def _check(tx: Transaction, table: Table, row: Row, changed: Row) -> None:
    """Raises the first thing that is wrong with a record as it would stand."""
    kind = table.kind
    missing = [each.name for each in kind.fields.values() if each.required and row.get(each.name) is None]
    if missing:
        raise ApiError("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", missing)
    check_record_type(tx.org, kind, row, changed)
    for name, value in changed.items():
        field = kind.fields[name]
        if value is None:
            continue
        if field.type == "reference":
            _check_reference(tx, field, value)
        elif field.unique:
            _check_unique(table, field, value, row.get("Id"))
    if kind.name == "Task" and str(row.get("WhoId") or "").startswith("00Q") and row.get("WhatId"):
        raise ApiError("FIELD_INTEGRITY_EXCEPTION", "WhatId is not allowed when WhoId is a Lead", ["WhatId"])
    _check_duplicate(tx, table, row)
    check_rules(tx.org, kind, row)


def _check_reference(tx: Transaction, field: Field, value: str) -> None:
    kind = tx.org.schema.of_id(value)
    if kind is None or kind.name not in field.refers_to:
        raise ApiError("FIELD_INTEGRITY_EXCEPTION", f"{field.title}: id value of incorrect type: {value}", [field.name])
    found = tx.org.tables[kind.name].rows.get(value)
    if found is None:
        raise ApiError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", [field.name])
    if found["IsDeleted"]:
        raise ApiError("ENTITY_IS_DELETED", "entity is deleted", [field.name])


def _check_unique(table: Table, field: Field, value: Any, own: str | None) -> None:
    others = [each["Id"] for each in table.find_live(field.name, value) if each["Id"] != own]
    if others:
        raise ApiError(
            "DUPLICATE_VALUE", f"duplicate value found: {field.name} duplicates value on record with id: {others[0][:15]}", []
        )


def _check_duplicate(tx: Transaction, table: Table, row: Row) -> None:
    if table.kind.name != "Lead" or row["Id"] or not tx.org.behaviour.duplicate_rule or tx.actor.allow_duplicates:
        return
    found = table.find_live("Email", row["Email"]) if row.get("Email") else []
    if found:
        matches = [{"record": {"attributes": {"type": "Lead"}, "Id": each["Id"]}} for each in found]
        result = {"allowSave": True, "duplicateRule": "Same_E_Mail", "duplicateRuleEntityType": "Lead",
        "errorMessage": "Use one of these records?",
                  "matchResults": [{"entityType": "Lead", "matchRecords": matches, "rule": "Same_E_Mail",
                  "size": len(found)}]}  # fmt: skip
        raise ApiError("DUPLICATES_DETECTED", "Use one of these records?", [], more={"duplicateResult": result})

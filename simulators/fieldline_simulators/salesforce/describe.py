"""Objects and fields as describe tells them, as far as the user may see them."""

from collections.abc import Mapping
from typing import Any

from fieldline_simulators.salesforce.access import Access
from fieldline_simulators.salesforce.org import Org
from fieldline_simulators.salesforce.record_types import describe_types
from fieldline_simulators.salesforce.schema import NUMBERS, Field, SObject

_SOAP_TYPES = {
    "id": "tns:ID", "reference": "tns:ID", "boolean": "xsd:boolean", "int": "xsd:int", "double": "xsd:double",
    "currency": "xsd:double", "percent": "xsd:double", "date": "xsd:date", "datetime": "xsd:dateTime", "address": "urn:address",
}  # fmt: skip


def describe_object(org: Org, access: Access, kind: SObject, data_url: str) -> dict[str, Any]:
    """The whole description of an object."""
    children = [
        {"childSObject": child.name, "field": reference.name, "relationshipName": name, "cascadeDelete": False,
         "deprecatedAndHidden": False, "restrictedDelete": False, "junctionIdListNames": [], "junctionReferenceTo": []}
        for name, child, reference in org.schema.children_of(kind.name)
    ]  # fmt: skip
    fields = [describe_field(kind, each, access) for each in kind.fields.values() if access.sees(kind, each)]
    return {
        **describe_briefly(kind, data_url), "childRelationships": children, "fields": fields,
        "recordTypeInfos": describe_types(org, kind, data_url),
        "namedLayoutInfos": [], "actionOverrides": [], "listviewable": None, "lookupLayoutable": None,
        "compactLayoutable": True, "searchLayoutable": True,
        "supportedScopes": [{"label": f"All {kind.plural}", "name": "everything"}, {"label": f"My {kind.plural}", "name": "mine"}],
    }  # fmt: skip


def describe_briefly(kind: SObject, data_url: str) -> dict[str, Any]:
    """An object as the list of all objects has it."""
    url = f"{data_url}/sobjects/{kind.name}"
    urls = {"sobject": url, "describe": f"{url}/describe", "rowTemplate": f"{url}/{{ID}}", "layout": f"{url}/describe/layouts"}
    return {
        "name": kind.name, "label": kind.label, "labelPlural": kind.plural, "keyPrefix": kind.prefix, "custom": kind.custom,
        "createable": kind.createable, "updateable": kind.updateable, "deletable": kind.deletable, "undeletable": kind.deletable,
        "queryable": True, "retrieveable": True, "searchable": True, "replicateable": True, "triggerable": True, "layoutable": True,
        "mergeable": kind.name in ("Lead", "Account", "Contact"), "activateable": False, "customSetting": False,
        "feedEnabled": True,
        "deprecatedAndHidden": False, "hasSubtypes": False, "isInterface": False, "isSubtype": False, "mruEnabled": True,
        "associateEntityType": None, "associateParentEntity": None, "urls": urls,
    }  # fmt: skip


def describe_field(kind: SObject, field: Field, access: Access) -> dict[str, Any]:
    """One field."""
    edits = access.writes(kind, field)
    number = field.type in NUMBERS and field.type != "int"
    compound = field.type == "address"
    person = {"FirstName", "LastName"} <= set(kind.fields)
    return {
        "name": field.name, "label": field.title, "type": field.type, "soapType": _SOAP_TYPES.get(field.type, "xsd:string"),
        "length": 0 if field.type in NUMBERS else field.length, "byteLength": field.length * 3,
        "precision": field.precision if number else 0, "scale": field.scale if number else 0,
        "digits": field.precision if field.type == "int" else 0,
        "nillable": not (field.required or field.type in ("boolean", "id")), "defaultedOnCreate": _defaulted(field),
        "createable": field.createable and kind.createable and edits, "updateable": field.updateable and kind.updateable and edits,
        "calculated": field.formula is not None and field.custom, "custom": field.custom, "externalId": field.external_id,
        "unique": field.unique, "idLookup": field.id_lookup, "caseSensitive": False, "nameField": field.name == "Name",
        "restrictedPicklist": field.restricted, "dependentPicklist": False, "controllerName": None,
        "picklistValues": [_choice(each, field) for each in field.values], "referenceTo": list(field.refers_to),
        "relationshipName": field.relationship or None, "relationshipOrder": None, "cascadeDelete": False,
        "restrictedDelete": False,
        "filterable": not compound and field.type != "textarea", "sortable": not compound and field.type != "textarea",
        "groupable": not compound and not number and field.type not in ("textarea", "datetime"), "aggregatable": not compound,
        "encrypted": False, "compoundFieldName": "Name" if person and field.name in ("FirstName", "LastName") else None,
        "autoNumber": False, "calculatedFormula": None, "defaultValue": field.default, "defaultValueFormula": None,
        "deprecatedAndHidden": False, "displayLocationInDecimal": False, "extraTypeInfo": None, "filteredLookupInfo": None,
        "formulaTreatNullNumberAsZero": False, "highScaleNumber": False, "htmlFormatted": False, "inlineHelpText": None,
        "mask": None,
        "maskType": None, "namePointing": len(field.refers_to) > 1, "permissionable": field.custom or field.updateable,
        "polymorphicForeignKey": len(field.refers_to) > 1, "queryByDistance": False, "referenceTargetField": None,
        "searchPrefilterable": field.type == "reference", "writeRequiresMasterRead": False, "aiPredictionField": False,
    }  # fmt: skip


def _defaulted(field: Field) -> bool:
    return field.default is not None or not field.createable or field.name == "OwnerId"


def _choice(value: str, field: Field) -> dict[str, Any]:
    return {"active": True, "defaultValue": field.default == value, "label": value, "validFor": None, "value": value}


def picklist_values(field: Field, allowed: tuple[str, ...]) -> dict[str, Any]:
    """The values of a pick list that one record type allows."""
    values: list[dict[str, Any]] = [{"attributes": None, "label": each, "validFor": [], "value": each} for each in allowed]
    default = next((each for each in values if each["value"] == field.default), None)
    return {"controllerValues": {}, "defaultValue": default, "values": values}


def column_metadata(columns: list[Any]) -> list[dict[str, Any]]:
    """The columns of a query, as `columns=true` asks for them; a parent's are joined."""
    found: dict[str, dict[str, Any]] = {}
    for name, field in columns:
        head, _, rest = name.partition(".")
        made = _column(rest or name, field)
        if rest:
            found.setdefault(head, {**_column(head, Field(head, "reference")), "joinColumns": []})["joinColumns"].append(made)
        else:
            found[name] = made
    return list(found.values())


def _column(name: str, field: Field) -> dict[str, Any]:
    number = field.type in NUMBERS
    kinds: Mapping[str, str] = {
        "boolean": "Boolean",
        "date": "Date",
        "datetime": "Datetime",
        "int": "Integer",
        "id": "Id",
        "reference": "Id",
    }
    return {
        "aggregate": False, "apexType": kinds.get(field.type, "Double" if number else "String"),
        "booleanType": field.type == "boolean",
        "columnName": name, "custom": field.custom, "displayName": name, "foreignKeyName": None, "insertable": field.createable,
        "joinColumns": [], "numberType": number, "textType": not number and field.type not in ("boolean", "date", "datetime"),
        "updatable": field.updateable,
    }  # fmt: skip

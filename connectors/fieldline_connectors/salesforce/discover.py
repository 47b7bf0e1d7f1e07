"""What an org holds: objects with their fields, pick lists, lists of rows, and a few sample values."""

from collections.abc import Mapping, Sequence
from typing import Any

from fieldline_connectors.salesforce.choices import Narrowed, narrowed
from fieldline_connectors.salesforce.describe import FieldInfo, ObjectInfo
from fieldline_connectors.salesforce.org import Org
from fieldline_core.errors import Misconfigured, Rejected, Unavailable
from fieldline_core.logs import log
from fieldline_core.schema import Catalog, Entity, Field, FieldType

_USUAL = (
    "Account", "Asset", "Campaign", "CampaignMember", "Case", "Contact", "Contract", "Event", "Lead", "Opportunity",
    "OpportunityLineItem", "Order", "Product2", "Task", "User",
)  # fmt: skip
_MOST_OBJECTS = 60
_SAMPLED = 3
_MOST_FIELDS_SAMPLED = 100
_SAMPLE_CHARS = 80
_MOST_CHOICES = 200


def catalog(org: Org) -> Catalog:
    """The objects that the connection names, or else the usual ones and all custom ones."""
    seen = {str(entry["name"]): entry for entry in org.objects()}
    by_lower = {name.lower(): name for name in seen}
    wanted = org.wire.config.objects
    if unknown := [name for name in wanted if name.lower() not in by_lower]:
        raise Misconfigured(
            f"{org.wire.place}: this user sees no object {', '.join(unknown)}: correct `objects` or its permissions"
        )
    names = [by_lower[name.lower()] for name in wanted] or [name for name, entry in seen.items() if _usual(name, entry)]
    known = [(info := org.object(name), _samples(org, info)) for name in names[: len(wanted) or _MOST_OBJECTS]]
    fewer = _fewer(org, [info for info, _ in known])
    return Catalog(entities=tuple(_entity(info, samples, fewer.get(info.name, {})) for info, samples in known))


def _usual(name: str, entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("queryable", True)) and (name in _USUAL or (name.endswith("__c") and bool(entry.get("custom"))))


def _fewer(org: Org, infos: Sequence[ObjectInfo]) -> Mapping[str, Narrowed]:
    """The pick lists that record types narrow, by object, as far as the org has calls left to tell."""
    found: dict[str, Narrowed] = {}
    try:
        for info in infos:
            found[info.name] = narrowed(org, info)
    except Unavailable as error:
        # Asked for last: all else is known by now.
        log().warning("record_types_unknown", objects=len(infos) - len(found), reason=str(error))
    return found


def _entity(info: ObjectInfo, samples: Mapping[str, Sequence[str]], fewer: Narrowed) -> Entity:
    own = [_field(field, samples.get(field.name, ()), fewer.get(field.name, {})) for field in _flat(info)]
    lists = [
        Field(name=written, label=written, type=FieldType.LIST, updatable=False)
        for name, (_, written) in sorted(info.children.items())
        if name not in info.fields
    ]
    return Entity(name=info.name, label=info.label, fields=(*own, *lists))


def _flat(info: ObjectInfo) -> list[FieldInfo]:
    return [field for field in info.fields.values() if field.flat]


def _field(field: FieldInfo, samples: Sequence[str], fewer: Mapping[str, tuple[str, ...]]) -> Field:
    return Field(
        name=field.name,
        type=field.type,
        label=field.label,
        nullable=field.nillable,
        key=field.kind == "id",
        updatable=field.updateable,
        length=field.length or None,
        samples=tuple(samples),
        choices=field.choices[:_MOST_CHOICES],
        narrowed={kind: allowed[:_MOST_CHOICES] for kind, allowed in fewer.items()},
        unique=field.unique or field.kind == "id",
        external_id=field.external_id,
        computed=field.calculated,
    )


def _samples(org: Org, info: ObjectInfo) -> dict[str, list[str]]:
    """Values of a few records by field; none of objects that cannot be asked freely."""
    fields = _flat(info)[:_MOST_FIELDS_SAMPLED]
    try:
        soql = f"SELECT {', '.join(field.name for field in fields)} FROM {info.name} LIMIT {_SAMPLED}"  # noqa: S608
        found = org.all_records(soql)
    except (Misconfigured, Rejected):
        return {}
    values = {field.name: [record.get(field.name) for record in found] for field in fields}
    return {name: [str(value)[:_SAMPLE_CHARS] for value in given if value not in (None, "")] for name, given in values.items()}

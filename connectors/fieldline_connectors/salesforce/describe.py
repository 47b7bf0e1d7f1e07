"""What an org says of its objects: fields as the running user sees them, and the lists that belong to a record."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fieldline_core.schema import FieldType

_TYPES: Mapping[str, FieldType] = {
    "boolean": FieldType.BOOLEAN,
    "currency": FieldType.NUMBER,
    "date": FieldType.DATE,
    "datetime": FieldType.DATETIME,
    "double": FieldType.NUMBER,
    "int": FieldType.INTEGER,
    "long": FieldType.INTEGER,
    "percent": FieldType.NUMBER,
    "time": FieldType.TIME,
}
_NOT_FLAT = ("address", "location", "base64", "complexvalue")


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field of an object."""

    name: str
    label: str
    kind: str
    length: int
    precision: int
    scale: int
    nillable: bool
    createable: bool
    updateable: bool
    calculated: bool
    external_id: bool
    unique: bool
    restricted: bool
    choices: tuple[str, ...]
    refers_to: tuple[str, ...]
    relationship: str | None

    @property
    def type(self) -> FieldType:
        """The type of its values in a batch; codes, names and choices are texts."""
        return _TYPES.get(self.kind, FieldType.TEXT)

    @property
    def flat(self) -> bool:
        """Whether its value is one value."""
        return self.kind not in _NOT_FLAT

    @property
    def text(self) -> bool:
        """Whether its values are texts."""
        return self.type is FieldType.TEXT

    def picked(self, texts: Iterable[str]) -> frozenset[str]:
        """What these texts pick of the list: several values where that is allowed, none where the field may be left empty."""
        many = self.kind == "multipicklist"
        each = {value for text in texts for value in (text.split(";") if many else [text])}
        return frozenset(each - {""} if self.nillable else each)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object; fields and lists are found by their names in lower case."""

    name: str
    label: str
    prefix: str
    fields: Mapping[str, FieldInfo]
    children: Mapping[str, tuple[str, str]]
    """Relationship -> the object of its rows, and the relationship's name as it is written."""
    record_types: Mapping[str, str] = field(default_factory=dict)
    """Id -> name of each record type that the running user may use; none where the object has no own ones."""

    def relationship(self, name: str) -> FieldInfo | None:
        """The field behind a relationship such as `Account`."""
        return next((field for field in self.fields.values() if (field.relationship or "").lower() == name.lower()), None)


def object_info(body: Mapping[str, Any]) -> ObjectInfo:
    """The answer of a describe."""
    fields = {str(entry["name"]).lower(): _field(entry) for entry in body.get("fields") or ()}
    children = {
        str(entry["relationshipName"]).lower(): (str(entry["childSObject"]), str(entry["relationshipName"]))
        for entry in body.get("childRelationships") or ()
        if entry.get("relationshipName")
    }
    name = str(body["name"])
    record_types = {
        str(entry["recordTypeId"]): str(entry.get("developerName") or entry["name"])
        for entry in body.get("recordTypeInfos") or ()
        if entry.get("available") and entry.get("active", True) and not entry.get("master")
    }
    return ObjectInfo(name, str(body.get("label") or name), str(body.get("keyPrefix") or ""), fields, children, record_types)


def _field(entry: Mapping[str, Any]) -> FieldInfo:
    choices = (choice for choice in entry.get("picklistValues") or () if choice.get("active", True))
    return FieldInfo(
        name=str(entry["name"]),
        label=str(entry.get("label") or entry["name"]),
        kind=str(entry.get("type") or "string").lower(),
        length=int(entry.get("length") or 0),
        precision=int(entry.get("precision") or 0),
        scale=int(entry.get("scale") or 0),
        nillable=bool(entry.get("nillable", True)),
        createable=bool(entry.get("createable")),
        updateable=bool(entry.get("updateable")),
        calculated=bool(entry.get("calculated")),
        external_id=bool(entry.get("externalId")),
        unique=bool(entry.get("unique")),
        restricted=bool(entry.get("restrictedPicklist")),
        choices=tuple(str(choice["value"]) for choice in choices if choice.get("value") is not None),
        refers_to=tuple(map(str, entry.get("referenceTo") or ())),
        relationship=entry.get("relationshipName"),
    )

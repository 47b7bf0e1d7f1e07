"""One model of `$metadata` for OData V2 and V4: entity sets, keys, types, navigation, labels, and what may be done."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fieldline_core.errors import Misconfigured
from fieldline_core.schema import FieldType

_TYPES: Mapping[str, FieldType] = {
    "Edm.Boolean": FieldType.BOOLEAN,
    "Edm.Byte": FieldType.INTEGER, "Edm.SByte": FieldType.INTEGER, "Edm.Int16": FieldType.INTEGER,
    "Edm.Int32": FieldType.INTEGER, "Edm.Int64": FieldType.INTEGER,
    "Edm.Decimal": FieldType.DECIMAL,
    "Edm.Double": FieldType.NUMBER, "Edm.Single": FieldType.NUMBER,
    "Edm.Date": FieldType.DATE,
    "Edm.DateTime": FieldType.DATETIME, "Edm.DateTimeOffset": FieldType.DATETIME,
    "Edm.Time": FieldType.TIME, "Edm.TimeOfDay": FieldType.TIME,
    "Edm.String": FieldType.TEXT, "Edm.Guid": FieldType.TEXT, "Edm.Duration": FieldType.TEXT,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Property:
    """One property of an entity; `edm` is its primitive type, `day` says that a date-time of V2 is a plain date."""

    name: str
    edm: str
    nullable: bool = True
    length: int | None = None
    precision: int | None = None
    scale: int | None = None
    label: str = ""
    day: bool = False
    creatable: bool = True
    updatable: bool = True
    filterable: bool = True
    sortable: bool = True

    @property
    def type(self) -> FieldType | None:
        """The type of its values in a batch; None where it holds bytes or a shape."""
        return FieldType.DATE if self.day else _TYPES.get(self.edm)


@dataclass(frozen=True, slots=True)
class Navigation:
    """A way from an entity to another one, or to many."""

    name: str
    type: str
    many: bool


@dataclass(frozen=True, slots=True)
class EntityType:
    """The shape of an entity: properties of complex ones stand here under their path, such as `Address.City`."""

    name: str
    keys: tuple[str, ...]
    properties: Mapping[str, Property]
    navigations: Mapping[str, Navigation]


@dataclass(frozen=True, slots=True)
class EntitySet:
    """Records that can be asked for; the flags say what its service declares, and hold where it declares nothing."""

    name: str
    type: EntityType
    label: str = ""
    creatable: bool = True
    updatable: bool = True
    tracks_changes: bool | None = None
    repeatable: bool = False

    def key(self, wanted: tuple[str, ...] = ()) -> tuple[Property, ...]:
        """The properties of the key: the wanted ones, or the set's own."""
        names = wanted or self.type.keys
        if not names:
            raise Misconfigured(f"the entity set {self.name} has no key in $metadata: name the properties of one as `key`")
        return tuple(self.property(name) for name in names)

    def property(self, name: str) -> Property:
        """The property of that name; raises Misconfigured, with those that are there."""
        found = self.type.properties.get(name)
        if found is None:
            names = ", ".join(sorted(self.type.properties))
            raise Misconfigured(f"the entity set {self.name} has no property {name}; it has {names}"[:1000])
        if found.type is None:
            raise Misconfigured(f"the property {name} of {self.name} is {found.edm}, which is not read: leave it out")
        return found


@dataclass(frozen=True, slots=True)
class Service:
    """All that a service says of itself."""

    v4: bool
    sets: Mapping[str, EntitySet]
    types: Mapping[str, EntityType] = field(default_factory=dict)

    def entity_set(self, name: str) -> EntitySet:
        """The entity set of that name; raises Misconfigured, with those that are there."""
        found = self.sets.get(name)
        if found is None:
            raise Misconfigured(f"the service has no entity set {name}; it has {', '.join(sorted(self.sets))}"[:1000])
        return found

    def target(self, source: EntityType, name: str) -> tuple[Navigation, EntityType]:
        """Where a navigation leads to; raises Misconfigured where there is none of that name."""
        navigation = source.navigations.get(name)
        if navigation is None or navigation.type not in self.types:
            names = ", ".join(sorted(source.navigations)) or "none"
            raise Misconfigured(f"{source.name} has no navigation {name}; it has {names}"[:1000])
        return navigation, self.types[navigation.type]

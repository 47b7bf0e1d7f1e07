"""What objects and fields of an org are, and how fields are declared in one line each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
NUMBERS = frozenset({"double", "currency", "percent", "int"})
TEXTS = frozenset({"string", "textarea", "picklist", "multipicklist", "email", "phone", "url"})


@dataclass(frozen=True, slots=True)
class Field:
    """One field; a field with a formula is computed from the record at each write."""

    name: str
    type: str
    label: str = ""
    length: int = 0
    precision: int = 18
    scale: int = 0
    required: bool = False
    createable: bool = True
    updateable: bool = True
    external_id: bool = False
    unique: bool = False
    id_lookup: bool = False
    restricted: bool = False
    values: tuple[str, ...] = ()
    default: Any = None
    refers_to: tuple[str, ...] = ()
    relationship: str = ""
    children: str = ""
    formula: Callable[[Row], Any] | None = None

    @property
    def custom(self) -> bool:
        """Whether an administrator added it."""
        return self.name.endswith("__c")

    @property
    def title(self) -> str:
        """The label that people see."""
        return self.label or self.name.removesuffix("__c").replace("_", " ")

    @property
    def indexed(self) -> bool:
        """Whether records are found by it without a scan."""
        return self.unique or self.external_id or self.id_lookup or bool(self.children)


@dataclass(slots=True)
class SObject:
    """An object: its fields by API name."""

    name: str
    prefix: str
    label: str
    plural: str
    fields: dict[str, Field]
    createable: bool = True
    updateable: bool = True
    deletable: bool = True
    _by_lower: dict[str, Field] = field(init=False)
    _blank: Row = field(init=False)
    _formulas: list[Field] = field(init=False)

    def __post_init__(self) -> None:
        self._learn()

    @property
    def custom(self) -> bool:
        """Whether an administrator added it."""
        return self.name.endswith("__c")

    def add(self, added: Field) -> None:
        """Adds a field, or replaces it."""
        self.fields[added.name] = added
        self._learn()

    def blank(self) -> Row:
        """A record with nothing but defaults."""
        return dict(self._blank)

    def _learn(self) -> None:
        self._by_lower = {each.name.lower(): each for each in self.fields.values()}
        self._blank = {each.name: each.default for each in self.fields.values()}
        self._formulas = [each for each in self.fields.values() if each.formula]

    def get(self, name: str) -> Field | None:
        """The field of this name, in whatever case."""
        return self._by_lower.get(name.lower())

    def by_relationship(self, name: str) -> Field | None:
        """The reference that a path goes through."""
        return next((each for each in self.fields.values() if each.relationship.lower() == name.lower() != ""), None)

    def formulas(self) -> list[Field]:
        """The fields that are computed."""
        return self._formulas


class Schema:
    """The objects of an org."""

    def __init__(self, objects: Iterable[SObject]) -> None:
        self.objects = {each.name: each for each in objects}
        self._by_lower = {name.lower(): each for name, each in self.objects.items()}
        self._by_prefix = {each.prefix: each for each in self.objects.values()}

    def get(self, name: str) -> SObject | None:
        """The object of this name, in whatever case."""
        return self._by_lower.get(name.lower())

    def of_id(self, record_id: str) -> SObject | None:
        """The object that a record's id belongs to."""
        return self._by_prefix.get(record_id[:3])

    def children_of(self, parent: str) -> list[tuple[str, SObject, Field]]:
        """The relationships from an object to its children: their name, the child, and its reference."""
        found = ((each, ref) for each in self.objects.values() for ref in each.fields.values())
        return [(ref.children, each, ref) for each, ref in found if ref.children and parent in ref.refers_to]


def text(name: str, length: int = 255, **more: Any) -> Field:
    """A text."""
    return Field(name, more.pop("type", "string"), length=length, **more)


def number(name: str, precision: int = 18, scale: int = 0, **more: Any) -> Field:
    """A number."""
    return Field(name, more.pop("type", "double"), precision=precision, scale=scale, **more)


def pick(name: str, values: str, **more: Any) -> Field:
    """A pick list; values are written with bars between them."""
    return Field(name, more.pop("type", "picklist"), length=255, values=tuple(values.split("|")), **more)


def reference(name: str, to: str, relationship: str, children: str = "", **more: Any) -> Field:
    """A lookup to records of one object, or of several with bars between them."""
    return Field(name, "reference", length=18, refers_to=tuple(to.split("|")), relationship=relationship, children=children, **more)


def computed(name: str, kind: str, formula: Callable[[Row], Any], **more: Any) -> Field:
    """A field that nobody writes."""
    return Field(name, kind, createable=False, updateable=False, formula=formula, **more)

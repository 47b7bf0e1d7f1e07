"""What a service offers, in the terms that V2 and V4 share: sets, properties, keys, navigations, and what is allowed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]
"""The values of one record, in Python's types."""

TYPES = (
    "String", "Boolean", "Byte", "Int16", "Int32", "Int64", "Decimal", "Double", "Guid", "Date", "DateTimeOffset", "TimeOfDay",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Property:
    """One property; its type is named as V4 does."""

    name: str
    type: str = "String"
    label: str = ""
    length: int | None = None
    precision: int | None = None
    scale: int | None = None
    nullable: bool = True
    creatable: bool = True
    updatable: bool = True
    filterable: bool = True
    #: What a new record gets where nothing is said.
    initial: Any = None

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise ValueError(f"{self.name}: {self.type} is none of {', '.join(TYPES)}")


@dataclass(frozen=True, slots=True)
class Navigation:
    """A way to the records of another set: pairs of an own property and the one that equals it there."""

    name: str
    target: str
    on: tuple[tuple[str, str], ...]
    many: bool = True
    #: Whether it leads to what has changed since its record was made, which is a delta link.
    changes: bool = False


@dataclass(frozen=True, slots=True)
class EntitySet:
    """Records of one kind."""

    name: str
    properties: tuple[Property, ...]
    keys: tuple[str, ...]
    label: str = ""
    navigations: tuple[Navigation, ...] = ()
    #: Other properties that name one record.
    alternate: tuple[str, ...] = ()
    creatable: bool = True
    updatable: bool = True
    deletable: bool = True
    tracked: bool = False
    #: Whether a POST that carries a known request id is answered again, and not done again; V2 says so nowhere.
    repeatable: bool = False
    #: The property that takes the time of each change.
    changed_at: str = ""
    #: The property that numbers new records which come without a key.
    numbered: str = ""
    #: Why the business refuses a row; empty where it does not.
    refusal: Callable[[Row], str] = field(default=lambda row: "", compare=False)
    by_name: Mapping[str, Property] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {each.name: each for each in self.properties})

    @property
    def type(self) -> str:
        """The name of its entity type."""
        return f"{self.name}Type"

    def navigation(self, name: str) -> Navigation | None:
        """The navigation of that name."""
        return next((each for each in self.navigations if each.name == name), None)

    def key_of(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values that name a row."""
        return tuple(row[name] for name in self.keys)


@dataclass(frozen=True, slots=True)
class Model:
    """All sets of a service."""

    sets: tuple[EntitySet, ...]
    namespace: str = "Z_PLANNING_SRV"
    by_set: Mapping[str, EntitySet] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_set", {each.name: each for each in self.sets})

"""What a formula may name: fields of the record, lists of child rows and their fields, features, and a model's outputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fieldline_core.schema import FieldType
from fieldline_mappings.formula.types import OF_FIELD, Type

Record = Mapping[str, FieldType | Mapping[str, FieldType]]
"""The fields of a record by name or path, each with its type; a list of child rows is the mapping of its fields."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Something with a value: a field to be read, or (where `field` is None) what is given under this name."""

    name: str
    type: Type
    field: FieldType | None = None
    output: bool = False
    """Whether it is one of a model's outputs: a field or a feature may have its name."""

    @property
    def key(self) -> str:
        """The name under which its value is given, where it is not read."""
        return f"output:{self.name}" if self.output else self.name.lower()


@dataclass(slots=True)
class Scope:
    """Names compare without regard to case."""

    slots: dict[str, Slot] = field(default_factory=dict)
    lists: dict[str, "Scope"] = field(default_factory=dict)
    name: str = ""
    """The list's own name, where this is what is seen from its rows."""

    @classmethod
    def of(cls, record: Record) -> "Scope":
        """The scope of a record."""
        scope = cls()
        for name, type in record.items():
            if isinstance(type, Mapping):
                slots = {key.lower(): Slot(key, OF_FIELD[kind], kind) for key, kind in type.items()}
                scope.lists[name.lower()] = cls(slots, {}, name)
            else:
                scope.slots[name.lower()] = Slot(name, OF_FIELD[type], type)
        return scope

    def give(self, name: str, type: Type) -> None:
        """Adds an output of the model; it hides a field or a feature of the same name."""
        self.slots[name.lower()] = Slot(name, type, output=True)

    def list_of(self, path: str) -> tuple["Scope", str] | None:
        """The list that a path begins with, and the rest of the path; None where it begins with none."""
        lower = path.lower()
        for name, rows in self.lists.items():
            if lower == name or lower.startswith(f"{name}."):
                return rows, path[len(name) + 1 :]
        return None

    def names(self) -> list[str]:
        """All that can be named, as it was declared."""
        inner = [f"{rows.name}.{slot.name}" for rows in self.lists.values() for slot in rows.slots.values()]
        return [slot.name for slot in self.slots.values()] + [rows.name for rows in self.lists.values()] + inner

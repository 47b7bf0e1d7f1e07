"""A FHIRPath expression as a tree."""

from dataclasses import dataclass
from typing import Any, TypeAlias


class PathError(ValueError):
    """An expression that cannot be read or evaluated, in the words of the person who wrote it; it holds no value of a record."""


@dataclass(frozen=True, slots=True)
class This:
    """The element that the expression is evaluated on."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that is written out; none at all is the empty collection."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant of the view, or one of the standard's: `%name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Member:
    """An element by its name."""

    base: "Node"
    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """One item of a collection by its position."""

    base: "Node"
    position: "Node"


@dataclass(frozen=True, slots=True)
class Call:
    """A function on a collection."""

    base: "Node"
    name: str
    args: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator between two expressions."""

    operator: str
    left: "Node"
    right: "Node"


Node: TypeAlias = This | Literal | Constant | Member | Index | Call | Operation


def type_name(node: Node) -> str | None:
    """The type that a type specifier names (`Quantity`, `FHIR.Quantity`, `'Patient'`); None where it is none."""
    match node:
        case Member(This(), name):
            return name
        case Member(Member(This(), "FHIR" | "System"), name):
            return name
        case Literal((str() as name,)):
            return name
    return None

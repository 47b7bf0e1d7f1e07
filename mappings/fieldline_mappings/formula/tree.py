"""A formula as it was parsed: literals, names and calls, each with its place in the text."""

from dataclasses import dataclass
from typing import TypeAlias

from fieldline_mappings.formula.types import Type


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant; `value` is None for NULL."""

    value: float | str | bool | None
    type: Type
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Name:
    """A field, or a path to one, as it was written."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function or an operator on its arguments; `a + b - c` is one call of `+` on `a` and `b`, inside one of `-`."""

    name: str
    args: "tuple[Node, ...]"
    start: int
    end: int
    depth: int
    """How deep calls are nested in it, a chain of operators counting as one."""
    size: int
    """How many parts it has: a value counts one, a call two."""


Node: TypeAlias = Literal | Name | Call


class FormulaError(ValueError):
    """What is wrong with a formula, where (positions in its text), and what to do about it."""

    def __init__(self, rule: str, message: str, suggestion: str = "", start: int = 0, end: int = 0) -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message
        self.suggestion = suggestion
        self.start = start
        self.end = max(end, start)

"""The closed list of functions: each is declared once, and docs, completion, type check and tests come from that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fieldline_mappings.formula.terms import Term
from fieldline_mappings.formula.types import Type

ANY = frozenset(Type) - {Type.ROWS}
"""Any single value."""


@dataclass(frozen=True, slots=True)
class Param:
    """An argument: which types it takes, and whether it may be left out or repeated.

    Arguments of a call that share a word in `alike` have one type; the type of those alike in "result" can be the result's.
    """

    name: str
    types: frozenset[Type]
    optional: bool = False
    repeated: bool = False
    alike: str = ""
    literal: bool = False
    """Whether it is written as a constant."""


@dataclass(frozen=True, slots=True)
class Function:
    """One function: its arguments, its result's type, and what makes it."""

    name: str
    group: str
    params: tuple[Param, ...]
    returns: "Type | Callable[[Sequence[Type]], Type | str] | None"
    """The result's type; None: that of the arguments alike in "result"; or what follows from the types given (or why nothing)."""
    about: str
    """What it gives, in one sentence."""
    example: str
    """A formula without fields."""
    gives: str
    """What the example gives, as text."""
    build: Callable[..., Term]
    layout: "Callable[[int], Sequence[Param]] | None" = None
    """The parameters of a call with so many arguments, where they do not simply follow each other."""
    counts: "Callable[[int], bool] | None" = None
    """Whether it takes so many arguments, where more has to hold than the least and the most."""

    @property
    def least(self) -> int:
        """The fewest arguments."""
        return sum(not param.optional for param in self.params)

    @property
    def most(self) -> int | None:
        """The most arguments; None where there is no end."""
        return None if any(param.repeated for param in self.params) else len(self.params)

    def takes(self, count: int) -> bool:
        """Whether it can be called with so many arguments."""
        most = self.most
        return self.least <= count and (most is None or count <= most) and (self.counts is None or self.counts(count))

    def shape(self, count: int) -> Sequence[Param]:
        """The parameter of each of so many arguments; a repeated last one stands for all that follow."""
        if self.layout:
            return self.layout(count)
        return [self.params[min(position, len(self.params) - 1)] for position in range(count)]

    @property
    def usage(self) -> str:
        """How it is written: `ROUND(number, places)`."""
        words = [f"[{param.name}]" if param.optional else param.name for param in self.params]
        return f"{self.name}({', '.join(words)}{', …' if self.most is None else ''})"


FUNCTIONS: dict[str, Function] = {}
"""All functions by name; operators stand among them under their signs."""
OPERATORS = {"+", "-", "*", "/", "^", "&", "=", "<>", "<", ">", "<=", ">=", "NEGATE"}


def number(name: str, *, optional: bool = False, repeated: bool = False, alike: str = "") -> Param:
    """A number."""
    return Param(name, frozenset({Type.NUMBER}), optional, repeated, alike)


def text(name: str, *, optional: bool = False, repeated: bool = False, literal: bool = False) -> Param:
    """A text."""
    return Param(name, frozenset({Type.TEXT}), optional, repeated, literal=literal)


def boolean(name: str, *, optional: bool = False, repeated: bool = False) -> Param:
    """True or false."""
    return Param(name, frozenset({Type.BOOLEAN}), optional, repeated)


def of(name: str, *types: Type, optional: bool = False, repeated: bool = False, alike: str = "") -> Param:
    """A value of one of these types; of any where none is given."""
    return Param(name, frozenset(types) or ANY, optional, repeated, alike)


def function(
    name: str, group: str, params: Sequence[Param], returns: "Type | Callable[[Sequence[Type]], Type | str] | None", about: str,
    example: str, gives: str, layout: "Callable[[int], Sequence[Param]] | None" = None,
    counts: "Callable[[int], bool] | None" = None,
) -> Callable[[Callable[..., Term]], Callable[..., Term]]:  # fmt: skip
    """Declares the function that the decorated builder makes: `build(context, *terms)`."""

    def declare(build: Callable[..., Term]) -> Callable[..., Term]:
        FUNCTIONS[name] = Function(name, group, tuple(params), returns, about, example, gives, build, layout, counts)
        return build

    return declare

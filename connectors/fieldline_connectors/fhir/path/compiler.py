"""From a tree to a function over plain dicts, composed once for each expression."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from fieldline_connectors.fhir.path import operators
from fieldline_connectors.fhir.path.functions import FUNCTIONS, Place
from fieldline_connectors.fhir.path.navigation import Evaluate, Items, members, of_type, this, typed_member
from fieldline_connectors.fhir.path.r4 import DATES
from fieldline_connectors.fhir.path.syntax import parse, shown
from fieldline_connectors.fhir.path.tree import (
    Call,
    Constant,
    Index,
    Literal,
    Member,
    Node,
    Operation,
    PathError,
    This,
    type_name,
)  # fmt: skip
from fieldline_connectors.fhir.path.values import Temporal, parts_of
from fieldline_core.findings import did_you_mean

Constants: TypeAlias = Mapping[str, Any]
"""The view's constants by name."""
MAX_DEPTH = 60
"""Steps, functions and operators inside one another."""
_BUILT_IN: Constants = {
    "ucum": "http://unitsofmeasure.org", "loinc": "http://loinc.org", "sct": "http://snomed.info/sct",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Compiled:
    """An expression, ready to be evaluated on elements."""

    text: str
    evaluate: Evaluate
    type: str | None
    """The FHIR type of what it gives, where the expression alone tells it."""
    digits: bool
    """Whether it counts the digits of decimal numbers."""
    references: bool
    """Whether it follows references."""


def compile_path(text: str, constants: Constants, *, resource: str | None = None, type: str | None = None) -> Compiled:
    """The expression, compiled; `resource` is the type on which it stands where that is a resource, `type` what it shall give."""
    tree = parse(text)
    compiler = _Compiler(constants, resource, type)
    try:
        evaluate = compiler.compile(tree)
    except PathError as error:
        raise PathError(f"{shown(text)}: {error}") from None
    return Compiled(text, evaluate, compiler.type_of(tree), compiler.digits, compiler.references)


class _Compiler:
    def __init__(self, constants: Constants, resource: str | None, type: str | None) -> None:
        self._constants = constants
        self._resource = resource
        self._wanted = type
        self.digits = False
        self.references = False

    def compile(self, node: Node, depth: int = 0) -> Evaluate:
        if depth > MAX_DEPTH:
            raise PathError(f"it is nested deeper than {MAX_DEPTH} steps")
        match node:
            case This():
                return this
            case Literal(values):
                return _constantly(values)
            case Constant(name):
                return self._constant(name)
            case Member() if self._is_root(node):
                return this
            case Member():
                return self._members(node, depth)
            case Index(base, position):
                return operators.item(self.compile(base, depth + 1), self.compile(position, depth + 1))
            case Operation(operator, left, right):
                return operators.OPERATORS[operator](self.compile(left, depth + 1), self.compile(right, depth + 1))
            case Call():
                return self._call(node, depth)

    def _is_root(self, node: Node) -> bool:
        """Whether it names the resource itself, as `Patient` in `Patient.name` does."""
        return self._resource is not None and node == Member(This(), self._resource)

    def _constant(self, name: str) -> Evaluate:
        if name == "rowIndex":
            return lambda node, scope: (scope.row_index,)
        if name in ("resource", "rootResource", "context"):
            return lambda node, scope: (scope.resource,)
        known = {**_BUILT_IN, **self._constants}
        if name not in known:
            raise PathError(f"the view has no constant `{name}`. {did_you_mean(name, (*known, 'rowIndex'))}".rstrip())
        return _constantly((known[name],))

    def _members(self, node: Member, depth: int) -> Evaluate:
        names: list[str] = []
        base: Node = node
        while isinstance(base, Member) and not self._is_root(base):
            names.insert(0, base.name)
            base = base.base
        walk = members(names)
        return (
            walk
            if isinstance(base, This) or self._is_root(base)
            else operators.mapped(self.compile(base, depth + len(names)), walk)
        )

    def _call(self, node: Call, depth: int) -> Evaluate:
        if node.name in ("ofType", "as", "is"):
            return self._typed(node, depth)
        function = FUNCTIONS.get(node.name)
        if function is None:
            raise PathError(f"there is no function `{node.name}()` in views. {did_you_mean(node.name, FUNCTIONS)}".rstrip())
        if not function.least <= len(node.args) <= function.most:
            raise PathError(f"`{node.name}()` takes {_counted(function.least, function.most)}, not {len(node.args)}")
        self.digits |= node.name in ("lowBoundary", "highBoundary")
        self.references |= node.name == "getReferenceKey"
        owner = node.base if isinstance(node.base, Member) and not self._is_root(node.base) else None
        place = Place(
            base=self.compile(node.base, depth + 1),
            args=() if function.named else tuple(self.compile(arg, depth + 1) for arg in node.args),
            type=self.type_of(node.base) or self._wanted,
            named=type_name(node.args[0]) if function.named and node.args else None,
            owner=self.compile(owner.base, depth + 1) if owner and function.named else None,
            element=owner.name if owner else None,
        )  # fmt: skip
        return function.build(place)

    def _typed(self, node: Call, depth: int) -> Evaluate:
        """`ofType`, `as` and `is`: on an element with a choice of types they tell which one is meant."""
        name = type_name(node.args[0]) if len(node.args) == 1 else None
        if name is None:
            raise PathError(f"`{node.name}()` takes the name of a type, such as {node.name}(Quantity)")
        if isinstance(node.base, Member) and not self._is_root(node.base):
            found = typed_member(self.compile(node.base.base, depth + 1), node.base.name, name)
        else:
            found = operators.kept(self.compile(node.base, depth + 1), of_type(name))
        if node.name != "is":
            return found
        whole = self.compile(node.base, depth + 1)
        return lambda item, scope: (bool(found(item, scope)),) if whole(item, scope) else ()

    def type_of(self, node: Node) -> str | None:
        """The FHIR type of what a tree gives, where its last step tells it."""
        match node:
            case Member(_, name):
                return "date" if name in DATES else None
            case Call(_, "ofType" | "as", (named,)):
                return type_name(named)
            case Call(_, "is", _):
                return "boolean"
            case Call(base, name, _):
                function = FUNCTIONS.get(name)
                return (function.type or (self.type_of(base) if function.same else None)) if function else None
            case Index(base, _):
                return self.type_of(base)
            case Operation(operator, _, _):
                return operators.TYPES.get(operator)
            case Constant("rowIndex"):
                return "integer"
            case Literal() | Constant():
                value = _known(node, self._constants)
                is_date = isinstance(value, Temporal) and parts_of(value) and len(value) <= 10
                return "date" if is_date else _LITERALS.get(type(value))
        return None


_LITERALS: dict[type, str] = {bool: "boolean", int: "integer", str: "string"}


def _known(node: Literal | Constant, constants: Constants) -> Any:
    return constants.get(node.name) if isinstance(node, Constant) else next(iter(node.values), None)


def _constantly(values: Items) -> Evaluate:
    return lambda node, scope: values


def _counted(least: int, most: int) -> str:
    if most == 0:
        return "no argument"
    return f"{least} argument{'s' * (least != 1)}" if least == most else f"{least} to {most} arguments"

"""Operators on collections: FHIRPath's three-valued logic, arithmetic and comparison."""

from collections.abc import Callable
from decimal import Decimal, DivisionByZero, InvalidOperation
from typing import Any, TypeAlias

from fieldline_connectors.fhir.path.navigation import NOTHING, Evaluate, Items
from fieldline_connectors.fhir.path.scope import Scope
from fieldline_connectors.fhir.path.tree import PathError
from fieldline_connectors.fhir.path.values import equal, is_number, ordered

Build: TypeAlias = Callable[[Evaluate, Evaluate], Evaluate]
_TRUE, _FALSE = (True,), (False,)


def mapped(base: Evaluate, step: Evaluate) -> Evaluate:
    """The step from each item of the base."""

    def walk(node: Any, scope: Scope) -> Items:
        items = base(node, scope)
        if len(items) == 1:
            return step(items[0], scope)
        return [found for item in items for found in step(item, scope)]

    return walk


def kept(base: Evaluate, wanted: Callable[[Any], bool]) -> Evaluate:
    """The items of the base that are wanted."""
    return lambda node, scope: [item for item in base(node, scope) if wanted(item)]


def item(base: Evaluate, position: Evaluate) -> Evaluate:
    """One item by its position."""

    def at(node: Any, scope: Scope) -> Items:
        place = single(position(node, scope), "a position")
        if place is None:
            return NOTHING
        if type(place) is not int:
            raise PathError("a position is a whole number")
        items = base(node, scope)
        return (items[place],) if 0 <= place < len(items) else NOTHING

    return at


def single(items: Items, what: str) -> Any:
    """The only item, or None where there is none."""
    if len(items) > 1:
        raise PathError(f"{what} has {len(items)} values: choose one, by .first() or .where(…)")
    return items[0] if items else None


def truth(items: Items) -> bool | None:
    """The items as a condition: none is unknown, a single value that is no boolean counts as true."""
    value = single(items, "a condition")
    return value if value is None or type(value) is bool else True


def answer(value: bool | None) -> Items:
    """A condition as items."""
    return NOTHING if value is None else _TRUE if value else _FALSE


def _and(left: Evaluate, right: Evaluate) -> Evaluate:
    def both(node: Any, scope: Scope) -> Items:
        one = truth(left(node, scope))
        if one is False:
            return _FALSE
        other = truth(right(node, scope))
        return _FALSE if other is False else answer(None if one is None or other is None else True)

    return both


def _or(left: Evaluate, right: Evaluate) -> Evaluate:
    def either(node: Any, scope: Scope) -> Items:
        one = truth(left(node, scope))
        if one is True:
            return _TRUE
        other = truth(right(node, scope))
        return _TRUE if other is True else answer(None if one is None or other is None else False)

    return either


def _xor(left: Evaluate, right: Evaluate) -> Evaluate:
    def one_of_two(node: Any, scope: Scope) -> Items:
        one, other = truth(left(node, scope)), truth(right(node, scope))
        return answer(None if one is None or other is None else one != other)

    return one_of_two


def _implies(left: Evaluate, right: Evaluate) -> Evaluate:
    def follows(node: Any, scope: Scope) -> Items:
        one, other = truth(left(node, scope)), truth(right(node, scope))
        if one is False or other is True:
            return _TRUE
        return answer(None if one is None or other is None else False)

    return follows


def same(left: Items, right: Items) -> bool | None:
    """Whether two collections are equal, item by item; None where one is empty."""
    if not left or not right:
        return None
    if len(left) != len(right):
        return False
    told = [equal(one, other) for one, other in zip(left, right, strict=True)]
    return False if False in told else None if None in told else True


def _equal(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda node, scope: answer(same(left(node, scope), right(node, scope)))


def _unequal(left: Evaluate, right: Evaluate) -> Evaluate:
    def unequal(node: Any, scope: Scope) -> Items:
        told = same(left(node, scope), right(node, scope))
        return answer(None if told is None else not told)

    return unequal


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return " ".join(one.lower().split()) == " ".join(other.lower().split())
    return equal(one, other) is True


def _equivalent(left: Evaluate, right: Evaluate) -> Evaluate:
    def equivalent(node: Any, scope: Scope) -> Items:
        ones, others = left(node, scope), [*right(node, scope)]
        for one in ones:
            found = next((place for place, other in enumerate(others) if _alike(one, other)), None)
            if found is None:
                return _FALSE
            others.pop(found)
        return answer(not others)

    return equivalent


def _not_equivalent(left: Evaluate, right: Evaluate) -> Evaluate:
    alike = _equivalent(left, right)
    return lambda node, scope: answer(not alike(node, scope)[0])


def _comparison(right_order: Callable[[int], bool]) -> Build:
    def build(left: Evaluate, right: Evaluate) -> Evaluate:
        def compare(node: Any, scope: Scope) -> Items:
            one, other = (single(side(node, scope), "one side of a comparison") for side in (left, right))
            order = None if one is None or other is None else ordered(one, other)
            return answer(None if order is None else right_order(order))

        return compare

    return build


def exact(number: float) -> Decimal:
    """The number as it is written in decimals."""
    return Decimal(number) if type(number) is int else Decimal(repr(float(number)))


def _arithmetic(symbol: str, compute: Callable[[Decimal, Decimal], Decimal]) -> Build:
    whole = symbol in ("div", "mod")

    def build(left: Evaluate, right: Evaluate) -> Evaluate:
        def calculate(node: Any, scope: Scope) -> Items:
            one, other = (single(side(node, scope), f"one side of {symbol}") for side in (left, right))
            if one is None or other is None:
                return NOTHING
            if symbol == "+" and isinstance(one, str) and isinstance(other, str):
                return (one + other,)
            if not is_number(one) or not is_number(other):
                raise PathError(f"{symbol} is for numbers{' or for two texts' if symbol == '+' else ''}")
            try:
                result = compute(exact(one), exact(other))
            except (DivisionByZero, InvalidOperation):
                return NOTHING
            integers = type(one) is int and type(other) is int and symbol != "/"
            return (int(result) if integers or (whole and symbol == "div") else float(result),)

        return calculate

    return build


def _concatenated(left: Evaluate, right: Evaluate) -> Evaluate:
    def joined(node: Any, scope: Scope) -> Items:
        parts = [single(side(node, scope), "one side of &") for side in (left, right)]
        if not all(part is None or isinstance(part, str) for part in parts):
            raise PathError("& is for texts: write .toString() behind the number")
        return ("".join(part or "" for part in parts),)

    return joined


def union(left: Evaluate, right: Evaluate) -> Evaluate:
    """The items of both, each once."""
    return lambda node, scope: distinct([*left(node, scope), *right(node, scope)])


def distinct(items: Items) -> Items:
    """The items, each once."""
    out: list[Any] = []
    for one in items:
        if not any(equal(one, other) is True for other in out):
            out.append(one)
    return out


def _within(left: Evaluate, right: Evaluate) -> Evaluate:
    def within(node: Any, scope: Scope) -> Items:
        one = left(node, scope)
        if not one:
            return NOTHING
        value = single(one, "the left side of in")
        return answer(any(equal(value, other) is True for other in right(node, scope)))

    return within


OPERATORS: dict[str, Build] = {
    "and": _and, "or": _or, "xor": _xor, "implies": _implies, "=": _equal, "!=": _unequal, "~": _equivalent,
    "!~": _not_equivalent, "<": _comparison(lambda order: order < 0), "<=": _comparison(lambda order: order <= 0),
    ">": _comparison(lambda order: order > 0), ">=": _comparison(lambda order: order >= 0), "|": union, "&": _concatenated,
    "in": _within, "contains": lambda left, right: _within(right, left),
    "+": _arithmetic("+", lambda one, other: one + other), "-": _arithmetic("-", lambda one, other: one - other),
    "*": _arithmetic("*", lambda one, other: one * other), "/": _arithmetic("/", lambda one, other: one / other),
    "div": _arithmetic("div", lambda one, other: one // other), "mod": _arithmetic("mod", lambda one, other: one % other),
}  # fmt: skip
TYPES: dict[str, str] = {
    **dict.fromkeys(("and", "or", "xor", "implies", "=", "!=", "~", "!~", "<", "<=", ">", ">=", "in", "contains"), "boolean"),
    "/": "decimal", "&": "string",
}  # fmt: skip
"""The FHIR type of what an operator gives, where the operator alone tells it."""

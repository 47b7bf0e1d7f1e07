"""The functions of views, each by its name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, TypeAlias

from fieldline_connectors.fhir.path.boundaries import boundary
from fieldline_connectors.fhir.path.navigation import NOTHING, Evaluate, Items, extensions, reference_key, resource_key
from fieldline_connectors.fhir.path.operators import answer, distinct, exact, single, truth, union
from fieldline_connectors.fhir.path.scope import Scope
from fieldline_connectors.fhir.path.tree import PathError
from fieldline_connectors.fhir.path.values import is_number


@dataclass(frozen=True, slots=True)
class Place:
    """Where a function is called: on what, with what."""

    base: Evaluate
    args: Sequence[Evaluate]
    type: str | None
    """The FHIR type of the base where the expression tells it, else the one that the column shall have."""
    named: str | None
    """The word that is the argument, of a function that takes one as it is written."""
    owner: Evaluate | None
    """What the base is an element of, and its name there."""
    element: str | None


Build: TypeAlias = Callable[[Place], Evaluate]


@dataclass(frozen=True, slots=True)
class Function:
    """A function: how it is compiled, how many arguments it takes, what it gives."""

    build: Build
    least: int = 0
    most: int = 0
    type: str | None = None
    """The FHIR type of what it gives."""
    same: bool = False
    """Whether it gives items of its base."""
    named: bool = False
    """Whether its argument is a word that is taken as it is written."""


def _items(change: Callable[[Items], Items]) -> Build:
    """A function of the collection."""

    def build(place: Place) -> Evaluate:
        base = place.base
        return lambda node, scope: change(base(node, scope))

    return build


def _counted(change: Callable[[Items, int], Items]) -> Build:
    """A function of the collection and a whole number."""

    def build(place: Place) -> Evaluate:
        base, number = place.base, place.args[0]

        def counted(node: Any, scope: Scope) -> Items:
            count = single(number(node, scope), "a count")
            if type(count) is not int:
                raise PathError("a count is a whole number")
            return change(base(node, scope), max(count, 0))

        return counted

    return build


def _where(place: Place) -> Evaluate:
    base, criterion = place.base, place.args[0]
    return lambda node, scope: [item for item in base(node, scope) if truth(criterion(item, scope)) is True]


def _exists(place: Place) -> Evaluate:
    found = _where(place) if place.args else place.base
    return lambda node, scope: (bool(found(node, scope)),)


def _all(place: Place) -> Evaluate:
    base, criterion = place.base, place.args[0]
    return lambda node, scope: (all(truth(criterion(item, scope)) is True for item in base(node, scope)),)


def _select(place: Place) -> Evaluate:
    base, projection = place.base, place.args[0]
    return lambda node, scope: [found for item in base(node, scope) for found in projection(item, scope)]


def _iif(place: Place) -> Evaluate:
    base, condition, then = place.base, place.args[0], place.args[1]
    otherwise: Evaluate = place.args[2] if len(place.args) > 2 else lambda node, scope: NOTHING

    def chosen(node: Any, scope: Scope) -> Items:
        focus = base(node, scope)
        each = single(focus, "the base of iif()")
        return NOTHING if each is None else (then if truth(condition(each, scope)) is True else otherwise)(each, scope)

    return chosen


def _not(items: Items) -> Items:
    told = truth(items)
    return answer(None if told is None else not told)


def _join(place: Place) -> Evaluate:
    base = place.base
    between: Evaluate = place.args[0] if place.args else lambda node, scope: ("",)

    def joined(node: Any, scope: Scope) -> Items:
        texts = base(node, scope)
        separator = single(between(node, scope), "the separator")
        if not all(isinstance(text, str) for text in (*texts, separator or "")):
            raise PathError("join() is for texts")
        return ((separator or "").join(texts),)

    return joined


def _extension(place: Place) -> Evaluate:
    if place.named is None:
        raise PathError("`extension()` takes the extension's address in quotes")
    return extensions(place.owner or place.base, place.element, place.named)


def _resource_key(place: Place) -> Evaluate:
    base = place.base
    return lambda node, scope: [key for item in base(node, scope) if (key := resource_key(item)) is not None]


def _reference_key(place: Place) -> Evaluate:
    base, wanted = place.base, place.named
    return lambda node, scope: [key for item in base(node, scope) if (key := reference_key(item, wanted, scope)) is not None]


def _boundary(*, high: bool) -> Build:
    def build(place: Place) -> Evaluate:
        base, type_ = place.base, place.type

        def bound(node: Any, scope: Scope) -> Items:
            value = single(base(node, scope), "the base of a boundary")
            found = None if value is None else boundary(value, type_, high=high)
            return NOTHING if found is None else (found,)

        return bound

    return build


def _text(change: Callable[..., Any]) -> Build:
    """A function of one text, with texts or numbers as arguments."""

    def build(place: Place) -> Evaluate:
        base, args = place.base, place.args

        def changed(node: Any, scope: Scope) -> Items:
            value = single(base(node, scope), "the base of a text function")
            given = [single(arg(node, scope), "an argument") for arg in args]
            if value is None or None in given:
                return NOTHING
            if not isinstance(value, str):
                raise PathError("a text function stands on a value that is no text: write .toString() before it")
            try:
                found = change(value, *given)
            except TypeError:
                raise PathError("an argument of a text function is of another type than it takes") from None
            return NOTHING if found is None else (found,)

        return changed

    return build


def _number(change: Callable[[Decimal], Any]) -> Build:
    def change_item(items: Items) -> Items:
        value = single(items, "the base of a number function")
        if value is None:
            return NOTHING
        if not is_number(value):
            raise PathError("a number function stands on a value that is no number")
        return (change(exact(value)),)

    return _items(change_item)


def _round(place: Place) -> Evaluate:
    base, digits = place.base, place.args[0] if place.args else (lambda node, scope: (0,))

    def rounded(node: Any, scope: Scope) -> Items:
        value, places = single(base(node, scope), "the base of round()"), single(digits(node, scope), "the digits")
        if value is None:
            return NOTHING
        if not is_number(value) or type(places) is not int or not 0 <= places <= 20:
            raise PathError("round() is for a number, with 0 to 20 digits")
        try:
            return (float(exact(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)),)
        except InvalidOperation:  # more digits than are computed with: there is nothing to round
            return (value,)

    return rounded


def _to(convert: Callable[[Any], Any]) -> Build:
    def change(items: Items) -> Items:
        value = single(items, "the base of a conversion")
        found = None if value is None or isinstance(value, dict) else convert(value)
        return NOTHING if found is None else (found,)

    return _items(change)


def _to_text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value) if isinstance(value, str) else repr(value + 0)


def _to_integer(value: Any) -> int | None:
    if isinstance(value, str):
        digits = value.removeprefix("-").removeprefix("+")
        return int(value) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None
    return int(value) if isinstance(value, int) else None


def _to_decimal(value: Any) -> float | None:
    try:
        number = float(Decimal(value)) if isinstance(value, str) else float(value)
    except (InvalidOperation, OverflowError, ValueError):
        return None
    return number if abs(number) != float("inf") and number == number else None


_BOOLEANS = {
    **dict.fromkeys(("true", "t", "yes", "y", "1", "1.0"), True), **dict.fromkeys(("false", "f", "no", "n", "0", "0.0"), False),
}  # fmt: skip


def _to_boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else _BOOLEANS.get(_to_text(value).lower())


def _substring(text: str, start: int, length: int | None = None) -> str | None:
    if type(start) is not int or not 0 <= start < len(text):
        return None
    return text[start:] if length is None else text[start : start + max(length, 0)]


def _single_item(items: Items) -> Items:
    single(items, "the base of single()")
    return items


def _has_value(items: Items) -> Items:
    return (len(items) == 1 and not isinstance(items[0], dict),)


FUNCTIONS: dict[str, Function] = {
    "getResourceKey": Function(_resource_key, type="id"),
    "getReferenceKey": Function(_reference_key, 0, 1, type="id", named=True),
    "extension": Function(_extension, 1, 1, named=True),
    "where": Function(_where, 1, 1, same=True),
    "exists": Function(_exists, 0, 1, type="boolean"),
    "all": Function(_all, 1, 1, type="boolean"),
    "select": Function(_select, 1, 1),
    "iif": Function(_iif, 2, 3),
    "join": Function(_join, 0, 1, type="string"),
    "lowBoundary": Function(_boundary(high=False), same=True),
    "highBoundary": Function(_boundary(high=True), same=True),
    "empty": Function(_items(lambda items: (not items,)), type="boolean"),
    "not": Function(_items(_not), type="boolean"),
    "hasValue": Function(_items(_has_value), type="boolean"),
    "allTrue": Function(_items(lambda items: (all(item is True for item in items),)), type="boolean"),
    "anyTrue": Function(_items(lambda items: (any(item is True for item in items),)), type="boolean"),
    "allFalse": Function(_items(lambda items: (all(item is False for item in items),)), type="boolean"),
    "anyFalse": Function(_items(lambda items: (any(item is False for item in items),)), type="boolean"),
    "count": Function(_items(lambda items: (len(items),)), type="integer"),
    "first": Function(_items(lambda items: items[:1]), same=True),
    "last": Function(_items(lambda items: items[-1:]), same=True),
    "tail": Function(_items(lambda items: items[1:]), same=True),
    "single": Function(_items(_single_item), same=True),
    "distinct": Function(_items(distinct), same=True),
    "isDistinct": Function(_items(lambda items: (len(distinct(items)) == len(items),)), type="boolean"),
    "skip": Function(_counted(lambda items, count: items[count:]), 1, 1, same=True),
    "take": Function(_counted(lambda items, count: items[:count]), 1, 1, same=True),
    "union": Function(lambda place: union(place.base, place.args[0]), 1, 1, same=True),
    "combine": Function(lambda place: lambda node, scope: [*place.base(node, scope), *place.args[0](node, scope)], 1, 1, same=True),
    "startsWith": Function(_text(str.startswith), 1, 1, type="boolean"),
    "endsWith": Function(_text(str.endswith), 1, 1, type="boolean"),
    "contains": Function(_text(lambda text, part: part in text), 1, 1, type="boolean"),
    "indexOf": Function(_text(str.find), 1, 1, type="integer"),
    "length": Function(_text(len), type="integer"),
    "lower": Function(_text(str.lower), type="string"),
    "upper": Function(_text(str.upper), type="string"),
    "trim": Function(_text(str.strip), type="string"),
    "replace": Function(_text(str.replace), 2, 2, type="string"),
    "substring": Function(_text(_substring), 1, 2, type="string"),
    "abs": Function(_number(lambda number: _plain(abs(number))), same=True),
    "ceiling": Function(_number(lambda number: int(number.to_integral_value(ROUND_CEILING))), type="integer"),
    "floor": Function(_number(lambda number: int(number.to_integral_value(ROUND_FLOOR))), type="integer"),
    "truncate": Function(_number(lambda number: int(number.to_integral_value(ROUND_DOWN))), type="integer"),
    "round": Function(_round, 0, 1, type="decimal"),
    "toString": Function(_to(_to_text), type="string"),
    "toInteger": Function(_to(_to_integer), type="integer"),
    "toDecimal": Function(_to(_to_decimal), type="decimal"),
    "toBoolean": Function(_to(_to_boolean), type="boolean"),
}
"""Every function that a view may call, beside ofType(), as() and is()."""


def _plain(number: Decimal) -> int | float:
    return int(number) if number.as_tuple().exponent == 0 else float(number)

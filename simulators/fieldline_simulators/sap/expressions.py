"""`$filter` and `$orderby`: read once, with types checked, into functions of a row; what makes no sense is refused."""

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, DivisionByZero, InvalidOperation, Overflow
from typing import Any, TypeAlias
from uuid import UUID

from fieldline_simulators.sap.errors import Refused, malformed, not_found
from fieldline_simulators.sap.functions import CALLS, V2_ONLY, V4_ONLY
from fieldline_simulators.sap.model import EntitySet, Property, Row
from fieldline_simulators.sap.values import duration, number, parsed

Follow: TypeAlias = Callable[[EntitySet, str], tuple[EntitySet, Callable[[Row], Row | None]]]
"""Where a navigation to one record leads, and how it is gone for a row; raises Refused where it leads to many."""

_TOKEN = re.compile(r"""\s*(?:
    (?P<typed>(?:datetimeoffset|datetime|guid|time)'[^']{0,60}')
  | (?P<text>'(?:[^']|'')*')
  | (?P<guid>[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12})
  | (?P<moment>\d{4}-\d\d-\d\dT[\d:.]{4,20}(?:Z|[+\ -]\d\d:\d\d)?)
  | (?P<date>\d{4}-\d\d-\d\d)
  | (?P<clock>\d\d:\d\d(?::\d\d(?:\.\d{1,12})?)?)
  | (?P<number>[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?[MmLlDdFf]?)
  | (?P<name>[^\W\d]\w*(?:/[^\W\d]\w*)*)
  | (?P<sign>[(),-])
)""", re.VERBOSE)  # fmt: skip
_LONGEST, _MOST_TOKENS, _DEEPEST = 60_000, 8_000, 60
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le,
}  # fmt: skip
_SUM: dict[str, Callable[[Any, Any], Any]] = {"add": operator.add, "sub": operator.sub}
_PRODUCT: dict[str, Callable[[Any, Any], Any]] = {"mul": operator.mul, "div": operator.truediv, "mod": operator.mod}
_KINDS = {
    "String": "text", "Boolean": "boolean", "Guid": "guid", "Date": "date", "DateTimeOffset": "moment", "TimeOfDay": "clock",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression: the kind of its values, and its value for a row."""

    kind: str
    of: Callable[[Row], Any]


def condition(text: str, entity_set: EntitySet, follow: Follow, *, v4: bool) -> Callable[[Row], bool]:
    """Whether a row fulfils a `$filter`; raises Refused."""
    reader = _Reader(text, entity_set, follow, v4=v4)
    found = reader.whole()
    if found.kind != "boolean":
        raise malformed("The expression of $filter is no condition")
    return lambda row: found.of(row) is True


def order(text: str, entity_set: EntitySet, follow: Follow, *, v4: bool) -> list[tuple[Callable[[Row], Any], bool]]:
    """The parts of an `$orderby`, each with whether it goes down; raises Refused."""
    return _Reader(text, entity_set, follow, v4=v4).order()


def literal(kind: Property, text: str, *, v4: bool) -> Any:
    """A value in a key predicate; raises Refused."""
    tokens = list(_tokens(text))
    if len(tokens) != 1:
        raise malformed(f"Invalid key predicate type for '{kind.name}'")
    found = _constant(*tokens[0], v4=v4)
    if found is None:
        raise malformed(f"Invalid key predicate type for '{kind.name}'")
    value, wanted = found.of({}), _kind(kind)
    if kind.type == "Date" and found.kind == "moment":
        return value.date()
    if found.kind != wanted or value is None:
        raise malformed(f"Invalid key predicate type for '{kind.name}'")
    return value


def _kind(kind: Property) -> str:
    return _KINDS.get(kind.type, "number")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at, text = 0, text.rstrip()
    if len(text) > _LONGEST:
        raise Refused(414, "/IWBEP/CM_MGW_RT/414", "The expression is too long")
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found or not found.lastgroup:
            raise malformed(f"Invalid token '{text[at : at + 20]}' at position {at}")
        yield found.lastgroup, found[found.lastgroup]
        at = found.end()


def _constant(group: str, text: str, *, v4: bool) -> Node | None:
    """A literal; None for what is none. Raises Refused for one of the other version, or that cannot be."""
    try:
        found = _literal(group, text, v4=v4)
    except (ValueError, OverflowError, InvalidOperation):
        raise malformed(f"Invalid literal '{text[:40]}'") from None
    if found is None:
        return None
    kind, value = found
    return Node(kind, lambda _: value)


def _literal(group: str, text: str, *, v4: bool) -> tuple[str, Any] | None:
    match group:
        case "text":
            return "text", text[1:-1].replace("''", "'")
        case "number":
            if v4 and text[-1].isalpha():
                raise ValueError(text)
            return "number", number(text.rstrip("MmLlDdFf"))
        case "typed" if not v4:
            kind, _, inner = text[:-1].partition("'")
            return _typed(kind, inner)
        case "guid" if v4:
            return "guid", UUID(text)
        case "moment" if v4:
            return "moment", parsed("DateTimeOffset", text.replace(" ", "+"))
        case "date" if v4:
            return "date", parsed("Date", text)
        case "clock" if v4:
            return "clock", parsed("TimeOfDay", text)
        case "name" if text in ("true", "false"):
            return "boolean", text == "true"
        case "name" if text == "null":
            return "null", None
        case "name" | "sign":
            return None
    raise ValueError(text)


def _typed(kind: str, inner: str) -> tuple[str, Any]:
    match kind:
        case "guid":
            return "guid", UUID(inner)
        case "time":
            return "clock", duration(inner)
        case "datetime":
            # Without a zone it is taken for UTC.
            return "moment", parsed("DateTimeOffset", f"{inner.removesuffix('Z')}Z")
    return "moment", parsed("DateTimeOffset", inner.replace(" ", "+"))


class _Reader:
    """Reads one expression from left to right."""

    def __init__(self, text: str, entity_set: EntitySet, follow: Follow, *, v4: bool) -> None:
        self._set, self._follow, self._v4 = entity_set, follow, v4
        self._left = list(_tokens(text))[::-1]
        self._depth = 0
        if len(self._left) > _MOST_TOKENS:
            raise malformed("The expression has too many parts")

    def whole(self) -> Node:
        """All of it."""
        found = self._either()
        if self._left:
            raise malformed(f"Unexpected '{self._left[-1][1][:40]}' in the expression")
        return found

    def order(self) -> list[tuple[Callable[[Row], Any], bool]]:
        """Expressions, each with asc or desc."""
        found = []
        while True:
            node, down = self._sum(), bool(self._next("desc"))
            if not down:
                self._next("asc")
            found.append((node.of, down))
            if not self._next(","):
                break
        if self._left:
            raise malformed(f"Unexpected '{self._left[-1][1][:40]}' in $orderby")
        return found

    def _next(self, *wanted: str) -> str:
        """Takes the next token if it is one of these."""
        if self._left and self._left[-1][0] in ("name", "sign") and self._left[-1][1] in wanted:
            return self._left.pop()[1]
        return ""

    def _expect(self, wanted: str) -> None:
        if not self._next(wanted):
            raise malformed(f"Expected '{wanted}' in the expression")

    def _either(self) -> Node:
        tests = [self._both()]
        while self._next("or"):
            tests.append(self._both())
        return _joined("or", tests, any)

    def _both(self) -> Node:
        tests = [self._negated()]
        while self._next("and"):
            tests.append(self._negated())
        return _joined("and", tests, all)

    def _negated(self) -> Node:
        if not self._next("not"):
            return self._compared()
        self._deeper()
        found = self._negated()
        self._depth -= 1
        _wants(found, "boolean", "not")
        return Node("boolean", lambda row: not found.of(row))

    def _compared(self) -> Node:
        left = self._sum()
        if name := self._next(*_COMPARE):
            return _comparison(name, left, self._sum())
        if self._v4 and self._next("in"):
            self._expect("(")
            tests = [_comparison("eq", left, self._sum())]
            while self._next(","):
                tests.append(_comparison("eq", left, self._sum()))
            self._expect(")")
            return _joined("in", tests, any)
        return left

    def _sum(self) -> Node:
        found = self._product()
        while name := self._next(*_SUM):
            found = _computed(name, _SUM[name], found, self._product())
        return found

    def _product(self) -> Node:
        found = self._single()
        while name := self._next(*_PRODUCT):
            found = _computed(name, _PRODUCT[name], found, self._single())
        return found

    def _single(self) -> Node:
        if not self._left:
            raise malformed("The expression ends too early")
        self._deeper()
        group, text = self._left.pop()
        found = _constant(group, text, v4=self._v4)
        if found is None:
            found = self._named(text) if group == "name" else self._signed(text)
        self._depth -= 1
        return found

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise malformed("The expression is nested too deeply")

    def _signed(self, sign: str) -> Node:
        if sign == "(":
            found = self._either()
            self._expect(")")
            return found
        if sign == "-":
            inner = self._single()
            _wants(inner, "number", "-")
            return Node("number", lambda row: None if (value := inner.of(row)) is None else -value)
        raise malformed(f"Unexpected '{sign}' in the expression")

    def _named(self, name: str) -> Node:
        if not self._next("("):
            return self._property(name)
        if name not in CALLS or name in (V2_ONLY if self._v4 else V4_ONLY):
            raise malformed(f"Unknown function '{name}'")
        arguments = [self._either()]
        while self._next(","):
            arguments.append(self._either())
        self._expect(")")
        for kinds, result, made in CALLS[name]:
            if [each.kind for each in arguments] == list(kinds):
                return Node(result, _called(made, arguments))
        raise malformed(f"Function '{name}' does not take these arguments")

    def _property(self, path: str) -> Node:
        *steps, name = path.split("/")
        entity_set, ways = self._set, []
        for step in steps:
            entity_set, way = self._follow(entity_set, step)
            ways.append(way)
        kind = entity_set.by_name.get(name)
        if kind is None:
            raise not_found(name)
        if not kind.filterable:
            raise malformed(f"Property '{name}' is not filterable", name)
        if not ways:
            return Node(_kind(kind), lambda row: row[name])

        def of(row: Row) -> Any:
            found: Row | None = row
            for way in ways:
                found = way(found) if found is not None else None
            return None if found is None else found[name]

        return Node(_kind(kind), of)


def _wants(node: Node, kind: str, name: str) -> None:
    if node.kind not in (kind, "null"):
        raise malformed(f"Operator '{name}' does not take a {node.kind}")


def _joined(name: str, tests: list[Node], join: Callable[[Iterator[bool]], bool]) -> Node:
    if len(tests) == 1:
        return tests[0]
    for test in tests:
        _wants(test, "boolean", name)
    return Node("boolean", lambda row: join(test.of(row) is True for test in tests))


def _called(made: Callable[..., Any], arguments: list[Node]) -> Callable[[Row], Any]:
    def of(row: Row) -> Any:
        found = [each.of(row) for each in arguments]
        return None if None in found else made(*found)

    return of


def _comparison(name: str, left: Node, right: Node) -> Node:
    """A comparison; with null only eq and ne hold, and a date of V2 is compared with the day of a moment."""
    kinds = {left.kind, right.kind} - {"null"}
    if kinds == {"date", "moment"}:
        left, right = _day(left), _day(right)
    elif len(kinds) > 1:
        raise malformed(f"Operator '{name}' does not compare a {left.kind} with a {right.kind}")
    compare = _COMPARE[name]

    def of(row: Row) -> bool:
        one, other = left.of(row), right.of(row)
        if one is None or other is None:
            return bool(compare(one, other)) if name in ("eq", "ne") else False
        if isinstance(one, float) or isinstance(other, float):
            one, other = float(one), float(other)
        return bool(compare(one, other))

    return Node("boolean", of)


def _day(node: Node) -> Node:
    if node.kind != "moment":
        return node
    return Node("date", lambda row: None if (value := node.of(row)) is None else value.date())


def _computed(name: str, compute: Callable[[Any, Any], Any], left: Node, right: Node) -> Node:
    _wants(left, "number", name)
    _wants(right, "number", name)

    def of(row: Row) -> Any:
        one, other = left.of(row), right.of(row)
        if one is None or other is None:
            return None
        try:
            return compute(Decimal(str(one)), Decimal(str(other)))
        except (DivisionByZero, InvalidOperation, Overflow):
            raise malformed(f"Operator '{name}' has no result for a record") from None

    return Node("number", of)

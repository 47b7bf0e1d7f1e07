"""Conditions of SOQL compiled to functions of a row, with the user's field-level security and the types of fields checked."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from fieldline_simulators.salesforce.access import Access
from fieldline_simulators.salesforce.errors import ApiError
from fieldline_simulators.salesforce.ids import full_id, is_id
from fieldline_simulators.salesforce.schema import NUMBERS, TEXTS, Field, Row, SObject
from fieldline_simulators.salesforce.soql_dates import days_of
from fieldline_simulators.salesforce.soql_syntax import (
    Call,
    Comparison,
    Condition,
    FieldPath,
    Literal,
    Query,
    Sort,
    malformed,
    placed,
)
from fieldline_simulators.salesforce.values import read_time, timestamp

if TYPE_CHECKING:
    from fieldline_simulators.salesforce.org import Org

Getter = Callable[[Row], Any]
Test = Callable[[Row], bool]
_ORDERED: dict[str, Callable[[Any, Any], bool]] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_ADVICE = (
    " If you are attempting to use a custom {what}, be sure to append the '__c' after the {what2} name. "
    "Please reference your WSDL or the describe call for the appropriate names."
)


def _part(of: Callable[[datetime], int]) -> Callable[[str], int]:
    return lambda text: of(datetime.fromisoformat(text))


#: Functions of a date, which may be filtered and grouped by.
DATE_PARTS: dict[str, Callable[[str], Any]] = {
    "CALENDAR_YEAR": _part(lambda day: day.year), "CALENDAR_QUARTER": _part(lambda day: (day.month + 2) // 3),
    "CALENDAR_MONTH": _part(lambda day: day.month), "DAY_IN_MONTH": _part(lambda day: day.day),
    "DAY_IN_WEEK": _part(lambda day: (day.weekday() + 1) % 7 + 1), "DAY_IN_YEAR": _part(lambda day: day.timetuple().tm_yday),
    "WEEK_IN_YEAR": _part(lambda day: (day.timetuple().tm_yday - 1) // 7 + 1), "HOUR_IN_DAY": _part(lambda day: day.hour),
    "DAY_ONLY": lambda text: text[:10],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scope:
    """What names in a query mean: the org, the user's rights, the object it asks, and the query's text for errors."""

    org: "Org"
    access: Access
    kind: SObject
    text: str = ""
    alias: str = ""
    deleted: bool = False

    def field(self, kind: SObject, name: str, at: int) -> Field:
        """A field by its name; raises INVALID_FIELD."""
        found = kind.get(name)
        if found is None or not self.access.sees(kind, found):
            words = f"No such column '{name}' on entity '{kind.name}'." + _ADVICE.format(what="field", what2="custom field")
            raise ApiError("INVALID_FIELD", placed(self.text, at, words))
        return found

    def names(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """A path without the alias of the query's object."""
        return path[1:] if len(path) > 1 and path[0].lower() in {self.alias.lower(), self.kind.name.lower()} - {""} else path

    def resolve(self, found: FieldPath) -> tuple[Field, Getter]:
        """The field at the end of a path, and how a row is asked for it."""
        names = self.names(found.path)
        if len(names) == 1:
            field = self.field(self.kind, names[0], found.at)
            return field, operator.itemgetter(field.name)
        references, kinds = [], [self.kind]
        for name in names[:-1]:
            reference = next((each for kind in kinds if (each := kind.by_relationship(name))), None)
            if reference is None:
                words = f"Didn't understand relationship '{name}' in field path."
                words += _ADVICE.format(what="relationship", what2="custom relationship").replace("__c", "__r")
                raise ApiError("INVALID_FIELD", placed(self.text, found.at, words))
            references.append(reference.name)
            kinds = [self.org.schema.objects[each] for each in reference.refers_to]
        return self._behind(kinds, names[-1], found.at, references)

    def _behind(self, kinds: list[SObject], name: str, at: int, references: list[str]) -> tuple[Field, Getter]:
        row_of = self.org.row_of
        if name.lower() == "type" and len(kinds) > 1:
            schema = self.org.schema
            return Field("Type", "string"), lambda row: (kind := schema.of_id(_follow(row, references, row_of) or "")) and kind.name
        kind = next((each for each in kinds if each.get(name)), kinds[0])
        field = self.field(kind, name, at)

        def get(row: Row) -> Any:
            parent = row_of(_follow(row, references, row_of))
            return parent.get(field.name) if parent else None

        return field, get

    def operand(self, asked: FieldPath | Call) -> tuple[Field, Getter]:
        """What stands left of a comparison, or is grouped by."""
        if isinstance(asked, FieldPath):
            return self.resolve(asked)
        if asked.argument is None or asked.name not in {*DATE_PARTS, "TOLABEL", "FORMAT", "CONVERTTIMEZONE"}:
            raise malformed(self.text, asked.at, f"Invalid function: {asked.name}")
        field, get = self.resolve(asked.argument)
        part = DATE_PARTS.get(asked.name)
        if part is None:
            return field, get
        made = Field(asked.name, "date" if asked.name == "DAY_ONLY" else "int")
        return made, lambda row: None if (value := get(row)) is None else part(value)


def _follow(row: Row, references: list[str], row_of: Callable[[str | None], Row | None]) -> str | None:
    """The id at the end of a chain of references."""
    found: str | None = row.get(references[0])
    for name in references[1:]:
        parent = row_of(found)
        found = parent.get(name) if parent else None
    return found


def compile_condition(scope: Scope, condition: Condition) -> Test:
    """The condition as a function of a row; raises where it asks what cannot be."""
    if isinstance(condition, Comparison):
        return _comparison(scope, condition)
    tests = [compile_condition(scope, each) for each in condition.parts]
    if condition.word == "NOT":
        return lambda row: not tests[0](row)
    if condition.word == "AND":
        return lambda row: all(test(row) for test in tests)
    return lambda row: any(test(row) for test in tests)


def _comparison(scope: Scope, asked: Comparison) -> Test:
    field, get = scope.operand(asked.left)
    if isinstance(asked.right, Query):
        return _semi_join(scope, asked, get)
    if isinstance(asked.right, tuple):
        return _several(scope, field, get, asked)
    return compare(scope, field, get, asked.sign, asked.right)


def compare(scope: Scope, field: Field, get: Getter, sign: str, literal: Literal) -> Test:
    """A value compared with one literal."""
    if literal.kind == "days":
        return _in_days(scope, field, get, sign, literal)
    value = constant(scope, field, literal)
    if sign == "LIKE":
        if field.type not in TEXTS:
            raise ApiError("INVALID_FIELD", placed(scope.text, literal.at, f"invalid operator on field '{field.name}'"))
        pattern = re.compile("".join({"%": ".*", "_": "."}.get(each, re.escape(each)) for each in str(value)), re.DOTALL)
        return lambda row: (found := get(row)) is not None and pattern.fullmatch(found.lower()) is not None
    if sign in _ORDERED:
        holds = _ORDERED[sign]
        return lambda row: value is not None and (found := fold(get(row))) is not None and holds(found, value)
    if sign == "=":
        return lambda row: fold(get(row)) == value
    return lambda row: fold(get(row)) != value


def fold(value: Any) -> Any:
    """A value as it is compared: letters' case does not count."""
    return value.lower() if isinstance(value, str) else value


def sort_by(rows: list[Row], get: Getter, key: Sort) -> list[Row]:
    """The rows in the order of one key; those without a value first, unless the key says last."""
    filled = [(fold(value), row) for row in rows if (value := get(row)) is not None]
    filled.sort(key=lambda pair: pair[0], reverse=key.descending)
    empty = [row for row in rows if get(row) is None]
    ordered = [row for _, row in filled]
    return ordered + empty if key.nulls_last else empty + ordered


def constant(scope: Scope, field: Field, literal: Literal) -> Any:
    """The literal as values of the field are compared; raises INVALID_FIELD where its type is another."""
    if literal.kind == "null":
        return None
    wanted, quoted = _wanted(field)
    if literal.kind != wanted:
        ending = "and should be enclosed in quotes" if quoted else "and should not be enclosed in quotes"
        shown = {"number": "int" if field.type == "int" else "double", "datetime": "dateTime", "string": "string"}.get(
            wanted, wanted
        )
        words = f"value of filter criterion for field '{field.name}' must be of type {shown} {ending}"
        raise ApiError("INVALID_FIELD", placed(scope.text, literal.at, words))
    if wanted in ("date", "datetime"):
        return _moment(scope, literal)
    if field.type in ("id", "reference"):
        if not is_id(literal.value):
            raise ApiError("INVALID_QUERY_FILTER_OPERATOR", placed(scope.text, literal.at, f"invalid ID field: {literal.value}"))
        return full_id(literal.value).lower()
    return fold(literal.value)


def _moment(scope: Scope, literal: Literal) -> str:
    try:
        if literal.kind == "date":
            return date.fromisoformat(literal.value).isoformat()
        return timestamp(read_time(literal.value.upper())).lower()
    except (ValueError, OverflowError):
        raise malformed(scope.text, literal.at, f"Invalid {literal.kind}: {literal.value}") from None


def _wanted(field: Field) -> tuple[str, bool]:
    if field.type in NUMBERS:
        return "number", False
    if field.type in ("boolean", "date", "datetime"):
        return field.type, False
    return "string", True


def _several(scope: Scope, field: Field, get: Getter, asked: Comparison) -> Test:
    literals = asked.right if isinstance(asked.right, tuple) else ()
    if asked.sign in ("INCLUDES", "EXCLUDES"):
        if field.type != "multipicklist":
            raise ApiError("INVALID_FIELD", placed(scope.text, literals[0].at, f"invalid operator on field '{field.name}'"))
        wanted = [set(str(each.value).lower().split(";")) for each in literals]

        def includes(row: Row) -> bool:
            chosen = set((get(row) or "").lower().split(";"))
            return any(each <= chosen for each in wanted)

        return includes if asked.sign == "INCLUDES" else lambda row: not includes(row)
    if any(each.kind == "days" for each in literals):
        tests = [compare(scope, field, get, "=", each) for each in literals]
        return lambda row: any(test(row) for test in tests) == (asked.sign == "IN")
    values = frozenset(constant(scope, field, each) for each in literals)
    if asked.sign == "IN":
        return lambda row: fold(get(row)) in values
    return lambda row: fold(get(row)) not in values


def _semi_join(scope: Scope, asked: Comparison, get: Getter) -> Test:
    # The other way round queries need conditions.
    from fieldline_simulators.salesforce.soql_run import column_of

    if not isinstance(asked.right, Query) or asked.sign not in ("IN", "NOT IN"):
        raise malformed(scope.text, 0, "a query on the right of a comparison goes with IN or NOT IN")
    values = {fold(each) for each in column_of(scope.org, scope.access, asked.right)} - {None}
    if asked.sign == "IN":
        return lambda row: fold(get(row)) in values
    return lambda row: fold(get(row)) not in values


def _in_days(scope: Scope, field: Field, get: Getter, sign: str, literal: Literal) -> Test:
    days = days_of(literal.value, scope.org.now().date())
    if days is None or field.type not in ("date", "datetime"):
        raise malformed(scope.text, literal.at, f"unexpected token: '{literal.value}'")
    if field.type == "date":
        first, behind = (day.isoformat() for day in days)
    else:
        first, behind = (timestamp(datetime.combine(day, time(), UTC)) for day in days)
    tests: dict[str, Callable[[str], bool]] = {
        "=": lambda value: first <= value < behind, "<": lambda value: value < first, "<=": lambda value: value < behind,
        ">": lambda value: value >= behind, ">=": lambda value: value >= first,
    }  # fmt: skip
    if sign == "!=":
        return lambda row: (value := get(row)) is None or not first <= value < behind
    if sign not in tests:
        raise malformed(scope.text, literal.at, f"unexpected token: '{literal.value}'")
    holds = tests[sign]
    return lambda row: (value := get(row)) is not None and holds(value)

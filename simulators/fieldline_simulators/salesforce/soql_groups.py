"""Aggregate queries: COUNT, SUM, AVG, MIN, MAX, with GROUP BY, HAVING and an order."""

from collections.abc import Callable
from typing import Any

from fieldline_simulators.salesforce.errors import ApiError
from fieldline_simulators.salesforce.schema import NUMBERS, Field, Row
from fieldline_simulators.salesforce.soql_filter import Getter, Scope, compile_condition, fold, sort_by
from fieldline_simulators.salesforce.soql_syntax import Call, FieldPath, Query, malformed, placed

Group = dict[str, Any]
_OF_NUMBERS: dict[str, Callable[[list[Any]], Any]] = {"SUM": sum, "AVG": lambda values: sum(values) / len(values)}
_OF_ANY: dict[str, Callable[[list[Any]], Any]] = {"MIN": min, "MAX": max}


class GroupScope(Scope):
    """What names mean where rows are grouped: a function is of all rows, a field of the group's first."""

    def operand(self, asked: FieldPath | Call) -> tuple[Field, Getter]:
        """A function of a group's rows, or the value that they share."""
        if isinstance(asked, Call) and asked.name in {"COUNT", "COUNT_DISTINCT", *_OF_NUMBERS, *_OF_ANY}:
            return self._function(asked)
        field, get = Scope.operand(self, asked)
        return field, lambda group: get(group["rows"][0])

    def _function(self, asked: Call) -> tuple[Field, Getter]:
        if asked.argument is None:
            return Field("expr", "int"), lambda group: len(group["rows"])
        field, get = self.resolve(asked.argument)

        def values(group: Group) -> list[Any]:
            return [value for row in group["rows"] if (value := get(row)) is not None]

        if asked.name == "COUNT":
            return Field("expr", "int"), lambda group: len(values(group))
        if asked.name == "COUNT_DISTINCT":
            return Field("expr", "int"), lambda group: len({fold(value) for value in values(group)})
        if asked.name in _OF_NUMBERS and field.type not in NUMBERS:
            words = f"field {field.name} does not support aggregate operator {asked.name}"
            raise ApiError("INVALID_FIELD", placed(self.text, asked.at, words))
        of = {**_OF_NUMBERS, **_OF_ANY}[asked.name]
        return field, lambda group: of(found) if (found := values(group)) else None


def grouped(scope: Scope, query: Query, rows: list[Row]) -> list[dict[str, Any]]:
    """The records of an aggregate query."""
    inner = GroupScope(scope.org, scope.access, scope.kind, scope.text, scope.alias, scope.deleted)
    keys = [scope.operand(each)[1] for each in query.group_by]
    columns = _columns(inner, query)
    groups: dict[tuple[Any, ...], Group] = {}
    for row in rows:
        groups.setdefault(tuple(fold(get(row)) for get in keys), {"rows": []})["rows"].append(row)
    found = list(groups.values()) if query.group_by else [{"rows": rows}]
    if query.having:
        holds = compile_condition(inner, query.having)
        found = [group for group in found if holds(group)]
    for key in reversed(query.order_by):
        found = sort_by(found, inner.operand(key.by)[1], key)
    end = None if query.limit is None else query.offset + query.limit
    return [
        {"attributes": {"type": "AggregateResult"}, **{name: get(group) for name, get in columns}}
        for group in found[query.offset : end]
    ]


def _columns(scope: GroupScope, query: Query) -> list[tuple[str, Getter]]:
    columns: list[tuple[str, Getter]] = []
    by = {_spelled(scope, each) for each in query.group_by}
    unnamed = 0
    for item in query.select:
        if not isinstance(item, FieldPath | Call):
            raise malformed(scope.text, query.source_at, "a grouped query selects fields and functions")
        field, get = scope.operand(item)
        if isinstance(item, FieldPath):
            if _spelled(scope, item) not in by:
                raise malformed(scope.text, item.at, f"Field must be grouped or aggregated: {field.name}")
            columns.append((item.alias or field.name, get))
            continue
        columns.append((item.alias or f"expr{unnamed}", get))
        unnamed += not item.alias
    return columns


def _spelled(scope: Scope, item: FieldPath | Call) -> str:
    if isinstance(item, FieldPath):
        return ".".join(scope.names(item.path)).lower()
    return f"{item.name}({_spelled(scope, item.argument) if item.argument else ''})"

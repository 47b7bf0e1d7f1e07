"""Queries carried out: which rows they find, and how a row is shown."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fieldline_simulators.salesforce.access import Access
from fieldline_simulators.salesforce.errors import ApiError
from fieldline_simulators.salesforce.ids import full_id, is_id
from fieldline_simulators.salesforce.org import Org
from fieldline_simulators.salesforce.schema import Field, Row, SObject
from fieldline_simulators.salesforce.soql_filter import Getter, Scope, compile_condition, sort_by
from fieldline_simulators.salesforce.soql_groups import grouped
from fieldline_simulators.salesforce.soql_shape import Shape
from fieldline_simulators.salesforce.soql_syntax import (
    AllFields,
    Call,
    Comparison,
    Condition,
    FieldPath,
    Literal,
    Logic,
    Query,
    malformed,
    parse_query,
    placed,
)
from fieldline_simulators.salesforce.table import Table

AGGREGATES = frozenset({"COUNT", "COUNT_DISTINCT", "SUM", "AVG", "MIN", "MAX"})


@dataclass(frozen=True, slots=True)
class Result:
    """What a query found: rows as they were then, and how each is shown for a version of the API."""

    query: Query
    kind: SObject
    total: int
    rows: list[Row]
    show: Callable[[Row, str], dict[str, Any]]
    columns: list[tuple[str, Field, Getter]]
    aggregate: bool = False


def run_query(org: Org, access: Access, text: str | Query, *, deleted: bool = False) -> Result:
    """Carries out a query; raises the error that Salesforce answers."""
    query = parse_query(text) if isinstance(text, str) else text
    scope = _scope(org, access, query, deleted)
    if _is_aggregate(query):
        return _aggregate(scope, query)
    rows = _ordered(scope, query, _matching(scope, query, _candidates(scope, query.where)))
    shape, columns = _shape(scope, query)
    return Result(query, scope.kind, len(rows), rows, shape.show, columns)


def column_of(org: Org, access: Access, query: Query) -> Iterable[Any]:
    """The values of the one column of a query inside another."""
    result = run_query(org, access, query)
    if len(result.columns) != 1 or result.aggregate:
        raise malformed(query.text, query.source_at, "a semi-join selects one field")
    get = result.columns[0][2]
    return (get(row) for row in result.rows)


def _scope(org: Org, access: Access, query: Query, deleted: bool) -> Scope:
    kind = org.schema.get(query.source)
    if kind is None:
        words = (
            f"sObject type '{query.source}' is not supported. If you are attempting to use a custom object, be sure to append the "
            "'__c' after the entity name. Please reference your WSDL or the describe call for the appropriate names."
        )
        raise ApiError("INVALID_TYPE", placed(query.text, query.source_at, words))
    if query.all_rows and not deleted:
        raise malformed(query.text, query.source_at, "ALL ROWS not allowed in this context")
    return Scope(org, access, kind, query.text, query.alias, deleted)


def _is_aggregate(query: Query) -> bool:
    return bool(query.group_by) or any(isinstance(each, Call) and each.name in AGGREGATES for each in query.select)


def _candidates(scope: Scope, where: Condition | None) -> Iterable[Row]:
    """The rows that a condition can hold for: by an index where it names one, and all others where not."""
    table = scope.org.tables[scope.kind.name]
    parts = where.parts if isinstance(where, Logic) and where.word == "AND" else (where,)
    for part in parts:
        if isinstance(part, Comparison) and isinstance(part.left, FieldPath) and part.sign in ("=", "IN"):
            found = _by_index(scope, table, part.left, part.right)
            if found is not None:
                return found
    return table.rows.values()


def _by_index(scope: Scope, table: Table, left: FieldPath, right: Any) -> list[Row] | None:
    names, literals = scope.names(left.path), right if isinstance(right, tuple) else (right,)
    field = scope.kind.get(names[0]) if len(names) == 1 else None
    if (
        field is None
        or not table.indexed(field.name)
        or not all(isinstance(each, Literal) and each.kind == "string" for each in literals)
    ):
        return None
    reference = field.type in ("id", "reference")
    if reference and not all(is_id(each.value) for each in literals):
        return None
    return table.find(field.name, [full_id(each.value) if reference else each.value for each in literals])


def _matching(scope: Scope, query: Query, rows: Iterable[Row]) -> list[Row]:
    test = compile_condition(scope, query.where) if query.where else None
    if scope.deleted:
        return [row for row in rows if test is None or test(row)]
    if test is None:
        return [row for row in rows if not row["IsDeleted"]]
    return [row for row in rows if not row["IsDeleted"] and test(row)]


def _ordered(scope: Scope, query: Query, rows: list[Row]) -> list[Row]:
    for key in reversed(query.order_by):
        rows = sort_by(rows, scope.operand(key.by)[1], key)
    end = None if query.limit is None else query.offset + query.limit
    return rows[query.offset : end] if query.offset or end is not None else rows


def _shape(scope: Scope, query: Query) -> tuple[Shape, list[tuple[str, Field, Getter]]]:
    shape, columns = Shape(scope.org, scope.kind), []
    for item in query.select:
        if isinstance(item, Query):
            shape.add_children(*_children(scope, item))
            continue
        for path in _paths(scope, query, item):
            field, get = scope.resolve(path)
            names = scope.names(path.path)
            columns.append((shape.add(names, field.name), field, get))
    return shape, columns


def _paths(scope: Scope, query: Query, item: FieldPath | Call | AllFields) -> list[FieldPath]:
    if isinstance(item, FieldPath):
        return [item]
    if isinstance(item, Call):
        if item.argument is None or item.name not in ("TOLABEL", "FORMAT", "CONVERTCURRENCY"):
            raise malformed(scope.text, item.at, f"Invalid function: {item.name}")
        return [item.argument]
    if item.which not in ("ALL", "STANDARD", "CUSTOM"):
        raise malformed(scope.text, item.at, f"Invalid FIELDS function: {item.which}")
    if item.which != "STANDARD" and (query.limit is None or query.limit > 200):
        raise malformed(scope.text, item.at, "The SOQL FIELDS function must have a LIMIT of at most 200")
    fields = [each for each in scope.kind.fields.values() if scope.access.sees(scope.kind, each)]
    return [FieldPath((each.name,), item.at) for each in fields if item.which == "ALL" or each.custom == (item.which == "CUSTOM")]


def _children(scope: Scope, query: Query) -> tuple[str, Callable[[Row, str], dict[str, Any] | None]]:
    """A subquery: its relationship's name, and what shows the children of a row."""
    relation = next(
        (each for each in scope.org.schema.children_of(scope.kind.name) if each[0].lower() == query.source.lower()), None
    )
    if relation is None:
        words = f"Didn't understand relationship '{query.source}' in FROM part of query call."
        raise ApiError("INVALID_TYPE", placed(query.text, query.source_at, words))
    name, kind, reference = relation
    inner = Scope(scope.org, scope.access, kind, query.text, query.alias, scope.deleted)
    table, (shape, _) = scope.org.tables[kind.name], _shape(inner, query)

    def show(row: Row, version: str) -> dict[str, Any] | None:
        found = _ordered(inner, query, _matching(inner, query, table.find(reference.name, [row["Id"]])))
        records = [shape.show(each, version) for each in found]
        return {"totalSize": len(records), "done": True, "records": records} if records else None

    return name, show


def _aggregate(scope: Scope, query: Query) -> Result:
    rows = _matching(scope, query, _candidates(scope, query.where))
    only = query.select[0]
    if len(query.select) == 1 and isinstance(only, Call) and only.name == "COUNT" and only.argument is None and not query.group_by:
        counted = len(rows) if query.limit is None else min(len(rows), query.limit)
        return Result(query, scope.kind, counted, [], lambda row, _: row, [], aggregate=True)
    shown = grouped(scope, query, rows)
    return Result(query, scope.kind, len(shown), shown, lambda row, _: row, [], aggregate=True)

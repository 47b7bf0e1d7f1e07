"""From a view's definition to a function that gives the rows of a resource."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from fieldline_connectors.fhir.path import Compiled, PathError, References, Scope, compile_path
from fieldline_connectors.fhir.views.definition import MAX_COLUMNS, MAX_NESTING, Column, Select, ViewDefinition
from fieldline_core.errors import Misconfigured, Rejected

Row: TypeAlias = tuple[Any, ...]
Emit: TypeAlias = Callable[[Any, Scope], Sequence[Row]]

MAX_ROWS = 100_000
"""Rows of one resource."""
_DEEPEST = 200


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """A column of a compiled view."""

    name: str
    type: str
    """Its FHIR type: as the view says, else as its expression tells, else `string`."""
    collection: bool


class View:
    """A compiled view; it may be used by several threads at once."""

    def __init__(self, definition: ViewDefinition) -> None:
        maker = _Maker(definition)
        self.resource = definition.resource
        self._where = [maker.path(condition.path, "where") for condition in definition.where]
        self._emit, columns = maker.selection(definition.select, 0)
        self.columns = tuple(columns)
        self.digits = maker.digits
        """Whether its expressions count the digits of decimal numbers, so that they must be read as they are written."""
        self.references = maker.references
        """Whether it follows references, so that the addresses inside a bundle are needed."""

    def rows(self, resource: Any, references: References | None = None) -> Sequence[Row]:
        """The rows of one resource, each a value for each column; none where it is of another type or does not meet the conditions.

        Raises Misconfigured where an expression does not fit the data, Rejected where the resource gives too many rows.
        """
        if type(resource) is not dict or resource.get("resourceType") != self.resource:
            return ()
        scope = Scope(resource, references or {})
        for condition in self._where:
            if not _met(condition, resource, scope):
                return ()
        return self._emit(resource, scope)

    def read(self, resources: Iterable[tuple[Any, References]]) -> Iterable[Row]:
        """The rows of many resources."""
        for resource, references in resources:
            yield from self.rows(resource, references)


def compile_view(definition: ViewDefinition) -> View:
    """The view, compiled; raises Misconfigured with the place of a mistake."""
    return View(definition)


class _Maker:
    def __init__(self, definition: ViewDefinition) -> None:
        self._resource = definition.resource
        self._constants = {constant.name: constant.value for constant in definition.constant}
        self.digits = False
        self.references = False

    def path(self, text: str, place: str, type: str | None = None) -> Compiled:
        try:
            compiled = compile_path(text, self._constants, resource=self._resource, type=type)
        except PathError as error:
            raise Misconfigured(f"the view of {self._resource}, {place}: {error}") from None
        self.digits |= compiled.digits
        self.references |= compiled.references
        return compiled

    def selection(self, selects: Sequence[Select], depth: int) -> tuple[Emit, list[ViewColumn]]:
        """Selections side by side: the rows of each, combined with those of the others."""
        made = [self.select(select, depth) for select in selects]
        columns = [column for _, its in made for column in its]
        self._distinct(columns)
        return _crossed([emit for emit, _ in made]), columns

    def select(self, select: Select, depth: int) -> tuple[Emit, list[ViewColumn]]:
        if depth > MAX_NESTING:
            raise Misconfigured(f"the view of {self._resource}: selections are nested deeper than {MAX_NESTING}")
        own = [self.column(column) for column in select.column]
        parts: list[Emit] = [_cells([cell for cell, _ in own])] if own else []
        columns = [column for _, column in own]
        for inner in select.select:
            emit, its = self.select(inner, depth + 1)
            parts.append(emit)
            columns += its
        if select.unionAll:
            emit, its = self.union(select.unionAll, depth + 1)
            parts.append(emit)
            columns += its
        self._distinct(columns)
        return self.iterated(select, _crossed(parts), columns), columns

    def column(self, column: Column) -> tuple[Callable[[Any, Scope], Any], ViewColumn]:
        compiled = self.path(column.path, f"column {column.name}", _bare(column.type) if column.type else None)
        type_ = _bare(column.type or compiled.type or "string")
        return _cell(compiled, column), ViewColumn(column.name, type_, column.collection)

    def union(self, selects: Sequence[Select], depth: int) -> tuple[Emit, list[ViewColumn]]:
        made = [self.select(select, depth) for select in selects]
        columns = made[0][1]
        for _, its in made[1:]:
            if [column.name for column in its] != [column.name for column in columns]:
                raise Misconfigured(
                    f"the view of {self._resource}: the parts of unionAll have the same columns in the same order, "
                    f"not {', '.join(column.name for column in columns)} and {', '.join(column.name for column in its)}"
                )
        return _joined([emit for emit, _ in made]), columns

    def iterated(self, select: Select, emit: Emit, columns: Sequence[ViewColumn]) -> Emit:
        if select.repeat is not None:
            return _each(_repeated([self.path(path, "repeat") for path in select.repeat]), emit, None)
        if select.forEach is not None:
            return _each(_foci(self.path(select.forEach, "forEach")), emit, None)
        if select.forEachOrNull is not None:
            return _each(_foci(self.path(select.forEachOrNull, "forEachOrNull")), emit, _null_row(select))
        return emit

    def _distinct(self, columns: Sequence[ViewColumn]) -> None:
        names = [column.name for column in columns]
        if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
            raise Misconfigured(f"the view of {self._resource}: the column {twice} stands there twice")
        if len(names) > MAX_COLUMNS:
            raise Misconfigured(f"the view of {self._resource}: a view has at most {MAX_COLUMNS} columns")


def _bare(type: str) -> str:
    """The name of a type, without the address that the standard allows before it."""
    return type.rpartition("/")[2]


def _null_row(select: Select) -> Row:
    """The row where there is no element: empty, but for the number of the row, which is 0."""
    row = [0 if column.path.strip() == "%rowIndex" else None for column in select.column]
    for inner in (*select.select, *select.unionAll[:1]):
        row += _null_row(inner)
    return tuple(row)


def _met(condition: Compiled, resource: Any, scope: Scope) -> bool:
    found = _evaluated(condition, resource, scope, "where")
    if len(found) > 1 or (found and type(found[0]) is not bool):
        raise Misconfigured(f"the view's where `{condition.text}` gives no true or false: write a comparison or .exists()")
    return bool(found and found[0])


def _evaluated(compiled: Compiled, node: Any, scope: Scope, place: str) -> Sequence[Any]:
    try:
        return compiled.evaluate(node, scope)
    except PathError as error:
        raise Misconfigured(f"the view's {place} `{compiled.text}`: {error}") from None


def _cell(compiled: Compiled, column: Column) -> Callable[[Any, Scope], Any]:
    evaluate, place = compiled.evaluate, f"column {column.name}"
    if column.collection:
        return lambda node, scope: [*_evaluated(compiled, node, scope, place)]

    def cell(node: Any, scope: Scope) -> Any:
        try:
            found = evaluate(node, scope)
        except PathError as error:
            raise Misconfigured(f"the view's {place} `{compiled.text}`: {error}") from None
        if len(found) > 1:
            raise Misconfigured(
                f"the view's {place} `{compiled.text}` gives {len(found)} values: write `collection: true`, or choose by .first()"
            )
        return found[0] if found else None

    return cell


def _cells(cells: Sequence[Callable[[Any, Scope], Any]]) -> Emit:
    """One row of the columns that stand here."""
    return lambda node, scope: (tuple([cell(node, scope) for cell in cells]),)


def _crossed(parts: Sequence[Emit]) -> Emit:
    """Every row of each part with every row of the others."""
    if len(parts) == 1:
        return parts[0]

    def crossed(node: Any, scope: Scope) -> Sequence[Row]:
        rows: Sequence[Row] = ((),)
        number = scope.row_index
        for part in parts:
            scope.row_index = number
            others = part(node, scope)
            _bounded(len(rows) * len(others))
            rows = [row + other for row in rows for other in others]
            if not rows:
                return ()
        return rows

    return crossed


def _joined(parts: Sequence[Emit]) -> Emit:
    """The rows of all parts, one after the other."""

    def joined(node: Any, scope: Scope) -> Sequence[Row]:
        rows: list[Row] = []
        number = scope.row_index
        for part in parts:
            scope.row_index = number
            rows += part(node, scope)
            _bounded(len(rows))
        return rows

    return joined


def _each(foci: Emit, emit: Emit, null: Row | None) -> Emit:
    """The rows of each element that `foci` gives; the null row where it gives none."""

    def each(node: Any, scope: Scope) -> Sequence[Row]:
        elements = foci(node, scope)
        if not elements and null is not None:
            return (null,)
        rows: list[Row] = []
        for number, element in enumerate(elements):
            scope.row_index = number
            rows += emit(element, scope)
            _bounded(len(rows))
        return rows

    return each


def _foci(compiled: Compiled) -> Emit:
    return lambda node, scope: _evaluated(compiled, node, scope, "forEach")


def _repeated(paths: Sequence[Compiled]) -> Emit:
    """The elements that the paths reach, and those that they reach from there, in the order of the document."""

    def below(node: Any, scope: Scope, depth: int) -> Iterable[Any]:
        if depth > _DEEPEST:
            raise Rejected(f"a resource is nested deeper than {_DEEPEST} elements where the view repeats")
        for path in paths:
            for element in _evaluated(path, node, scope, "repeat"):
                if element is node:
                    raise Misconfigured(f"the view's repeat `{path.text}` comes back to the element from which it starts")
                yield element
                yield from below(element, scope, depth + 1)

    def repeated(node: Any, scope: Scope) -> Sequence[Any]:
        found = [*islice(below(node, scope, 0), MAX_ROWS + 1)]
        _bounded(len(found))
        return found

    return repeated


def _bounded(count: int) -> None:
    if count > MAX_ROWS:
        raise Rejected(f"one resource gives more than {MAX_ROWS:,} rows of the view")

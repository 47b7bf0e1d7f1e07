"""How a row is shown in an answer: its attributes, its fields, its parents and its children."""

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from fieldline_simulators.salesforce.org import Org
from fieldline_simulators.salesforce.schema import Row, SObject

Show = Callable[[Row, str], Any]


class Shape:
    """What is selected of one object, in the order of the selection."""

    def __init__(self, org: Org, kind: SObject) -> None:
        self._org, self._kind = org, kind
        self._fields: list[str] = []
        self._parts: dict[str, Show] = {}
        self._parents: dict[str, Shape] = {}
        self._get: Callable[[Row], Any] | None = None

    def add(self, names: tuple[str, ...], canonical: str) -> str:
        """Adds a field, of the object or of a parent; returns the name of its column in CSV."""
        if len(names) == 1:
            self._fields.append(canonical)
            self._parts[canonical] = lambda row, _: row.get(canonical)
            return canonical
        reference = self._kind.by_relationship(names[0])
        if reference is None:
            raise AssertionError("the path was resolved before")
        name = reference.relationship
        if name not in self._parents:
            kinds = [self._org.schema.objects[each] for each in reference.refers_to]
            parent = self._parents[name] = Shape(self._org, next((each for each in kinds if each.get(names[1])), kinds[0]))
            self._parts[name] = lambda row, version: parent.show_parent(row.get(reference.name), version)
        return f"{name}.{self._parents[name].add(names[1:], canonical)}"

    def add_children(self, name: str, show: Show) -> None:
        """Adds a subquery."""
        self._parts[name] = show

    def show(self, row: Row, version: str) -> dict[str, Any]:
        """The row as an answer holds it."""
        attributes = {"type": self._kind.name, "url": f"/services/data/v{version}/sobjects/{self._kind.name}/{row['Id']}"}
        if len(self._parts) != len(self._fields) or len(self._fields) < 2:
            return {"attributes": attributes, **{name: show(row, version) for name, show in self._parts.items()}}
        if self._get is None:
            self._get = itemgetter(*self._fields)
        return {"attributes": attributes, **dict(zip(self._fields, self._get(row), strict=True))}

    def show_parent(self, record_id: str | None, version: str) -> dict[str, Any] | None:
        """The parent as an answer holds it; of whatever object it is."""
        row = self._org.row_of(record_id)
        kind = self._org.schema.of_id(record_id or "")
        if row is None or kind is None:
            return None
        shown = (
            self.show(row, version)
            if "Type" not in self._fields
            else self.show({**row, "Type": row.get("Type", kind.name)}, version)
        )
        shown["attributes"] = {"type": kind.name, "url": f"/services/data/v{version}/sobjects/{kind.name}/{row['Id']}"}
        return shown

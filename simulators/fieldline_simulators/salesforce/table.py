"""The records of one object, with indexes on what they are found by.

A row is never changed in place: a write puts another dict. So a query's cursor holds rows, and sees them as they were.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from fieldline_simulators.salesforce.schema import Field, Row, SObject


class Table:
    """Records by id; deleted ones stay, marked."""

    def __init__(self, kind: SObject) -> None:
        self.kind = kind
        self.rows: dict[str, Row] = {}
        self._indexes: dict[str, dict[Any, dict[str, None]]] = {}
        for field in kind.fields.values():
            self.add_index(field)

    def add_index(self, field: Field) -> None:
        """Keeps records findable by a field, where its kind asks for it."""
        if not field.indexed or field.name == "Id":
            return
        self._indexes[field.name] = {}
        for row in self.rows.values():
            self._index(field.name, row)

    def put(self, row: Row) -> None:
        """Stores a record in place of what it was."""
        old = self.rows.get(row["Id"])
        self.rows[row["Id"]] = row
        for name in self._indexes:
            if old is None or old.get(name) != row.get(name):
                if old is not None:
                    self._forget(name, old)
                self._index(name, row)

    def restore(self, record_id: str, row: Row | None) -> None:
        """Takes a write back."""
        if row is not None:
            return self.put(row)
        gone = self.rows.pop(record_id)
        for name in self._indexes:
            self._forget(name, gone)

    def live(self) -> Iterator[Row]:
        """The records that are not deleted."""
        return (row for row in self.rows.values() if not row["IsDeleted"])

    def indexed(self, name: str) -> bool:
        """Whether a field has an index."""
        return name == "Id" or name in self._indexes

    def find(self, name: str, values: Iterable[Any]) -> list[Row]:
        """The records, deleted ones too, whose indexed field is one of the values, in the order of their ids."""
        if name == "Id":
            return [self.rows[each] for each in sorted(set(values)) if each in self.rows]
        index = self._indexes[name]
        return [self.rows[each] for each in sorted({found for value in values for found in index.get(_fold(value), ())})]

    def find_live(self, name: str, value: Any) -> list[Row]:
        """The records that are not deleted and whose indexed field has this value."""
        return [row for row in self.find(name, [value]) if not row["IsDeleted"]]

    def _index(self, name: str, row: Row) -> None:
        if row.get(name) is not None:
            self._indexes[name].setdefault(_fold(row[name]), {})[row["Id"]] = None

    def _forget(self, name: str, row: Row) -> None:
        if row.get(name) is not None:
            self._indexes[name].get(_fold(row[name]), {}).pop(row["Id"], None)


def _fold(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value

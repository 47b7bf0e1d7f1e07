"""A slice made ready for its entity set: values in the types of the properties, unfit rows set aside first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import sha256
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import orjson

from fieldline_connectors.odata import literals
from fieldline_connectors.odata.answers import Record, at
from fieldline_connectors.odata.conditions import values_of
from fieldline_connectors.odata.config import OdataTarget
from fieldline_connectors.odata.literals import Unfit, fitted, holds, shown
from fieldline_connectors.odata.metadata import EntitySet, Property, Service
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Slice
from fieldline_core.receipts import Outcome, RowReceipt
from fieldline_core.schema import FieldType

NO_ROW = RowReceipt(Outcome.REFUSED, "the entity set has no record with this key")
"""The receipt of a row whose key names no record."""
CHANGED = RowReceipt(Outcome.CHANGED_BY_PERSON, "somebody changed the record since it was read")
"""The receipt of a row that is left alone."""
_MARKER_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Row:
    """One row to write: its values fitted to their properties, and those that were read before, if they were."""

    position: int
    key: str
    key_values: tuple[Any, ...]
    values: Mapping[str, Any]
    before: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """A write operation, checked against what the service allows."""

    target: OdataTarget
    entity_set: EntitySet
    keys: tuple[Property, ...]
    kinds: Mapping[str, Property]
    zone: str
    v4: bool

    @classmethod
    def of(cls, service: Service, target: OdataTarget, zone: str) -> "Shape":
        """The operation, checked."""
        found = service.entity_set(target.entity_set)
        marker = [target.marker] if target.marker else []
        kinds = {name: found.property(name) for name in (*target.fields, *target.constants, *marker)}
        shape = cls(target, found, found.key(target.key), kinds, zone, service.v4)
        shape._check()
        return shape

    def _check(self) -> None:
        name, target = self.entity_set.name, self.target
        if target.operation != "create" and not self.entity_set.updatable:
            raise Misconfigured(f"the service does not let {name} be changed (its $metadata says so)")
        if target.operation != "update" and not self.entity_set.creatable:
            raise Misconfigured(f"the service does not let records be added to {name} (its $metadata says so)")
        allowed = "creatable" if target.operation == "create" else "updatable"
        if closed := [each for each in target.fields if not getattr(self.kinds[each], allowed)]:
            raise Misconfigured(f"{', '.join(closed)} of {name} cannot be written (the service says it is not {allowed})")
        if inexact := [kind.name for kind in self.keys if kind.type is FieldType.NUMBER]:
            raise Misconfigured(f"the key {', '.join(inexact)} of {name} is a floating-point number, which names no record exactly")
        kind = self.kinds[target.marker] if target.marker else None
        if kind and not can_mark(kind):
            raise Misconfigured(f"the marker {kind.name} of {name} must be a text of 64 characters or more that can be filtered by")

    def ready(self, slice: Slice) -> tuple[list[Row], dict[int, RowReceipt]]:
        """The rows to write, and the receipts of those that are not."""
        aside = slice.overtaken_receipts()
        if self.target.operation != "create":
            for position in slice.batch.last_of_each_key()[1]:
                aside[position] = RowReceipt(Outcome.SUPERSEDED, "a later row of the same write has this key")
        rows: list[Row] = []
        before = self._before(slice)
        values = slice.batch.frame.select(list(self.target.fields)).iter_rows(named=True)
        for position, (key, named) in enumerate(zip(slice.batch.keys, values, strict=True)):
            if position in aside:
                continue
            try:
                rows.append(self._row(position, key, named, before[position] if before else {}))
            except Unfit as error:
                aside[position] = RowReceipt(Outcome.REFUSED, str(error))
        return rows, aside

    def _before(self, slice: Slice) -> list[dict[str, Any]] | None:
        if slice.before is None or not self.target.check_before or self.target.operation == "create":
            return None
        names = [name for name in self.target.fields if name in slice.before.columns]
        return list(slice.before.select(names).iter_rows(named=True)) if names else None

    def _row(self, position: int, key: str, named: Mapping[str, Any], before: Mapping[str, Any]) -> Row:
        key_values = values_of(key, self.keys)
        if key_values is None:
            raise Unfit(NO_ROW.reason)
        values = {name: fitted(self.kinds[name], value) for name, value in named.items()}
        return Row(position, key, tuple(key_values), values, before)

    def own_key(self, record: Record) -> list[Any]:
        """The record's own key, by which it is addressed, whatever key the rows come by."""
        return [fitted(kind, literals.read(kind, at(record, kind.name.split(".")), self.zone)) for kind in self.entity_set.key()]

    def held(self, record: Record, name: str) -> Any:
        """What the record has in a property now."""
        return literals.read(self.kinds[name], at(record, name.split(".")), self.zone)

    def is_as(self, record: Record, values: Mapping[str, Any]) -> bool:
        """Whether the record holds these fitted values."""
        return all(holds(self.kinds[name], self.held(record, name), value) for name, value in values.items())

    def is_as_before(self, record: Record, row: Row) -> bool:
        """Whether the record still holds what was read before; a value that its property cannot hold was never there."""
        try:
            expected = {name: None if value is None else fitted(self.kinds[name], value) for name, value in row.before.items()}
        except Unfit:
            return False
        return self.is_as(record, expected)

    def changes(self, row: Row) -> bytes:
        """The body that changes a record."""
        return self._body([(self.kinds[name], value) for name, value in row.values.items()])

    def whole(self, row: Row, marker: str | None = None) -> bytes:
        """The body that adds a record; a value that is empty is left to the service's own default."""
        pairs = list(zip(self.keys, row.key_values, strict=True))
        pairs += [(self.kinds[name], value) for name, value in row.values.items() if value is not None]
        pairs += [(self.kinds[name], self._constant(name, value)) for name, value in self.target.constants.items()]
        pairs += [(self.kinds[self.target.marker], marker)] if self.target.marker and marker else []
        return self._body(pairs)

    def _constant(self, name: str, value: Any) -> Any:
        try:
            return fitted(self.kinds[name], value)
        except Unfit as error:
            raise Misconfigured(f"constants: {error}") from None

    def _body(self, pairs: Sequence[tuple[Property, Any]]) -> bytes:
        document: dict[str, Any] = {}
        for kind, value in pairs:
            *outer, name = kind.name.split(".")
            place = document
            for part in outer:
                place = place.setdefault(part, {})
            place[name] = shown(kind, value, self.zone, self.v4)
        return orjson.dumps(document)


def can_mark(kind: Property) -> bool:
    """Whether a property can hold a marker (64 hexadecimal digits), and its record be found by it."""
    return kind.edm == "Edm.String" and (kind.length or _MARKER_LENGTH) >= _MARKER_LENGTH and kind.filterable


def marker_of(slice: Slice, row: Row) -> str:
    """What names one row of one write operation in the target itself: the same at every attempt, 64 hexadecimal digits."""
    return sha256(f"{slice.effect_key}|{row.position}|{row.key}".encode()).hexdigest()


def request_headers(slice: Slice, row: Row, gateway: bool) -> dict[str, str]:
    """The same for a service that recognises repeated requests itself: a UUID, and when the request was first made.

    A repeat is one only where both are as they were; SAP's gateway for V2 has names of its own for them.
    """
    id = uuid5(NAMESPACE_OID, f"{slice.effect_key}|{row.position}")
    made_at = format_datetime((slice.made_at or datetime.now(UTC)).astimezone(UTC), usegmt=True)
    if gateway:
        return {"requestid": id.hex.upper(), "repeatabilitycreation": made_at}
    return {"repeatability-request-id": str(id), "repeatability-first-sent": made_at}

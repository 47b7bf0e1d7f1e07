"""What of a slice has to be sent: rows compared with what the org holds now, and the receipts of the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from fieldline_connectors.salesforce.config import CHANGED_AT, SalesforceTarget
from fieldline_connectors.salesforce.describe import FieldInfo, ObjectInfo
from fieldline_connectors.salesforce.fit import fitting
from fieldline_connectors.salesforce.org import Org, key_conditions, literal
from fieldline_connectors.salesforce.read import is_id
from fieldline_connectors.salesforce.records import moment
from fieldline_connectors.salesforce.values import Unfit, same, sent
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Slice
from fieldline_core.receipts import TOUCHED, Outcome, RowReceipt

_CHANGED_BY = "LastModifiedById"
_CHANGED = RowReceipt(Outcome.CHANGED_BY_PERSON, "somebody changed a field that is written since the record was read")
_LATER = RowReceipt(Outcome.SUPERSEDED, "a later row of the same write has this key")
_UNCHANGED = RowReceipt(Outcome.UNCHANGED)
_WRITTEN = RowReceipt(Outcome.WRITTEN)
_NOT_ASKED = RowReceipt(Outcome.UNCHANGED, "no record was asked for (only_if)")
_AMBIGUOUS = RowReceipt(Outcome.REFUSED, "several records have this key: make the field unique")


def refused(why: str) -> RowReceipt:
    """The receipt of a row that was not written."""
    return RowReceipt(Outcome.REFUSED, why)


@dataclass(slots=True)
class Changes:
    """Rows to send by their positions, as JSON records without their type, and the receipts of all others."""

    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    aside: dict[int, RowReceipt] = field(default_factory=dict)


def changes(org: Org, slice: Slice, *, compared: bool = True) -> Changes:
    """What the slice changes; without `compared`, every fit row as it is."""
    return _Comparison(org, slice).changes(compared=compared)


def mark(effect_key: str, key: str) -> str:
    """By which a record that was made for this row of this effect is recognised: 64 characters."""
    return sha256(f"{effect_key}|{key}".encode()).hexdigest()


class _Comparison:
    """One slice beside the records that it is about."""

    def __init__(self, org: Org, slice: Slice) -> None:
        target = slice.target
        assert isinstance(target, SalesforceTarget)
        self._org = org
        self._slice = slice
        self._target = target
        self._info: ObjectInfo = org.object(target.object)
        self._fields = _fitting(org, target)
        self._info = org.object(target.object)
        self._key: FieldInfo = self._info.fields[target.key.lower()]
        before = slice.before if target.check_before and target.check_record else None
        # When each record had been changed last as it was read; nothing where that was not read.
        self._read_at: list[Any] = before[CHANGED_AT].to_list() if before is not None and CHANGED_AT in before.columns else []

    def changes(self, *, compared: bool) -> Changes:
        """The rows that have to be sent."""
        made = Changes()
        rows = self._fit_rows(made.aside)
        if self._target.operation == "create":
            self._add(rows, made)
            return made
        held = self._held([self._slice.batch.keys[row] for row in rows])
        befores = self._befores()
        for row, values in rows.items():
            record = held.get(_norm(self._key, self._slice.batch.keys[row]))
            if record is None and self._target.operation == "update":
                made.aside[row] = refused(f"{self._info.name} has no such record, or the integration user may not see it")
            elif isinstance(record, list):
                made.aside[row] = _AMBIGUOUS
            else:
                receipt = self._standing(values, record, befores, row) if record and compared else None
                if receipt:
                    made.aside[row] = receipt
                else:
                    made.records[row] = self._record(row, values, record if compared else None, record)
        return made

    def _fit_rows(self, aside: dict[int, RowReceipt]) -> dict[int, dict[str, Any]]:
        """Field -> value of each row that can be sent at all."""
        slice = self._slice
        aside.update(slice.overtaken_receipts())
        aside.update(dict.fromkeys(slice.batch.last_of_each_key()[1], _LATER))
        rows: dict[int, dict[str, Any]] = {}
        for row, given in enumerate(slice.batch.frame.select(list(self._target.fields)).iter_rows(named=True)):
            if row in aside:
                continue
            try:
                values = {info.name: sent(given[name], info) for name, info in self._fields.items() if name in given}
            except Unfit as error:
                aside[row] = refused(str(error))
                continue
            if self._key.kind in ("id", "reference") and not self._is_ours(slice.batch.keys[row]):
                aside[row] = refused(f"the key is no Id of {self._info.name}")
            else:
                rows[row] = values
        return rows

    def _is_ours(self, key: str) -> bool:
        """Whether an Id may be one of the object's: Salesforce refuses all where one is not."""
        return is_id(key) and (self._key.name != "Id" or not self._info.prefix or key.startswith(self._info.prefix))

    def _held(self, keys: Sequence[str]) -> dict[str, Any]:
        """What the org holds under each key: the record, several, or nothing."""
        changed = [CHANGED_AT, _CHANGED_BY] if self._read_at else []
        names = list(dict.fromkeys(["Id", self._key.name, *(info.name for info in self._fields.values()), *changed]))
        if self._key.name == "Id":
            found = self._org.retrieve(self._info.name, keys, names) if keys else []
        else:
            literals = [literal(key, text=self._key.text) for key in keys]
            head = f"SELECT {', '.join(names)} FROM {self._info.name} WHERE "  # noqa: S608
            found = [
                record
                for condition in key_conditions(self._key.name, literals, len(head))
                for record in self._org.all_records(head + condition)
            ]
        held: dict[str, Any] = {}
        for record in found:
            if record is not None:
                key = _norm(self._key, record[self._key.name])
                held[key] = [record] if key in held else record
        return held

    def _befores(self) -> Mapping[str, Any]:
        """What each field held when the records were read, where that is known."""
        before = self._slice.before
        if before is None or not self._target.check_before:
            return {}
        return {self._fields[name].name: before[name] for name in self._target.fields if name in before.columns}

    def _standing(
        self, values: Mapping[str, Any], record: Mapping[str, Any], befores: Mapping[str, Any], row: int
    ) -> RowReceipt | None:
        """The receipt of a row that is left as it is; None where it has to be written."""
        fields = {info.name: info for info in self._fields.values()}
        stands = {name: same(record.get(name), value, fields[name]) for name, value in values.items()}
        expected = {name: same(record.get(name), before[row], fields[name]) for name, before in befores.items()}
        if any(not stands[name] and not expected[name] for name in expected):
            return _CHANGED
        if not all(stands.values()):
            return TOUCHED if self._touched(record, row) else None
        # Where an earlier attempt may have sent it, and it was otherwise when it was read, it was that attempt.
        ours = self._slice.fence > 1 and not (expected and all(expected.values()))
        return _WRITTEN if ours else _UNCHANGED

    def _touched(self, record: Mapping[str, Any], row: int) -> bool:
        """Whether somebody else was the last to change the record, and did so since it was read."""
        then = self._read_at[row] if self._read_at else None
        if not self._read_at or (then is not None and moment(record[CHANGED_AT]) <= then):
            return False
        ours = self._org.wire.tokens.current().user
        return not ours or str(record[_CHANGED_BY])[:15] != ours[:15]

    def _record(
        self, row: int, values: Mapping[str, Any], compared: Mapping[str, Any] | None, held: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        fields = {info.name: info for info in self._fields.values()}
        changed = {n: v for n, v in values.items() if compared is None or not same(compared.get(n), v, fields[n])}
        if self._target.operation == "update":
            assert held is not None
            return {"id": held["Id"], **changed}
        return {self._key.name: self._slice.batch.keys[row], **changed}

    def _add(self, rows: Mapping[int, dict[str, Any]], made: Changes) -> None:
        """Records to make, but for those that an earlier attempt has made."""
        target, marker = self._target, self._info.fields[str(self._target.marker).lower()].name
        only_if = self._fields[target.only_if].name if target.only_if else None
        constants = {self._fields[name].name: value for name, value in target.constants.items()}
        for row, values in rows.items():
            if only_if and not values[only_if]:
                made.aside[row] = _NOT_ASKED
                continue
            key = self._slice.batch.keys[row]
            made.records[row] = {self._key.name: key, marker: mark(self._slice.effect_key, key), **constants, **values}
        marks = {record[marker]: row for row, record in made.records.items()} if self._slice.fence > 1 else {}
        head = f"SELECT {marker} FROM {self._info.name} WHERE "  # noqa: S608
        for condition in key_conditions(marker, [literal(each, text=True) for each in marks], len(head)):
            for record in self._org.all_records(head + condition):
                row = marks[record[marker]]
                made.records.pop(row, None)
                made.aside[row] = _WRITTEN


def _fitting(org: Org, target: SalesforceTarget) -> Mapping[str, FieldInfo]:
    """The fields to write; asked anew once, because an administrator may just have mended it."""
    try:
        return fitting(org.object(target.object), target)
    except Misconfigured:
        org.forget()
        return fitting(org.object(target.object), target)


def _norm(key: FieldInfo, value: Any) -> str:
    return str(value)[:15] if key.kind in ("id", "reference") else str(value).casefold()

"""Writing a slice: records are read, compared, and changed under their ETag; bad rows are set aside, the others written."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from fieldline_connectors.http import wait_asked
from fieldline_connectors.masking import telling, words_of
from fieldline_connectors.odata.answers import Record, etag_of
from fieldline_connectors.odata.batches import Operation, Reply
from fieldline_connectors.odata.changesets import Changesets, Told
from fieldline_connectors.odata.config import OdataQuery, OdataTarget
from fieldline_connectors.odata.errors import Fault, after_others, fault
from fieldline_connectors.odata.read import Reading, records_with
from fieldline_connectors.odata.rows import CHANGED, NO_ROW, Row, Shape, marker_of, request_headers
from fieldline_connectors.odata.selection import selection
from fieldline_connectors.odata.service import Client
from fieldline_core.batch import Batch
from fieldline_core.errors import FieldlineError, Misconfigured, Unavailable
from fieldline_core.ports import Dedupe, Slice
from fieldline_core.receipts import Outcome, Receipts, RowReceipt

_ROUNDS = 5
_WRITTEN = RowReceipt(Outcome.WRITTEN)
_UNCHANGED = RowReceipt(Outcome.UNCHANGED)
_AMBIGUOUS = RowReceipt(Outcome.REFUSED, "the key names more than one record")
_FORGOTTEN = RowReceipt(Outcome.UNKNOWN, "the service has forgotten whether it did this before: look for the record")
_UNTOLD = RowReceipt(Outcome.UNKNOWN, "the service did not say what became of the row: look for the record")


class Writer:
    """Writes slices to the entity sets of one service."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def dedupe(self, target: OdataTarget) -> Dedupe:
        """QUERY where a repeat can be seen in the record, NATIVE where the service recognises repeated requests, else NONE."""
        if target.operation != "create" or target.marker:
            return Dedupe.QUERY
        return Dedupe.NATIVE if self._client.repeatable(target.entity_set) else Dedupe.NONE

    def write(self, slice: Slice) -> Receipts:
        """Writes the slice, and says of each row what became of it."""
        attempt = self._attempt(slice)
        return attempt.added() if attempt.target.operation == "create" else attempt.changed()

    def differing(self, target: OdataTarget, batch: Batch) -> dict[int, RowReceipt]:
        """The rows that are gone, or whose fields are not as they are in the batch; nothing is written."""
        if target.idoc:
            raise Misconfigured("an IDoc that was sent cannot be compared or put back: SAP has it")
        if target.operation == "create":
            raise Misconfigured(f"a record of {target.entity_set} that was added for a decision cannot be compared or put back")
        return self._attempt(Slice("", 0, target, batch)).differing()

    def _attempt(self, slice: Slice) -> "_Attempt":
        target: Any = slice.target
        return _Attempt(self._client, slice, Shape.of(self._client.service, target, self._client.config.timezone))


class _Attempt:
    """One call of `write`."""

    def __init__(self, client: Client, slice: Slice, shape: Shape) -> None:
        self.target = shape.target
        self._client = client
        self._slice = slice
        self._shape = shape
        self._dedupes = self.target.operation != "create" or bool(self.target.marker) or client.repeatable(self.target.entity_set)
        self._changes = Changesets(client, self._seen, once=not self._dedupes)
        self._doubtful: list[tuple[Row, Fault]] = []
        self._maybe_ours: set[int] = set()
        self._rows, self._done = shape.ready(slice)

    def changed(self) -> Receipts:
        """Changes records, and adds the missing ones for an upsert; what changed under our hands is read and decided again."""
        rows = self._rows
        for _ in range(_ROUNDS):
            if not rows:
                return self._receipts()
            operations = self._decided(rows)
            told = self._changes.told([operation for operation, _ in operations.values()])
            rows = [row for operation, row in operations.values() if self._again(row, told.get(operation.id))]
            self._maybe_ours |= {row.position for row in rows if told.get(str(row.position)) is None}
        words = f"writing to {self.target.entity_set}: its records keep changing while they are written"
        raise Unavailable(words, sent=self._changes.changed)

    def added(self) -> Receipts:
        """Adds a record for each row, but for those that an earlier attempt has added."""
        there = self._marked(self._rows) if self.target.marker and self._slice.fence > 1 else set()
        self._done |= {row.position: _WRITTEN for row in self._rows if marker_of(self._slice, row) in there}
        rows = [row for row in self._rows if row.position not in self._done]
        told = self._changes.told([self._addition(row) for row in rows])
        for row in rows:
            if not self._again(row, told.get(str(row.position))):
                continue
            if self._dedupes:
                raise Unavailable(f"writing to {self.target.entity_set}: the service did not come to all of the rows", sent=True)
            self._done[row.position] = _UNTOLD
        return self._receipts()

    def differing(self) -> dict[int, RowReceipt]:
        """The rows that the service does not hold as they are."""
        records = self._records(self._rows)
        for row in self._rows:
            found = records.get(row.key, [])
            if len(found) != 1:
                self._done[row.position] = _AMBIGUOUS if found else NO_ROW
            elif not self._shape.is_as(found[0], row.values):
                self._done[row.position] = CHANGED
        return self._done

    def _receipts(self) -> Receipts:
        self._look_for_doubtful()
        others = {position: receipt for position, receipt in self._done.items() if receipt != _WRITTEN}
        return Receipts(len(self._slice.batch), Outcome.WRITTEN, others, {"service": self._client.place})

    def _records(self, rows: Sequence[Row]) -> dict[str, list[Record]]:
        """What is there now, by the key of the rows; a record comes with its own key and its version."""
        return self._found(self.target.key, tuple(self.target.fields), [row.key for row in rows])

    def _found(self, key: tuple[str, ...], fields: tuple[str, ...], keys: Sequence[str]) -> dict[str, list[Record]]:
        query = OdataQuery(entity_set=self.target.entity_set, key=key, fields=fields)
        reading = Reading(self._client, query, selection(self._client.service, query, self._client.config.timezone))
        found: dict[str, list[Record]] = {}
        try:
            for record in records_with(reading, keys):
                found.setdefault(reading.selection.key(record), []).append(record)
        except FieldlineError as error:
            # A question that was not sent leaves what was written before it as it is.
            raise after_others(error) if self._changes.changed else error from None
        return found

    def _decided(self, rows: Sequence[Row]) -> dict[str, tuple[Operation, Row]]:
        """The operations for the rows that are to be written; the others are done."""
        records = self._records(rows)
        operations: dict[str, tuple[Operation, Row]] = {}
        for row in rows:
            decision = self._decision(row, records.get(row.key, []))
            if isinstance(decision, Operation):
                operations[decision.id] = (decision, row)
            else:
                self._done[row.position] = decision
        return operations

    def _decision(self, row: Row, found: Sequence[Record]) -> Operation | RowReceipt:
        if len(found) > 1:
            return _AMBIGUOUS
        if not found:
            return self._addition(row) if self.target.operation == "upsert" else NO_ROW
        record = found[0]
        if self._shape.is_as(record, row.values):
            # After an earlier attempt it is our own write, unless it was like this from the beginning.
            earlier = self._slice.fence > 1 and bool(row.before) and not self._shape.is_as_before(record, row)
            return _WRITTEN if earlier or row.position in self._maybe_ours else _UNCHANGED
        if not self._shape.is_as_before(record, row):
            return CHANGED
        return self._change(row, record)

    def _change(self, row: Row, record: Record) -> Operation:
        keys = self._shape.entity_set.key()
        # Without a version `*` still says that the record must be there, where V4 would add one.
        etag = etag_of(record) or ("*" if self._shape.v4 else None)
        headers = {**self._headers(), **({"if-match": etag} if etag else {})}
        configured = self._client.config.update_method
        method = configured if configured != "auto" else "PATCH" if self._shape.v4 else "MERGE"
        path = f"{self._shape.entity_set.name}{self._client.predicate(keys, self._shape.own_key(record))}"
        return Operation(str(row.position), method, path, headers, self._shape.changes(row))

    def _addition(self, row: Row) -> Operation:
        name, shape = self._shape.entity_set.name, self._shape
        if self.target.operation == "upsert" and self._client.config.preset == "dynamics":
            # An alternate key is no part of the body; the header keeps the operation from changing what is there by now.
            path = f"{name}{self._client.named_predicate(shape.keys, row.key_values)}"
            return Operation(str(row.position), "PATCH", path, {**self._headers(), "if-none-match": "*"}, shape.changes(row))
        headers = self._headers()
        if self._client.repeatable(name):
            headers |= request_headers(self._slice, row, gateway=self._client.gateway)
        return Operation(str(row.position), "POST", name, headers, shape.whole(row, marker_of(self._slice, row)))

    def _headers(self) -> dict[str, str]:
        kind = "application/json;IEEE754Compatible=true" if self._shape.v4 else "application/json"
        return {**self._client.headers, "content-type": kind}

    def _marked(self, rows: Sequence[Row]) -> set[str]:
        """The marks of these rows that are in the target."""
        assert self.target.marker is not None
        return set(self._found((self.target.marker,), (self.target.marker,), [marker_of(self._slice, row) for row in rows]))

    def _again(self, row: Row, told: Told | None) -> bool:
        """Whether a row is to be read and decided again; all else is noted as done."""
        if isinstance(told, RowReceipt):
            self._done[row.position] = told
            return False
        if told is not None and told.headers.get("repeatability-result", "").lower() == "rejected":
            self._done[row.position] = _FORGOTTEN
            return False
        if told is None or (told.status == 412 and self.target.operation != "create"):
            return True
        if told.status < 300:
            self._done[row.position] = _WRITTEN
            return False
        why = fault(told.status, told.headers.get("content-type", ""), told.body)
        # A row that is surely not there may wait, as long as no repeat of the others doubles anything.
        if why.busy and (self._dedupes or not self._changes.changed):
            words = f"writing to {self.target.entity_set}: {self._said(row, why)}"
            raise Unavailable(words, wait_asked(told.response()), sent=self._changes.changed)
        self._refuse(row, told, why)
        return False

    def _refuse(self, row: Row, reply: Reply, why: Fault) -> None:
        if why.status == 428 and self._dedupes:
            words = f"writing to {self.target.entity_set}: the service wants an ETag and gives none when it is read"
            raise Misconfigured(words, sent=self._changes.changed)
        if reply.unclear:
            self._doubtful.append((row, why))
        elif why.status in (404, 410) and self.target.operation == "update":
            self._done[row.position] = NO_ROW
        else:
            self._done[row.position] = self._refused(row, why)

    def _look_for_doubtful(self) -> None:
        """Says of each row in which the service failed whether it was written all the same, as far as that can be seen."""
        there = self._there([row for row, _ in self._doubtful])
        for row, why in self._doubtful:
            if there is None:
                words = f"the service failed while it added the record, which may be there: {self._said(row, why)}: look for it"
                self._done[row.position] = RowReceipt(Outcome.UNKNOWN, words)
            else:
                self._done[row.position] = _WRITTEN if there.get(row.position) else self._refused(row, why)

    def _there(self, rows: Sequence[Row]) -> dict[int, bool] | None:
        """The rows that have a record, and whether it is as they say; None where that cannot be seen."""
        if not rows:
            return {}
        if self.target.operation != "create":
            records = self._records(rows)
            return {
                row.position: any(self._shape.is_as(each, row.values) for each in records[row.key])
                for row in rows
                if row.key in records
            }
        if self.target.marker:
            marked = self._marked(rows)
            return {row.position: True for row in rows if marker_of(self._slice, row) in marked}
        return None

    def _seen(self, operations: Sequence[Operation]) -> Mapping[str, RowReceipt | None]:
        """Of changes that may have been made, those that were; None for a record that is there, and otherwise than we added it."""
        methods = {operation.id: operation.method for operation in operations}
        rows = [row for row in self._rows if str(row.position) in methods]
        self._maybe_ours |= {row.position for row in rows}
        there = self._there(rows) or {}
        done = {str(position): _WRITTEN if as_sent else None for position, as_sent in there.items()}
        # A change that was not made may be sent again as it is; a record that was added may not.
        return {id: receipt for id, receipt in done.items() if receipt or methods[id] == "POST"}

    def _refused(self, row: Row, why: Fault) -> RowReceipt:
        return RowReceipt(Outcome.REFUSED, f"the service refused the row: {self._said(row, why)}")

    def _said(self, row: Row, why: Fault) -> str:
        """The service's reason without a value of any row: one answer may stand for many, and speak of another row."""
        return why.sentence([*_texts(row), *(word for word in words_of(why.words) if word.lower() in self._telling)])

    @cached_property
    def _telling(self) -> frozenset[str]:
        return telling(text for row in self._rows for text in _texts(row))


def _texts(row: Row) -> list[str]:
    """The row's values as they may stand in a message of the service."""
    return [row.key, *map(str, row.key_values), *(str(value) for value in row.values.values() if value is not None)]

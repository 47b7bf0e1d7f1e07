"""Writing a slice: records are read, compared, and changed under their ETag; bad rows are set aside, the others written."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from fieldline_connectors.odata.answers import Record, etag_of
from fieldline_connectors.odata.batches import Group, Operation, Reply, Sender
from fieldline_connectors.odata.config import OdataQuery, OdataTarget
from fieldline_connectors.odata.errors import Fault, fault
from fieldline_connectors.odata.read import Reading, records_with
from fieldline_connectors.odata.rows import CHANGED, NO_ROW, Row, Shape, marker_of, request_headers
from fieldline_connectors.odata.selection import selection
from fieldline_connectors.odata.service import Client
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.ports import Dedupe, Slice
from fieldline_core.receipts import Outcome, Receipts, RowReceipt

_ROUNDS = 5
_TRIES = 256
_WRITTEN = RowReceipt(Outcome.WRITTEN)
_UNCHANGED = RowReceipt(Outcome.UNCHANGED)
_AMBIGUOUS = RowReceipt(Outcome.REFUSED, "the key names more than one record")
_FORGOTTEN = RowReceipt(Outcome.UNKNOWN, "the service has forgotten whether it did this before: look for the record")
_NOT_TRIED = RowReceipt(Outcome.REFUSED, "not tried alone: too many rows of the same write were refused by the service")


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
        self._sender = Sender(client)
        self._tries = 0
        self._rows, self._done = shape.ready(slice)

    def changed(self) -> Receipts:
        """Changes records, and adds the missing ones for an upsert; what changed under our hands is read and decided again."""
        rows = self._rows
        for _ in range(_ROUNDS):
            if not rows:
                return self._receipts()
            operations = self._decided(rows)
            replies = self._written([operation for operation, _ in operations.values()])
            rows = [row for operation, row in operations.values() if self._again(row, replies.get(operation.id))]
        words = f"writing to {self.target.entity_set}: its records keep changing while they are written"
        raise Unavailable(words, sent=self._sender.changed)

    def added(self) -> Receipts:
        """Adds a record for each row, but for those that an earlier attempt has added."""
        there = self._marked() if self.target.marker and self._slice.fence > 1 else set()
        self._done |= {row.position: _WRITTEN for row in self._rows if marker_of(self._slice, row) in there}
        rows = [row for row in self._rows if row.position not in self._done]
        operations = {str(row.position): self._addition(row) for row in rows}
        replies = self._written(list(operations.values()))
        for row in rows:
            if self._again(row, replies.get(str(row.position))):
                raise Unavailable(f"writing to {self.target.entity_set}: the service did not come to all of the rows", sent=True)
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
        others = {position: receipt for position, receipt in self._done.items() if receipt != _WRITTEN}
        return Receipts(len(self._slice.batch), Outcome.WRITTEN, others, {"service": self._client.place})

    def _records(self, rows: Sequence[Row]) -> dict[str, list[Record]]:
        """What is there now, by the key of the rows; a record comes with its own key and its version."""
        query = OdataQuery(entity_set=self.target.entity_set, key=self.target.key, fields=tuple(self.target.fields))
        reading = Reading(self._client, query, selection(self._client.service, query, self._client.config.timezone))
        found: dict[str, list[Record]] = {}
        for record in records_with(reading, [row.key for row in rows]):
            found.setdefault(reading.selection.key(record), []).append(record)
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
            ours = self._slice.fence > 1 and bool(row.before) and not self._shape.is_as_before(record, row)
            return _WRITTEN if ours else _UNCHANGED
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

    def _marked(self) -> set[str]:
        """The marks of this write operation that are in the target."""
        assert self.target.marker is not None
        query = OdataQuery(entity_set=self.target.entity_set, key=(self.target.marker,), fields=(self.target.marker,))
        reading = Reading(self._client, query, selection(self._client.service, query, self._client.config.timezone))
        records = records_with(reading, [marker_of(self._slice, row) for row in self._rows])
        return {reading.selection.key(record) for record in records}

    def _written(self, operations: Sequence[Operation]) -> dict[str, Reply]:
        """The reply to each operation that the service came to; a changeset that fails is halved down to the bad rows."""
        size = self._client.config.changeset_rows
        waiting = deque(list(operations[start : start + size]) for start in range(0, len(operations), size))
        found: dict[str, Reply] = {}
        while waiting:
            groups = list(waiting)
            waiting.clear()
            replies = self._replies(groups)
            for group in groups:
                waiting.extend(self._left(group, replies, found))
        return found

    def _replies(self, groups: Sequence[Group]) -> dict[str, Reply]:
        try:
            return self._sender.replies(groups)
        except Unavailable as error:
            # What went before it was written, even where this request was not sent.
            raise type(error)(str(error), error.retry_after, sent=error.sent or self._sender.changed) from None

    def _left(
        self, group: Sequence[Operation], replies: Mapping[str, Reply], found: dict[str, Reply]
    ) -> list[list[Operation]]:  # fmt: skip
        """The parts of a changeset that are to be sent again; what is clear goes to `found`."""
        answered = [operation for operation in group if operation.id in replies]
        shared = [operation for operation in answered if replies[operation.id].shared]
        found |= {operation.id: replies[operation.id] for operation in answered if not replies[operation.id].shared}
        if shared:
            self._tries += 1
            if self._tries > _TRIES:
                self._done |= {int(operation.id): _NOT_TRIED for operation in shared}
                return []
            half = len(shared) // 2
            return [shared[:half], shared[half:]]
        rest = [operation for operation in group if operation.id not in replies]
        # The service named the bad row, so the others go on without it; where it answered nothing at all, they are read again.
        return [rest] if rest and answered else []

    def _again(self, row: Row, reply: Reply | None) -> bool:
        """Whether a row is to be read and decided again; all else is noted as done."""
        if row.position in self._done:
            return False
        if reply is not None and reply.headers.get("repeatability-result", "").lower() == "rejected":
            self._done[row.position] = _FORGOTTEN
            return False
        if reply is None or reply.status == 412:
            return True
        if reply.status < 300:
            self._done[row.position] = _WRITTEN
            return False
        why = fault(reply.status, reply.headers.get("content-type", ""), reply.body)
        if why.busy and self.dedupes:
            words = f"writing to {self.target.entity_set}: {why.sentence(_texts(row))}"
            raise Unavailable(words, _wait(reply), sent=self._sender.changed)
        self._done[row.position] = self._refusal(row, why)
        return False

    @property
    def dedupes(self) -> bool:
        """Whether the whole slice may be written again without harm."""
        return self.target.operation != "create" or bool(self.target.marker) or self._client.repeatable(self.target.entity_set)

    def _refusal(self, row: Row, why: Fault) -> RowReceipt:
        if why.status == 428:
            raise Misconfigured(f"writing to {self.target.entity_set}: the service wants an ETag and gives none when it is read")
        if why.status in (404, 410) and self.target.operation == "update":
            return NO_ROW
        return RowReceipt(Outcome.REFUSED, f"the service refused the row: {why.sentence(_texts(row))}")


def _texts(row: Row) -> list[str]:
    """The row's values as they may stand in a message of the service."""
    return [row.key, *map(str, row.key_values), *(str(value) for value in row.values.values() if value is not None)]


def _wait(reply: Reply) -> float | None:
    asked = reply.headers.get("retry-after", "")
    return min(float(asked), 3_600.0) if asked.isascii() and asked.isdigit() else None

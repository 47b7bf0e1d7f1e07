"""Writing decisions into the chart: look for what is ours, change what differs, and look again, as servers make copies.

A server's own conditions are not enough: conditional creates at once were seen to leave three copies, and a lost answer says
nothing. So every round begins with a search by our identifier, decides from what is there, and ends when that is as it should be.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from fieldline_connectors.fhir.abilities import chosen
from fieldline_connectors.fhir.ours import Found, Ours, Row
from fieldline_connectors.fhir.refusals import codes_of, issues_of, sentence, texts_in
from fieldline_connectors.fhir.send import Operation, Reply, Sender
from fieldline_connectors.fhir.shapes import RETIRED, Resource, Unfit, merged, patient_of, provenance_of, shaped
from fieldline_connectors.fhir.target import FhirTarget
from fieldline_connectors.fhir.wire import BREAK_THE_GLASS, Wire
from fieldline_core.errors import FieldlineError, Misconfigured, Unavailable
from fieldline_core.ports import Slice
from fieldline_core.receipts import Outcome, Receipts, RowReceipt

_ROUNDS = 12
_CONFLICTS = (409, 412)
_GONE = (404, 410)
_SUPERSEDED = RowReceipt(Outcome.SUPERSEDED, "a later row of the same write has this key")
_NOT_THERE = RowReceipt(Outcome.REFUSED, "there is nothing of ours to change for this record")
_BY_A_PERSON = RowReceipt(Outcome.CHANGED_BY_PERSON, "somebody gave what we wrote another status")
_GLASS = RowReceipt(Outcome.REFUSED, "the server asks for a reason to open this patient (break the glass): it is not asked again")


class Write:
    """One call of `write`."""

    def __init__(self, wire: Wire, slice: Slice) -> None:
        target: Any = slice.target
        self._wire = wire
        self._slice = slice
        self._target: FhirTarget = target
        self._abilities = chosen(wire.capabilities, target, wire.host)
        self._ours = Ours(wire, target, self._abilities)
        self._sender = Sender(wire, self._abilities)
        self._done: dict[int, RowReceipt] = {}
        self._answered: set[int] = set()
        """Rows whose resource the server said it took; a search may not show it yet."""
        self._explained: set[int] = set()
        self._copies: dict[int, int] = {}
        self._left: dict[int, str] = {}
        """Rows of which something beside the resource could not be done, and why."""

    def receipts(self) -> Receipts:
        """Writes the slice, and says of each row what became of it."""
        rows = self._ready()
        for _ in range(_ROUNDS):
            if not rows:
                return self._receipts()
            found = self._found(rows)
            operations = [(row, each) for row in rows for each in self._decided(row, found[row.position])]
            replies = self._sender.replies([each for _, each in operations])
            self._check_rights([(operation, reply) for (_, operation), reply in zip(operations, replies, strict=True)])
            for (row, operation), reply in zip(operations, replies, strict=True):
                self._take(row, operation, reply)
            rows = [row for row in rows if row.position not in self._done]
        words = f"{self._wire.host}: what is written keeps being changed by somebody else at the same time"
        raise Unavailable(words, sent=self._sender.changed)

    def _ready(self) -> list[Row]:
        """The rows to write; the others are done."""
        batch = self._slice.batch
        self._done |= self._slice.overtaken_receipts()
        for position in batch.last_of_each_key()[1]:
            self._done.setdefault(position, _SUPERSEDED)
        values = batch.frame.select(list(self._target.fields)).iter_rows(named=True)
        rows: list[Row] = []
        for position, (key, named) in enumerate(zip(batch.keys, values, strict=True)):
            if position in self._done:
                continue
            try:
                rows.append(self._row(position, key, named))
            except Unfit as error:
                self._done[position] = RowReceipt(Outcome.REFUSED, str(error))
        return rows

    def _row(self, position: int, key: str, values: Mapping[str, Any]) -> Row:
        target = self._target
        patient = patient_of(key if target.patient is None else str(values[target.patient] or ""))
        resource = shaped(self._abilities.type, target, values, patient)
        decision = _hashed(self._slice.effect_key, key)
        record = _hashed("record", self._abilities.type, target.code.system, target.code.code, key)
        named = [decision] if target.operation == "create" else [record, decision]
        resource["identifier"] = [{"system": target.identifier_system, "value": value} for value in named]
        told = target.provenance and self._abilities.provenance
        provenance = provenance_of(values, target.identifier_system, decision) if told else None
        texts = [key, patient, *(str(value) for value in values.values() if value is not None)]
        return Row(position, patient, named[0], decision, resource, provenance, texts)

    def _found(self, rows: Sequence[Row]) -> Mapping[int, Found]:
        try:
            found = self._ours.found(rows)
            if self._abilities.provenance == "searched":
                self._look_for_provenances(found, [row for row in rows if row.position not in self._left])
            return found
        except FieldlineError as error:
            # A search changes nothing, but what went before it may have.
            error.sent = self._sender.changed
            raise

    def _look_for_provenances(self, found: Mapping[int, Found], rows: Sequence[Row]) -> None:
        try:
            self._ours.explained(found, rows)
        except Misconfigured as error:
            # What is written stands; without a search a Provenance might be added again and again.
            self._left |= {row.position: f"no Provenance was added: {error}" for row in rows if row.provenance}

    def _decided(self, row: Row, found: Found) -> list[Operation]:
        """What is to be sent for a row; nothing where it is done."""
        if found.refusal:
            self._done[row.position] = RowReceipt(Outcome.REFUSED, found.refusal)
            return []
        active = sorted(id for id, each in found.resources.items() if each.get("status") != RETIRED)
        every = active or sorted(found.resources)
        if len(active) > 1 and (back := self._taken_back(row, [found.resources[id] for id in active[1:]])):
            return back
        decision = self._decision(row, found.resources[every[0]]) if every else self._addition(row)
        if isinstance(decision, Operation):
            return [decision]
        if decision.outcome is Outcome.WRITTEN and (more := self._explanation(row, every, found)):
            return more
        self._done[row.position] = self._explained_receipt(row, decision, len(active))
        return []

    def _decision(self, row: Row, found: Resource) -> Operation | RowReceipt:
        if row.decision in self._ours.names(found) or row.position in self._answered:
            return RowReceipt(Outcome.WRITTEN)
        if found.get("status") != row.resource["status"]:
            return _BY_A_PERSON
        made = merged(found, row.resource, self._target.identifier_system)
        if {**made, "identifier": None} == {**found, "identifier": None}:
            return RowReceipt(Outcome.UNCHANGED)
        return Operation("PUT", f"{self._abilities.type}/{found['id']}", made, _version(found))

    def _addition(self, row: Row) -> Operation | RowReceipt:
        if row.position in self._answered:
            return RowReceipt(Outcome.WRITTEN)
        if self._target.operation == "update":
            return _NOT_THERE
        condition = {"if-none-exist": urlencode({"identifier": self._ours.identifier(row.name)})}
        return Operation("POST", self._abilities.type, row.resource, condition if self._abilities.conditional_create else None)

    def _taken_back(self, row: Row, copies: Sequence[Resource]) -> list[Operation]:
        """Takes copies back. All writers keep the lowest id, so that of two who clean up at once neither takes the other's."""
        able = self._abilities.interactions if row.position not in self._left else frozenset()
        self._copies[row.position] = max(self._copies.get(row.position, 0), len(copies) + 1)
        # What we wrote may be among those that go.
        self._answered.discard(row.position)
        type = self._abilities.type
        if "delete" in able:
            return [Operation("DELETE", f"{type}/{each['id']}", None, _version(each)) for each in copies]
        if "update" in able:
            return [Operation("PUT", f"{type}/{each['id']}", {**each, "status": RETIRED}, _version(each)) for each in copies]
        return []

    def _explanation(self, row: Row, ids: Sequence[str], found: Found) -> list[Operation]:
        """Adds the Provenance where one is wanted and missing, and takes copies of it back."""
        if row.provenance is None or row.position in self._left:
            return []
        if found.provenances:
            copies = sorted(found.provenances)[1:] if self._abilities.provenance_deletable else []
            return [Operation("DELETE", f"Provenance/{each}") for each in copies]
        if not ids:
            self._left[row.position] = "no Provenance was added: the server does not show yet what was written"
        if not ids or row.position in self._explained:
            return []
        self._explained.add(row.position)
        return [Operation("POST", "Provenance", {**row.provenance, "target": [{"reference": f"{self._abilities.type}/{ids[0]}"}]})]

    def _check_rights(self, answers: Sequence[tuple[Operation, Reply]]) -> None:
        """Raises Misconfigured where we may write nothing at all; a single patient may be closed to us."""
        type = self._abilities.type
        writes = [each for each in answers if each[0].path.startswith(type) and not _takes_back(each[0])]
        if writes and all(_forbids(operation, reply) for operation, reply in writes):
            said = sentence(writes[0][1].body, writes[0][1].status, [*texts_in(writes[0][0].resource)])
            words = f"{self._wire.host} does not let us write {type}: check the scopes and rights of this app: {said}"
            raise Misconfigured(words, sent=self._sender.changed)

    def _take(self, row: Row, operation: Operation, reply: Reply) -> None:
        """Notes what the server answered; a row that is not done is looked for again."""
        type = operation.path.partition("/")[0]
        if reply.status < 300:
            # 200 says of a conditional create that there was one already, whatever is in it.
            nothing_new = operation.method == "POST" and operation.conditions and reply.status != 201
            if type == self._abilities.type and not _takes_back(operation) and not nothing_new:
                self._answered.add(row.position)
            return
        if reply.status in _CONFLICTS or (reply.status in _GONE and operation.method != "POST"):
            if type == "Provenance":
                self._explained.discard(row.position)
            return
        if _asks_for_a_reason(reply):
            self._done[row.position] = _GLASS
            return
        said = sentence(reply.body, reply.status, row.values)
        if type == "Provenance" or _takes_back(operation):
            self._left[row.position] = f"the server refused the {operation.method} of a {type}: {said}"
            return
        self._done[row.position] = RowReceipt(Outcome.REFUSED, f"the server refused the {type}: {said}")

    def _explained_receipt(self, row: Row, receipt: RowReceipt, active: int) -> RowReceipt:
        """The receipt, with what happened beside it."""
        made, reasons = self._copies.get(row.position), [receipt.reason]
        if made is not None:
            left = "one is kept" if active <= 1 else "and all are there still"
            reasons.append(f"the server had made {made} copies of it, {left}")
        reasons.append(self._left.get(row.position, ""))
        return RowReceipt(receipt.outcome, "; ".join(filter(None, reasons)))

    def _receipts(self) -> Receipts:
        plain = RowReceipt(Outcome.WRITTEN)
        others = {position: receipt for position, receipt in self._done.items() if receipt != plain}
        detail: dict[str, Any] = {"server": self._wire.host, "resource": self._abilities.type}
        if self._copies:
            detail["rows_with_copies"] = len(self._copies)
        if self._target.provenance and not self._abilities.provenance:
            detail["provenance"] = "the server takes none"
        return Receipts(len(self._slice.batch), Outcome.WRITTEN, others, detail)


def _takes_back(operation: Operation) -> bool:
    return operation.method == "DELETE" or (operation.resource or {}).get("status") == RETIRED


def _asks_for_a_reason(reply: Reply) -> bool:
    return bool(codes_of(issues_of(reply.body)) & BREAK_THE_GLASS)


def _forbids(operation: Operation, reply: Reply) -> bool:
    """Whether the answer is about what we may do, and not about one resource."""
    told = reply.status in (403, 405) or (reply.status == 404 and operation.method == "POST")
    return told and not _asks_for_a_reason(reply)


def _hashed(*parts: str) -> str:
    """64 hexadecimal digits that tell nothing of the record."""
    return sha256("|".join(parts).encode()).hexdigest()


def _version(found: Resource) -> dict[str, str] | None:
    version = found.get("meta", {}).get("versionId")
    return {"if-match": f'W/"{version}"'} if version else None

"""Writing a slice: few changes by collections of 200, many by a bulk job; every row gets its own receipt."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fieldline_connectors.salesforce import ingest
from fieldline_connectors.salesforce.changes import Changes, changes, refused
from fieldline_connectors.salesforce.config import SalesforceTarget
from fieldline_connectors.salesforce.errors import Fault, Kind, faults
from fieldline_connectors.salesforce.jobs import Jobs
from fieldline_connectors.salesforce.org import WRITTEN_AT_ONCE, Org
from fieldline_core import crash
from fieldline_core.errors import FieldlineError, Misconfigured, Unavailable
from fieldline_core.ports import Slice
from fieldline_core.receipts import Outcome, Pending, Receipts, RowReceipt

_ROUNDS = 6
_FIRST_WAIT_S = 0.1
_WRITTEN = RowReceipt(Outcome.WRITTEN)
_UNEXPLAINED = Fault("UNKNOWN_EXCEPTION", "")


class Writer:
    """Writes slices to the objects of one org."""

    def __init__(self, org: Org, jobs: Jobs, sleep: Callable[[float], None] = time.sleep) -> None:
        self._org = org
        self._jobs = jobs
        self._sleep = sleep

    def write(self, slice: Slice) -> Receipts | Pending:
        """Writes what differs from what the org holds, or starts a bulk job that will."""
        target = slice.target
        assert isinstance(target, SalesforceTarget)
        made = changes(self._org, slice)
        if len(made.records) >= self._org.wire.config.bulk_write_from and _by_bulk(target):
            return ingest.submit(self._jobs, target, made)
        found = {**made.aside, **self._send(target, made.records)}
        others = {row: receipt for row, receipt in found.items() if receipt != _WRITTEN}
        return Receipts(len(slice.batch), others=others, detail={"records": len(made.records)})

    def poll(self, slice: Slice, handle: Mapping[str, Any]) -> Receipts | Pending:
        """The receipts of a bulk job, or Pending again."""
        return ingest.poll(self._jobs, slice, handle, self.write, self._resend, self._org.wire.config.bulk_poll_s)

    def _resend(self, slice: Slice, rows: Sequence[int]) -> Mapping[int, RowReceipt]:
        """The receipts of rows that a bulk job found locked, sent alone."""
        target = slice.target
        assert isinstance(target, SalesforceTarget)
        made: Changes = changes(self._org, slice, compared=False)
        chosen = {row: made.records[row] for row in rows if row in made.records}
        aside = {row: made.aside[row] for row in rows if row in made.aside}
        return aside | self._send(target, chosen)

    def _send(self, target: SalesforceTarget, records: Mapping[int, Mapping[str, Any]]) -> dict[int, RowReceipt]:
        """Sends records in collections; those that were locked are tried again by themselves, a little later each time."""
        receipts: dict[int, RowReceipt] = {}
        waiting = dict(records)
        for turn in range(_ROUNDS):
            locked: dict[int, Fault] = {}
            for piece in _pieces(waiting):
                self._save(target, piece, receipts, locked)
            waiting = {row: records[row] for row in locked}
            if not waiting:
                return receipts
            if turn and all(fault.code == "DUPLICATE_VALUE" for fault in locked.values()):
                # Two writes of one new key can meet; where the second try fails, too, the value really is another record's.
                return receipts | {row: refused(fault.words) for row, fault in locked.items()}
            self._sleep(_FIRST_WAIT_S * 2**turn * (0.5 + random.random()))  # noqa: S311
        raise Unavailable(f"{len(waiting)} records of {target.object} are locked by other changes", 30.0, sent=True)

    def _save(
        self,
        target: SalesforceTarget,
        piece: Mapping[int, Mapping[str, Any]],
        receipts: dict[int, RowReceipt],
        locked: dict[int, Fault],
    ) -> None:
        method, path = _call(target)
        crash.point("salesforce.collection:before")
        typed = [{"attributes": {"type": target.object}, **record} for record in piece.values()]
        try:
            answers = self._org.save(method, path, typed)
        except FieldlineError as error:
            # Earlier pieces of the slice may have been written, whatever became of this one.
            error.sent |= _WRITTEN in receipts.values()
            raise
        crash.point("salesforce.collection:after")
        refusals = {row: _first_fault(answer) for row, answer in zip(piece, answers, strict=True) if not answer.get("success")}
        setup = [fault for fault in refusals.values() if fault.meaning.kind is Kind.SETUP]
        if setup and len(setup) == len(piece):
            self._org.forget()
            raise Misconfigured(f"{self._org.wire.place}: {target.object}: {setup[0].words}", sent=_WRITTEN in receipts.values())
        if waits := [fault for fault in refusals.values() if fault.meaning.kind is Kind.WAIT]:
            raise Unavailable(f"{self._org.wire.place}: {waits[0].words}", waits[0].meaning.wait_s, sent=True)
        locked.update({row: fault for row, fault in refusals.items() if fault.meaning.kind is Kind.LOCK})
        receipts.update({row: refused(fault.words) for row, fault in refusals.items() if row not in locked})
        receipts.update(dict.fromkeys(piece.keys() - refusals.keys(), _WRITTEN))


def _by_bulk(target: SalesforceTarget) -> bool:
    """Whether the results of a bulk job can be told apart by the record's own key, and repeats are harmless."""
    return target.operation == "upsert" or (target.operation == "update" and target.key.lower() == "id")


def _call(target: SalesforceTarget) -> tuple[str, str]:
    match target.operation:
        case "upsert":
            return "PATCH", f"composite/sobjects/{target.object}/{target.key}"
        case "update":
            return "PATCH", "composite/sobjects"
    return "POST", "composite/sobjects"


def _pieces(records: Mapping[int, Mapping[str, Any]]) -> Iterator[dict[int, Mapping[str, Any]]]:
    entries = list(records.items())
    for start in range(0, len(entries), WRITTEN_AT_ONCE):
        yield dict(entries[start : start + WRITTEN_AT_ONCE])


def _first_fault(answer: Mapping[str, Any]) -> Fault:
    return next(iter(faults(answer.get("errors"))), _UNEXPLAINED)

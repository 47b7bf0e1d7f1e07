"""Sending IDocs: accepted is not posted, so their status is asked for, or said to be unknown."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import httpx

from fieldline_connectors.http import IN_TURN
from fieldline_connectors.odata.answers import at
from fieldline_connectors.odata.config import OdataQuery
from fieldline_connectors.odata.errors import after_others, fault_of, translated
from fieldline_connectors.odata.idoc_template import Idoc, IdocStatus, text_of
from fieldline_connectors.odata.literals import Unfit
from fieldline_connectors.odata.read import Reading, records_with
from fieldline_connectors.odata.rows import can_mark
from fieldline_connectors.odata.service import Client
from fieldline_core.batch import key_parts
from fieldline_core.errors import FieldlineError, Misconfigured, Unavailable
from fieldline_core.ports import Dedupe, Slice
from fieldline_core.receipts import OVERTAKEN, Outcome, Pending, Receipts, RowReceipt

_MOST_BYTES = 2 * 1024 * 1024
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 60.0
_POSTED = "53"
_FAILED = frozenset({"51", "52", "54", "56", "57", "60", "61", "63", "65", "68"})
_ACCEPTED = RowReceipt(Outcome.WRITTEN, "SAP has accepted the IDoc; whether it was posted is not known (idocs.status is not set)")
_UNSURE = RowReceipt(Outcome.UNKNOWN, "the IDoc may or may not have arrived: look for its ARCKEY (WE09) before it is sent again")
_UNSEEN = RowReceipt(Outcome.UNKNOWN, "SAP has accepted the IDoc, but does not show its status")
_WRITTEN = RowReceipt(Outcome.WRITTEN, "SAP has posted the IDoc (status 53)")
_HTML = re.compile(rb"<(!doctype\s+html|html)\b", re.IGNORECASE)
_LOGIN = re.compile(rb"<input[^>]{0,500}type=.?password", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Row:
    """One IDoc: `mark` is its ARCKEY, the same at every attempt; `texts` are what the record put in it."""

    position: int
    mark: str
    xml: bytes
    texts: tuple[str, ...] = field(repr=False)


class IdocWriter:
    """Sends slices as IDocs to the inbound port of one SAP system."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._port = client.config.idocs

    def dedupe(self) -> Dedupe:
        """QUERY where the status of an IDoc can be read by its ARCKEY, else NONE."""
        return Dedupe.QUERY if self._port.status else Dedupe.NONE

    def write(self, slice: Slice) -> Receipts | Pending:
        """Sends the IDocs that have not arrived yet; pending where it can be seen later whether they were posted."""
        idoc, rows, unfit = self._ready(slice)
        there = self._statuses(rows) if slice.fence > 1 else {}
        aside = [row.position for row in rows if row.position in slice.overtaken and row.mark not in there]
        sent = self._sent(idoc, [row for row in rows if row.mark not in there and row.position not in aside], some=bool(there))
        if self._port.status and (there or _ACCEPTED in sent.values()):
            refused = {str(row): each.reason for row, each in sent.items() if each is not _ACCEPTED}
            return Pending({"asked": 0, "refused": refused, "aside": aside}, _FIRST_WAIT_S)
        return self._receipts(slice, {**dict.fromkeys(aside, OVERTAKEN), **unfit, **sent})

    def poll(self, slice: Slice, handle: Mapping[str, Any]) -> Receipts | Pending:
        """What became of IDocs that were accepted."""
        _, rows, unfit = self._ready(slice)
        status, asked = self._port.status, int(handle["asked"]) + 1
        if status is None:
            raise Misconfigured("IDocs were sent, and their status was to be asked for: set `idocs.status` of the connection again")
        # A row that was overtaken after it was sent is told as it is: only what was set aside then was not sent.
        others = {**unfit, **dict.fromkeys(handle["aside"], OVERTAKEN)}
        others |= {int(row): RowReceipt(Outcome.REFUSED, reason) for row, reason in handle["refused"].items()}
        found = self._statuses(rows)
        states = {row.position: found.get(row.mark, "") for row in rows if row.mark in found or row.position not in others}
        if asked < status.asks and any(state != _POSTED and state not in _FAILED for state in states.values()):
            return Pending({**handle, "asked": asked}, min(_FIRST_WAIT_S * 2 ** min(asked, 8), _LONGEST_WAIT_S))
        return self._receipts(slice, {**others, **{row: _outcome(state) for row, state in states.items()}})

    def _receipts(self, slice: Slice, others: Mapping[int, RowReceipt]) -> Receipts:
        return Receipts(len(slice.batch), Outcome.WRITTEN, others, {"service": self._client.place, "port": self._port.path})

    def _ready(self, slice: Slice) -> tuple[Idoc, list[_Row], dict[int, RowReceipt]]:
        """The IDocs of all rows that can be one, and the receipts of the others."""
        target: Any = slice.target
        rows: list[_Row] = []
        unfit: dict[int, RowReceipt] = {}
        values = slice.batch.frame.select(list(target.fields)).iter_rows(named=True)
        for position, (key, named) in enumerate(zip(slice.batch.keys, values, strict=True)):
            mark = sha256(f"{slice.effect_key}|{position}|{key}".encode()).hexdigest()
            try:
                texts = self._texts({**_key_places(target.key, key), **named})
                xml = target.idoc.xml(mark, self._client.config.sap_client, texts)
                rows.append(_Row(position, mark, xml, (key, *texts.values())))
            except Unfit as error:
                unfit[position] = RowReceipt(Outcome.REFUSED, str(error))
        return target.idoc, rows, unfit

    def _texts(self, values: Mapping[str, Any]) -> dict[str, str]:
        texts = {place: text_of(place, value, self._client.config.timezone) for place, value in values.items()}
        return {place: text for place, text in texts.items() if text is not None}

    def _sent(self, idoc: Idoc, rows: Sequence[_Row], *, some: bool) -> dict[int, RowReceipt]:
        """What became of each IDoc; raises where it may be sent again: nothing has arrived, or it can be seen what has.

        `some` says that others of the slice have arrived before.
        """
        done: dict[int, RowReceipt] = {}
        parts = [*_parts(rows)]
        while parts:
            part = parts.pop(0)
            try:
                refusal = self._refusal(idoc, part, IN_TURN if some else {})
            except FieldlineError as error:
                if self._port.status or not (some or error.sent):
                    raise after_others(error) if some else error from None
                return {**done, **_given_up(error, part, parts)}
            if refusal is None:
                done |= dict.fromkeys((row.position for row in part), _ACCEPTED)
                some = True
            elif len(part) == 1:
                done[part[0].position] = RowReceipt(Outcome.REFUSED, refusal)
            else:
                parts[:0] = [part[: len(part) // 2], part[len(part) // 2 :]]
        return done

    def _refusal(self, idoc: Idoc, part: Sequence[_Row], extensions: Mapping[str, Any]) -> str | None:
        """Sends one message; why SAP took none of it, or None where it accepted all of it."""
        wire, place = self._client.wire, f"{self._client.config.service_url.host}, {self._port.path}"
        body = idoc.message([row.xml for row in part])
        values = [text for row in part for text in row.texts]
        response = wire.post(self._port.path, {"content-type": "application/xml; charset=utf-8"}, body, extensions)
        match response.status_code:
            case code if code < 300:
                _check_page(response, place, values)
                return None
            case 400 | 406 | 409 | 415 | 422:
                return f"SAP refused the IDoc: {fault_of(response).sentence(values)}"
            case 413:
                raise Misconfigured(f"{place}: the message is too large for the server: lower rows_per_message, or raise its limit")
        raise translated(response, place, reading=False, values=values)

    def _statuses(self, rows: Sequence[_Row]) -> dict[str, str]:
        """The status of each IDoc that has arrived, by its ARCKEY; of two that have the same, the posted one counts."""
        status = self._port.status
        if status is None:
            return {}
        found: dict[str, str] = {}
        for record in records_with(status_reading(self._client, status), [row.mark for row in rows]):
            mark, state = (str(at(record, (name,)) or "").strip() for name in (status.reference, status.status))
            found[mark] = _POSTED if found.get(mark) == _POSTED else state.zfill(2)
        return found


def status_reading(client: Client, status: IdocStatus) -> Reading:
    """How the status of IDocs is read; raises Misconfigured where no IDoc could be found by its ARCKEY."""
    query = OdataQuery(entity_set=status.entity_set, key=(status.reference,), fields=(status.reference, status.status))
    reading = Reading.of(client, query)
    if not can_mark(reading.keys[0]):
        words = "must be a text of 64 characters or more that can be filtered by: correct the view, or `idocs.status`"
        raise Misconfigured(f"the reference {status.reference} of {status.entity_set}, by which an IDoc is found, {words}")
    return reading


def _key_places(places: Sequence[str], key: str) -> dict[str, str]:
    try:
        return dict(zip(places, key_parts(key, len(places)), strict=True)) if places else {}
    except ValueError:
        raise Unfit("the record's key does not have as many parts as the operation's key") from None


def _parts(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """The rows for one message each."""
    part: list[_Row] = []
    size = 0
    for row in rows:
        if part and size + len(row.xml) > _MOST_BYTES:
            yield part
            part, size = [], 0
        part.append(row)
        size += len(row.xml)
    if part:
        yield part


def _given_up(error: FieldlineError, part: Sequence[_Row], rest: Sequence[Sequence[_Row]]) -> dict[int, RowReceipt]:
    """The receipts where another attempt could send IDocs twice: of the message that failed, and of those behind it."""
    unsent = RowReceipt(Outcome.REFUSED, f"not sent: {error}")
    left = dict.fromkeys((row.position for other in rest for row in other), unsent)
    return {**dict.fromkeys((row.position for row in part), _UNSURE if error.sent else unsent), **left}


def _check_page(response: httpx.Response, place: str, values: Sequence[str]) -> None:
    """Raises where a good status comes with a page other than the one by which SAP accepts an IDoc."""
    body = response.content[:100_000]
    page = "html" in response.headers.get("content-type", "").lower() or _HTML.search(body[:1_000])
    if not page or not body.strip() or b"inbound ok" in body.lower():
        return
    if _LOGIN.search(body):
        raise Misconfigured(f"{place}: a login page was answered, and no IDoc accepted: check the login and `sap_client`")
    raise Unavailable(f"{place}: SAP did not say that it accepted the IDoc: {fault_of(response).sentence(values)}", sent=True)


def _outcome(state: str) -> RowReceipt:
    if state == _POSTED:
        return _WRITTEN
    if not state:
        return _UNSEEN
    shown = state if state.isascii() and state.isalnum() and len(state) <= 4 else "unreadable"
    if state in _FAILED:
        words = f"SAP has the IDoc and did not post it (status {shown}): process it there (BD87), do not send another"
        return RowReceipt(Outcome.REFUSED, words)
    return RowReceipt(Outcome.UNKNOWN, f"SAP has the IDoc and has not posted it so far (status {shown})")

"""Reading: pages by key or by the server's own links, what is new by time or by delta link, and records by key."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from fieldline_connectors.odata import literals
from fieldline_connectors.odata.answers import MODE, Answer, Record, at, removed
from fieldline_connectors.odata.batches import Operation, Sender
from fieldline_connectors.odata.conditions import all_of, behind, name_of, ordered, questions, values_of
from fieldline_connectors.odata.config import OdataQuery
from fieldline_connectors.odata.errors import translated
from fieldline_connectors.odata.metadata import Property
from fieldline_connectors.odata.selection import Selection, selection
from fieldline_connectors.odata.service import Client, path
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Cursor, Page
from fieldline_core.schema import FieldType

_log = logging.getLogger("fieldline.odata")
_MOST_FOUND = 2_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """A query, checked against what the service has."""

    client: Client
    query: OdataQuery
    selection: Selection

    @classmethod
    def of(cls, client: Client, query: OdataQuery) -> "Reading":
        """The query, checked."""
        also = [query.changed_at] if query.changed_at else []
        if query.track_changes and MODE in client.service.entity_set(query.entity_set).type.properties:
            # Without it a record that an extractor says is gone would look like one that has changed.
            also.append(MODE)
        return cls(client, query, selection(client.service, query, client.config.timezone, also))

    @property
    def keys(self) -> list[Property]:
        """The properties of the key."""
        return [column.kind for column in self.selection.keys]

    def batch(self, records: Sequence[Record]) -> Batch:
        """Records as columns."""
        return self.selection.batch(records, self.client.all)

    def by_key(self) -> bool:
        """Whether pages go by the key; Dataverse compares no GUIDs and has its own links."""
        if self.query.order != "auto" or self.query.changed_at:
            return self.query.order != "server"
        return self.client.config.preset != "dynamics" and len(self.keys) == 1 and ordered(self.keys, self.client.service.v4)


def pages(reading: Reading, after: Cursor | None, limit: int) -> Iterator[Page]:
    """Pages of at most `limit` records behind `after`, each with the cursor that goes on there."""
    if reading.query.track_changes:
        return _tracked(reading, after, limit)
    if reading.by_key():
        return _ended_by(_keyed(reading, after or {}, limit), lambda cursor: _ended(reading, cursor))
    return _linked(reading, after or {}, limit)


def _ended_by(found: Iterator[Page], ended: Any) -> Iterator[Page]:
    """The pages; the last one, which is known only when nothing follows it, has the cursor behind the whole reading."""
    held = next(found, None)
    while held is not None:
        following = next(found, None)
        yield held if following is not None else Page(held.batch, ended(held.after))
        held = following


def _keyed(reading: Reading, after: Cursor, limit: int) -> Iterator[Page]:
    """Pages in the order of the key, until one is empty: a server may cut a page short without saying so."""
    state = dict(after) if "key" in after else _begun(reading, after)
    seen: set[str] = set()
    while True:
        records = _in_order(reading, state, limit)
        if not records:
            return
        batch = reading.batch(records)
        keys = set(batch.keys)
        if len(keys) < len(batch) or keys & seen:
            raise Misconfigured(
                f"the key {', '.join(kind.name for kind in reading.keys)} of {reading.query.entity_set} is not unique, or the "
                "service does not heed $orderby and $filter by it: name another `key`, or set `order: server`"
            )
        seen = keys
        state = {**state, "key": batch.keys[-1], **_highest(reading, records, state)}
        yield Page(batch, state)


def _in_order(reading: Reading, state: Mapping[str, Any], limit: int) -> list[Record]:
    query, client, keys = reading.query, reading.client, reading.keys
    conditions = [query.filter, _since(reading, state.get("low"))]
    if state.get("key") is not None:
        values = values_of(state["key"], keys)
        if values is None:
            raise Misconfigured(f"the cursor does not fit the key of {query.entity_set}: it was made by another query")
        conditions.append(behind(client, keys, values))
    where = all_of(*conditions)
    options = [*reading.selection.options, *([("$filter", where)] if where else [])]
    options += [("$orderby", ",".join(map(name_of, keys))), ("$top", str(limit))]
    found = client.ask(path(query.entity_set, options), _page_size(reading, limit))
    records = list(found.records)
    while found.more and len(records) < limit:
        found = client.ask(found.more, _page_size(reading, limit))
        records += found.records
    return records[:limit]


def _page_size(reading: Reading, limit: int) -> list[str]:
    return [f"odata.maxpagesize={min(limit, reading.client.config.page_rows)}"]


def _begun(reading: Reading, after: Cursor) -> dict[str, Any]:
    """Where a reading by key begins: with the newest change that the last one saw, less the overlap."""
    if not reading.query.changed_at:
        return {}
    started = datetime.now(UTC).replace(tzinfo=None).isoformat()
    high = after.get("high")
    return {"started": started, "low": high and _earlier(high, reading.query.overlap_s), "high": high}


def _ended(reading: Reading, cursor: Cursor) -> Cursor:
    """The cursor behind a reading: records that changed while it went on, behind where it was, belong to the next one."""
    if not reading.query.changed_at:
        return cursor
    found = [moment for moment in (cursor.get("high"), cursor.get("started")) if moment]
    return {"high": min(found) if cursor.get("high") else None}


def _since(reading: Reading, low: str | None) -> str | None:
    if low is None or reading.query.changed_at is None:
        return None
    kind = reading.selection.entity_set.property(reading.query.changed_at)
    moment = datetime.fromisoformat(low)
    value = moment.date() if kind.type is FieldType.DATE else moment
    return f"{name_of(kind)} ge {reading.client.literal(kind, value)}"


def _highest(reading: Reading, records: Sequence[Record], state: Mapping[str, Any]) -> dict[str, Any]:
    name = reading.query.changed_at
    if name is None:
        return {}
    kind = reading.selection.entity_set.property(name)
    if kind.type not in (FieldType.DATE, FieldType.DATETIME) or not kind.filterable:
        raise Misconfigured(f"changed_at {name} is no date or time that the service can filter by: name another property")
    moments = [literals.read(kind, value, reading.client.config.timezone) for record in records if (value := at(record, (name,)))]
    texts = [_as_moment(moment).isoformat() for moment in moments]
    return {"high": max([*texts, *([state["high"]] if state.get("high") else [])], default=None)}


def _as_moment(value: date) -> datetime:
    return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001


def _earlier(text: str, seconds: int) -> str:
    return (datetime.fromisoformat(text) - timedelta(seconds=seconds)).isoformat()


def _linked(reading: Reading, after: Cursor, limit: int, prefer: Sequence[str] = ()) -> Iterator[Page]:
    """Pages as the server links them; a cursor is a link, and how many of its records were had."""
    if after.get("end"):
        return
    link, skip = after.get("link") or _first(reading), int(after.get("skip", 0))
    while True:
        found = reading.client.ask(link, [*_page_size(reading, limit), *prefer])
        behind_all = {"link": found.more} if found.more else {"end": True, "delta": found.delta}
        for start in range(skip, len(found.records), limit):
            part = found.records[start : start + limit]
            more = start + limit < len(found.records)
            cursor = {"link": link, "skip": start + limit} if more else behind_all
            kept = [record for record in part if not removed(record)]
            if kept or found.more is None:
                yield Page(reading.batch(kept), cursor)
        if not found.more:
            if reading.query.track_changes and not found.records[skip:]:
                yield Page(reading.batch([]), behind_all)
            return
        link, skip = found.more, 0


def _first(reading: Reading) -> str:
    own = reading.query.filter
    return path(reading.query.entity_set, [*reading.selection.options, *([("$filter", own)] if own else [])])


def _tracked(reading: Reading, after: Cursor | None, limit: int) -> Iterator[Page]:
    """What the service says has changed: everything at first, then what is behind its delta link."""
    if reading.selection.entity_set.tracks_changes is False:
        raise _untracked(reading)
    begin: Cursor = after or {}
    if delta := begin.get("delta"):
        begin = {"link": delta}
        if not _still_known(reading, delta):
            _log.warning("%s does not know the delta link any more: all is read again", reading.client.place)
            begin = {}
    for page in _linked(reading, begin, limit, ["odata.track-changes"]):
        if page.after.get("end"):
            yield Page(page.batch, {"delta": page.after.get("delta") or _delta_link(reading)})
        elif len(page.batch):
            yield page


def _still_known(reading: Reading, link: str) -> bool:
    client = reading.client
    response = client.wire.send("GET", link, client.headers)
    if response.status_code in (404, 410):
        return False
    client.wire.accepted(response, reading=True)
    return True


def _delta_link(reading: Reading) -> str:
    """The newest delta link, where the service of an SAP extractor keeps them in a set of their own."""
    name = f"DeltaLinksOf{reading.query.entity_set}"
    if name not in reading.client.service.sets:
        raise _untracked(reading)
    found = reading.client.ask(path(name, [("$orderby", "CreatedAt desc"), ("$top", "1")]))
    link = at(found.records[0], ("ChangesAfter", "__deferred", "uri")) if found.records else None
    if not isinstance(link, str):
        raise _untracked(reading)
    return reading.client.wire.url(link)


def _untracked(reading: Reading) -> Misconfigured:
    return Misconfigured(
        f"the service does not say what changes in {reading.query.entity_set}: use `changed_at` instead of track_changes"
    )


def records_with(reading: Reading, keys: Sequence[str]) -> list[Record]:
    """The records with these keys; several questions travel in one request where the service has $batch."""
    client = reading.client
    asked = questions(client, reading.selection, keys, reading.query.filter)
    found: list[Record] = []
    for answer in _answers(client, asked):
        for record in client.all(answer):
            found.append(record)
            if len(found) > _MOST_FOUND:
                many = f"more than {_MOST_FOUND:,} records of {reading.query.entity_set} belong to {len(keys):,} keys"
                raise Misconfigured(f"{many}: narrow it by `filter`")
    return found


def _answers(client: Client, asked: Sequence[str]) -> Iterator[Answer]:
    operations = [Operation(str(number), "GET", link, client.headers) for number, link in enumerate(asked)]
    replies = Sender(client).replies([[operation] for operation in operations])
    for operation in operations:
        reply = replies.get(operation.id)
        if reply is None:
            raise Misconfigured(f"{client.place}: the service left questions of a $batch unanswered: set `batch: none`")
        if reply.status == 404 and "(" in operation.path.partition("?")[0]:
            continue
        if reply.status >= 300:
            raise translated(reply.response(), client.place, reading=True)
        yield client.answer(reply.body, reply.headers, client.wire.url(operation.path))

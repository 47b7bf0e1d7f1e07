"""Reading: a few records by REST, many by a bulk query, in an order and with cursors that resume exactly."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from fieldline_connectors.salesforce.config import SalesforceQuery
from fieldline_connectors.salesforce.jobs import Gone, Jobs
from fieldline_connectors.salesforce.org import Org, key_conditions, literal
from fieldline_connectors.salesforce.plan import Reading
from fieldline_connectors.salesforce.records import batch, moment
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.ports import Cursor, Page
from fieldline_core.schema import FieldType

_MOST_FOUND = 2_000_000
_SLOWEST = 12
_STAMP = "SystemModstamp"


def pages(org: Org, jobs: Jobs, query: SalesforceQuery, after: Cursor | None, limit: int) -> Iterator[Page]:
    """Pages of at most `limit` records behind `after`.

    A cursor is a position in the order of reading (`id`, with `stamp` where only changes are read), `ended` where that reading
    came to its end, or a place in the results of a bulk query (`job`), which the org still prepares where it was `asked`.
    """
    reading = Reading.of(query, org)
    here = dict(after or {})
    if "job" in here:
        try:
            for page in _job_pages(org, jobs, reading, here, limit):
                yield page
                here = dict(page.after)
            return
        except Gone:
            # Only a run that reads changes may meet a record twice.
            if here["locator"] and not query.changes_only:
                gone = f"{org.wire.place} no longer has the results of which this run has read a part: run the flow again"
                raise Rejected(gone) from None
            here = dict(here["base"])
    if here.get("ended") and not query.changes_only:
        return
    conditions = _behind(reading, here)
    if not reading.children and org.count(reading.count(conditions)) >= org.wire.config.bulk_read_from:
        job = jobs.query(reading.select(conditions), deleted=query.deleted)
        place = {"job": job, "locator": None, "base": here, "stamp": here.get("stamp"), "asked": 0, "waited_s": 0.0}
        yield _waiting(org, reading, place)
    else:
        yield from _rest_pages(org, reading, conditions, limit)


def _behind(reading: Reading, here: Mapping[str, Any]) -> list[str]:
    """The condition that a record comes after the position."""
    if not here:
        return []
    if not reading.query.changes_only:
        return [f"Id > {literal(here['id'], text=True)}"]
    stamp = here.get("stamp")
    if stamp is None:
        return []
    if here.get("ended"):
        early = moment(stamp) - timedelta(seconds=reading.query.overlap_s)
        return [f"{_STAMP} >= {early.isoformat(timespec='milliseconds')}Z"]
    return [f"{_STAMP} > {stamp} OR ({_STAMP} = {stamp} AND Id > {literal(here['id'], text=True)})"]


def _rest_pages(org: Org, reading: Reading, conditions: Sequence[str], limit: int) -> Iterator[Page]:
    """Pages in the order of Id, or of the last change and Id."""
    order = f"{_STAMP}, Id" if reading.query.changes_only else "Id"
    held: list[dict[str, Any]] = []
    for records, more in org.records(reading.select(conditions, order), deleted=reading.query.deleted):
        held += records
        while len(held) > limit or (held and not more):
            page, held = held[:limit], held[limit:]
            yield Page(_batch(org, reading, page), _position(reading, page[-1], ended=not held and not more))


def _position(reading: Reading, last: Mapping[str, Any], *, ended: bool) -> dict[str, Any]:
    stamp = {"stamp": _stamp(last[_STAMP])} if reading.query.changes_only else {}
    return {"id": last["Id"], **stamp, **({"ended": True} if ended else {})}


def _stamp(text: str) -> str:
    """A time as SOQL writes it."""
    return f"{moment(text).isoformat(timespec='milliseconds')}Z"


def _job_pages(org: Org, jobs: Jobs, reading: Reading, place: Mapping[str, Any], limit: int) -> Iterator[Page]:
    """Pages of a bulk query's results, whose order is theirs and never changes, or one that says when to ask again."""
    if "asked" in place:
        if not jobs.is_ready(place["job"]):
            yield _waiting(org, reading, place)
            return
        place = {name: value for name, value in place.items() if name not in ("asked", "waited_s")}
    locator, high = place["locator"], place.get("stamp")
    while True:
        records, locator = jobs.page(place["job"], locator, limit, reading.flat)
        if reading.query.changes_only:
            high = max([*(_stamp(record[_STAMP]) for record in records), *([high] if high else [])], default=None)
        cursor = {**place, "locator": locator, "stamp": high} if locator else {"ended": True, "id": "", "stamp": high}
        if records:
            yield Page(_batch(org, reading, records), cursor)
        if locator is None:
            return


def _waiting(org: Org, reading: Reading, place: Mapping[str, Any]) -> Page:
    """The page that says when to ask again; raises Misconfigured where the org takes too long."""
    config = org.wire.config
    if place["waited_s"] > config.bulk_wait_s:
        raise Misconfigured(
            f"{org.wire.place}: a bulk query did not end in {config.bulk_wait_s:,.0f} s: narrow it by WHERE, or raise bulk_wait_s"
        )
    wait_s = config.bulk_poll_s * min(1.5 ** min(place["asked"], 30), _SLOWEST)
    after = {**place, "asked": place["asked"] + 1, "waited_s": place["waited_s"] + wait_s}
    return Page(_batch(org, reading, ()), after, wait_s)


def _batch(org: Org, reading: Reading, records: Sequence[Mapping[str, Any]]) -> Batch:
    keys = [record.get(reading.key.name) for record in records]
    if not all(keys):
        raise Misconfigured(
            f"some records of {reading.info.name} have no {reading.key.name}: leave them out by WHERE {reading.key.name} != null"
        )
    return batch(records, [str(key) for key in keys], reading.columns, reading.lists, org.rest_of)


def lookup(org: Org, query: SalesforceQuery, keys: Sequence[str]) -> Batch:
    """The records with these keys; those that are not there are left out."""
    found = children(org, query, keys)
    if found.keys.n_unique() < len(found):
        raise Misconfigured(f"several records of {query.selection.object} have the same {query.key}: a lookup needs a unique field")
    return found


def children(org: Org, query: SalesforceQuery, keys: Sequence[str]) -> Batch:
    """The records with these keys, several of which may have the same."""
    reading = Reading.of(query, org)
    asked = {_norm(reading, key): key for key in reversed(keys) if fits(reading, key)}
    literals = [literal(key, text=reading.key.text) for key in asked.values()]
    found: list[dict[str, Any]] = []
    for condition in key_conditions(reading.key.name, literals, len(reading.select())):
        for records, _ in org.records(reading.select([condition]), deleted=query.deleted):
            found += [record for record in records if _norm(reading, record.get(reading.key.name)) in asked]
            if len(found) > _MOST_FOUND:
                many = f"more than {_MOST_FOUND:,} rows of {reading.info.name} belong to {len(keys):,} records"
                raise Misconfigured(f"{many}: narrow them by WHERE")
    names = [asked[_norm(reading, record[reading.key.name])] for record in found]
    return batch(found, names, reading.columns, reading.lists, org.rest_of)


def is_id(key: str) -> bool:
    """Whether a text has the form of a record's Id: 15 or 18 letters and digits."""
    return len(key) in (15, 18) and key.isascii() and key.isalnum()


def fits(reading: Reading, key: str) -> bool:
    """Whether a record could have that key at all; Salesforce refuses a whole query for one that could not."""
    if reading.key.kind in ("id", "reference"):
        return is_id(key)
    if reading.key.type in (FieldType.NUMBER, FieldType.INTEGER):
        return key.lstrip("-").replace(".", "", 1).isdigit() and key.isascii()
    return reading.key.text and bool(key)


def _norm(reading: Reading, key: Any) -> str:
    """What two ways of writing one key have in common: Ids have 15 or 18 characters, texts are found in any case."""
    text = str(key or "")
    if reading.key.kind in ("id", "reference"):
        return text[:15]
    if reading.key.type in (FieldType.NUMBER, FieldType.INTEGER):
        return f"{float(text or 'nan'):g}"
    return text.casefold()

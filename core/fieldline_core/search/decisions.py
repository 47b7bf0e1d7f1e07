"""Decisions, found by what a search line asks for: newest first, with bounded work for each page.

Nothing of a record is in clear, so rows are looked at in their batches: releases and times choose batches by an index, their zones
tell which of them cannot hold what is wanted, and of the others a few are opened.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from fieldline_core.errors import Rejected
from fieldline_core.events import record
from fieldline_core.evidence import Envelope, unseal, zone_of
from fieldline_core.findings import did_you_mean
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.find import show_decision
from fieldline_core.search.cursor import Found, read_cursor, write_cursor
from fieldline_core.search.line import Versioned, Wanted, read_line, span
from fieldline_core.store import Row, Transaction
from fieldline_core.zones import HELD, SCORED, score_column

_LOOKED_AT, _OPENED, _MOST = 1000, 16, 500
"""Of one page: batches whose zone is looked at, batches that are opened, and decisions, which all have to be named in one event."""
_LAST, _ALL_ROWS = 2**63 - 1, 2**31 - 1
_DECIDED = frozenset({HELD, SCORED})


@dataclass(slots=True)
class _Page:
    """What a page has so far."""

    limit: int
    items: list[dict[str, Any]]
    hashes: set[str]
    opened: int = 0

    @property
    def full(self) -> bool:
        return len(self.items) >= self.limit or self.opened >= _OPENED


def search_decisions(engine: Engine, line: str, by: str, limit: int = 20, cursor: str | None = None) -> Found[dict[str, Any]]:
    """The decisions that a search line asks for, each with all that it rests on; that they were looked at is recorded."""
    wanted = read_line(line, "decisions")
    place = read_cursor(line, cursor, str, int, int) if cursor else None
    with engine.store.transaction("search") as tx:
        batches = _worth_it(engine, tx, wanted, _batches(engine, tx, wanted, place))
        page = _Page(min(limit, _MOST), [], set())
        rest = _look(engine, tx, wanted, batches, page, place)
    # Before anything is shown: what was seen and not recorded would be worse than the other way round.
    with engine.store.transaction("search.view") as tx:
        record(tx, "decision.viewed", by, _seen(engine, wanted, page))
    return Found(page.items, write_cursor(line, rest) if rest else None)


def _seen(engine: Engine, wanted: Wanted, page: _Page) -> dict[str, Any]:
    """What the log says of a search: all that was looked for, but for the record's key, and whose decisions were shown."""
    parts = {"flow": wanted.flows, "model": map("@".join, wanted.models), "mapping": map("@".join, wanted.mappings),
             "outcome": sorted(wanted.outcomes), "score": wanted.score or ()}  # fmt: skip
    key = {"key_hash": engine.keyring.hash_key(wanted.record).hex} if wanted.record is not None else {}
    narrowed = {name: values for name, given in parts.items() if (values := list(given))}
    return {**key, "search": narrowed, "decisions": len(page.items), "key_hashes": sorted(page.hashes)}


def _batches(engine: Engine, tx: Transaction, wanted: Wanted, place: Sequence[Any] | None) -> list[Row]:
    """The batches to look at, newest first, without their contents; of one record with its row."""
    tx.run("search.plan_anew")
    clock = tx.one("flows.clock")
    assert clock is not None
    at, id, _ = place or ("infinity", _LAST, 0)
    where = {**span(wanted, clock["now"]), "at": at, "id": id, "limit": _LOOKED_AT}
    chosen = wanted.flows or wanted.models or wanted.mappings
    if wanted.record is not None:
        releases = _releases(tx, wanted) if chosen else None
        return tx.all("search.places", key_hash=engine.keyring.hash_key(wanted.record), releases=releases, **where)
    if wanted.decision is not None:
        chunk, row = wanted.decision
        releases = _releases(tx, wanted) if chosen else None
        return tx.all("search.batch_of_chunk", chunk=chunk, row=row, releases=releases, **where)
    return tx.all("search.batches", releases=_releases(tx, wanted), **where)


def _releases(tx: Transaction, wanted: Wanted) -> list[int]:
    """The releases of these flows, models and mappings."""
    every = tx.all("search.releases")
    flows = {row["flow"] for row in every}
    for name in wanted.flows:
        if name not in flows:
            raise Rejected(f"flow: there is no flow {name!r} that was published. {did_you_mean(name, flows)}".rstrip())
    return [row["id"] for row in every if _is_wanted(row, wanted)]


def _is_wanted(release: Row, wanted: Wanted) -> bool:
    models = [(model["name"], str(model["version"]), model["digest"]) for model in release["models"]]
    mapping = (release["mapping"], "", release["mapping_digest"])
    return (
        (not wanted.flows or release["flow"] in wanted.flows)
        and (not wanted.models or any(_fits(each, model) for each in wanted.models for model in models))
        and (not wanted.mappings or any(_fits(each, mapping) for each in wanted.mappings))
    )


def _fits(wanted: Versioned, there: tuple[str, str, str]) -> bool:
    (name, version), (known, number, digest) = wanted, there
    # Eight digits and more are how a digest begins; a version's number has fewer.
    same = digest.removeprefix("sha256:").startswith(version) if len(version) >= 8 else version in ("", number)
    return name in ("", known) and same


def _worth_it(engine: Engine, tx: Transaction, wanted: Wanted, batches: list[Row]) -> list[tuple[Row, bool]]:
    """The batches, each with whether it may hold what is wanted."""
    if not (wanted.outcomes or wanted.score):
        return [(batch, True) for batch in batches]
    answered = wanted.outcomes - _DECIDED
    at_targets: set[int] = set()
    if answered:
        chunks = [batch["chunk_id"] for batch in batches]
        for row in tx.all("search.answered", chunks=chunks):
            zone = zone_of(engine.keyring, row)
            if zone is None or zone.may_hold(answered, None):
                at_targets.add(row["chunk_id"])
    return [(batch, _may_hold(engine, wanted, batch, batch["chunk_id"] in at_targets)) for batch in batches]


def _may_hold(engine: Engine, wanted: Wanted, batch: Row, answered: bool) -> bool:
    decided = wanted.outcomes & _DECIDED
    if wanted.outcomes and not decided and not answered:
        return False
    zone = zone_of(engine.keyring, batch)
    return zone is None or zone.may_hold(frozenset() if answered else decided, wanted.score)


def _look(
    engine: Engine, tx: Transaction, wanted: Wanted, batches: Sequence[tuple[Row, bool]], page: _Page, place: Sequence[Any] | None
) -> tuple[str, int, int] | None:
    """Looks into batches until the page is full, and says where the next page begins."""
    for batch, worth_it in batches:
        here = (batch["created_at"].isoformat(), batch["id"])
        start = place[2] if place and batch["id"] == place[1] else 0
        if not worth_it or start == _ALL_ROWS:
            continue
        if page.full:
            return *here, start
        row = _open(engine, tx, wanted, batch, start, page)
        if row is not None:
            return *here, row
    # What was looked at in vain is not looked at again.
    last = batches[-1][0] if len(batches) == _LOOKED_AT else None
    return (last["created_at"].isoformat(), last["id"], _ALL_ROWS) if last else None


def _open(engine: Engine, tx: Transaction, wanted: Wanted, batch: Row, start: int, page: _Page) -> int | None:
    """Puts a batch's rows from `start` on into the page, and returns the first row that has no room there."""
    page.opened += 1
    stored = tx.all("evidence.of_chunk", chunk=batch["chunk_id"])
    (decisions,) = (unseal(engine.keyring, row) for row in stored if row["kind"] == "decisions")
    receipts = [unseal(engine.keyring, row) for row in stored if row["kind"] == "receipts"]
    for row in _rows(wanted, batch, decisions, receipts):
        if row < start:
            continue
        if len(page.items) >= page.limit:
            return row
        shown = show_decision(decisions, receipts, batch, row)
        page.items.append(shown)
        page.hashes.add(engine.keyring.hash_key(shown["key"]).hex)
    return None


def _rows(wanted: Wanted, batch: Row, decisions: Envelope, receipts: Iterable[Envelope]) -> Iterator[int]:
    """The rows of a batch that are wanted, in order; those that were erased are not there."""
    frame = decisions.frame
    there = frame["key"].is_not_null()
    if batch["row_no"] is not None:
        there &= pl.int_range(frame.height, eager=True) == batch["row_no"]
    if wanted.record is not None:
        there &= frame["key"] == wanted.record
    if wanted.score is not None:
        there &= _in_range(frame, wanted.score)
    if wanted.outcomes:
        there &= _with_outcome(frame, receipts, wanted.outcomes)
    yield from there.fill_null(False).arg_true()


def _in_range(frame: pl.DataFrame, score: tuple[float, float]) -> pl.Series:
    name = score_column(frame)
    if name is None:
        return _none(frame)
    numbers = frame[name]
    if not numbers.dtype.is_float():
        numbers = numbers.cast(pl.Float64)
    # In the column's own precision: what is shown as 0.7 is found by 0.7.
    low, high = pl.Series(score, dtype=pl.Float64).cast(numbers.dtype)
    return numbers.is_between(low, high) & numbers.is_not_nan()


def _with_outcome(frame: pl.DataFrame, receipts: Iterable[Envelope], outcomes: frozenset[str]) -> pl.Series:
    held = frame["held.stage"].is_not_null() if "held.stage" in frame.columns else _none(frame)
    there = _none(frame)
    if HELD in outcomes:
        there |= held
    if SCORED in outcomes:
        there |= ~held
    for answer in receipts:
        keys = answer.frame.filter(answer.frame["outcome"].is_in(list(outcomes)))["key"]
        there |= frame["key"].is_in(keys.implode()).fill_null(False)
    return there


def _none(frame: pl.DataFrame) -> pl.Series:
    return pl.Series([False]).new_from_index(0, frame.height)

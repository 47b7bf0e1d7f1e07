"""Audit events, found by what a search line asks for, newest first."""

from collections.abc import Iterable, Sequence
from typing import Any

from fieldline_core.errors import Rejected
from fieldline_core.pipeline.engine import Engine
from fieldline_core.search.cursor import Found, read_cursor, write_cursor
from fieldline_core.search.line import Versioned, Wanted, read_line, span
from fieldline_core.store import Row, Transaction

_LAST = 2**63 - 1
_KINDS_OF_ACTORS = ("", "cli:", "key:", "hook:")


def search_events(engine: Engine, line: str, limit: int = 50, cursor: str | None = None) -> Found[Row]:
    """The audit events that a search line asks for; `position` is the place in the log, None until it is sealed there.

    Words, records, models and mappings are looked for in what people and policies did; the entries that the work itself leaves hold
    numbers and digests, and are found by action, actor, flow, decision and time.
    """
    wanted = read_line(line, "events")
    (before,) = read_cursor(line, cursor, int) if cursor else (_LAST,)
    with engine.store.transaction("search.events") as tx:
        tx.run("search.plan_anew")
        clock = tx.one("flows.clock")
        assert clock is not None
        where = {**span(wanted, clock["now"]), **_where(tx, wanted), "before": before, "limit": limit + 1}
        rows = _by_words(engine, tx, wanted, where) if _has_words(wanted) else tx.all("search.events", **where)
    more = len(rows) > limit
    return Found(rows[:limit], write_cursor(line, [rows[limit - 1]["id"]]) if more else None)


def _where(tx: Transaction, wanted: Wanted) -> dict[str, Any]:
    ids = None
    if wanted.decision is not None:
        ids = [row["event_id"] for row in tx.all("search.events_of_chunk", chunk=wanted.decision[0])]
    actors = [kind + name for name in wanted.actors for kind in _KINDS_OF_ACTORS]
    return {"actions": list(wanted.actions) or None, "actors": actors or None, "flows": list(wanted.flows) or None, "ids": ids}


def _has_words(wanted: Wanted) -> bool:
    return bool(wanted.texts or wanted.record is not None or wanted.models or wanted.mappings)


def _by_words(engine: Engine, tx: Transaction, wanted: Wanted, where: dict[str, Any]) -> Sequence[Row]:
    key_hash = engine.keyring.hash_key(wanted.record).hex if wanted.record is not None else None
    model, mapping = _one("model", wanted.models), _one("mapping", wanted.mappings)
    texts = [*wanted.texts, *([key_hash] if key_hash else ()), *_parts(model), *_parts(mapping)]
    row = tx.one("search.words", texts=texts)
    if row is None or row["words"] is None:
        raise Rejected("there is no word in what is looked for")
    names = {"key_hash": key_hash, "model": model[0] if model else None, "mapping": mapping[0] if mapping else None}
    return tx.all("search.events_by_words", words=row["words"], **names, **where)


def _one(name: str, values: Sequence[Versioned]) -> Versioned | None:
    if len(values) > 1:
        raise Rejected(f"'{name}:' is there twice: among audit events one is looked for at a time")
    return values[0] if values else None


def _parts(versioned: Versioned | None) -> Iterable[str]:
    return [part for part in versioned or () if part]

"""A search line: qualifiers and free text, read into what is wanted, or refused at the very place with what to write instead."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias

from fieldline_core.batch import key_text
from fieldline_core.errors import Rejected
from fieldline_core.findings import did_you_mean
from fieldline_core.search.qualifiers import DECISIONS, EVENTS_TOO, MEANT, ONCE, QUALIFIERS, Unreadable

Kind: TypeAlias = Literal["decisions", "events"]
_OF_KIND = {"decisions": DECISIONS, "events": EVENTS_TOO}
_LONGEST, _MOST_TERMS = 2000, 40
_TERM = re.compile(r'(?:([A-Za-z_]+):)?(?:"((?:[^"\\]|\\.)*)"|([^\s"]*))(?=\s|$)|(\S+)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
Versioned: TypeAlias = tuple[str, str]
"""A name and how its version begins, either of which may be empty."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a search line asks for: all its qualifiers hold, and of several values of one qualifier any."""

    line: str
    record: str | None = None
    decision: tuple[int, int | None] | None = None
    flows: tuple[str, ...] = ()
    models: tuple[Versioned, ...] = ()
    mappings: tuple[Versioned, ...] = ()
    outcomes: frozenset[str] = frozenset()
    score: tuple[float, float] | None = None
    actions: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    since: datetime | timedelta | None = None
    until: datetime | timedelta | None = None
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Term:
    name: str | None
    value: str
    place: int


def read_line(line: str, kind: Kind) -> Wanted:
    """What a search line asks for, of decisions or of audit events; raises Rejected with the qualifier, the place and the fix."""
    if len(line) > _LONGEST or "\0" in line:
        raise Rejected(f"a search line has at most {_LONGEST:,} characters, and none of them is NUL")
    terms = list(_terms(line))
    if len(terms) > _MOST_TERMS:
        raise Rejected(f"a search line has at most {_MOST_TERMS} qualifiers and texts: this one has {len(terms)}")
    values: dict[str, list[Any]] = {name: [] for name in QUALIFIERS}
    texts = [_text(term, kind) for term in terms if term.name is None]
    for term in terms:
        if term.name is not None:
            _check_name(term.name, term.place, kind, values)
            values[term.name].append(_value(term))
    one = {name: values[name][0] if values[name] else None for name in ONCE}
    record = key_text(values["record"]) if values["record"] else None
    return Wanted(
        line, record, one["decision"], tuple(values["flow"]), tuple(values["model"]), tuple(values["mapping"]),
        frozenset(values["outcome"]), one["score"], tuple(values["action"]), tuple(values["actor"]), one["since"], one["until"],
        tuple(texts),
    )  # fmt: skip


def quoted(value: str) -> str:
    """A value as a search line holds it, whatever is in it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def span(wanted: Wanted, now: datetime) -> dict[str, str]:
    """The times between which the search looks, as PostgreSQL takes them."""
    return {"since": _time(wanted.since, now) or "-infinity", "until": _time(wanted.until, now) or "infinity"}


def _time(moment: datetime | timedelta | None, now: datetime) -> str:
    if isinstance(moment, timedelta):
        moment = now - moment
    return moment.astimezone(UTC).isoformat() if moment else ""


def _terms(line: str) -> Iterator[_Term]:
    # What is refused here is not repeated: it may be a record's key.
    for found in _TERM.finditer(line):
        if not found[0]:
            continue
        name, quoted, bare, broken = found.groups()
        place = found.start() + 1
        if broken is not None:
            raise Rejected(
                f'at character {place}: a quote is missing, or stands in the middle: write "a text", and \\" for a quote'
            )
        if name is None and bare is not None and ":" in bare:
            raise Rejected(f'at character {place}: there is no qualifier before the colon: put a text with a colon in quotes ("…")')
        yield _Term(name.lower() if name else None, bare if quoted is None else _ESCAPED.sub(r"\1", quoted), place)


def _text(term: _Term, kind: Kind) -> str:
    if kind == "decisions":
        raise Rejected(f"at character {term.place}: a qualifier is missing: write record:KEY; free text finds audit events only")
    if not any(letter.isalnum() for letter in term.value):
        raise Rejected(f"at character {term.place}: there is no letter and no digit that could be looked for")
    return term.value


def _check_name(name: str, place: int, kind: Kind, seen: dict[str, list[Any]]) -> None:
    here = _OF_KIND[kind]
    if name not in QUALIFIERS:
        near = f"Did you mean '{MEANT[name]}:'?" if name in MEANT else did_you_mean(f"{name}:", [f"{each}:" for each in here])
        raise Rejected(f"at character {place}: there is no qualifier '{name}:'. {near or 'There are ' + ', '.join(here)}")
    if name not in here:
        other = "audit events" if kind == "decisions" else "decisions"
        raise Rejected(f"at character {place}: '{name}:' narrows {other}, not {_WORDS[kind]}: here are {', '.join(here)}")
    if name in ONCE and seen[name]:
        raise Rejected(f"at character {place}: '{name}:' is there twice: give it once")


_WORDS = {"decisions": "decisions", "events": "audit events"}


def _value(term: _Term) -> Any:
    assert term.name is not None
    if not term.value:
        raise Rejected(f"at character {term.place}: '{term.name}:' has no value: write it right behind the colon")
    try:
        return QUALIFIERS[term.name](term.value)
    except Unreadable as error:
        raise Rejected(f"{term.name}: at character {term.place}: {error}") from None

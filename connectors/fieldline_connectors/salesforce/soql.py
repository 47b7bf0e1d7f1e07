"""SOQL taken apart and put together: enough to ask for other fields, and for the records behind a position."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

_TOKEN = re.compile(r"'(?:\\.|[^'\\])*'|[()]|,|[^\s(),']+|\s+|'", re.DOTALL)
_PATH = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*){0,5}")
_CLAUSES = ("WHERE", "WITH", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "FOR", "USING", "UPDATE", "ALL")
_DEEPEST = 20


@dataclass(frozen=True, slots=True)
class Child:
    """A subquery: the rows that belong to a record, by the name of the relationship."""

    name: str
    fields: tuple[str, ...]
    tail: str

    def text(self) -> str:
        """The subquery as SOQL."""
        return f"(SELECT {', '.join(self.fields)} FROM {self.name}{' ' + self.tail if self.tail else ''})"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Selection:
    """A query of one object."""

    object: str
    fields: tuple[str, ...]
    children: tuple[Child, ...]
    where: str

    def text(self, items: Iterable[str], conditions: Iterable[str] = (), order: str = "") -> str:
        """SOQL for these items of the records under the query's own condition and these."""
        every = [f"({text})" for text in (self.where, *conditions) if text]
        where = f" WHERE {' AND '.join(every)}" if every else ""
        return f"SELECT {', '.join(items)} FROM {self.object}{where}{' ORDER BY ' + order if order else ''}"  # noqa: S608


@lru_cache(maxsize=256)
def parsed(soql: str) -> Selection:
    """The parts of a query; raises ValueError, in words, where it holds what Fieldline has to add itself."""
    items, name, clauses = _parts(soql)
    if other := [clause for clause in clauses if clause != "WHERE"]:
        raise ValueError(
            f"leave {' and '.join(other)} out of the SOQL: Fieldline orders and pages by itself, "
            "and counting and grouping belong in the mapping"
        )
    fields = tuple(item for item in items if not item.startswith("("))
    children = tuple(_child(item) for item in items if item.startswith("("))
    return Selection(name, _paths(fields), children, clauses.get("WHERE", ""))


def _child(item: str) -> Child:
    items, name, clauses = _parts(item[1:-1])
    if any(inner.startswith("(") for inner in items):
        raise ValueError("a subquery holds no further subquery: read those rows by a lookup of their own")
    tail = " ".join(f"{clause} {text}" for clause, text in clauses.items())
    return Child(name, _paths(items), tail)


def _paths(items: Sequence[str]) -> tuple[str, ...]:
    for item in items:
        if not _PATH.fullmatch(item):
            raise ValueError(f"SELECT lists fields and subqueries; {item[:60]!r} is neither (formulas belong in the mapping)")
    return tuple(items)


def _parts(soql: str) -> tuple[list[str], str, dict[str, str]]:
    """The SELECT's items, the object, and each further clause with its text."""
    words = list(_pieces(soql))
    upper = [word.upper() for word in words]
    if not words or upper[0] != "SELECT" or "FROM" not in upper:
        raise ValueError("the query is written as SELECT fields FROM object WHERE condition")
    start = upper.index("FROM")
    listed = "".join(words[1:start])
    after = [word for word in words[start + 1 :] if word.strip()]
    if not after or not re.fullmatch(r"[A-Za-z]\w*", after[0]) or (len(after) > 1 and after[1].upper() not in _CLAUSES):
        raise ValueError("behind FROM comes one object by its API name, without an alias")
    clauses: dict[str, str] = {}
    clause = ""
    for word in words[words.index(after[0], start) + 1 :]:
        if word.upper() in _CLAUSES and word.upper() not in clauses and not (clause == "ORDER" and word.upper() == "FOR"):
            clause = word.upper()
            clauses[clause] = ""
        elif clause:
            clauses[clause] += word
    return [item.strip() for item in _split(listed)], after[0], {name: text.strip() for name, text in clauses.items()}


def _pieces(soql: str) -> Iterator[str]:
    """Words at the outermost level, with everything in brackets, and texts, as one piece each."""
    depth, held = 0, ""
    for found in _TOKEN.finditer(soql):
        piece = found.group()
        if piece == "'":
            raise ValueError("a text in the query is not closed by '")
        depth += (piece == "(") - (piece == ")")
        if depth < 0 or depth > _DEEPEST:
            raise ValueError("the query's brackets do not match")
        held += piece
        if depth == 0:
            yield held
            held = ""
    if depth:
        raise ValueError("the query's brackets do not match")


def _split(listed: str) -> Iterator[str]:
    """The items between the commas of the outermost level."""
    item = ""
    for piece in _pieces(listed):
        if piece == ",":
            yield item
            item = ""
        else:
            item += piece
    yield item


def quoted(value: str) -> str:
    """A text as SOQL writes it."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    for plain, code in (("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"), ("\b", "\\b"), ("\f", "\\f")):
        escaped = escaped.replace(plain, code)
    return f"'{escaped}'"

"""SOQL read into a tree, with errors that point at the place as Salesforce's do."""

import re
from dataclasses import dataclass, field
from typing import Any

from fieldline_simulators.salesforce.errors import ApiError

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>'(?:[^'\\]|\\.)*')
  | (?P<datetime>\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:?\d\d))
  | (?P<date>\d{4}-\d\d-\d\d)
  | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*(?::\d+)?)
  | (?P<sign>!=|<>|<=|>=|[=<>(),])
    )""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_AFTER_FROM = ("WHERE", "WITH", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "FOR", "ALL", "USING")
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the query and where it begins."""

    kind: str
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A field, or one behind relationships."""

    path: tuple[str, ...]
    at: int
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A function of a field, such as COUNT(Id); COUNT() has none."""

    name: str
    argument: FieldPath | None
    at: int
    alias: str = ""


@dataclass(frozen=True, slots=True)
class AllFields:
    """FIELDS(ALL), FIELDS(STANDARD) or FIELDS(CUSTOM)."""

    which: str
    at: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A value: string, number, date, datetime, boolean, null, or the name of a range of days."""

    kind: str
    value: Any
    at: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field compared with a value, with several, or with what a query finds."""

    left: "FieldPath | Call"
    sign: str
    right: "Literal | tuple[Literal, ...] | Query"


@dataclass(frozen=True, slots=True)
class Logic:
    """AND, OR or NOT of conditions."""

    word: str
    parts: "tuple[Condition, ...]"


Condition = Comparison | Logic


@dataclass(frozen=True, slots=True)
class Sort:
    """One key of ORDER BY."""

    by: FieldPath | Call
    descending: bool
    nulls_last: bool


@dataclass(slots=True)
class Query:
    """A query."""

    text: str
    select: "list[FieldPath | Call | AllFields | Query]" = field(default_factory=list)
    source: str = ""
    source_at: int = 0
    alias: str = ""
    where: Condition | None = None
    group_by: list[FieldPath | Call] = field(default_factory=list)
    having: Condition | None = None
    order_by: list[Sort] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0
    all_rows: bool = False


def malformed(text: str, at: int, message: str) -> ApiError:
    """An error that shows the place."""
    return ApiError("MALFORMED_QUERY", placed(text, at, message))


def placed(text: str, at: int, message: str) -> str:
    """A message with the query, an arrow, row and column before it."""
    row = text.count("\n", 0, at) + 1
    line_begin = text.rfind("\n", 0, at) + 1
    line = text[line_begin:].split("\n", 1)[0]
    column = at - line_begin
    shown = line[max(0, column - 40) : column + 40]
    return f"\n{shown}\n{' ' * min(column, 40)}^\nERROR at Row:{row}:Column:{column + 1}\n{message}"


def parse_query(text: str) -> Query:
    """The query that a text says; raises MALFORMED_QUERY."""
    return _Parser(text).whole()


def _tokens(text: str) -> list[Token]:
    found, at = [], 0
    while match := _TOKEN.match(text, at):
        kind = match.lastgroup or ""
        found.append(Token(kind, match.group(kind), match.start(kind)))
        at = match.end()
    if text[at:].strip():
        rest = at + len(text[at:]) - len(text[at:].lstrip())
        raise malformed(text, rest, f"unexpected token: '{text[rest]}'")
    return [*found, Token("end", "<EOF>", len(text))]


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._tokens, self._next, self._depth = text, _tokens(text), 0, 0

    def whole(self) -> Query:
        query = self._query()
        if self._here.kind != "end":
            raise self._unexpected()
        return query

    @property
    def _here(self) -> Token:
        return self._tokens[self._next]

    def _is(self, *words: str) -> bool:
        return all(token.text.upper() == word for token, word in zip(self._tokens[self._next :], words, strict=False))

    def _take(self, *words: str) -> bool:
        found = self._is(*words)
        self._next += len(words) if found else 0
        return found

    def _expect(self, *words: str) -> None:
        for word in words:
            if not self._take(word):
                raise malformed(self._text, self._here.at, f"expecting '{word}', found '{self._here.text}'")

    def _pop(self, *kinds: str) -> Token:
        if self._here.kind not in kinds:
            raise self._unexpected()
        self._next += 1
        return self._tokens[self._next - 1]

    def _unexpected(self) -> ApiError:
        return malformed(self._text, self._here.at, f"unexpected token: '{self._here.text}'")

    def _query(self) -> Query:
        self._expect("SELECT")
        query = Query(self._text)
        query.select.append(self._item())
        while self._take(","):
            query.select.append(self._item())
        self._expect("FROM")
        source = self._pop("name")
        query.source, query.source_at = source.text, source.at
        if self._here.kind == "name" and self._here.text.upper() not in _AFTER_FROM:
            query.alias = self._pop("name").text
        self._clauses(query)
        return query

    def _clauses(self, query: Query) -> None:
        if self._take("USING"):
            self._expect("SCOPE")
            self._pop("name")
        if self._take("WHERE"):
            query.where = self._condition()
        if self._take("WITH"):
            self._pop("name")
        if self._take("GROUP", "BY"):
            query.group_by.append(self._operand())
            while self._take(","):
                query.group_by.append(self._operand())
        if self._take("HAVING"):
            query.having = self._condition()
        if self._take("ORDER", "BY"):
            query.order_by.append(self._sort())
            while self._take(","):
                query.order_by.append(self._sort())
        self._bounds(query)

    def _bounds(self, query: Query) -> None:
        if self._take("LIMIT"):
            query.limit = int(float(self._pop("number").text))
        if self._take("OFFSET"):
            at = self._here.at
            query.offset = int(float(self._pop("number").text))
            if query.offset > 2000:
                raise ApiError("NUMBER_OUTSIDE_VALID_RANGE", placed(self._text, at, "Maximum SOQL offset allowed is 2000"))
        if self._take("FOR"):
            self._pop("name")
        query.all_rows = self._take("ALL", "ROWS")

    def _item(self) -> "FieldPath | Call | AllFields | Query":
        if self._take("("):
            query = self._query()
            self._expect(")")
            return query
        at = self._here.at
        if self._take("FIELDS", "("):
            which = self._pop("name").text.upper()
            self._expect(")")
            return AllFields(which, at)
        operand = self._operand()
        if self._here.kind == "name" and not self._is("FROM"):
            alias = self._pop("name").text
            kind = type(operand)
            return kind(**{name: getattr(operand, name) for name in operand.__slots__ if name != "alias"}, alias=alias)
        return operand

    def _operand(self) -> FieldPath | Call:
        name = self._pop("name")
        if not self._take("("):
            return FieldPath(tuple(name.text.split(".")), name.at)
        if self._take(")"):
            return Call(name.text.upper(), None, name.at)
        argument = self._operand()
        self._expect(")")
        if isinstance(argument, Call):
            # Only convertTimezone() and toLabel() are nested; both leave the value as it is here.
            return Call(name.text.upper(), argument.argument, name.at)
        return Call(name.text.upper(), argument, name.at)

    def _sort(self) -> Sort:
        by = self._operand()
        descending = self._take("DESC") or (self._take("ASC") and False)
        nulls_last = False
        if self._take("NULLS"):
            nulls_last = self._take("LAST")
            if not nulls_last:
                self._expect("FIRST")
        return Sort(by, descending, nulls_last)

    def _condition(self) -> Condition:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise malformed(self._text, self._here.at, "the condition is nested too deeply")
        parts = [self._negation()]
        word = "AND" if self._is("AND") else "OR"
        while self._take(word):
            parts.append(self._negation())
        if self._is("AND") or self._is("OR"):
            # AND and OR side by side need parentheses.
            raise self._unexpected()
        self._depth -= 1
        return parts[0] if len(parts) == 1 else Logic(word, tuple(parts))

    def _negation(self) -> Condition:
        if self._take("NOT"):
            return Logic("NOT", (self._negation(),))
        if self._take("("):
            inner = self._condition()
            self._expect(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Comparison:
        left = self._operand()
        sign = "NOT IN" if self._take("NOT", "IN") else self._pop("sign", "name").text.upper()
        sign = "!=" if sign == "<>" else sign
        if sign in ("IN", "NOT IN", "INCLUDES", "EXCLUDES"):
            return Comparison(left, sign, self._several())
        if sign not in ("=", "!=", "<", "<=", ">", ">=", "LIKE"):
            self._next -= 1
            raise self._unexpected()
        return Comparison(left, sign, self._literal())

    def _several(self) -> "tuple[Literal, ...] | Query":
        self._expect("(")
        if self._is("SELECT"):
            query = self._query()
            self._expect(")")
            return query
        values = [self._literal()]
        while self._take(","):
            values.append(self._literal())
        self._expect(")")
        return tuple(values)

    def _literal(self) -> Literal:
        token = self._pop("string", "number", "date", "datetime", "name")
        if token.kind == "string":
            value = re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), token.text[1:-1])
            return Literal("string", value, token.at)
        if token.kind == "number":
            return Literal("number", float(token.text), token.at)
        if token.kind == "name":
            return self._word(token)
        return Literal(token.kind, token.text, token.at)

    def _word(self, token: Token) -> Literal:
        word = token.text.upper()
        if word == "NULL":
            return Literal("null", None, token.at)
        if word in ("TRUE", "FALSE"):
            return Literal("boolean", word == "TRUE", token.at)
        return Literal("days", word, token.at)

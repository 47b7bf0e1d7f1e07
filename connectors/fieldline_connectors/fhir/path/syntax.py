"""From the text of a FHIRPath expression to its tree."""

import re
from functools import cache
from importlib.resources import files
from typing import Any

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from fieldline_connectors.fhir.path.tree import (
    Call,
    Constant,
    Index,
    Literal,
    Member,
    Node,
    Operation,
    PathError,
    This,
)  # fmt: skip
from fieldline_connectors.fhir.path.values import Temporal, Written

MAX_LENGTH = 4000
"""Characters of one expression."""
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)


def parse(text: str) -> Node:
    """The expression's tree; raises PathError with the place."""
    if len(text) > MAX_LENGTH:
        raise PathError(f"the expression has {len(text)} characters; at most {MAX_LENGTH} are read")
    try:
        tree: Node = _parser().parse(text)  # type: ignore[assignment]
    except UnexpectedInput as error:
        raise PathError(f"{shown(text)} is no FHIRPath expression: {_complaint(text, error)}") from None
    except VisitError as error:
        if isinstance(error.orig_exc, PathError):
            raise error.orig_exc from None
        raise
    return tree


def shown(text: str) -> str:
    """An expression as errors quote it."""
    return f"`{text if len(text) <= 80 else text[:80] + '…'}`"


def _complaint(text: str, error: UnexpectedInput) -> str:
    place = error.pos_in_stream or 0
    at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    if not text.strip():
        return "it is empty"
    if at_end or not isinstance(error, UnexpectedCharacters | UnexpectedToken):
        return "it ends too early"
    return f"{text[place : place + 10]!r} is not expected at character {place + 1}"


@v_args(inline=True)
class _Builder(Transformer[Token, Any]):
    def start(self, node: Node) -> Node:
        return node

    def this(self) -> Node:
        return This()

    def name(self, token: Token) -> str:
        return _unescaped(token[1:-1]) if token[:1] in "`'" else str(token)

    def member(self, *parts: Any) -> Node:
        base, name = parts if len(parts) == 2 else (This(), parts[0])
        return Member(base, name)

    def call(self, *parts: Any) -> Node:
        base, name, args = parts if len(parts) == 3 else (This(), *parts)
        return Call(base, name, args)

    def args(self, *args: Node | None) -> tuple[Node, ...]:
        return tuple(arg for arg in args if arg is not None)

    def specifier(self, *names: str) -> Node:
        return Member(This(), names[0]) if len(names) == 1 else Member(Member(This(), names[0]), names[1])

    def index(self, base: Node, position: Node) -> Node:
        return Index(base, position)

    def constant(self, name: str) -> Node:
        return Constant(name)

    def text(self, token: Token) -> Node:
        return Literal((_unescaped(token[1:-1]),))

    def integer(self, token: Token) -> Node:
        return Literal((int(token),))

    def decimal(self, token: Token) -> Node:
        return Literal((Written(token),))

    def truth(self, token: Token) -> Node:
        return Literal((str(token).startswith("t"),))

    def moment(self, token: Token) -> Node:
        try:
            return Literal((Temporal.literal(token[1:]),))
        except ValueError:
            raise PathError(f"{token} is no date or time: write @2020-01-31, @2020-01-31T12:00:00Z or @T12:00") from None

    def nothing(self) -> Node:
        return Literal(())

    def operation(self, left: Node, operator: Token, right: Node) -> Node:
        return Operation(str(operator), left, right)

    def typed(self, base: Node, operator: Token, type: Node) -> Node:
        return Call(base, str(operator), (type,))

    def negative(self, sign: Token, operand: Node) -> Node:
        return Operation("-", Literal((0,)), operand)

    def positive(self, sign: Token, operand: Node) -> Node:
        return Operation("+", Literal((0,)), operand)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_character, text)


def _character(found: re.Match[str]) -> str:
    letter = found[1]
    return chr(int(letter[1:], 16)) if len(letter) == 5 else _ESCAPES.get(letter, letter)


@cache
def _parser() -> Lark:
    grammar = files("fieldline_connectors.fhir.path").joinpath("fhirpath.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", transformer=_Builder())

"""From a formula's text to its tree, with errors in the words of the person who wrote it."""

import re
from dataclasses import replace
from functools import cache
from importlib.resources import files
from math import isinf
from typing import Any

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from fieldline_mappings.formula.habits import BETWEEN_VALUES, SIGNS
from fieldline_mappings.formula.tree import Call, FormulaError, Literal, Name, Node
from fieldline_mappings.formula.types import Type

MAX_LENGTH = 4000
"""Characters of one formula; Salesforce allows 3,900."""
MAX_DEPTH = 60
"""Calls inside calls."""
MAX_SIZE = 1200
"""Parts of one formula: a value counts one, a function or an operator two."""

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\"}
WORDS: dict[str, tuple[bool | None, Type]] = {
    "true": (True, Type.BOOLEAN), "false": (False, Type.BOOLEAN), "null": (None, Type.NULL),
}  # fmt: skip
"""Values that are written as words, in any case."""
_ALONE = re.compile("[\ud800-\udfff]")
"""Halves of characters (surrogates), which no column holds."""
_SAME = {"==": "=", "!=": "<>", "&&": "AND", "||": "OR"}


def parse(text: str) -> Node:
    """The formula's tree; raises FormulaError with the place and what to do."""
    if len(text) > MAX_LENGTH:
        message = f"the formula has {len(text)} characters; at most {MAX_LENGTH} are read."
        raise FormulaError("formula-too-long", message, "Split it over several features.")
    if _ALONE.search(text):
        raise FormulaError("formula-syntax", "the formula has half of a character.", "Write it anew; it is no Unicode text.")
    if not text.strip():
        raise FormulaError("formula-syntax", "the formula is empty.", "Write a field's name, or an expression over fields.")
    try:
        tree: Node = _parser().parse(text)  # type: ignore[assignment]
    except UnexpectedInput as error:
        raise _unreadable(text, error) from None
    except VisitError as error:
        if isinstance(error.orig_exc, FormulaError):
            raise error.orig_exc from None
        raise
    return tree


@v_args(inline=True)
class _Builder(Transformer[Token, Any]):
    def start(self, node: Node) -> Node:
        return node

    def number(self, token: Token) -> Literal:
        start, end = _span(token)
        if isinf(number := float(token)):
            raise FormulaError("formula-syntax", "the number is too large.", "Numbers go up to 1.79e308.", start, end)
        return Literal(number, Type.NUMBER, start, end)

    def text(self, token: Token) -> Literal:
        start, end = _span(token)
        return Literal(re.sub(r"\\(.)", lambda found: _unescaped(found, start), token[1:-1], flags=re.S), Type.TEXT, start, end)

    def name(self, token: Token) -> Node:
        word = WORDS.get(token.lower())
        return Name(str(token), *_span(token)) if word is None else Literal(*word, *_span(token))

    def quoted(self, token: Token) -> Name:
        return Name(token[1:-1], *_span(token))

    def group(self, opened: Token, node: Node, closed: Token) -> Node:
        return replace(node, start=_span(opened)[0], end=_span(closed)[1])

    def call(self, token: Token, opened: Token, *rest: Any) -> Node:
        *args, closed = rest
        start, end = _span(token)[0], _span(closed)[1]
        if not args and token.lower() in WORDS:
            return Literal(*WORDS[token.lower()], start, end)
        return _call(token.upper(), tuple(args), start, end)

    def prefix(self, token: Token, operand: Node) -> Node:
        start, _ = _span(token)
        if token == "&":
            message = "a text is missing before '&'."
            raise FormulaError("formula-syntax", message, "Write a text or a field there.", start, start + 1)
        if isinstance(operand, Literal) and operand.type is Type.NUMBER and isinstance(operand.value, float):
            return Literal(-operand.value if token == "-" else operand.value, Type.NUMBER, start, operand.end)
        return operand if token == "+" else _call("NEGATE", (operand,), start, operand.end)

    def negation(self, token: Token, operand: Node) -> Node:
        return _call("NOT", (operand,), _span(token)[0], operand.end)

    def _chain(self, first: Node, *rest: Any) -> Node:
        node = first
        for operator, operand in zip(rest[::2], rest[1::2], strict=True):
            # A chain is as deep as its deepest link: `a & b & c` may go on for long.
            depth = max(_depth(node) - isinstance(node, Call) if node is not first else _depth(node), _depth(operand)) + 1
            size = 2 + _size(node) + _size(operand)
            node = _checked(Call(_SAME.get(operator, str(operator)), (node, operand), first.start, operand.end, depth, size))
        return node

    disjunction = conjunction = equality = relation = sum = power = product = _chain


def _span(token: Token) -> tuple[int, int]:
    return token.start_pos or 0, token.end_pos or 0


def _depth(node: Node) -> int:
    return node.depth if isinstance(node, Call) else 0


def _size(node: Node) -> int:
    return node.size if isinstance(node, Call) else 1


def _call(name: str, args: tuple[Node, ...], start: int, end: int) -> Call:
    return _checked(Call(name, args, start, end, 1 + max(map(_depth, args), default=0), 2 + sum(map(_size, args))))


def _checked(node: Call) -> Call:
    if node.depth > MAX_DEPTH:
        message = f"calls are nested more than {MAX_DEPTH} deep here."
        raise FormulaError("formula-too-deep", message, "Make a feature of the inner part, and use its name.", node.start, node.end)
    if node.size > MAX_SIZE:
        message = f"more than {MAX_SIZE // 3} functions and operators, or {MAX_SIZE} values, stand here."
        raise FormulaError("formula-too-long", message, "Split it over several features.", node.start, node.end)
    return node


def _unescaped(found: "re.Match[str]", start: int) -> str:
    if found[1] not in _ESCAPES:
        at = start + 1 + found.start()
        message = f"a text does not know \\{found[1]}."
        raise FormulaError("formula-syntax", message, r"Write \\ for one backslash.", at, at + 2)
    return _ESCAPES[found[1]]


@cache
def _parser() -> Lark:
    grammar = files("fieldline_mappings.formula").joinpath("grammar.lark").read_text()
    return Lark(grammar, parser="lalr", lexer="contextual", transformer=_Builder(), maybe_placeholders=False)


def _unreadable(text: str, error: UnexpectedInput) -> FormulaError:
    at = min(error.pos_in_stream if error.pos_in_stream is not None else len(text), len(text))
    if isinstance(error, UnexpectedCharacters):
        return _strange(text, at)
    token = error.token if isinstance(error, UnexpectedToken) else None
    expected = set(getattr(error, "expected", ()))
    if token is None or token.type == "$END":
        return _unfinished(text, expected)
    at, end = _span(token)
    if sign := _foreign_sign(text, end):
        return FormulaError("formula-syntax", f"{sign!r} is no operator.", f"Write {SIGNS[sign]}.", end - len(sign), end)
    if token == ")":
        message, suggestion = "this ')' closes nothing.", "Remove it, or add the '(' that it closes."
        if expected & {"NUMBER", "NAME"}:
            message, suggestion = "a value is missing before ')'.", "Write a field, a number, a text or a function there."
    elif expected & {"NUMBER", "NAME"}:
        message, suggestion = f"a value is missing before {str(token)!r}.", "Write a field, a number, a text or a function there."
    elif token == "," and (decimal := re.search(r"\d+$", text[:at])) and text[end : end + 1].isdecimal():
        message = f"{decimal[0]!r} and {text[end]!r} are parted by a ','."
        suggestion = f"Decimals have a point: {decimal[0]}.{text[end]}."
    elif token == ",":
        message = "this ',' is outside of a function's brackets."
        suggestion = "Arguments stand in the function's brackets: IF(a, b, c)."
    else:
        message = f"{_before(text, at)} and {str(token)!r} stand side by side."
        suggestion = BETWEEN_VALUES.get(token.upper(), "Write an operator (+ - * / & = < > && ||) or a comma between them.")
    return FormulaError("formula-syntax", message, suggestion, at, end)


def _foreign_sign(text: str, end: int) -> str:
    signs = re.search(r"[=<>!*&]+$", text[:end])
    return signs[0] if signs and signs[0] in SIGNS else ""


def _unfinished(text: str, expected: set[str]) -> FormulaError:
    opened = _open_brackets(text)
    if expected & {"NUMBER", "NAME"}:
        message = f"the formula ends after {_before(text, len(text))}, where a value is missing."
        return FormulaError("formula-syntax", message, "Write a field, a number, a text or a function there.", len(text), len(text))
    at = opened[-1] if opened else len(text)
    message = f"the '(' at character {at + 1} is never closed."
    return FormulaError("formula-syntax", message, f"Add {')' * max(1, len(opened))} where its arguments end.", at, at + 1)


def _strange(text: str, at: int) -> FormulaError:
    found = text[at]
    if found in "\"'":
        message = f"the text that begins with {found} at character {at + 1} is never closed on its line."
        return FormulaError("formula-syntax", message, f"End it with {found}.", at, len(text))
    hints = {
        **dict.fromkeys("“”„", 'Use straight quotes: ".'), **dict.fromkeys("‘’‚", "Use straight quotes: '."),  # noqa: RUF001
        ";": "Separate arguments with commas.", "%": f"Write {_percent(text[:at])}, and MOD(a, b) for a remainder.",
        "|": "'Or' is written || or OR(a, b).", "[": "Groups stand in round brackets.",
        "{": "Write the field's name without braces.",
        "`": "End the name with `.", "/": "A comment ends with */.",
        "$": "A '$' begins a global, such as $System.OriginDateTime.",
    }  # fmt: skip
    if text.startswith("/*", at):
        message = f"the comment at character {at + 1} is never closed."
        return FormulaError("formula-syntax", message, "End it with */.", at, len(text))
    return FormulaError("formula-syntax", f"{found!r} means nothing here.", hints.get(found, "Remove it."), at, at + 1)


def _percent(before: str) -> str:
    number = re.search(r"(\d+(\.\d+)?)\s*$", before)
    return f"{float(number[1]) / 100:.15g} for {number[1]} %" if number else "0.05 for 5 %"


def _open_brackets(text: str) -> list[int]:
    """Where brackets are opened that nothing closes, leaving texts and comments aside."""
    opened: list[int] = []
    for found in re.finditer(r"/\*.*?\*/|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`[^`]*`|[()]", text, re.S):
        if found[0] == "(":
            opened.append(found.start())
        elif found[0] == ")" and opened:
            opened.pop()
    return opened


def _before(text: str, at: int) -> str:
    last = re.search(r"(\"[^\"]*\"|'[^']*'|[\w.$]+|\W+?)\s*$", text[:at])
    return repr(last[1].strip()[-30:]) if last else "its beginning"

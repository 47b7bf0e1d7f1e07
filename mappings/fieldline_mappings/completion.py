"""What can be written in a formula, for editors: every function, operator and word of the language, and the names of a mapping.

All of it follows from what declares the functions, and from the mapping itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, product
from typing import Any, Literal

from fieldline_core.errors import Misconfigured
from fieldline_core.findings import did_you_mean
from fieldline_core.signature import Signature
from fieldline_mappings.checked import check
from fieldline_mappings.document import MappingDocument
from fieldline_mappings.formula import FUNCTIONS, FormulaError, Function, Scope, Type
from fieldline_mappings.formula.functions import AGGREGATES, CONSTANTS, Aggregate
from fieldline_mappings.formula.functions.rows import EXAMPLE
from fieldline_mappings.formula.habits import INSTEAD
from fieldline_mappings.formula.library import ANY
from fieldline_mappings.formula.syntax import WORDS, parse
from fieldline_mappings.formula.tree import Call, Name
from fieldline_mappings.reference import GROUPS, PRECEDENCE, type_words

NameKind = Literal["field", "list", "child field", "feature", "table", "output"]
_BEFORE_ONE = ("-", "!", "NOT ")
_IN_QUOTES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r"})


@dataclass(frozen=True, slots=True)
class FormulaParameter:
    """An argument of a function; those next to each other that are repeated are repeated together."""

    name: str
    types: tuple[Type, ...]
    optional: bool
    repeated: bool
    constant: bool
    """Whether it is written as a constant."""

    def __str__(self) -> str:
        text = f"{self.name}{'…' if self.repeated else ''}: {type_words(self.types)}"
        return f"[{text}]" if self.optional else text


@dataclass(frozen=True, slots=True)
class FormulaFunction:
    """A function as an editor shows it; one that also goes over child rows stands there twice."""

    name: str
    group: str
    usage: str
    """How it is written: `ROUND(number, [places])`."""
    signature: str
    """The same with types: `ROUND(number: number, [places: number]) → number`."""
    parameters: tuple[FormulaParameter, ...]
    results: tuple[Type, ...]
    """The types that it can give; which of them follows from its arguments."""
    about: str
    example: str
    answer: str
    """What the example gives, as text."""
    record: Mapping[str, Any]
    """The record that the example is answered for; empty where it needs none."""


@dataclass(frozen=True, slots=True)
class FormulaOperator:
    """An operator; one with a greater `binds` binds tighter."""

    sign: str
    usage: str
    binds: int
    about: str
    example: str
    answer: str


@dataclass(frozen=True, slots=True)
class FormulaWord:
    """A word that is a value: TRUE, FALSE, NULL, and constants of Salesforce."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class FormulaName:
    """Something of a mapping, or of its model, that formulas can name."""

    kind: NameKind
    name: str
    written: str
    """How a formula writes it: in backticks where it has spaces or signs, a table in quotes."""
    type: Type
    """Its type; of a table, that of its values."""
    key_type: Type | None = None
    """The type of a table's keys."""
    position: int | None = None
    """Which feature it is: those below it can name it, and all fields."""


@dataclass(frozen=True, slots=True)
class Completion:
    """All that can be written in a mapping's formulas; an output is known in `fields` and `reason` only."""

    functions: tuple[FormulaFunction, ...]
    operators: tuple[FormulaOperator, ...]
    words: tuple[FormulaWord, ...]
    names: tuple[FormulaName, ...]


def completion(document: MappingDocument | None = None, signature: Signature | None = None) -> Completion:
    """What an editor offers: the language, with the names of a mapping, and with the outputs of its model, where they are given."""
    return Completion(functions(), operators(), words(), tuple(_names(document, signature)) if document else ())


@cache
def functions() -> tuple[FormulaFunction, ...]:
    """Every function, by groups; operators stand apart."""
    plain = [function for group in GROUPS for function in FUNCTIONS.values() if function.group == group]
    return (*map(_function, plain), *map(_aggregate, AGGREGATES.values()))


def functions_named(name: str) -> list[FormulaFunction]:
    """The function of that name, and its form over child rows; raises Misconfigured with what is meant where there is none."""
    wanted = name.upper()
    found = [function for function in functions() if function.name == wanted]
    if not found:
        meant = INSTEAD.get(wanted) or did_you_mean(wanted, [function.name for function in functions()])
        raise Misconfigured(f"there is no function {name!r}. {meant or 'The list without a name shows all.'}")
    return found


@cache
def operators() -> tuple[FormulaOperator, ...]:
    """Every operator, from those that bind loosest to those that bind tightest."""
    between = [(sign, f"a {sign} b", binds) for binds, signs in enumerate(PRECEDENCE) for sign in signs]
    before = [(sign.strip(), f"{sign}a", len(PRECEDENCE)) for sign in _BEFORE_ONE]
    return tuple(_operator(*each) for each in (*between, *before))


def words() -> tuple[FormulaWord, ...]:
    """The words that are values."""
    constants = (FormulaWord(slot.name, slot.type) for slot in CONSTANTS.values())
    return (*(FormulaWord(word.upper(), type) for word, (_, type) in WORDS.items()), *constants)


def _function(function: Function) -> FormulaFunction:
    # Only a layout says which arguments of a call are constants.
    shape, again = function.shape(function.least) if function.layout else function.params, _repeated(function)
    parameters = [
        FormulaParameter(param.name, _listed(param.types), param.optional, place in again, placed.literal)
        for place, (param, placed) in enumerate(zip(function.params, shape, strict=True))
    ]
    return _described(function, function.group, parameters, _results(function), {})


def _repeated(function: Function) -> Sequence[int]:
    """The places of the parameters that are repeated together."""
    if function.layout is None:
        return [place for place, param in enumerate(function.params) if param.repeated]
    least = list(function.shape(function.least))
    more = next(count for count in range(len(least) + 1, 2 * len(least) + 1) if function.takes(count))
    longer, added = list(function.shape(more)), more - len(least)
    # The last block that, written twice, makes the one call of the other.
    starts = [at for at in range(len(least)) if [*least[: at + added], *least[at:]] == longer]
    return range(starts[-1], starts[-1] + added)


def _results(function: Function) -> tuple[Type, ...]:
    if isinstance(function.returns, Type):
        return (function.returns,)
    if function.returns is None:
        return _listed(frozenset(chain.from_iterable(param.types for param in function.params if param.alike == "result")) or ANY)
    counts = range(function.least, len(function.params) + 1)
    calls = chain.from_iterable(product(*(_listed(param.types) for param in function.shape(count))) for count in counts)
    return _listed(frozenset(given for types in calls if isinstance(given := function.returns(types), Type)))


def _aggregate(aggregate: Aggregate) -> FormulaFunction:
    names = aggregate.usage[len(aggregate.name) + 1 : -1].split(", ")
    types = [*(aggregate.takes, aggregate.orders)[: aggregate.values], frozenset({Type.BOOLEAN})]
    parameters = [
        FormulaParameter(name.strip("[]"), _listed(taken), optional=place >= aggregate.values, repeated=False, constant=False)
        for place, (name, taken) in enumerate(zip(names, types, strict=True))
    ]
    results = (aggregate.returns,) if aggregate.returns else _listed(aggregate.takes)
    return _described(aggregate, "aggregates", parameters, results, EXAMPLE)


def _described(
    what: Function | Aggregate, group: str, parameters: Sequence[FormulaParameter], results: tuple[Type, ...],
    record: Mapping[str, Any],
) -> FormulaFunction:  # fmt: skip
    signature = f"{what.name}({', '.join(map(str, parameters))}) → {type_words(results)}"
    return FormulaFunction(
        what.name, group, what.usage, signature, tuple(parameters), results, what.about, what.example, what.gives, record
    )


def _listed(types: frozenset[Type]) -> tuple[Type, ...]:
    """Types in their own order; a blank is taken, and can be given, everywhere."""
    return tuple(type for type in Type if type in types and type is not Type.NULL)


def _operator(sign: str, usage: str, binds: int) -> FormulaOperator:
    call = parse(usage)
    assert isinstance(call, Call)
    function = FUNCTIONS[call.name]
    return FormulaOperator(sign, usage, binds, function.about, function.example, function.gives)


def _names(document: MappingDocument, signature: Signature | None) -> Iterator[FormulaName]:
    record = Scope.of(document.record_types)
    for slot in record.slots.values():
        yield from _name("field", slot.name, slot.type)
    for rows in record.lists.values():
        yield from _name("list", rows.name, Type.ROWS)
        for slot in rows.slots.values():
            yield from _name("child field", f"{rows.name}.{slot.name}", slot.type)
    checked = check(document, signature)
    for position, (feature, root) in enumerate(zip(document.features, checked.features, strict=True)):
        # A field of the same name is meant, and a feature with an error is not known.
        if root >= 0 and feature.name.lower() not in record.slots:
            yield from _name("feature", feature.name, checked.type_of(root), position)
    for table in checked.tables.values():
        quoted = f'"{table.name.translate(_IN_QUOTES)}"'
        yield FormulaName("table", table.name, quoted, table.value_type, table.key_type)
    for tensor in signature.outputs if signature else ():
        for name in tensor.columns() or (tensor.name,):
            yield from _name("output", name, checked.checker.scope.slots[name.lower()].type)


def _name(kind: NameKind, name: str, type: Type, position: int | None = None) -> Iterator[FormulaName]:
    """The name as formulas write it; nothing where none can."""
    written = next((text for text in (name, f"`{name}`") if _is_name(text, name)), None)
    if written is not None and not name.startswith("$"):
        yield FormulaName(kind, name, written, type, position=position)


def _is_name(text: str, name: str) -> bool:
    try:
        found = parse(text)
    except FormulaError:
        return False
    return isinstance(found, Name) and found.text == name


__all__ = [
    "Completion", "FormulaFunction", "FormulaName", "FormulaOperator", "FormulaParameter", "FormulaWord", "completion", "functions",
    "functions_named", "operators", "words",
]  # fmt: skip

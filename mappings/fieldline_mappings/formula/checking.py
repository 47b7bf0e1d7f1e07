"""Types of a formula's parts: each name is found, each call fits its function, and what does not is said in words."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fieldline_core.findings import did_you_mean
from fieldline_mappings.formula.functions import AGGREGATES, CONSTANTS, Aggregate
from fieldline_mappings.formula.habits import INSTEAD
from fieldline_mappings.formula.library import ANY, FUNCTIONS, OPERATORS, Function, Param
from fieldline_mappings.formula.scope import Scope, Slot
from fieldline_mappings.formula.syntax import parse
from fieldline_mappings.formula.tree import Call, FormulaError, Literal, Name, Node
from fieldline_mappings.formula.types import Type
from fieldline_mappings.units import codes

MAX_PARTS = 20_000
"""Parts of all formulas of one mapping that differ from each other; each has up to three reasons, whose codes have 16 bits."""
_WORDS = 200
"""Characters of a part that are quoted, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One part of a formula; `args` are positions of other parts, which come before it.

    `rows` names the list over whose rows it is computed, or is empty where it is computed over records.
    """

    what: Literal | Slot | Function | Aggregate
    type: Type
    args: tuple[int, ...]
    expects: tuple[Type, ...]
    """The type that each argument is taken as: differs from its own for NULL only."""
    rows: str
    text: str
    list: str = ""
    """The list that an aggregate goes over."""


@dataclass(slots=True)
class Checker:
    """Checks formulas one after another; a part that two of them have in common is kept once."""

    scope: Scope
    tables: "dict[str, tuple[Type, Type]]" = field(default_factory=dict)
    """Lookup tables: the types of their keys and of their values."""
    elsewhere: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Names that there are, but not here: why not, and what to do."""
    hint: str = "List it under `record` with its type"
    """What to do about a name that is near to none."""
    parts: list[Part] = field(default_factory=list)
    uses_clock: bool = False
    _known: dict[Any, int] = field(default_factory=dict)

    def check(self, text: str) -> int:
        """The position of the formula's last part; raises FormulaError."""
        return _Formula(self, text).place(parse(text), None)

    def keep_slot(self, slot: Slot) -> int:
        """The position of a record's field by itself, whatever signs its name has."""
        return self.keep((slot, ""), Part(slot, slot.type, (), (), "", slot.name))

    def keep(self, key: Any, part: Part) -> int:
        """The position of this part, which is added where it is not there yet."""
        if key not in self._known:
            self._known[key] = len(self.parts)
            self.parts.append(part)
        return self._known[key]


_CHAINED = OPERATORS | {"AND", "OR"}


@dataclass(slots=True)
class _Formula:
    checker: Checker
    text: str

    def place(self, node: Node, rows: Scope | None) -> int:
        """The position of the node's part, over the rows of a list or (None) over records."""
        if isinstance(node, Call):
            return self._call(node, rows)
        return self._literal(node) if isinstance(node, Literal) else self._name(node, rows)

    def _literal(self, node: Literal) -> int:
        return self.checker.keep((node.type, node.value), Part(node, node.type, (), (), "", self._words(node)))

    def _name(self, node: Name, rows: Scope | None) -> int:
        slot, where = self._slot(node, rows)
        return self.checker.keep((slot, where), Part(slot, slot.type, (), (), where, node.text))

    def _slot(self, node: Name, rows: Scope | None) -> tuple[Slot, str]:
        lower, scope = node.text.lower(), self.checker.scope
        if lower in CONSTANTS:
            return CONSTANTS[lower], ""
        if lower.startswith("$"):
            message = f"{node.text} is a global of Salesforce, which is not known outside of it."
            raise self._error("global", message, f"Only {', '.join(each.name for each in CONSTANTS.values())} can be used.", node)
        if rows and (slot := rows.slots.get(lower.removeprefix(f"{rows.name.lower()}."))):
            return slot, rows.name
        if slot := scope.slots.get(lower):
            return slot, ""
        if found := scope.list_of(node.text):
            raise self._list_alone(node, *found)
        raise self._unknown_field(node, rows)

    def _unknown_field(self, node: Name, rows: Scope | None) -> FormulaError:
        lower, names = node.text.lower(), self.checker.scope.names()
        known = [*(slot.name for slot in rows.slots.values()), *names] if rows else names
        message, suggestion = f"there is no field {node.text!r}.", did_you_mean(node.text, known)
        if lower in self.checker.elsewhere:
            message, suggestion = self.checker.elsewhere[lower]
        elif node.text.upper() in FUNCTIONS:
            message, suggestion = f"{node.text} is a function.", f"Write {FUNCTIONS[node.text.upper()].usage}."
        elif not suggestion:
            suggestion = f'{self.checker.hint}; write a text in quotes: "{node.text}".'
        return self._error("unknown-field", message, suggestion, node)

    def _list_alone(self, node: Name, rows: Scope, rest: str) -> FormulaError:
        if rest and rest.lower() not in rows.slots:
            return self._no_such_child(node, rows, rest)
        message = f"{node.text} has a value for each row of a list, and one value is needed here."
        first = rows.slots.get(rest.lower(), next(iter(rows.slots.values())))
        path = f"{rows.name}.{first.name}"
        order = next((slot.name for slot in rows.slots.values() if slot.type in (Type.DATE, Type.DATETIME)), "…")
        latest = f"LATEST({path}, {rows.name}.{order})"
        suggestion = f"SUM({path}), MAX({path}) or {latest}" if first.type is Type.NUMBER else f"COUNT({rows.name}) or {latest}"
        return self._error("list", message, f"Say which: {suggestion}.", node)

    def _no_such_child(self, node: Name, rows: Scope, rest: str) -> FormulaError:
        known = [slot.name for slot in rows.slots.values()]
        return self._error("unknown-field", f"the rows of {rows.name} have no field {rest!r}.", _near(rest, known), node)

    def _call(self, node: Call, rows: Scope | None) -> int:
        # Operators chain to the left for long: their left sides are walked in a loop, not by calls.
        chain = [node]
        while chain[-1].name in _CHAINED and chain[-1].args and isinstance(first := chain[-1].args[0], Call):
            chain.append(first)
        position = -1
        for number, call in enumerate(reversed(chain)):
            position = self._one_call(call, rows, None if number == 0 else position)
        return position

    def _one_call(self, node: Call, rows: Scope | None, first: int | None) -> int:
        # In a row, MAX of several values is one of that row.
        of_row = rows is not None and node.name in FUNCTIONS and len(node.args) > 1
        if node.name in AGGREGATES and node.args and not of_row and (found := self._list_in(node.args[0])):
            return self._aggregate(node, AGGREGATES[node.name], found, rows)
        function = FUNCTIONS.get(node.name)
        if function is None:
            raise self._unknown_function(node)
        if not function.takes(len(node.args)):
            raise self._arity(node, function)
        rest = node.args if first is None else node.args[1:]
        args = [*([] if first is None else [first]), *(self.place(arg, rows) for arg in rest)]
        expects = self._fit(node, function, args)
        type = self._result(node, function, args, expects)
        self.checker.uses_clock |= function.name in ("TODAY", "NOW", "TIMENOW", "DAYS_SINCE")
        if function.name == "LOOKUP":
            type, expects = self._table(node, args)
        if function.name == "CONVERT":
            self._known_unit(node.args[2])
        over = next((part.rows for part in (self.checker.parts[arg] for arg in args) if part.rows), "")
        part = Part(function, type, tuple(args), tuple(expects), over, self._words(node))
        return self._bounded(node, self.checker.keep((function.name, *args), part))

    def _list_in(self, node: Node) -> tuple[Scope, str] | None:
        """The list that a value belongs to: `Opportunities` for `Opportunities.Amount * 2`; None where it names no child rows."""
        left = [node]
        while left:
            match left.pop():
                case Name(text=text) if found := self.checker.scope.list_of(text):
                    return found
                # What stands inside of another aggregate is a value of the record already.
                case Call(name=name, args=args) if name not in AGGREGATES:
                    left += reversed(args)
        return None

    def _bounded(self, node: Call, position: int) -> int:
        if position >= MAX_PARTS:
            raise self._error("formula-too-long", "the mapping's formulas have too many parts.", "Split the mapping.", node)
        return position

    def _unknown_function(self, node: Call) -> FormulaError:
        if node.name in AGGREGATES:
            return self._no_list(node, AGGREGATES[node.name])
        name = self.text[node.start : node.start + len(node.name)]
        suggestion = INSTEAD.get(node.name) or did_you_mean(node.name, [*FUNCTIONS, *AGGREGATES])
        suggestion = suggestion or "The reference of formulas lists all functions."
        return self._error("unknown-function", f"there is no function {name}.", suggestion, node)

    def _no_list(self, node: Call, aggregate: Aggregate) -> FormulaError:
        usage, first = f"It is written {aggregate.usage}.", node.args[0] if node.args else node
        words, lists = _short(self._words(first)), [rows.name for rows in self.checker.scope.lists.values()]
        if isinstance(first, Name) and first.text.lower() not in self.checker.scope.slots:
            near = did_you_mean(first.text.partition(".")[0], lists)
            return self._error("unknown-field", f"there is no list of rows {words!r}.", near or usage, first)
        if not node.args:
            return self._error("wrong-arguments", f"{node.name} takes a list of rows.", usage, node)
        usage = f"Add single values with +. {usage}" if node.name == "SUM" else usage
        return self._error("list", f"{node.name} goes over a list of rows, and {words} is one value.", usage, first)

    def _arity(self, node: Call, function: Function) -> FormulaError:
        given, least, most = len(node.args), function.least, function.most
        wanted = f"{least or 'no'}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"
        if function.counts and given >= least:
            wanted = "pairs of arguments and one more" if function.name == "CASE" else wanted
        message = f"{node.name} takes {wanted} argument{'' if wanted == '1' else 's'}, and {_given(given)}."
        return self._error("wrong-arguments", message, f"It is written {function.usage}.", node)

    def _fit(self, node: Call, function: Function, args: Sequence[int]) -> list[Type]:
        """The type that each argument is taken as; raises FormulaError where one does not fit."""
        shape = function.shape(len(args))
        types = [self.checker.parts[arg].type for arg in args]
        alike: dict[str, int] = {}
        for position, (param, type) in enumerate(zip(shape, types, strict=True)):
            if param.literal and not isinstance(node.args[position], Literal):
                message = f"the argument {param.name!r} of {node.name} is written as a constant."
                raise self._error("wrong-type", message, f"It is written {function.usage}.", node.args[position])
            if type is Type.NULL:
                continue
            if type not in param.types:
                raise self._misfit(node, node.args[position], param, type, types)
            first = alike.setdefault(param.alike, position) if param.alike else position
            if types[first] is not type:
                raise self._unlike(node, first, position, types)
        wanted = {word: types[position] for word, position in alike.items()}
        return [
            wanted.get(param.alike, _type_of_blank(param)) if type is Type.NULL else type
            for param, type in zip(shape, types, strict=True)
        ]

    def _result(self, node: Call, function: Function, args: Sequence[int], expects: Sequence[Type]) -> Type:
        if isinstance(function.returns, Type):
            return function.returns
        if function.returns is None:
            shape = function.shape(len(args))
            return next((type for param, type in zip(shape, expects, strict=True) if param.alike == "result"), Type.NULL)
        result = function.returns(expects)
        if isinstance(result, Type):
            return result
        raise self._operator_misfit(node, expects, result)

    def _operator_misfit(self, node: Call, types: Sequence[Type], words: str) -> FormulaError:
        culprit = next((n for n, type in enumerate(types) if type in (Type.TEXT, Type.BOOLEAN)), 0)
        wanted = Type.NUMBER
        if node.name == "&":
            culprit, wanted = next((n for n, type in enumerate(types) if type is not Type.TEXT), 0), Type.TEXT
        elif Type.DATE in types and {Type.TEXT, Type.DATETIME} & set(types):
            culprit, wanted = next(n for n, type in enumerate(types) if type is not Type.DATE), Type.DATE
        arg = node.args[culprit]
        suggestion = _convert(self._words(arg), types[culprit], wanted)
        if node.name == "&" and Type.BOOLEAN in types:
            suggestion = f"Write && to ask that both hold; for a text, w{suggestion[1:]}"
        elif node.name == "+" and set(types) == {Type.NUMBER, Type.TEXT}:
            number = _short(self._words(node.args[1 - culprit]))
            suggestion = f"Write VALUE({_short(self._words(arg))}) to add; write TEXT({number}) to join texts."
        return self._error("wrong-type", words, suggestion, arg)

    def _misfit(self, node: Call, arg: Node, param: Param, type: Type, others: Sequence[Type] = ()) -> FormulaError:
        name = "'-'" if node.name == "NEGATE" else f"{node.name!r}" if node.name in OPERATORS else node.name
        taken = sorted(param.types - {Type.NULL})
        beside = [other for other in others if other in taken and param.alike]
        message = f"{name} takes {_either([_a(each) for each in taken])} here, and {_short(self._words(arg))} is {_a(type)}."
        suggestion = _convert(self._words(arg), type, beside[0]) if beside else ""
        if not suggestion and (len(taken) < 3 or type is not Type.TEXT):
            suggestion = next((found for each in taken if (found := _convert(self._words(arg), type, each))), "")
        return self._error("wrong-type", message, suggestion or "Texts are compared with = and <>." * (node.name in OPERATORS), arg)

    def _unlike(self, node: Call, first: int, position: int, types: Sequence[Type]) -> FormulaError:
        name = repr(node.name) if node.name in OPERATORS else node.name
        one, other = (_short(self._words(node.args[each])) for each in (first, position))
        message = f"{name} needs values of one type: {one} is {_a(types[first])}, and {other} is {_a(types[position])}."
        suggestion = _convert(self._words(node.args[position]), types[position], types[first])
        return self._error("wrong-type", message, suggestion, node.args[position])

    def _known_unit(self, node: Node) -> None:
        if isinstance(node, Literal) and node.value not in codes():
            raise self._error("unknown-unit", f"there is no unit {node.value!r}.", _near(str(node.value), list(codes())), node)

    def _table(self, node: Call, args: Sequence[int]) -> tuple[Type, list[Type]]:
        """The type of a lookup table's values, and those that its arguments are taken as."""
        name = node.args[0].value if isinstance(node.args[0], Literal) else ""
        known = {table.lower(): table for table in self.checker.tables}
        if str(name).lower() not in known:
            suggestion = _near(str(name), list(self.checker.tables)) if known else "List it under `tables`."
            raise self._error("unknown-table", f"there is no lookup table {name!r}.", suggestion, node.args[0])
        key, value = self.checker.tables[known[str(name).lower()]]
        if self.checker.parts[args[1]].type not in (key, Type.NULL):
            raise self._misfit(node, node.args[1], Param("key", frozenset({key})), self.checker.parts[args[1]].type)
        if len(args) > 2 and self.checker.parts[args[2]].type not in (value, Type.NULL):
            raise self._misfit(node, node.args[2], Param("otherwise", frozenset({value})), self.checker.parts[args[2]].type)
        return value, [Type.TEXT, key, value][: len(args)]

    def _aggregate(self, node: Call, aggregate: Aggregate, found: tuple[Scope, str], rows: Scope | None) -> int:
        children, _ = found
        if rows:
            message = f"{node.name} over {children.name} stands inside of another count over rows."
            raise self._error("list", message, "Make a feature of it, and use the feature's name.", node)
        values = node.args[: aggregate.values]
        if len(node.args) not in (aggregate.values, aggregate.values + 1):
            message = f"{node.name} takes {aggregate.values} to {aggregate.values + 1} arguments, and {_given(len(node.args))}."
            raise self._error("wrong-arguments", message, f"It is written {aggregate.usage}.", node)
        args = [self._child(value, children, aggregate) for value in values]
        if len(node.args) > aggregate.values:
            args.append(self._condition(node.args[aggregate.values], children))
        types = [Type.ROWS if arg < 0 else self.checker.parts[arg].type for arg in args]
        if types[0] not in aggregate.takes:
            raise self._misfit(node, values[0], Param("value", aggregate.takes), types[0])
        if aggregate.values > 1 and types[1] not in aggregate.orders:
            raise self._misfit(node, values[1], Param("order", aggregate.orders), types[1])
        result = aggregate.returns or types[0]
        part = Part(aggregate, result, tuple(args), (), "", self._words(node), children.name)
        return self.checker.keep((aggregate.name, "rows", children.name, *args), part)

    def _child(self, node: Node, children: Scope, aggregate: Aggregate) -> int:
        """The part of a value of child rows; -1 for the list itself."""
        if isinstance(node, Name) and node.text.lower() == children.name.lower():
            return -1
        if isinstance(node, Name) and (found := self.checker.scope.list_of(node.text)) and found[1].lower() not in children.slots:
            raise self._no_such_child(node, children, found[1])
        return self.place(node, children)

    def _condition(self, node: Node, children: Scope) -> int:
        position = self.place(node, children)
        given = self.checker.parts[position].type
        if given not in (Type.BOOLEAN, Type.NULL):
            condition = Call("the condition", (), 0, 0, 0, 0)
            raise self._misfit(condition, node, Param("condition", frozenset({Type.BOOLEAN})), given)
        return position

    def _words(self, node: Node) -> str:
        words = " ".join(self.text[node.start : min(node.end, node.start + _WORDS)].split())
        return words if node.end - node.start <= _WORDS else f"{words}…"

    def _error(self, rule: str, message: str, suggestion: str, node: Node) -> FormulaError:
        return FormulaError(rule, message, suggestion, node.start, node.end)


def _near(word: str, known: Sequence[str]) -> str:
    listed = ", ".join(known[:12])
    return did_you_mean(word, known) or (f"There are {listed}{' …' if len(known) > 12 else ''}." if listed else "")


def _given(count: int) -> str:
    return f"{count or 'none'} {'is' if count < 2 else 'are'} given"


def _either(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _a(type: Type) -> str:
    return "blank" if type is Type.NULL else f"a {type}"


def _short(words: str) -> str:
    words = words[1:-1] if words[:1] == "(" and words.count("(") == 1 and words[-1:] == ")" else words
    return words if len(words) <= 40 else f"{words[:37]}…"


def _convert(words: str, given: Type, wanted: Type) -> str:
    """How a value of one type becomes one of another."""
    short = _short(words)
    match given, wanted:
        case Type.TEXT, Type.NUMBER if words[:1] in "\"'":
            return "Write a number, or NULL for none."
        case Type.NUMBER, Type.TEXT if words[:1].isdecimal():
            return f'Write it in quotes: "{short}".'
        case Type.ROWS, _:
            return f"Name a field of its rows, or write COUNT({short})."
        case Type.NUMBER, (Type.DATE | Type.DATETIME):
            return "Write DATE(year, month, day), or a field that is listed as a date under `record`."
        case Type.BOOLEAN, Type.NUMBER:
            return f"Write IF({short}, 1, 0)."
        case Type.TEXT, Type.NUMBER:
            return f"Write VALUE({short}), or LEN({short}) for its length."
        case (Type.NUMBER | Type.DATE | Type.DATETIME | Type.TIME), Type.TEXT:
            return f"Write TEXT({short})."
        case Type.BOOLEAN, Type.TEXT:
            return f'Write IF({short}, "yes", "no").'
        case (Type.TEXT | Type.DATETIME), Type.DATE:
            return f"Write DATEVALUE({short})."
        case (Type.TEXT | Type.DATE), Type.DATETIME:
            return f"Write DATETIMEVALUE({short})."
        case (Type.TEXT | Type.DATETIME), Type.TIME:
            return f"Write TIMEVALUE({short})."
        case (Type.DATE | Type.DATETIME), Type.NUMBER:
            return f"Write DAYS_SINCE({short}), or YEAR, MONTH or DAY of it."
        case Type.NUMBER, Type.BOOLEAN:
            return f"Compare it: {short} > 0."
        case Type.TEXT, Type.BOOLEAN:
            return f'Compare it: {short} = "…".'
    return ""


def _type_of_blank(param: Param) -> Type:
    """What NULL is taken as where nothing beside it says more."""
    return Type.NULL if param.alike or param.types == ANY else min(param.types)

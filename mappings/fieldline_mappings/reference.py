"""The reference pages of the mapping document and of formulas, made from what declares them."""

import json
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from fieldline_mappings.document import MappingDocument
from fieldline_mappings.formula import FUNCTIONS, Function, Type
from fieldline_mappings.formula.functions import AGGREGATES, CONSTANTS
from fieldline_mappings.formula.functions.formatting import MAX_TEXT
from fieldline_mappings.formula.functions.rows import EXAMPLE
from fieldline_mappings.formula.library import ANY
from fieldline_mappings.formula.syntax import MAX_DEPTH, MAX_LENGTH

_MADE = "Made from the code by `fieldline_mappings.reference`; a test compares the two."
_HEADINGS = {
    "MappingDocument": "The document", "Feature": "features", "Check": "features: check", "OutputField": "fields",
    "GoldenRecord": "tests",
}  # fmt: skip
GROUPS = {
    "logic": "Conditions, choices and blanks", "mathematics": "Numbers", "text": "Texts", "date and time": "Dates and times",
    "features": "What models need",
}  # fmt: skip
"""The groups of functions, in the order in which they are shown, with their headings."""
PRECEDENCE = (("||",), ("&&",), ("=", "==", "<>", "!="), ("<", ">", "<=", ">="), ("+", "-", "&"), ("^",), ("*", "/"))
"""Operators between two values, from those that bind loosest to those that bind tightest."""
_BEFORE_FUNCTIONS = f"""\
What can be written in a `formula`, in a `reason` and in an aggregate's condition. [Formulas](../explanation/formulas.md) explains
how blanks, errors and decimals are taken, [Write a mapping](../how-to/write-a-mapping.md) shows it in use.

## What a formula is made of

| | Written | |
|---|---|---|
| Number | `12`, `0.5`, `.5` | A float64; percent and exponents are written out: `0.05`. |
| Text | `"Hot"`, `'Hot'` | On one line; `\\n`, `\\t`, `\\"` and `\\\\` are a line break, a tab, a quote and a backslash. |
| True, false, blank | `TRUE`, `FALSE`, `NULL` | |
| Field | `Amount`, `Account.Industry` | A field that is listed under `record` or named by a feature, or a feature above. |
| Any name | `` `Betrag (EUR)` `` | A name with spaces or signs stands in backticks. |
| Child rows | `Items.price` | Only inside of an aggregate: `SUM(Items.price)`. |
| Output | `score`, `probabilities[1]` | In `fields` and `reason`: what the model answers. |
| Comment | `/* why */` | |

Names of fields and functions compare without regard to case; texts compare with regard to it. Of the globals of Salesforce only
{", ".join(f"`{slot.name}`" for slot in CONSTANTS.values())} is known: the first moment of 1900.

## Types

{", ".join(str(type) for type in Type if type not in (Type.ROWS, Type.NULL))}. Nothing is converted by itself: where a text
meets a number, the message says which function converts it. A date has no time; a datetime is a moment in UTC, and which day it is
then, and what clocks show, follows the mapping's `timezone`.

## Operators

Those further up bind tighter; those of one line are taken from left to right. `-a`, `+a`, `!a` and `NOT a` bind tightest of all.
"""
_BEFORE_AGGREGATES = """\
Over the child rows of a record. The condition sees the rows' own fields, the record's fields, the features above and the clock; a
row counts where it is true, not where it is blank. A value or a condition that cannot be computed for a row makes the aggregate one
that cannot. `MIN` and `MAX` of plain numbers stand under [numbers](#numbers).
"""
_BEFORE_LIMITS = f"""\
A formula has at most {MAX_LENGTH:,} characters and {MAX_DEPTH} calls inside of each other; a chain such as `a & b & c` counts as
one. A function makes no text longer than {MAX_TEXT:,} characters. A mapping has at most 2,000 features, 500 fields, and 100 tables
of 10,000 rows each. Nobody can add functions: the list is closed, so that a mapping means the same everywhere.
"""


def schema() -> str:
    """The JSON Schema of a mapping document, for editors."""
    return json.dumps(MappingDocument.model_json_schema(by_alias=True), indent=1, ensure_ascii=False) + "\n"


def reference() -> str:
    """The page of the mapping document in Markdown: every key with its type, its default and what it does."""
    schema = MappingDocument.model_json_schema(by_alias=True)
    models = {"MappingDocument": schema, **schema["$defs"]}
    lines = ["# Mappings", "", _MADE, "", "What can be written in a formula stands in [formulas](formulas.md)."]
    for model, heading in _HEADINGS.items():
        lines += ["", f"## {heading}", "", models[model]["description"], ""]
        lines += ["| Key | Value | Default | What it does |", "|---|---|---|---|"]
        lines += _rows(models[model])
    return "\n".join(lines) + "\n"


def formulas() -> str:
    """The page of formulas in Markdown: the syntax, and every function with what it takes and gives, and an example."""
    lines = ["# Formulas", "", _MADE, "", *_BEFORE_FUNCTIONS.splitlines(), ""]
    lines += _table("Operator | What it does | Example | Gives", _operators())
    for group, heading in GROUPS.items():
        functions = [function for function in FUNCTIONS.values() if function.group == group]
        lines += ["", f"## {heading}", ""]
        lines += _table("Function | Takes | Gives | Example | Its answer", map(_function, functions))
    lines += ["", "## Aggregates", "", *_BEFORE_AGGREGATES.splitlines(), ""]
    aggregates = ((_code(each.usage), each.about, _code(each.example), each.gives) for each in AGGREGATES.values())
    lines += _table("Function | Gives | Example | Its answer", aggregates)
    for name, rows in EXAMPLE.items():
        lines += ["", f"The examples are answered for a record with these `{name}`:", ""]
        lines += _table(" | ".join(rows[0]), (tuple(map(str, row.values())) for row in rows))
    lines += ["", "## Limits", "", *_BEFORE_LIMITS.splitlines()]
    return "\n".join(lines) + "\n"


def type_words(types: Collection[Type]) -> str:
    """The types of a value in words; a blank may stand for any of them."""
    return "any value" if {*types, Type.NULL} == ANY else " or ".join(type for type in Type if type in types)


def _operators() -> Iterator[tuple[str, ...]]:
    same = {"==": "=", "!=": "<>", "&&": "AND", "||": "OR"}
    yield _code("-a"), FUNCTIONS["NEGATE"].about, _code(FUNCTIONS["NEGATE"].example), FUNCTIONS["NEGATE"].gives
    for signs in reversed(PRECEDENCE):
        for sign in signs:
            function = FUNCTIONS[same.get(sign, sign)]
            if sign in same:
                yield _code(f"a {sign} b"), f"Is the same as `{function.name}`.", "", ""
            else:
                yield _code(f"a {sign} b"), function.about, _code(function.example), function.gives


def _function(function: Function) -> tuple[str, ...]:
    takes = ", ".join(dict.fromkeys(type_words(param.types) for param in function.params))
    return _code(function.usage), takes, function.about, _code(function.example), function.gives


def _table(heading: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {heading} |"
    yield "|---" * (heading.count("|") + 1) + "|"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _code(text: str) -> str:
    return f"`{text}`"


def _rows(model: dict[str, Any]) -> Iterator[str]:
    required = model.get("required", ())
    for key, about in model["properties"].items():
        plain = about.get("default") if not isinstance(about.get("default"), dict | list) else None
        default = "required" if key in required else f"`{plain}`" if plain else ""
        yield f"| `{key}` | {_kind(about)} | {default} | {' '.join(about['description'].split())} |"


def _kind(about: dict[str, Any]) -> str:
    if "anyOf" in about:
        return " or ".join(dict.fromkeys(_kind(each) for each in about["anyOf"] if each.get("type") != "null"))
    if "enum" in about:
        return ", ".join(f"`{word}`" for word in about["enum"])
    match about.get("type"):
        case "array":
            return " and ".join(map(_kind, about["prefixItems"])) if "prefixItems" in about else f"list of {_kind(about['items'])}"
        case "object":
            inner = about["additionalProperties"]
            return f"keys with {'any value' if inner is True else _kind(inner)}"
        case "string":
            return "date and time with offset" if about.get("format") == "date-time" else "text"
        case None:
            return _HEADINGS[about["$ref"].rsplit("/", 1)[-1]].rsplit(" ", 1)[-1]
        case kind:
            return str(kind)

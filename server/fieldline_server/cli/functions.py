"""The command on the functions of formulas, for people and for editors."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fieldline_server.cli.app import app
from fieldline_server.cli.session import AsJson
from fieldline_server.cli.show import show_facts, show_json, show_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fieldline_mappings.completion import FormulaFunction, FormulaParameter

_WAYS = ("optional", "repeated", "constant")


@app.command()
def functions(
    name: Annotated[str | None, typer.Argument(help="A function, such as ROUND, to see all of it.")] = None, as_json: AsJson = False
) -> None:
    """Lists the functions of formulas by group, or shows one with its arguments and an example; needs no installation."""
    from fieldline_mappings import completion

    found = completion.functions_named(name) if name else completion.functions()
    if as_json:
        show_json([asdict(function) for function in found])
    elif name:
        _show(found)
    else:
        _list(found)


def _list(functions: "Sequence[FormulaFunction]") -> None:
    for group in dict.fromkeys(function.group for function in functions):
        typer.echo(group)
        rows = [(function.usage, function.about) for function in functions if function.group == group]
        show_table(("function", "what_it_gives"), rows)
        typer.echo("")


def _show(forms: "Sequence[FormulaFunction]") -> None:
    from fieldline_mappings.reference import type_words

    for number, function in enumerate(forms):
        if number:
            typer.echo("")
        facts = {
            "function": function.usage, "group": function.group, "about": function.about, "result": type_words(function.results),
            "example": function.example, "answer": function.answer,
        }  # fmt: skip
        show_facts(facts | _example_rows(function), as_json=False)
        if function.parameters:
            typer.echo("")
            rows = [(each.name, type_words(each.types), _ways(each)) for each in function.parameters]
            show_table(("argument", "takes", "how"), rows)


def _example_rows(function: "FormulaFunction") -> dict[str, str]:
    """The child rows that the example is answered for, a line each."""
    return {
        f"{name} {number}": ", ".join(f"{field}: {value}" for field, value in row.items())
        for name, rows in function.record.items()
        for number, row in enumerate(rows, 1)
    }


def _ways(parameter: "FormulaParameter") -> str:
    return ", ".join(way for way in _WAYS if getattr(parameter, way))

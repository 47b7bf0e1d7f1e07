"""The command `fieldline`: its commands by topic, and what its errors and exit codes mean."""

import atexit
import gc
import sys
from typing import Any

import typer
import typer.core

from fieldline_core.errors import FieldlineError, Misconfigured, Unavailable

PROBLEM, USAGE, UNAVAILABLE = 1, 2, 3

app = typer.Typer(
    name="fieldline", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Brings trained models to the systems where a company's records live. Exit codes: 0 done, 1 a problem was found, "
    "2 a person must change something, 3 something does not answer now.",
)  # fmt: skip


class Topic(typer.core.TyperGroup):
    """Commands on one kind of thing: without a command they list, and with a number they show it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts in the command that was left out."""
        first = args[0] if args else "-"
        if first.isdigit() and "show" in self.commands:
            args = ["show", *args]
        elif first.startswith("-") and first != "--help" and "list" in self.commands:
            args = ["list", *args]
        return super().parse_args(ctx, args)


def topic(name: str, about: str) -> typer.Typer:
    """Adds a topic to the command line."""
    made = typer.Typer(cls=Topic, no_args_is_help=True, rich_markup_mode=None, help=about)
    app.add_typer(made, name=name)
    return made


def exit_code(error: FieldlineError) -> int:
    """What the process ends with after one of the three errors."""
    if isinstance(error, Misconfigured):
        return USAGE
    return UNAVAILABLE if isinstance(error, Unavailable) else PROBLEM


def main() -> None:
    """The console script."""
    # What is left at the end goes with the process: to look through all of it once more takes a fifth of a command's time.
    atexit.register(gc.freeze)
    try:
        app()
    except FieldlineError as error:
        typer.echo(f"fieldline: {error}", err=True)
        sys.exit(exit_code(error))

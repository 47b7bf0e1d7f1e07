"""What commands print: tables for people, JSON for scripts, plain text where nobody looks."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def console(*, stderr: bool = False) -> "Console":
    """A console that prints text as it is, without colours where NO_COLOR is set."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def cell(value: Any) -> str:
    """A value as one line of text; a record's control characters must not reach the terminal."""
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        case float():
            return f"{value:.6g}"
        case int() if not isinstance(value, bool):
            return f"{value:,}" if value >= 10_000 else str(value)
        case list() | tuple():
            return ", ".join(cell(each) for each in value)
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(value))


def show_json(value: Any) -> None:
    """Prints a value as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def show_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, none: str) -> None:
    """Prints a listing; as JSON with all that its rows hold, as a table with these columns only."""
    if as_json:
        show_json([dict(row) for row in rows])
    elif not rows:
        note(none)
    else:
        show_table(columns, [[cell(row.get(name)) for name in columns] for row in rows])


def show_facts(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Prints what is known of one thing."""
    if as_json:
        show_json(dict(facts))
        return
    show_table((), [(name.replace("_", " "), cell(value)) for name, value in facts.items() if value is not None])


def show_done(facts: Mapping[str, Any], words: str, *, as_json: bool) -> None:
    """Prints what a command did: its facts as JSON, or words."""
    if as_json:
        show_json(dict(facts))
    else:
        typer.echo(words)


def note(words: str) -> None:
    """Says something beside the result, on standard error."""
    typer.echo(words, err=True)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table: ruled on a terminal; aligned lines, which nothing folds, elsewhere and where it has no columns."""
    heads = [name.replace("_", " ") for name in columns]
    if heads and sys.stdout.isatty():
        console().print(_ruled(heads, rows))
        return
    lines = [*([heads] if heads else []), *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))] if lines else []
    for line in lines:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _ruled(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in heads:
        drawn.add_column(name, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(text) for text in row))
    return drawn


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)

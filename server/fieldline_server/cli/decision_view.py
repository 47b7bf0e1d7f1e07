"""One decision as a person reads it: what came in, what the model saw and said, what was written, and what the target answered."""

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from fieldline_server.cli.show import cell, show_table

_PARTS = {"source": "came in", "features": "the model saw", "outputs": "the model said", "fields": "to write"}
_NAMES_SHOWN = 40


def show_decision(decision: Mapping[str, Any]) -> None:
    """Prints a decision."""
    typer.echo(
        f"Decision on {cell(decision['key'])} by {decision['flow']}, recorded {decision['recorded_at'][:19].replace('T', ' ')}Z"
    )
    show_table((), list(_lines(decision)))


def _lines(decision: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part, name in _PARTS.items():
        yield from _values(name, decision[part])
    if decision["held"]:
        yield "held back", f"{decision['held']['reason']} (at the stage {decision['held']['stage']})"
    for write in decision["writes"]:
        said = f"{write['outcome']} ({write['reason']})" if write["reason"] else write["outcome"]
        yield f"{write['target']} said", f"{said}, at attempt {write['attempt']}"
    for model in decision["models"]:
        yield "model", f"{model['name']}@{model['version']} {model['digest']}"
    yield "mapping", decision["mapping"]
    yield "release", decision["release"]
    yield "runtime", ", ".join(f"{name} {version}" for name, version in decision["runtime"].items())


def _values(part: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The values of a part in one line, or one line for each where they are many."""
    pairs = [f"{cell(name)}={'blank' if value is None else cell(value)}" for name, value in values.items()]
    for start in range(0, len(pairs[:_NAMES_SHOWN]), 6):
        yield (part if start == 0 else ""), "  ".join(pairs[start : start + 6])
    if len(pairs) > _NAMES_SHOWN:
        yield "", f"and {len(pairs) - _NAMES_SHOWN} more: see --json"

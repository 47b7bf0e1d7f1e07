"""A backtest as a person reads it: who is held back, which answers change, and what shifts."""

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from fieldline_server.cli.show import cell, show_table

_REASONS = 5


def show_comparison(found: Mapping[str, Any]) -> None:
    """Prints what a backtest found."""
    gone = f"; {found['gone']:,} no longer in the source" if found["gone"] else ""
    typer.echo(f"{found['rows']:,} records of {found['flow']} decided under {found['old'][:12]} and {found['new'][:12]}{gone}")
    if not found["rows"]:
        return
    typer.echo(f"{found['changed']:,} of {found['decided_both_ways']:,} decided both ways get another answer")
    for verb, names in (("no longer gives", found["fields_removed"]), ("also gives", found["fields_added"])):
        if names:
            typer.echo(f"the new mapping {verb} {', '.join(names)}")
    if any(each["changed"] for each in found["fields"]):
        typer.echo("")
        show_table(("field", "changed", "such_as_key", "old", "new"), _answers(found["fields"]))
    typer.echo("")
    show_table(("mean_of", "name", "old", "new", "shift"), [_mean(each) for each in found["means"]])
    _show_held(found["held"])


def _answers(fields: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for each in fields:
        for number, example in enumerate(each["examples"]):
            begin = (each["field"], cell(each["changed"])) if number == 0 else ("", "")
            yield *begin, cell(example["key"]), cell(example["old"]), cell(example["new"])


def _mean(each: Mapping[str, Any]) -> tuple[str, ...]:
    shift = "" if each["shift"] is None else f"{each['shift']:+.6g}" if each["shift"] else "0"
    return each["part"], each["name"], cell(each["old"]), cell(each["new"]), shift


def _show_held(held: Mapping[str, Any]) -> None:
    typer.echo(f"\nheld back: {held['old']:,} old, {held['new']:,} new ({held['newly']:,} newly, {held['no_longer']:,} no longer)")
    for word in ("old", "new"):
        reasons = list(held[f"reasons_{word}"].items())
        for reason, count in reasons[:_REASONS]:
            typer.echo(f"  {word}  {count:>8,}  {cell(reason)}")
        if len(reasons) > _REASONS:
            typer.echo(f"  {word}            and {len(reasons) - _REASONS} other reasons")

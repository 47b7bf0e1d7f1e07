"""The command that makes past decisions again: rerun."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fieldline_server.cli.app import PROBLEM, app
from fieldline_server.cli.progress import Progress
from fieldline_server.cli.session import AsJson, actor, engine
from fieldline_server.cli.show import cell, note, show_json, show_table

if TYPE_CHECKING:
    from fieldline_core.pipeline.rerun import Reruns

_SHOWN = 50
Record = Annotated[list[str] | None, typer.Option("--key", help="All on one record; the parts of a composite key one by one.")]


@app.command()
def rerun(
    record: Record = None,
    flow: Annotated[str | None, typer.Option("--flow", help="The decisions of one flow.")] = None,
    last: Annotated[int, typer.Option("--last", min=1, max=10_000_000, help="How many decisions, those made last.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Makes past decisions again with their own release and clock, and shows what differs; nothing is written."""
    if (flow is None) == (not record):
        raise typer.BadParameter("give either --key or --flow")
    with engine() as opened, Progress(last if flow else None) as shown:
        from fieldline_core.batch import key_text
        from fieldline_core.pipeline.rerun import rerun_flow, rerun_record

        def progress(done: "Reruns") -> None:
            shown.update(done.count, f"{done.different:,} differ")

        if flow is not None:
            done = rerun_flow(opened, flow, last, actor(), progress)
        else:
            done = rerun_record(opened, key_text(record or ()), last, actor(), progress)
    if as_json:
        show_json(done.as_json())
    else:
        _show(done)
    if not done.all_equal:
        raise typer.Exit(PROBLEM)


def _show(done: "Reruns") -> None:
    if not done.count and not done.erased:
        typer.echo("nothing was decided here")
        return
    rows = list(_rows(done))
    if rows:
        show_table(("key", "release", "clock", "part", "name", "then", "now"), rows[:_SHOWN])
    if len(rows) > _SHOWN:
        note(f"and {len(rows) - _SHOWN:,} lines more: see --json")
    for each, count in done.runtime.items():
        note(f"{each.name} is {each.now or 'absent'} now and was {each.then or 'absent'} then, for {count:,} decisions")
    typer.echo(f"{done.count:,} decisions made again: {', '.join(_totals(done))}")


def _rows(done: "Reruns") -> Iterator[tuple[str, ...]]:
    for made in done.decisions:
        begin = (cell(made.key), made.release[:12], f"{made.clock[:19].replace('T', ' ')}Z")
        if made.equal:
            yield *begin, "equal", "", "", ""
        elif made.impossible:
            yield *begin, "impossible", cell(made.impossible), "", ""
        for each in made.differences:
            yield *begin, each.part, cell(each.name), _value(each.then), _value(each.now)
            begin = ("", "", "")


def _value(value: Any) -> str:
    """With every digit: what differs may be the last one."""
    return "blank" if value is None else repr(value) if isinstance(value, float) else cell(value)


def _totals(done: "Reruns") -> Iterator[str]:
    yield f"{done.equal:,} equal"
    yield f"{done.different:,} different"
    if done.impossible:
        yield f"{done.impossible:,} cannot be made again"
    if done.unread:
        yield f"{done.unread:,} could not be read as records"
    if done.erased:
        yield f"{done.erased:,} erased"

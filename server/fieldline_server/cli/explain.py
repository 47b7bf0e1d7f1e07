"""The command that tells how a decision came about: explain."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from fieldline_server.cli.app import app
from fieldline_server.cli.session import AsJson, actor, engine
from fieldline_server.cli.show import cell, console, note, show_json

if TYPE_CHECKING:
    from rich.text import Text

    from fieldline_server.story import EntryLink, Fact, Step, Story

_MOST_FACTS = 60


@app.command()
def explain(
    key: Annotated[list[str], typer.Argument(metavar="KEY...", help="The record's key; each part of a composite key on its own.")],
    decision: Annotated[str | None, typer.Option("--decision", help="One such as 812-17; else the newest on the record.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tells how a decision came about, step by step, and who answers for it; that it was looked at is kept in the audit trail."""
    with engine() as opened:
        from fieldline_core.batch import key_text
        from fieldline_server.telling import decisions_on, view_story

        name = key_text(key)
        story = view_story(opened, actor(), name, decision)
        others = [place for each in decisions_on(opened, name) if (place := f"{each[0]}-{each[1]}") != story.decision]
    if as_json:
        show_json(story.model_dump(mode="json"))
        return
    show_story(story)
    if others:
        note(f"{len(others)} more on this record: --decision {', '.join(others[:5])}{' …' if len(others) > 5 else ''}")


def show_story(story: "Story") -> None:
    """Prints a story."""
    for line in _lines(story):
        console().print(line, soft_wrap=True)


def _lines(story: "Story") -> Iterator["Text"]:
    from rich.text import Text

    record = f" on {cell(story.key)}" if story.key is not None else ""
    yield Text(f"Decision {story.decision or 'erased'}{record}, by the flow {story.flow}", style="bold")
    yield Text(cell(story.summary))
    for number, step in enumerate(story.steps, 1):
        yield Text("")
        yield from _step(f"{number}. ", step)
    if story.people:
        yield Text("")
        yield Text("Who answers for it", style="bold")
    for step in story.people:
        yield Text.assemble("   ", cell(step.words), (_when(step), "dim"), (_place(step.entry), "dim"))


def _step(number: str, step: "Step") -> Iterator["Text"]:
    from rich.text import Text

    yield Text.assemble((f"{number}{step.step.capitalize()}", "bold"), (_when(step), "dim"))
    yield Text(f"   {cell(step.words)}")
    width = min(30, max((len(cell(fact.name)) for fact in step.facts), default=0))
    values = min(24, max((len(_value(fact)) for fact in step.facts), default=0))
    for fact in step.facts[:_MOST_FACTS]:
        value = _value(fact)
        yield Text.assemble(f"     {cell(fact.name):<{width}}  {value:<{values}}", (f"  {cell(fact.about)}".rstrip(), "dim"))
    if len(step.facts) > _MOST_FACTS:
        yield Text(f"     and {len(step.facts) - _MOST_FACTS} more: see --json", style="dim")
    if step.entry is not None:
        yield Text(f"  {_place(step.entry)}", style="dim")


def _value(fact: "Fact") -> str:
    return "blank" if fact.value is None else cell(fact.value)


def _when(step: "Step") -> str:
    return f"  {cell(step.at)}" if step.at else ""


def _place(entry: "EntryLink | None") -> str:
    if entry is None:
        return ""
    if entry.position is None:
        return f"  (event {entry.event}, not yet in the log)"
    sealed = f", sealed {cell(entry.sealed_at)}" if entry.sealed_at else ", not yet sealed"
    return f"  (entry {entry.position} of the log{sealed})"

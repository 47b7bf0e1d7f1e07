"""The command that puts back what a bad release has written: undo."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from fieldline_server.cli.app import app
from fieldline_server.cli.session import AsJson, actor, engine
from fieldline_server.cli.show import note, show_json, show_table

if TYPE_CHECKING:
    from fieldline_core.pipeline.undo import Undo, UndoScope

_WORDS = {
    "put_back": "to be put back", "changed_since": "left alone: changed by a person since",
    "decided_since": "left alone: a later decision stands",
    "no_image": "not undone: what was there before is not known (inserts keep history)", "already_so": "already as they were",
    "under_way": "still being written, or in doubt: ask again then",
}  # fmt: skip
Since = Annotated[str | None, typer.Option("--since", help="2026-11-01, 2026-11-01T14:30 (both UTC), or 7d, 12h, 30m ago.")]
Record = Annotated[list[str] | None, typer.Option("--key", help="This record only; the parts of a composite key one by one.")]


@app.command()
def undo(
    release: Annotated[str | None, typer.Option("--release", help="What this release has written; the digest's beginning.")] = None,
    run: Annotated[int | None, typer.Option("--run", min=1, help="What this run has written.")] = None,
    flow: Annotated[str | None, typer.Option("--flow", help="What this flow has written, since a time.")] = None,
    since: Since = None,
    record: Record = None,
    apply: Annotated[bool, typer.Option("--apply", help="Put back; without it, nothing is written.")] = False,
    why: Annotated[str, typer.Option("--why", "--reason", help="The reason, kept in the audit trail; needed to apply.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before applying.")] = False,
    as_json: AsJson = False,
) -> None:
    """Puts back what was written, but for what a person or a later decision changed since; shows it first (a dry run)."""
    if apply and not why.strip():
        raise typer.BadParameter("an undo needs a reason: give --why")
    with engine() as opened:
        from fieldline_core.pipeline.undo import apply_undo, preview_undo

        scope = _scope(release, run, flow, since, record)
        # Whoever has said yes has seen it.
        done = None if apply and yes else preview_undo(opened, scope, actor())
        if done is not None and not (as_json and apply):
            _show(done, as_json=as_json)
        if not apply or (done is not None and not done.counts.total.put_back):
            _show_nothing(done, apply=apply, as_json=as_json)
            return
        if not yes:
            typer.confirm("Put them back?", abort=True, err=True)
        done = apply_undo(opened, scope, actor(), why)
    _show_begun(done, as_json=as_json)


def _scope(release: str | None, run: int | None, flow: str | None, since: str | None, record: list[str] | None) -> "UndoScope":
    from fieldline_core.batch import key_text
    from fieldline_core.errors import Rejected
    from fieldline_core.pipeline.undo import UndoScope
    from fieldline_core.search.qualifiers import QUALIFIERS, Unreadable

    try:
        return UndoScope(release, run, flow, QUALIFIERS["since"](since) if since else None, key_text(record) if record else None)
    except (Rejected, Unreadable) as error:
        raise typer.BadParameter(str(error)) from None


def _show(done: "Undo", *, as_json: bool) -> None:
    if as_json:
        show_json(done.as_json())
        return
    typer.echo(f"Undo of the flow {done.flow}: nothing has been written")
    show_table(("write", "rows", "what becomes of them"), list(_rows(done)))


def _rows(done: "Undo") -> Iterator[tuple[str, str, str]]:
    for write, count in sorted(done.counts.writes.items()):
        name = write
        for what, words in _WORDS.items():
            if rows := getattr(count, what):
                yield name, f"{rows:,}", words
                name = ""
    if not any(count.put_back for count in done.counts.writes.values()):
        yield "", "0", _WORDS["put_back"]


def _show_nothing(done: "Undo | None", *, apply: bool, as_json: bool) -> None:
    if apply and as_json and done is not None:
        show_json(done.as_json())
    elif apply:
        note("there is nothing to put back")
    else:
        note("nothing was written: add --apply and --why to put them back")


def _show_begun(done: "Undo", *, as_json: bool) -> None:
    rows = done.counts.total.put_back
    if as_json:
        show_json(done.as_json())
    elif done.run is None:
        typer.echo("there is nothing to put back")
    else:
        typer.echo(f"run {done.run} puts back {rows:,} row{'s' if rows != 1 else ''}: see 'fieldline runs {done.run}'")
    if done.run is not None and done.paused:
        note(f"the flow {done.flow} is paused: they are put back when it is resumed")

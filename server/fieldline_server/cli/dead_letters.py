"""Commands on dead letters: the rows that were set aside, with the reason."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fieldline_server.cli.app import topic
from fieldline_server.cli.session import AsJson, Limit, Why, actor, engine
from fieldline_server.cli.show import show_done, show_facts, show_json, show_rows

if TYPE_CHECKING:
    from fieldline_core.pipeline.engine import Engine
    from fieldline_core.store import Row

letters = topic("dead-letters", "Rows that were set aside: look at them, run them again, or discard them.")
FlowName = Annotated[str, typer.Argument(metavar="FLOW", help="The flow whose rows they are.")]
OnlyFlow = Annotated[str | None, typer.Option("--flow", help="Only those of this flow.")]
Ids = Annotated[list[int] | None, typer.Argument(metavar="[IDS]...", help="Which ones, by number.")]
Cause = Annotated[str | None, typer.Option("--cause", help="All with this reason, as 'dead-letters causes' prints it.")]
All = Annotated[bool, typer.Option("--all", help="All open ones of the flow, at most 10,000 at a time.")]
Anew = Annotated[
    bool, typer.Option("--anew", help="Decides also on those anew whose write may have arrived: you have looked, and it did not.")
]
LetterId = Annotated[int, typer.Argument(metavar="ID", help="The dead letter's number.")]


@letters.command("list")
def list_all(
    flow: OnlyFlow = None,
    state: Annotated[str, typer.Option("--state", help="open, replayed, discarded or any.")] = "open",
    run: Annotated[int | None, typer.Option("--run", help="Only those of this run.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Lists dead letters, newest first, without their records."""
    wanted = None if state == "any" else state
    with engine() as opened, opened.store.transaction("dead_letters") as tx:
        found = tx.all("dead_letters.listing", flow=flow, state=wanted, run=run, before=None, limit=limit)
    columns = ("id", "flow", "run_id", "stage", "state", "reason", "created_at")
    show_rows(found, columns, as_json=as_json, none="no row is set aside")


@letters.command()
def causes(flow: OnlyFlow = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """Groups open dead letters by their cause, the most frequent first."""
    with engine() as opened, opened.store.transaction("dead_letters") as tx:
        found = tx.all("dead_letters.causes", flow=flow, limit=limit)
    columns = ("count", "flow", "stage", "reason", "first_at", "last_at", "example")
    show_rows(found, columns, as_json=as_json, none="no row is set aside")


@letters.command()
def show(letter: LetterId, as_json: AsJson = False) -> None:
    """Shows one dead letter with its record; that it was looked at is kept in the audit trail."""
    with engine() as opened:
        from fieldline_core.events import record
        from fieldline_core.pipeline.dead import dead_letter_json

        row = _letter(opened, letter)
        with opened.store.transaction("dead_letter.view") as tx:
            record(tx, "dead_letter.viewed", actor(), {"dead_letter": letter, "flow": row["flow"]})
        names = ("id", "flow", "run_id", "chunk_id", "stage", "state", "reason", "created_at", "ended_at", "ended_by", "ended_why",
                 "replay_run")  # fmt: skip
        found = {name: row[name] for name in names} | dead_letter_json(opened, row)
    if as_json:
        show_json(found)
    else:
        values = found.pop("record")
        show_facts(found | {f"record.{name}": value for name, value in values.items()}, as_json=False)


@letters.command()
def replay(
    flow: FlowName, ids: Ids = None, cause: Cause = None, every: All = False, anew: Anew = False, why: Why = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Runs dead letters again, under the flow as it is now; what may have arrived is sent again as the same write."""
    chosen = _chosen(ids, cause, every)
    with engine() as opened:
        from fieldline_core.pipeline.replay import replay

        run, count = replay(opened, flow, actor(), **chosen, anew=anew, why=why)
    _show_replayed(run, count, as_json=as_json)


@letters.command()
def edit(
    letter: LetterId,
    changes: Annotated[list[str], typer.Option("--set", metavar="FIELD=VALUE", help="A field's new value; JSON, else text.")],
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Changes fields of one dead letter and runs it again; that is a new decision."""
    edits = dict(_change(each) for each in changes)
    with engine() as opened:
        from fieldline_core.pipeline.replay import replay

        flow = _letter(opened, letter)["flow"]
        run, count = replay(opened, flow, actor(), ids=[letter], edits=edits, why=why)
    _show_replayed(run, count, as_json=as_json)


@letters.command()
def discard(flow: FlowName, why: Why, ids: Ids = None, cause: Cause = None, every: All = False, as_json: AsJson = False) -> None:
    """Ends dead letters without running them again."""
    chosen = _chosen(ids, cause, every)
    with engine() as opened:
        from fieldline_core.pipeline.replay import discard

        count = discard(opened, flow, actor(), why, **chosen)
    show_done({"discarded": count}, f"{count} discarded", as_json=as_json)


def _chosen(ids: list[int] | None, cause: str | None, every: bool) -> dict[str, Any]:
    if sum((bool(ids), cause is not None, every)) != 1:
        raise typer.BadParameter("say which ones: by number, by --cause, or --all")
    return {"ids": ids or None, "reason": cause}


def _change(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text[:40]!r} is not written FIELD=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _letter(opened: "Engine", letter: int) -> "Row":
    from fieldline_core.errors import Misconfigured

    with opened.store.transaction("dead_letter") as tx:
        row = tx.one("dead_letters.show", id=letter)
    if row is None:
        raise Misconfigured(f"there is no dead letter {letter}: see 'fieldline dead-letters'")
    return row


def _show_replayed(run: int | None, count: int, *, as_json: bool) -> None:
    again = f"in run {run}: see 'fieldline runs {run}'" if run else "as the same writes"
    show_done({"replayed": count, "run": run}, f"{count} run again {again}" if count else "none is open", as_json=as_json)

"""Commands on runs: run, runs."""

from typing import Annotated

import typer

from fieldline_server.cli.app import PROBLEM, app, topic
from fieldline_server.cli.session import AsJson, Limit, Why, actor, engine
from fieldline_server.cli.show import show_done, show_facts, show_json, show_rows

runs = topic("runs", "Runs of flows, with the counts of their rows.")
_COLUMNS = ("id", "flow", "kind", "state", "rows", "scored", "held", "skipped", "written", "refused", "left_alone", "dead",
            "created_at", "finished_at", "reason")  # fmt: skip
RunId = Annotated[int, typer.Argument(metavar="RUN", help="The run's number.")]


@app.command()
def run(
    flow: Annotated[str, typer.Argument(help="A flow with a source.")],
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Most records to read.")] = None,
    rescore: Annotated[bool, typer.Option("--rescore", help="Score records again that have not changed since.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for its end, or only ask for it.")] = True,
    as_json: AsJson = False,
) -> None:
    """Runs a flow: reads its source, scores, and writes the answers."""
    with engine() as opened:
        from fieldline_core.pipeline.manage import request_run
        from fieldline_server.cli.progress import follow_run, rows_per_s

        run_id = request_run(opened, flow, actor(), row_limit=limit, rescore=rescore)
        if not wait:
            show_done({"run": run_id}, f"run {run_id} was asked for: see 'fieldline runs {run_id}'", as_json=as_json)
            return
        ended = follow_run(opened, run_id, limit)
    speed = round(rows_per_s(ended))
    if as_json:
        show_json({**ended, "rows_per_s": speed})
    else:
        typer.echo(f"run {run_id} {ended['state']}{': ' + ended['reason'] if ended['reason'] else ''}")
        names = ("rows", "scored", "held", "skipped", "written", "refused", "left_alone", "dead")
        typer.echo(", ".join(f"{ended[name]:,} {name.replace('_', ' ')}" for name in names if ended[name] or name == "rows")
                   + f", {speed:,} rows/s")  # fmt: skip
    if ended["state"] != "succeeded":
        raise typer.Exit(PROBLEM)


@runs.command("list")
def list_all(
    flow: Annotated[str | None, typer.Option("--flow", help="Only runs of this flow.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="queued, running, succeeded, failed or cancelled.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Lists runs, newest first."""
    with engine() as opened:
        from fieldline_core.pipeline.manage import list_runs

        found = list_runs(opened, flow=flow, state=state, limit=limit)
    show_rows(found, _COLUMNS, as_json=as_json, none="there are no runs: 'fieldline run FLOW' starts one")


@runs.command()
def show(run: RunId, as_json: AsJson = False) -> None:
    """Shows one run."""
    with engine() as opened:
        from fieldline_core.errors import Misconfigured
        from fieldline_core.pipeline.manage import list_runs

        found = list_runs(opened, id=run)
    if not found:
        raise Misconfigured(f"there is no run {run}: see 'fieldline runs'")
    show_facts(found[0], as_json=as_json)


@runs.command()
def cancel(run: RunId, why: Why = "cancelled by a person", as_json: AsJson = False) -> None:
    """Ends a run: what was not scored is given up, what was decided is still written."""
    with engine() as opened:
        from fieldline_core.pipeline.manage import cancel_run

        cancel_run(opened, run, actor(), why)
    show_done({"run": run, "state": "cancelled"}, f"run {run} is cancelled", as_json=as_json)

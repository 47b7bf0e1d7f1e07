"""Commands on flows, write-backs and targets."""

from typing import Annotated, Any

import typer

from fieldline_server.cli.app import topic
from fieldline_server.cli.session import AsJson, Why, actor, engine
from fieldline_server.cli.show import show_done, show_rows

flows = topic("flows", "Flows: what is scored, and whether it goes on.")
writes = topic("writes", "All write-backs together.")
targets = topic("targets", "The systems that are written to, with their limits and circuit breakers.")
FlowName = Annotated[str, typer.Argument(metavar="FLOW", help="The flow's name.")]


@flows.command("list")
def list_flows(as_json: AsJson = False) -> None:
    """Lists the flows."""
    with engine() as opened, opened.store.transaction("flows") as tx:
        found = [_flow(row) for row in tx.all("flows.listing")]
    columns = ("name", "trigger", "model", "paused", "next_at", "last_scored_at", "dead_letters", "release")
    show_rows(found, columns, as_json=as_json, none="there are no flows: publish one with 'fieldline apply'")


@flows.command()
def pause(flow: FlowName, why: Why = "paused by a person", as_json: AsJson = False) -> None:
    """Stops a flow: nothing of it is read, scored or written; events are still accepted."""
    with engine() as opened:
        from fieldline_core.pipeline.manage import pause_flow

        pause_flow(opened, flow, actor(), why)
    show_done({"flow": flow, "paused": True}, f"{flow} is paused", as_json=as_json)


@flows.command()
def resume(flow: FlowName, as_json: AsJson = False) -> None:
    """Lets a flow go on."""
    with engine() as opened:
        from fieldline_core.pipeline.manage import resume_flow

        resume_flow(opened, flow, actor())
    show_done({"flow": flow, "paused": False}, f"{flow} goes on", as_json=as_json)


@writes.command("pause")
def pause_all(why: Why = "paused by a person", as_json: AsJson = False) -> None:
    """Stops every write-back; reading and scoring go on."""
    with engine() as opened:
        from fieldline_core.pipeline.manage import pause_writes

        pause_writes(opened, actor(), why)
    show_done({"writes_paused": True}, "all write-backs are paused", as_json=as_json)


@writes.command("resume")
def resume_all(as_json: AsJson = False) -> None:
    """Lets write-backs go on."""
    with engine() as opened:
        from fieldline_core.pipeline.manage import resume_writes

        resume_writes(opened, actor())
    show_done({"writes_paused": False}, "write-backs go on", as_json=as_json)


@targets.command("list")
def list_targets(as_json: AsJson = False) -> None:
    """Lists the targets."""
    with engine() as opened, opened.store.transaction("targets") as tx:
        found = tx.all("flows.targets")
    columns = ("name", "breaker", "failures", "retry_at", "reason", "rate_per_s", "burst", "concurrency")
    show_rows(found, columns, as_json=as_json, none="there are no connections: publish one with 'fieldline apply'")


@targets.command()
def retry(
    name: Annotated[str | None, typer.Argument(help="One target; all of them where this is left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Closes a circuit breaker and sends what waits for it at once."""
    with engine() as opened:
        from fieldline_core.pipeline.manage import retry_target

        _check_target(opened, name)
        waiting = retry_target(opened, actor(), name)
    show_done({"target": name or "all", "writes": waiting}, f"{waiting} writes are tried again now", as_json=as_json)


def _check_target(opened: Any, name: str | None) -> None:
    from fieldline_core.errors import Misconfigured
    from fieldline_core.findings import did_you_mean

    with opened.store.transaction("targets") as tx:
        known = [row["name"] for row in tx.all("flows.targets")]
    if name is not None and name not in known:
        raise Misconfigured(f"there is no target {name!r}. {did_you_mean(name, known)}".strip())


def _flow(row: dict[str, Any]) -> dict[str, Any]:
    """A flow's row without its release's body, of which only what people ask for is shown."""
    flow = row["body"]["flow"] if row["body"] else {}
    trigger = flow.get("trigger") or {}
    ways = [f"webhook {trigger['webhook']}"] if trigger.get("webhook") else [row["schedule"]] if row["schedule"] else []
    ways += [f"CDS Hooks {trigger['cds']['hook']}"] if trigger.get("cds") else []
    ways += ["changes"] if trigger.get("changes") is not None else []
    models = row["body"]["models"] if row["body"] else []
    return {
        "name": row["name"], "trigger": ", ".join(ways) or "by hand",
        "model": ", ".join(f"{pin['name']}@{pin['version']}" for pin in models),
        "paused": row["paused_reason"] if row["paused_at"] else "", "paused_by": row["paused_by"], "paused_at": row["paused_at"],
        "next_at": row["next_at"], "last_scored_at": row["last_scored_at"], "dead_letters": row["dead_letters"],
        "release": (row["release"] or "")[:12],
    }  # fmt: skip

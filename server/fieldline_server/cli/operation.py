"""Commands for who keeps Fieldline running, and for who tries it: doctor, demo, simulate."""

import sys
from importlib import import_module
from typing import Annotated

import typer

from fieldline_server.cli.app import PROBLEM, app
from fieldline_server.cli.session import AsJson
from fieldline_server.cli.show import show_json, show_table

SIMULATORS = ("fhir", "salesforce", "sap", "webhook-receiver", "webhook-sender")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Looks for what is wrong here, and says how to mend it."""
    from fieldline_server.doctor import examine
    from fieldline_server.run_file import load_settings

    found = examine(load_settings())
    if as_json:
        show_json([check.to_json() for check in found])
    else:
        marks = {"ok": "ok", "note": "note", "problem": "PROBLEM"}
        show_table((), [(marks[check.state], check.name, check.words) for check in found])
    if any(check.state == "problem" for check in found):
        raise typer.Exit(PROBLEM)


@app.command()
def demo(
    leave: Annotated[bool, typer.Option("--exit", help="End when all is shown, instead of staying up until Ctrl-C.")] = False,
    rows: Annotated[int | None, typer.Option("--rows", min=1, help="Records of the table; all 8,645 where left out.")] = None,
) -> None:
    """Runs the examples on servers of its own, which leave nothing behind."""
    from fieldline_server.cli.demo import show_demo

    show_demo(leave=leave, rows=rows)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def simulate(
    context: typer.Context, system: Annotated[str, typer.Argument(help=f"What to simulate: {', '.join(SIMULATORS)}.")]
) -> None:
    """Runs a system to practise on; what follows its name are its own options (--help lists them)."""
    if system not in SIMULATORS:
        raise typer.BadParameter(f"there are {', '.join(SIMULATORS)}")
    module = import_module(f"fieldline_simulators.{system.replace('-', '_')}")
    sys.argv = [f"fieldline simulate {system}", *context.args]
    module.main()

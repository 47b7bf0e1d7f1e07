"""The command that writes a flow's integration specification."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from fieldline_server.cli.app import app
from fieldline_server.cli.flows import FlowName
from fieldline_server.cli.session import AsJson, engine, registry

Format = Literal["markdown", "html", "json"]


@app.command("spec")
def spec(
    flow: FlowName,
    format: Annotated[Format, typer.Option("--format", help="markdown, html or json.")] = "markdown",
    out: Annotated[Path | None, typer.Option("--out", help="A file to write to, in place of standard output.")] = None,
    as_json: AsJson = False,
) -> None:
    """Writes the integration specification of a flow, from the release that runs."""
    from fieldline_core.errors import Misconfigured

    with engine() as opened:
        from fieldline_server.specification_pages import FORMATS
        from fieldline_server.specifying import specification

        text = FORMATS["json" if as_json else format](specification(opened, registry(opened), flow))
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text)
    except OSError as error:
        raise Misconfigured(f"{out} cannot be written: {error.strerror}") from None

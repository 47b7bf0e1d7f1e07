"""The command that makes reports of the log."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from fieldline_server.cli.app import app
from fieldline_server.cli.session import AsJson, actor, engine
from fieldline_server.cli.show import note, show_rows

Format = Literal["json", "csv", "html", "ndjson"]
Record = Annotated[list[str] | None, typer.Option("--key", help="The record's key; the parts of a composite key one by one.")]
Out = Annotated[Path | None, typer.Option("--out", help="A file to write to, in place of standard output.")]


@app.command()
def report(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="Which report: see --list.")] = None,
    record: Record = None,
    flow: Annotated[str | None, typer.Option("--flow", help="Of one flow only.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="From this day or moment on, in UTC.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Before this day or moment, in UTC.")] = None,
    format: Annotated[Format, typer.Option("--format", help="json, csv, html or ndjson.")] = "json",
    out: Out = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the reports.")] = False,
    as_json: AsJson = False,
) -> None:
    """Makes a report of the log in the shape that a law or a rule asks for; that it was made is kept in the log."""
    if list_all:
        _list(as_json=as_json)
        return
    if kind is None:
        raise typer.BadParameter("name a report: 'fieldline report --list' lists them")
    with engine() as opened:
        from fieldline_core.batch import key_text
        from fieldline_core.errors import Rejected
        from fieldline_server.reports import Question, make_report, moment, write_report

        try:
            ends = {name: moment(text) if text else None for name, text in (("since", since), ("until", until))}
            made = make_report(opened, kind, Question(key_text(record) if record else None, flow, **ends), actor())
        except Rejected as error:
            raise typer.BadParameter(str(error)) from None
        if out is not None:
            rows = write_report(made, "json" if as_json else format, out)
            note(f"{out}: {rows:,} rows")
            return
        # By a file: what breaks off half-way is no report.
        with tempfile.TemporaryDirectory(prefix="fieldline-report-") as folder:
            whole = Path(folder) / "report"
            write_report(made, "json" if as_json else format, whole)
            with whole.open(encoding="utf-8", newline="") as file:
                for piece in iter(lambda: file.read(65_536), ""):
                    sys.stdout.write(piece)


def _list(*, as_json: bool) -> None:
    from fieldline_server.reports import KINDS

    rows = [kind.as_json() for kind in KINDS.values()]
    show_rows(rows, ("kind", "title", "basis", "needs", "takes"), as_json=as_json, none="")

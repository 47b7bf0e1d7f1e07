"""The command that writes training rows: export-features."""

from pathlib import Path
from typing import Annotated

import typer

from fieldline_server.cli.app import app
from fieldline_server.cli.progress import Progress
from fieldline_server.cli.session import AsJson, actor, engine
from fieldline_server.cli.show import note, show_json

_SHOWN = 10
AsOf = Annotated[str | None, typer.Option("--as-of", help="A column with the time at which each record is looked at.")]


@app.command("export-features")
def export_features(
    flow: Annotated[str, typer.Argument(help="A flow with a source.")],
    out: Annotated[Path, typer.Option("--out", help="The Parquet file to write.")],
    as_of: AsOf = None,
    labels: Annotated[str, typer.Option("--labels", help="Columns of the source to add, parted by commas.")] = "",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Most records to read.")] = None,
    keep_held: Annotated[bool, typer.Option("--keep-held", help="Keep rows held back, with the reason in `held`.")] = False,
    as_json: AsJson = False,
) -> None:
    """Writes key, features and labels of a flow's records to a Parquet file, as the model would be given them."""
    names = [name.strip() for name in labels.split(",") if name.strip()]
    with engine() as opened:
        from fieldline_server.exporting import Wish
        from fieldline_server.exporting import export_features as export

        wish = Wish(flow, as_of, names, limit, keep_held)
        with Progress(limit) as shown:
            done = export(opened, wish, out, actor(), lambda done: shown.update(done.read, f"{done.held:,} held back"))
    reasons = dict(done.reasons.most_common())
    if as_json:
        show_json({"file": str(out), "read": done.read, "rows": done.rows, "held": done.held, "reasons": reasons})
        return
    typer.echo(f"{out}: {done.rows:,} rows; {done.held:,} held back{' and kept' if keep_held and done.held else ''}")
    for reason, count in list(reasons.items())[:_SHOWN]:
        note(f"{count:>8,}  {reason}")
    if len(reasons) > _SHOWN:
        note(f"          and {len(reasons) - _SHOWN} other reasons")

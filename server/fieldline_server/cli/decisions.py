"""Commands on decisions: decisions, score."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fieldline_server.cli.app import PROBLEM, app
from fieldline_server.cli.searching import Cursor, Line, fill, note_more, show_found
from fieldline_server.cli.session import AsJson, Limit, actor, engine
from fieldline_server.cli.show import show_json, show_rows

if TYPE_CHECKING:
    from fieldline_core.flow import Release
    from fieldline_core.pipeline.decide import Decisions


@app.command()
def decisions(line: Line = None, limit: Limit = 20, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """Shows decisions, newest first, whole, by record:, flow:, model:, mapping:, outcome:, score:, since: and until:.

    The parts of a composite key come one after another (record:5 record:8). That they were looked at is kept in the audit trail.
    """
    with engine() as opened:
        from fieldline_core.search import search_decisions

        found = fill(lambda left, after: search_decisions(opened, " ".join(line or ()), actor(), left, after), limit, cursor)
    if as_json:
        show_found(found)
        return
    from fieldline_server.cli.decision_view import show_decision

    for decision in found.items:
        show_decision(decision)
    if not found.items:
        typer.echo("nothing was decided on this record" if "record:" in " ".join(line or ()) else "there is no such decision")
    note_more(found)


@app.command()
def score(
    flow: Annotated[str, typer.Argument(help="The flow that decides.")],
    text: Annotated[str | None, typer.Option("--record", metavar="JSON", help="One record as a JSON object.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A JSON object on each line; - reads standard input.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="The record's key, where the record itself does not hold it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Scores records now, and writes the answers as the flow does."""
    records = _records(text, file)
    with engine() as opened:
        from fieldline_core.pipeline.manage import current_release
        from fieldline_core.pipeline.score import answer

        release = current_release(opened, flow)
        keyed = _keyed(release, records, key)
        made = answer(opened, release, keyed, [(actor(), len(keyed))])
    answers = _answers(made)
    if as_json:
        show_json(answers)
    else:
        rows = [{"key": each["key"], "held": each["held"] or "", **(each["fields"] or {})} for each in answers]
        show_rows(rows, ("key", *made.fields.columns, "held"), as_json=False, none="")
    if any(each["held"] for each in answers):
        raise typer.Exit(PROBLEM)


def _records(text: str | None, file: Path | None) -> list[dict[str, Any]]:
    from fieldline_core.errors import Misconfigured

    if (text is None) == (file is None):
        raise typer.BadParameter("give either --record or --file")
    try:
        written = text if file is None else sys.stdin.read() if str(file) == "-" else file.read_text()
    except OSError as error:
        raise Misconfigured(f"{file} cannot be read: {error.strerror}") from None
    lines = [written] if file is None else (written or "").splitlines()
    return [_object(line, number) for number, line in enumerate(lines, 1) if line and line.strip()]


def _object(line: str, number: int) -> dict[str, Any]:
    from fieldline_core.errors import Misconfigured

    try:
        found = json.loads(line)
    except ValueError as error:
        raise Misconfigured(f"record {number} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Misconfigured(f"record {number} is not a JSON object")
    return found


def _keyed(release: "Release", records: list[dict[str, Any]], key: str | None) -> list[tuple[str, Mapping[str, Any]]]:
    """The records under their keys: the one given, or what the flow's source or trigger calls the key."""
    from fieldline_core.batch import key_text
    from fieldline_core.errors import Misconfigured
    from fieldline_core.pipeline.records import value_at

    if key is not None and len(records) == 1:
        return [(key, records[0])]
    named = release.flow.trigger.key or (release.flow.source.query.get("key") if release.flow.source else None) or "id"
    paths = [named] if isinstance(named, str) else list(named)
    found = [[value_at(record, path) for path in paths] for record in records]
    for number, parts in enumerate(found, 1):
        if not all(isinstance(part, str | int | float) and part != "" for part in parts):
            raise Misconfigured(f"record {number} has no key at {', '.join(paths)}: put it there, or give one record and --key")
    # A key twice is one record, the last one.
    return list({key_text(parts): record for parts, record in zip(found, records, strict=True)}.items())


def _answers(made: "Decisions") -> list[dict[str, Any]]:
    frames = {"fields": made.fields, "outputs": made.outputs, "features": made.features}
    rows = {name: json.loads(frame.write_json()) if frame.width else [None] * len(made.batch) for name, frame in frames.items()}
    reasons = {row: reason for row, (_, reason) in made.held.items()}
    return [
        {"key": key, "held": reasons.get(row), **{name: rows[name][row] for name in frames}}
        for row, key in enumerate(made.batch.keys)
    ]

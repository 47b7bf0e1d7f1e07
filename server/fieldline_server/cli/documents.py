"""Commands on documents and connections: lint, apply, discover."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fieldline_server.cli.app import PROBLEM, app
from fieldline_server.cli.session import AsJson, actor, engine, registry
from fieldline_server.cli.show import note, show_json, show_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fieldline_core.findings import Finding

Files = Annotated[list[str], typer.Argument(metavar="FILES...", help="YAML files; - reads standard input.")]


@app.command()
def lint(files: Files, as_json: AsJson = False) -> None:
    """Checks connections, mappings and flows, and changes nothing."""
    from fieldline_core.errors import Misconfigured
    from fieldline_core.findings import errors
    from fieldline_server.run_file import NOTHING_RUNS

    texts = read_files(files)
    try:
        with engine() as opened:
            from fieldline_server.apply import apply

            findings = apply(opened, registry(opened), texts, actor(), dry_run=True).findings
    except Misconfigured as error:
        if str(error) != NOTHING_RUNS:
            raise
        note("nothing runs here: the documents are checked on their own, not against connections, models and each other")
        findings = _alone(texts)
    if as_json:
        show_json([_finding(found) for found in findings])
    for found in () if as_json else findings:
        typer.echo(str(found))
    if errors(findings):
        raise typer.Exit(PROBLEM)


@app.command("apply")
def apply_documents(
    files: Files,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only, publish nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Publishes connections, mappings and flows, all or none of them."""
    from fieldline_core.findings import errors

    texts = read_files(files)
    with engine() as opened:
        from fieldline_server.apply import apply

        done = apply(opened, registry(opened), texts, actor(), dry_run=dry_run)
    refused = errors(done.findings)
    if as_json:
        show_json({"findings": [_finding(found) for found in done.findings], "documents": done.documents})
    else:
        for found in done.findings:
            note(str(found))
        for document in done.documents:
            typer.echo(f"{document['kind']} {document['name']}: {document['result']}")
    if refused:
        note("nothing was published" if not dry_run else "nothing would be published")
        raise typer.Exit(PROBLEM)


@app.command()
def discover(
    connection: Annotated[str, typer.Argument(help="A connection that was applied.")],
    entity: Annotated[str | None, typer.Argument(help="One of its tables or objects, to see its fields.")] = None,
    as_json: AsJson = False,
) -> None:
    """Shows what a connection's system holds: its tables or objects, or the fields of one."""
    from fieldline_core.events import record

    with engine() as opened:
        from fieldline_server.discovering import catalog, entity_of

        held = catalog(opened, connection)
        with opened.store.transaction("discover") as tx:
            record(tx, "samples.viewed", actor(), {"connection": connection, "entity": entity or "all"})
    if entity is None:
        rows: list[dict[str, Any]] = [
            {"name": each.name, "label": each.label, "rows": each.rows, "fields": len(each.fields)} for each in held.entities
        ]
        show_rows(rows, ("name", "label", "rows", "fields"), as_json=as_json, none="it holds nothing that we may see")
        return
    found = entity_of(held, connection, entity)
    rows = [field.model_dump(mode="json") for field in found.fields]
    columns = ("name", "type", "label", "key", "nullable", "updatable", "length", "samples")
    show_rows(rows, columns, as_json=as_json, none=f"{entity} has no fields")


def read_files(files: list[str]) -> dict[str, str]:
    """The texts of some files by name; raises Misconfigured where one cannot be read."""
    from fieldline_core.errors import Misconfigured

    texts: dict[str, str] = {}
    for name in files:
        try:
            texts[name] = sys.stdin.read() if name == "-" else Path(name).read_text()
        except UnicodeDecodeError:
            raise Misconfigured(f"{name} is not text in UTF-8") from None
        except OSError as error:
            raise Misconfigured(f"{name} cannot be read: {error.strerror}") from None
    return texts


def _alone(texts: dict[str, str]) -> "list[Finding]":
    """What can be said of documents without a store."""
    from fieldline_mappings import lint_mapping
    from fieldline_server.lint import read_pieces

    pieces, findings = read_pieces(texts)
    mappings: Iterable[Any] = (piece for piece in pieces if piece.kind == "mapping")
    return [*findings, *(piece.source.locate(found) for piece in mappings for found in lint_mapping(piece.document))]


def _finding(found: "Finding") -> dict[str, Any]:
    names = ("file", "line", "column", "severity", "rule", "path", "message", "suggestion")
    return {name: getattr(found, name) for name in names}

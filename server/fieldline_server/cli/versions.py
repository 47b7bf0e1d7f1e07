"""Commands on what changes and who feels it: diff, versions, where-used."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fieldline_server.cli.app import PROBLEM, app
from fieldline_server.cli.mappings import is_file, mapping_at, mapping_of
from fieldline_server.cli.session import AsJson, engine
from fieldline_server.cli.show import show_json, show_rows

if TYPE_CHECKING:
    from fieldline_mappings import MappingDocument
    from fieldline_mappings.difference import Change

_VERSION = "A file, MAPPING (the published version), or MAPPING@DIGEST (the first digits are enough)."


@app.command("diff")
def diff(
    old: Annotated[str, typer.Argument(help=_VERSION)], new: Annotated[str, typer.Argument(help=_VERSION)], as_json: AsJson = False
) -> None:
    """Says in sentences how two versions of a mapping differ in meaning; exit code 1 where they do."""
    from fieldline_mappings.difference import differences

    changes = differences(_document(old), _document(new))
    if as_json:
        show_json([asdict(change) for change in changes])
    for change in () if as_json else changes:
        _show(change)
    if changes:
        raise typer.Exit(PROBLEM)


@app.command("versions")
def list_versions(mapping: Annotated[str, typer.Argument(help="A mapping.")], as_json: AsJson = False) -> None:
    """Lists the published versions of a mapping, newest first, with the flows that use each."""
    with engine() as opened:
        from fieldline_server.versions import SHOWN, versions

        found = [{name: value for name, value in row.items() if name != "body"} for row in versions(opened.store, mapping)]
    if not as_json:
        found = [row | {"digest": row["digest"][:SHOWN], "flows": _flows(row["used"])} for row in found]
    show_rows(found, ("digest", "published_at", "published_by", "current", "flows"), as_json=as_json, none="it has no versions")


@app.command("where-used")
def where_used(
    field: Annotated[str | None, typer.Argument(help="A field: Industry, Lead.Industry, Opportunities.Amount.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="A model instead: churn, or churn@3.")] = None,
    mapping: Annotated[str | None, typer.Option("--mapping", help="A mapping instead.")] = None,
    connection: Annotated[str | None, typer.Option("--connection", help="A connection instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """Lists the flows that use a field, a model, a mapping or a connection, and what of them depends on it."""
    from fieldline_core.errors import Misconfigured

    asked = {"field": field, "model": model, "mapping": mapping, "connection": connection}
    given = [(kind, name) for kind, name in asked.items() if name is not None]
    if len(given) != 1:
        raise Misconfigured("say one thing: a field, or --model, --mapping or --connection with a name")
    with engine() as opened:
        from fieldline_server.usage import USES

        ((kind, name),) = given
        found = [asdict(use) for use in USES[kind](opened, name)]
    columns = ("flow", "mapping", "model", "places", "features", "fields")
    show_rows(found, columns, as_json=as_json, none=f"no flow uses the {kind} {name!r}")


def _document(reference: str) -> "MappingDocument":
    """The mapping of a file, which needs no installation, or a published version."""
    if is_file(reference):
        return mapping_of(reference)
    with engine() as opened:
        return mapping_at(opened, reference)


def _show(change: "Change") -> None:
    typer.echo(change.sentence)
    for word, text in (("before", change.old), ("now", change.new)):
        if text:
            typer.echo(f"  {word + ':':8}{' '.join(text.split())}")
    touched = [f"{word} {', '.join(names)}" for word, names in (("features", change.features), ("fields", change.fields)) if names]
    if touched:
        typer.echo(f"  touches {'; '.join(touched)}")


def _flows(used: list[dict[str, Any]]) -> list[str]:
    """The flows by name; those that have moved on to a later release of theirs, or another mapping, are in brackets."""
    now = dict.fromkeys(each["flow"] for each in used if each["current"])
    before = dict.fromkeys(f"({each['flow']})" for each in used if each["flow"] not in now)
    return [*now, *before]

"""Commands that write a source down as a mapping: describe, suggest."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fieldline_server.cli.app import app
from fieldline_server.cli.session import AsJson, engine, registry
from fieldline_server.cli.show import cell, note, show_facts, show_json

if TYPE_CHECKING:
    from fieldline_core.schema import Entity


@app.command()
def describe(
    connection: Annotated[str, typer.Argument(help="A connection that was applied.")],
    entity: Annotated[str | None, typer.Argument(help="One of its tables or objects; all of them without.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="As the `record:` of a mapping, to be pasted into one.")] = False,
    as_json: AsJson = False,
) -> None:
    """Describes the tables or objects of a connection's system; shows no record's values."""
    with engine() as opened:
        from fieldline_server.discovering import catalog, entity_of, schema_of

        found = catalog(opened, connection)
        entities = found.entities if entity is None else [entity_of(found, connection, entity)]
    if as_json:
        facts = [schema_of(each) if schema else _facts(each) for each in entities]
        show_json(facts if entity is None else facts[0])
        return
    for number, each in enumerate(entities):
        if number:
            typer.echo("---" if schema else "")
        if schema:
            _show_record(each)
        else:
            show_facts(_facts(each), as_json=False)


@app.command()
def suggest(
    source: Annotated[str, typer.Argument(metavar="FLOW_OR_CONNECTION", help="A flow, or a connection with one of its entities.")],
    model: Annotated[str, typer.Option("--model", help="The model that wants features: NAME, NAME@ALIAS or NAME@3.")],
    entity: Annotated[str | None, typer.Argument(help="A table or object of the connection.")] = None,
    inputs: Annotated[str, typer.Option("--inputs", help="Names of its inputs in its order, parted by commas.")] = "",
    into: Annotated[Path | None, typer.Option("--into", help="A file: adds the features that its mapping does not have.")] = None,
    as_json: AsJson = False,
) -> None:
    """Proposes a mapping: for each input of a model the field that fits best by name, label and type."""
    names = [name.strip() for name in inputs.split(",") if name.strip()]
    with engine() as opened:
        from fieldline_server.suggesting import add_to, entity_of_flow
        from fieldline_server.suggesting import suggest as propose

        connection, chosen = (source, entity) if entity else entity_of_flow(opened, source)
        found = propose(opened, connection, chosen, registry(opened).resolve(model), names)
    added = add_to(into, found) if into else None
    if as_json:
        show_json(
            {
                "entity": found.entity, "proposals": found.as_json(), "mapping": found.text,
                "added": added and added.features, "left_out": added and added.left_out,
            }
        )  # fmt: skip
    elif added is None:
        typer.echo(found.text, nl=False)
    else:
        note(f"{into}: {f'added {cell(added.features)}' if added.features else 'nothing was added'}")
        for name, why in added.left_out.items():
            note(f"left out {cell(name)}: {cell(why)}")


def _show_record(entity: "Entity") -> None:
    from fieldline_mappings.suggest import record_block

    typer.echo(f"# {entity.name}")
    typer.echo(record_block(entity.fields), nl=False)


def _facts(entity: "Entity") -> dict[str, Any]:
    return {
        "name": entity.name, "label": entity.label, "rows": entity.rows,
        "key": [field.name for field in entity.fields if field.key], "fields": [field.name for field in entity.fields],
    }  # fmt: skip

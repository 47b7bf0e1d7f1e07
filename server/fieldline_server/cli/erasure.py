"""Commands that erase a record, and that hold one: they belong to the topic of the log, which says that it was done."""

from typing import Annotated

import typer

from fieldline_server.cli.audit import audit
from fieldline_server.cli.session import AsJson, Why, actor, engine
from fieldline_server.cli.show import show_done, show_facts, show_json, show_rows

Parts = Annotated[list[str], typer.Option("--key", help="The record's key; the parts of a composite key one by one.")]
Key = Annotated[list[str], typer.Argument(metavar="KEY...", help="The record's key; each part of a composite key on its own.")]
Kept = Annotated[str, typer.Option("--why", help="The reason, kept in the log for ever: write no name of a person into it.")]


@audit.command()
def erase(
    record: Parts,
    why: Kept,
    despite: Annotated[str, typer.Option("--despite", help="The legal basis that overrides a flow's retention class.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be erased.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erases all that is kept of a record for good, and prints the certificate; every proof still holds."""
    with engine() as opened:
        from fieldline_core.batch import key_text
        from fieldline_core.pipeline.certificate import certify
        from fieldline_core.pipeline.erase import erase as erase_record
        from fieldline_core.pipeline.erase import survey

        key = key_text(record)
        if dry_run:
            found = survey(opened, key, despite=despite)
            show_facts({**found.counts, "flows": sorted(found.flows)}, as_json=as_json)
            return
        certificate = certify(opened, erase_record(opened, key, actor(), why, despite=despite))
    if as_json:
        show_json(certificate.to_json())
    else:
        typer.echo(certificate.text(), nl=False)


@audit.command()
def hold(record: Key, why: Why, as_json: AsJson = False) -> None:
    """Holds a record for a legal reason: until its release it is not erased."""
    with engine() as opened:
        from fieldline_core.batch import key_text
        from fieldline_core.pipeline.hold import place_hold

        place_hold(opened, key_text(record), actor(), why)
    show_done({"held": True}, "held", as_json=as_json)


@audit.command()
def release(record: Key, why: Why, as_json: AsJson = False) -> None:
    """Releases the hold on a record."""
    with engine() as opened:
        from fieldline_core.batch import key_text
        from fieldline_core.pipeline.hold import release_hold

        release_hold(opened, key_text(record), actor(), why)
    show_done({"held": False}, "released", as_json=as_json)


@audit.command()
def holds(as_json: AsJson = False) -> None:
    """Lists the records that are held."""
    with engine() as opened:
        from fieldline_core.pipeline.hold import list_holds

        found = list_holds(opened)
    show_rows(found, ("key", "placed_at", "placed_by", "why"), as_json=as_json, none="no record is held")

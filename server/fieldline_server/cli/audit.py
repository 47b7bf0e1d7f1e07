"""Commands on the log: who did what, and proofs of it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fieldline_server.cli.app import topic
from fieldline_server.cli.searching import Cursor, Line, fill, note_more, show_found
from fieldline_server.cli.session import AsJson, Limit, Why, actor, engine
from fieldline_server.cli.show import show_done, show_facts, show_rows

audit = topic("audit", "The log of all that was decided and done, and its proofs.")

KeptAt = Annotated[Path | None, typer.Option("--out", help="A file for it, best where Fieldline's operators cannot write.")]
Record = Annotated[list[str] | None, typer.Option("--key", help="All on one record; the parts of a composite key one by one.")]
Since = Annotated[list[Path] | None, typer.Option("--since", help="An older checkpoint, to prove that the log only grew.")]


@audit.command("list")
def list_all(line: Line = None, limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """Lists who changed what, newest first, by action:, actor:, record:, flow:, mapping:, model:, since:, until: and free text.

    `position` is the place in the log.
    """
    with engine() as opened:
        from fieldline_core.search import search_events

        found = fill(lambda left, after: search_events(opened, " ".join(line or ()), left, after), limit, cursor)
    if as_json:
        show_found(found)
        return
    rows = [row | {"detail": json.dumps(row["detail"], ensure_ascii=False)} for row in found.items]
    show_rows(rows, ("id", "position", "at", "event", "actor", "detail"), as_json=False, none="nothing was recorded")
    note_more(found)


@audit.command()
def key(as_json: AsJson = False) -> None:
    """Shows the public key of the log: give it to those who verify, before they need it."""
    with engine() as opened:
        from fieldline_core.pipeline.sequence import open_log_key

        verifier = open_log_key(opened.store, opened.keyring).verifier
    show_done({"name": verifier.name, "id": verifier.id.hex(), "vkey": str(verifier)}, str(verifier), as_json=as_json)


@audit.command()
def checkpoint(
    out: KeptAt = None,
    witnessed: Annotated[bool, typer.Option("--witnessed", help="The newest one that a witness cosigned.")] = False,
    as_json: AsJson = False,
) -> None:
    """Shows the log's newest checkpoint: whoever keeps it can tell later whether anything before it was changed."""
    from fieldline_core.errors import Misconfigured

    with engine() as opened:
        from fieldline_core.pipeline.prove import SealedLog
        from fieldline_core.pipeline.sequence import seal_all

        seal_all(opened)
        with opened.store.transaction("checkpoint") as tx:
            log = SealedLog(tx)
            given = log.witnessed() if witnessed else log.note
    if given is None:
        raise Misconfigured("no witness has cosigned a checkpoint yet: see 'fieldline audit witnesses'")
    note = given.decode()
    if out is not None:
        _write(out, note)
    show_done({"size": int(note.split("\n")[1]), "note": note}, note.rstrip("\n"), as_json=as_json)


@audit.command()
def witnesses(as_json: AsJson = False) -> None:
    """Lists the witnesses of the log: the checkpoint that each has, since when there are newer ones, and what is wrong."""
    with engine() as opened, opened.store.transaction("witnesses") as tx:
        found = tx.all("witness.listing")
    columns = ("name", "size", "seen_at", "lag_s", "failures", "forked", "problem")
    show_rows(found, columns, as_json=as_json, none="no witness is named: see FIELDLINE_WITNESSES")


@audit.command("rotate-key")
def rotate_key(
    why: Why,
    beside_days: Annotated[int, typer.Option("--beside-days", min=0, max=365, help="Days for which the old key signs, too.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Changes the key that signs the log; the old one announces the new one, which those who verify can follow."""
    with engine() as opened:
        from fieldline_core.pipeline.change_key import change_log_key

        verifier = change_log_key(opened, actor(), why, beside_days)
    show_done({"name": verifier.name, "id": verifier.id.hex(), "vkey": str(verifier)}, str(verifier), as_json=as_json)


@audit.command()
def export(
    out: Annotated[Path, typer.Option("--out", help="The zip file to write.")],
    record: Record = None,
    start: Annotated[int | None, typer.Option("--from", min=0, help="The first entry of a range.")] = None,
    end: Annotated[int | None, typer.Option("--to", min=0, help="The entry behind the last one of the range.")] = None,
    entries_only: Annotated[bool, typer.Option("--entries-only", help="Without the rows of the batches.")] = False,
    old: Since = None,
    as_json: AsJson = False,
) -> None:
    """Writes evidence with its proofs to a file that `fieldline-verify` checks anywhere; that it was exported is recorded."""
    if record and (start is not None or end is not None):
        raise typer.BadParameter("give either --key or --from and --to")
    if end is not None and end <= (start or 0):
        raise typer.BadParameter("--to is behind --from")
    with engine() as opened:
        from fieldline_core.batch import key_text
        from fieldline_server.cli.progress import Progress
        from fieldline_server.evidence_bundle import Wish, export_evidence

        notes = [_read(path) for path in old or ()]
        wish = Wish(key_text(record) if record else None, start or 0, end, not entries_only, notes)
        with Progress(None) as shown:
            done = export_evidence(opened, wish, out, actor(), lambda done: shown.update(done.rows, f"{done.batches:,} batches"))
    facts = {"file": str(out), "entries": done.entries, "batches": done.batches, "rows": done.rows, "log_size": done.size}
    if as_json:
        show_facts(facts, as_json=True)
    else:
        typer.echo(f"{out}: {done.entries:,} entries, {done.rows:,} rows; check it with: fieldline-verify {out}")


def _write(path: Path, text: str) -> None:
    from fieldline_core.errors import Misconfigured

    try:
        path.write_text(text)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}") from None


def _read(path: Path) -> bytes:
    from fieldline_core.errors import Misconfigured

    try:
        return path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from None

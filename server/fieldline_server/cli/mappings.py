"""Commands that try a mapping before anything is decided by it: preview, test, backtest."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fieldline_server.cli.app import PROBLEM, app
from fieldline_server.cli.comparison_view import show_comparison
from fieldline_server.cli.documents import read_files
from fieldline_server.cli.progress import Progress
from fieldline_server.cli.session import AsJson, actor, engine, registry
from fieldline_server.cli.show import cell, note, show_json, show_table

_EXACT = 2**53

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fieldline_core.findings import Finding
    from fieldline_core.pipeline.engine import Engine
    from fieldline_mappings import MappingDocument

VERSION = "A file, MAPPING (the published version), or MAPPING@DIGEST; OLD is what the flow uses now where it is left out."
Draft = Annotated[str | None, typer.Option("--mapping", help="A file with a mapping, or MAPPING@DIGEST, in place of its own.")]


@app.command()
def preview(
    flow: Annotated[str, typer.Argument(help="A flow with a source.")],
    rows: Annotated[int, typer.Option("--rows", min=1, max=1000, help="Records to read.")] = 5,
    draft: Draft = None,
    steps: Annotated[bool, typer.Option("--steps", help="Show what each part of a formula gives.")] = False,
    as_json: AsJson = False,
) -> None:
    """Reads some records of a flow and shows each feature with the formula it comes from; nothing is written."""
    with engine() as opened:
        from fieldline_server.previewing import preview_flow

        found = preview_flow(opened, registry(opened), flow, rows, actor(), mapping_at(opened, draft) if draft else None)
    if as_json:
        show_json(found)
        return
    for record in found:
        typer.echo(f"record {cell(record['key'])}")
        show_table(("feature", "value", "formula", "gives", "note"), _features(record["features"], steps=steps))
        typer.echo("")
    if not found:
        note("the source has no records")


def _features(features: list[dict[str, Any]], *, steps: bool) -> "Iterator[tuple[str, ...]]":
    shown = None
    for each in features:
        # Categories are a feature each, of one formula that is worth showing once.
        again, shown = each["formula"] == shown, each["formula"]
        given = ("", "") if again else (cell(each["formula"]), cell(each["computed"]))
        yield each["feature"], cell(each["value"]), *given, cell(each["note"])
        # The last step is the formula itself.
        for step in each["steps"][:-1] if steps and not again else ():
            yield "", "", f"  {cell(step['part'])}", f"  {cell(step['value'])}", ""


@app.command("test")
def run_tests(
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILES...]", help="YAML files; - reads standard input.")] = None,
    mapping: Annotated[str | None, typer.Option("--mapping", help="A published mapping, in place of files.")] = None,
    as_json: AsJson = False,
) -> None:
    """Runs the golden records of mappings (`tests:`) and shows what differs; files need no installation."""
    if bool(files) == (mapping is not None):
        raise typer.BadParameter("give either files or --mapping")
    outcomes, findings = _published(mapping) if mapping else _in_files(files or [])
    for found in findings:
        note(str(found))
    if as_json:
        show_json(outcomes)
    else:
        _show_outcomes(outcomes)
    if findings or not all(outcome["passed"] for outcome in outcomes):
        raise typer.Exit(PROBLEM)


@app.command()
def backtest(
    mappings: Annotated[list[str], typer.Argument(metavar="[OLD] NEW", help=VERSION)],
    flow: Annotated[str, typer.Option("--flow", help="The flow whose records are decided both ways.")],
    last: Annotated[int, typer.Option("--last", min=1, max=1_000_000, help="How many of its records, those decided last.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Decides a flow's last records under two mappings and shows what changes; nothing is written."""
    if len(mappings) > 2:
        raise typer.BadParameter("give one mapping, or two: the old one and the new one")
    with engine() as opened:
        from fieldline_server.backtesting import backtest as compare

        *old, new = (mapping_at(opened, each) for each in mappings)
        with Progress(last) as shown:
            found = compare(
                opened, registry(opened), flow, (old[0] if old else None, new), last, actor(),
                lambda done: shown.update(done.rows + done.gone, f"{done.changed:,} change"),
            )  # fmt: skip
    if as_json:
        show_json(found.as_json())
    else:
        show_comparison(found.as_json())


def _in_files(files: list[str]) -> "tuple[list[dict[str, Any]], list[Finding]]":
    from fieldline_core.findings import errors
    from fieldline_server.goldens import run_texts

    outcomes, findings = run_texts(read_files(files))
    return outcomes, errors(findings)


def _published(mapping: str) -> "tuple[list[dict[str, Any]], list[Finding]]":
    with engine() as opened:
        from fieldline_server.goldens import run_published

        return run_published(opened, registry(opened), mapping), []


def _show_outcomes(outcomes: list[dict[str, Any]]) -> None:
    for outcome in outcomes:
        typer.echo(f"{'passed' if outcome['passed'] else 'FAILED'}  {outcome['mapping']}: {cell(outcome['test'])}")
        if outcome["failures"]:
            show_table(("where", "what", "name", "expected", "given", "note"), [_failure(each) for each in outcome["failures"]])
    failed = sum(not outcome["passed"] for outcome in outcomes)
    typer.echo(f"{len(outcomes) - failed} passed, {failed} failed")


def _failure(failure: dict[str, Any]) -> tuple[str, ...]:
    where = ":".join(str(failure[part]) for part in ("file", "line") if failure[part])
    expected, given = (_shown(failure[part]) for part in ("expected", "given"))
    if failure["part"] == "held":
        expected, given = (failure[part] or "not held" for part in ("expected", "given"))
    return f"  {where}", failure["part"], cell(failure["name"]), cell(expected), cell(given), cell(failure["note"])


def _shown(value: Any) -> str:
    """A value so that a blank, a text and a number are told apart, with every digit."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        value = int(value)
    return "blank" if value is None else json.dumps(value, ensure_ascii=False)


def mapping_at(opened: "Engine", reference: str) -> "MappingDocument":
    """The mapping in a file, or the published version of a name or a digest."""
    if is_file(reference):
        return mapping_of(reference)
    from fieldline_server.versions import version

    return version(opened.store, reference)[1]


def is_file(reference: str) -> bool:
    """Whether a mapping is named by a file (`-` is the standard input) and not by its name."""
    return reference == "-" or reference.endswith((".yaml", ".yml")) or Path(reference).is_file()


def mapping_of(file: str) -> "MappingDocument":
    """The mapping in a file."""
    from fieldline_server.sourcing import mapping_in

    return mapping_in(read_files([file])[file], file)

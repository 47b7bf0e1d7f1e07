"""The golden records of mappings in files and of published ones, run and told with the place where they are written."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fieldline_core.errors import Misconfigured
from fieldline_core.findings import Finding, did_you_mean, errors
from fieldline_core.pipeline.engine import Engine
from fieldline_core.signature import Signature
from fieldline_core.yaml_source import Source
from fieldline_inference.registry import Registry
from fieldline_mappings import MappingDocument, lint_mapping
from fieldline_mappings.golden import Failure, run_golden
from fieldline_server.lint import read_pieces

_KEYS = {"feature": "features.", "field": "fields.", "held": "held", "test": "outputs."}


def run_texts(texts: Mapping[str, str]) -> tuple[list[dict[str, Any]], list[Finding]]:
    """What came of each golden record in some files (name -> text), and what keeps documents from being read; needs no store."""
    pieces, findings = read_pieces(texts)
    outcomes: list[dict[str, Any]] = []
    for piece in (piece for piece in pieces if piece.kind == "mapping"):
        wrong = [piece.source.locate(found) for found in errors(lint_mapping(piece.document))]
        findings += wrong
        outcomes += [] if wrong else _outcomes(piece.document, None, piece.source)
    return outcomes, findings


def run_published(engine: Engine, registry: Registry, name: str) -> list[dict[str, Any]]:
    """What came of each golden record of a published mapping, with the model of a flow that uses it."""
    with engine.store.transaction("goldens") as tx:
        row = tx.one("flows.document", kind="mapping", name=name)
        known = [each["name"] for each in tx.all("flows.documents", kind="mapping")]
        releases = [each["body"] for each in tx.all("flows.listing") if each["body"]]
    if row is None:
        raise Misconfigured(f"there is no mapping {name!r}. {did_you_mean(name, known)}".rstrip())
    pins = [body["models"][0] for body in releases if body["mapping"] == row["digest"]]
    signature = registry.resolve(f"{pins[0]['name']}@{pins[0]['version']}").signature if pins else None
    return _outcomes(MappingDocument.model_validate(row["body"]), signature, Source(None))


def _outcomes(document: MappingDocument, signature: Signature | None, source: Source) -> list[dict[str, Any]]:
    return [
        {
            "mapping": document.mapping, "test": outcome.name, "passed": not outcome.failures,
            "failures": [asdict(failure) | _place(source, outcome.position, failure) for failure in outcome.failures],
        }
        for outcome in run_golden(document, signature)
    ]  # fmt: skip


def _place(source: Source, position: int, failure: Failure) -> dict[str, Any]:
    line, column = source.place(f"tests[{position}].{_KEYS[failure.part]}{failure.name}")
    return {"file": source.file, "line": line, "column": column}

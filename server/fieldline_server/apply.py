"""From documents to releases: publish what people wrote, and pin what each flow means by it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from psycopg.types.json import Jsonb

from fieldline_core.errors import FieldlineError, Misconfigured
from fieldline_core.events import record
from fieldline_core.findings import Finding, errors
from fieldline_core.flow import Flow, ModelPin, digest_of, release_body
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.schedule import next_time, schedule_text
from fieldline_core.store import Transaction
from fieldline_inference.registry import ModelVersion, Registry
from fieldline_server.lint import KINDS, Linter, Piece, read_pieces, touches
from fieldline_server.versions import changed_names


@dataclass(slots=True)
class Applied:
    """What applying did: per document `published` or `unchanged`; nothing where a finding is an error."""

    findings: list[Finding] = field(default_factory=list)
    documents: list[dict[str, str]] = field(default_factory=list)


def apply(engine: Engine, registry: Registry, texts: Mapping[str, str], by: str, *, dry_run: bool = False) -> Applied:
    """Lints documents and, where none has an error, publishes all of them in one transaction."""
    pieces, findings = read_pieces(texts)
    findings += Linter(engine, registry, pieces).findings()
    done = Applied(findings)
    if errors(findings) or dry_run:
        return done
    with engine.store.transaction("apply") as tx:
        for piece in sorted(pieces, key=lambda p: list(KINDS).index(p.kind)):
            done.documents.append(_publish(tx, piece, by))
        touched = {piece.name for piece in pieces}
        for row in tx.all("flows.documents", kind="flow"):
            flow = Flow.model_validate(row["body"])
            if touches(touched, flow):
                release_flow(tx, registry, flow, by)
        tx.one("relay.notify")
    return done


def release_flow(tx: Transaction, registry: Registry, flow: Flow, by: str) -> str:
    """Pins what a flow means now under one digest, and makes it what new records are decided by."""
    mapping = tx.one("flows.document", kind="mapping", name=flow.mapping)
    if mapping is None:
        raise Misconfigured(f"the flow {flow.flow!r} names the mapping {flow.mapping!r}, which is not there")
    pins = tuple(_pin(registry.resolve(model)) for model in flow.models)
    body = release_body(flow, mapping["digest"], pins)
    digest = digest_of(body)
    state = tx.one("flows.ensure", name=flow.flow)
    assert state is not None
    release = tx.one("flows.put_release", flow=state["id"], digest=digest, body=Jsonb(body))
    clock = tx.one("flows.clock")
    assert release is not None
    assert clock is not None
    schedule = schedule_text(flow)
    due = state["next_at"] if schedule == state["schedule"] else next_time(schedule, clock["now"]) if schedule else None
    if release["id"] != state["release_id"] or schedule != state["schedule"]:
        tx.run("flows.point", flow=state["id"], release=release["id"], schedule=schedule, next_at=due)
        record(tx, "config.published", by, {"kind": "release", "flow": flow.flow, "release": digest})
    return digest


def _pin(version: ModelVersion) -> ModelPin:
    return ModelPin(version.name, version.version, version.digest, version.device)


def _publish(tx: Transaction, piece: Piece, by: str) -> dict[str, str]:
    values = {"kind": piece.kind, "name": piece.name, "digest": piece.digest, "by": by}
    before = tx.one("flows.document", kind=piece.kind, name=piece.name)
    tx.run("flows.put_document", body=Jsonb(piece.body), source=piece.text, **values)
    changed = tx.one("flows.publish", **values) is not None
    if piece.kind == "connection":
        limits = piece.document.limits
        tx.run(
            "effects.put_target", name=piece.name, rate_per_s=limits.rate_per_s, burst=limits.burst, concurrency=limits.concurrency
        )
    if changed:
        detail = {"kind": piece.kind, "name": piece.name, "digest": piece.digest, "before": before["digest"] if before else None}
        changes = {"changes": changed_names(before["body"], piece.document)} if before and piece.kind == "mapping" else {}
        record(tx, "config.published", by, detail | changes)
    return {"kind": piece.kind, "name": piece.name, "digest": piece.digest, "result": "published" if changed else "unchanged"}


def check_connections(engine: Engine, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each connection with an empty text where it can be reached, or with what is wrong."""
    for name in names:
        try:
            engine.parts.connector(name).check()
            yield name, ""
        except FieldlineError as error:
            yield name, str(error)

"""The integration specification of a flow: what its current release reads, computes and writes, as plain data."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from fieldline_connectors.fhir.target import places as fields_named
from fieldline_core.admission import TargetLimits
from fieldline_core.flow import Connection, Flow, Guards, Release
from fieldline_core.pipeline.facts import FACTS
from fieldline_core.pipeline.schedule import schedule_text
from fieldline_core.retry import RetryPolicy
from fieldline_core.schema import FieldType
from fieldline_core.secret import Secret
from fieldline_core.settings import Settings
from fieldline_core.signature import Signature
from fieldline_mappings import CompiledPlan
from fieldline_mappings.document import Feature
from fieldline_mappings.features import encoding
from fieldline_mappings.inputs import fill
from fieldline_mappings.wording import blank_words, check_words, clip_words, unknown_words
from fieldline_server.usage import depends, entity_of

_KEPT_IN = {"env": "environment variable", "file": "file", "store": "Fieldline's store, encrypted"}
_WAYS = ("scheme", "auth", "grant", "kind", "type", "method")
"""The keys beside a secret that say how it is used."""


class Part(BaseModel):
    """Base of the specification's parts."""

    model_config = ConfigDict(frozen=True)


class Access(Part):
    """A secret that a connection uses, without its value or name: the setting, how it is used, and where it is kept."""

    setting: str
    way: str
    kept_in: str


class System(Part):
    """A connection of the flow."""

    connection: str
    connector: str
    about: str
    roles: list[str]
    access: list[Access]
    limits: TargetLimits


class Reading(Part):
    """What is read of a system, in its connector's terms; `name` is the list's for rows that belong to a record."""

    connection: str
    entity: str
    terms: dict[str, Any]
    name: str = ""
    by: str = ""


class FieldRead(Part):
    """A field that is read, and why: the features and the written fields that need it."""

    field: str
    type: str
    features: list[str]
    fields: list[str]


class FeaturePart(Part):
    """A feature with its rules."""

    name: str
    label: str
    type: str
    formula: str
    """The formula, or the field that is taken as it is."""
    if_blank: str
    check: str
    clip: str
    categories: list[str | int]
    if_unknown: str
    encoding: str
    reads: list[str]


class TablePart(Part):
    """A lookup table, without its rows."""

    name: str
    rows: int
    digest: str


class ModelPart(Part):
    """The model with what it takes and gives."""

    name: str
    version: int
    digest: str
    device: str
    signature: Signature


class InputPart(Part):
    """An input of the model, and what fills it, in order."""

    name: str
    dtype: str
    columns: list[str]


class FieldWritten(Part):
    """A field that the mapping gives, and where it goes: `step.field` of the write steps."""

    name: str
    label: str
    type: str
    formula: str
    reads: list[str]
    goes_to: list[str]


class WritePart(Part):
    """A write step."""

    name: str
    connection: str
    entity: str
    terms: dict[str, Any]
    dedupe: str | None
    """How a repeat is made harmless, as the connector declares it; null where it has to be asked of a system that is away."""
    retry: RetryPolicy


class Kept(Part):
    """How long something is kept; null is for good."""

    what: str
    days: int | None


class Specification(Part):
    """What a flow does, generated from its current release; it holds no secret and nothing of a record."""

    flow: str
    release: str
    generated_at: datetime
    trigger: str
    record_key: str
    """The path of the record's key in a webhook's message; empty where records are read."""
    systems: list[System]
    source: Reading | None
    lookups: list[Reading]
    mapping: str
    mapping_digest: str
    timezone: str
    blanks: str
    fields_read: list[FieldRead]
    features: list[FeaturePart]
    tables: list[TablePart]
    model: ModelPart
    inputs: list[InputPart]
    fields_written: list[FieldWritten]
    writes: list[WritePart]
    retry: RetryPolicy
    guards: Guards
    retention: list[Kept]


@dataclass(frozen=True, slots=True)
class Running:
    """What a flow runs by now."""

    release: Release
    plan: CompiledPlan
    signature: Signature
    connections: Mapping[str, tuple[Connection, Any, str]]
    """By name: the connection, its settings as its connector reads them, and what the connector says of itself."""
    dedupe: Callable[[str], str | None]
    """How a repeat of a write step is made harmless."""
    settings: Settings


def specify(running: Running, at: datetime) -> Specification:
    """The specification of what runs."""
    release, plan, flow = running.release, running.plan, running.release.flow
    document, source, pin = plan.document, flow.source, release.models[0]
    return Specification(
        flow=flow.flow,
        release=release.digest,
        generated_at=at,
        trigger=_trigger(flow),
        record_key=flow.trigger.key or "",
        systems=[_system(flow, *known) for known in running.connections.values()],
        source=Reading(connection=source.connection, entity=entity_of(source.query), terms=source.query) if source else None,
        lookups=[
            Reading(connection=each.connection, entity=entity_of(each.query), terms=each.query, name=each.name, by=each.by or "")
            for each in flow.lookups
        ],
        mapping=flow.mapping,
        mapping_digest=release.mapping_digest,
        timezone=document.timezone,
        blanks=document.blanks,
        fields_read=_fields_read(plan),
        features=_features(plan),
        tables=[TablePart(name=name, rows=len(table), digest=_digest(table)) for name, table in document.tables.items()],
        model=ModelPart(name=pin.name, version=pin.version, digest=pin.digest, device=pin.device, signature=running.signature),
        inputs=[
            InputPart(name=each.tensor.name, dtype=each.tensor.dtype, columns=[column.name for column in each.columns])
            for each in fill(document, running.signature, plan.columns)[0]
        ],
        fields_written=_fields_written(flow, plan),
        writes=[
            WritePart(name=each.name, connection=each.connection, entity=entity_of(each.target), terms=each.target,
                      dedupe=running.dedupe(each.name), retry=each.retry)
            for each in flow.writes
        ],
        retry=flow.retry,
        guards=flow.guards,
        retention=list(_retention(running)),
    )  # fmt: skip


def _trigger(flow: Flow) -> str:
    if flow.trigger.webhook:
        return f"signed messages to the connection {flow.trigger.webhook}"
    schedule = schedule_text(flow)
    ways = [f"schedule {schedule} (UTC)"] if schedule else []
    ways += [f"an EHR that calls by CDS Hooks ({flow.trigger.cds.hook})"] if flow.trigger.cds else []
    ways += [f"changes in {flow.source.connection}"] if flow.source and flow.trigger.changes is not None else []
    return ", ".join(ways) or "by hand"


def _system(flow: Flow, connection: Connection, config: Any, about: str) -> System:
    name = connection.connection
    roles = [
        *(["sends signed messages"] if flow.trigger.webhook == name else []),
        *(["records are read"] if flow.source and flow.source.connection == name else []),
        *(f"rows of {lookup.name} are read" for lookup in flow.lookups if lookup.connection == name),
        *(f"step {write.name} is written" for write in flow.writes if write.connection == name),
    ]
    access = list(_access(config, "", ""))
    return System(
        connection=name, connector=connection.connector, about=about, roles=roles, access=access, limits=connection.limits
    )


def _access(value: Any, path: str, way: str) -> Iterator[Access]:
    """The secrets in a connection's settings; one that is listed twice (while it is being changed) is told once."""
    match value:
        case Secret():
            yield Access(setting=path, way=way, kept_in=_KEPT_IN.get(value.reference.partition(":")[0], "the settings"))
        case BaseModel():
            inner = next((str(getattr(value, key)) for key in _WAYS if isinstance(getattr(value, key, None), str)), way)
            for name in type(value).model_fields:
                yield from _access(getattr(value, name), f"{path}.{name}" if path else name, inner)
        case Mapping():
            for name, part in value.items():
                yield from _access(part, f"{path}.{name}", way)
        case list() | tuple():
            yield from dict.fromkeys(found for part in value for found in _access(part, path, way))


def _fields_read(plan: CompiledPlan) -> list[FieldRead]:
    types: dict[str, FieldType] = {}
    for name, type in plan.fields_read().items():
        types |= {name: type} if isinstance(type, FieldType) else {f"{name}.{field}": kind for field, kind in type.items()}
    features, written = depends(plan)
    return [
        FieldRead(field=name, type=str(type), features=_needing(features, name), fields=_needing(written, name))
        for name, type in types.items()
    ]


def _needing(reads: Mapping[str, set[str]], field: str) -> list[str]:
    return [name for name, found in reads.items() if field in found]


def _features(plan: CompiledPlan) -> list[FeaturePart]:
    reads, _ = depends(plan)
    features = zip(plan.document.features, plan.checked.types, strict=True)
    return [
        FeaturePart(
            name=each.name, label=each.label, type=type, formula=each.formula or each.field or "", if_blank=blank_words(each),
            check=check_words(each), clip=clip_words(each), categories=list(each.categories), if_unknown=_unknown(each),
            encoding=encoding(each, type) or "as it is", reads=sorted(reads[each.name]),
        )
        for each, type in features
    ]  # fmt: skip


def _unknown(feature: Feature) -> str:
    return unknown_words(feature) if feature.categories else ""


def _digest(table: Mapping[Any, Any]) -> str:
    rows = sorted([json.dumps(key), json.dumps(value)] for key, value in table.items())
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _fields_written(flow: Flow, plan: CompiledPlan) -> list[FieldWritten]:
    _, reads = depends(plan)
    types = plan.fields_written()
    places = [
        (str(filling), f"{write.name}.{field}")
        for write in flow.writes
        for field, filling in (write.target.get("fields") or {}).items()
    ]
    places += _on_card(flow)
    return [
        FieldWritten(
            name=each.name, label=each.label, type=str(types[each.name]), formula=each.formula, reads=sorted(reads[each.name]),
            goes_to=[place for name, place in places if name == each.name],
        )
        for each in plan.document.written
    ] + [
        FieldWritten(name=fact, label="Of the decision itself", type=str(type), formula="", reads=[], goes_to=goes_to)
        for fact, type in FACTS.items()
        if (goes_to := [place for name, place in places if name == fact])
    ]  # fmt: skip


def _on_card(flow: Flow) -> list[tuple[str, str]]:
    """The fields that a card of CDS Hooks shows, each with its place there."""
    if flow.trigger.cds is None:
        return []
    card = flow.trigger.cds.card
    shown = {"summary": card.summary, "indicator": card.indicator, "detail": card.detail}
    named = [dict.fromkeys(fields_named(each.create)) for each in card.suggestions]
    suggested = [(field, f"card.suggestions[{position}]") for position, fields in enumerate(named) for field in fields]
    return [(field, f"card.{part}") for part, field in shown.items() if field] + suggested


def _retention(running: Running) -> Iterator[Kept]:
    settings = running.settings
    yield Kept(
        what="finished runs, their chunks and writes; dead letters that were replayed or discarded", days=settings.retain_days
    )
    yield Kept(what="ids of events, to recognise repeats", days=settings.retain_inbox_days)
    yield Kept(what="decisions and receipts (evidence), open dead letters, audit events", days=None)
    for name, (_, config, _) in running.connections.items():
        days = getattr(config, "ledger_retention_days", None)
        if days is not None:
            yield Kept(what=f"the ledger of writes at {name}", days=days)

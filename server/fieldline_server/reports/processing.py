"""The record of processing activities: each flow that decides, from what is published."""

from collections.abc import Iterator

from fieldline_core.flow import Release
from fieldline_core.schema import FieldType
from fieldline_mappings import CompiledPlan
from fieldline_server.reports.data_subject import kept, source_of
from fieldline_server.reports.reading import Reader, System
from fieldline_server.reports.shape import Kind, Row
from fieldline_server.usage import entity_of

_MEASURES = (
    "contents encrypted under a key of their own for each batch (AES-256-GCM), records found by keyed hash, secrets outside of "
    "configuration, API keys with scopes, a log that shows changes"
)


def rows(reader: Reader) -> Iterator[Row]:
    """A row for each flow, by its current release."""
    with reader.engine.store.transaction("report") as tx:
        flows = tx.all("reports.flows", flow=reader.question.flow)
    for flow in flows:
        release = reader.release(flow["digest"])
        if release is not None:
            yield _row(reader, release)


def _row(reader: Reader, release: Release) -> Row:
    flow, published = release.flow, reader.released(release.digest)
    plan = reader.engine.parts.plan(release)
    assert isinstance(plan, CompiledPlan)
    recipients = [f"{_named(reader.system(write.connection))} {entity_of(write.target)}".strip() for write in flow.writes]
    return Row(published, {
        "activity": flow.flow, "since": published.at.isoformat() if published else "",
        "published_by": published.actor if published else "",
        "purpose": f"decisions by the model {', '.join(f'{pin.name}@{pin.version}' for pin in release.models)}",
        "subjects": entity_of(flow.source.query) if flow.source else f"records sent to {flow.trigger.webhook}",
        "data": {
            "read": sorted(_paths(plan)), "features": [feature.name for feature in plan.document.features],
            "written": sorted(plan.fields_written()),
        },
        "source": source_of(reader, flow), "recipient": ", ".join(recipients) or "none: decisions are only kept", "transfers": "",
        "kept": kept(flow), "measures": _MEASURES, "release": release.digest,
    })  # fmt: skip


def _paths(plan: CompiledPlan) -> Iterator[str]:
    for name, type in plan.fields_read().items():
        yield from [name] if isinstance(type, FieldType) else (f"{name}.{field}" for field in type)


def _named(system: System) -> str:
    return " ".join(filter(None, (system.name, f"({system.connector})" if system.connector else "", system.address)))


KIND = Kind(
    name="processing-activities",
    title="Record of processing activities",
    basis="GDPR, Article 30(1) and (2)",
    produces="Produces the records for a record of processing activities: each flow with data, sources, recipients and retention.",
    limits=(
        "It says what runs now, and takes no period: earlier releases are in the report change-log.",
        "Names and contacts of controller, representative and data protection officer, the purpose in law, and transfers to third "
        "countries with their safeguards are not known to Fieldline: the column is there for you to fill.",
        "Categories of persons and data are the names of tables and fields; what they are in law is for the controller to say.",
        "The measures are those of Fieldline itself, and not of the machines, people and systems around it.",
    ),
    columns={
        "activity": "the flow", "since": "since when its release decides", "published_by": "who published it",
        "purpose": "what it is for",
        "subjects": "whose records: the table that is read", "data": "fields that are read, computed and written",
        "source": "where the records come from", "recipient": "to which systems answers go", "transfers": "to fill in",
        "kept": "how long decisions are kept", "measures": "technical measures", "release": "by which release",
    },
    rows=rows,
    takes=frozenset({"flow"}),
)  # fmt: skip

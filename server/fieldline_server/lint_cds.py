"""What is wrong with a flow's service of CDS Hooks, held against what the flow reads and what its mapping gives."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from fieldline_connectors.fhir import Fhir, FhirQuery
from fieldline_connectors.fhir.target import places
from fieldline_connectors.registry import connector_class
from fieldline_core.cds import RECORD, SUGGESTED_PATIENT, Card, Cds
from fieldline_core.errors import Misconfigured
from fieldline_core.findings import Finding, did_you_mean
from fieldline_core.flow import Connection, Flow
from fieldline_core.ports import Plan
from fieldline_core.schema import FieldType

_PATH = "trigger.cds"


def findings_of_cds(flow: Flow, connections: Mapping[str, Connection], plan: Plan | None) -> Iterator[Finding]:
    """What does not fit; nothing for a flow that is no service."""
    service = flow.trigger.cds
    if service is None:
        return
    reads: dict[str, tuple[str, str, dict[str, Any]]] = {}
    if flow.source is None:
        yield Finding("cds-source", _PATH, "a flow that answers CDS Hooks reads its records from an EHR.", "Give it a source.")
    else:
        reads[RECORD] = ("source", flow.source.connection, flow.source.query)
    reads |= {each.name: (f"lookups[{number}]", each.connection, each.query) for number, each in enumerate(flow.lookups)}
    for path, connection, _ in reads.values():
        yield from _reads_fhir(path, connections.get(connection))
    yield from _fetched(service, {name: query for name, (_, _, query) in reads.items()})
    if plan is not None:
        yield from _shown(service.card, plan.fields_written())


def _reads_fhir(path: str, connection: Connection | None) -> Iterator[Finding]:
    if connection is None:
        return
    try:
        kind = connector_class(connection.connector)
    except Misconfigured:
        # Its connection's own document is where this is said.
        return
    if not issubclass(kind, Fhir):
        words = f"a flow that answers CDS Hooks reads by the connector fhir, and {connection.connection!r} is another."
        yield Finding("cds-connection", f"{path}.connection", words, "Name a connection of the connector fhir.")


def _fetched(service: Cds, reads: Mapping[str, dict[str, Any]]) -> Iterator[Finding]:
    for name, template in service.prefetch.items():
        path = f"{_PATH}.prefetch.{name}"
        if name not in reads:
            meant = did_you_mean(name, reads) or f"The flow reads {', '.join(reads)}."
            yield Finding("cds-prefetch", path, f"the flow reads no list {name!r}.", meant)
            continue
        try:
            searched = FhirQuery.model_validate(reads[name]).searched
        except ValidationError:
            # The query itself is where this is said.
            continue
        asked = template.partition("?")[0].partition("/")[0]
        if asked != searched:
            words = f"the template asks for {asked}, and {name!r} is read of {searched}."
            yield Finding("cds-prefetch", path, words, f"Begin the template with {searched}.")


def _shown(card: Card, given: Mapping[str, FieldType]) -> Iterator[Finding]:
    for part, field in (("summary", card.summary), ("indicator", card.indicator), ("detail", card.detail)):
        if field is None:
            continue
        path = f"{_PATH}.card.{part}"
        if field not in given:
            meant = did_you_mean(field, given) or f"It gives {', '.join(given)}."
            yield Finding("unknown-field", path, f"the mapping gives no field {field!r}.", meant)
        elif given[field] is not FieldType.TEXT:
            words = f"the card's {part} is a text, and the field {field!r} is of the type {given[field]}."
            yield Finding("cds-card", path, words, "Write it with TEXT(…), or as a text of its own.")
    for number, suggestion in enumerate(card.suggestions):
        for name in dict.fromkeys(places(suggestion.create)):
            if name != SUGGESTED_PATIENT and name not in given:
                meant = did_you_mean(name, given) or f"It gives {', '.join(given)}."
                path = f"{_PATH}.card.suggestions[{number}].create"
                yield Finding("unknown-field", path, f"the mapping gives no field {name!r}.", meant)

"""From a call of CDS Hooks to its card: the record as the flow reads it, and what the mapping's fields say of it."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from fieldline_connectors.fhir import FhirConfig, FhirQuery
from fieldline_connectors.fhir.cds import DataMissing, Given, template
from fieldline_connectors.fhir.shapes import Unfit, filled
from fieldline_core.batch import Batch
from fieldline_core.cds import RECORD, SUGGESTED_PATIENT, Card, Cds
from fieldline_core.errors import Misconfigured
from fieldline_core.flow import Release
from fieldline_core.keyring import Keyring, same
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.enrich import with_children
from fieldline_server.scoring import Answer

INDICATORS = ("info", "warning", "critical")
_MOST_SUMMARY, _MOST_DETAIL = 139, 8000
_CHUNK_BITS, _ROW_BITS, _SEAL_BITS = 48, 12, 62


class Access(msgspec.Struct):
    """What a call lends us to read by."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105


class Context(msgspec.Struct):
    """Whose chart is open."""

    patientId: str  # noqa: N815


class Call(msgspec.Struct):
    """A call of an EHR; what else it holds is passed over."""

    hook: str
    hookInstance: str  # noqa: N815
    context: Context
    fhirServer: str = ""  # noqa: N815
    fhirAuthorization: Access | None = None  # noqa: N815
    prefetch: dict[str, msgspec.Raw] | None = None


def connection_of(engine: Engine, release: Release) -> FhirConfig:
    """The settings of the EHR's connection; raises Misconfigured where it is none."""
    source = release.flow.source
    config = engine.parts.connector(source.connection).config if source else None
    if not isinstance(config, FhirConfig):
        raise Misconfigured(f"the flow {release.flow.flow} reads from no connection of the connector fhir")
    return config


def templates(engine: Engine, release: Release, service: Cds) -> dict[str, str]:
    """What the EHR is to fetch before it calls: what the flow reads of a patient, or what its trigger says in place of that."""
    queries: dict[str, Any] = {RECORD: engine.parts.query(release)}
    queries |= {each.name: engine.parts.child_query(release, each) for each in release.flow.lookups if each.by is None}
    read = {name: template(query) for name, query in queries.items() if isinstance(query, FhirQuery)}
    return read | service.prefetch


def record_of(engine: Engine, release: Release, call: Call) -> Batch:
    """The patient's record with its lists, in the very columns that a run of the flow reads; raises DataMissing."""
    prefetch = {name: bytes(value) for name, value in (call.prefetch or {}).items()}
    lent = call.fhirAuthorization
    token = lent.access_token if lent and lent.token_type.lower() == "bearer" else ""
    given = Given(connection_of(engine, release), prefetch, call.fhirServer, token)
    try:
        found = given.rows(RECORD, _view(engine.parts.query(release)), [call.context.patientId])
        if not len(found):
            raise DataMissing(f"no row of the flow's view is of this patient: see the prefetch {RECORD!r}")
        batch, _ = found.last_of_each_key()
        return with_children(engine, release, batch, lambda lookup, query, keys: given.rows(lookup.name, _view(query), keys))
    finally:
        given.close()


def _view(query: Any) -> FhirQuery:
    if not isinstance(query, FhirQuery):
        raise Misconfigured("a flow that answers CDS Hooks reads all of its lists by the connector fhir")
    return query


def cards(card: Card, answer: Answer, id: uuid.UUID) -> Iterator[dict[str, Any]]:
    """The card of an answer; none where the mapping leaves its summary or indicator blank. Raises DataMissing where it is held."""
    if answer.held is not None or answer.fields is None:
        raise DataMissing(f"the patient's data do not do for an answer: {answer.held}")
    fields: Mapping[str, Any] = answer.fields
    summary, indicator = _text(fields[card.summary]), _text(fields[card.indicator])
    if not summary or not indicator:
        return
    if indicator not in INDICATORS:
        raise Misconfigured(f"the field {card.indicator!r} is the card's indicator and must be info, warning, critical or blank")
    detail = _text(fields[card.detail]) if card.detail else ""
    yield {
        "uuid": str(id), "summary": _cut(summary, _MOST_SUMMARY), "indicator": indicator,
        **({"detail": _cut(detail, _MOST_DETAIL)} if detail else {}),
        "source": {"label": card.source, **({"url": card.source_url} if card.source_url else {})},
        **({"overrideReasons": [each.model_dump() for each in card.override_reasons]} if card.override_reasons else {}),
        **({"selectionBehavior": "any", "suggestions": list(_suggested(card, answer, id))} if card.suggestions else {}),
    }  # fmt: skip


def suggestion_id(card: uuid.UUID, position: int) -> str:
    """The id of one of a card's suggestions."""
    return str(uuid.uuid5(card, str(position)))


def _suggested(card: Card, answer: Answer, id: uuid.UUID) -> Iterator[dict[str, Any]]:
    values = {**(answer.fields or {}), SUGGESTED_PATIENT: answer.key}
    for position, each in enumerate(card.suggestions):
        try:
            action = {"type": "create", "description": each.description, "resource": filled(each.create, values)}
        except Unfit as error:
            raise DataMissing(f"the card's suggestion {each.label!r} cannot be made: {error}") from None
        recommended = {"isRecommended": True} if each.recommended else {}
        yield {"label": each.label, "uuid": suggestion_id(id, position), **recommended, "actions": [action]}


def card_id(keyring: Keyring, flow_id: int, decision: tuple[int, int]) -> uuid.UUID:
    """The id of a card: a UUID of version 8 that leads to its decision, and that nobody else can make up."""
    chunk, row = decision
    if chunk >= 1 << _CHUNK_BITS or row >= 1 << _ROW_BITS:
        raise OverflowError("a card's id has no room for the decision")
    return uuid.UUID(int=chunk << 80 | 8 << 76 | row << 64 | 2 << 62 | _seal(keyring, flow_id, decision))


def decision_of(keyring: Keyring, flow_id: int, card: uuid.UUID) -> tuple[int, int] | None:
    """The decision, as its chunk and row, that a card of the flow showed; None for what is no card of it."""
    decision = card.int >> 80, card.int >> 64 & (1 << _ROW_BITS) - 1
    return decision if same(card_id(keyring, flow_id, decision).bytes, card.bytes) else None


def _seal(keyring: Keyring, flow_id: int, decision: tuple[int, int]) -> int:
    digest = keyring.hash_body(f"cds-card|{flow_id}|{decision[0]}|{decision[1]}".encode())
    return int.from_bytes(digest[:8]) & (1 << _SEAL_BITS) - 1


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _cut(text: str, most: int) -> str:
    """The text, or as many of its words as there is room for."""
    if len(text) <= most:
        return text
    begin = text[: most - 1]
    return (begin.rsplit(None, 1)[0] if " " in begin else begin) + "…"

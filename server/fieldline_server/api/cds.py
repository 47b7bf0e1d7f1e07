"""CDS Hooks: no API key, the token that the EHR signed for each call says who it is; a card while the clinician works."""

import asyncio
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from pydantic import BaseModel

from fieldline_connectors.bounded import bounded_json
from fieldline_connectors.fhir.cds import DataMissing
from fieldline_core.cds import Card, Cds
from fieldline_core.errors import FieldlineError, Misconfigured, Rejected, Unavailable
from fieldline_core.events import record
from fieldline_core.flow import Release
from fieldline_core.logs import log
from fieldline_server.api.backend import Back, Backend
from fieldline_server.api.body import read_body
from fieldline_server.api.problems import PROBLEM, NotFound
from fieldline_server.cds_answer import Call, card_id, cards, connection_of, decision_of, record_of, suggestion_id, templates

router = APIRouter(prefix="/cds-services", tags=["cds"], responses={"default": PROBLEM})
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_LONGEST_S = 10.0
_MOST_FEEDBACK_BYTES, _MOST_FEEDBACK = 64 * 1024, 100
_UNDECLARED = "undeclared"


class Services(BaseModel):
    """The services of CDS Hooks that flows are."""

    services: list[dict[str, Any]]


class Cards(BaseModel):
    """The cards of one call; none where there is nothing to say."""

    cards: list[dict[str, Any]]


class _Coding(msgspec.Struct):
    code: str
    system: str = ""


class _Overridden(msgspec.Struct):
    reason: _Coding | None = None


class _Accepted(msgspec.Struct):
    id: str = ""


class _Feedback(msgspec.Struct):
    card: uuid.UUID
    outcome: Literal["accepted", "overridden"]
    overrideReason: _Overridden | None = None  # noqa: N815
    acceptedSuggestions: list[_Accepted] = []  # noqa: N815


class _Told(msgspec.Struct):
    feedback: list[_Feedback]


_calls, _tellings = msgspec.json.Decoder(Call), msgspec.json.Decoder(_Told)


@router.get("", response_model=Services)
def list_services(backend: Back) -> dict[str, Any]:
    """The services, for the EHR that is set up to call them; open, because it holds nothing of a patient."""
    with backend.engine.store.transaction("cds.services") as tx:
        rows = tx.all("cds.services")
    return {"services": [found for row in rows if (found := _described(backend, row["name"], row["release_id"]))]}


@router.post("/{flow}", response_model=Cards)
async def call_service(flow: str, request: Request, backend: Back) -> dict[str, Any]:
    """Decides on the patient whose chart is open, stores the decision, and answers with its card."""
    begun = time.perf_counter()
    release, service = await _service(backend, flow)
    try:
        caller = await _caller(backend, release, service, request, "")
        call = _call(await read_body(request), service)
        async with asyncio.timeout(_LONGEST_S):
            batch = await run_sync(record_of, backend.engine, release, call, abandon_on_cancel=True)
            (answer,) = await asyncio.wrap_future(backend.scorer.ask(release, batch, caller))
        made = list(cards(service.card, answer, card_id(backend.engine.keyring, release.flow_id, answer.decision)))
    except TimeoutError:
        raise Unavailable(f"no answer within {_LONGEST_S:g} s; the patient may have been decided on", sent=True) from None
    except FieldlineError as error:
        await run_sync(_count_refusal, backend, flow, error)
        raise
    backend.metrics.scored.labels(flow).observe(time.perf_counter() - begun)
    return {"cards": made}


@router.post("/{flow}/feedback")
async def take_feedback(flow: str, request: Request, backend: Back) -> dict[str, Any]:
    """Stores what became of cards with the decisions that they showed."""
    release, service = await _service(backend, flow, though_paused=True)
    try:
        caller = await _caller(backend, release, service, request, "/feedback")
        raw = await read_body(request, _MOST_FEEDBACK_BYTES)
        bounded_json(raw)
        await run_sync(_store, backend, release, service.card, raw, caller)
    except FieldlineError as error:
        await run_sync(_count_refusal, backend, flow, error)
        raise
    return {}


async def _service(backend: Backend, flow: str, *, though_paused: bool = False) -> tuple[Release, Cds]:
    known = backend.flows.seen(flow)
    if known is None:
        known = await run_sync(backend.flows.find, flow)
    service = known.release.flow.trigger.cds
    if service is None:
        raise NotFound("there is no such service")
    if known.paused is not None and not though_paused:
        raise Unavailable("the service is paused at present", retry_after=60.0)
    return known.release, service


async def _caller(backend: Backend, release: Release, service: Cds, request: Request, below: str) -> str:
    """The EHR that calls, as the log names it; known before a byte of its body is read."""
    address = f"{service.root}/cds-services/{release.flow.flow}"
    audiences = list(dict.fromkeys((address, f"{address}{below}")))
    authorization = request.headers.get("authorization", "")

    def known() -> str:
        return backend.trust.caller(release.flow.flow, service, _connection(backend, release), authorization, audiences)

    return f"cds:{await run_sync(known)}"


def _connection(backend: Backend, release: Release) -> Any:
    try:
        return connection_of(backend.engine, release)
    except Misconfigured as error:
        # The caller did nothing wrong, and has not shown who it is: it learns no more than that.
        log().error("cds_misconfigured", flow=release.flow.flow, code=error.code)
        raise Unavailable("the service cannot answer at present", retry_after=60.0) from error


def _call(raw: bytes, service: Cds) -> Call:
    bounded_json(raw)
    try:
        call = _calls.decode(raw)
    except msgspec.ValidationError:
        raise Rejected("the call is not as CDS Hooks writes it: it has hook, hookInstance, context.patientId, prefetch") from None
    if call.hook != service.hook:
        raise Rejected(f"the service answers the hook {service.hook}, and the call is of another")
    if not _ID.fullmatch(call.context.patientId):
        raise Rejected("the call's context.patientId is no id of a resource")
    return call


def _store(backend: Backend, release: Release, card: Card, raw: bytes, caller: str) -> None:
    try:
        told = _tellings.decode(raw).feedback
    except msgspec.ValidationError:
        raise Rejected("the feedback is not as CDS Hooks writes it: each has card and outcome (accepted or overridden)") from None
    if not 1 <= len(told) <= _MOST_FEEDBACK:
        raise Rejected(f"a call brings feedback on 1 to {_MOST_FEEDBACK} cards")
    keyring, declared = backend.engine.keyring, {(each.system, each.code) for each in card.override_reasons}
    with backend.engine.store.transaction("cds.feedback") as tx:
        for each in told:
            decision = decision_of(keyring, release.flow_id, each.card)
            if decision is None:
                raise Rejected("a card of the feedback is none that this service gave")
            detail = {"flow": release.flow.flow, "card": str(each.card), "decision": "{}-{}".format(*decision),
                      "outcome": each.outcome, **_why(each, declared), **_what(each, card)}  # fmt: skip
            record(tx, "cds.feedback", caller, detail)


def _why(told: _Feedback, declared: set[tuple[str, str]]) -> Mapping[str, str]:
    """The code of the reason: a comment, and a code that is not ours, may be about a person, and are not kept."""
    reason = told.overrideReason.reason if told.overrideReason else None
    if told.outcome != "overridden" or reason is None:
        return {}
    return {"reason": reason.code if (reason.system, reason.code) in declared else _UNDECLARED}


def _what(told: _Feedback, card: Card) -> Mapping[str, list[str]]:
    """Which of our suggestions were accepted, by their labels."""
    ids = {each.id for each in told.acceptedSuggestions} if told.outcome == "accepted" else set()
    taken = [each.label for position, each in enumerate(card.suggestions) if suggestion_id(told.card, position) in ids]
    return {"suggestions": taken} if taken else {}


def _described(backend: Backend, flow: str, release_id: int) -> dict[str, Any] | None:
    release = backend.engine.parts.release(release_id)
    service = release.flow.trigger.cds
    try:
        if service is None:
            return None
        return {
            "hook": service.hook, "title": service.title, "description": service.description, "id": flow,
            "prefetch": templates(backend.engine, release, service),
        }  # fmt: skip
    except Misconfigured as error:
        log().error("cds_misconfigured", flow=flow, code=error.code)
        return None


def _count_refusal(backend: Backend, flow: str, error: FieldlineError) -> None:
    backend.metrics.hooks.labels(flow, error.code).inc()
    if isinstance(error, Rejected) and not isinstance(error, DataMissing):
        backend.refusals.note(flow, error.code)

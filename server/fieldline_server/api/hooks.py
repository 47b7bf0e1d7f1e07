"""Inbound webhooks: no API key, the signature says who it is; nothing is told to a sender that has not shown one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from fieldline_connectors.bounded import TooLarge
from fieldline_core.errors import FieldlineError, Misconfigured, Rejected, Unavailable
from fieldline_core.flow import Release
from fieldline_core.logs import log
from fieldline_core.pipeline.accept import Accepted, Conflict, accept
from fieldline_core.pipeline.subscribe import take_told
from fieldline_core.ports import Delivery, HookRequest, Reply, Subscribes
from fieldline_server.api.backend import Backend, backend_of
from fieldline_server.api.body import read_body
from fieldline_server.api.problems import PROBLEM, NotFound, TooMany

router = APIRouter(tags=["hooks"])
_MOST_HEADERS = 100


class EventsTaken(BaseModel):
    """By what the stored events of a message are known."""

    events: list[int]


@router.post(
    "/hooks/{flow}", status_code=202, response_model=EventsTaken, responses={200: {"model": EventsTaken}, "default": PROBLEM}
)
async def take_event(flow: str, request: Request) -> Response:
    """Stores the events of a message; 202 when they are durable, 200 where all had come before, 409 where an id means another."""
    return await _take_message(flow, request, told_only=False)


@router.put("/hooks/{flow}/{type}/{id}", response_class=Response, responses={"default": PROBLEM})
async def take_update(flow: str, request: Request) -> Response:
    """Stores a change of which a system tells by an update below the hook's address, as some FHIR servers do."""
    return await _take_message(flow, request, told_only=True)


async def _take_message(flow: str, request: Request, *, told_only: bool) -> Response:
    backend = await backend_of(request)
    known = backend.flows.seen(flow)
    if known is None:
        known = await run_sync(backend.flows.find, flow)
    trigger = known.release.flow.trigger
    if trigger.changes is None and (told_only or trigger.webhook is None):
        raise NotFound("there is no such flow")
    try:
        body = await read_body(request)
        if len(request.headers) > _MOST_HEADERS:
            raise TooLarge(f"the message has more than {_MOST_HEADERS} headers")
        hook = HookRequest(dict(request.headers), body, datetime.now(UTC))
        if trigger.webhook is None:
            return await run_sync(_take_told, backend, known.release, hook)
        taken: _Taken = await run_sync(_take, backend, known.release, trigger.webhook, hook)
    except FieldlineError as error:
        await run_sync(_count_refusal, backend, flow, error)
        raise
    for event in taken.events:
        backend.metrics.hooks.labels(flow, "repeated" if event.repeated else "accepted").inc()
    if taken.reply is not None:
        return Response(taken.reply.body, 200, media_type=taken.reply.media_type)
    repeated = all(event.repeated for event in taken.events)
    return JSONResponse({"events": [event.event for event in taken.events]}, 200 if repeated else 202)


class _Taken(NamedTuple):
    events: list[Accepted]
    reply: Reply | None


def _take_told(backend: Backend, release: Release, hook: HookRequest) -> Response:
    """Stores what a subscription of the flow tells; what is told is acknowledged with nothing, as subscriptions expect."""
    assert release.flow.source is not None
    with _unmended(release, release.flow.source.connection):
        connector = backend.engine.parts.connector(release.flow.source.connection)
        if not isinstance(connector, Subscribes):
            raise NotFound("there is no such flow")
        # Before the system is asked what has changed: where there is no room, nobody asks it for each message anew.
        _check_room(backend)
        said = connector.told(backend.engine.parts.topic(release), hook)
    changes = take_told(backend.engine, release, said)
    backend.metrics.hooks.labels(release.flow.flow, "accepted").inc(changes)
    return Response(status_code=200)


@contextmanager
def _unmended(release: Release, connection: str) -> Iterator[None]:
    try:
        yield
    except Misconfigured as error:
        # The sender did nothing wrong, and has not shown who it is: it may come again, and learns no more than that.
        log().error("hook_misconfigured", flow=release.flow.flow, connection=connection, code=error.code)
        raise Unavailable("messages cannot be received at present", retry_after=60.0) from error


def _take(backend: Backend, release: Release, connection: str, hook: HookRequest) -> _Taken:
    with _unmended(release, connection):
        delivery: Delivery = backend.engine.parts.connector(connection).receive(hook)
    _check_room(backend)
    # The same message may be meant for several flows: its id counts for each of them. A sender that is not acknowledged sends all
    # of its events again, of which those that were stored are known.
    sender = f"{connection}/{release.flow.flow}"
    taken, refused = list[Accepted](), list[FieldlineError]()
    for event in delivery.events:
        try:
            taken.append(accept(backend.engine, release, sender, event))
        except (Rejected, Conflict) as error:
            # The events behind it are stored, too: they would never be, as it comes first again whenever the message does.
            refused.append(error)
    if refused:
        raise refused[0]
    return _Taken(taken, delivery.reply)


def _check_room(backend: Backend) -> None:
    try:
        backend.intake.check(time.monotonic())
    except Unavailable as error:
        if error.sent:
            raise
        raise TooMany(str(error), error.retry_after) from None


def _count_refusal(backend: Backend, flow: str, error: FieldlineError) -> None:
    backend.metrics.hooks.labels(flow, error.code).inc()
    if isinstance(error, Rejected):
        backend.refusals.note(flow, error.code)

"""Flows: seen, run, paused, resumed, and asked for answers."""

import asyncio
import time
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query

from fieldline_core.errors import Misconfigured, Rejected, Unavailable
from fieldline_core.pipeline.manage import find_flow, pause_flow, request_run, resume_flow
from fieldline_core.store import Row
from fieldline_server.api.access import Guarded, MayRead, MayRun, MayScore, MayWrite
from fieldline_server.api.backend import Back
from fieldline_server.api.views import AnswerView, FlowView, Items, Reason, RecordsToScore, RunRequest
from fieldline_server.scoring import Answer

router = APIRouter(prefix="/v1/flows", tags=["flows"], route_class=Guarded)


@router.get("", response_model=Items[FlowView], dependencies=[MayRead])
def list_flows(backend: Back) -> dict[str, Any]:
    """All flows."""
    with backend.engine.store.transaction("flows") as tx:
        return {"items": tx.all("flows.listing")}


@router.get("/{flow}", response_model=FlowView, dependencies=[MayRead])
def show_flow(flow: str, backend: Back) -> Row:
    """One flow with its current release."""
    backend.flows.find(flow)
    with backend.engine.store.transaction("flow") as tx:
        return find_flow(tx, flow)


@router.post("/{flow}/runs", status_code=202)
def start_run(flow: str, wanted: RunRequest, backend: Back, caller: MayRun) -> dict[str, int]:
    """Asks for a run; answers its number."""
    backend.flows.find(flow)
    return {"run": request_run(backend.engine, flow, caller.name, row_limit=wanted.row_limit, rescore=wanted.rescore)}


@router.post("/{flow}/pause", status_code=204)
def pause(flow: str, why: Reason, backend: Back, caller: MayWrite) -> None:
    """Stops a flow: nothing of it is read, scored or written; its events are still accepted."""
    backend.flows.find(flow)
    pause_flow(backend.engine, flow, caller.name, why.reason)
    backend.flows.forget(flow)


@router.post("/{flow}/resume", status_code=204)
def resume(flow: str, backend: Back, caller: MayWrite) -> None:
    """Lets a flow go on."""
    backend.flows.find(flow)
    resume_flow(backend.engine, flow, caller.name)
    backend.flows.forget(flow)


@router.post("/{flow}/score", response_model=Items[AnswerView])
async def score(
    flow: str, asked: RecordsToScore, backend: Back, caller: MayScore, timeout_s: Annotated[float, Query(gt=0, le=60)] = 10.0
) -> dict[str, Any]:
    """Scores records while the caller waits; the decisions are stored before they are answered, and written as the flow says."""
    begun = time.perf_counter()
    records = [(each.key, each.record) for each in asked.records]
    if len({key for key, _ in records}) != len(records):
        raise Rejected("a key stands twice among the records: send each once")
    known = backend.flows.seen(flow)
    if known is None:
        known = await run_sync(backend.flows.find, flow)
    if known.paused is not None:
        raise Misconfigured(f"the flow {flow} is paused ({known.paused}): resume it first")
    coming = asyncio.wrap_future(backend.scorer.ask(known.release, records, caller.name))
    try:
        answers = await asyncio.wait_for(coming, timeout_s)
    except TimeoutError:
        raise Unavailable(f"no answer within {timeout_s:g} s; the records may have been scored", sent=True) from None
    backend.metrics.scored.labels(flow).observe(time.perf_counter() - begun)
    return {"items": [_answer(each) for each in answers]}


def _answer(each: Answer) -> dict[str, Any]:
    decision = {"release": each.release, "clock": each.clock}
    return {"key": each.key, "fields": each.fields, "outputs": each.outputs, "held": each.held, "decision": decision}

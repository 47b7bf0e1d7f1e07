"""Runs with their chunks and writes."""

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Query

from fieldline_core.pipeline.manage import cancel_run, list_runs
from fieldline_core.states import RunState
from fieldline_core.store import Row
from fieldline_server.api.access import Guarded, MayRead, MayRun
from fieldline_server.api.backend import Back, Backend
from fieldline_server.api.pages import After, Before, Limit, Number, page
from fieldline_server.api.problems import NotFound
from fieldline_server.api.views import ChunkView, EffectView, Items, Reason, RunView

router = APIRouter(prefix="/v1/runs", tags=["runs"], route_class=Guarded)
State: TypeAlias = Annotated[RunState | None, Query()]


@router.get("", response_model=Items[RunView], dependencies=[MayRead])
def show_runs(
    backend: Back, flow: str | None = None, state: State = None, before: Before = None, limit: Limit = 50
) -> dict[str, Any]:
    """Runs, newest first."""
    return page(list_runs(backend.engine, flow=flow, state=state, before=before, limit=limit), limit)


@router.get("/{run}", response_model=RunView, dependencies=[MayRead])
def show_run(run: Number, backend: Back) -> Row:
    """One run with the counts of its rows."""
    return _run(backend, run)


@router.post("/{run}/cancel", status_code=204)
def cancel(run: Number, why: Reason, backend: Back, caller: MayRun) -> None:
    """Ends a run: what was not scored is given up, what was decided is still written."""
    _run(backend, run)
    cancel_run(backend.engine, run, caller.name, why.reason)


@router.get("/{run}/chunks", response_model=Items[ChunkView], dependencies=[MayRead])
def show_chunks(run: Number, backend: Back, after: After = 0, limit: Limit = 50) -> dict[str, Any]:
    """The chunks of a run, in order."""
    _run(backend, run)
    with backend.engine.store.transaction("chunks") as tx:
        return page(tx.all("chunks.listing", run=run, after=after, limit=limit), limit)


@router.get("/{run}/effects", response_model=Items[EffectView], dependencies=[MayRead])
def show_effects(run: Number, backend: Back, after: After = 0, limit: Limit = 50) -> dict[str, Any]:
    """What a run writes, slice by slice."""
    _run(backend, run)
    with backend.engine.store.transaction("effects") as tx:
        return page(tx.all("effects.listing", run=run, chunk=None, after=after, limit=limit), limit)


def _run(backend: Backend, run: int) -> Row:
    found = list_runs(backend.engine, id=run)
    if not found:
        raise NotFound(f"there is no run {run}")
    return found[0]

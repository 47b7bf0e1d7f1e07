"""Dead letters: counted by cause, looked at (which is recorded), replayed and discarded."""

from typing import Any, Literal

from fastapi import APIRouter

from fieldline_core.events import record
from fieldline_core.pipeline.dead import dead_letter_json
from fieldline_core.pipeline.replay import discard, replay
from fieldline_server.api.access import Guarded, MayRead, MayWrite
from fieldline_server.api.backend import Back
from fieldline_server.api.pages import Before, Limit, Number, page
from fieldline_server.api.problems import NotFound
from fieldline_server.api.views import CauseView, DeadLetterRecord, DeadLetterView, Items, Letters, Replay

router = APIRouter(prefix="/v1", tags=["dead letters"], route_class=Guarded)
State = Literal["open", "replayed", "discarded"]


@router.get("/dead-letters", response_model=Items[DeadLetterView], dependencies=[MayRead])
def list_dead_letters(
    backend: Back,
    flow: str | None = None,
    state: State | None = None,
    run: Before = None,
    before: Before = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Rows that were set aside, newest first, without their records."""
    with backend.engine.store.transaction("dead_letters") as tx:
        return page(tx.all("dead_letters.listing", flow=flow, state=state, run=run, before=before, limit=limit), limit)


@router.get("/dead-letters/causes", response_model=Items[CauseView], dependencies=[MayRead])
def count_causes(backend: Back, flow: str | None = None, limit: Limit = 50) -> dict[str, Any]:
    """Open dead letters by cause, the most frequent first."""
    with backend.engine.store.transaction("dead_letters") as tx:
        return {"items": tx.all("dead_letters.causes", flow=flow, limit=limit)}


@router.get("/dead-letters/{letter}", response_model=DeadLetterRecord)
def show_dead_letter(letter: Number, backend: Back, caller: MayWrite) -> dict[str, Any]:
    """One dead letter with its record; that it was looked at is recorded."""
    with backend.engine.store.transaction("dead_letter.view") as tx:
        row = tx.one("dead_letters.show", id=letter)
        if row is None:
            raise NotFound(f"there is no dead letter {letter}")
        record(tx, "dead_letter.viewed", caller.name, {"flow": row["flow"], "dead_letter": letter})
    return row | dead_letter_json(backend.engine, row)


@router.post("/flows/{flow}/dead-letters/replay", status_code=202)
def replay_letters(flow: str, which: Replay, backend: Back, caller: MayWrite) -> dict[str, int | None]:
    """Runs open dead letters again, one of them with edits if wanted; answers the run and the number of rows."""
    backend.flows.find(flow)
    run, count = replay(
        backend.engine, flow, caller.name, ids=which.ids, reason=which.reason, edits=which.edits, anew=which.anew, why=which.why
    )
    return {"run": run, "count": count}


@router.post("/flows/{flow}/dead-letters/discard")
def discard_letters(flow: str, which: Letters, backend: Back, caller: MayWrite) -> dict[str, int]:
    """Ends open dead letters for a reason (`why`) that is recorded; answers their number."""
    backend.flows.find(flow)
    return {"count": discard(backend.engine, flow, caller.name, which.why, ids=which.ids, reason=which.reason)}

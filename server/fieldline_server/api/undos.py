"""Undo: what was written is put back, after a dry run that shows what would be."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from fieldline_core.pipeline.undo import UndoScope, apply_undo, preview_undo
from fieldline_server.api.access import Guarded, MayWrite
from fieldline_server.api.backend import Back
from fieldline_server.api.views import Taken

router = APIRouter(prefix="/v1", tags=["operations"], route_class=Guarded)


class UndoWish(Taken):
    """What is to be undone: a release, a run, or a flow since a time."""

    release: str | None = Field(None, min_length=6, max_length=64, pattern="^[0-9a-f]+$", description="How its digest begins.")
    run: int | None = Field(None, ge=1, le=2**63 - 1)
    flow: str | None = Field(None, min_length=1, max_length=63)
    since: datetime | None = Field(None, description="The time of the first decision that is undone, with its zone.")
    key: str | None = Field(None, min_length=1, max_length=1024, description="One record only.")
    apply: bool = Field(False, description="Whether to put back; else it is only counted.")
    why: str = Field("", max_length=1000, description="The reason, kept in the log; needed to apply.")


class CountView(BaseModel):
    """What becomes of the rows of a write step, or of all of them."""

    put_back: int
    changed_since: int = Field(description="Left alone: a person changed it since, or the record is gone.")
    decided_since: int = Field(description="Left alone: a later decision stands.")
    no_image: int = Field(description="Not undone: what was there before was not read, as of inserts, which keep history.")
    already_so: int
    under_way: int = Field(description="Still to be written, or in doubt.")


class UndoView(CountView):
    """What an undo would put back, or has begun to."""

    flow: str
    paused: bool = Field(description="Whether the flow is paused: what is put back waits until it is resumed.")
    run: int | None = Field(description="The run that puts back; null in a dry run, and where there is nothing to put back.")
    writes: dict[str, CountView] = Field(description="By write step.")


@router.post("/undos", response_model=UndoView)
def undo(wish: UndoWish, backend: Back, caller: MayWrite) -> dict[str, Any]:
    """Counts what would be put back or, with `apply`, puts it back, but for what a person or a later decision changed since."""
    scope = UndoScope(wish.release, wish.run, wish.flow, wish.since, wish.key)
    if wish.apply:
        return apply_undo(backend.engine, scope, caller.name, wish.why).as_json()
    return preview_undo(backend.engine, scope, caller.name).as_json()

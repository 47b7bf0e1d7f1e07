"""One decision as a story."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from fieldline_server.api.access import Guarded, MayAudit
from fieldline_server.api.backend import Back
from fieldline_server.api.problems import NotFound
from fieldline_server.story import Story
from fieldline_server.telling import NoDecision, view_story

router = APIRouter(prefix="/v1", tags=["audit"], route_class=Guarded)
Decision = Annotated[str, Path(pattern="^[0-9]{1,18}-[0-9]{1,9}$", description="Its `decision`, such as 812-17.")]
Key = Annotated[str | None, Query(min_length=1, max_length=1024, description="The record's key; by it an erasure is found.")]


@router.get("/decisions/{decision}/story", response_model=Story)
def show_story(decision: Decision, backend: Back, caller: MayAudit, key: Key = None) -> Story:
    """How a decision came about, step by step, and who answers for it; that it was looked at is recorded."""
    try:
        return view_story(backend.engine, caller.name, key, decision)
    except NoDecision as error:
        raise NotFound(str(error)) from None

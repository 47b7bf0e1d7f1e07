"""What happened and why: decisions and audit events by a search line, invariants."""

from typing import Annotated, Any, Generic, TypeAlias, TypeVar

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from fieldline_core.pipeline.invariants import RULES, check_invariants
from fieldline_core.search import Found, search_decisions, search_events
from fieldline_server.api.access import Guarded, MayAudit, MayRead
from fieldline_server.api.backend import Back
from fieldline_server.api.pages import Limit
from fieldline_server.api.views import AuditEventView

T = TypeVar("T")
Line: TypeAlias = Annotated[str, Query(alias="q", max_length=2000, description="A search line, such as `record:4711 since:30d`.")]
Cursor: TypeAlias = Annotated[str | None, Query(max_length=400, description="The `next` of the page before.")]

router = APIRouter(prefix="/v1", tags=["audit"], route_class=Guarded)


class FoundView(BaseModel, Generic[T]):
    """What was found, newest first; a page may be short, even empty, where `next` says that there may be more."""

    items: list[T]
    next: str | None = Field(description="What to give as `cursor` for more, null where there is no more.")


@router.get("/decisions", response_model=FoundView[dict[str, Any]])
def show_decisions(
    backend: Back, caller: MayAudit, line: Line, cursor: Cursor = None, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> Found[dict[str, Any]]:
    """Decisions with all that they rest on, newest first; that they were looked at is recorded."""
    return search_decisions(backend.engine, line, caller.name, limit, cursor)


@router.get("/audit-events", response_model=FoundView[AuditEventView])
def list_audit_events(
    backend: Back, _: MayAudit, line: Line = "", cursor: Cursor = None, limit: Limit = 50
) -> Found[dict[str, Any]]:
    """Audit events, newest first."""
    return search_events(backend.engine, line, limit, cursor)


@router.get("/invariants", dependencies=[MayRead])
def show_invariants(backend: Back) -> dict[str, Any]:
    """What must always hold, and how often it does not; 0 everywhere is right."""
    counts = {each.rule: each.count for each in check_invariants(backend.engine.store)}
    return {"items": [{"rule": rule, "meaning": meaning, "violations": counts.get(rule, 0)} for rule, meaning in RULES.items()]}

"""What happened and why: decisions by record key, audit events, invariants."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from fieldline_core.events import record
from fieldline_core.pipeline.find import find_decisions
from fieldline_core.pipeline.invariants import RULES, check_invariants
from fieldline_server.api.access import Guarded, MayAudit, MayRead
from fieldline_server.api.backend import Back
from fieldline_server.api.pages import Before, Limit, page
from fieldline_server.api.views import AuditEventView, Items

router = APIRouter(prefix="/v1", tags=["audit"], route_class=Guarded)


@router.get("/decisions", response_model=Items[dict[str, Any]])
def show_decisions(
    backend: Back, caller: MayAudit, key: Annotated[str, Query(min_length=1, max_length=1024)], limit: Limit = 20
) -> dict[str, Any]:
    """The decisions on a record, newest first, with all that they rest on; that they were looked at is recorded."""
    # Recorded first: what was seen and not recorded would be worse than the other way round.
    with backend.engine.store.transaction("decision.view") as tx:
        record(tx, "decision.viewed", caller.name, {"key_hash": backend.engine.keyring.hash_key(key).hex})
    return {"items": find_decisions(backend.engine, key, limit)}


@router.get("/audit-events", response_model=Items[AuditEventView])
def list_audit_events(
    backend: Back, caller: MayAudit, event: str | None = None, before: Before = None, limit: Limit = 50
) -> dict[str, Any]:
    """Audit events, newest first."""
    with backend.engine.store.transaction("audit") as tx:
        return page(tx.all("audit.listing", event=event, before=before, limit=limit), limit)


@router.get("/invariants", dependencies=[MayRead])
def show_invariants(backend: Back) -> dict[str, Any]:
    """What must always hold, and how often it does not; 0 everywhere is right."""
    counts = {each.rule: each.count for each in check_invariants(backend.engine.store)}
    return {"items": [{"rule": rule, "meaning": meaning, "violations": counts.get(rule, 0)} for rule, meaning in RULES.items()]}

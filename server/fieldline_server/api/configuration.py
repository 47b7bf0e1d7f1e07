"""Documents, connections, targets and write-backs: what Fieldline does, and how hard it presses."""

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request

from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.findings import Finding, errors
from fieldline_core.pipeline.manage import pause_writes, resume_writes, retry_target
from fieldline_core.store import Row
from fieldline_server.api.access import Guarded, MayConfigure, MayRead, MayWrite
from fieldline_server.api.backend import Back, Backend
from fieldline_server.api.body import read_documents
from fieldline_server.api.problems import NotFound, Problem
from fieldline_server.api.views import AppliedView, CheckView, ConnectionView, FindingView, Items, Reason, TargetView, WritesView
from fieldline_server.apply import apply

router = APIRouter(prefix="/v1", tags=["configuration"], route_class=Guarded)
_YAML = {"requestBody": {"required": True, "content": {"application/yaml": {"schema": {"type": "string"}}}}}


@router.post("/apply", response_model=AppliedView, openapi_extra=_YAML)
async def apply_documents(
    request: Request, backend: Back, caller: MayConfigure,
    dry_run: Annotated[bool, Query(description="Only says what is wrong.")] = False,
) -> Any:  # fmt: skip
    """Publishes YAML documents (connections, mappings, flows), all of them or, where one has an error, none."""
    text = await read_documents(request)
    done = await run_sync(lambda: apply(backend.engine, backend.registry, {"": text}, caller.name, dry_run=dry_run))
    findings = [_finding(found) for found in done.findings]
    if errors(done.findings) and not dry_run:
        shown = [found.model_dump() for found in findings]
        return Problem(422, "documents", "The documents have errors; nothing was published.", findings=shown)
    for document in done.documents:
        backend.flows.forget(document["name"])
    return AppliedView(documents=done.documents, findings=findings)


@router.get("/connections", response_model=Items[ConnectionView], dependencies=[MayRead])
def list_connections(backend: Back) -> dict[str, Any]:
    """All connections, without their settings."""
    with backend.engine.store.transaction("connections") as tx:
        rows = tx.all("flows.documents", kind="connection")
    return {"items": [row | {"connector": row["body"]["connector"]} for row in rows]}


@router.get("/connections/{name}/check", response_model=CheckView, dependencies=[MayRead])
def check_connection(name: str, backend: Back) -> dict[str, Any]:
    """Whether the system behind a connection can be reached now and accepts us."""
    with backend.engine.store.transaction("connection") as tx:
        if tx.one("flows.document", kind="connection", name=name) is None:
            raise NotFound("there is no such connection")
    try:
        backend.engine.parts.connector(name).check()
    except (Misconfigured, Unavailable) as error:
        return {"connection": name, "reachable": False, "problem": str(error)}
    return {"connection": name, "reachable": True, "problem": None}


@router.get("/targets", response_model=Items[TargetView], dependencies=[MayRead])
def list_targets(backend: Back) -> dict[str, Any]:
    """All targets with their limits and circuit breakers."""
    return {"items": _targets(backend)}


@router.post("/targets/{name}/retry")
def retry(name: str, backend: Back, caller: MayWrite) -> dict[str, int]:
    """Closes a target's circuit breaker and makes its waiting writes due at once; answers their number."""
    if name not in {target["name"] for target in _targets(backend)}:
        raise NotFound("there is no such target")
    return {"waiting": retry_target(backend.engine, caller.name, name)}


@router.get("/writes", response_model=WritesView, dependencies=[MayRead])
def show_writes(backend: Back) -> Row | None:
    """Whether and why write-backs are stopped."""
    with backend.engine.store.transaction("writes") as tx:
        return tx.one("flows.writes_paused")


@router.post("/writes/pause", status_code=204)
def pause(why: Reason, backend: Back, caller: MayWrite) -> None:
    """Stops every write-back; reading and scoring go on."""
    pause_writes(backend.engine, caller.name, why.reason)


@router.post("/writes/resume", status_code=204)
def resume(backend: Back, caller: MayWrite) -> None:
    """Lets write-backs go on."""
    resume_writes(backend.engine, caller.name)


def _targets(backend: Backend) -> list[Row]:
    with backend.engine.store.transaction("targets") as tx:
        return tx.all("flows.targets")


def _finding(found: Finding) -> FindingView:
    return FindingView.model_validate(found, from_attributes=True)

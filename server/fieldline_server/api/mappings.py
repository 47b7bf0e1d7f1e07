"""Mappings, tried before anything is decided by them: previews, golden records, backtests, and what a source offers them."""

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request

from fieldline_core.findings import errors
from fieldline_server.api.access import Guarded, MayAudit, MayConfigure, MayRead
from fieldline_server.api.backend import Back
from fieldline_server.api.body import read_documents
from fieldline_server.api.mapping_views import BacktestView, GoldenView, PreviewView, SchemaView, SuggestionView
from fieldline_server.api.problems import Problem
from fieldline_server.api.views import FindingView, Items
from fieldline_server.backtesting import backtest
from fieldline_server.discovering import catalog, entity_of, schema_of
from fieldline_server.goldens import run_published, run_texts
from fieldline_server.previewing import preview_flow
from fieldline_server.sourcing import mapping_in
from fieldline_server.suggesting import suggest

router = APIRouter(prefix="/v1", tags=["mappings"], route_class=Guarded)
_YAML = {"content": {"application/yaml": {"schema": {"type": "string"}}}}


@router.post("/flows/{flow}/preview", response_model=Items[PreviewView], openapi_extra={"requestBody": _YAML})
async def preview(
    flow: str, request: Request, backend: Back, caller: MayAudit, rows: Annotated[int, Query(ge=1, le=1000)] = 5
) -> dict[str, Any]:
    """The first records of a flow's source with each feature, step by step; a mapping in the body is used instead of its own."""
    text = await read_documents(request)

    def shown() -> dict[str, Any]:
        backend.flows.find(flow)
        draft = mapping_in(text) if text.strip() else None
        return {"items": preview_flow(backend.engine, backend.registry, flow, rows, caller.name, draft, at_once=True)}

    return await run_sync(shown)


@router.post("/mappings/test", response_model=Items[GoldenView], openapi_extra={"requestBody": {"required": True, **_YAML}})
async def run_tests(request: Request, _: MayConfigure) -> Any:
    """Runs the golden records of the mappings in the body, and keeps nothing of it."""
    text = await read_documents(request)
    outcomes, findings = await run_sync(run_texts, {"": text})
    if wrong := errors(findings):
        shown = [FindingView.model_validate(found, from_attributes=True).model_dump() for found in wrong]
        return Problem(422, "documents", "The documents have errors; nothing was run.", findings=shown)
    return {"items": outcomes}


@router.get("/mappings/{name}/test", response_model=Items[GoldenView])
def run_published_tests(name: str, backend: Back, _: MayConfigure) -> dict[str, Any]:
    """Runs the golden records of a published mapping."""
    return {"items": run_published(backend.engine, backend.registry, name)}


@router.post("/flows/{flow}/backtest", response_model=BacktestView, openapi_extra={"requestBody": {"required": True, **_YAML}})
async def compare(
    flow: str, request: Request, backend: Back, caller: MayAudit, last: Annotated[int, Query(ge=1, le=10_000)] = 1000
) -> dict[str, Any]:
    """What the mapping in the body would have answered on the records that the flow decided last; nothing is written."""
    text = await read_documents(request)

    def compared() -> dict[str, Any]:
        backend.flows.find(flow)
        return backtest(backend.engine, backend.registry, flow, (None, mapping_in(text)), last, caller.name).as_json()

    return await run_sync(compared)


@router.get("/connections/{name}/schema", response_model=SchemaView, dependencies=[MayRead])
def show_schema(name: str, entity: str, backend: Back) -> dict[str, Any]:
    """The fields of an entity with their types, as the `record` of a mapping."""
    backend.check_published("connection", name)
    return schema_of(entity_of(catalog(backend.engine, name), name, entity))


@router.get("/connections/{name}/suggestion", response_model=SuggestionView, dependencies=[MayRead])
def show_suggestion(
    name: str, entity: str, model: str, backend: Back,
    inputs: Annotated[list[str] | None, Query(max_length=2000, description="Names of a tensor's values, in order.")] = None,
) -> dict[str, Any]:  # fmt: skip
    """For each input of a model the field of an entity that fits best, and a mapping made of them."""
    backend.check_published("connection", name)
    found = suggest(backend.engine, name, entity, backend.registry.resolve(model), inputs or ())
    return {"entity": found.entity, "proposals": found.as_json(), "mapping": found.text}

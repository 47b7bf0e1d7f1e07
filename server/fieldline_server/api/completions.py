"""What can be written in a formula, for editors: the functions of the language, and the names of a draft."""

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request

from fieldline_mappings.completion import Completion, FormulaFunction, completion, functions
from fieldline_server.api.access import Guarded, MayConfigure, MayRead
from fieldline_server.api.backend import Back
from fieldline_server.api.body import read_documents
from fieldline_server.api.views import Items
from fieldline_server.sourcing import mapping_in

router = APIRouter(prefix="/v1", tags=["mappings"], route_class=Guarded)
_DRAFT = {"requestBody": {"content": {"application/yaml": {"schema": {"type": "string"}}}}}
_MODEL = "The model whose outputs the fields name: NAME, NAME@ALIAS or NAME@3."


@router.get("/formula-functions", response_model=Items[FormulaFunction], dependencies=[MayRead])
def list_functions() -> dict[str, Any]:
    """The functions of formulas, by group, with their arguments, what they give, and an example."""
    return {"items": functions()}


@router.post("/mappings/completions", response_model=Completion, openapi_extra=_DRAFT)
async def complete(
    request: Request, backend: Back, _: MayConfigure, model: Annotated[str | None, Query(description=_MODEL)] = None
) -> Completion:
    """What formulas of the mapping in the body can name, beside all functions, operators and words; nothing of it is kept."""
    text = await read_documents(request)

    def completed() -> Completion:
        draft = mapping_in(text) if text.strip() else None
        return completion(draft, backend.registry.resolve(model).signature if model else None)

    return await run_sync(completed)

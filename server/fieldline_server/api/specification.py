"""The integration specification of a flow."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response

from fieldline_server.api.access import Guarded, MayRead
from fieldline_server.api.backend import Back
from fieldline_server.specification import Specification
from fieldline_server.specification_pages import FORMATS
from fieldline_server.specifying import specification

router = APIRouter(prefix="/v1/flows", tags=["flows"], route_class=Guarded)
_PAGES = {"markdown": "text/markdown; charset=utf-8", "html": "text/html; charset=utf-8"}
_OTHERS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/markdown": {}, "text/html": {}}}}


@router.get("/{flow}/specification", response_model=Specification, responses=_OTHERS, dependencies=[MayRead])
def show_specification(
    flow: str,
    backend: Back,
    format: Annotated[Literal["json", "markdown", "html"], Query(description="How it is written.")] = "json",
) -> Any:
    """The integration specification of what the flow runs by now; it holds no secret and nothing of a record."""
    backend.flows.find(flow)
    found = specification(backend.engine, backend.registry, flow)
    return found if format == "json" else Response(FORMATS[format](found), media_type=_PAGES[format])

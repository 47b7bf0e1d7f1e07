"""Versions of mappings: listed, compared, and who uses what."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from fieldline_core.errors import Rejected
from fieldline_mappings.difference import differences
from fieldline_server.api.access import Guarded, MayConfigure, MayRead
from fieldline_server.api.backend import Back
from fieldline_server.api.body import read_documents
from fieldline_server.api.views import Items
from fieldline_server.sourcing import mapping_in
from fieldline_server.usage import USES
from fieldline_server.versions import version, versions

router = APIRouter(prefix="/v1", tags=["mappings"], route_class=Guarded)
_DRAFT = {"requestBody": {"required": True, "content": {"application/yaml": {"schema": {"type": "string"}}}}}
_DIGEST = "The first digits of a version's digest; the published version where this is left out."


class ReleaseView(BaseModel):
    """A release that uses a version; `current` where new records of its flow are decided by it."""

    flow: str
    release: str
    current: bool


class VersionView(BaseModel):
    """A published version of a mapping."""

    digest: str
    published_at: datetime
    published_by: str
    current: bool
    used: list[ReleaseView]


class ChangeView(BaseModel):
    """One change of a mapping's meaning, with the features and written fields that follow from it."""

    kind: str
    name: str
    sentence: str
    features: list[str]
    fields: list[str]
    old: str
    new: str


class UseView(BaseModel):
    """A flow that uses what was asked for: where, and what of its mapping depends on it."""

    flow: str
    mapping: str
    model: str
    places: list[str]
    features: list[str]
    fields: list[str]


@router.get("/mappings/{name}/versions", response_model=Items[VersionView], dependencies=[MayRead])
def list_versions(name: str, backend: Back) -> dict[str, Any]:
    """The published versions of a mapping, newest first, with the releases that use each."""
    backend.check_published("mapping", name)
    return {"items": versions(backend.engine.store, name)}


@router.get("/mappings/{name}/difference", response_model=Items[ChangeView], dependencies=[MayRead])
def compare(
    name: str, backend: Back, old: Annotated[str, Query(min_length=1, description=_DIGEST)],
    new: Annotated[str, Query(description=_DIGEST)] = "",
) -> dict[str, Any]:  # fmt: skip
    """How two published versions of a mapping differ in meaning."""
    backend.check_published("mapping", name)
    store = backend.engine.store
    changes = differences(version(store, f"{name}@{old}")[1], version(store, f"{name}@{new}")[1])
    return {"items": [asdict(change) for change in changes]}


@router.post("/mappings/{name}/difference", response_model=Items[ChangeView], openapi_extra=_DRAFT)
async def compare_draft(
    name: str, request: Request, backend: Back, _: MayConfigure, old: Annotated[str, Query(description=_DIGEST)] = ""
) -> dict[str, Any]:
    """How the mapping in the body would differ in meaning from a published version; nothing of it is kept."""
    text = await read_documents(request)

    def compared() -> dict[str, Any]:
        backend.check_published("mapping", name)
        changes = differences(version(backend.engine.store, f"{name}@{old}")[1], mapping_in(text))
        return {"items": [asdict(change) for change in changes]}

    return await run_sync(compared)


@router.get("/where-used", response_model=Items[UseView], dependencies=[MayRead])
def where_used(
    backend: Back,
    field: Annotated[str | None, Query(description="A field: `Industry`, `Lead.Industry`, `Opportunities.Amount`.")] = None,
    model: Annotated[str | None, Query(description="A model instead: `churn`, or `churn@3`.")] = None,
    mapping: Annotated[str | None, Query(description="A mapping instead.")] = None,
    connection: Annotated[str | None, Query(description="A connection instead.")] = None,
) -> dict[str, Any]:
    """The flows that use a field, a model, a mapping or a connection, and what of them depends on it."""
    asked = {"field": field, "model": model, "mapping": mapping, "connection": connection}
    given = [(kind, name) for kind, name in asked.items() if name is not None]
    if len(given) != 1:
        raise Rejected("ask for one thing: field, model, mapping or connection")
    ((kind, name),) = given
    return {"items": [asdict(use) for use in USES[kind](backend.engine, name)]}

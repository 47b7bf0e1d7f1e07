"""Models: listed, imported by upload, and named by aliases."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request

from fieldline_core.errors import Misconfigured
from fieldline_core.events import record
from fieldline_core.store import Transaction
from fieldline_inference.registry import Alias, Device, ModelVersion
from fieldline_server.api.access import Guarded, MayConfigure, MayRead
from fieldline_server.api.backend import Back, Backend
from fieldline_server.api.body import save_body
from fieldline_server.api.problems import NotFound, TooMany
from fieldline_server.api.views import AliasVersion, Items, ModelView
from fieldline_server.releases import follow_alias

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=Guarded)
_MOST_BYTES = 2 * 1024**3
_LONGEST_S = 3600.0
_slots = threading.BoundedSemaphore(2)
_FILE = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_UPLOAD = {"requestBody": {"required": True, "content": _FILE}}


@router.get("", response_model=Items[ModelView], dependencies=[MayRead])
def list_models(backend: Back) -> dict[str, Any]:
    """All versions of all models."""
    return {"items": [_view(version) for version in backend.registry.versions()]}


@router.get("/{name}", response_model=Items[ModelView], dependencies=[MayRead])
def show_model(name: str, backend: Back) -> dict[str, Any]:
    """All versions of one model."""
    return {"items": [_view(version) for version in _versions(backend, name)]}


@router.post("/{name}/versions", status_code=201, response_model=ModelView, openapi_extra=_UPLOAD)
async def import_version(
    name: str, request: Request, backend: Back, caller: MayConfigure, device: Device = "cpu",
    fallback: Annotated[bool, Query(description="Whether it may run on the CPU where its device is missing.")] = True,
) -> dict[str, Any]:  # fmt: skip
    """Imports the ONNX file that is the body, after it was inspected in a process of its own."""

    def imported(tx: Transaction, version: ModelVersion) -> None:
        record(tx, "model.imported", caller.name, {"model": str(version), "digest": version.digest, "device": device})

    with _room(), tempfile.TemporaryDirectory(prefix="fieldline-upload-", dir=_folder(backend)) as folder:
        path = Path(folder) / "model.onnx"
        await save_body(request, path, _MOST_BYTES, _LONGEST_S)
        return _view(await run_sync(backend.registry.import_model, path, name, caller.name, device, fallback, imported))


@router.put("/{name}/aliases/{alias}", response_model=ModelView)
def move_alias(name: str, alias: Alias, wanted: AliasVersion, backend: Back, caller: MayConfigure) -> dict[str, Any]:
    """Points an alias at a version; flows that name the model by it decide new records by that version."""
    if wanted.version not in {version.version for version in _versions(backend, name)}:
        raise NotFound(f"the model {name} has no version {wanted.version}")
    return _view(follow_alias(backend.engine, backend.registry, name, alias, wanted.version, caller.name))


@contextmanager
def _room() -> Iterator[None]:
    if not _slots.acquire(blocking=False):
        raise TooMany("two models are being imported already", retry_after=30.0)
    try:
        yield
    finally:
        _slots.release()


def _folder(backend: Backend) -> Path:
    folder = backend.engine.settings.data_directory
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"the data directory {folder} cannot be made: {error.strerror}") from error
    return folder


def _versions(backend: Backend, name: str) -> list[ModelVersion]:
    versions = backend.registry.versions(name[:100])
    if not versions:
        raise NotFound("there is no such model")
    return versions


def _view(version: ModelVersion) -> dict[str, Any]:
    return {
        "name": version.name, "version": version.version, "digest": version.digest, "device": version.device,
        "fallback": version.fallback, "aliases": list(version.aliases), "signature": version.signature.model_dump(mode="json"),
        "facts": version.facts.model_dump(mode="json"),
    }  # fmt: skip

"""The log as other tools read it, and evidence with its proofs."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask

from fieldline_core.errors import Misconfigured
from fieldline_core.ledger import TileError, parse_path
from fieldline_core.pipeline.prove import SealedLog
from fieldline_core.pipeline.sequence import open_log_key
from fieldline_server.api.access import Guarded, MayAudit
from fieldline_server.api.backend import Back, Backend
from fieldline_server.api.problems import NotFound
from fieldline_server.api.views import LogKeyView
from fieldline_server.evidence_bundle import Wish, export_evidence

router = APIRouter(prefix="/v1", tags=["audit"], route_class=Guarded)


def _given(media_type: str, about: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {}}, "description": about}}


_ZIP = _given("application/zip", "A bundle for `fieldline-verify`.")
_NOTE = _given("text/plain", "A signed note (C2SP tlog-checkpoint).")
_TILE = _given("application/octet-stream", "A tile or entry bundle (C2SP tlog-tiles).")


@router.get("/log/key", response_model=LogKeyView)
def show_key(backend: Back, _: MayAudit) -> dict[str, Any]:
    """The public key that the log's checkpoints are signed with."""
    key = open_log_key(backend.engine.store, backend.engine.keyring).verifier
    return {"name": key.name, "id": key.id.hex(), "vkey": str(key)}


@router.get("/log/checkpoint", response_class=Response, responses=_NOTE)
def show_checkpoint(
    backend: Back, _: MayAudit, witnessed: Annotated[bool, Query(description="The newest one that a witness cosigned.")] = False
) -> Response:
    """The newest checkpoint, and what witnesses signed under it: whoever keeps it can tell whether anything before it changes."""
    note = _read(backend, "", witnessed=witnessed)
    return Response(note, media_type="text/plain; charset=utf-8")


@router.get("/log/tile/{path:path}", response_class=Response, responses=_TILE)
def show_tile(path: str, backend: Back, _: MayAudit) -> Response:
    """Hashes or entries of the log, side by side."""
    try:
        parse_path(f"tile/{path}")
    except TileError as error:
        raise NotFound(str(error)) from None
    return Response(_read(backend, f"tile/{path}"), media_type="application/octet-stream")


@router.get("/evidence", response_class=FileResponse, responses=_ZIP)
async def export(
    backend: Back, caller: MayAudit, key: Annotated[str, Query(min_length=1, max_length=1024, description="The record's key.")]
) -> FileResponse:
    """All decisions on a record with their proofs, as a zip file; that it was exported is recorded."""
    folder = tempfile.TemporaryDirectory(prefix="fieldline-evidence-")
    out = Path(folder.name) / "evidence.zip"
    try:
        await run_sync(lambda: export_evidence(backend.engine, Wish(key), out, caller.name))
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(out, media_type="application/zip", filename="evidence.zip", background=BackgroundTask(folder.cleanup))


def _read(backend: Backend, path: str, *, witnessed: bool = False) -> bytes:
    """The checkpoint, or the file at a path; raises NotFound."""
    with backend.engine.store.transaction("log.read") as tx:
        try:
            log = SealedLog(tx)
            if path:
                return log.file(path)
            note = log.witnessed() if witnessed else log.note
        except Misconfigured as error:
            raise NotFound(str(error)) from None
    if note is None:
        raise NotFound("no witness has cosigned a checkpoint yet: see 'fieldline audit witnesses'")
    return note

"""Erasure of a record, with its certificate."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from fieldline_core.pipeline.certificate import certify
from fieldline_core.pipeline.erase import erase
from fieldline_server.api.access import Guarded, MayErase
from fieldline_server.api.backend import Back
from fieldline_server.api.views import Taken

router = APIRouter(prefix="/v1", tags=["audit"], route_class=Guarded)


class Erasure(Taken):
    """Which record is to be erased, and why."""

    key: str = Field(min_length=1, max_length=1024, description="The record's key.")
    why: str = Field(min_length=1, max_length=1000, description="The reason, kept in the log for ever.")
    despite: str = Field("", max_length=1000, description="The legal basis that overrides a flow's retention class.")


class CertificateView(BaseModel):
    """What was erased, and where the log says so."""

    format: str
    key_hash: str
    erased_at: str
    by: str
    why: str
    despite: str
    flows: list[str]
    erased: dict[str, int]
    key_backup_days: int
    key_backups_until: str
    event: int
    position: int
    log: str
    text: str = Field(description="The certificate for people.")


@router.post("/erasures", response_model=CertificateView)
def erase_record(wish: Erasure, backend: Back, caller: MayErase) -> dict[str, Any]:
    """Erases all that is kept of a record for good, and answers the certificate; again, the same one."""
    event = erase(backend.engine, wish.key, caller.name, wish.why, despite=wish.despite)
    return certify(backend.engine, event).to_json()

"""Reports of the log, in the shapes that laws and rules ask for."""

import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from starlette.background import BackgroundTask

from fieldline_server.api.access import Guarded, MayAudit
from fieldline_server.api.backend import Back
from fieldline_server.api.problems import NotFound
from fieldline_server.api.views import Items
from fieldline_server.reports import KINDS, Question, make_report, media_type, moment, write_report

router = APIRouter(prefix="/v1/reports", tags=["audit"], route_class=Guarded)
_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {name: {} for name in ("application/json", "application/fhir+json", "text/csv", "text/html")},
        "description": "The report, whole.",
    }
}
_MOST_ROWS = 100_000
Key = Annotated[str | None, Query(min_length=1, max_length=1024, description="The record's key.")]
Named = Annotated[str | None, Query(min_length=1, max_length=63, description="Of one flow only.")]
Since = Annotated[str | None, Query(max_length=40, description="From this day or moment on, in UTC.")]
Until = Annotated[str | None, Query(max_length=40, description="Before this day or moment, in UTC.")]
Format = Annotated[Literal["json", "csv", "html", "ndjson"], Query(description="How it is written.")]


class ReportKindView(BaseModel):
    """A report that can be made."""

    kind: str
    title: str
    basis: str = Field(description="The provisions that ask for these records.")
    produces: str
    limits: list[str] = Field(description="What it is not, and what a person has to add.")
    needs: list[str]
    takes: list[str]
    columns: dict[str, str]


@router.get("", response_model=Items[ReportKindView])
def list_reports(_: MayAudit) -> dict[str, Any]:
    """The reports that can be made."""
    return {"items": [kind.as_json() for kind in KINDS.values()]}


@router.get("/{kind}", response_class=FileResponse, responses=_FILES)
async def show_report(
    kind: str,
    backend: Back,
    caller: MayAudit,
    key: Key = None,
    flow: Named = None,
    since: Since = None,
    until: Until = None,
    format: Format = "json",
) -> FileResponse:
    """A report of at most 100,000 rows as a file; that it was made is recorded, and no answer is half a report."""
    if kind not in KINDS:
        raise NotFound(f"there is no report {kind}: there are {', '.join(KINDS)}")
    asked = Question(key, flow, moment(since) if since else None, moment(until) if until else None)
    folder = tempfile.TemporaryDirectory(prefix="fieldline-report-")
    out = Path(folder.name) / "report"

    def made() -> str:
        report = make_report(backend.engine, kind, asked, caller.name)
        write_report(report, format, out, _MOST_ROWS)
        return media_type(report, format)

    try:
        type = await run_sync(made)
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(out, media_type=type, filename=f"{kind}.{format}", background=BackgroundTask(folder.cleanup))

"""Past decisions, made again and compared; nothing is written."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from fieldline_core.errors import Rejected
from fieldline_core.pipeline.rerun import rerun_flow, rerun_record
from fieldline_server.api.access import Guarded, MayAudit
from fieldline_server.api.backend import Back

router = APIRouter(prefix="/v1", tags=["audit"], route_class=Guarded)

Key = Annotated[str | None, Query(min_length=1, max_length=1024, description="All decisions on one record.")]
Named = Annotated[str | None, Query(min_length=1, description="The decisions of one flow.")]
Last = Annotated[int, Query(ge=1, le=10_000, description="How many decisions, those made last.")]


class DifferenceView(BaseModel):
    """One value that is not what it was."""

    part: str = Field(description="`features`, `outputs`, `fields`, `held`, `header` or `runtime`.")
    name: str
    then: Any
    now: Any


class RerunView(BaseModel):
    """One decision, made again."""

    key: str
    flow: str
    release: str
    clock: str
    equal: bool | None = Field(description="Null where it cannot be made again.")
    impossible: str = Field(description="Why it cannot be made again, where that is so.")
    differences: list[DifferenceView]
    runtime: list[DifferenceView] = Field(description="What computes now and is not what computed then.")


class RuntimeView(BaseModel):
    """Something that computes now and is not what computed then, and the decisions that this concerns."""

    name: str
    then: str | None
    now: str | None
    decisions: int


class RerunsView(BaseModel):
    """What came of decisions that were made again."""

    count: int
    equal: int
    different: int
    impossible: int
    unread: int = Field(description="Rows that could not be read as records: nothing was decided on them.")
    erased: int = Field(description="Rows that were erased, and are not counted otherwise.")
    runtime: list[RuntimeView]
    decisions: list[RerunView] = Field(description="All on a record; of a flow those that are not equal; 1,000 at most.")


@router.get("/reruns", response_model=RerunsView)
def show_reruns(backend: Back, caller: MayAudit, key: Key = None, flow: Named = None, last: Last = 1000) -> dict[str, Any]:
    """Makes past decisions again, with their own release and clock, and says what differs; that it was done is recorded."""
    if key is not None and flow is None:
        return rerun_record(backend.engine, key, last, caller.name).as_json()
    if flow is not None and key is None:
        backend.flows.find(flow)
        return rerun_flow(backend.engine, flow, last, caller.name).as_json()
    raise Rejected("give either key or flow")

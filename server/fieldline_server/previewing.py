"""What a flow's mapping makes of the first records of its source, for a person to look at before anything is scored."""

from datetime import UTC, datetime
from itertools import islice
from typing import Any

from fieldline_core.errors import Misconfigured
from fieldline_core.events import record
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.enrich import fields_to_read
from fieldline_core.pipeline.manage import current_release
from fieldline_mappings import CompiledPlan, explain


def preview_flow(engine: Engine, flow: str, rows: int, by: str) -> list[dict[str, Any]]:
    """For each of the first records its key, and its features with the field that each comes from; nothing is written."""
    release = current_release(engine, flow)
    query = engine.parts.query(release)
    plan = engine.parts.plan(release)
    if query is None or release.flow.source is None:
        raise Misconfigured(f"the flow {flow} has no source to read: score a record of your own with 'fieldline score {flow}'")
    assert isinstance(plan, CompiledPlan)
    with engine.store.transaction("preview") as tx:
        record(tx, "preview.viewed", by, {"flow": flow, "release": release.digest, "count": rows})
    connector = engine.parts.connector(release.flow.source.connection)
    pages = connector.read(query.reading(fields_to_read(engine, release)), None, rows)
    batches = [page.batch.slice(0, rows) for page in islice(pages, 1)]
    clock = datetime.now(UTC)
    return [
        {"key": key, "features": features}
        for batch in batches
        for key, features in zip(batch.keys, explain(plan, batch, clock), strict=True)
    ]

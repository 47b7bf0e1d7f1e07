"""What a mapping makes of the first records of a flow's source, for a person to look at before anything is scored."""

from datetime import UTC, datetime
from itertools import islice
from typing import Any

from fieldline_core.events import record
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.manage import current_release
from fieldline_inference.registry import Registry
from fieldline_mappings import CompiledPlan, MappingDocument, explain
from fieldline_server.sourcing import Records, plan_of


def preview_flow(
    engine: Engine, registry: Registry, flow: str, rows: int, by: str, draft: MappingDocument | None = None, *,
    at_once: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """For each of the first records its key and its features, step by step, by the flow's mapping or a draft.

    Wanted `at_once`, a source that has to prepare its records is refused; else it is waited for.
    """
    release = current_release(engine, flow)
    plan = plan_of(registry, release, draft) if draft else engine.parts.plan(release)
    assert isinstance(plan, CompiledPlan)
    records = Records(engine, release, plan.fields_read(), at_once=at_once)
    with engine.store.transaction("preview") as tx:
        record(tx, "preview.viewed", by, {"flow": flow, "release": release.digest, "count": rows, "draft": draft is not None})
    clock = datetime.now(UTC)
    return [
        {"key": key, "features": features}
        for batch in islice(records.pages(rows), 1)
        for key, features in zip(batch.keys, explain(plan, batch, clock), strict=True)
    ]

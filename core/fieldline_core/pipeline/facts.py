"""Facts of a decision that a write can name beside the mapping's fields: when it was made, by which model and release."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import polars as pl

from fieldline_core.flow import Release
from fieldline_core.pipeline.decide import Decisions
from fieldline_core.schema import POLARS_TYPES, FieldType

FACTS: Mapping[str, FieldType] = {
    "decision.clock": FieldType.DATETIME, "decision.model": FieldType.TEXT, "decision.release": FieldType.TEXT,
}  # fmt: skip
"""What a target's field may be filled with: the decision's moment in UTC, `name@version` of its model, the release's digest."""
_VALUES: Mapping[str, Callable[[Release, Decisions], object]] = {
    "decision.clock": lambda release, made: made.clock.replace(tzinfo=None),
    "decision.model": lambda release, made: f"{release.models[0].name}@{release.models[0].version}",
    "decision.release": lambda release, made: release.digest,
}


def with_facts(release: Release, made: Decisions) -> Decisions:
    """The decisions with the facts that the release's writes name, as fields: so they are evidence, and frozen with the others."""
    wanted = {source for write in release.flow.writes for source in (write.target.get("fields") or {}).values()} & FACTS.keys()
    if not wanted or not made.fields.width:
        return made
    columns = [
        pl.Series(name, [_VALUES[name](release, made)], POLARS_TYPES[FACTS[name]]).new_from_index(0, made.fields.height)
        for name in sorted(wanted)
    ]
    # Nothing is written of a row that is held.
    held = sorted(made.held)
    return replace(made, fields=made.fields.hstack([column.scatter(held, None) if held else column for column in columns]))

"""What a mapping makes of some records, feature by feature, for a person to look at."""

from datetime import datetime
from typing import Any

from fieldline_core.batch import Batch
from fieldline_mappings.plan import CompiledPlan


def explain(plan: CompiledPlan, batch: Batch, clock: datetime) -> list[list[dict[str, Any]]]:
    """For each row a list of features: `feature`, `field`, `source` value, `value` (None where held) and a `note`."""
    read = plan.read(batch, clock)
    values, masks = plan.features(batch, clock).frame.rows(), plan.masks(read).rows()
    blanks = read.select(each.reading.value.is_null().alias(str(number)) for number, each in enumerate(plan.built)).rows()
    sources = [read[each.reading.field].to_list() if each.reading.field in batch.frame.columns else None for each in plan.built]
    return [
        _row(plan, values[row], masks[row], blanks[row], [None if source is None else source[row] for source in sources])
        for row in range(len(batch))
    ]


def _row(plan: CompiledPlan, values: Any, masks: Any, blanks: Any, sources: list[Any]) -> list[dict[str, Any]]:
    reasons: dict[int, str] = {}
    for problem, held in zip(plan.problems, masks, strict=True):
        if held:
            reasons.setdefault(problem.feature, problem.reason)
    return [
        {
            "feature": column.name,
            "field": plan.built[column.feature].reading.field,
            "source": _plain(sources[column.feature]),
            "value": None if column.feature in reasons else value,
            "note": reasons.get(column.feature) or ("blank: its replacement is used" if blanks[column.feature] else ""),
        }
        for column, value in zip(plan.columns, values, strict=True)
    ]


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)

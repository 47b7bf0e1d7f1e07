"""What a mapping makes of some records, feature by feature, for a person to look at."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from fieldline_core.batch import Batch
from fieldline_mappings.features import Column
from fieldline_mappings.plan import CompiledPlan, Inspected


def explain(plan: CompiledPlan, batch: Batch, clock: datetime) -> list[list[dict[str, Any]]]:
    """For each row a list of features.

    Each has `feature`, its `formula` (or field), the `steps` that its formula goes through with their values, what it `computed`,
    the `value` that the model is given (None where held) and a `note`.
    """
    made = plan.inspect(batch, clock)
    reasons = made.reasons()
    steps = _steps(plan, made)
    shown = [
        _column(plan, column, values, made.computed[str(column.feature)], steps[column.feature], reasons)
        for column, values in zip(plan.columns, made.features, strict=True)
    ]
    return [list(row) for row in zip(*shown, strict=True)]


def _steps(plan: CompiledPlan, made: Inspected) -> list[list[list[dict[str, Any]]]]:
    """For each feature and row the parts of its formula, each with its value."""
    parts = plan.checked.checker.parts
    computed = {int(column.name): _plain(column) for column in made.bound.shown(made.read)}
    texts = {place: parts[place].text for place in computed}
    given = {place: [{"part": texts[place], "value": value} for value in values] for place, values in computed.items()}
    nothing: list[list[dict[str, Any]]] = [[] for _ in range(made.read.height)]
    inside = ([given[place] for place in places] for places in made.bound.steps)
    return [list(map(list, zip(*each, strict=True))) if each else nothing for each in inside]


def _column(
    plan: CompiledPlan, column: Column, values: pl.Series, computed: pl.Series, steps: Sequence[Any],
    reasons: Sequence[Mapping[int, str]],
) -> list[dict[str, Any]]:  # fmt: skip
    """One column of the features, row by row."""
    feature = plan.document.features[column.feature]
    formula, shown = feature.conversion or feature.formula or feature.field, []
    for value, own, inner, held in zip(values.to_list(), _plain(computed), steps, reasons, strict=True):
        reason = held.get(column.feature)
        note = reason or ("blank: its replacement is used" if own is None else "")
        given = None if reason else value
        shown.append(
            {"feature": column.name, "formula": formula, "steps": inner, "computed": own, "value": given, "note": note}
        )
    return shown


def _plain(column: pl.Series) -> list[Any]:
    values = column.to_list()
    return [None if value is None else str(value) for value in values] if column.dtype.is_temporal() else values

"""A mapping, compiled: batches in, tensors out; outputs in, fields out."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from fieldline_core.batch import Batch, Held, Sifted
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Tensors
from fieldline_core.schema import FieldType
from fieldline_mappings.document import MappingDocument
from fieldline_mappings.features import Built, Column
from fieldline_mappings.inputs import Filled
from fieldline_mappings.outputs import Written
from fieldline_mappings.reading import TODAY, Steps

_REASONS = 3
"""A row that is held for more reasons than this names the first of them, and how many more there are."""


class CompiledPlan:
    """The plan of one mapping and one model; the same row gives the same answer in a batch of any size."""

    def __init__(
        self,
        document: MappingDocument,
        digest: str,
        built: Sequence[Built],
        columns: Sequence[Column],
        inputs: Sequence[Filled],
        written: Sequence[Written],
    ) -> None:
        self.document = document
        self.digest = digest
        self.uses_clock = any(feature.part == "days_ago" for feature in document.features)
        self.built = tuple(built)
        self.columns = tuple(columns)
        self._inputs = tuple(inputs)
        self._written = tuple(written)
        self.problems = tuple(problem for each in built for problem in each.problems)
        self._values = [expression for each in built for expression in each.values]
        self._masks = [problem.mask.alias(f"held:{number}") for number, problem in enumerate(self.problems)]
        self._readings = tuple({each.reading: None for each in built})
        self._steps = lru_cache(maxsize=64)(self._steps_for)

    def fields_read(self) -> Mapping[str, FieldType]:
        """Each source field and the type that it is read as; a datetime where days or times are taken from it too."""
        types: dict[str, FieldType] = {}
        for reading in self._readings:
            if types.get(reading.field) is not FieldType.DATETIME:
                types[reading.field] = FieldType(reading.type)
        return types

    def fields_written(self) -> Mapping[str, FieldType]:
        """Each field to write, and its type."""
        return {field.name: field.type for field in self._written}

    def features(self, batch: Batch, clock: datetime) -> Sifted:
        """The features of all rows, in the mapping's order, and the rows held back."""
        both = self.read(batch, clock).select(*self._values, *self._masks).get_columns()
        values, masks = both[: len(self._values)], both[len(self._values) :]
        # A mask for each problem, looked at one by one, costs a quarter of what any_horizontal over them does.
        return Sifted(pl.DataFrame(values), self._held({number: mask for number, mask in enumerate(masks) if mask.any()}))

    def tensors(self, features: pl.DataFrame) -> Tensors:
        """The model's inputs, as C-contiguous arrays."""
        return {filled.tensor.name: filled.array(features) for filled in self._inputs}

    def fields(self, batch: Batch, outputs: pl.DataFrame, clock: datetime) -> Sifted:
        """The fields to write, and the rows that the model gave no usable answer for."""
        for field in self._written:
            if field.output not in outputs.columns:
                given = ", ".join(outputs.columns[:20])
                raise Misconfigured(f"field {field.name!r}: the model gave no output {field.output!r}, only {given}")
        frame = outputs.select(field.value.alias(field.name) for field in self._written)
        held: dict[int, str] = {}
        for field in self._written:
            missing = frame[field.name].is_null()
            if missing.any():
                held |= {row: field.reason for row in missing.arg_true().to_list() if row not in held}
        return Sifted(frame, held)

    def read(self, batch: Batch, clock: datetime) -> pl.DataFrame:
        """The batch with each field beside it as the type that it is read as."""
        frame = batch.frame if batch.frame.width else batch.keys.to_frame()
        schema = frame.schema
        moment = clock if clock.tzinfo else clock.replace(tzinfo=UTC)
        today = moment.astimezone(ZoneInfo(self.document.timezone)).date()
        texts, values, flags = self._steps(tuple(schema.get(reading.field) for reading in self._readings))
        frame = frame.with_columns(texts) if texts else frame
        frame = frame.with_columns(*values, pl.lit(today, pl.Date).alias(TODAY))
        return frame.with_columns(flags) if flags else frame

    def masks(self, read: pl.DataFrame) -> pl.DataFrame:
        """For each of `problems`, in order, the rows that it holds back."""
        return read.select(mask.fill_null(False) for mask in self._masks)

    def _steps_for(self, dtypes: tuple[pl.DataType | None, ...]) -> Steps:
        steps = [reading.steps(dtype, self.document.timezone) for reading, dtype in zip(self._readings, dtypes, strict=True)]
        texts = {expression.meta.output_name(): expression for step in steps for expression in step.texts}
        values = tuple(expression for step in steps for expression in step.values if expression.meta.output_name() not in texts)
        return Steps(tuple(texts.values()), values, tuple(expression for step in steps for expression in step.flags))

    def _held(self, masks: Mapping[int, pl.Series]) -> Held:
        if not masks:
            return {}
        table = np.column_stack([mask.fill_null(False).to_numpy() for mask in masks.values()])
        rows = np.flatnonzero(table.any(axis=1))
        # Rows that are held for the same reasons share one text: there are few patterns, and may be many rows.
        patterns, which = np.unique(table[rows], axis=0, return_inverse=True)
        numbers = np.array(list(masks))
        texts = [self._text(numbers[pattern].tolist()) for pattern in patterns]
        return {row: texts[pattern] for row, pattern in zip(rows.tolist(), which.ravel().tolist(), strict=True)}

    def _text(self, numbers: Sequence[int]) -> str:
        shown = "; ".join(self.problems[number].reason for number in numbers[:_REASONS])
        return f"{shown}; and {len(numbers) - _REASONS} more" if len(numbers) > _REASONS else shown

"""A mapping, compiled: batches in, tensors out; outputs in, fields out."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from operator import or_
from typing import NamedTuple

import numpy as np
import polars as pl

from fieldline_core.batch import Batch, Held, Sifted
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Tensors, Texts, Wanted
from fieldline_core.schema import POLARS_TYPES, FieldType
from fieldline_mappings.bound import Binding, BoundMapping, Clock, output_column
from fieldline_mappings.checked import Checked, is_whole, lineage, texts_of
from fieldline_mappings.features import Column, Encoded, where
from fieldline_mappings.formula import Slot, Type
from fieldline_mappings.formula.program import taken_from
from fieldline_mappings.inputs import Filled

_REASONS = 3
"""A row that is held for more reasons than this names the first of them, and how many more there are."""
_WRITTEN: dict[Type, FieldType] = {
    Type.NUMBER: FieldType.NUMBER, Type.TEXT: FieldType.TEXT, Type.BOOLEAN: FieldType.BOOLEAN, Type.DATE: FieldType.DATE,
    Type.DATETIME: FieldType.DATETIME, Type.TIME: FieldType.TIME, Type.NULL: FieldType.TEXT,
}  # fmt: skip

Errors = Mapping[int, pl.Series]
"""For formulas that some rows could not be computed for: a code for each row, null where it could."""

Said = Sequence[tuple[int, pl.Series, str]]
"""Features that hold rows back: the feature's position, the rows, and why; in the features' order."""


class Inspected(NamedTuple):
    """What a plan made of some rows."""

    bound: BoundMapping
    read: pl.DataFrame
    """The rows as the mapping reads them."""
    computed: pl.DataFrame
    """What each field or formula of a feature gave, before blanks are filled."""
    features: pl.DataFrame
    said: Said

    def reasons(self) -> list[dict[int, str]]:
        """For each row the features that hold it back, by position, with the first reason of each."""
        rows: list[dict[int, str]] = [{} for _ in range(self.features.height)]
        for feature, mask, words in self.said:
            for row in mask.arg_true().to_list():
                rows[row].setdefault(feature, words)
        return rows


class CompiledPlan:
    """The plan of one mapping and one model; the same row gives the same answer in a batch of any size."""

    def __init__(
        self, checked: Checked, digest: str, columns: Sequence[Column], encoded: Sequence[Encoded], inputs: Sequence[Filled]
    ) -> None:
        self.document = checked.document
        self.checked = checked
        self.digest = digest
        self.uses_clock = checked.feature_clock
        self.columns = tuple(columns)
        self._inputs = tuple(inputs)
        self.problems = tuple(problem for each in encoded for problem in each.problems)
        # Without blanks there is nothing to fill.
        self._values = [(_parted(each.values), _parted(each.without_blanks)) for each in encoded]
        self._first = [each.values[0].meta.output_name() for each in encoded]
        self._masks = [problem.mask.alias(f"held:{number}") for number, problem in enumerate(self.problems)]
        self._features_read, _ = lineage(checked, checked.features)
        own, outputs = lineage(checked, checked.fields)
        self._fields_read, self._outputs = own, sorted(outputs)
        self._types = [self._written_type(root) for root in checked.fields]
        self._read = self._wanted(self._features_read | self._fields_read)
        self._bound = lru_cache(maxsize=64)(self._bind)
        self._bound_fields = lru_cache(maxsize=64)(self._bind_fields)

    def fields_read(self) -> Wanted:
        """Each source field and its type; of a list of child rows, the fields of its rows with theirs."""
        return self._read

    def fields_written(self) -> Mapping[str, FieldType]:
        """Each field to write, and its type."""
        return {field.name: type for field, type in zip(self.document.written, self._types, strict=True)}

    def texts_written(self) -> Texts:
        """Each text to write, with all that it can be where its formula chooses among fixed ones."""
        roots = zip(self.document.written, self._types, self.checked.fields, strict=True)
        return {field.name: texts_of(self.checked, root) for field, type, root in roots if type is FieldType.TEXT}

    def lineage(self) -> Mapping[str, tuple[str, ...]]:
        """Each feature, and each field to write, with the source fields that it depends on."""
        features = {
            feature.name: lineage(self.checked, [root])[0]
            for feature, root in zip(self.document.features, self.checked.features, strict=True)
        }
        written = {}
        for field, root in zip(self.document.written, self.checked.fields, strict=True):
            own, outputs = lineage(self.checked, [root])
            # What the model says depends on all that it is told.
            written[field.name] = own | (self._features_read if outputs else set())
        return {name: tuple(sorted(fields)) for name, fields in (features | written).items()}

    def features(self, batch: Batch, clock: Clock) -> Sifted:
        """The features of all rows, in the mapping's order, and the rows held back."""
        made = self.inspect(batch, clock)
        return Sifted(made.features, _held([mask for _, mask, _ in made.said], [words for _, _, words in made.said]))

    def inspect(self, batch: Batch, clock: Clock) -> Inspected:
        """The features of all rows, with all that was made on the way to them."""
        bound, read = self.read(batch, clock)
        computed = bound.values(read)
        values, said = self._sift(computed, self.explain(bound, read, computed), bound)
        return Inspected(bound, read, computed, values, said)

    def reasons(self, batch: Batch, clock: Clock) -> list[dict[int, str]]:
        """For each row the features that hold it back, by position, with the first reason of each."""
        return self.inspect(batch, clock).reasons()

    def tensors(self, features: pl.DataFrame) -> Tensors:
        """The model's inputs, as C-contiguous arrays."""
        return {filled.tensor.name: filled.array(features) for filled in self._inputs}

    def fields(self, batch: Batch, outputs: pl.DataFrame, clock: Clock) -> Sifted:
        """The fields to write, and the rows for which one cannot be computed."""
        if missing := [name for name in self._outputs if name not in outputs.columns]:
            raise Misconfigured(f"the model gave no output {missing[0]!r}, only {', '.join(outputs.columns[:20])}")
        frame = outputs.select(pl.col(name).alias(output_column(name)) for name in self._outputs)
        if self._fields_read or not self._outputs:
            frame = frame.hstack(_frame(batch).get_columns()) if self._outputs else _frame(batch)
        bound, read = self._bound_fields(tuple(frame.schema.items())).read(frame, clock)
        computed = bound.values(read)
        names = [field.name for field in self.document.written]
        casts = [
            pl.col(str(place)).cast(POLARS_TYPES[type], strict=False).alias(name)
            for place, (name, type) in enumerate(zip(names, self._types, strict=True))
        ]
        held: dict[int, str] = {}
        for place, codes in self.explain(bound, read, computed).items():
            for row in codes.is_not_null().arg_true().to_list():
                held.setdefault(row, f"field {names[place]!r}: {bound.reason(codes[row])}")
        written = computed.select(casts)
        for place, name in enumerate(names):
            if written[name].null_count() > computed[str(place)].null_count():
                for row in (written[name].is_null() & computed[str(place)].is_not_null()).arg_true().to_list():
                    held.setdefault(row, f"field {name!r} is too large for a whole number")
        return Sifted(written, held)

    def read(self, batch: Batch, clock: Clock) -> tuple[BoundMapping, pl.DataFrame]:
        """The mapping as it is bound to the batch's columns, and the batch as it reads them."""
        frame = _frame(batch)
        return self._bound(tuple(frame.schema.items())).read(frame, clock)

    def explain(self, bound: BoundMapping, read: pl.DataFrame, computed: pl.DataFrame) -> Errors:
        """Why a formula gave nothing: asked only where one that can fail did, for only those rows."""
        blank = [place for place in bound.fallible if computed[str(place)].null_count()]
        if not blank:
            return {}
        rows = computed.select(pl.any_horizontal(pl.col(str(place)).is_null() for place in blank)).to_series()
        codes = bound.errors(read.filter(rows))
        places = rows.arg_true()
        nothing = pl.Series([None], dtype=pl.UInt16).new_from_index(0, read.height)
        return {
            # Polars scatters in place.
            place: nothing.clone().scatter(places, codes[str(place)])
            for place in bound.fallible
            if codes[str(place)].null_count() < len(codes)
        }

    def _sift(self, computed: pl.DataFrame, errors: Errors, bound: BoundMapping) -> tuple[pl.DataFrame, Said]:
        parted = [each[0 if column.null_count() else 1] for column, each in zip(computed, self._values, strict=True)]
        named = {made.name: made for made in computed.select([value for each in parted for value in each.made])}
        named |= {name: computed[source].alias(name) for each in parted for name, source in each.taken.items()}
        possible = [
            number
            for number, problem in enumerate(self.problems)
            if problem.possible(computed[str(problem.feature)], named[self._first[problem.feature]])
        ]
        masks = computed.select(self._masks[number] for number in possible).get_columns()
        # A mask for each problem, looked at one by one, costs a quarter of what any_horizontal over them does.
        held = {number: mask.fill_null(False) for number, mask in zip(possible, masks, strict=True) if mask.any()}
        for number in [number for number in held if self.problems[number].blank and self.problems[number].feature in errors]:
            held[number] = held[number] & errors[self.problems[number].feature].is_null()
        said = [(self.problems[number].feature, mask, self.problems[number].reason) for number, mask in held.items()]
        said += [each for place, codes in errors.items() for each in self._failures(place, codes, bound)]
        said.sort(key=lambda each: each[0])
        return pl.DataFrame([named[column.name] for column in self.columns]), said

    def _failures(self, place: int, codes: pl.Series, bound: BoundMapping) -> Iterator[tuple[int, pl.Series, str]]:
        feature = self.document.features[place]
        for code in codes.drop_nulls().unique().sort().to_list():
            words = bound.reason(code)
            begin = where(feature) if feature.field is None else f"feature {feature.name!r}"
            yield place, (codes == code).fill_null(False), f"{begin}: {words}"

    def _written_type(self, root: int) -> FieldType:
        part = self.checked.checker.parts[root]
        if isinstance(part.what, Slot) and part.what.field is FieldType.DECIMAL:
            return FieldType.DECIMAL
        if part.type is Type.NUMBER and is_whole(self.checked, root):
            return FieldType.INTEGER
        return _WRITTEN[part.type]

    def _wanted(self, paths: set[str]) -> Wanted:
        wanted: dict[str, FieldType | Mapping[str, FieldType]] = {}
        for name, type in self.document.record_types.items():
            if isinstance(type, FieldType):
                wanted |= {name: type} if name in paths else {}
            elif name in paths or any(f"{name}.{field}" in paths for field in type):
                wanted[name] = {field: kind for field, kind in type.items() if f"{name}.{field}" in paths}
        return wanted

    def _bind(self, schema: tuple[tuple[str, pl.DataType], ...]) -> Binding:
        return Binding(self.checked, dict(schema))

    def _bind_fields(self, schema: tuple[tuple[str, pl.DataType], ...]) -> Binding:
        types = dict(schema)
        return Binding(self.checked, types, {name: types[output_column(name)] for name in self._outputs})


class _Parted(NamedTuple):
    """A feature's values: those to be made, and those that are what was computed, under another name."""

    made: Sequence[pl.Expr]
    taken: Mapping[str, str]


def _parted(values: Sequence[pl.Expr]) -> _Parted:
    taken = {each.meta.output_name(): source for each in values if (source := taken_from(each)) is not None}
    return _Parted([each for each in values if each.meta.output_name() not in taken], taken)


def _frame(batch: Batch) -> pl.DataFrame:
    return batch.frame if batch.frame.width else batch.keys.to_frame()


def _held(masks: Sequence[pl.Series], reasons: Sequence[str]) -> Held:
    if not masks:
        return {}
    rows = reduce(or_, masks).arg_true()
    if not len(rows):
        return {}
    table = np.column_stack([mask.gather(rows).to_numpy() for mask in masks])
    # Rows that are held for the same reasons share one text: there are few patterns, and may be many rows.
    patterns, which = np.unique(table, axis=0, return_inverse=True)
    texts = [_text([reasons[number] for number in np.flatnonzero(pattern).tolist()]) for pattern in patterns]
    return {row: texts[pattern] for row, pattern in zip(rows.to_list(), which.ravel().tolist(), strict=True)}


def _text(reasons: Sequence[str]) -> str:
    shown = "; ".join(reasons[:_REASONS])
    return f"{shown}; and {len(reasons) - _REASONS} more" if len(reasons) > _REASONS else shown

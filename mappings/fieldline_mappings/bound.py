"""A checked mapping, bound to the column types of one kind of batch: what is computed, and what explains what could not be."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, partial

import polars as pl

from fieldline_core.schema import FieldType
from fieldline_mappings.checked import Checked
from fieldline_mappings.document import Feature, FeatureType
from fieldline_mappings.formula import Program, Slot, Term, Type
from fieldline_mappings.formula.checking import Part
from fieldline_mappings.formula.program import Evaluator
from fieldline_mappings.formula.reader import Reader
from fieldline_mappings.formula.tree import Literal
from fieldline_mappings.reading import KINDS

Clock = datetime | pl.Series
"""The decision's moment, in UTC; or one for each row, when rows are seen as they were at different times."""


class _Given(Mapping[str, Term]):
    """What formulas name that is not read from the record, made when it is first asked for."""

    def __init__(self, make: Callable[[str], Term], names: Sequence[str]) -> None:
        self._make = make
        self._names = names
        self._made: dict[str, Term] = {}

    def __getitem__(self, name: str) -> Term:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True, slots=True)
class Root:
    """What one formula gives: its value, and the code of its error where it may have one."""

    value: pl.Expr
    error: pl.Expr | None


class Binding:
    """A mapping for batches with one schema: bound once for those of which all can be read, and once for others, if there are."""

    def __init__(
        self, checked: Checked, schema: Mapping[str, pl.DataType], outputs: Mapping[str, pl.DataType] | None = None
    ) -> None:
        self._reader = Reader(schema, checked.settings.zone, checked.settings.zero_blanks)
        self._bind = partial(BoundMapping, checked, schema, outputs, self._reader)
        self._readable = self._bind(readable=True)

    def read(self, frame: pl.DataFrame, clock: Clock) -> tuple["BoundMapping", pl.DataFrame]:
        """The frame with the fields as they are read, and what computes over it."""
        read, readable = self._reader.read(frame, clock)
        return (self._readable, read) if readable else (self._unreadable, self._reader.marked(read))

    @cached_property
    def _unreadable(self) -> "BoundMapping":
        return self._bind(readable=False)


class BoundMapping:
    """The features of a mapping, or the fields, over frames with one schema."""

    def __init__(
        self, checked: Checked, schema: Mapping[str, pl.DataType], outputs: Mapping[str, pl.DataType] | None, reader: Reader, *,
        readable: bool,
    ) -> None:  # fmt: skip
        self._checked = checked
        self._schema = schema
        self._outputs = outputs or {}
        self._features = {feature.name.lower(): place for place, feature in reversed(list(enumerate(checked.document.features)))}
        given = _Given(self._give, [*self._features, *map(output_column, self._outputs)])
        self.program = Program(checked.checker.parts, schema, checked.settings, given, reader, readable=readable)
        self._give_in_order()
        wanted = self._field_roots() if outputs is not None else self._feature_roots()
        self._roots = list(wanted)
        self.fallible = [place for place, root in enumerate(self._roots) if root.error is not None]
        self._values = self.program.evaluator({str(place): root.value for place, root in enumerate(self._roots)})
        self._errors = self.program.evaluator({str(place): self._roots[place].error for place in self.fallible})  # type: ignore[misc]

    def values(self, read: pl.DataFrame) -> pl.DataFrame:
        """What each formula gives, null where it is blank or cannot be computed: columns `0`, `1` …"""
        return self._values(read)

    def errors(self, read: pl.DataFrame) -> pl.DataFrame:
        """Why a formula cannot be computed, for those of `fallible`: codes, null where it can."""
        return self._errors(read)

    @cached_property
    def steps(self) -> Sequence[Sequence[int]]:
        """For each feature the parts of its formula that are worth showing, in order: those over records, without constants."""
        parts = self._checked.checker.parts
        shown = [not part.rows and not isinstance(part.what, Literal) for part in parts]
        return [[place for place in _inside(parts, root) if shown[place]] for root in self._checked.features]

    @cached_property
    def shown(self) -> Evaluator:
        """What computes all of the `steps`: columns by the position of the part."""
        places = {place for steps in self.steps for place in steps}
        return self.program.evaluator({str(place): self.program.term(place).value for place in sorted(places)})

    def reason(self, code: int) -> str:
        """The words of an error's code."""
        return self.program.reasons.words[code - 1]

    def _give_in_order(self) -> None:
        """Makes what formulas name in the document's order: one that is made of another finds it there."""
        slots = [part.what for part in self._checked.checker.parts if isinstance(part.what, Slot)]
        named = {slot.key for slot in slots if not slot.field}
        for name in sorted(named & self._features.keys(), key=self._features.__getitem__):
            self.program.given[name]

    def _feature_roots(self) -> Iterator[Root]:
        for place, (feature, type) in enumerate(zip(self._checked.document.features, self._checked.types, strict=True)):
            term = self._feature(self._checked.features[place], feature, type)
            yield Root(term.value, term.error)

    def _feature(self, position: int, feature: Feature, type: FeatureType) -> Term:
        """What a feature's field or formula gives, before its blanks are filled."""
        slot = self._checked.checker.parts[position].what
        read = isinstance(slot, Slot) and slot.field is not None and (feature.field is not None or type == "integer")
        term = self._read(slot, feature, type) if read and isinstance(slot, Slot) else self.program.term(position)
        if term.type is not Type.TEXT:
            return term
        trimmed = self.program.context().share(replace(term, value=term.value.str.strip_chars(), weight=2)).value
        return replace(term, value=pl.when(trimmed != "").then(trimmed), weight=2)

    def _read(self, slot: Slot, feature: Feature, type: FeatureType) -> Term:
        """A field as it is read, with its blanks, which are zero in formulas only."""
        # A whole number is read from its own text: a key of 19 digits stays what it is.
        term = self.program.field(replace(slot, field=FieldType.INTEGER) if type == "integer" else slot, exact=True)
        if type == "number":
            return term if KINDS[slot.field] == "number" else replace(term, value=term.value.cast(pl.Float64))  # type: ignore[index]
        if feature.field is None and self._checked.settings.zero_blanks:
            return replace(term, value=self.program.context().where_known(term.value.fill_null(0), term))
        return term

    def _field_roots(self) -> Iterator[Root]:
        for position in self._checked.fields:
            part = self._checked.checker.parts[position]
            term = self.program.context(part.text[:60]).settled(self.program.term(position))
            passed_on = self._passed_on(part.what, term) if isinstance(part.what, Slot) else None
            yield Root(term.value, term.error) if passed_on is None else passed_on

    def _passed_on(self, slot: Slot, term: Term) -> Root | None:
        """A key or an amount as exact as it came, where nothing is computed with it."""
        if slot.output and self._outputs[slot.name].is_integer():
            return Root(pl.col(output_column(slot.name)), None)
        if slot.field is FieldType.INTEGER:
            whole = self.program.field(slot, exact=True)
            return Root(whole.value, whole.error)
        if slot.field is FieldType.DECIMAL and slot.name in self._schema:
            words = pl.col(slot.name).cast(pl.String).str.strip_chars()
            return Root(pl.when(term.value.is_not_null()).then(pl.when(words != "").then(words)), term.error)
        return None

    def _give(self, name: str) -> Term:
        for output, dtype in self._outputs.items():
            if output_column(output) == name:
                return _output(pl.col(name), dtype)
        place = self._features[name]
        feature = self._checked.document.features[place]
        term = self._feature(self._checked.features[place], feature, self._checked.types[place])
        term = replace(term, value=term.value.cast(pl.Float64)) if term.type is Type.NUMBER else term
        context = self.program.context(feature.name)
        if feature.fill is not None:
            term = context.share(term)
            term = replace(term, value=context.where_known(term.value.fill_null(feature.fill), term))
        return context.share(replace(term, value=term.value.clip(*feature.clip)) if feature.clip else term)


def _inside(parts: Sequence[Part], root: int) -> list[int]:
    """The parts that a formula is made of, each before those that it is used in."""
    found, left = set[int](), [root]
    while left:
        if (place := left.pop()) not in found:
            found.add(place)
            left += [arg for arg in parts[place].args if arg >= 0]
    return sorted(found)


def output_column(name: str) -> str:
    """What a model's output is called beside the fields of a record, one of which may have its name."""
    return f"output:{name}"


def _output(value: pl.Expr, dtype: pl.DataType) -> Term:
    """A column of the model's outputs; a float32 is taken as the decimal that it is printed as, so that 0.7 is 0.7."""
    if dtype == pl.Float32:
        return Term(Type.NUMBER, value.cast(pl.String).cast(pl.Float64), finite=False)
    if dtype.is_numeric():
        return Term(Type.NUMBER, value.cast(pl.Float64), finite=False)
    return Term(Type.BOOLEAN if dtype == pl.Boolean else Type.TEXT, value)

"""Checked formulas as a program: which columns to add to a frame of records, and what each formula's value and error is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from fieldline_mappings.formula.checking import Part
from fieldline_mappings.formula.child_rows import ChildRows, child_schema, explode
from fieldline_mappings.formula.columns import Columns, Stages
from fieldline_mappings.formula.functions import CONSTANTS, Aggregate
from fieldline_mappings.formula.functions.models import Table
from fieldline_mappings.formula.functions.rows import Groups
from fieldline_mappings.formula.library import Function
from fieldline_mappings.formula.reader import Reader
from fieldline_mappings.formula.scope import Slot
from fieldline_mappings.formula.terms import CODE, NOW, TODAY, Context, Reasons, Term
from fieldline_mappings.formula.tree import Literal
from fieldline_mappings.formula.types import DTYPES, Type

_ORIGIN = datetime.fromisoformat("1900-01-01")
_SNIPPET = 60


@dataclass(frozen=True, slots=True)
class Settings:
    """What of a mapping decides how its formulas are computed."""

    zone: str = "UTC"
    zero_blanks: bool = False
    tables: Mapping[str, Table] = field(default_factory=dict)
    """Lookup tables by their names in lower case."""


class Program:
    """The terms of some parts over frames with one schema; `given` are values that are not read from the record, by slot key."""

    def __init__(
        self, parts: Sequence[Part], schema: Mapping[str, pl.DataType], settings: Settings, given: Mapping[str, Term] | None = None,
        reader: Reader | None = None, *, readable: bool = False,
    ) -> None:  # fmt: skip
        """A program whose frames `reader` reads; `readable` makes one for frames of which all can be read."""
        self.reasons = Reasons()
        self.given = given if given is not None else {}
        self.readable = readable
        self._settings = settings
        self._parts = parts
        self._schema = schema
        self._reader = reader or Reader(schema, settings.zone, settings.zero_blanks)
        self._lists: dict[str, Reader] = {}
        self._records = _Terms(self, "", Columns())
        self._uses = np.bincount([arg for part in parts for arg in part.args if arg >= 0] or [0], minlength=len(parts))

    def term(self, position: int) -> Term:
        """The term of a part."""
        return self._records.term(position)

    def field(self, slot: Slot, *, exact: bool = False) -> Term:
        """A field of the record by itself; `exact` keeps whole numbers as Int64."""
        return self._reader.term(slot, self.reasons, exact=exact, readable=self.readable)

    def context(self, snippet: str = "") -> Context:
        """Makes further terms over the same frame."""
        return self._records.context(snippet)

    def read(self, frame: pl.DataFrame, clock: datetime | pl.Series) -> pl.DataFrame:
        """The frame with the fields as they are read, what cannot be read marked, and the clock."""
        return self._reader.marked(self._reader.read(frame, clock)[0])

    def evaluate(self, read: pl.DataFrame, wanted: Mapping[str, pl.Expr]) -> pl.DataFrame:
        """Expressions over the program's columns, by name, for a frame that was read."""
        return self.evaluator(wanted)(read)

    def evaluator(self, wanted: Mapping[str, pl.Expr]) -> "Evaluator":
        """What computes these expressions for one frame after another."""
        return Evaluator(self._records.columns.stages(wanted.values()), [each.alias(name) for name, each in wanted.items()])

    def _list_reader(self, name: str) -> Reader:
        if name not in self._lists:
            schema = child_schema(self._schema.get(name), self.child_fields(name))
            self._lists[name] = Reader(schema, self._settings.zone, self._settings.zero_blanks)
        return self._lists[name]

    def child_fields(self, name: str) -> list[str]:
        """The fields of a list's rows that are used."""
        return [part.what.name for part in self._parts if part.rows == name and isinstance(part.what, Slot)]


class Evaluator:
    """Stages, and the expressions over what they make."""

    def __init__(self, stages: Stages, wanted: Sequence[pl.Expr]) -> None:
        self._stages = stages
        # Many are columns that are there, under another name: it costs less to take them than to ask Polars for them.
        self._sources = {each.meta.output_name(): taken_from(each) for each in wanted}
        self._computed = [each for each in wanted if taken_from(each) is None]

    def __call__(self, read: pl.DataFrame) -> pl.DataFrame:
        """A frame of the expressions' values, as many rows as were read."""
        made = self._stages.run(read)
        computed = made.with_columns(self._computed)
        columns = (computed[name] if source is None else made[source].alias(name) for name, source in self._sources.items())
        return pl.DataFrame(columns)


def taken_from(wanted: pl.Expr) -> str | None:
    """The column that an expression only gives another name."""
    return wanted.meta.root_names()[0] if wanted.meta.undo_aliases().meta.is_column() else None


class _Terms:
    """The terms over the rows of one frame: of records, or of a list."""

    def __init__(self, program: Program, rows: str, columns: Columns) -> None:
        self._program = program
        self._rows = rows
        self.columns = columns
        self.gathered: dict[str, None] = {}
        """The columns of the records' frame that are needed beside the child rows."""
        self._made: dict[int, Term] = {}

    def term(self, position: int) -> Term:
        """The term of a part; those that it is made of come first, without recursion."""
        left = [position]
        while left:
            current = left[-1]
            missing = [arg for arg in self._inner(current) if arg not in self._made]
            left += missing
            if not missing:
                left.pop()
                if current not in self._made:
                    self._made[current] = self._make(current)
        return self._made[position]

    def context(self, snippet: str) -> Context:
        settings = self._program._settings
        return Context(self._program.reasons, self.columns, settings.zone, snippet, settings.tables)

    def _inner(self, position: int) -> Iterable[int]:
        part = self._program._parts[position]
        return () if isinstance(part.what, Aggregate) or part.rows != self._rows else part.args

    def _make(self, position: int) -> Term:
        part = self._program._parts[position]
        context = self.context(part.text if len(part.text) <= _SNIPPET else f"{part.text[:_SNIPPET - 1]}…")
        match part.what:
            case Literal():
                return self._constant(part.what.value, part.type)
            case _ if part.rows != self._rows:
                return self._gather(position)
            case Slot():
                return self._slot(part.what)
            case Aggregate():
                return self._aggregate(part)
            case Function():
                args = [self.taken(self._made[arg], type) for arg, type in zip(part.args, part.expects, strict=True)]
                made = replace(part.what.build(context, *args), type=part.type)
                if made.constant is not None:
                    return self._constant(made.constant, part.type)
                return context.share(made) if self._program._uses[position] > 1 else made

    def _constant(self, value: Any, type: Type) -> Term:
        return Term(type, self.columns.constant(value, DTYPES[type]), constant=value, definite=type is Type.BOOLEAN)

    def taken(self, term: Term, type: Type) -> Term:
        """A term as the type that a function takes it as: only NULL changes."""
        if term.type is type:
            return term
        return replace(term, type=type, value=self.columns.constant(None, DTYPES[type]))

    def _slot(self, slot: Slot) -> Term:
        if slot.field is not None:
            if self._rows:
                return self._program._list_reader(self._rows).term(slot, self._program.reasons)
            return self._program.field(slot)
        if slot.name.lower() in CONSTANTS:
            return Term(slot.type, self.columns.constant(_ORIGIN, DTYPES[slot.type]))
        return self._program.given[slot.key]

    def _gather(self, position: int) -> Term:
        """A value of the record, beside each of its child rows."""
        outer = self._program._records
        term = outer.term(position)
        # Plain columns of the records' frame, under names that no child row has.
        error = None if term.error is None else outer.columns.add(term.error)
        term = replace(term, value=outer.columns.add(term.value), error=error)
        for expression in (term.value, term.error):
            if expression is not None:
                self.gathered[expression.meta.output_name()] = None
        return term

    def _aggregate(self, part: Part) -> Term:
        assert isinstance(part.what, Aggregate)
        inner = _Terms(self._program, part.list, Columns("rows#"))
        terms = [None if arg < 0 else inner.term(arg) for arg in part.args]
        terms[part.what.values :] = [inner.taken(term, Type.BOOLEAN) for term in terms[part.what.values :] if term is not None]
        step = _Aggregation(
            part.what, part.list, self._program, inner, terms, tuple(self.columns.fresh(2)), DTYPES[part.type]
        )
        self.columns.add_step(step, inner.gathered)
        value, error = (pl.col(name) for name in step.names)
        exact = part.type is not Type.NUMBER or part.what.name == "COUNT"
        return Term(part.type, value, error, exact=exact, finite=exact, error_weight=1)


class _Aggregation:
    """One aggregate over one list, as a step that adds its value and its error."""

    def __init__(
        self, aggregate: Aggregate, name: str, program: Program, inner: _Terms, terms: Sequence[Term | None],
        names: tuple[str, ...], dtype: pl.DataType,
    ) -> None:  # fmt: skip
        self.names = names
        self._aggregate = aggregate
        self._list = name
        self._reader = program._list_reader(name)
        self._fields = program.child_fields(name)
        self._gathered = tuple(inner.gathered)
        self._dtype = dtype
        self._broken = program.reasons.code(f"{name} is not a list of rows")
        context = inner.context("")
        values = [None if term is None else context.settled(term) for term in terms[: aggregate.values]]
        condition = terms[aggregate.values] if len(terms) > aggregate.values else None
        chosen = pl.lit(True) if condition is None else context.truth(condition).value
        errors = [term.error for term in values if term is not None and term.error is not None]
        failing: list[pl.Expr] = [pl.when(chosen).then(pl.coalesce(errors))] if errors else []
        failing += [condition.error] if condition is not None and condition.error is not None else []
        wanted = {"chosen": chosen.fill_null(False)}
        wanted |= {f"value {n}": pl.lit(True) if term is None else term.value for n, term in enumerate(values)}
        wanted |= {"error": pl.coalesce(failing) if failing else pl.lit(None, CODE)}
        self._evaluate = Evaluator(inner.columns.stages(wanted.values()), [each.alias(name) for name, each in wanted.items()])
        # The clock stands beside the records only.
        self._gathered += tuple(sorted({NOW, TODAY} & inner.columns.sources(wanted.values())))

    def run(self, frame: pl.DataFrame, cache: dict[str, Any]) -> Sequence[pl.Series]:
        """The aggregate of each record, and the error of those that cannot be computed."""
        if self._list not in cache:
            children = explode(frame, self._list, self._fields)
            cache[self._list] = replace(children, frame=self._reader.marked(self._reader.read(children.frame)[0]))
        children = cache[self._list]
        count = frame.height
        results = self._results(frame, children)
        values = [results[f"value {n}"] for n in range(self._aggregate.values)]
        chosen = results["chosen"]
        groups = Groups(count, children.record.to_numpy()[chosen.to_numpy()].astype(np.int64))
        kept = [value.filter(chosen) for value in values]
        value = self._aggregate.reduce(kept[0], kept[1] if len(kept) > 1 else None, groups)
        return self._with_errors(value.cast(self._dtype), results["error"], children.record, children.broken)

    def _results(self, frame: pl.DataFrame, children: ChildRows) -> pl.DataFrame:
        if not len(children.record):
            kinds: dict[str, Any] = {"chosen": pl.Boolean, "error": CODE, "value 0": self._dtype, "value 1": pl.Float64}
            return pl.DataFrame({name: [] for name in kinds}, schema=kinds)
        beside = [frame[name].gather(children.record).alias(name) for name in self._gathered]
        return self._evaluate(children.frame.with_columns(beside))

    def _with_errors(self, value: pl.Series, errors: pl.Series, record: pl.Series, broken: pl.Series | None) -> Sequence[pl.Series]:
        if errors.null_count() == len(errors) and broken is None:
            return value, pl.Series([None], dtype=CODE).new_from_index(0, len(value))
        failing = errors.is_not_null()
        codes = np.zeros(len(value), np.uint16)
        np.maximum.at(codes, record.filter(failing).to_numpy(), errors.filter(failing).to_numpy())
        broken = pl.repeat(False, len(value), eager=True) if broken is None else broken
        frame = pl.DataFrame({"value": value, "code": pl.Series(codes), "broken": broken})
        code = pl.when("broken").then(self._broken).when(pl.col("code") > 0).then(pl.col("code"))
        done = frame.select(code.alias("code"), pl.when(code.is_null()).then(pl.col("value")).alias("value"))
        return done["value"], done["code"]

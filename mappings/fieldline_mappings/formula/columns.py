"""Columns that are added to a frame in stages, so that nothing is computed twice and only what is asked for is computed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import polars as pl


class Step(Protocol):
    """Columns that are not one expression each, such as aggregates over child rows."""

    names: tuple[str, ...]

    def run(self, frame: pl.DataFrame, cache: dict[str, Any]) -> Sequence[pl.Series]:
        """The columns, by `names`; `cache` is kept between the steps of one run."""
        ...


@dataclass(slots=True)
class _Column:
    stage: int
    needs: frozenset[str]
    made: "pl.Expr | Step"


@dataclass(frozen=True, slots=True)
class Stages:
    """What is added to a frame: constants, and stage by stage what is made of the columns before."""

    constants: Sequence[pl.Series]
    """Of one row each."""
    made: Sequence[tuple[Sequence[pl.Expr], Sequence[Step]]]

    def run(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with the columns of these stages."""
        cache: dict[str, Any] = {}
        frame = frame.hstack([constant.new_from_index(0, frame.height) for constant in self.constants])
        for expressions, steps in self.made:
            frame = widened(frame, expressions) if expressions else frame
            for step in steps:
                made = step.run(frame, cache)
                frame = frame.with_columns(series.alias(name) for series, name in zip(made, step.names, strict=True))
        return frame


@dataclass(slots=True)
class Columns:
    """Each column's stage comes after those of the columns that it uses."""

    prefix: str = "#"
    _columns: dict[str, _Column] = field(default_factory=dict)
    _constants: dict[str, tuple[Any, pl.DataType]] = field(default_factory=dict)
    _named: dict[tuple[str, pl.DataType], str] = field(default_factory=dict)

    def add(self, value: pl.Expr) -> pl.Expr:
        """A column with this value."""
        name = f"{self.prefix}{len(self._columns)}"
        needs = frozenset(value.meta.root_names())
        self._columns[name] = _Column(self._stage(needs), needs, value.alias(name))
        return pl.col(name)

    def constant(self, value: Any, dtype: pl.DataType) -> pl.Expr:
        """A column with this value in each row: Polars would take what is computed from constants alone for one row."""
        # By its text: 0.0 equals -0.0, and is not the same.
        name = self._named.setdefault((repr(value), dtype), f"{self.prefix}={len(self._named)}")
        self._constants[name] = value, dtype
        return pl.col(name)

    def add_step(self, step: Step, needs: Iterable[str]) -> None:
        """The columns that a step makes from others."""
        used = frozenset(needs)
        for name in step.names:
            self._columns[name] = _Column(self._stage(used), used, step)

    def fresh(self, count: int) -> list[str]:
        """Names for columns that a step will make."""
        return [f"{self.prefix}{len(self._columns)}.{number}" for number in range(count)]

    def stages(self, wanted: Iterable[pl.Expr]) -> Stages:
        """What has to be added, stage by stage, before these expressions can be computed."""
        left = [name for each in wanted for name in each.meta.root_names()]
        needed: set[str] = set()
        while left:
            if (name := left.pop()) not in needed:
                needed.add(name)
                left += self._columns[name].needs if name in self._columns else ()
        ordered = [column for name, column in self._columns.items() if name in needed]
        count = 1 + max((column.stage for column in ordered), default=-1)
        made: list[tuple[list[pl.Expr], list[Step]]] = [([], []) for _ in range(count)]
        for column in ordered:
            expressions, steps = made[column.stage]
            if isinstance(column.made, pl.Expr):
                expressions.append(column.made)
            elif column.made not in steps:
                steps.append(column.made)
        constants = [pl.Series(name, [value], dtype) for name, (value, dtype) in self._constants.items() if name in needed]
        return Stages(constants, made)

    def sources(self, wanted: Iterable[pl.Expr]) -> set[str]:
        """The columns of the frame itself that these expressions go back to."""
        expressions = [*wanted]
        for stage, _ in self.stages(expressions).made:
            expressions += stage
        return {name for each in expressions for name in each.meta.root_names()} - self._columns.keys() - self._constants.keys()

    def _stage(self, needs: Iterable[str]) -> int:
        return max((self._columns[name].stage + 1 for name in needs if name in self._columns), default=0)


def widened(frame: pl.DataFrame, expressions: Iterable[pl.Expr]) -> pl.DataFrame:
    """The frame with new columns, of which constants have a value in each row, too.

    Polars keeps a constant column as one value: kernels take another way for it, which may give another last digit, and two of
    them may give one row only. Whether a column is constant can depend on the other rows, which no row may feel.
    """
    return frame.hstack(frame.with_columns(expressions).get_columns()[frame.width :])

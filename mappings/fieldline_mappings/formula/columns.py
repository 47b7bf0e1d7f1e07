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


Stages = Sequence[tuple[Sequence[pl.Expr], Sequence[Step]]]


@dataclass(slots=True)
class Columns:
    """Each column's stage comes after those of the columns that it uses."""

    prefix: str = "#"
    _columns: dict[str, _Column] = field(default_factory=dict)

    def add(self, value: pl.Expr) -> pl.Expr:
        """A column with this value."""
        name = f"{self.prefix}{len(self._columns)}"
        needs = frozenset(value.meta.root_names()) & self._columns.keys()
        self._columns[name] = _Column(self._stage(needs), needs, value.alias(name))
        return pl.col(name)

    def add_step(self, step: Step, needs: Iterable[str]) -> None:
        """The columns that a step makes from others."""
        used = frozenset(needs) & self._columns.keys()
        for name in step.names:
            self._columns[name] = _Column(self._stage(used), used, step)

    def fresh(self, count: int) -> list[str]:
        """Names for columns that a step will make."""
        return [f"{self.prefix}{len(self._columns)}.{number}" for number in range(count)]

    def stages(self, wanted: Iterable[pl.Expr]) -> Stages:
        """What has to be added, stage by stage, before these expressions can be computed."""
        left = [name for each in wanted for name in each.meta.root_names() if name in self._columns]
        needed: set[str] = set()
        while left:
            if (name := left.pop()) not in needed:
                needed.add(name)
                left += self._columns[name].needs
        ordered = [(name, self._columns[name]) for name in self._columns if name in needed]
        count = 1 + max((column.stage for _, column in ordered), default=-1)
        stages: list[tuple[list[pl.Expr], list[Step]]] = [([], []) for _ in range(count)]
        for _, column in ordered:
            expressions, steps = stages[column.stage]
            if isinstance(column.made, pl.Expr):
                expressions.append(column.made)
            elif column.made not in steps:
                steps.append(column.made)
        return stages

    def sources(self, wanted: Iterable[pl.Expr]) -> set[str]:
        """The columns of the frame itself that these expressions go back to."""
        expressions = [*wanted]
        for stage, _ in self.stages(expressions):
            expressions += stage
        return {name for each in expressions for name in each.meta.root_names()} - self._columns.keys()

    def _stage(self, needs: Iterable[str]) -> int:
        return max((self._columns[name].stage + 1 for name in needs), default=0)


def parted(stages: Stages) -> tuple[list[pl.Series], Stages]:
    """The constants, each as a column of one row, and the stages without them."""
    constants = [each for expressions, _ in stages[:1] for each in expressions if not each.meta.root_names()]
    rest = [([each for each in expressions if each.meta.root_names()], steps) for expressions, steps in stages]
    return pl.select(constants).get_columns(), rest


def run(stages: Stages, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the columns of these stages."""
    cache: dict[str, Any] = {}
    for expressions, steps in stages:
        frame = widened(frame, expressions) if expressions else frame
        for step in steps:
            made = step.run(frame, cache)
            frame = frame.with_columns(series.alias(name) for series, name in zip(made, step.names, strict=True))
    return frame


def widened(frame: pl.DataFrame, expressions: Iterable[pl.Expr]) -> pl.DataFrame:
    """The frame with new columns, of which constants have a value in each row, too.

    Polars keeps a constant column as one value: kernels take another way for it, which may give another last digit, and two of
    them may give one row only. Whether a column is constant can depend on the other rows, which no row may feel.
    """
    return frame.hstack(frame.with_columns(expressions).get_columns()[frame.width :])

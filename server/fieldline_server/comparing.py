"""Two sets of decisions on the same records, compared: answers that change, what shifts, and who is held back."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from fieldline_core.batch import kept
from fieldline_core.pipeline.decide import Decisions
from fieldline_mappings.golden import same

_EXAMPLES = 5


@dataclass(slots=True)
class Change:
    """How often a field's answer changes, and some records of which it does."""

    rows: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Sums:
    """A number of records decided both ways, added up under the old mapping and the new one; None where it has none."""

    old: float | None = None
    new: float | None = None


@dataclass(slots=True)
class Comparison:
    """What two mappings make of the same records; means are over the records that both decide."""

    flow: str
    old: str
    new: str
    old_fields: Collection[str]
    new_fields: Collection[str]
    rows: int = 0
    gone: int = 0
    both: int = 0
    changed: int = 0
    newly_held: int = 0
    no_longer_held: int = 0
    fields: dict[str, Change] = field(default_factory=dict)
    sums: dict[tuple[str, str], Sums] = field(default_factory=dict)
    held_old: Counter[str] = field(default_factory=Counter)
    held_new: Counter[str] = field(default_factory=Counter)

    def add(self, old: Decisions, new: Decisions) -> None:
        """Adds the decisions on one batch."""
        rows = len(old.batch)
        self.rows += rows
        self.held_old.update(reason for _, reason in old.held.values())
        self.held_new.update(reason for _, reason in new.held.values())
        self.newly_held += len(new.held.keys() - old.held.keys())
        self.no_longer_held += len(old.held.keys() - new.held.keys())
        both = kept(rows, {**old.held, **new.held})
        self.both += int(both.sum())
        if both.any():
            self._compare(old.batch.keys.filter(both), old.fields.filter(both), new.fields.filter(both))
            for part in ("features", "outputs"):
                self._sum(part, "old", getattr(old, part).filter(both))
                self._sum(part, "new", getattr(new, part).filter(both))

    def as_json(self) -> dict[str, Any]:
        """All of it, for scripts and the API."""
        return {
            "flow": self.flow, "old": self.old, "new": self.new, "rows": self.rows, "gone": self.gone,
            "decided_both_ways": self.both, "changed": self.changed,
            "fields": [{"field": name, "changed": each.rows, "examples": each.examples} for name, each in self.fields.items()],
            "fields_added": [name for name in self.new_fields if name not in self.old_fields],
            "fields_removed": [name for name in self.old_fields if name not in self.new_fields],
            "means": list(self.means()),
            "held": {
                "old": self.held_old.total(), "new": self.held_new.total(), "newly": self.newly_held,
                "no_longer": self.no_longer_held, "reasons_old": dict(self.held_old.most_common()),
                "reasons_new": dict(self.held_new.most_common()),
            },
        }  # fmt: skip

    def means(self) -> Iterator[dict[str, Any]]:
        """The mean of each numeric feature and output under both mappings, and its shift."""
        for (part, name), sums in self.sums.items():
            old, new = (None if total is None else total / self.both for total in (sums.old, sums.new))
            yield {
                "part": part.removesuffix("s"), "name": name, "old": old, "new": new,
                "shift": None if old is None or new is None else new - old,
            }  # fmt: skip

    def _compare(self, keys: pl.Series, old: pl.DataFrame, new: pl.DataFrame) -> None:
        changed: set[int] = set()
        for name in (name for name in self.old_fields if name in self.new_fields):
            change = self.fields.setdefault(name, Change())
            differs = [row for row, pair in enumerate(zip(old[name], new[name], strict=True)) if not same(*pair)]
            change.rows += len(differs)
            for row in differs[: _EXAMPLES - len(change.examples)]:
                change.examples.append({"key": keys[row], "old": old[name][row], "new": new[name][row]})
            changed.update(differs)
        self.changed += len(changed)

    def _sum(self, part: str, side: str, frame: pl.DataFrame) -> None:
        for column in frame.iter_columns():
            if column.dtype.is_numeric():
                sums = self.sums.setdefault((part, column.name), Sums())
                setattr(sums, side, (getattr(sums, side) or 0.0) + float(column.cast(pl.Float64).sum()))


__all__ = ["Comparison"]

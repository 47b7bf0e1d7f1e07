"""What a target holds at this moment, compared with what it is thought to hold: people come first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import polars as pl

from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured
from fieldline_core.flow import Release, WriteStep
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.images import Values, same
from fieldline_core.pipeline.rivals import Rivals
from fieldline_core.ports import Lookup, Query, Target
from fieldline_core.receipts import Outcome, RowReceipt

_CHANGED = RowReceipt(Outcome.CHANGED_BY_PERSON, "somebody changed it since it was written")
_GONE = RowReceipt(Outcome.CHANGED_BY_PERSON, "the record is not there any more")


@dataclass(frozen=True, slots=True)
class Present:
    """The records of a target as they were found just now."""

    records: Mapping[str, Values]
    types: Mapping[str, pl.DataType]

    @classmethod
    def read(cls, engine: Engine, release: Release, step: WriteStep, target: Target, keys: Sequence[str]) -> Self:
        """The records with these keys; raises Misconfigured where the system cannot be read."""
        connector: Any = engine.parts.connector(step.connection)
        found: Batch = connector.lookup(_query(engine, release, step, target), list(keys))
        return cls(dict(zip(found.keys, found.frame.rows(named=True), strict=True)), found.frame.schema)

    def differing(self, batch: Batch) -> dict[int, RowReceipt]:
        """The rows whose fields are not as they are in the batch, and why."""
        apart: dict[int, RowReceipt] = {}
        for row, (key, values) in enumerate(zip(batch.keys, batch.frame.rows(named=True), strict=True)):
            now = self.records.get(key)
            if now is None:
                apart[row] = _GONE
            elif not same({name: now.get(name) for name in values}, values):
                apart[row] = _CHANGED
        return apart

    def images(self, keys: pl.Series, fields: Sequence[str]) -> pl.DataFrame:
        """The fields of these records, null where a record is not there."""
        rows = [self.records.get(key, {}) for key in keys]
        return pl.DataFrame([pl.Series(name, [row.get(name) for row in rows], dtype=self.types.get(name)) for name in fields])


def people_first(
    engine: Engine, release: Release, step: WriteStep, target: Target, batch: Batch, rivals: Rivals
) -> tuple[Rivals, Mapping[int, RowReceipt]]:
    """The rivals of an undo with what its target holds now as the values before, and the rows that are not as we left them.

    What is there is told by its value, as a system may have rounded it; that very value is what the write then expects.
    """
    if rivals.before is None:
        return rivals, {}
    now = Present.read(engine, release, step, target, batch.keys.to_list())
    apart, done = now.differing(Batch(batch.keys, rivals.before)), now.differing(batch)
    # What is already as it is to be may be our own write, whose receipt was lost: the target answers for that.
    changed = {row: receipt for row, receipt in apart.items() if row in done}
    return replace(rivals, before=now.images(batch.keys, rivals.before.columns)), changed


def _query(engine: Engine, release: Release, step: WriteStep, target: Target) -> Query:
    query, source = target.reading(), release.flow.source
    if query is None and source is not None and source.connection == step.connection:
        read = engine.parts.query(release)
        query = read and read.reading(list(target.fields))
    if query is None or not isinstance(engine.parts.connector(step.connection), Lookup):
        raise Misconfigured(
            f"what the write {step.name!r} of the flow {release.flow.flow} left in {step.connection} cannot be read back, so it "
            "cannot be seen whether a person changed it since: nothing is put back there"
        )
    return query

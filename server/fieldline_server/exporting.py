"""Training rows: the features of a flow's records, made by the plan that decides on them, as a Parquet file."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from fieldline_core.batch import Batch, kept
from fieldline_core.errors import Misconfigured
from fieldline_core.events import record
from fieldline_core.findings import did_you_mean
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.manage import current_release
from fieldline_mappings import CompiledPlan
from fieldline_mappings.reading import Reading
from fieldline_server.sourcing import Records

KEY, HELD = "key", "held"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is exported of a flow: `as_of` is the column that says when each record is looked at, else it is now."""

    flow: str
    as_of: str | None = None
    labels: Sequence[str] = ()
    limit: int | None = None
    keep_held: bool = False


@dataclass(slots=True)
class Exported:
    """What came of an export: records read, rows in the file, rows held back, and their reasons with counts."""

    read: int = 0
    rows: int = 0
    held: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def export_features(
    engine: Engine, wish: Wish, out: Path, by: str, progress: Callable[[Exported], None] = lambda done: None
) -> Exported:
    """Writes key, features and labels of a flow's records to a file, page by page; the file is there whole or not at all."""
    release = current_release(engine, wish.flow)
    plan = engine.parts.plan(release)
    assert isinstance(plan, CompiledPlan)
    _check(plan, wish, out)
    records = Records(engine, release, plan.fields_read(), [*wish.labels, *([wish.as_of] if wish.as_of else [])])
    detail = {"flow": wish.flow, "release": release.digest, "as_of": wish.as_of, "labels": list(wish.labels), "limit": wish.limit}
    with engine.store.transaction("export") as tx:
        record(tx, "features.exported", by, detail)
    done, clock = Exported(), datetime.now(UTC)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        parts: list[Path] = []
        for batch in _limited(records, engine.settings.chunk_rows, wish.limit):
            parts.append(Path(folder) / f"{len(parts):08}.parquet")
            _rows(plan, wish, batch.last_of_each_key()[0], clock, done).write_parquet(parts[-1])
            progress(done)
        if not parts:
            raise Misconfigured(f"the source of {wish.flow} has no records: nothing was written")
        whole = Path(folder) / "whole.parquet"
        pl.scan_parquet(parts).sink_parquet(whole)
        _settle(whole, out)
    return done


def _check(plan: CompiledPlan, wish: Wish, out: Path) -> None:
    names = [KEY, *(column.name for column in plan.columns), *wish.labels, *([HELD] if wish.keep_held else [])]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise Misconfigured(f"two columns of the file would be called {twice[0]!r}: a label has another name than key and features")
    if not out.parent.is_dir():
        raise Misconfigured(f"there is no folder {out.parent}")


def _limited(records: Records, rows: int, limit: int | None) -> Iterator[Batch]:
    left = limit
    for batch in records.pages(rows if limit is None else min(rows, limit)):
        yield batch if left is None else batch.slice(0, left)
        if left is not None:
            left -= len(batch)
            if left <= 0:
                return


def _rows(plan: CompiledPlan, wish: Wish, batch: Batch, now: datetime, done: Exported) -> pl.DataFrame:
    """The rows of one page, each seen as at its own time; counts them."""
    clock, late = (now, {}) if wish.as_of is None else _clocks(plan, wish.as_of, batch)
    made = plan.features(batch, clock)
    held = {**made.held, **late}
    done.read += len(batch)
    done.rows += len(batch) - (0 if wish.keep_held else len(held))
    done.held += len(held)
    done.reasons.update(held.values())
    frame = pl.DataFrame([batch.keys.alias(KEY), *made.frame.get_columns(), *(_column(batch, name) for name in wish.labels)])
    if not wish.keep_held:
        return frame.filter(kept(len(batch), held))
    reasons = pl.Series(HELD, [held.get(row) for row in range(len(batch))], dtype=pl.String)
    return frame.with_columns(pl.when(reasons.is_null()).then(pl.col(column.name)) for column in plan.columns).with_columns(reasons)


def _clocks(plan: CompiledPlan, column: str, batch: Batch) -> tuple[pl.Series, dict[int, str]]:
    """For each row the moment that its column gives, and the rows that have none; a day begins at midnight of the mapping's zone.
    """
    given = _column(batch, column)
    reading = Reading(column, "datetime")
    steps = reading.steps(given.dtype, plan.document.timezone)
    moments = given.to_frame().with_columns(steps.texts).with_columns(steps.values).select(reading.value).to_series()
    late = dict.fromkeys(moments.is_null().arg_true().to_list(), f"the column {column!r} holds no date or time")
    return moments.fill_null(datetime(2000, 1, 1)), late  # noqa: DTZ001 (naive UTC, as all moments of a batch)


def _column(batch: Batch, name: str) -> pl.Series:
    if name not in batch.frame.columns:
        raise Misconfigured(f"the source has no column {name!r}. {did_you_mean(name, batch.frame.columns)}".rstrip())
    return batch.frame[name]


def _settle(whole: Path, out: Path) -> None:
    """Puts the finished file into its place, on disk before it is seen there."""
    with whole.open("rb+") as file:
        os.fsync(file.fileno())
    whole.replace(out)

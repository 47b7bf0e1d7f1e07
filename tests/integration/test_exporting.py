"""Training rows of records in memory: page by page, each seen as at its own time."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.engines import Bench, documents

from fieldline_connectors import memory
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured
from fieldline_server.exporting import Exported, Wish, export_features

DAYS = """
mapping: daily
timezone: {zone}
record: {{day: date}}
features:
  - {{name: hours, formula: "(NOW() - DATETIMEVALUE(day)) * 24"}}
  - {{name: since, formula: DAYS_SINCE(day)}}
fields: [{{name: score, formula: score}}]
"""


def publish(bench: Bench, frame: pl.DataFrame, mapping: str) -> None:
    """A flow over these rows, whose keys are in order."""
    memory.store("daily").tables.clear()
    memory.store("daily").put("records", Batch.of([f"{row:06}" for row in range(frame.height)], frame))
    flow = "\n---\n".join(part for part in documents("daily").split("---\n") if "features:" not in part)
    bench.apply(f"{mapping}\n---\n{flow}")


def export(bench: Bench, out: Path, **wish: Any) -> tuple[Exported, pl.DataFrame]:
    done = export_features(bench.engine, Wish("daily", **wish), out, "test")
    return done, pl.read_parquet(out)


def test_pages_are_joined_in_order(bench: Bench, tmp_path: Path) -> None:
    plain = 'mapping: daily\nfeatures: [{field: a}, {field: b}]\nfields: [{name: score, formula: score}]\n'
    numbers = [float(number) if number % 7 else None for number in range(250)]
    publish(bench, pl.DataFrame({"a": numbers, "b": [1.0] * 250, "label": list(range(250))}), plain)
    done, frame = export(bench, tmp_path / "rows.parquet", labels=["label"])
    assert (done.read, done.rows, done.held) == (250, 214, 36)
    assert frame["label"].to_list() == [number for number in range(250) if number % 7]
    assert frame["a"].to_list() == [number for number in numbers if number is not None]
    limited, frame = export(bench, tmp_path / "rows.parquet", limit=130, keep_held=True)
    assert (limited.read, frame.height, frame["held"].null_count()) == (130, 130, 111)


@pytest.mark.parametrize(
    ("column", "hours"),
    [
        (pl.Series([date(2026, 3, 2), None]), 24.0),
        (pl.Series(["2026-03-02", "soon"]), 24.0),
        (pl.Series([datetime(2026, 3, 2, 5), None]), 24.0),  # noqa: DTZ001 (as a batch has it: naive UTC)
        (pl.Series([datetime(2026, 3, 2, 6, tzinfo=UTC), None]), 25.0),
    ],
    ids=["dates", "texts", "naive UTC", "with a zone"],
)
def test_a_row_is_seen_as_at_its_own_time(bench: Bench, tmp_path: Path, column: pl.Series, hours: float) -> None:
    publish(bench, pl.DataFrame({"day": [date(2026, 3, 1)] * 2, "seen": column}), DAYS.format(zone="America/New_York"))
    done, frame = export(bench, tmp_path / "rows.parquet", as_of="seen")
    assert dict(done.reasons) == {"the column 'seen' holds no date or time": 1}
    assert frame["since"].to_list() == [1]
    assert frame["hours"].to_list() == [pytest.approx(hours)]


def test_a_source_without_records_leaves_the_file_alone(bench: Bench, tmp_path: Path) -> None:
    publish(bench, pl.DataFrame(schema={"day": pl.Date}), DAYS.format(zone="UTC"))
    with pytest.raises(Misconfigured, match="no records"):
        export(bench, tmp_path / "rows.parquet")
    assert not (tmp_path / "rows.parquet").exists()


def test_a_column_that_is_not_there_is_told_with_the_nearest_one(bench: Bench, tmp_path: Path) -> None:
    publish(bench, pl.DataFrame({"day": [date(2026, 3, 1)], "seen": [date(2026, 3, 2)]}), DAYS.format(zone="UTC"))
    with pytest.raises(Misconfigured, match=r"no column 'seem'\. Did you mean 'seen'"):
        export(bench, tmp_path / "rows.parquet", as_of="seem")

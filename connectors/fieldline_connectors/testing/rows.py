"""Rows that are hard to keep: used to see whether a target stores what it was given."""

from collections.abc import Sequence
from datetime import date, datetime

import polars as pl

from fieldline_core.batch import Batch

_LONG = "long " * 200
_MOMENTS = ("2024-03-31T01:30:00.123456", "1970-01-01T00:00:00", None, "2037-01-02T03:04:05")


def sample_rows(keys: Sequence[str] = ("a-1", "b 2", "ç/3", "d'4")) -> Batch:
    """Four rows with long and foreign text, exact decimals, extremes of numbers and times, and nulls.

    A target with fewer columns takes some of them: `Batch(rows.keys, rows.frame.select("note", "amount"))`.
    """
    frame = pl.DataFrame(
        {
            "note": ["plain", "Zoë; DROP TABLE 'x' -- \\ % _ ☃ 🚲", None, _LONG],
            "amount": ["12.50", "-0.01", None, "98765432101234567.89"],
            "count": [0, -(2**53) - 1, None, 2**53 + 1],
            "score": [0.1, -1e-9, None, 123456.789],
            "open": [True, False, None, True],
            "day": [date(2024, 2, 29), date(1970, 1, 1), None, date(2099, 12, 31)],
            "at": [moment and datetime.fromisoformat(moment) for moment in _MOMENTS],
        },
        schema_overrides={"count": pl.Int64, "at": pl.Datetime("us")},
    )
    return Batch.of(list(keys), frame)

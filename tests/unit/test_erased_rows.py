"""A row that is taken out of a frame is not in what is stored of the frame, not even beneath a mask or behind a view."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldline_core.batch import Batch, frame_bytes, frame_from_bytes
from fieldline_core.evidence import Envelope
from fieldline_core.ledger import root_of
from fieldline_core.lines import SALT_BYTES, row_lines

CANARY, NUMBER = "CANARY-OF-THE-ERASED-RECORD", 0x4E454B4341424554
ROWS, ERASED = 9, 4
COLUMNS: dict[str, Callable[[int], Any]] = {
    "key": lambda row: _text(row),
    "source.text": lambda row: _text(row),
    "source.bytes": lambda row: _text(row).encode(),
    "source.number": lambda row: NUMBER if row == ERASED else row,
    "source.real": lambda row: float(row),
    "source.sum": lambda row: Decimal(row) / 4,
    "source.yes": lambda row: row % 2 == 0,
    "source.on": lambda row: date(2026, 1, 1 + row),
    "source.at": lambda row: datetime(2026, 1, 1 + row, tzinfo=UTC),
    "source.clock": lambda row: time(row),
    "source.orders": lambda row: [{"name": _text(row), "parts": [_text(row)], "paid": row}],
    "source.names": lambda row: [_text(row), None],
    "feature.vector": lambda row: [float(row)] * 3,
    "output.of": lambda row: {"label": _text(row), "all": [_text(row)]},
}


def _text(row: int) -> str:
    return f"{CANARY if row == ERASED else 'the value of another record'}-{row}"


def made(rows: range = range(ROWS)) -> pl.DataFrame:
    """Rows with values of every kind, one of them with a canary, as they come out of the store."""
    frame = pl.DataFrame({name: [value(row) for row in rows] for name, value in COLUMNS.items()})
    pairs = [[row, NUMBER if row == ERASED else 0] for row in rows]
    kinds = {"source.kind": pl.Series([_text(row) for row in rows], dtype=pl.Categorical),
             "source.pair": pl.Series(pairs, dtype=pl.Array(pl.Int64, 2))}  # fmt: skip
    return frame_from_bytes(frame_bytes(frame.with_columns(**kinds)))


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Callable[[pl.DataFrame], bytes]:
    """What is stored of a frame, before it is compressed."""
    write = pl.DataFrame.write_ipc_stream

    def uncompressed(self: pl.DataFrame, file: Any, *, compression: str, **how: Any) -> None:
        assert compression == "zstd"
        write(self, file, compression="uncompressed", **how)

    monkeypatch.setattr(pl.DataFrame, "write_ipc_stream", uncompressed)
    return frame_bytes


def canaries(content: bytes) -> list[bytes]:
    """Which canaries are found."""
    return [canary for canary in (CANARY.encode(), NUMBER.to_bytes(8, "little")) if canary in content]


def test_the_canaries_are_found_where_they_are(stored: Callable[[pl.DataFrame], bytes]) -> None:
    assert len(canaries(stored(made()))) == 2


@pytest.mark.parametrize("column", made().columns)
def test_an_erased_row_is_not_in_the_envelope_any_more(column: str, stored: Callable[[pl.DataFrame], bytes]) -> None:
    envelope = Envelope.of({}, made().select(column)).without(ERASED + 1)
    assert canaries(stored(envelope.frame)) == []
    assert canaries(envelope.to_bytes()) == []


@pytest.mark.parametrize(
    "part",
    [
        lambda batch: batch.slice(2, 1),
        lambda batch: batch.slice(ERASED + 1, 3),
        lambda batch: batch.without({ERASED: "held"}),
        lambda batch: batch.take(pl.Series([row > ERASED for row in range(ROWS)])),
    ],
)
def test_a_part_of_a_batch_holds_no_value_of_the_rest(
    part: Callable[[Batch], Batch], stored: Callable[[pl.DataFrame], bytes]
) -> None:
    frame = made()
    assert canaries(part(Batch(frame["key"], frame.drop("key"))).to_bytes()) == []


@given(st.sets(st.integers(1, ROWS), min_size=1))
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_whichever_rows_are_erased_the_root_stays_and_so_do_the_others(leaves: set[int]) -> None:
    envelope = before = Envelope.of({"flow": "f"}, made())
    for leaf in leaves:
        envelope = envelope.without(leaf)

    again = Envelope.from_bytes(envelope.to_bytes())

    assert root_of(again.commitments()) == root_of(before.commitments())
    assert set(again.erased) == leaves
    lines, kept = before.lines(), again.lines()
    assert [kept[leaf] for leaf in range(ROWS + 1) if leaf not in leaves] == [lines[n] for n in range(ROWS + 1) if n not in leaves]
    assert all(again.salt(leaf) == bytes(SALT_BYTES) for leaf in leaves)
    assert again.frame["key"].null_count() == len(leaves)


def test_what_is_stored_reads_as_what_was_given() -> None:
    frame = made()
    again = frame_from_bytes(frame_bytes(frame))
    assert again.equals(frame)
    assert again.schema == frame.schema
    assert row_lines(again) == row_lines(frame)

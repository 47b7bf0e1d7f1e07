"""New chunks, and the run that events and waiting callers belong to."""

from typing import Any

from fieldline_core.flow import Release
from fieldline_core.store import Row, Transaction


def add_chunk(tx: Transaction, run_id: int, release: Release, rows: int, body: bytes | None, **more: Any) -> int:
    """Stores a chunk that waits for scoring and returns its id; its rows were counted in before, if they are to be (`count_in`)."""
    given = {
        "seq": None, "replay_of": None, "only_write": None, "crashes": 0, "received_at": None, "intake_from": None,
        "wait_s": 0.0, **more,
    }  # fmt: skip
    row = tx.one(
        "chunks.add", run=run_id, flow=release.flow_id, release=release.id, queue=release.queue, rows=rows, body=body, **given
    )
    assert row is not None
    return int(row["id"])


def count_in(tx: Transaction, flow_id: int, rows: int) -> int:
    """Counts records that a flow takes in, without a gap, and returns the number of those before them.

    The entries of the log name these numbers, so that it shows where a record's decision is missing.
    """
    row = tx.one("chunks.count_in", flow=flow_id, rows=rows)
    assert row is not None
    return int(row["intake_from"])


def intake(chunk: Row) -> dict[str, Any]:
    """What the log says of where a chunk's rows were counted in; nothing of rows that are run again."""
    begins = chunk["intake_from"]
    return {} if begins is None else {"intake": {"from": begins, "rows": chunk["rows"]}}


def standing_run(tx: Transaction, release: Release, by: str) -> int:
    """The run that gathers a release's events and synchronous scores, made where it is not there."""
    place = {"flow": release.flow_id, "release": release.id}
    # Asked twice at most: where another process makes it now, the insert waits for it, and only a new statement sees it.
    row = tx.one("runs.find_standing", **place) or tx.one("runs.add_standing", by=by, **place)
    row = row or tx.one("runs.find_standing", **place)
    assert row is not None
    return int(row["id"])

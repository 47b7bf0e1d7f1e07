"""New chunks, and the run that events and waiting callers belong to."""

from typing import Any

from fieldline_core.flow import Release
from fieldline_core.store import Transaction


def add_chunk(tx: Transaction, run_id: int, release: Release, rows: int, body: bytes | None, **more: Any) -> int:
    """Stores a chunk that waits for scoring and returns its id."""
    given = {"seq": None, "replay_of": None, "only_write": None, "crashes": 0, "received_at": None, **more}
    row = tx.one(
        "chunks.add", run=run_id, flow=release.flow_id, release=release.id, queue=release.queue, rows=rows, body=body, **given
    )
    assert row is not None
    return int(row["id"])


def standing_run(tx: Transaction, release: Release, by: str) -> int:
    """The run that gathers a release's events and synchronous scores, made where it is not there."""
    place = {"flow": release.flow_id, "release": release.id}
    # Asked twice at most: where another process makes it now, the insert waits for it, and only a new statement sees it.
    row = tx.one("runs.find_standing", **place) or tx.one("runs.add_standing", by=by, **place)
    row = row or tx.one("runs.find_standing", **place)
    assert row is not None
    return int(row["id"])

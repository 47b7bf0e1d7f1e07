"""What becomes of rows whose change may have been made, though the service failed or nothing was heard of it."""

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from tests.odata_connections import Shop, connected, filled, outcomes, scores

from fieldline_connectors.odata import OdataTarget
from fieldline_core.batch import Batch
from fieldline_core.errors import Paced, Unavailable
from fieldline_core.ports import Slice
from fieldline_core.receipts import Outcome

WRITTEN, REFUSED, UNKNOWN = Outcome.WRITTEN, Outcome.REFUSED, Outcome.UNKNOWN
both = pytest.mark.parametrize("version", [2, 4])


def added(count: int = 3, fence: int = 1, **target: Any) -> Slice:
    """Tasks of partners, which nothing recognises again unless a marker is given."""
    operation = {"operation": "create", "entity_set": "Tasks", "key": "partner", "fields": {"score": "score"}, **target}
    batch = Batch.of([f"P{number}" for number in range(count)], pl.DataFrame({"score": [float(n) for n in range(count)]}))
    return Slice("f" * 64, fence, OdataTarget.model_validate(operation), batch)


def fail(shop: Shop, status: int, path: str, nth: int = 1, **more: Any) -> None:
    """Has a request be answered so after its work is done."""
    shop.system.faults.set([{"kind": "status", "status": status, "path": f"*{path}", "nth": nth, "after_commit": True, **more}])


@both
@pytest.mark.parametrize(
    ("status", "expected"),
    [(500, [WRITTEN, UNKNOWN, WRITTEN]), (502, [WRITTEN, UNKNOWN, WRITTEN]), (504, [WRITTEN, UNKNOWN, WRITTEN]),
     (503, [WRITTEN, UNKNOWN, REFUSED]), (501, [WRITTEN, REFUSED, WRITTEN])],
)  # fmt: skip
def test_a_record_that_may_have_been_added_is_told_as_unknown_and_never_added_again(
    version: int, status: int, expected: Sequence[Outcome]
) -> None:
    shop = filled(version, 0)
    fail(shop, status, "Tasks", nth=2)
    with connected(shop, batch="none") as connector:
        receipts = connector.write(added())
    assert outcomes(receipts) == expected
    assert ("may" in receipts[1].reason) == (status != 501)
    assert shop.column("partner", "Tasks") == (["P0", "P1"] if status == 503 else ["P0", "P1", "P2"])


@both
def test_a_batch_of_which_nothing_was_heard_is_unknown_and_what_was_to_follow_not_sent(version: int) -> None:
    shop = filled(version, 0)
    with connected(shop, batch_rows=2) as connector:
        shop.answers += [{"on": "POST $batch", "lost": True}]
        receipts = connector.write(added(5))
    assert outcomes(receipts) == [UNKNOWN, UNKNOWN, REFUSED, REFUSED, REFUSED]
    assert "may or may not have been added" in receipts[0].reason
    assert receipts[4].reason.startswith("not sent: ")
    assert shop.column("partner", "Tasks") == ["P0", "P1"]


@both
def test_what_surely_was_not_added_is_tried_again_only_where_nothing_else_was(version: int) -> None:
    shop = filled(version, 0)
    shop.system.faults.set([{"kind": "throttle", "entity": "Tasks", "times": 1, "retry_after": 1}])
    with connected(shop) as connector:
        assert outcomes(connector.write(added())) == [REFUSED, WRITTEN, WRITTEN]
    shop.system.faults.set([{"kind": "throttle", "entity": "Tasks", "times": 3}])
    with connected(shop) as connector:
        with pytest.raises(Unavailable) as caught:
            connector.write(added())
        assert not caught.value.sent
        assert outcomes(connector.write(added(fence=2))) == [WRITTEN] * 3


@both
def test_a_duplicate_key_that_is_answered_by_500_is_a_refusal_where_the_mark_shows_that_it_is_not_there(version: int) -> None:
    shop = filled(version, 0)
    body = b'{"error": {"code": "SQLITE_CONSTRAINT", "message": "UNIQUE constraint failed: Tasks.title \'one\'"}}'
    with connected(shop, batch="none") as connector:
        shop.answers.append({"on": "POST Tasks", "status": 500, "headers": {"content-type": "application/json"}, "body": body})
        receipts = connector.write(added(2, marker="mark"))
    assert outcomes(receipts) == [REFUSED, WRITTEN]
    assert receipts[0].reason == "the service refused the row: UNIQUE constraint failed: Tasks.title … [500 SQLITE_CONSTRAINT]"


@both
def test_a_service_that_fails_after_its_work_is_asked_whether_it_was_done(version: int) -> None:
    shop = filled(version, 2)
    with connected(shop, batch="none") as connector:
        fail(shop, 500, "Tasks", nth=2)
        assert outcomes(connector.write(added(marker="mark"))) == [WRITTEN] * 3
        fail(shop, 500, "Partners('P01')")
        assert outcomes(connector.write(scores({"P00": 7.0, "P01": 8.0}))) == [WRITTEN] * 2
    assert (len(shop.rows("Tasks")), shop.column("score")) == (3, [7.0, 8.0])


@both
def test_a_question_that_was_not_sent_leaves_what_was_written_before_it_as_it_is(version: int) -> None:
    shop = filled(version, 2)
    # P00 is decided again, as somebody else has just changed it; the second look fails.
    shop.system.faults.set([
        {"kind": "stale", "entity": "Partners", "key": "*P00*"},
        {"kind": "status", "status": 503, "method": "GET", "entity": "Partners", "nth": 2},
    ])  # fmt: skip
    two = {"P00": 7.0, "P01": 8.0}
    with connected(shop) as connector:
        with pytest.raises(Unavailable) as caught:
            connector.write(scores(two, before=[0.0, 1.0]))
        assert caught.value.sent
        assert outcomes(connector.write(scores(two, before=[0.0, 1.0], fence=2))) == [WRITTEN, WRITTEN]
    assert shop.versions() == [2, 2]


@pytest.mark.parametrize(("version", "batch"), [(2, "multipart"), (4, "multipart"), (4, "json")])
def test_one_part_of_a_batch_that_asks_to_wait_has_the_whole_connection_wait(version: int, batch: str) -> None:
    shop = filled(version, 2)
    shop.system.faults.set([{"kind": "throttle", "entity": "Partners", "key": "*P01*", "retry_after": 30}])
    with connected(shop, batch=batch) as connector:
        with pytest.raises(Unavailable) as caught:
            connector.write(scores({"P00": 7.0, "P01": 8.0}))
        assert (caught.value.sent, caught.value.retry_after) == (True, 30.0)
        with pytest.raises(Paced, match="asked this connection to wait"):
            connector.check()

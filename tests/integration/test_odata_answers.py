"""Answers to a batch that leave open what was done: nothing is added twice, and what was done is told as such."""

import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from tests.odata_connections import Request, Shop, connected, filled, outcomes, scores

from fieldline_connectors.odata import Odata, OdataTarget
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.ports import Slice
from fieldline_core.receipts import Outcome, Receipts
from fieldline_simulators.serving import Reply

WRITTEN, REFUSED, UNKNOWN = Outcome.WRITTEN, Outcome.REFUSED, Outcome.UNKNOWN
Work = Callable[[], Reply]
both = pytest.mark.parametrize("version", [2, 4])


def rows(count: int = 3, fence: int = 1, operation: str = "create", **target: Any) -> Slice:
    """Tasks of partners, or whatever the target says."""
    document = {"operation": operation, "entity_set": "Tasks", "key": "partner", "fields": {"score": "score"}, **target}
    batch = Batch.of([f"P0{number}" for number in range(count)], pl.DataFrame({"score": [50.0 + n for n in range(count)]}))
    return Slice("f" * 64, fence, OdataTarget.model_validate(document), batch)


def write(connector: Odata, slice: Slice) -> Receipts:
    """What became of each row."""
    answer = connector.write(slice)
    assert isinstance(answer, Receipts)
    return answer


def part(status: int, body: bytes = b"{}", headers: bytes = b"", outer: bytes = b"") -> bytes:
    """One answer in a multipart batch."""
    head = b"--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n%b\r\n" % outer
    inner = b"HTTP/1.1 %d X\r\n%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b\r\n"
    return head + inner % (status, headers, len(body), body)


def batch_of(*parts: bytes) -> Reply:
    """The answer to a batch."""
    return Reply(202, b"".join(parts) + b"--b--\r\n", {"Content-Type": "multipart/mixed; boundary=b"})


def answering(shop: Shop, make: Callable[[Work], Reply], on: str = "POST $batch", nth: int = 1) -> None:
    """Has the nth request that changes something be answered by `make`, which may do the work before."""
    own, seen = shop.reply, iter(range(1, 1_000))

    def reply(work: Work, request: Request) -> Reply:
        changes = f"{request[0]} {request[1]}".startswith(on) and b"GET " not in request[3]
        if not changes or next(seen) != nth:
            return own(work, request)
        return make(lambda: own(work, request))

    shop.reply = reply  # type: ignore[method-assign]


def done(work: Work, answer: Reply) -> Reply:
    """The answer, after the work was done."""
    work()
    return answer


CASES = {
    "marker": ("Tasks", rows(marker="mark")),
    "another key": ("Tasks", rows(operation="upsert")),
    "own key": ("Partners", rows(operation="upsert", entity_set="Partners", key="ID")),
    "update": ("Partners", rows(operation="update", entity_set="Partners", key="ID")),
}


@both
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("named", [b"", b"Content-ID: 1\r\n"])
@pytest.mark.parametrize("committed", [True, False])
def test_a_changeset_whose_failure_leaves_open_what_was_done_is_looked_at_before_it_is_halved(
    version: int, case: str, named: bytes, committed: bool
) -> None:
    entity_set, slice = CASES[case]
    shop = filled(version, 3 if case == "update" else 0)
    failed = batch_of(part(500, outer=named))
    answering(shop, lambda work: done(work, failed) if committed else failed)
    with connected(shop, changeset_rows=10) as connector:
        receipts = write(connector, slice)
    # Where nothing was done, the row that the service named is refused.
    lost = bool(named) and not committed
    assert outcomes(receipts) == [WRITTEN, REFUSED if lost else WRITTEN, WRITTEN]
    kept = [50.0, 51.0, 52.0] if not lost else [50.0, 1.0, 52.0] if case == "update" else [50.0, 52.0]
    assert shop.column("score", entity_set) == kept


@both
def test_a_record_that_was_added_and_is_otherwise_by_now_is_changed_and_not_added_again(version: int) -> None:
    shop = filled(version, 0)

    def altered(work: Work) -> Reply:
        work()
        for number in shop.rows("Tasks"):
            shop.put("Tasks", number=number, score=1.0)
        return batch_of(part(500))

    answering(shop, altered)
    with connected(shop, changeset_rows=10) as connector:
        assert outcomes(write(connector, rows(operation="upsert"))) == [WRITTEN] * 3
    assert shop.column("partner", "Tasks") == ["P00", "P01", "P02"]
    assert shop.column("score", "Tasks") == [50.0, 51.0, 52.0]


@both
def test_rows_that_are_not_tried_alone_after_a_failure_are_looked_for_all_the_same(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fieldline_connectors.odata.changesets._TRIES", 0)
    shop = filled(version, 0)
    for status, words in ((500, "the service refused the row: the task … [500"), (400, "not tried alone")):
        answering(shop, lambda work, status=status: batch_of(part(status, b"the task 7")))  # type: ignore[misc]
        with connected(shop, changeset_rows=10) as connector:
            receipts = write(connector, rows(marker="mark"))
        assert outcomes(receipts) == [REFUSED] * 3
        assert receipts[2].reason.startswith(words)


@both
def test_a_change_that_the_answer_leaves_out_is_told_as_ours_where_it_was_made(version: int) -> None:
    shop = filled(version, 2)
    answering(shop, lambda work: done(work, batch_of(part(204))))
    with connected(shop) as connector:
        receipts = write(connector, scores({"P00": 7.0, "P01": 8.0}, before=[0.0, 1.0]))
    assert outcomes(receipts) == [WRITTEN, WRITTEN]
    assert shop.versions() == [2, 2]


@both
def test_a_row_that_is_busy_does_not_have_a_lost_one_added_again(version: int) -> None:
    shop = filled(version, 0)
    with connected(shop, batch="none") as connector:
        shop.answers += [{"on": "POST Tasks", "status": 423}, {"on": "POST Tasks", "lost": True}]
        assert outcomes(write(connector, rows(2))) == [REFUSED, UNKNOWN]
    assert shop.column("partner", "Tasks") == ["P01"]
    shop = filled(version, 0)
    answering(shop, lambda work: batch_of(part(423), part(423)))
    answering(shop, lambda work: done(work, Reply(cut="drop")), nth=2)
    with connected(shop, batch_rows=2) as connector:
        assert outcomes(write(connector, rows(4))) == [REFUSED, REFUSED, UNKNOWN, UNKNOWN]
    assert shop.column("partner", "Tasks") == ["P02", "P03"]


@both
def test_without_batches_each_change_is_judged_by_its_own_answer(version: int) -> None:
    shop = filled(version, 0)
    with connected(shop, batch="none", changeset_rows=5) as connector:
        shop.answers += [{"on": "POST Tasks", "status": 400}, {"on": "POST Tasks", "lost": True}]
        told = outcomes(write(connector, rows(4)))
    assert told[:2] == [REFUSED, UNKNOWN]
    assert shop.column("partner", "Tasks") == ["P01"]
    assert told[2:] == [REFUSED, REFUSED]


@pytest.mark.parametrize("marker", [None, "mark"])
def test_an_answer_that_a_json_batch_leaves_out_does_not_have_its_row_added_again(marker: str | None) -> None:
    shop = filled(4, 0)

    def shortened(work: Work) -> Reply:
        document = json.loads(work().body)
        return Reply(200, json.dumps({"responses": document["responses"][:2]}).encode(), {"Content-Type": "application/json"})

    answering(shop, shortened)
    with connected(shop, changeset_rows=10, batch="json") as connector:
        if marker:
            with pytest.raises(Unavailable, match="cannot be read") as caught:
                write(connector, rows(marker=marker))
            assert caught.value.sent
        expected = [WRITTEN if marker else UNKNOWN] * 3
        assert outcomes(write(connector, rows(marker=marker, fence=2 if marker else 1))) == expected
    assert shop.column("partner", "Tasks") == ["P00", "P01", "P02"]


def test_what_a_v4_service_that_stops_at_an_error_has_not_begun_is_sent_again() -> None:
    shop = filled(4, 0)
    answering(shop, lambda work: batch_of(part(400)))
    with connected(shop) as connector:
        assert outcomes(write(connector, rows())) == [REFUSED, WRITTEN, WRITTEN]
    # Where it may have failed behind its work, or breaks off, nothing is known of what is missing.
    for answer in (batch_of(part(500)), Reply(202, part(400), {"Content-Type": "multipart/mixed; boundary=b"})):
        shop = filled(4, 0)
        answering(shop, lambda work, answer=answer: answer)  # type: ignore[misc]
        with connected(shop) as connector:
            assert outcomes(write(connector, rows()))[1:] == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_words_about_one_row_are_masked_in_the_receipts_of_all(status: int) -> None:
    shop = filled(2, 0)
    words = b'{"error":{"code":"X","message":{"value":"The task for Miller of Li failed"}}}'
    answering(shop, lambda work: batch_of(part(status, words)))
    target = OdataTarget(operation="create", entity_set="Tasks", key="partner", fields={"title": "title"})
    batch = Batch.of(["P0", "P1", "P2"], pl.DataFrame({"title": ["Anna", "Berta", "Miller Li"]}))
    with connected(shop, changeset_rows=10) as connector:
        if status == 429:
            with pytest.raises(Unavailable) as caught:
                write(connector, Slice("f" * 64, 1, target, batch))
            told = [str(caught.value)]
        else:
            receipts = write(connector, Slice("f" * 64, 1, target, batch))
            told = [receipts[row].reason for row in range(3)]
    assert all("The task for … of … failed" in reason for reason in told)


@both
def test_a_lost_answer_to_a_question_leaves_nothing_unclear(version: int) -> None:
    shop = filled(version, 2)
    for on in ("HEAD ", "GET Partners", "POST $batch"):
        with connected(shop) as connector:
            shop.lose(on)
            # So many keys are asked for by several questions in one batch.
            many = {f"P{number:02}" + "x" * 17 * (number > 1): 7.0 for number in range(2 if on != "POST $batch" else 600)}
            with pytest.raises(Unavailable, match="did not answer in full") as caught:
                write(connector, scores(many))
            assert (on, caught.value.sent) == (on, False)
    assert shop.column("score") == [0.0, 1.0]


@both
def test_a_missing_etag_is_told_with_what_was_written_before_it(version: int) -> None:
    shop = filled(version, 2)
    answering(shop, lambda work: Reply(428, b"{}", {}), on="MERGE" if version == 2 else "PATCH", nth=2)
    with connected(shop, batch="none") as connector:
        with pytest.raises(Misconfigured, match="wants an ETag") as caught:
            write(connector, scores({"P00": 7.0, "P01": 8.0}))
        assert caught.value.sent
        shop.answers.append({"on": "POST Tasks", "status": 428})
        assert outcomes(write(connector, rows(2))) == [REFUSED, WRITTEN]


@both
def test_an_answer_that_says_it_is_compressed_is_read_as_it_is(version: int) -> None:
    shop = filled(version, 0)
    answering(shop, lambda work: batch_of(part(500, headers=b"Content-Encoding: gzip\r\n"), part(201)))
    with connected(shop) as connector:
        assert outcomes(write(connector, rows(2, marker="mark"))) == [REFUSED, WRITTEN]

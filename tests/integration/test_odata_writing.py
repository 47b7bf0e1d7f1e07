"""What real OData servers do while they are written to: each trap of theirs is a test."""

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from tests.odata_connections import PARTNERS, TASKS, Shop, connected, filled, outcomes, scores, with_sets

from fieldline_connectors.odata import Odata, OdataTarget
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.ports import Dedupe, Slice
from fieldline_core.receipts import Outcome

WRITTEN, UNCHANGED, REFUSED = Outcome.WRITTEN, Outcome.UNCHANGED, Outcome.REFUSED
TWO = {"P00": 7.0, "P01": 8.0}
both = pytest.mark.parametrize("version", [2, 4])


@both
def test_a_token_that_is_not_taken_any_more_is_fetched_again_once_and_the_write_replayed(version: int) -> None:
    shop = filled(version, 2)
    with connected(shop) as connector:
        assert outcomes(connector.write(scores(TWO))) == [WRITTEN, WRITTEN]
        shop.system.sessions.end()
        assert outcomes(connector.write(scores({"P00": 1.0, "P01": 2.0}))) == [WRITTEN, WRITTEN]
    assert shop.column("score") == [1.0, 2.0]
    assert len(shop.requests("HEAD")) == 2


def test_all_cookies_are_sent_back_whatever_their_names_paths_and_domains() -> None:
    # Behind a proxy the cookies name a host that nobody here knows.
    shop = filled(2, 1, link_host="https://sapgw.internal.example:44300")
    with connected(shop) as connector:
        assert outcomes(connector.write(scores({"P00": 7.0}))) == [WRITTEN]
    cookies = shop.requests("MERGE")[0][2]["cookie"]
    for name in ("sap-usercontext", "SAP_SESSIONID_S4H_100", "sap-XSRF_S4H_100"):
        assert f"{name}=" in cookies


def test_a_token_that_is_refused_twice_is_told_to_a_person() -> None:
    shop = filled(2, 1)
    with connected(shop) as connector:
        required = {"on": "MERGE", "status": 403, "headers": {"x-csrf-token": "Required"}}
        shop.answers += [required, {**required}]
        with pytest.raises(Misconfigured, match="CSRF token was refused twice"):
            connector.write(scores({"P00": 7.0}))


def test_a_service_that_answers_head_with_nothing_is_asked_for_a_token_by_get() -> None:
    shop = filled(2, 1)
    with connected(shop) as connector:
        shop.answers.append({"on": "HEAD", "status": 405})
        assert outcomes(connector.write(scores({"P00": 7.0}))) == [WRITTEN]


def test_a_missing_authorisation_is_no_missing_token() -> None:
    shop = filled(2, 1)
    with connected(shop) as connector:
        shop.answers.append({"on": "MERGE", "status": 403, "body": b"No authorization for this object"})
        receipts = connector.write(scores({"P00": 7.0}))
    assert receipts[0].reason == "the service refused the row: No authorization for this object [403]"


@both
def test_a_record_is_changed_under_its_version_and_left_alone_where_a_person_changed_it(version: int) -> None:
    shop = filled(version, 3)
    shop.put("Partners", ID="P01", score=99.0)
    with connected(shop) as connector:
        receipts = connector.write(scores({"P00": 7.0, "P01": 8.0, "P02": 9.0}, before=[0.0, 1.0, 2.0]))
    assert outcomes(receipts) == [WRITTEN, Outcome.CHANGED_BY_PERSON, WRITTEN]
    assert shop.column("score") == [7.0, 99.0, 9.0]


def meddling(shop: Shop, field: str, times: int) -> Shop:
    """The service, where somebody changes a record between our look at it and our change, the first times."""
    left = iter(range(times))

    def meddle() -> None:
        changing = shop.seen[-1][0] != "POST" or b"If-Match" in shop.seen[-1][3]
        if changing and next(left, None) is not None:
            shop.put("Partners", ID="P00", **{field: 50.0 if field == "score" else f"another name {len(shop.seen)}"})

    shop.meddle = meddle
    return shop


@both
def test_what_changed_under_our_hands_is_read_and_decided_again(version: int) -> None:
    elsewhere = meddling(filled(version, 2), "name", 1)
    with connected(elsewhere) as connector:
        assert outcomes(connector.write(scores(TWO, before=[0.0, 1.0]))) == [WRITTEN, WRITTEN]
    assert elsewhere.column("score") == [7.0, 8.0]
    same = meddling(filled(version, 2), "score", 1)
    with connected(same) as connector:
        assert outcomes(connector.write(scores(TWO, before=[0.0, 1.0]))) == [Outcome.CHANGED_BY_PERSON, WRITTEN]
    assert same.column("score") == [50.0, 8.0]


def test_a_record_that_never_rests_is_written_later() -> None:
    with connected(meddling(filled(4, 1), "name", 99)) as connector, pytest.raises(Unavailable, match="keep changing"):
        connector.write(scores({"P00": 7.0}))


@both
@pytest.mark.parametrize("named", [True, False])
def test_the_bad_rows_of_a_changeset_are_found_whether_the_service_names_them_or_not(version: int, named: bool) -> None:
    shop = filled(version, 9, names_culprit=named)
    values = {f"P{number:02}": 666.0 if number in (2, 7) else 70.0 + number for number in range(9)}
    with connected(shop, changeset_rows=9) as connector:
        receipts = connector.write(scores(values))
    assert outcomes(receipts) == [REFUSED if number in (2, 7) else WRITTEN for number in range(9)]
    assert receipts[2].reason == "the service refused the row: The score … of … is not allowed [400 ZPLAN/012]"
    assert shop.column("score") == [70.0, 71.0, 2.0, 73.0, 74.0, 75.0, 76.0, 7.0, 78.0]


def test_a_status_of_202_for_the_whole_batch_says_nothing_of_its_rows() -> None:
    shop = filled(2, 2)
    with connected(shop) as connector:
        receipts = connector.write(scores({"P00": 666.0, "P01": 666.0}))
    assert outcomes(receipts) == [REFUSED, REFUSED]


@both
def test_an_update_that_is_answered_by_200_is_written(version: int) -> None:
    shop = filled(version, 1)
    with connected(shop, batch="none") as connector:
        connector.check()
        shop.answers.append({"on": "MERGE" if version == 2 else "PATCH", "status": 200, "body": b'{"d": {}}'})
        assert outcomes(connector.write(scores({"P00": 7.0}))) == [WRITTEN]


@both
@pytest.mark.parametrize("batch", ["multipart", "none"])
def test_a_write_whose_answer_was_lost_is_looked_up_and_not_repeated(version: int, batch: str) -> None:
    shop = filled(version, 2)
    method = ("MERGE" if version == 2 else "PATCH") if batch == "none" else "POST $batch"
    with connected(shop, batch=batch) as connector:
        shop.lose(method)
        with pytest.raises(Unavailable) as caught:
            connector.write(scores(TWO, before=[0.0, 1.0]))
        assert caught.value.sent
        before = shop.versions()
        receipts = connector.write(scores(TWO, before=[0.0, 1.0], fence=2))
    # It was our own write: an undo must find it.
    assert outcomes(receipts) == [WRITTEN, WRITTEN]
    assert shop.column("score") == [7.0, 8.0]
    assert shop.versions()[0] == before[0]


def test_a_write_that_broke_off_after_its_first_rows_does_not_say_that_nothing_was_sent() -> None:
    shop = filled(2, 2)
    with connected(shop, batch="none") as connector:
        connector.check()
        shop.answers.append({"on": "MERGE Partners('P01')", "status": 429, "headers": {"retry-after": "3"}})
        with pytest.raises(Unavailable) as caught:
            connector.write(scores(TWO))
    assert (caught.value.sent, caught.value.retry_after) == (True, 3.0)
    assert shop.column("score") == [7.0, 1.0]


def test_what_holds_the_value_already_is_not_written() -> None:
    shop = filled(4, 1)
    with connected(shop) as connector:
        assert outcomes(connector.write(scores({"P00": 0.0}))) == [UNCHANGED]
    assert shop.requests("PATCH") == []


@both
def test_decimals_and_dates_are_written_as_the_version_has_them(version: int) -> None:
    shop = filled(version, 1)
    target = OdataTarget(entity_set="Partners", fields={"limit": "a", "day": "b", "changed": "c"})
    frame = pl.DataFrame({"limit": ["98765432101234567.89"], "day": ["2024-03-01"], "changed": ["2024-03-01T10:20:30.123"]})
    with connected(shop) as connector:
        connector.write(Slice("a" * 64, 1, target, Batch.of(["P00"], frame)))
    body = json.loads(shop.requests("MERGE" if version == 2 else "PATCH")[0][3])
    v2 = {"limit": "98765432101234567.89", "day": "/Date(1709251200000)/", "changed": "/Date(1709288430123)/"}
    assert body == (v2 if version == 2 else {**v2, "day": "2024-03-01", "changed": "2024-03-01T10:20:30.123000Z"})
    assert shop.column("limit") == ["98765432101234567.89"]


def test_a_key_that_is_not_there_is_refused_by_an_update_and_added_by_an_upsert() -> None:
    shop = filled(4, 0)
    with connected(shop) as connector:
        assert connector.write(scores({"P00": 7.0}))[0].reason == "the entity set has no record with this key"
        assert outcomes(connector.write(scores({"P00": 7.0}, operation="upsert"))) == [WRITTEN]
    assert shop.column("score") == [7.0]


def test_a_lock_is_waited_for_and_not_taken_for_a_refusal() -> None:
    shop = filled(2, 1)
    with connected(shop) as connector:
        shop.answers.append({"on": "MERGE", "status": 400, "body": b"Partner 4711 is locked by MILLER"})
        with pytest.raises(Unavailable, match=r"Partner … is locked by …"):
            connector.write(scores({"P00": 7.0}))
        assert outcomes(connector.write(scores({"P00": 7.0}, fence=2))) == [WRITTEN]


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [(413, Misconfigured, "lower batch_rows"), (429, Unavailable, "slow down"), (401, Misconfigured, "does not let us in")],
)
def test_a_batch_that_is_refused_as_a_whole_says_why(status: int, error: type[Exception], words: str) -> None:
    shop = filled(2, 2)
    with connected(shop) as connector:
        shop.answers.append({"on": "POST $batch", "status": status})
        with pytest.raises(error, match=words):
            connector.write(scores(TWO))


def test_an_answer_to_a_batch_that_cannot_be_read_leaves_the_outcome_unknown() -> None:
    shop = filled(2, 2)
    with connected(shop) as connector:
        headers = {"content-type": "multipart/mixed; boundary=x"}
        shop.answers.append({"on": "POST $batch", "status": 202, "body": b"--x", "headers": headers})
        with pytest.raises(Unavailable) as caught:
            connector.write(scores(TWO))
    assert caught.value.sent


def added(score: float, fence: int = 1, **target: Any) -> Slice:
    operation = OdataTarget.model_validate(
        {"operation": "create", "entity_set": "Tasks", "key": "partner", "fields": {"score": "score"}, "marker": "mark", **target}
    )
    return Slice("f" * 64, fence, operation, Batch.of(["P00", "P00"], pl.DataFrame({"score": [score, 2.0]})))


def test_a_record_that_was_added_is_found_again_by_its_mark() -> None:
    shop = filled(4, 1)
    with connected(shop) as connector:
        assert connector.dedupe(added(1.0).target) is Dedupe.QUERY
        shop.lose("POST $batch")
        with pytest.raises(Unavailable):
            connector.write(added(1.0))
        assert outcomes(connector.write(added(1.0, fence=2))) == [WRITTEN, WRITTEN]
    assert [row["partner"] for row in shop.rows("Tasks").values()] == ["P00", "P00"]


def test_what_the_service_offers_decides_how_a_repeat_is_made_harmless() -> None:
    def dedupe(connector: Odata, **target: Any) -> Dedupe:
        return connector.dedupe(added(1.0, **target).target)

    shop = filled(4, 0, with_sets(replace(TASKS, name="Kept", repeatable=True)))
    with connected(shop) as connector:
        assert dedupe(connector, marker=None) is Dedupe.NONE
        assert dedupe(connector, operation="update", marker=None) is Dedupe.QUERY
        assert dedupe(connector, entity_set="Kept", marker=None) is Dedupe.NATIVE
        connector.write(added(1.0, marker=None, entity_set="Kept"))
    sent = shop.requests("POST", "$batch")[-1][3].decode().lower()
    assert sent.count("repeatability-request-id: ") == 2
    assert sent.count("repeatability-first-sent: ") == 2


@both
def test_a_repeated_request_is_told_by_its_id_and_the_time_of_its_first_attempt(version: int) -> None:
    shop = filled(version, 0, with_sets(replace(TASKS, repeatable=True)))
    settings = {"request_ids": True, "batch": "none"} if version == 2 else {}
    made_at = datetime(2026, 5, 4, 10, tzinfo=ZoneInfo("Europe/Berlin"))
    first, again = (replace(added(1.0, fence, marker=None), made_at=made_at) for fence in (1, 2))
    with connected(shop, **settings) as connector:
        assert connector.dedupe(first.target) is Dedupe.NATIVE
        shop.lose("POST $batch" if version == 4 else "POST Tasks")
        with pytest.raises(Unavailable):
            connector.write(first)
        assert outcomes(connector.write(again)) == [WRITTEN, WRITTEN]
        late = connector.write(replace(again, made_at=made_at + timedelta(days=2)))
    assert len(shop.rows("Tasks")) == 2
    sent = "".join(f"{headers}{body.decode()}" for _, _, headers, body in shop.requests("POST")).lower()
    assert "mon, 04 may 2026 08:00:00 gmt" in sent
    assert len(set(re.findall(r"\b(?:repeatability-request-id: |requestid': ')([0-9a-f-]{32,36})", sent))) == 2
    # What the service has forgotten is not taken for a refusal: it may be there.
    assert outcomes(late) == [Outcome.UNKNOWN] * 2


@both
def test_an_upsert_whose_answer_was_lost_is_looked_up_by_its_key_and_not_added_twice(version: int) -> None:
    shop = filled(version, 0)
    with connected(shop) as connector:
        shop.lose("POST $batch")
        with pytest.raises(Unavailable) as caught:
            connector.write(scores(TWO, operation="upsert"))
        assert caught.value.sent
        assert outcomes(connector.write(scores(TWO, operation="upsert", fence=2))) == [UNCHANGED, UNCHANGED]
    assert shop.column("score") == [7.0, 8.0]
    assert shop.versions() == [1, 1]


@pytest.mark.parametrize(
    ("flags", "operation", "words"),
    [({"updatable": False}, "update", "not let Partners be changed"), ({"creatable": False}, "upsert", "be added to Partners")],
)
def test_what_the_service_does_not_allow_is_said_before_anything_is_sent(
    flags: dict[str, bool], operation: str, words: str
) -> None:
    shop = filled(2, 1, with_sets(replace(PARTNERS, **flags)))
    with connected(shop) as connector, pytest.raises(Misconfigured, match=words):
        connector.write(scores({"P00": 7.0}, operation=operation))
    assert shop.requests("POST") == []


@both
def test_what_was_written_is_compared_for_an_undo(version: int) -> None:
    shop = filled(version, 2)
    with connected(shop) as connector:
        apart = connector.differing(scores({}).target, Batch.of(["P00", "P01", "P99"], pl.DataFrame({"score": [0.0, 5.0, 1.0]})))
    assert {row: receipt.outcome for row, receipt in apart.items()} == {1: Outcome.CHANGED_BY_PERSON, 2: REFUSED}

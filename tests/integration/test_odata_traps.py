"""What else real OData servers were seen to do: each trap of theirs is a test."""

import json
from uuid import UUID

import polars as pl
import pytest
from tests.odata_connections import PARTNERS, connected, filled, outcomes, read, scores, with_property, with_sets

from fieldline_connectors.odata import OdataQuery, OdataTarget
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.ports import Slice
from fieldline_core.receipts import Outcome
from fieldline_simulators import sap

both = pytest.mark.parametrize("version", [2, 4])


def test_a_service_that_wants_an_etag_and_shows_none_is_told_to_a_person() -> None:
    shop = filled(2, 1)
    shown = b'{"d": {"results": [{"ID": "P00", "score": "1.0", "__metadata": {}}]}}'
    shop.answers.append({"on": "GET Partners", "status": 200, "body": shown, "headers": {"content-type": "application/json"}})
    with connected(shop) as connector, pytest.raises(Misconfigured, match="wants an ETag and gives none"):
        connector.write(scores({"P00": 7.0}))


def test_a_time_of_change_that_cannot_be_filtered_by_is_said_before_and_while_it_is_read() -> None:
    query = OdataQuery(entity_set="Partners", changed_at="changed")
    with connected(filled(2, 1, with_sets(with_property(PARTNERS, "changed", filterable=False)))) as connector:
        assert [found.path for found in connector.check_query(query)] == ["changed_at"]
        with pytest.raises(Misconfigured, match="no date or time that the service can filter by"):
            read(connector, query)


@both
def test_a_decimal_is_added_as_a_text_with_all_its_digits(version: int) -> None:
    shop = filled(version, 0)
    target = OdataTarget(operation="create", entity_set="Partners", key="ID", fields={"limit": "amount"})
    frame = pl.DataFrame({"limit": ["98765432101234567.89"]})
    with connected(shop) as connector:
        assert outcomes(connector.write(Slice("a" * 64, 1, target, Batch.of(["P1"], frame)))) == [Outcome.WRITTEN]
    (sent,) = shop.requests("POST", "Partners")
    assert json.loads(sent[3])["limit"] == "98765432101234567.89"
    assert shop.rows("Partners")["P1"]["limit"] == "98765432101234567.89"


def test_the_way_of_changing_a_record_is_the_one_that_the_service_wants() -> None:
    shop = filled(2, 1)
    with connected(shop, update_method="PUT") as connector:
        assert outcomes(connector.write(scores({"P00": 7.0}))) == [Outcome.WRITTEN]
    assert len(shop.requests("PUT")) == 1


def test_a_server_that_ignores_how_many_rows_are_asked_for_is_read_to_its_end() -> None:
    shop = filled(4, 9, page=7, ignores=frozenset({"odata.maxpagesize"}))
    with connected(shop, page_rows=2) as connector:
        pages = read(connector, OdataQuery(entity_set="Partners", order="server"), 4)
    assert [len(page.batch) for page in pages] == [4, 3, 2]
    assert shop.requests("GET", "Partners")[0][2]["prefer"] == "odata.maxpagesize=2"


@both
def test_nothing_is_asked_under_a_condition_and_a_304_is_not_taken_for_an_empty_answer(version: int) -> None:
    shop = filled(version, 2)
    query = OdataQuery(entity_set="Partners")
    with connected(shop) as connector:
        shop.answers += [{"on": "GET Partners", "status": 304, "headers": {"etag": 'W/"1"'}}] * 2
        with pytest.raises(Unavailable, match="answered 304 Not Modified") as caught:
            read(connector, query)
        assert not caught.value.sent
        with pytest.raises(Unavailable, match="answered 304 Not Modified") as caught:
            connector.write(scores({"P00": 7.0}))
        assert not caught.value.sent
        assert outcomes(connector.write(scores({"P00": 7.0}))) == [Outcome.WRITTEN]
    assert not any("if-none-match" in headers for _, _, headers, _ in shop.seen)


def test_a_record_that_appears_while_it_is_added_is_changed_and_not_added_twice() -> None:
    # What is added under an alternate key says `If-None-Match: *`, so that it changes nothing that is there by then.
    number = sap.Property("accountid", "Guid", nullable=False)
    accounts = sap.EntitySet("accounts", (number, *PARTNERS.properties), ("accountid",), numbered="accountid", alternate=("ID",))
    shop = filled(4, 0, (accounts,))
    target = {"entity_set": "accounts", "key": "ID", "operation": "upsert"}

    def appear() -> None:
        shop.meddle = lambda: None
        shop.put("accounts", accountid=str(UUID(int=1)), ID="P00", score=3.0)

    shop.meddle = appear
    with connected(shop, preset="dynamics", csrf=True) as connector:
        assert outcomes(connector.write(scores({"P00": 7.0}, **target))) == [Outcome.WRITTEN]
    assert shop.column("score", "accounts") == [7.0]
    assert [headers.get("if-none-match") for _, _, headers, _ in shop.requests("PATCH")] == ["*", None]

"""What else real OData servers were seen to do: each trap of theirs is a test."""

import json
from typing import Any

import polars as pl
import pytest
from tests.odata_connections import connected, filled, kinds, outcomes, read, scores
from tests.odata_service import Shop

from fieldline_connectors.odata import OdataQuery, OdataTarget
from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Slice
from fieldline_core.receipts import Outcome

both = pytest.mark.parametrize("version", [2, 4])


class Versionless(Shop):
    """Wants an ETag, and shows none."""

    def shown(self, name: str, row: dict[str, Any], options: dict[str, str]) -> dict[str, Any]:
        return {**super().shown(name, row, options), "__metadata": {}}


def test_a_service_that_wants_an_etag_and_shows_none_is_told_to_a_person() -> None:
    shop = Versionless(2, kinds())
    shop.put("Partners", ID="P00", score=1.0)
    with connected(shop) as connector, pytest.raises(Misconfigured, match="wants an ETag and gives none"):
        connector.write(scores({"P00": 7.0}))


def test_a_time_of_change_that_cannot_be_filtered_by_is_said_before_and_while_it_is_read() -> None:
    partners = kinds()
    partners["Partners"].types["changed"] = 'DateTimeOffset sap:filterable="false"'
    query = OdataQuery(entity_set="Partners", changed_at="changed")
    with connected(filled(2, 1, kinds=partners)) as connector:
        assert [found.path for found in connector.check_query(query)] == ["changed_at"]
        with pytest.raises(Misconfigured, match="no date or time that the service can filter by"):
            read(connector, query)


@both
def test_a_duplicate_key_that_is_answered_by_500_is_a_refusal_of_its_row(version: int) -> None:
    shop = filled(version, 0)
    target = OdataTarget(operation="create", entity_set="Tasks", key="partner", fields={"score": "s"}, constants={"mark": "one"})
    with connected(shop, batch="none") as connector:
        body = b'{"error": {"code": "SQLITE_CONSTRAINT", "message": "UNIQUE constraint failed: Tasks.mark \'one\'"}}'
        shop.faults.append({"on": "POST Tasks", "status": 500, "headers": {"content-type": "application/json"}, "body": body})
        receipts = connector.write(Slice("a" * 64, 1, target, Batch.of(["P1", "P2"], pl.DataFrame({"score": [1.0, 2.0]}))))
    assert outcomes(receipts) == [Outcome.REFUSED, Outcome.WRITTEN]
    assert "UNIQUE constraint failed" in receipts[0].reason
    assert "one" not in receipts[0].reason.replace("constraint", "")


@both
def test_a_decimal_is_added_as_a_text_with_all_its_digits(version: int) -> None:
    shop = filled(version, 0)
    target = OdataTarget(operation="create", entity_set="Partners", key="ID", fields={"limit": "amount"})
    frame = pl.DataFrame({"limit": ["98765432101234567.89"]})
    with connected(shop) as connector:
        assert outcomes(connector.write(Slice("a" * 64, 1, target, Batch.of(["P1"], frame)))) == [Outcome.WRITTEN]
    (sent,) = shop.requests("POST", "Partners")
    assert json.loads(sent[3])["limit"] == "98765432101234567.89"
    assert shop.rows["Partners"]["P1"]["limit"] == "98765432101234567.89"


def test_the_way_of_changing_a_record_is_the_one_that_the_service_wants() -> None:
    shop = filled(2, 1)
    with connected(shop, update_method="PUT") as connector:
        assert outcomes(connector.write(scores({"P00": 7.0}))) == [Outcome.WRITTEN]
    assert len(shop.requests("PUT")) == 1


def test_a_server_that_ignores_how_many_rows_are_asked_for_is_read_to_its_end() -> None:
    shop = filled(4, 9, page=7)
    with connected(shop, page_rows=2) as connector:
        pages = read(connector, OdataQuery(entity_set="Partners", order="server"), 4)
    assert [len(page.batch) for page in pages] == [4, 3, 2]
    assert shop.requests("GET", "Partners")[0][2]["prefer"] == "odata.maxpagesize=2"

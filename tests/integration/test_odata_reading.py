"""What real OData servers do while they are read: each trap of theirs is a test."""

from dataclasses import replace

import polars as pl
import pytest
from tests.odata_connections import PARTNERS as SET
from tests.odata_connections import Shop, connected, filled, keys, read, with_sets

from fieldline_connectors.odata import OdataQuery
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_simulators.sap.extractors import extracted

PARTNERS = OdataQuery(entity_set="Partners")
ALL = [f"P{number:02}" for number in range(9)]
both = pytest.mark.parametrize("version", [2, 4])


@both
@pytest.mark.parametrize("order", ["key", "server"])
def test_the_last_page_of_the_server_may_be_empty(version: int, order: str) -> None:
    shop = filled(version, 9, page=3)
    with connected(shop) as connector:
        assert keys(read(connector, OdataQuery(entity_set="Partners", order=order), 4)) == ALL
    if order == "server":
        assert len(shop.requests("GET", "Partners?")) == 4


def test_a_next_link_to_another_host_is_asked_of_our_own() -> None:
    # The link names a host that is not ours: where it was followed, nobody would answer, or a stranger would get the password.
    shop = filled(2, 9, page=2, link_host="https://sapgw.internal.example:44300")
    with connected(shop) as connector:
        assert keys(read(connector, OdataQuery(entity_set="Partners", order="server"))) == ALL


@both
def test_decimals_are_read_digit_by_digit_whether_they_come_as_texts_or_as_bare_numbers(version: int) -> None:
    shop = filled(version, 1, ignores=frozenset({"ieee754compatible"}))
    shop.put("Partners", ID="P00", limit="98765432101234567.89")
    with connected(shop) as connector:
        assert read(connector, PARTNERS)[0].batch.frame["limit"].to_list() == ["98765432101234567.89"]


@both
def test_child_rows_come_as_lists(version: int) -> None:
    shop = filled(version, 2)
    for number in (1, 2):
        shop.put("Items", partner="P01", number=number, quantity="2.500")
    with connected(shop) as connector:
        query = OdataQuery(entity_set="Partners", fields=("name",), expand={"items": ("number", "quantity")})
        frame = read(connector, query)[0].batch.frame
    assert frame["items"].dtype == pl.List(pl.Struct({"number": pl.Int64, "quantity": pl.String}))
    assert frame["items"].to_list() == [None, [{"number": 1, "quantity": "2.500"}, {"number": 2, "quantity": "2.500"}]]


@both
def test_a_query_asks_for_no_more_than_the_mapping_needs(version: int) -> None:
    shop = filled(version, 1)
    with connected(shop) as connector:
        read(connector, OdataQuery(entity_set="Partners", expand={"items": ()}).reading({"score"}))
    assert "$select=score,ID&" in shop.requests("GET", "Partners")[0][1]
    assert "expand" not in shop.requests("GET", "Partners")[0][1]


@both
def test_records_with_a_key_of_several_parts_are_found_one_by_one(version: int) -> None:
    shop = filled(version, 0)
    for number in (1, 2):
        shop.put("Items", partner="o'neil/1", number=number, quantity="1")
    with connected(shop) as connector:
        asked = ['["o\'neil/1", "2"]', '["x", "1"]', '["x", "no number"]', "broken"]
        found = connector.lookup(OdataQuery(entity_set="Items"), asked)
    assert found.keys.to_list() == ['["o\'neil/1", "2"]']


def test_many_keys_travel_in_one_request() -> None:
    shop = filled(4, 9)
    with connected(shop) as connector:
        found = connector.lookup(PARTNERS, [f"P{number:02}" for number in range(99)] + [f"no such partner {i}" for i in range(100)])
    assert sorted(found.keys) == ALL
    assert len(shop.requests("POST", "$batch")) == 1
    assert all(len(target) < 2_500 for _, target, _, _ in shop.seen)


@both
def test_changes_are_read_by_their_time_with_an_overlap(version: int) -> None:
    shop = filled(version, 9)
    query = OdataQuery(entity_set="Partners", changed_at="changed", overlap_s=120)
    with connected(shop) as connector:
        first = read(connector, query, 4)
        assert first[-1].after == {"high": "2024-05-01T00:08:00"}
        shop.put("Partners", ID="P03", changed="2024-05-01T00:20:00Z")
        later = read(connector, query, 4, first[-1].after)
    # P06 to P08 lie in the overlap; what did not change is told by its values, not here.
    assert keys(later) == ["P03", "P06", "P07", "P08"]
    assert later[-1].after == {"high": "2024-05-01T00:20:00"}


def test_a_change_made_while_all_is_read_belongs_to_the_next_reading() -> None:
    shop = filled(4, 4)
    query = OdataQuery(entity_set="Partners", changed_at="changed", overlap_s=0)
    with connected(shop) as connector:
        shop.put("Partners", ID="P03", changed="2199-01-01T00:00:00Z")
        high = read(connector, query)[-1].after["high"]
    # Newer than our own clock: P00 may have changed since it was read, and before that.
    assert high < "2199"


@both
def test_changes_are_asked_of_a_service_that_tracks_them(version: int) -> None:
    shop = filled(version, 4)
    query = OdataQuery(entity_set="Partners", track_changes=True)
    with connected(shop) as connector:
        first = read(connector, query, 2)
        assert keys(first) == ALL[:4]
        assert "deltatoken" in first[-1].after["delta"]
        assert "odata.track-changes" in shop.requests("GET", "Partners")[0][2]["prefer"]
        nothing = read(connector, query, 2, first[-1].after)
        assert keys(nothing) == []
        shop.put("Partners", ID="P02", name="changed")
        shop.put("Partners", ID="P07", name="new")
        shop.remove("Partners", "P01")
        second = read(connector, query, 2, nothing[-1].after)
        assert keys(second) == ["P02", "P07"]
        assert [row for page in second for row in page.batch.frame["name"]] == ["changed", "new"]
        shop.remove("Partners", "P02")
        third = read(connector, query, 2, second[-1].after)
        assert keys(third) == []
        shop.put("Partners", ID="P03", name="at last")
        assert keys(read(connector, query, 2, third[-1].after)) == ["P03"]


def test_changes_of_an_extractor_come_by_its_delta_links_and_those_that_are_gone_are_left_out() -> None:
    shop = filled(2, 4, with_sets(*extracted(SET)), link_host="https://sapgw.internal.example:44300")
    # What a mapping asks for; that a record is gone must be seen all the same.
    query = OdataQuery(entity_set="Partners", track_changes=True, fields=("name",))
    with connected(shop) as connector:
        first = read(connector, query)
        assert keys(first) == ALL[:4]
        assert "ODQ_CHANGEMODE" in shop.requests("GET", "Partners")[0][1]
        assert first[-1].after["delta"].endswith("/DeltaLinksOfPartners('D4')/ChangesAfter")
        shop.put("Partners", ID="P00", name="changed")
        shop.remove("Partners", "P03")
        second = read(connector, query, 100, first[-1].after)
        assert keys(second) == ["P00"]
        assert second[-1].batch.frame.columns == ["name"]
        third = read(connector, query, 100, second[-1].after)
        assert keys(third) == []
        shop.put("Partners", ID="P09", name="new")
        assert keys(read(connector, query, 100, third[-1].after)) == ["P09"]


def test_a_delta_link_that_has_expired_begins_anew() -> None:
    shop = filled(2, 4)
    query = OdataQuery(entity_set="Partners", track_changes=True)
    with connected(shop) as connector:
        after = read(connector, query)[-1].after
        shop.put("Partners", ID="P02", name="changed")
        shop.system.store.changes.clear()
        assert keys(read(connector, query, 100, after)) == ALL[:4]


def test_a_service_that_tracks_no_changes_says_so() -> None:
    shop = filled(4, 1, with_sets(replace(SET, tracked=False)))
    with connected(shop) as connector, pytest.raises(Misconfigured, match="use `changed_at` instead"):
        read(connector, OdataQuery(entity_set="Partners", track_changes=True))


def test_a_reading_that_was_stopped_goes_on_in_the_middle_of_a_server_page() -> None:
    shop = filled(2, 9, page=4)
    query = OdataQuery(entity_set="Partners", order="server")
    with connected(shop) as connector:
        pages = read(connector, query, 3)
        for count in range(len(pages)):
            assert keys(read(connector, query, 2, pages[count].after)) == keys(pages[count + 1 :])


def test_the_client_of_the_sap_system_is_named_in_every_request() -> None:
    shop = filled(2, 9, page=2)
    with connected(shop, sap_client="100") as connector:
        assert keys(read(connector, OdataQuery(entity_set="Partners", order="server"))) == ALL
    assert all("sap-client=100" in target for _, target, _, _ in shop.seen)
    with (
        connected(shop, sap_client="200") as connector,
        pytest.raises(Misconfigured, match=r"`sap_client`.*Client … is not available"),
    ):
        connector.check()


def test_a_login_page_with_the_status_200_is_not_taken_for_records() -> None:
    shop = filled(2, 1)
    with connected(shop) as connector:
        connector.check()
        page = {"status": 200, "body": b"<html>Log on</html>", "headers": {"content-type": "text/html"}}
        shop.answers.append({"on": "GET Partners", **page})
        with pytest.raises(Misconfigured, match="answered text/html where JSON was asked for"):
            read(connector, PARTNERS)


def test_a_service_that_ignores_the_order_of_the_key_is_found_out() -> None:
    shop = filled(4, 3)
    page = b'{"value": [{"ID": "a"}, {"ID": "b"}]}'
    with connected(shop) as connector:
        shop.answers += [{"on": "GET Partners", "status": 200, "body": page, "headers": {"content-type": "application/json"}}] * 2
        with pytest.raises(Misconfigured, match="order: server"):
            read(connector, OdataQuery(entity_set="Partners", fields=("ID",)), 2)


def test_a_link_that_leads_to_itself_is_not_followed_forever() -> None:
    shop = filled(4, 3)
    with connected(shop) as connector:
        target = "Partners?$select=ID"
        body = b'{"value": [], "@odata.nextLink": "%s"}' % target.encode()
        shop.answers += [{"on": "GET Partners", "status": 200, "body": body, "headers": {"content-type": "application/json"}}] * 2
        with pytest.raises(Unavailable, match="leads to the same page"):
            read(connector, OdataQuery(entity_set="Partners", fields=("ID",), order="server"), 2)


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [(429, {"retry-after": "7"}, Unavailable), (503, {}, Unavailable), (500, {}, Unavailable), (403, {}, Misconfigured),
     (404, {}, Misconfigured), (400, {}, Misconfigured), (501, {}, Misconfigured), (302, {"location": "/"}, Misconfigured)],
)  # fmt: skip
def test_a_refusal_says_who_has_to_act(status: int, headers: dict[str, str], error: type[Exception]) -> None:
    shop = filled(2, 1)
    with connected(shop) as connector:
        connector.check()
        shop.answers.append({"on": "GET Partners", "status": status, "headers": headers, "body": b"Partner 4711 is locked"})
        with pytest.raises(error) as caught:
            read(connector, PARTNERS)
    assert "4711" not in str(caught.value)
    assert getattr(caught.value, "retry_after", None) == (7.0 if status == 429 else None)


def test_dataverse_names_the_limit_that_was_reached() -> None:
    shop = filled(4, 1)
    body = b'{"error": {"code": "0x80072326", "message": "Number of concurrent requests exceeded the limit of 52."}}'
    with connected(shop, preset="dynamics") as connector:
        connector.check()
        shop.answers.append({"on": "GET Partners", "status": 429, "headers": {"retry-after": "12"}, "body": body})
        with pytest.raises(Unavailable, match="more than 52 requests at once") as caught:
            read(connector, PARTNERS)
    assert caught.value.retry_after == 12


def test_dataverse_is_read_by_its_own_links() -> None:
    shop = filled(4, 9, page=4)
    with connected(shop, preset="dynamics", page_rows=4) as connector:
        assert keys(read(connector, PARTNERS, 100)) == ALL
    asked = shop.requests("GET", "Partners")
    assert "$orderby" not in asked[0][1]
    assert asked[0][2]["prefer"] == "odata.maxpagesize=4"


def test_metadata_of_another_version_than_the_settings_say_is_refused() -> None:
    with connected(filled(4, 1), version="v2") as connector, pytest.raises(Misconfigured, match="OData V4"):
        connector.check()


def test_metadata_without_entity_sets_is_refused() -> None:
    shop = Shop(4, ())
    with connected(shop) as connector, pytest.raises(Misconfigured, match="no entity set that the user may see"):
        connector.check()


def test_a_set_that_wants_a_filter_has_no_samples_and_is_discovered_all_the_same() -> None:
    shop = filled(2, 2, with_sets(replace(SET, label="Business partners")))
    with connected(shop) as connector:
        connector.check()
        shop.answers.append({"on": "GET Items", "status": 400, "body": b"A filter is needed"})
        found = connector.discover()
    partners, items = found.entity("Partners"), found.entity("Items")
    assert partners is not None
    assert items is not None
    assert partners.label == "Business partners"
    assert next(field for field in partners.fields if field.name == "limit").samples == ("0.50", "1.50")
    assert all(field.samples == () for field in items.fields)


def test_an_answer_that_is_too_large_is_not_read() -> None:
    shop = filled(2, 1)
    with connected(shop, metadata_max_bytes=1024) as connector, pytest.raises(Unavailable, match="more than 1,024 bytes"):
        connector.check()

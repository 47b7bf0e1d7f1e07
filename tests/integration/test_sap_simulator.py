"""The simulated SAP system as a client sees it, by plain HTTP: what it answers, what it refuses, and what it does not do."""

import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import httpx
import pytest

from fieldline_simulators import sap
from fieldline_simulators.certificate import make_tls_files
from fieldline_simulators.sap.extractors import extracted
from fieldline_simulators.sap.writes import as_person

SMALL = sap.Options(partners=7, orders=5, hours=30, page_rows=10)
IDOC = (
    b"<ORDERS05><IDOC><EDI_DC40><MESTYP>ORDERS</MESTYP><IDOCTYP>ORDERS05</IDOCTYP><DOCNUM>77</DOCNUM></EDI_DC40></IDOC></ORDERS05>"
)
HOUR = "Z_MaterialPlanningHour(Material='RENTAL-BIKE',Day=1,hr=3)"


class Caller:
    """One signed-in client of one version of the service."""

    def __init__(self, simulator: sap.Simulator, version: int) -> None:
        root = simulator.v2_url if version == 2 else simulator.v4_url
        self.simulator, self.version = simulator, version
        self.http = httpx.Client(base_url=root, auth=(sap.USER, sap.PASSWORD), trust_env=False, timeout=10)
        self.http.headers["x-csrf-token"] = self.http.get("", headers={"x-csrf-token": "Fetch"}).headers["x-csrf-token"]

    def rows(self, path: str, **options: str) -> list[dict[str, Any]]:
        """The records of a page."""
        found = self.http.get(path, params=options).raise_for_status().json()
        rows: list[dict[str, Any]] = found["d"]["results"] if self.version == 2 else found["value"]
        return rows

    def record(self, path: str) -> tuple[dict[str, Any], str]:
        """A record and its version."""
        answer = self.http.get(path).raise_for_status()
        return answer.json()["d"] if self.version == 2 else answer.json(), answer.headers["etag"]

    def change(self, path: str, etag: str, **values: Any) -> httpx.Response:
        """A change of a record."""
        return self.http.request("MERGE" if self.version == 2 else "PATCH", path, json=values, headers={"if-match": etag})

    def batch(self, *operations: tuple[str, str, str, str], prefer: str = "") -> httpx.Response:
        """A multipart batch of one changeset: method, path, If-Match and body of each."""
        inner = "".join(
            f"--c\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n{method} {path} HTTP/1.1\r\n"
            f"Content-Type: application/json\r\nIf-Match: {etag}\r\n\r\n{body}\r\n"
            for number, (method, path, etag, body) in enumerate(operations, 1)
        )
        body = f"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n{inner}--c--\r\n--b--\r\n"
        return self.http.post("$batch", content=body, headers={"content-type": "multipart/mixed; boundary=b", "prefer": prefer})


@pytest.fixture(scope="module")
def reading() -> Iterator[sap.Simulator]:
    """One that no test changes."""
    with sap.running(SMALL) as simulator:
        yield simulator


@pytest.fixture
def simulator() -> Iterator[sap.Simulator]:
    with sap.running(SMALL) as simulator:
        yield simulator


@pytest.fixture(params=[2, 4])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def caller(reading: sap.Simulator, version: int) -> Iterator[Caller]:
    made = Caller(reading, version)
    with closing(made.http):
        yield made


@pytest.fixture
def writer(simulator: sap.Simulator, version: int) -> Iterator[Caller]:
    made = Caller(simulator, version)
    with closing(made.http):
        yield made


def test_both_versions_describe_the_same_sets(caller: Caller) -> None:
    root = fromstring(caller.http.get("$metadata").raise_for_status().content)
    sets = [each.get("Name") for each in root.iter() if each.tag.endswith("}EntitySet")]
    listed = caller.http.get("").json()
    assert sets == (listed["d"]["EntitySets"] if caller.version == 2 else [each["name"] for each in listed["value"]])
    text = caller.http.get("$metadata").text
    assert 'label="Credit limit"' in text if caller.version == 2 else 'String="Credit limit"' in text


def test_pages_follow_each_other_and_the_last_full_one_links_to_an_empty_one(caller: Caller) -> None:
    link, pages = "Z_MaterialPlanningHour?$select=hr", []
    while link:
        found = caller.http.get(link).raise_for_status().json()
        page = found["d"] if caller.version == 2 else found
        pages.append(len(page["results"] if caller.version == 2 else page["value"]))
        link = page.get("__next") or page.get("@odata.nextLink")
    assert pages == [10, 10, 10, 0]


def test_conditions_orders_and_counts_are_heeded(caller: Caller) -> None:
    v2 = caller.version == 2
    amount, text = ("5000M", "substringof('CRM-0000',BPExternalID)") if v2 else ("5000", "contains(BPExternalID,'CRM-0000')")
    rows = caller.rows("A_BusinessPartner", **{
        "$filter": f"{text} and (CreditLimit gt {amount} or not (CreditLimit gt {amount})) and Country ne 'XX'",
        "$orderby": "CreditLimit desc,BusinessPartner", "$top": "4", "$skip": "1",
    })  # fmt: skip
    limits = [Decimal(str(row["CreditLimit"])) for row in rows]
    assert len(limits) == 4
    assert limits == sorted(limits, reverse=True)
    counted = {"$inlinecount": "allpages"} if v2 else {"$count": "true"}
    found = caller.http.get("A_SalesOrder", params={"$top": "1", **counted}).json()
    assert int(found["d"]["__count"] if v2 else found["@odata.count"]) == 5
    assert caller.http.get("A_SalesOrder/$count").text == "5"
    there = caller.rows("A_SalesOrder", **{"$filter": "to_SoldToParty/Country eq 'XX'"})
    assert there == []


def test_child_records_come_with_their_parents(caller: Caller) -> None:
    options = (
        {"$expand": "to_Item/to_Product"} if caller.version == 2 else {"$expand": "to_Item($select=Material;$expand=to_Product)"}
    )
    for order in caller.rows("A_SalesOrder", **options):
        items = order["to_Item"]["results"] if caller.version == 2 else order["to_Item"]
        assert items
        assert all(item["to_Product"]["Product"] == item["Material"] for item in items)
    (first, *_) = caller.rows("A_SalesOrder('0000000001')/to_Item")
    assert first["SalesOrder"] == "0000000001"


def test_values_look_as_the_version_writes_them(caller: Caller) -> None:
    partner, _ = caller.record("A_BusinessPartner(BPExternalID='CRM-00003')")
    moment, limit = partner["LastChangeDateTime"], partner["CreditLimit"]
    assert moment.startswith("/Date(") if caller.version == 2 else moment.endswith("Z")
    assert isinstance(limit, str) == (caller.version == 2)
    exact = caller.http.get("A_BusinessPartner", headers={"accept": "application/json;IEEE754Compatible=true"}).text
    assert '"CreditLimit":"' in exact


def test_a_change_needs_the_version_that_it_was_made_from(writer: Caller) -> None:
    _, etag = writer.record(HOUR)
    assert writer.http.get(HOUR, headers={"if-none-match": etag}).status_code == 304
    changed = writer.change(HOUR, etag, PlannedDemandQuantity="12.500", DemandLevel="low")
    assert changed.status_code == (204 if writer.version == 2 else 200)
    stale = writer.change(HOUR, etag, DemandLevel="high")
    missing = writer.http.request("MERGE" if writer.version == 2 else "PATCH", HOUR, json={"DemandLevel": "high"})
    assert (stale.status_code, missing.status_code) == (412, 428)
    assert writer.record(HOUR)[0]["DemandLevel"] == "low"
    hidden = writer.http.post(HOUR, json={"DemandLevel": "mid"}, headers={"if-match": "*", "x-http-method": "PATCH"})
    assert hidden.is_success
    for wrong in ({"temp": "0.5"}, {"PlannedDemandQuantity": "1.2345"}, {"Nonsense": 1}, {"PlannedDemandQuantity": "many"}):
        assert writer.change(HOUR, "*", **wrong).status_code == 400


def test_a_token_holds_only_with_the_cookies_of_its_session(writer: Caller) -> None:
    token = writer.http.headers["x-csrf-token"]
    with httpx.Client(base_url=writer.http.base_url, auth=(sap.USER, sap.PASSWORD), trust_env=False) as stranger:
        refused = stranger.post("A_BusinessPartner", json={}, headers={"x-csrf-token": token})
    assert (refused.status_code, refused.headers["x-csrf-token"]) == (403, "Required")
    assert refused.headers["content-type"].startswith("text/plain")
    httpx.delete(f"{writer.simulator.url}/_sim/sessions", trust_env=False).raise_for_status()
    assert writer.change(HOUR, "*", DemandLevel="low").status_code == 403


def test_another_client_and_a_wrong_password_get_a_page(caller: Caller) -> None:
    for options, auth in (({"sap-client": "200"}, (sap.USER, sap.PASSWORD)), ({}, (sap.USER, "wrong"))):
        answer = caller.http.get("A_Product", params=options, auth=auth)
        assert (answer.status_code, answer.headers["content-type"][:9]) == (401, "text/html")
    assert caller.http.get("A_Product", params={"sap-client": "100"}).is_success


def test_an_app_signs_in_with_its_own_secret(caller: Caller) -> None:
    url = f"{caller.simulator.url}/sap/bc/sec/oauth2/token"
    form = {"grant_type": "client_credentials"}
    with httpx.Client(trust_env=False) as client:
        assert client.post(url, data=form, auth=(sap.CLIENT_ID, "wrong")).status_code == 401
        token = client.post(url, data=form, auth=(sap.CLIENT_ID, sap.CLIENT_SECRET)).json()["access_token"]
        place = str(caller.http.base_url.join("A_Product"))
        assert client.get(place, headers={"authorization": f"Bearer {token}"}).is_success
        assert client.get(place, headers={"authorization": "Bearer other"}).status_code == 401


def test_a_changeset_is_written_as_a_whole_or_not_at_all(writer: Caller) -> None:
    method = "MERGE" if writer.version == 2 else "PATCH"
    second = HOUR.replace("hr=3", "hr=4")
    failed = writer.batch((method, HOUR, "*", '{"DemandLevel": "low"}'), (method, second, '"stale"', '{"DemandLevel": "low"}'))
    assert failed.status_code == (202 if writer.version == 2 else 200)
    assert "412 Precondition" in failed.text
    assert "Content-ID: 2" in failed.text
    assert writer.record(HOUR)[0]["DemandLevel"] is None
    done = writer.batch((method, HOUR, "*", '{"DemandLevel": "low"}'), (method, second, "*", '{"DemandLevel": "high"}'))
    assert done.text.count("HTTP/1.1 20") == 2
    assert (writer.record(HOUR)[0]["DemandLevel"], writer.record(second)[0]["DemandLevel"]) == ("low", "high")


def test_records_are_created_with_their_children_and_upserted_by_another_key(writer: Caller) -> None:
    items = [{"Material": "LOCK-U", "RequestedQuantity": "2"}, {"Material": "HELMET-M", "RequestedQuantity": "1"}]
    order = {"SoldToParty": "0010100001", "to_Item": {"results": items} if writer.version == 2 else items}
    v2, v4 = ("requestid", "repeatabilitycreation"), ("repeatability-request-id", "repeatability-first-sent")
    name, time = v2 if writer.version == 2 else v4
    made = writer.http.post("A_SalesOrder", json=order, headers={name: "r1"})
    again = writer.http.post("A_SalesOrder", json=order, headers={name: "r1"})
    assert (made.status_code, again.headers["location"]) == (201, made.headers["location"])
    late = writer.http.post("A_SalesOrder", json=order, headers={name: "r1", time: "Mon, 04 May 2026 08:00:00 GMT"})
    assert (late.status_code, late.headers["repeatability-result"]) == (412, "rejected")
    assert [row["SalesOrderItem"] for row in writer.rows(f"{made.headers['location']}/to_Item")] == ["000010", "000020"]
    new = "A_BusinessPartner(BPExternalID='CRM-NEW')"
    headers = {"if-none-match": "*"}
    assert writer.http.patch(new, json={"Country": "DE"}, headers=headers).status_code == 201
    assert writer.http.patch(new, json={"Country": "FR"}, headers=headers).status_code == 412
    assert writer.record(new)[0]["Country"] == "DE"


def test_a_delta_link_tells_what_changed_and_what_is_gone(writer: Caller) -> None:
    def entries(document: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
        page = document["d"] if writer.version == 2 else document
        return page["results" if writer.version == 2 else "value"], page.get("__delta") or page["@odata.deltaLink"]

    first = writer.http.get("A_SalesOrder", headers={"prefer": "odata.track-changes"})
    assert first.headers["preference-applied"] == "odata.track-changes"
    rows, link = entries(first.json())
    assert len(rows) == 5
    assert writer.change("A_SalesOrder('0000000002')", "*", PurchaseOrderByCustomer="new").is_success
    assert writer.http.delete("A_SalesOrder('0000000003')", headers={"if-match": "*"}).status_code == 204
    told, link = entries(writer.http.get(link).raise_for_status().json())
    assert told[0]["PurchaseOrderByCustomer"] == "new"
    assert (told[1]["id"], told[1]["reason"]) == ("A_SalesOrder('0000000003')", "deleted")
    assert entries(writer.http.get(link).json())[0] == []


def test_faults_strike_a_key_at_its_nth_call_and_lose_an_answer_after_the_effect(writer: Caller) -> None:
    writer.simulator.system.faults.set([
        {"kind": "status", "status": 503, "retry_after": 7, "page": True, "entity": "A_Product", "nth": 2},
        {"kind": "drop", "after_commit": True, "entity": "Z_MaterialPlanningHour", "method": "P*"},
        {"kind": "drop", "after_commit": True, "entity": "Z_MaterialPlanningHour", "method": "MERGE"},
        {"kind": "lock", "entity": "A_BusinessPartner", "key": "0010100002"},
    ])  # fmt: skip
    assert writer.http.get("A_Product").is_success
    struck = writer.http.get("A_Product")
    assert (struck.status_code, struck.headers["retry-after"], struck.text[:15]) == (503, "7", "<!DOCTYPE html>")
    with pytest.raises(httpx.RemoteProtocolError):
        writer.change(HOUR, "*", DemandLevel="low")
    assert writer.record(HOUR)[0]["DemandLevel"] == "low"
    assert writer.change("A_BusinessPartner('0010100001')", "*", Country="DE").is_success
    locked = writer.change("A_BusinessPartner('0010100002')", "*", Country="DE")
    assert (locked.status_code, "locked by user" in locked.text) == (400, True)


def test_an_idoc_that_is_accepted_is_not_posted_yet(simulator: sap.Simulator) -> None:
    place = f"{simulator.url}/sap/bc/idoc_xml?sap-client=100"
    caller = Caller(simulator, 4)
    with closing(caller.http) as http:
        padded = IDOC.replace(b"</ORDERS05>", b"<!--%b--></ORDERS05>" % (b"x" * 10_000))
        assert http.post(place, content=padded, headers={"content-type": "text/xml"}).status_code == 200
        ((row),) = caller.rows("Z_IDocStatus")
        assert (row["Status"], row["Mestyp"], row["RefDocnum"]) == ("64", "ORDERS", "77")
        assert (row["Content"][:10], len(row["Content"])) == ("<ORDERS05>", 4_000)
        http.put(f"{simulator.url}/_sim/idocs/{row['Docnum']}", json={"status": "53"}).raise_for_status()
        assert caller.rows("Z_IDocStatus")[0]["StatusText"] == "Application document posted"
        for wrong in (b"<a/>", b"no xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'):
            assert http.post(place, content=wrong, headers={"content-type": "text/xml"}).status_code == 400
        refused = [{"kind": "refuse", "entity": "Z_IDocStatus", "key": "77", "page": True}]
        http.put(f"{simulator.url}/_sim/faults", json=refused).raise_for_status()
        assert http.post(place, content=IDOC, headers={"content-type": "text/xml"}).status_code == 400
        assert len(caller.rows("Z_IDocStatus")) == 1


def test_idocs_are_posted_as_they_come_where_the_system_is_told_to() -> None:
    with sap.running(replace(SMALL, posts_idocs=True)) as simulator:
        caller = Caller(simulator, 4)
        with closing(caller.http) as http:
            http.post(f"{simulator.url}/sap/bc/idoc_xml", content=IDOC, headers={"content-type": "text/xml"}).raise_for_status()
            assert [row["Status"] for row in caller.rows("Z_IDocStatus")] == ["53"]


def test_an_extractor_keeps_its_delta_links_in_a_set_of_their_own() -> None:
    things = sap.EntitySet("Things", (sap.Property("ID", nullable=False), sap.Property("name")), ("ID",))
    model = sap.Model(extracted(things))
    with sap.running(sap.Options(model=model)) as simulator:
        caller, store = Caller(simulator, 2), simulator.system.store
        with closing(caller.http) as http:
            for name in "ab":
                as_person(store, model.by_set["Things"], (name,), {"name": name})
            http.headers["prefer"] = "odata.track-changes"
            assert [row["ODQ_CHANGEMODE"] for row in caller.rows("Things")] == [None, None]
            with store.atomic():
                store.remove(model.by_set["Things"], ("a",))
            as_person(store, model.by_set["Things"], ("c",), {"name": "c"})
            (link,) = caller.rows("DeltaLinksOfThings")
            changes = caller.rows(link["ChangesAfter"]["__deferred"]["uri"])
            assert [(row["ID"], row["ODQ_CHANGEMODE"]) for row in changes] == [("a", "D"), ("c", "U")]
            assert len(caller.rows("DeltaLinksOfThings")) == 2


def test_the_page_shows_what_changed_first_and_a_person_may_change_a_record(writer: Caller) -> None:
    with httpx.Client(base_url=writer.simulator.url, trust_env=False) as person:
        assert "Simulated SAP system" in person.get("/").text
        assert writer.change(HOUR, "*", PlannedDemandQuantity="7").is_success
        shown = person.get("/_sim/records/Z_MaterialPlanningHour").json()["records"][0]
        assert (shown["key"], shown["values"]["PlannedDemandQuantity"]) == ("RENTAL-BIKE|1|3", "7.000")
        edited = person.patch("/_sim/records/Z_MaterialPlanningHour", params={"key": shown["key"]}, json={"temp": "0.25"})
        assert edited.json()["temp"] == "0.2500"
        refused = person.put("/_sim/faults", json=[{"kind": "nonsense"}])
        assert (refused.status_code, "kind is one of" in refused.text) == (400, True)


def test_a_file_keeps_records_with_their_versions_and_https_is_by_the_test_authority(tmp_path: Path) -> None:
    options, tls, seen = sap.Options(partners=2, orders=1, hours=5, state=tmp_path / "s4.db"), make_tls_files(tmp_path), []
    for _ in range(2):
        with sap.running(options, tls) as simulator:
            trusted = ssl.create_default_context(cafile=tls.authority)
            with httpx.Client(base_url=simulator.v4_url, auth=(sap.USER, sap.PASSWORD), verify=trusted, trust_env=False) as http:
                http.headers["x-csrf-token"] = http.get("", headers={"x-csrf-token": "fetch"}).headers["x-csrf-token"]
                seen.append((http.get(HOUR).json()["PlannedDemandQuantity"], http.get(HOUR).headers["etag"]))
                if len(seen) == 1:
                    changed = http.patch(HOUR, json={"PlannedDemandQuantity": 1.5}, headers={"if-match": "*"}).headers["etag"]
    assert seen[0][0] is None
    assert seen[1] == (1.5, changed)

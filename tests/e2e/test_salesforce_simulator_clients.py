"""simple-salesforce, as it is, over https against the simulated org."""

import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
import requests
from simple_salesforce import Salesforce, SalesforceMalformedRequest
from simple_salesforce.exceptions import (
    SalesforceExpiredSession,
    SalesforceMoreThanOneRecord,
    SalesforceRefusedRequest,
    SalesforceResourceNotFound,
)

from fieldline_simulators.salesforce import (
    CLIENT_ID,
    CLIENT_SECRET,
    INTEGRATION,
    Options,
    Simulator,
    TlsFiles,
    make_app_key,
    make_tls_files,
    running,
)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return make_tls_files(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def org(tls: TlsFiles, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.authority))
    with running(Options(leads=300, page_rows=120, bulk_rows=100), tls) as server:
        yield server


@pytest.fixture
def client(org: Simulator) -> Iterator[Salesforce]:
    with requests.Session() as session:
        yield Salesforce(instance_url=org.url, session_id=token(org), version="64.0", session=session)


def token(org: Simulator) -> str:
    """An access token by client credentials."""
    form = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    return str(requests.post(f"{org.url}/services/oauth2/token", data=form, timeout=30).json()["access_token"])


def test_a_signed_assertion_is_a_login(org: Simulator, tmp_path: Path) -> None:
    private = tmp_path / "app.key"
    org.org.apps[CLIENT_ID].certificate = make_app_key(private, tmp_path / "app.pub")
    claims = {"iss": CLIENT_ID, "sub": INTEGRATION, "aud": "https://login.salesforce.com", "exp": str(int(time.time()) + 180)}
    assertion = jwt.encode(claims, private.read_text(), algorithm="RS256")
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    answer = requests.post(f"{org.url}/services/oauth2/token", data=form, timeout=30).json()
    with requests.Session() as session:
        client = Salesforce(instance_url=answer["instance_url"], session_id=answer["access_token"], session=session)
        assert client.query("SELECT COUNT() FROM Lead")["totalSize"] == 300


def test_a_query_goes_on_page_by_page(client: Salesforce) -> None:
    first = client.query("SELECT Id, Name, Owner.Name FROM Lead ORDER BY Id")
    assert (first["totalSize"], len(first["records"]), first["done"]) == (300, 120, False)
    second = client.query_more(first["nextRecordsUrl"], identifier_is_url=True)
    assert len(second["records"]) == 120
    assert len({row["Id"] for row in client.query_all_iter("SELECT Id FROM Lead")}) == 300
    assert first["records"][0]["Owner"]["attributes"]["type"] == "User"


def test_records_are_created_changed_read_and_deleted(client: Salesforce) -> None:
    made = client.Lead.create({"LastName": "Curie", "Company": "Radium"})
    assert made["success"]
    assert client.Lead.update(made["id"], {"Fieldline_Score__c": 81.5, "Fieldline_Tier__c": "A"}) == 204
    found = client.Lead.get(made["id"])
    assert (found["Name"], found["Fieldline_Score__c"], found["Fieldline_Hot__c"]) == ("Curie", 81.5, True)
    assert client.Lead.delete(made["id"]) == 204
    with pytest.raises(SalesforceResourceNotFound, match="entity is deleted"):
        client.Lead.get(made["id"])


def test_an_upsert_creates_then_changes_and_refuses_to_choose(client: Salesforce) -> None:
    values = {"LastName": "Bohr", "Company": "Copenhagen"}
    assert client.Lead.upsert("Fieldline_Key__c/N%201%2F2", values) == 201
    assert client.Lead.upsert("Fieldline_Key__c/N%201%2F2", {"LastName": "Niels"}) == 200
    assert client.query("SELECT LastName FROM Lead WHERE Fieldline_Key__c = 'N 1/2'")["records"][0]["LastName"] == "Niels"
    for _ in range(2):
        client.Lead.create({**values, "Legacy_Key__c": "twice"})
    with pytest.raises(SalesforceMoreThanOneRecord):
        client.Lead.upsert("Legacy_Key__c/twice", {"LastName": "Which"})


def test_what_is_refused_says_why(client: Salesforce) -> None:
    with pytest.raises(SalesforceMalformedRequest, match="REQUIRED_FIELD_MISSING"):
        client.Lead.create({"FirstName": "No"})
    with pytest.raises(SalesforceMalformedRequest, match="No such column 'Nope__c' on sobject of type Lead"):
        client.Lead.create({"LastName": "X", "Company": "Y", "Nope__c": 1})
    with pytest.raises(SalesforceMalformedRequest, match="MALFORMED_QUERY"):
        client.query("SELECT Id FORM Lead")


def test_collections_write_many_and_give_receipts(client: Salesforce) -> None:
    records = [{"attributes": {"type": "Lead"}, "LastName": name, "Company": "C", "Fieldline_Key__c": name} for name in ("A", "B")]
    records.append({"attributes": {"type": "Lead"}, "LastName": "No company"})
    receipts = client.restful("composite/sobjects", method="POST", json={"allOrNone": False, "records": records})
    assert [each["success"] for each in receipts] == [True, True, False]
    assert receipts[2]["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    updates = [{"attributes": {"type": "Lead"}, "Fieldline_Key__c": name, "Fieldline_Score__c": 7} for name in ("A", "B")]
    receipts = client.restful("composite/sobjects/Lead/Fieldline_Key__c", method="PATCH", json={"records": updates})
    assert [each["created"] for each in receipts] == [False, False]


def test_bulk_ingest_writes_and_tells_what_failed(client: Salesforce) -> None:
    records = [{"Fieldline_Key__c": f"K{n}", "LastName": f'"L"\n{n}', "Company": "Ä, Ö"} for n in range(250)]
    records.append({"Fieldline_Key__c": "K250", "LastName": "no company", "Company": ""})
    done = client.bulk2.Lead.upsert(records=records, external_id_field="Fieldline_Key__c", wait=1)
    job = done[0]["job_id"]
    assert (done[0]["numberRecordsProcessed"], done[0]["numberRecordsFailed"]) == (251, 1)
    assert client.query("SELECT COUNT() FROM Lead WHERE Company = 'ä, ö'")["totalSize"] == 250
    assert "REQUIRED_FIELD_MISSING:Required fields are missing: [Company]:Company --" in client.bulk2.Lead.get_failed_records(job)
    assert client.bulk2.Lead.get_successful_records(job).count('"true"') == 250
    ids = [
        {"Id": row["Id"], "Fieldline_Score__c": "#N/A"}
        for row in client.query("SELECT Id FROM Lead WHERE IsConverted = false LIMIT 5")["records"]
    ]
    assert client.bulk2.Lead.update(records=ids, wait=1)[0]["numberRecordsFailed"] == 0


def test_bulk_query_comes_in_pages_with_a_locator(client: Salesforce) -> None:
    pages = list(client.bulk2.Lead.query("SELECT Id, Name, Owner.Username, CreatedDate FROM Lead", max_records=128, wait=1))
    assert [len(page.splitlines()) - 1 for page in pages] == [128, 128, 44]
    assert pages[0].splitlines()[0] == '"Id","Name","Owner.Username","CreatedDate"'
    assert ".000Z" in pages[0]


def test_objects_are_described_and_limits_told(client: Salesforce) -> None:
    fields = {each["name"]: each for each in client.Lead.describe()["fields"]}
    assert fields["Fieldline_Tier__c"]["restrictedPicklist"]
    assert [each["value"] for each in fields["Fieldline_Tier__c"]["picklistValues"]] == ["A", "B", "C", "D"]
    assert not fields["Fieldline_Hot__c"]["updateable"]
    assert {"Lead", "Account", "Web_Visit__c"} <= {each["name"] for each in client.describe()["sobjects"]}
    assert client.limits()["DailyApiRequests"]["Remaining"] < client.limits()["DailyApiRequests"]["Max"]
    assert client.api_usage["api-usage"].total == 100_000
    assert not client.is_sandbox()


def test_a_search_is_answered(client: Salesforce) -> None:
    made = client.Lead.create({"LastName": "Findling", "Company": "Unmistakable Stones"})
    assert [row["Id"] for row in client.search("FIND {Unmistakable}")["searchRecords"]] == [made["id"]]


def test_an_ended_session_and_a_spent_limit_are_said(org: Simulator, client: Salesforce) -> None:
    org.org.usage.limit = 0
    with pytest.raises(SalesforceRefusedRequest, match="TotalRequests Limit exceeded"):
        client.query("SELECT Id FROM Lead")
    org.org.usage.limit = 1000
    org.org.sessions.end_all()
    with pytest.raises(SalesforceExpiredSession, match="INVALID_SESSION_ID"):
        client.query("SELECT Id FROM Lead")

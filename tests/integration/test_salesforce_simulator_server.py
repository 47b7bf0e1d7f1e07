"""The simulated org as a server: logins, limits, bulk jobs, faults, and a state that outlives it."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from tests.command import Command
from tests.salesforce_calls import DATA, Calls, calls

from fieldline_simulators.salesforce import (
    CLIENT_ID,
    CLIENT_SECRET,
    INTEGRATION,
    Options,
    load_csv,
    make_app_key,
    open_org,
    running,
)

pytestmark = pytest.mark.soak

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.fixture
def org() -> Iterator[Calls]:
    with calls(leads=12) as made:
        yield made


def login(org: Calls, **form: str) -> httpx.Response:
    """What the token endpoint answers."""
    return org.http.post("/services/oauth2/token", data=form, headers={"authorization": ""})


def test_client_credentials_come_in_a_header_or_in_the_form(org: Calls) -> None:
    basic = httpx.BasicAuth(CLIENT_ID, CLIENT_SECRET)
    assert org.http.post("/services/oauth2/token", data={"grant_type": "client_credentials"}, auth=basic).status_code == 200
    answer = login(org, grant_type="client_credentials", client_id=CLIENT_ID, client_secret=CLIENT_SECRET).json()
    assert {"access_token", "instance_url", "id", "token_type", "issued_at", "signature", "scope"} == set(answer)
    who = httpx.get(
        f"{org.server.url}/services/oauth2/userinfo", headers={"authorization": f"Bearer {answer['access_token']}"}
    ).json()
    assert who["preferred_username"] == INTEGRATION
    assert httpx.get(answer["id"], params={"oauth_token": answer["access_token"]}).json()["user_id"] == who["user_id"]
    assert httpx.get(answer["id"], params={"oauth_token": "no"}).text == "Bad_OAuth_Token"


def test_a_login_that_is_refused_says_why(org: Calls) -> None:
    def said(**form: str) -> str:
        answer = login(org, **form)
        assert answer.status_code == 400
        return f"{answer.json()['error']}: {answer.json()['error_description']}"

    known = {"grant_type": "client_credentials", "client_id": CLIENT_ID}
    assert said(**known, client_secret="wrong") == "invalid_client: invalid client credentials"
    assert said(grant_type="client_credentials", client_id="no", client_secret="") == "invalid_client_id: client identifier invalid"
    org.server.org.apps[CLIENT_ID].run_as = ""
    assert said(**known, client_secret=CLIENT_SECRET) == "invalid_grant: no client credentials user enabled"
    assert (
        said(grant_type="refresh_token", client_id=CLIENT_ID, refresh_token="no") == "invalid_grant: expired access/refresh token"
    )
    assert said(grant_type="password", client_id=CLIENT_ID, client_secret=CLIENT_SECRET) == "invalid_grant: authentication failure"


def test_an_assertion_is_checked_in_every_part(org: Calls, tmp_path: Path) -> None:
    private = tmp_path / "app.key"
    app = org.server.org.apps[CLIENT_ID]
    app.certificate = make_app_key(private, tmp_path / "app.pub")
    make_app_key(tmp_path / "other.key", tmp_path / "other.pub")
    good = {"iss": CLIENT_ID, "sub": INTEGRATION, "aud": "https://test.salesforce.com", "exp": int(time.time()) + 100}

    def said(key: Path = private, algorithm: str = "RS256", **changed: Any) -> str:
        signed = jwt.encode({**good, **changed}, key.read_text(), algorithm=algorithm)
        answer = login(org, grant_type=JWT_BEARER, assertion=signed).json()
        return str(answer.get("error_description") or "good")

    assert said() == "good"
    assert said(aud=org.server.url) == "good"
    assert said(tmp_path / "other.key") == "invalid assertion"
    assert said(algorithm="RS512") == "invalid assertion"
    assert said(aud="https://evil.example") == "audience is invalid"
    assert said(exp=int(time.time()) - 5) == "expired authorization code"
    assert said(exp=int(time.time()) + 5000) == "invalid assertion"
    assert said(sub="nobody@example.com") == "user hasn't approved this consumer"
    assert said(iss="other") == "client identifier invalid"
    app.approved = ["someone@else.example"]
    assert said() == "user is not admin approved to access this app"
    org("PUT", "/_sim/behaviour", {"check_audience": True})
    assert said() == "audience is invalid"


def test_a_session_ends_when_it_is_told_or_unused() -> None:
    with calls(leads=0, session_s=3600) as org:
        ended = org("DELETE", "/_sim/sessions").json()
        answer = org("GET", "limits")
        assert (ended, answer.status_code) == ({"ended": 1}, 401)
        assert answer.json() == [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]


def test_the_limit_is_told_with_every_answer(org: Calls) -> None:
    org("PUT", "/_sim/usage", {"used": 8, "limit": 10})
    assert org("GET", "limits").headers["sforce-limit-info"] == "api-usage=9/10"
    assert org("GET", "sobjects/Nope").headers["sforce-limit-info"] == "api-usage=10/10"
    spent = org("GET", "limits")
    assert (spent.status_code, spent.json()[0]["errorCode"]) == (403, "REQUEST_LIMIT_EXCEEDED")


def test_describe_is_not_sent_twice(org: Calls) -> None:
    first = org("GET", "sobjects/Lead/describe")
    assert org("GET", "sobjects/Lead/describe", if_modified_since=first.headers["last-modified"]).status_code == 304
    found = org("GET", "ui-api/object-info/Lead/picklist-values/012000000000000AAA/Fieldline_Tier__c").json()
    assert [each["value"] for each in found["values"]] == ["A", "B", "C", "D"]


def test_a_page_of_a_query_is_as_it_was_when_the_query_began() -> None:
    with calls(leads=250) as org:
        first = org.http.get(
            f"{DATA}/query", params={"q": "SELECT Title FROM Lead"}, headers={"sforce-query-options": "batchSize=200"}
        ).json()
        last = org.query("SELECT Id FROM Lead WHERE IsConverted = false ORDER BY Id DESC LIMIT 1")[0]["Id"]
        org("PATCH", f"sobjects/Lead/{last}", {"Title": "changed meanwhile"})
        second = org("GET", first["nextRecordsUrl"]).json()
        assert (len(first["records"]), len(second["records"]), second["done"]) == (200, 50, True)
        assert "changed meanwhile" not in {row["Title"] for row in second["records"]}
        assert org("GET", f"{DATA}/query/0r8000-200").json()[0]["errorCode"] == "INVALID_QUERY_LOCATOR"


def test_an_ingest_job_goes_through_its_states(org: Calls) -> None:
    made = org("POST", "jobs/ingest", {"object": "Lead", "operation": "insert"}).json()
    assert (made["state"], made["apiVersion"], made["contentUrl"]) == (
        "Open",
        64.0,
        f"services/data/v64.0/jobs/ingest/{made['id']}/batches",
    )
    assert org("DELETE", f"jobs/ingest/{made['id']}").json()[0]["errorCode"] == "InvalidJobState"
    assert org("PUT", f"jobs/ingest/{made['id']}/batches", "LastName,Company\nA,B\n", content_type="text/csv").status_code == 201
    assert org("PUT", f"jobs/ingest/{made['id']}/batches", "x", content_type="text/csv").json()[0]["errorCode"] == "InvalidJobState"
    org("PATCH", f"jobs/ingest/{made['id']}", {"state": "UploadComplete"})
    done = org.ended(made["id"])
    assert (done["state"], done["numberRecordsProcessed"], done["numberRecordsFailed"]) == ("JobComplete", 1, 0)
    assert org("PATCH", f"jobs/ingest/{made['id']}", {"state": "Aborted"}).status_code == 400
    assert org("GET", "jobs/ingest").json()["records"][0]["id"] == made["id"]
    assert org("DELETE", f"jobs/ingest/{made['id']}").status_code == 204
    assert org("GET", f"jobs/ingest/{made['id']}").status_code == 404


def test_an_empty_cell_says_nothing_and_a_mark_empties(org: Calls) -> None:
    record = org.create(Title="kept", City="gone", Fieldline_Key__c="K")
    job = org.upload("Fieldline_Key__c,Title,City\nK,,#N/A\n", operation="upsert", externalIdFieldName="Fieldline_Key__c")
    org.ended(job)
    assert org("GET", f"jobs/ingest/{job}/successfulResults").text == (
        f'"sf__Id","sf__Created","Fieldline_Key__c","Title","City"\n"{record}","false","K","","#N/A"\n'
    )
    assert org.query(f"SELECT Title, City FROM Lead WHERE Id = '{record}'") == [{"Title": "kept", "City": None}]


UPLOADS = [
    ("Nope__c\nx\n", "InvalidBatch : Field name not found : Nope__c"),
    ("LastName,Company\r\nA,B\r\n", "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF"),
    ("\n", "InvalidBatch : Failed to parse CSV header. No data"),
]


@pytest.mark.parametrize(("csv", "words"), UPLOADS)
def test_an_upload_that_cannot_be_read_fails_the_job(org: Calls, csv: str, words: str) -> None:
    job = org.upload(csv, operation="insert")
    done = org.ended(job)
    assert (done["state"], done["errorMessage"]) == ("Failed", words)
    assert org("GET", f"jobs/ingest/{job}/failedResults").status_code == 200


def test_a_job_that_ends_half_way_gives_the_rest_back(org: Calls) -> None:
    org.faults({"kind": "fail_job", "object": "Lead"})
    job = org.upload("LastName,Company\n" + "".join(f"L{n},C\n" for n in range(500)), operation="insert")
    done = org.ended(job)
    assert (done["state"], done["numberRecordsProcessed"]) == ("Failed", 250)
    rest = org("GET", f"jobs/ingest/{job}/unprocessedrecords").text.splitlines()
    assert (rest[0], rest[1], len(rest)) == ('"LastName","Company"', '"L250","C"', 251)
    assert org("GET", f"jobs/ingest/{job}/unprocessedRecords").text.splitlines() == rest


def test_a_job_and_its_data_can_come_in_one_call(org: Calls) -> None:
    body = (
        '--B\r\nContent-Type: application/json\r\n\r\n{"object":"Lead","operation":"insert"}\r\n'
        "--B\r\nContent-Type: text/csv\r\n\r\nLastName,Company\nOne,Call\n\r\n--B--\r\n"
    )
    job = org("POST", "jobs/ingest", body, content_type='multipart/form-data; boundary="B"').json()["id"]
    assert org.ended(job)["state"] == "JobComplete"
    assert len(org.query("SELECT Id FROM Lead WHERE Company = 'Call'")) == 1


def test_a_bulk_query_refuses_what_bulk_cannot_do(org: Calls) -> None:
    for soql in ("SELECT COUNT(Id) FROM Lead", "SELECT Id, (SELECT Id FROM Tasks) FROM Lead", "SELECT Address FROM Lead"):
        assert org("POST", "jobs/query", {"operation": "query", "query": soql}).json()[0]["errorCode"] == "API_ERROR"
    job = org("POST", "jobs/query", {"operation": "query", "query": "SELECT Id, IsConverted, CreatedDate FROM Lead"}).json()
    assert job["state"] == "UploadComplete"
    assert org.ended(job["id"], "query")["numberRecordsProcessed"] == 12
    assert org("GET", f"/services/data/v63.0/jobs/query/{job['id']}/results").status_code == 409
    page = org("GET", f"jobs/query/{job['id']}/results?maxRecords=10")
    assert page.headers["sforce-numberofrecords"] == "10"
    last = org("GET", f"jobs/query/{job['id']}/results?locator={page.headers['sforce-locator']}")
    assert (last.headers["sforce-locator"], last.headers["sforce-numberofrecords"]) == ("null", "2")
    assert org("GET", f"jobs/query/{job['id']}/resultPages").json()["done"]


def test_faults_strike_the_nth_call_and_no_more(org: Calls) -> None:
    org.faults({"kind": "status", "status": 503, "path": "*/query", "nth": 2, "retry_after": 3})
    asked = [org.http.get(f"{DATA}/query", params={"q": "SELECT Id FROM Lead"}) for _ in range(3)]
    assert [each.status_code for each in asked] == [200, 503, 200]
    assert (asked[1].headers["retry-after"], asked[1].json()[0]["errorCode"]) == ("3", "SERVER_UNAVAILABLE")
    org.faults({"kind": "concurrent"}, {"kind": "expire"})
    assert org("GET", "limits").json()[0]["message"] == "ConcurrentRequests (Concurrent API Requests) Limit exceeded"
    assert org("PUT", "/_sim/faults", [{"kind": "nonsense"}]).status_code == 400


def test_an_answer_can_be_lost_after_the_commit(org: Calls) -> None:
    org.faults({"kind": "drop", "object": "Lead", "method": "POST", "after_commit": True})
    with pytest.raises(httpx.RemoteProtocolError):
        org("POST", "sobjects/Lead", {"LastName": "There", "Company": "C"})
    org.faults({"kind": "hold", "object": "Lead", "method": "PATCH"})
    record = org.query("SELECT Id, Title FROM Lead WHERE LastName = 'There'")[0]
    with pytest.raises(httpx.ReadTimeout):
        org.http.patch(f"{DATA}/sobjects/Lead/{record['Id']}", json={"Title": "x"}, timeout=0.2)
    assert org.query("SELECT Title FROM Lead WHERE LastName = 'There'") == [{"Title": None}]


def test_a_locked_row_and_half_a_batch_are_refused(org: Calls) -> None:
    ids = [org.create() for _ in range(4)]
    records = [{"attributes": {"type": "Lead"}, "id": each, "Title": "x"} for each in ids]
    org.faults({"kind": "lock", "record": ids[1]})
    receipts = org("PATCH", "composite/sobjects", {"records": records}).json()
    assert [each["success"] for each in receipts] == [True, False, True, True]
    assert receipts[1]["errors"][0] == {
        "statusCode": "UNABLE_TO_LOCK_ROW", "fields": [],
        "message": f"unable to obtain exclusive access to this record or 1 records: {ids[1]}",
    }  # fmt: skip
    org.faults({"kind": "half", "times": None, "code": "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "message": "trigger"})
    receipts = org("PATCH", "composite/sobjects", {"records": records}).json()
    assert [each["success"] for each in receipts] == [True, False, True, False]


def test_faults_at_a_rate_are_the_same_for_the_same_seed(org: Calls) -> None:
    def struck() -> list[int]:
        org.faults({"kind": "status", "path": "*/limits", "rate": 0.5, "times": None})
        return [org("GET", "limits").status_code for _ in range(20)]

    first = struck()
    assert struck() == first
    assert set(first) == {200, 503}


def test_a_state_file_keeps_everything(tmp_path: Path) -> None:
    options = Options(leads=6, state=tmp_path / "org.db")
    with running(options) as server:
        org = Calls(server)
        with closing(org.http):
            record = org.create(Fieldline_Score__c=5)
            org("POST", "/_sim/fields", {"object": "Lead", "name": "More__c", "type": "double"})
            job = org.upload(f"Id,More__c\n{record},1.0\n00Q000000000000AAA,1\n", operation="update")
            org.ended(job)
            used, latest = org("GET", "/_sim/status").json()["api_calls"]["used"], server.org.feed.latest
    with running(options) as server, closing(httpx.Client(base_url=server.url)) as again:
        headers = {"authorization": f"Bearer {org.token}"}
        found = again.get(f"{DATA}/sobjects/Lead/{record}", headers=headers).json()
        assert (found["Fieldline_Score__c"], found["More__c"]) == (5, 1)
        assert (server.org.feed.latest, server.org.usage.used(server.org.now())) == (latest, used + 1)
        assert "INVALID_CROSS_REFERENCE_KEY" in again.get(f"{DATA}/jobs/ingest/{job}/failedResults", headers=headers).text
        made = again.post(f"{DATA}/sobjects/Lead", json={"LastName": "L", "Company": "C"}, headers=headers).json()
        assert made["id"] > record


def test_a_bulk_job_goes_on_where_it_was_when_the_org_ended(tmp_path: Path) -> None:
    options = Options(leads=0, state=tmp_path / "org.db")
    with running(options) as server:
        org = Calls(server)
        with closing(org.http):
            job = org.upload("LastName,Company\n" + "".join(f"L{n},C\n" for n in range(3000)), operation="insert")
    with running(options) as server:
        again = Calls(server)
        with closing(again.http):
            assert again.ended(job)["numberRecordsProcessed"] == 3000
            names = {row["LastName"] for row in server.org.tables["Lead"].rows.values()}
            assert (len(server.org.tables["Lead"].rows), len(names)) == (3000, 3000)


def test_the_seed_makes_the_same_org_in_which_converting_can_be_learnt() -> None:
    def leads(seed: int) -> list[dict[str, Any]]:
        return [dict(row) for row in open_org(Options(seed=seed, leads=600)).tables["Lead"].rows.values()]

    first = leads(1)
    assert first == leads(1) != leads(2)
    decided = [row for row in first if row["Status"].startswith("Closed")]
    by = {
        source: [row["IsConverted"] for row in decided if row["LeadSource"] == source]
        for source in ("Partner Referral", "Purchased List")
    }
    share = {source: sum(won) / len(won) for source, won in by.items()}
    assert share["Partner Referral"] > share["Purchased List"] + 0.2


def test_records_come_from_csv_with_their_own_fields(org: Calls) -> None:
    csv = "LastName,Company,Weight__c,Colour__c\nA,B,1.5,red\nC,D,,\n"
    assert load_csv(org.server.org, "lead", csv) == 2
    assert org.query("SELECT Weight__c, Colour__c FROM Lead WHERE Company = 'B'") == [{"Weight__c": 1.5, "Colour__c": "red"}]
    refused = org("POST", "/_sim/csv/Lead", "LastName\nX\n", content_type="text/csv").json()[0]
    assert refused["message"].startswith("line 2: Required fields are missing: [Company]")


def test_the_page_shows_the_newest_score_first(org: Calls) -> None:
    assert "<title>Simulated org</title>" in org("GET", "/").text
    record = org.create()
    org("PATCH", f"sobjects/Lead/{record}", {"Fieldline_Score__c": 9, "Fieldline_Scored_At__c": "2026-01-01T00:00:00Z"})
    shown = org("GET", "/_sim/records/Lead").json()
    assert (shown["records"][0]["Id"], shown["total"]) == (record, 13)
    assert org("PATCH", f"/_sim/records/Lead/{record}", '{"Title":"x"}', content_type="text/plain").status_code == 415


def test_the_command_says_where_the_org_is_and_how_to_log_in(tmp_path: Path) -> None:
    log = tmp_path / "said"
    running_org = Command(tmp_path).start("simulate", "salesforce", "--leads", "6", "--https", "--keys", "keys", "--json", log=log)
    try:
        while not log.read_text().endswith("\n"):
            assert running_org.poll() is None, log.read_text()
        facts = json.loads(log.read_text())
        assert (tmp_path / facts["app_key"]).exists()
        answer = httpx.get(f"{facts['url']}/services/data", verify=_trusting(tmp_path / facts["authority"]))
        assert answer.json()[-1] == {"label": "Summer '26", "url": "/services/data/v67.0", "version": "67.0"}
    finally:
        running_org.terminate()
        running_org.wait()
    assert running_org.returncode == 0


def _trusting(authority: Path) -> Any:
    import ssl

    return ssl.create_default_context(cafile=str(authority))

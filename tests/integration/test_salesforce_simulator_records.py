"""Records of the simulated org: what is refused and in which words, upserts, collections, composite, rights."""

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest
from tests.salesforce_calls import DATA, Calls, calls

from fieldline_simulators.salesforce import RESTRICTED


@pytest.fixture
def org() -> Iterator[Calls]:
    with calls(leads=12) as made:
        yield made


READ_ONLY = (
    "Unable to create/update fields: {}. Please check the security settings of this field and verify that it is read/write "
    "for your profile or permission set."
)
REFUSED = [
    ({"Nope__c": 1}, "INVALID_FIELD", "No such column 'Nope__c' on sobject of type Lead", []),
    ({"Fieldline_Hot__c": True}, "INVALID_FIELD_FOR_INSERT_UPDATE", READ_ONLY.format("Fieldline_Hot__c"), ["Fieldline_Hot__c"]),
    ({"CreatedDate": "2026-01-01"}, "INVALID_FIELD_FOR_INSERT_UPDATE", READ_ONLY.format("CreatedDate"), ["CreatedDate"]),
    ({"LastName": None}, "REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]", ["LastName"]),
    ({"Company": "x" * 256}, "STRING_TOO_LONG", f"Company: data value too large: {'x' * 256} (max length=255)", ["Company"]),
    ({"Email": "nobody"}, "INVALID_EMAIL_ADDRESS", "Email: invalid email address: nobody", ["Email"]),
    ({"Fieldline_Tier__c": "E"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "Tier: bad value for restricted picklist field: E",
     ["Fieldline_Tier__c"]),
    ({"NumberOfEmployees": 1e9}, "NUMBER_OUTSIDE_VALID_RANGE",
     "Employees: value outside of valid range on numeric field: 1000000000.0",
     ["NumberOfEmployees"]),
    ({"AnnualRevenue": -1}, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "Annual Revenue cannot be negative.", ["AnnualRevenue"]),
    ({"OwnerId": "me"}, "MALFORMED_ID", "Owner ID: id value of incorrect type: me", ["OwnerId"]),
    ({"OwnerId": "005000000000000"}, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", ["OwnerId"]),
    ({"OwnerId": "001000000000000"}, "FIELD_INTEGRITY_EXCEPTION",
     "Owner ID: id value of incorrect type: 001000000000000AAA", ["OwnerId"]),
    ({"Id": "00Q000000000000"}, "INVALID_FIELD", "The Id field should not be specified in the sobject data.", ["Id"]),
]  # fmt: skip


@pytest.mark.parametrize(("values", "code", "message", "fields"), REFUSED)
def test_a_write_is_refused_in_salesforces_words(
    org: Calls, values: dict[str, Any], code: str, message: str, fields: list[str]
) -> None:
    record = org.create()
    for answer in (
        org("PATCH", f"sobjects/Lead/{record}", values),
        org("POST", "sobjects/Lead", {"LastName": "L", "Company": "C", **values}),
    ):
        assert answer.status_code == 400
        assert answer.json() == [{"message": message, "errorCode": code, "fields": fields}]


def test_a_value_of_the_wrong_type_is_a_parser_error(org: Calls) -> None:
    answer = org("PATCH", f"sobjects/Lead/{org.create()}", {"Fieldline_Score__c": "much"})
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "JSON_PARSER_ERROR")
    assert org("POST", "sobjects/Lead", "{broken", content_type="application/json").json()[0]["errorCode"] == "JSON_PARSER_ERROR"


def test_values_are_kept_in_one_form(org: Calls) -> None:
    record = org.create(Fieldline_Score__c="0.12345", Fieldline_Scored_At__c="2026-11-20T14:28:52.987+01:00", Description="")
    found = org("GET", f"sobjects/lead/{record[:15]}?fields=fieldline_score__c,Fieldline_Scored_At__c,Description").json()
    del found["attributes"]
    assert found == {"Fieldline_Score__c": 0.1235, "Fieldline_Scored_At__c": "2026-11-20T13:28:52.000+0000", "Description": None}


def test_what_is_not_there_is_not_found(org: Calls) -> None:
    assert org("GET", "sobjects/Lead/00Q000000000000AAA").status_code == 404
    assert org("GET", "sobjects/Nope/describe").json() == [
        {"message": "The requested resource does not exist", "errorCode": "NOT_FOUND"}
    ]
    assert org("PUT", "sobjects/Lead", {}).json()[0]["errorCode"] == "METHOD_NOT_ALLOWED"
    assert org("GET", "/services/data/v30.0/sobjects").status_code == 410
    gone = org.create()
    org("DELETE", f"sobjects/Lead/{gone}")
    assert org("PATCH", f"sobjects/Lead/{gone}", {}).json()[0]["errorCode"] == "ENTITY_IS_DELETED"


def test_a_converted_lead_takes_no_score(org: Calls) -> None:
    row = next(iter(org.server.org.tables["Lead"].rows.values()))
    org.server.org.tables["Lead"].put({**row, "IsConverted": True})
    answer = org("PATCH", f"sobjects/Lead/{row['Id']}", {"Fieldline_Score__c": 1})
    assert answer.json()[0] == {
        "message": "cannot reference converted lead",
        "errorCode": "CANNOT_UPDATE_CONVERTED_LEAD",
        "fields": [],
    }


def test_a_key_that_another_record_has_is_refused(org: Calls) -> None:
    first = org.create(Fieldline_Key__c="K")
    answer = org("POST", "sobjects/Lead", {"LastName": "L", "Company": "C", "Fieldline_Key__c": "k"}).json()[0]
    assert answer["errorCode"] == "DUPLICATE_VALUE"
    assert answer["message"] == f"duplicate value found: Fieldline_Key__c duplicates value on record with id: {first[:15]}"


def test_an_upsert_answers_201_200_and_300(org: Calls) -> None:
    path, values = "sobjects/Lead/Fieldline_Key__c/NEW%201/2", {"LastName": "L", "Company": "C"}
    made = org("PATCH", path, values)
    assert (made.status_code, made.json()["created"]) == (201, True)
    again = org("PATCH", path, values)
    assert (again.status_code, again.json()) == (200, {"id": made.json()["id"], "success": True, "errors": [], "created": False})
    assert org("PATCH", f"/services/data/v45.0/{path}", values).status_code == 204
    assert org("GET", path).json()["Fieldline_Key__c"] == "NEW 1/2"
    assert org("PATCH", "sobjects/Lead/Fieldline_Key__c/other?updateOnly=true", values).status_code == 404
    assert org("PATCH", "sobjects/Lead/Company/C", values).status_code == 404
    assert org("PATCH", path, {"Fieldline_Key__c": "NEW 1/2"}).json()[0]["errorCode"] == "INVALID_FIELD"
    ids = [org.create(Legacy_Key__c="two") for _ in range(2)]
    several = org("PATCH", "sobjects/Lead/Legacy_Key__c/two", values)
    assert (several.status_code, several.json()) == (300, [f"{DATA}/sobjects/Lead/{each}" for each in ids])


def test_a_lead_of_a_task_stands_alone(org: Calls) -> None:
    lead, account = org.create(), org.create("Account", Name="A")
    refused = org("POST", "sobjects/Task", {"Subject": "s", "WhoId": lead, "WhatId": account}).json()
    assert refused[0]["errorCode"] == "FIELD_INTEGRITY_EXCEPTION"
    assert org.create("Task", Subject="s", WhoId=lead)
    post = org("POST", "chatter/feed-elements", {"subjectId": lead, "body": {"messageSegments": [{"type": "Text", "text": "Hot"}]}})
    assert (post.status_code, post.json()["body"]["text"]) == (201, "Hot")


def test_a_record_is_changed_only_as_it_was_read(org: Calls) -> None:
    record = org.create()
    read = org("GET", f"sobjects/Lead/{record}")
    assert org("GET", f"sobjects/Lead/{record}", if_none_match=read.headers["etag"]).status_code == 304
    assert org("PATCH", f"sobjects/Lead/{record}", {"Title": "x"}, if_match='"another"').status_code == 412
    assert org("PATCH", f"sobjects/Lead/{record}", {"Title": "x"}, if_match=read.headers["etag"]).status_code == 204
    assert (
        org("PATCH", f"sobjects/Lead/{record}", {"Title": "y"}, if_unmodified_since="Thu, 01 Jan 2026 00:00:00 GMT").status_code
        == 412
    )


def test_a_collection_is_answered_record_by_record(org: Calls) -> None:
    good, typed = org.create(), {"attributes": {"type": "Lead"}}
    records = [
        {**typed, "id": good, "Title": "a"},
        {**typed, "id": "00Q000000000000AAA"},
        {**typed, "id": good, "Title": "b"},
        {**typed},
    ]
    answer = org("PATCH", "composite/sobjects", {"allOrNone": False, "records": records})
    assert answer.status_code == 200
    codes = [each["success"] or each["errors"][0]["statusCode"] for each in answer.json()]
    assert codes == [True, "INVALID_CROSS_REFERENCE_KEY", "DUPLICATE_VALUE", "MISSING_ARGUMENT"]
    rolled = org(
        "PATCH", "composite/sobjects", {"allOrNone": True, "records": [{**typed, "id": good, "Title": "c"}, records[1]]}
    ).json()
    assert [each["errors"][0]["statusCode"] for each in rolled] == [
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "INVALID_CROSS_REFERENCE_KEY",
    ]
    assert org.query(f"SELECT Title FROM Lead WHERE Id = '{good}'") == [{"Title": "a"}]
    many = org("POST", "composite/sobjects", {"records": [typed] * 201})
    assert (many.status_code, many.json()[0]["errorCode"]) == (400, "EXCEEDED_ID_LIMIT")
    read = org("POST", "composite/sobjects/Lead", {"ids": [good, "00Q000000000000AAA"], "fields": ["Id", "title"]}).json()
    assert (read[0]["Title"], read[1]) == ("a", None)
    deleted = org("DELETE", f"composite/sobjects?ids={good},00Q000000000000AAA").json()
    assert [each["success"] or each["errors"][0]["statusCode"] for each in deleted] == [True, "INVALID_CROSS_REFERENCE_KEY"]


def test_a_collection_upserts_by_key(org: Calls) -> None:
    for _ in range(2):
        org.create(Legacy_Key__c="two")
    records = [
        {"attributes": {"type": "Lead"}, "Legacy_Key__c": key, "LastName": "n", "Company": "c"} for key in ("one", "two", "one")
    ]
    answer = org("PATCH", "composite/sobjects/Lead/Legacy_Key__c", {"records": records}).json()
    assert answer[0]["created"] is True
    assert [each["errors"][0]["statusCode"] for each in answer[1:]] == ["DUPLICATE_EXTERNAL_ID", "DUPLICATE_VALUE"]


def test_composite_requests_refer_to_one_another_and_fall_together(org: Calls) -> None:
    def ask(stage: str) -> list[dict[str, Any]]:
        parts = [
            {"method": "POST", "url": f"{DATA}/sobjects/Account", "referenceId": "a", "body": {"Name": "New"}},
            {"method": "GET", "url": f"{DATA}/sobjects/Account/@{{a.id}}?fields=Name", "referenceId": "b"},
            {"method": "POST", "url": f"{DATA}/sobjects/Opportunity", "referenceId": "c",
             "body": {"Name": "@{b.Name} deal", "AccountId": "@{a.id}", "CloseDate": "2026-01-01", "StageName": stage}},
        ]  # fmt: skip
        return list(org("POST", "composite", {"allOrNone": True, "compositeRequest": parts}).json()["compositeResponse"])

    assert [part["httpStatusCode"] for part in ask("Prospecting")] == [201, 200, 201]
    failed = ask("")
    assert [part["httpStatusCode"] for part in failed] == [400, 400, 400]
    assert [part["body"][0]["errorCode"] for part in failed] == ["PROCESSING_HALTED", "PROCESSING_HALTED", "REQUIRED_FIELD_MISSING"]
    assert org.query("SELECT Name FROM Opportunity WHERE Name = 'New deal'") == [{"Name": "New deal"}]
    assert len(org.query("SELECT Id FROM Account WHERE Name = 'New'")) == 1


def test_batches_and_trees(org: Calls) -> None:
    parts = [{"method": "GET", "url": "v64.0/limits"}, {"method": "GET", "url": "v64.0/sobjects/Nope"}]
    answer = org("POST", "composite/batch", {"batchRequests": parts}).json()
    assert (answer["hasErrors"], [each["statusCode"] for each in answer["results"]]) == (True, [200, 404])
    child = {"attributes": {"type": "Contact", "referenceId": "c"}, "LastName": "Child"}
    root = {"attributes": {"type": "Account", "referenceId": "r"}, "Name": "Root", "Contacts": {"records": [child]}}
    planted = org("POST", "composite/tree/Account", {"records": [root]})
    assert (planted.status_code, [each["referenceId"] for each in planted.json()["results"]]) == (201, ["r", "c"])
    assert org.query("SELECT Account.Name FROM Contact WHERE LastName = 'Child'")[0]["Account"]["Name"] == "Root"
    bad = org("POST", "composite/tree/Account", {"records": [root, {"attributes": {"referenceId": "x"}}]})
    assert (bad.status_code, bad.json()["hasErrors"], bad.json()["results"][0]["referenceId"]) == (400, True, "x")
    assert len(org.query("SELECT Id FROM Account WHERE Name = 'Root'")) == 1


def test_a_user_sees_and_writes_what_field_level_security_allows(org: Calls) -> None:
    restricted = Calls(org.server, RESTRICTED)
    with closing(restricted.http):
        names = {each["name"]: each for each in restricted("GET", "sobjects/Lead/describe").json()["fields"]}
        assert "Fieldline_Reason__c" not in names
        assert not names["Fieldline_Tier__c"]["updateable"]
        record = org.create()
        hidden = restricted("PATCH", f"sobjects/Lead/{record}", {"Fieldline_Reason__c": "x"}).json()[0]
        assert hidden["message"] == "No such column 'Fieldline_Reason__c' on sobject of type Lead"
        readable = restricted("PATCH", f"sobjects/Lead/{record}", {"Fieldline_Tier__c": "A"}).json()[0]
        assert readable["errorCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"
        assert restricted.refused("SELECT Fieldline_Reason__c FROM Lead")[0] == "INVALID_FIELD"
        assert "Fieldline_Reason__c" not in restricted("GET", f"sobjects/Lead/{record}").json()
        org("PUT", f"/_sim/users/{RESTRICTED}/access", {"fields": {"Lead.Fieldline_Reason__c": "edit"}})
        assert restricted("PATCH", f"sobjects/Lead/{record}", {"Fieldline_Reason__c": "x"}).status_code == 204
        org("PUT", f"/_sim/users/{RESTRICTED}/access", {"api_enabled": False})
        assert restricted("GET", "limits").json()[0]["errorCode"] == "API_DISABLED_FOR_ORG"


def test_assignment_and_duplicate_rules_heed_their_headers(org: Calls) -> None:
    org("PUT", "/_sim/behaviour", {"assignment_rule": True, "duplicate_rule": True})
    record = org.create(Email="a@b.example")
    owner = org.query(f"SELECT OwnerId FROM Lead WHERE Id = '{record}'")
    org("PATCH", f"sobjects/Lead/{record}", {"Title": "x"}, sforce_auto_assign="FALSE")
    assert org.query(f"SELECT OwnerId FROM Lead WHERE Id = '{record}'") == owner
    org("PATCH", f"sobjects/Lead/{record}", {"Title": "x"})
    assert org.query(f"SELECT OwnerId FROM Lead WHERE Id = '{record}'") != owner
    again = {"LastName": "L", "Company": "C", "Email": "a@b.example"}
    refused = org("POST", "sobjects/Lead", again).json()[0]
    assert (refused["errorCode"], refused["duplicateResult"]["matchResults"][0]["size"]) == ("DUPLICATES_DETECTED", 1)
    assert org("POST", "sobjects/Lead", again, sforce_duplicate_rule_header="allowSave=true").status_code == 201


def test_each_commit_is_in_the_event_log(org: Calls) -> None:
    before = org.server.org.feed.latest
    assert not org.server.org.feed.wait(before, 0)
    record = org.create()
    assert org.server.org.feed.wait(before, 0)
    org("PATCH", f"sobjects/Lead/{record}", {"Title": "x", "Company": "Test"}, sforce_call_options="client=fieldline")
    org("PATCH", f"/_sim/records/Lead/{record}", {"Title": None})
    org("DELETE", f"sobjects/Lead/{record}")
    changes = org.server.org.feed.read(before)
    assert [each.kind for each in changes] == ["CREATE", "UPDATE", "UPDATE", "DELETE"]
    assert {*changes[1].values} == {"Title", "LastModifiedDate"}
    assert changes[2].values["Title"] is None
    assert [each.origin for each in changes[:3]] == [
        "com/salesforce/api/rest/64.0",
        "com/salesforce/api/rest/64.0;client=fieldline",
        "",
    ]
    assert [each["position"] for each in org("GET", f"/_sim/changes?after={before}").json()["changes"]] == [
        c.position for c in changes
    ]
    assert all(one.position < other.position for one, other in pairwise(changes))
    org("POST", "/_sim/changes/forget", {"until": changes[0].position})
    assert org("GET", f"/_sim/changes?after={before}").json()[0]["errorCode"] == "EXPIRED"

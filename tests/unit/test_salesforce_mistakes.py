"""An administrator's mistakes, each with the sentence that says what to change."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from fieldline_connectors.salesforce import SalesforceConfig, SalesforceQuery, SalesforceTarget
from fieldline_connectors.salesforce.auth import refusal
from fieldline_connectors.salesforce.choices import narrowed, unlisted
from fieldline_connectors.salesforce.describe import ObjectInfo, object_info
from fieldline_connectors.salesforce.errors import MEANINGS, Fault, Kind, job_fault, translated
from fieldline_connectors.salesforce.fit import misfits
from fieldline_connectors.salesforce.org import Org
from fieldline_connectors.salesforce.plan import Reading
from fieldline_core.errors import FieldlineError, Misconfigured, Rejected, Unavailable
from fieldline_core.findings import Severity
from fieldline_core.schema import FieldType

LOGIN = {"flow": "client_credentials", "client_id": "app", "client_secret": {"secret": "env:S"}}
SECRET = {"secret": "env:S"}


@pytest.mark.parametrize(
    ("error", "description", "sentence"),
    [
        ("invalid_grant", "user hasn't approved this consumer", "Admin approved users are pre-authorized"),
        ("invalid_app_access", "user is not admin approved to access this app", "under Policies add its permission set"),
        ("invalid_grant", "audience is invalid", "for a sandbox `url` is its own address"),
        ("invalid_grant", "invalid assertion", "`private_key` does not belong to the certificate"),
        ("invalid_grant", "expired authorization code", "a certificate that has not expired"),
        ("invalid_grant", "no client credentials user enabled", "set 'Run As'"),
        ("invalid_grant", "request not supported on this domain", "give its My Domain"),
        ("invalid_client_id", "client identifier invalid", "one of production is unknown in a sandbox"),
        ("invalid_client", "invalid client credentials", "copy both again"),
        ("invalid_grant", "authentication failure", "check `username`"),
        ("inactive_user", "user is inactive", "activate it"),
        ("something_new", "Jane", "refused to sign us in [something_new]"),
    ],
)
def test_a_refused_login_says_what_to_change(error: str, description: str, sentence: str) -> None:
    assert sentence in refusal(error, description)


@pytest.mark.parametrize(
    ("status", "code", "message", "fields", "kind", "sentence"),
    [
        (400, "INVALID_FIELD", "No such column 'Scroe__c' on entity 'Lead'. If you are …", [], Misconfigured,
         "the field Scroe__c does not exist, or the integration user may not see it"),
        (400, "INVALID_FIELD_FOR_INSERT_UPDATE", "Unable to create/update fields: X__c. Please check …", ["X__c"], Misconfigured,
         "may not write the field X__c: give it Edit access"),
        (400, "INVALID_TYPE", "sObject type 'Leed' is not supported.", [], Misconfigured, "check its API name"),
        (404, "NOT_FOUND", "The requested resource does not exist", [], Misconfigured, "check the API names and api_version"),
        (403, "API_DISABLED_FOR_ORG", "API is not enabled", [], Misconfigured, "'API Enabled'"),
        (401, "INVALID_SESSION_ID", "Session expired or invalid", [], Misconfigured, "session policies"),
        (403, "TXN_SECURITY_METERING_ERROR", "We can't complete the action", [], Misconfigured, "exempt the integration user"),
        (400, "MALFORMED_QUERY", "unexpected token: Jane", [], Misconfigured, "correct its WHERE"),
        (403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", [], Unavailable, "daily API calls are used up"),
        (400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access", [], Unavailable, "locked by another change"),
        (400, "API_ERROR", "Implementation restriction", [], Misconfigured, "raise bulk_read_from"),
        (400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]", ["LastName"], Rejected,
         "the required field LastName is missing"),
    ],
)  # fmt: skip
def test_a_refused_request_says_what_to_change(
    status: int, code: str, message: str, fields: list[str], kind: type[FieldlineError], sentence: str
) -> None:
    body = [{"errorCode": code, "message": message, "fields": fields}]
    found = translated(httpx.Response(status, json=body, request=httpx.Request("GET", "https://acme.my.salesforce.com/")), "acme")
    assert type(found) is kind
    assert sentence in str(found)
    assert "Jane" not in str(found)


@pytest.mark.parametrize(
    ("code", "message", "fields", "sentence"),
    [
        ("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "Tier: bad value: Jane", ["Tier__c"], "pick list Tier__c"),
        ("STRING_TOO_LONG", "Reason: data value too large: Jane", ["Reason__c"], "too long for Reason__c"),
        ("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", [], "IsConverted = false"),
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "A score is 0 to 100.", [], "A score is 0 to 100."),
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "Score of j@x.org is 5", [], "a validation rule refuses it ["),
        ("DUPLICATE_EXTERNAL_ID", "more than one record found: Jane", [], "make the field unique"),
        ("ENTITY_IS_DELETED", "entity is deleted", [], "was deleted"),
        ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "LeadTrigger: Jane", [], "a trigger or flow"),
        ("NEVER_HEARD_OF", "Jane", ["Jane Doe"], "the org refuses it [NEVER_HEARD_OF]"),
    ],
)  # fmt: skip
def test_a_refused_record_says_what_to_change(code: str, message: str, fields: list[str], sentence: str) -> None:
    words = Fault(code, message, tuple(fields)).words
    assert sentence in words
    assert "Jane" not in words
    assert "j@x.org" not in words


def test_bulk_errors_are_understood_by_their_code() -> None:
    assert job_fault("UNABLE_TO_LOCK_ROW:unable to obtain exclusive access:--").meaning.kind is Kind.LOCK
    assert "LastName" in job_fault("REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --").words
    assert "X__c" in job_fault("InvalidBatch : Field name not found : X__c").words


def test_every_meaning_is_a_sentence_that_fills_in() -> None:
    for code, meaning in MEANINGS.items():
        assert "{" not in meaning.words.format(fields="F__c"), code


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"login": {"flow": "password", "username": "u", "password": SECRET}}, "External Client App"),
        ({"login": LOGIN, "password": SECRET}, "External Client App"),
        ({"login": {"flow": "soap"}}, "External Client App"),
        ({"login": LOGIN, "url": "https://login.salesforce.com"}, "My Domain"),
        ({"login": {**LOGIN, "client_secret": "plain"}}, "reference"),
        ({"login": LOGIN, "api_version": "64"}, "pattern"),
    ],
)
def test_a_wrong_connection_says_what_to_change(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        SalesforceConfig.model_validate({"url": "https://acme.my.salesforce.com", **settings})


@pytest.mark.parametrize(
    ("url", "audience"),
    [
        ("https://acme.my.salesforce.com", "https://login.salesforce.com"),
        ("https://acme--uat.sandbox.my.salesforce.com", "https://test.salesforce.com"),
        ("https://test.salesforce.com", "https://test.salesforce.com"),
    ],
)
def test_a_sandbox_has_its_own_audience(url: str, audience: str) -> None:
    login = {"flow": "jwt_bearer", "client_id": "app", "username": "u", "private_key": SECRET}
    assert SalesforceConfig.model_validate({"url": url, "login": login}).audience == audience


@pytest.fixture
def lead() -> ObjectInfo:
    text = {"type": "string", "length": 80, "createable": True, "updateable": True}
    return object_info({"name": "Lead", "fields": [
        {"name": "Id", "type": "id"},
        {"name": "Score__c", "type": "double", "createable": True, "updateable": True},
        {"name": "Formula__c", "type": "double", "calculated": True},
        {"name": "CreatedDate", "type": "datetime"},
        {"name": "Tier__c", "type": "picklist", "restrictedPicklist": True, "createable": True, "updateable": True,
         "picklistValues": [{"value": "A", "active": True}, {"value": "B", "active": True}]},
        {"name": "Ext__c", "externalId": True, **text},
        {"name": "Key__c", "externalId": True, "unique": True, **text},
        {"name": "Address", "type": "address"},
    ]})  # fmt: skip


@pytest.mark.parametrize(
    ("target", "given", "sentence"),
    [
        ({"fields": {"Scroe__c": "f"}}, {}, "may not see it"),
        ({"fields": {"Scroe__c": "f"}}, {}, "Did you mean 'Score__c'?"),
        ({"fields": {"Formula__c": "f"}}, {}, "is a formula"),
        ({"fields": {"CreatedDate": "f"}}, {}, "read-only for the integration user"),
        ({"fields": {"Score__c": "f"}}, {"f": FieldType.TEXT}, "takes a number, and the mapping gives a text"),
        ({"fields": {"Score__c": "f"}, "key": "Nope__c"}, {}, "Nope__c of Lead does not exist"),
        ({"fields": {"Score__c": "f"}, "key": "Ext__c", "operation": "upsert"}, {}, "not a unique external id"),
        ({"fields": {"Address": "f"}}, {}, "several values at once"),
        ({"fields": {"Score__c": "f"}, "check_record": True}, {}, "Lead has no LastModifiedDate"),
    ],
)
def test_a_target_that_does_not_fit_says_what_to_change(
    lead: ObjectInfo, target: dict[str, Any], given: dict[str, FieldType], sentence: str
) -> None:
    made = SalesforceTarget.model_validate({"object": "Lead", **target})
    assert any(sentence in finding.message for finding in misfits(lead, made, given) if finding.severity is Severity.ERROR)


def test_what_may_be_refused_is_a_warning(lead: ObjectInfo) -> None:
    made = SalesforceTarget.model_validate({"object": "Lead", "fields": {"Ext__c": "f"}})
    found = list(misfits(lead, made, {"f": FieldType.TEXT}))
    assert [(finding.severity, "takes 80 characters" in finding.message) for finding in found] == [(Severity.WARNING, True)]


def test_a_target_that_fits_is_left_alone(lead: ObjectInfo) -> None:
    made = SalesforceTarget.model_validate({"object": "lead", "operation": "upsert", "key": "key__c", "fields": {"score__c": "f"}})
    assert list(misfits(lead, made, {"f": FieldType.NUMBER})) == []


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ({"fields": {}}, "at least 1"),
        ({"fields": {"Score c": "f"}}, "no API name"),
        ({"fields": {"Score__c": "f"}, "operation": "upsert"}, "external id"),
        ({"fields": {"Score__c": "f"}, "operation": "create"}, "marker"),
        ({"fields": {"Score__c": "f"}, "key": "score__c"}, "must differ"),
        ({"fields": {"Score__c": "f"}, "only_if": "Score__c"}, "belong to the operation create"),
        ({"fields": {"Score__c": "f"}, "check_record": True, "check_before": False}, "belongs to updates and upserts that check"),
    ],
)
def test_a_wrong_target_says_what_to_change(target: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        SalesforceTarget.model_validate({"object": "Lead", **target})


def test_what_is_compared_before_a_write_is_asked_for_when_reading() -> None:
    target = SalesforceTarget.model_validate({"object": "Lead", "fields": {"Score__c": "f"}})
    assert target.overwrites(SalesforceQuery(soql="SELECT Id FROM lead")) == ("Score__c", "LastModifiedDate")
    assert target.overwrites(SalesforceQuery(soql="SELECT Id FROM Contact")) == ()
    own = target.model_copy(update={"check_record": False})
    assert own.overwrites(SalesforceQuery(soql="SELECT Id FROM lead")) == ("Score__c",)
    assert target.model_copy(update={"check_before": False}).overwrites(SalesforceQuery(soql="SELECT Id FROM Lead")) == ()


class OrgOfOne(Org):
    """An org with one object."""

    def __init__(self, info: ObjectInfo) -> None:
        self._info = info

    def object(self, name: str) -> ObjectInfo:
        """The object."""
        return self._info

    def forget(self) -> None:
        """Does nothing."""


def test_what_only_a_comparison_needs_is_not_asked_of_an_object_that_does_not_have_it(lead: ObjectInfo) -> None:
    query = SalesforceQuery(soql="SELECT Id FROM Lead").reading(["Score__c", "LastModifiedDate"])
    assert Reading.of(query, OrgOfOne(lead)).flat == ("Score__c", "Id")
    with pytest.raises(Misconfigured, match="LastModifiedDate of Lead does not exist"):
        Reading.of(SalesforceQuery(soql="SELECT LastModifiedDate FROM Lead"), OrgOfOne(lead))


class OrgOfTypes(Org):
    """An org with a record type that takes A only, which counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def choices(self, info: ObjectInfo, record_type: str) -> Mapping[str, tuple[str, ...]]:
        """The values of the record type."""
        self.asked += 1
        return {field.name: ("A",) for field in info.fields.values() if field.choices}


def object_of(kind: str, **more: Any) -> ObjectInfo:
    """An object with one field and one record type."""
    return object_info({"name": "Lead", "fields": [{"name": "F__c", "type": kind, "createable": True, **more}],
                        "recordTypeInfos": [{"recordTypeId": "012", "name": "Partner", "available": True}]})  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "nillable", "text", "said"),
    [
        ("picklist", True, "A", []), ("picklist", True, "", []), ("picklist", False, "", ["error"]),
        ("picklist", True, "B", ["warning"]), ("picklist", True, "A;B", ["error"]), ("picklist", True, "Hot", ["error"]),
        ("multipicklist", True, "A;A", []), ("multipicklist", True, "A;B", ["warning"]), ("multipicklist", True, "", []),
        ("multipicklist", True, "A;Hot", ["error"]),
    ],
)  # fmt: skip
def test_a_pick_list_takes_what_it_lists_and_nothing_where_it_may_be_empty(
    kind: str, nillable: bool, text: str, said: list[str]
) -> None:
    values = [{"value": value, "active": True} for value in "AB"]
    info = object_of(kind, restrictedPicklist=True, nillable=nillable, picklistValues=values)
    mapped = SalesforceTarget.model_validate({"object": "Lead", "fields": {"F__c": "f"}})
    found = list(unlisted(OrgOfTypes(), info, mapped, {"f": frozenset({"A", text})}))
    assert [str(finding.severity) for finding in found] == said
    fixed = mapped.model_copy(update={"operation": "create", "fields": {}, "constants": {"F__c": text}})
    found = [finding for finding in misfits(info, fixed) if finding.path == "constants.F__c"]
    found += unlisted(OrgOfTypes(), info, fixed, {})
    assert [str(finding.severity) for finding in found] == said


def test_an_object_without_pick_lists_is_not_asked_for_them() -> None:
    org = OrgOfTypes()
    assert (narrowed(org, object_of("string")), org.asked) == ({}, 0)
    values = [{"value": value, "active": True} for value in "AB"]
    assert (narrowed(org, object_of("picklist", picklistValues=values)), org.asked) == ({"F__c": {"Partner": ("A",)}}, 1)

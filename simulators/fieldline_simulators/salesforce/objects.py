"""The objects of the simulated org: a sales department's standard ones, one custom object, and the fields that Fieldline fills."""

from typing import Any

from fieldline_simulators.salesforce.schema import Field, Row, Schema, SObject, computed, number, pick, reference, text

INDUSTRIES = "Manufacturing|Technology|Healthcare|Finance|Retail|Construction|Energy|Education"
SOURCES = "Web|Phone Inquiry|Partner Referral|Purchased List|Trade Show|Other"
STAGES = "Prospecting|Qualification|Needs Analysis|Proposal/Price Quote|Negotiation/Review|Closed Won|Closed Lost"
LEAD_STATUSES = "Open - Not Contacted|Working - Contacted|Closed - Converted|Closed - Not Converted"
TIERS = "A|B|C|D"

_SYSTEM: dict[str, Any] = {"createable": False, "updateable": False}


def _object(name: str, prefix: str, plural: str, *fields: Field, owned: bool = True, **more: Any) -> SObject:
    label = name.removesuffix("__c").replace("_", " ")
    head = [Field("Id", "id", label=f"{label} ID", length=18, id_lookup=True, **_SYSTEM)]
    owner = [reference("OwnerId", "User", "Owner", label="Owner ID")] if owned else []
    system = [
        Field("IsDeleted", "boolean", label="Deleted", default=False, **_SYSTEM),
        Field("CreatedDate", "datetime", label="Created Date", **_SYSTEM),
        reference("CreatedById", "User", "CreatedBy", label="Created By ID", **_SYSTEM),
        Field("LastModifiedDate", "datetime", label="Last Modified Date", **_SYSTEM),
        reference("LastModifiedById", "User", "LastModifiedBy", label="Last Modified By ID", **_SYSTEM),
        Field("SystemModstamp", "datetime", label="System Modstamp", **_SYSTEM),
    ]
    return SObject(name, prefix, label, plural, {each.name: each for each in (*head, *fields, *owner, *system)}, **more)


def _person_name(row: Row) -> str:
    return " ".join(part for part in (row.get("FirstName"), row.get("LastName")) if part)


def _address(row: Row) -> dict[str, Any] | None:
    parts = {name.lower(): row.get(name) for name in ("City", "State", "Country")}
    return parts if any(parts.values()) else None


def _score_fields() -> list[Field]:
    return [
        number("Fieldline_Score__c", 18, 4, label="Score"),
        pick("Fieldline_Tier__c", TIERS, label="Tier", restricted=True),
        text("Fieldline_Reason__c", label="Reason"),
        Field("Fieldline_Scored_At__c", "datetime", label="Scored At"),
        text("Fieldline_Model__c", 80, label="Model"),
        text("Fieldline_Key__c", 64, label="Key", external_id=True, unique=True, id_lookup=True),
        text("Legacy_Key__c", 64, external_id=True, id_lookup=True),
        computed("Fieldline_Hot__c", "boolean", lambda row: (row.get("Fieldline_Score__c") or 0) >= 80, label="Hot"),
    ]


def _lead() -> SObject:
    return _object(
        "Lead", "00Q", "Leads",
        text("LastName", 80, label="Last Name", required=True), text("FirstName", 40, label="First Name"),
        computed("Name", "string", _person_name, label="Full Name", length=121),
        text("Title", 128), text("Company", required=True),
        text("City", 40), text("State", 80, label="State/Province"), text("Country", 80), computed("Address", "address", _address),
        text("Phone", 40, type="phone"), text("Email", 80, type="email", id_lookup=True), text("Website", type="url"),
        text("Description", 32000, type="textarea"),
        pick("LeadSource", SOURCES, label="Lead Source"),
        pick("Status", LEAD_STATUSES, required=True, default="Open - Not Contacted"),
        pick("Industry", INDUSTRIES), pick("Rating", "Hot|Warm|Cold"),
        number("AnnualRevenue", 18, 0, type="currency", label="Annual Revenue"),
        number("NumberOfEmployees", 8, 0, type="int", label="Employees"),
        Field("HasOptedOutOfEmail", "boolean", label="Email Opt Out", default=False),
        Field("IsConverted", "boolean", label="Converted", default=False, **_SYSTEM),
        Field("ConvertedDate", "date", label="Converted Date", **_SYSTEM),
        reference("ConvertedAccountId", "Account", "ConvertedAccount", label="Converted Account ID", **_SYSTEM),
        pick("Interests__c", "Robots|Sensors|Software|Service", type="multipicklist"),
        *_score_fields(),
    )  # fmt: skip


def _account() -> SObject:
    return _object(
        "Account", "001", "Accounts",
        text("Name", label="Account Name", required=True), pick("Type", "Prospect|Customer|Partner|Other", label="Account Type"),
        reference("ParentId", "Account", "Parent", "ChildAccounts", label="Parent Account ID"),
        text("BillingCity", 40, label="Billing City"), text("BillingCountry", 80, label="Billing Country"),
        text("Phone", 40, type="phone"), text("Website", type="url"), pick("Industry", INDUSTRIES),
        text("AccountNumber", 40, label="Account Number"),
        number("AnnualRevenue", 18, 0, type="currency", label="Annual Revenue"),
        number("NumberOfEmployees", 8, 0, type="int", label="Employees"),
        pick("Rating", "Hot|Warm|Cold"), text("Description", 32000, type="textarea"), *_score_fields(),
    )  # fmt: skip


def _contact() -> SObject:
    return _object(
        "Contact", "003", "Contacts",
        reference("AccountId", "Account", "Account", "Contacts", label="Account ID"),
        text("LastName", 80, label="Last Name", required=True), text("FirstName", 40, label="First Name"),
        computed("Name", "string", _person_name, label="Full Name", length=121),
        text("Title", 128), text("Phone", 40, type="phone"), text("Email", 80, type="email", id_lookup=True),
        pick("LeadSource", SOURCES, label="Lead Source"), *_score_fields(),
    )  # fmt: skip


def _opportunity() -> SObject:
    chance = dict(zip(STAGES.split("|"), (10, 25, 40, 60, 80, 100, 0), strict=True))
    return _object(
        "Opportunity", "006", "Opportunities",
        reference("AccountId", "Account", "Account", "Opportunities", label="Account ID"),
        text("Name", 120, label="Opportunity Name", required=True),
        pick("StageName", STAGES, label="Stage", required=True), number("Amount", 18, 2, type="currency"),
        computed("Probability", "percent", lambda row: float(chance.get(row.get("StageName") or "", 10)), precision=3),
        computed("ExpectedRevenue", "currency", lambda row: (row.get("Amount") or 0) * chance.get(row["StageName"], 10) / 100,
                 label="Expected Amount", scale=2),
        Field("CloseDate", "date", label="Close Date", required=True),
        pick("Type", "New Customer|Existing Customer - Upgrade|Existing Customer - Replacement", label="Opportunity Type"),
        pick("LeadSource", SOURCES, label="Lead Source"),
        computed("IsClosed", "boolean", lambda row: (row.get("StageName") or "").startswith("Closed"), label="Closed"),
        computed("IsWon", "boolean", lambda row: row.get("StageName") == "Closed Won", label="Won"), *_score_fields(),
    )  # fmt: skip


def _activities() -> list[SObject]:
    who = reference("WhoId", "Contact|Lead", "Who", "Tasks", label="Name ID")
    what = reference("WhatId", "Account|Opportunity", "What", "Tasks", label="Related To ID")
    return [
        _object(
            "Task", "00T", "Tasks", text("Subject"), who, what, Field("ActivityDate", "date", label="Due Date Only"),
            pick("Status", "Not Started|In Progress|Completed|Waiting on someone else|Deferred", required=True,
            default="Not Started"),
            pick("Priority", "High|Normal|Low", required=True, default="Normal"), pick("TaskSubtype", "Task|Email|Call",
            default="Task"),
            text("Description", 32000, type="textarea"),
            computed("IsClosed", "boolean", lambda row: row.get("Status") == "Completed", label="Closed"),
            text("Fieldline_Key__c", 64, label="Key", external_id=True, unique=True, id_lookup=True),
        ),
        _object(
            "Event", "00U", "Events", text("Subject"), reference("WhoId", "Contact|Lead", "Who", "Events", label="Name ID"),
            reference("WhatId", "Account|Opportunity", "What", "Events", label="Related To ID"),
            Field("ActivityDateTime", "datetime", label="Due Date Time"), number("DurationInMinutes", 8, type="int"),
        ),
        _object(
            "Web_Visit__c", "a00", "Web Visits", text("Name", 80, label="Web Visit Name"),
            reference("Lead__c", "Lead", "Lead__r", "Web_Visits__r"), number("Pages__c", 6, 0), number("Seconds__c", 8, 0),
            Field("Visited_At__c", "datetime"), Field("Saw_Prices__c", "boolean", default=False),
        ),
        _object("FeedItem", "0D5", "Feed Items", reference("ParentId", "Account|Contact|Lead|Opportunity|Task|User", "Parent"),
                text("Body", 10000, type="textarea"), owned=False),
    ]  # fmt: skip


def standard_schema() -> Schema:
    """The objects of a new org."""
    user = _object(
        "User", "005", "Users", text("Username", 80, required=True, id_lookup=True, unique=True), text("LastName", 80),
        text("FirstName", 40), computed("Name", "string", _person_name, label="Full Name", length=121), text("Alias", 8),
        text("Email", 128, type="email"), Field("IsActive", "boolean", label="Active", default=True),
        owned=False, createable=False, deletable=False,
    )  # fmt: skip
    organization = _object(
        "Organization", "00D", "Organizations", text("Name", 80), text("InstanceName", 5), Field("IsSandbox", "boolean",
        default=False),
        Field("TrialExpirationDate", "datetime"), text("NamespacePrefix", 15), text("OrganizationType", 40),
        text("DefaultLocaleSidKey", 40), text("TimeZoneSidKey", 40),
        owned=False, createable=False, updateable=False, deletable=False,
    )  # fmt: skip
    record_type = _object(
        "RecordType", "012", "Record Types", text("Name", 80), text("DeveloperName", 80), text("SobjectType", 40),
        Field("IsActive", "boolean", default=True), owned=False, createable=False, updateable=False, deletable=False,
    )  # fmt: skip
    return Schema([_account(), _contact(), _lead(), _opportunity(), *_activities(), user, organization, record_type])

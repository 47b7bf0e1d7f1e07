"""Reading an org: typed fields, related records, lists, changes only, and many records by a bulk query."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import httpx
import polars as pl
import pytest
from tests.salesforce_org import SimulatedOrg, simulated_org

from fieldline_connectors.salesforce import Salesforce, SalesforceQuery, SalesforceTarget
from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.ports import Page
from fieldline_core.schema import FieldType
from fieldline_core.waiting import pages_of


@pytest.fixture(scope="module")
def org() -> Iterator[SimulatedOrg]:
    with simulated_org(leads=300, page_rows=70) as org:
        yield org


@pytest.fixture
def connector(org: SimulatedOrg) -> Iterator[Salesforce]:
    with closing(Salesforce(org.config())) as connector:
        yield connector


def read(connector: Salesforce, query: SalesforceQuery, after: Any = None, limit: int = 50) -> list[Page]:
    return list(pages_of(connector, query, after, limit))


def keys(pages: list[Page]) -> list[str]:
    return [key for page in pages for key in page.batch.keys]


def test_fields_have_the_types_that_the_org_says_even_where_all_are_empty(connector: Salesforce) -> None:
    soql = (
        "select lastname, AnnualRevenue, NumberOfEmployees, IsConverted, CreatedDate, ConvertedDate, Fieldline_Score__c from lead"
    )
    frame = next(connector.read(SalesforceQuery(soql=soql), None, 10)).batch.frame
    assert dict(frame.schema) == {
        "lastname": pl.String, "AnnualRevenue": pl.Float64, "NumberOfEmployees": pl.Int64, "IsConverted": pl.Boolean,
        "CreatedDate": pl.Datetime("us"), "ConvertedDate": pl.Date, "Fieldline_Score__c": pl.Float64,
    }  # fmt: skip
    assert frame["CreatedDate"].dtype.time_zone is None  # type: ignore[attr-defined]
    assert frame["CreatedDate"].max() < datetime.fromisoformat("2100-01-01")  # type: ignore[operator]


def test_related_records_and_lists_of_rows_come_with_their_record(org: SimulatedOrg, connector: Salesforce) -> None:
    soql = "SELECT Id, Owner.Name, (SELECT StageName, Amount FROM Opportunities) FROM Account"
    batch = next(connector.read(SalesforceQuery(soql=soql), None, 1000)).batch
    assert batch.frame["Owner.Name"].null_count() == 0
    counted = {
        each["AccountId"]: each["n"] for each in org.query("SELECT AccountId, COUNT(Id) n FROM Opportunity GROUP BY AccountId")
    }
    found = dict(zip(batch.keys, batch.frame["Opportunities"].list.len().fill_null(0), strict=True))
    assert {key: count for key, count in found.items() if count} == {key: count for key, count in counted.items() if key}
    assert batch.frame.schema["Opportunities"] == pl.List(pl.Struct({"StageName": pl.String, "Amount": pl.Float64}))


def test_only_the_fields_that_are_needed_are_asked_for(connector: Salesforce) -> None:
    query = SalesforceQuery(soql="SELECT Id, Email, Phone, (SELECT Subject FROM Tasks) FROM Lead").reading(
        {"Company", "Owner.Name"}
    )
    frame = next(connector.read(query, None, 5)).batch.frame
    assert frame.columns == ["Company", "Owner.Name"]


def test_a_bulk_query_reads_what_rest_reads(org: SimulatedOrg, connector: Salesforce) -> None:
    soql = "SELECT Id, LastName, Company, Description, AnnualRevenue, CreatedDate, IsConverted, Owner.Name FROM Lead"
    plain = read(connector, SalesforceQuery(soql=soql), limit=1000)[0].batch
    with closing(Salesforce(org.config(bulk_read_from=1))) as other:
        pages = read(other, SalesforceQuery(soql=soql), limit=100)
    bulk = pl.concat([page.batch.frame for page in pages])
    assert len(pages) > 2
    assert bulk.schema == plain.frame.schema
    assert bulk.sort("Id").equals(plain.frame.sort("Id"))


def test_a_bulk_query_resumes_in_the_same_job_and_not_where_that_is_gone(org: SimulatedOrg) -> None:
    query = SalesforceQuery(soql="SELECT Id, LastName FROM Lead")
    with closing(Salesforce(org.config(bulk_read_from=1))) as connector:
        pages = read(connector, query, limit=100)
        jobs = len(org.status()["jobs"])
        rest = read(connector, query, pages[0].after, limit=100)
        assert keys(pages[:1]) + keys(rest) == keys(pages)
        assert len(org.status()["jobs"]) == jobs
        org.admin("DELETE", f"/services/data/v64.0/jobs/query/{pages[0].after['job']}")
        # Read from the beginning in the same run, its records would be decided a second time.
        with pytest.raises(Rejected, match="run the flow again"):
            read(connector, query, pages[0].after, limit=100)
        assert sorted(keys(read(connector, query, {**pages[0].after, "locator": None}, limit=100))) == sorted(keys(pages))


def test_a_bulk_query_is_begun_once_asked_after_and_given_up() -> None:
    query = SalesforceQuery(soql="SELECT Id, LastName FROM Lead")
    with simulated_org(leads=5, bulk_s=600.0) as org, closing(Salesforce(org.config(bulk_read_from=1))) as connector:
        (begun,) = connector.read(query, None, 100)
        (still,) = connector.read(query, begun.after, 100)
        assert [(len(page.batch), page.after["job"]) for page in (begun, still)] == [(0, begun.after["job"])] * 2
        assert begun.again_s == 0.01
        assert still.again_s == 0.015
        assert len(org.status()["jobs"]) == 1
        with pytest.raises(Misconfigured, match="bulk_wait_s"):
            list(connector.read(query, {**still.after, "waited_s": 1e6}, 100))
        for _ in range(2):
            connector.abandon(still.after)
        assert [job["state"] for job in org.status()["jobs"]] in ([], ["Aborted"])


@pytest.mark.parametrize("bulk_from", [100_000, 1], ids=["rest", "bulk"])
def test_only_changes_are_read_the_next_time(bulk_from: int) -> None:
    with simulated_org(leads=30) as org, closing(Salesforce(org.config(bulk_read_from=bulk_from))) as connector:
        query = SalesforceQuery(soql="SELECT Id, LastName FROM Lead", changes_only=True, overlap_s=0)
        pages = read(connector, query, limit=7)
        everyone = keys(pages)
        assert len(set(everyone)) == len(everyone) == org.status()["records"]["Lead"]
        changed = sorted(everyone)[:3]
        for key in changed:
            org.edit("Lead", key, LastName="Renamed")
        assert set(changed) <= set(keys(read(connector, query, pages[-1].after, limit=7)))
        # Everything that was written before the org was made lies further back.
        assert len(keys(read(connector, query, pages[-1].after, limit=7))) < len(everyone)


def test_deleted_records_are_read_where_they_are_asked_for() -> None:
    with simulated_org(leads=5) as org, closing(Salesforce(org.config())) as connector:
        gone = org.leads(1)[0]
        org.admin("DELETE", f"/services/data/v64.0/sobjects/Lead/{gone}")
        query = SalesforceQuery(soql="SELECT Id, IsDeleted FROM Lead")
        assert gone not in keys(read(connector, query))
        every = read(connector, query.model_copy(update={"deleted": True}))[0].batch
        assert every.frame.filter(pl.col("IsDeleted"))["Id"].to_list() == [gone]


def test_records_are_looked_up_by_both_forms_of_an_id_and_by_external_id(org: SimulatedOrg, connector: Salesforce) -> None:
    first, second = org.leads(2)
    found = connector.lookup(SalesforceQuery(soql="SELECT Id, LastName FROM Lead"), [first[:15], second])
    assert sorted(found.keys) == sorted([first[:15], second])
    org.edit("Lead", first, Fieldline_Key__c="Zoë's / key")
    by_key = SalesforceQuery(soql="SELECT Id FROM Lead", key="Fieldline_Key__c")
    assert connector.lookup(by_key, ["Zoë's / key", "no such key"]).frame["Id"].to_list() == [first]


def test_rows_that_belong_to_records_are_found_by_their_foreign_key(org: SimulatedOrg, connector: Salesforce) -> None:
    leads = org.leads(3)
    for lead in (leads[0], leads[0], leads[2]):
        org.create("Task", Subject="Call", WhoId=lead)
    found = connector.children(SalesforceQuery(soql="SELECT Subject FROM Task", key="WhoId"), leads)
    assert sorted(found.keys) == sorted([leads[0], leads[0], leads[2]])


def test_thousands_of_keys_are_asked_for_in_addresses_that_are_short_enough(org: SimulatedOrg, connector: Salesforce) -> None:
    absent = [f"00Q{number:012}" for number in range(900_000, 903_000)]
    known = keys(read(connector, SalesforceQuery(soql="SELECT Id FROM Lead"), limit=1000))
    assert sorted(connector.lookup(SalesforceQuery(soql="SELECT Id FROM Lead"), [*absent, *known]).keys) == sorted(known)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"soql": "SELECT Compny FROM Lead"}, "Did you mean 'Company'"),
        ({"soql": "SELECT Id FROM Leed"}, "object Leed does not exist, or the integration user may not see it"),
        ({"soql": "SELECT Owner.Nme FROM Lead"}, "Nme of User"),
        ({"soql": "SELECT (SELECT Id FROM Nothings) FROM Lead"}, "no list Nothings"),
        ({"soql": "SELECT Address FROM Lead"}, "several values at once"),
        ({"soql": "SELECT Id FROM Lead WHERE Nope__c = 1"}, "Nope__c does not exist"),
        ({"soql": "SELECT Id FROM Lead", "key": "Fieldline_Key__c"}, "have no Fieldline_Key__c"),
    ],
)
def test_a_mistake_in_the_query_says_what_to_change(connector: Salesforce, query: dict[str, str], words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        read(connector, SalesforceQuery.model_validate(query))


def test_what_is_discovered_is_what_an_administrator_needs(org: SimulatedOrg) -> None:
    with closing(Salesforce(org.config())) as connector:
        catalog = connector.discover()
    lead = catalog.entity("Lead")
    assert lead is not None
    fields = {field.name: field for field in lead.fields}
    assert fields["Fieldline_Tier__c"].choices == ("A", "B", "C", "D")
    assert fields["Fieldline_Key__c"].external_id
    assert fields["Fieldline_Key__c"].unique
    assert fields["Fieldline_Hot__c"].computed
    assert not fields["Fieldline_Hot__c"].updatable
    assert fields["Company"].samples
    assert fields["Tasks"].type is FieldType.LIST
    assert catalog.entity("Web_Visit__c") is not None


def test_a_record_type_that_allows_fewer_values_is_discovered_and_linted(org: SimulatedOrg) -> None:
    allowed = {"Fieldline_Tier__c": ["A", "B"]}
    partner = org.admin("POST", "/_sim/recordtypes", {"object": "Contact", "name": "Partner", "values": allowed}).json()["id"]
    target = SalesforceTarget.model_validate({"object": "Contact", "fields": {"fieldline_tier__c": "tier", "LeadSource": "tier"}})
    with closing(Salesforce(org.config(objects=["Contact"]))) as connector:
        fields = {field.name: field for field in connector.discover().entities[0].fields}
        assert fields["Fieldline_Tier__c"].narrowed == {"Partner": ("A", "B")}
        assert fields["LeadSource"].narrowed == {}
        said = {texts: list(connector.check_texts(target, {"tier": texts})) for texts in (frozenset("AB"), frozenset("AD"), None)}
        (wrong,) = connector.check_texts(target, {"tier": frozenset({"A", "Hot"})})
    assert [[str(finding.severity) for finding in findings] for findings in said.values()] == [[], ["warning"], ["warning"]]
    assert "only A, B in records of the type Partner, and the mapping can give D" in said[frozenset("AD")][0].message
    assert "takes only A, B, C, D; records of the type Partner take only A, B. The formula may" in said[None][0].message
    assert str(wrong.severity) == "error"
    assert "it takes A, B, C, D, and the mapping can give Hot" in wrong.message
    # An org without calls left for this still shows what it holds.
    org.faults({"kind": "total", "path": "*picklist-values*", "times": None})
    with closing(Salesforce(org.config(objects=["Contact", "Lead"]))) as connector:
        contact_seen, lead_seen = connector.discover().entities
    assert {tuple(field.narrowed) for field in contact_seen.fields} == {()}
    assert any(field.samples for field in lead_seen.fields)
    org.faults()
    # The org keeps to it: a value of the list that the record's type does not allow is refused.
    contact = org.create("Contact", LastName="Person", RecordTypeId=partner)
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        org.edit("Contact", contact, Fieldline_Tier__c="D")
    org.edit("Contact", contact, Fieldline_Tier__c="B")
    (found,) = org.query("SELECT RecordType.DeveloperName FROM Contact WHERE RecordType.DeveloperName = 'Partner'")
    assert found["RecordType"]["DeveloperName"] == "Partner"


def test_a_hidden_field_is_not_discovered_and_a_target_of_it_is_found_out(org: SimulatedOrg) -> None:
    org.admin("PUT", f"/_sim/users/{org.user}/access", {"fields": {"Lead.Fieldline_Reason__c": "hidden"}})
    with closing(Salesforce(org.config(objects=["Lead"]))) as connector:
        assert "Fieldline_Reason__c" not in {field.name for field in connector.discover().entities[0].fields}
        target = SalesforceTarget.model_validate({"object": "Lead", "fields": {"Fieldline_Reason__c": "reason"}})
        assert ["may not see it" in finding.message for finding in connector.check_target(target, {})] == [True]
        query = SalesforceQuery(soql="SELECT Fieldline_Reason__c FROM Lead")
        assert [finding.path for finding in connector.check_query(query)] == ["soql"]

"""The Salesforce connector keeps the contract, through collections, bulk jobs, updates by Id and new tasks."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from tests.salesforce_org import MESSAGE, SimulatedOrg, simulated_org

from fieldline_connectors.salesforce import Salesforce, SalesforceConfig, SalesforceQuery, SalesforceTarget, SalesforceTopic
from fieldline_connectors.testing import ConnectorContract, MakeChange, Sign, TargetRows, sample_rows
from fieldline_core.batch import Batch
from fieldline_core.ports import HookRequest
from fieldline_core.secret import Secret

CUSTOM = [
    {"name": "Note__c", "type": "textarea", "length": 32_000},
    {"name": "Amount__c", "type": "currency", "precision": 18, "scale": 2},
    {"name": "Count__c", "type": "double", "precision": 18, "scale": 0},
    {"name": "Ratio__c", "type": "double", "precision": 18, "scale": 12},
    {"name": "Open__c", "type": "boolean", "default": False},
    {"name": "Day__c", "type": "date"},
    {"name": "At__c", "type": "datetime"},
]
COLUMNS = dict(
    zip(sample_rows().frame.columns, ("Note__c", "Amount__c", "Count__c", "Ratio__c", "Open__c", "Day__c", "At__c"), strict=True)
)
OUTBOUND = {"organization_id": "00D000000000001EAA", "proxy_secret": Secret("proxy-secret")}
FIELDS = [*COLUMNS.values(), "Fieldline_Tier__c"]


def hard_rows(keys: list[str]) -> Batch:
    """The sample rows as Salesforce can hold them: numbers as doubles, whole seconds, a checkbox that is never empty."""
    rows = sample_rows(keys)
    frame = rows.frame.rename(COLUMNS).with_columns(
        Amount__c=pl.Series(["12.50", "-0.01", None, "9876543210123.89"]),
        Ratio__c=pl.Series([0.1, -1e-9, None, 123456.789]),
        Count__c=pl.col("Count__c").clip(-(2**53), 2**53),
        Open__c=pl.col("Open__c").fill_null(False),
        At__c=pl.col("At__c").dt.truncate("1s"),
        Fieldline_Tier__c=pl.Series(["A", None, "C", "B"]),
    )
    return Batch(rows.keys, frame)


class TestSalesforce(ConnectorContract):
    connector_class = Salesforce
    signs_time = False
    signs_body = False
    settings: dict[str, Any] = {}  # noqa: RUF012

    @pytest.fixture
    def org(self) -> Iterator[SimulatedOrg]:
        with simulated_org(leads=8, pubsub=True) as org:
            org.admin("PUT", "/_sim/bus", {"keepalive_s": 0.05})
            for field in CUSTOM:
                org.admin("POST", "/_sim/fields", {"object": "Lead", **field})
            yield org

    @pytest.fixture
    def connector(self, org: SimulatedOrg) -> Iterator[Salesforce]:
        connector = Salesforce(org.config(objects=["Lead", "Opportunity"], outbound_messages=OUTBOUND, **self.settings))
        yield connector
        connector.close()

    @pytest.fixture
    def body(self) -> bytes:
        return MESSAGE

    @pytest.fixture
    def sign(self) -> Sign:
        return lambda body: HookRequest({"content-type": "text/xml", "x-client-verified": "proxy-secret"}, body, datetime.now(UTC))

    @pytest.fixture
    def unreachable(self) -> Salesforce:
        login = {"flow": "client_credentials", "client_id": "app", "client_secret": Secret("app-secret")}
        private = [{"host": "127.0.0.1", "network": "127.0.0.0/8"}]
        return Salesforce(SalesforceConfig.model_validate({"url": "http://127.0.0.1:1", "login": login, "allow_private": private}))

    @pytest.fixture
    def topic(self) -> SalesforceTopic:
        if type(self) is not TestSalesforce:
            pytest.skip("listening does not depend on how answers are written")
        return SalesforceTopic(object="Lead")

    @pytest.fixture
    def make_change(self, org: SimulatedOrg) -> MakeChange:
        leads = iter(org.query("SELECT Id FROM Lead"))

        def edit() -> str:
            lead = str(next(leads)["Id"])
            org.edit("Lead", lead, Company="Changed Ltd")
            return lead

        return edit

    @pytest.fixture
    def query(self) -> SalesforceQuery:
        return SalesforceQuery(soql="SELECT Id, LastName, AnnualRevenue, CreatedDate, Owner.Name, Fieldline_Score__c FROM Lead")

    @pytest.fixture
    def target(self) -> SalesforceTarget:
        fields = {name: name for name in ["LastName", "Company", *FIELDS]}
        return SalesforceTarget(operation="upsert", object="Lead", key="Fieldline_Key__c", fields=fields)

    @pytest.fixture
    def rows(self, org: SimulatedOrg) -> Batch:
        rows = hard_rows(["a-1", "b 2", "ç/3", "d'4"])
        return Batch(rows.keys, rows.frame.with_columns(LastName=pl.lit("Person"), Company=pl.lit("Contract Ltd")))

    @pytest.fixture
    def bad_row(self, rows: Batch) -> Batch:
        return Batch.of(["bad"], rows.frame[:1].with_columns(Fieldline_Tier__c=pl.lit("Lukewarm")))

    @pytest.fixture
    def target_rows(self, org: SimulatedOrg, connector: Salesforce) -> TargetRows:
        def ask() -> list[tuple[str, dict[str, object]]]:
            names = ["LastName", "Company", *FIELDS]
            soql = f"SELECT Fieldline_Key__c, {', '.join(names)} FROM Lead WHERE Fieldline_Key__c != null"
            return [(found["Fieldline_Key__c"], held(found, names)) for found in org.query(soql)]

        return ask


def held(record: dict[str, Any], names: list[str]) -> dict[str, object]:
    """A record's fields, with times as Python writes them."""
    return {
        name: str(record[name]).removesuffix(".000+0000") if name == "At__c" and record[name] else record[name] for name in names
    }


@pytest.mark.soak
class TestSalesforceByBulk(TestSalesforce):
    settings = {"bulk_write_from": 1, "bulk_read_from": 1}  # noqa: RUF012


@pytest.mark.soak
class TestSalesforceUpdate(TestSalesforce):
    @pytest.fixture
    def target(self) -> SalesforceTarget:
        return SalesforceTarget(object="Lead", fields={name: name for name in FIELDS})

    @pytest.fixture
    def rows(self, org: SimulatedOrg) -> Batch:
        return hard_rows(org.leads(4))

    @pytest.fixture
    def bad_row(self, org: SimulatedOrg, rows: Batch) -> Batch:
        return Batch.of(org.leads(1), rows.frame[:1].with_columns(Fieldline_Tier__c=pl.lit("Lukewarm")))

    @pytest.fixture
    def target_rows(self, org: SimulatedOrg, connector: Salesforce) -> TargetRows:
        def ask() -> list[tuple[str, dict[str, object]]]:
            return [(found["Id"], held(found, FIELDS)) for found in org.query(f"SELECT Id, {', '.join(FIELDS)} FROM Lead")]

        return ask


@pytest.mark.soak
class TestSalesforceUpdateByBulk(TestSalesforceUpdate):
    settings = {"bulk_write_from": 1}  # noqa: RUF012


@pytest.mark.soak
class TestSalesforceTasks(TestSalesforce):
    """New records, which are recognised by a mark."""

    @pytest.fixture
    def org(self) -> Iterator[SimulatedOrg]:
        with simulated_org(leads=8) as org:
            org.admin("POST", "/_sim/fields", {"object": "Task", "name": "Fieldline_Effect__c", "type": "string", "length": 64})
            yield org

    @pytest.fixture
    def target(self) -> SalesforceTarget:
        return SalesforceTarget(
            operation="create", object="Task", key="WhoId", marker="Fieldline_Effect__c", constants={"Priority": "High"},
            fields={"Subject": "Subject", "Description": "Description"},
        )  # fmt: skip

    @pytest.fixture
    def rows(self, org: SimulatedOrg) -> Batch:
        texts = sample_rows().frame["note"].fill_null("none")
        return Batch.of(org.leads(4), pl.DataFrame({"Subject": ["Call", "Write", "Call", "Visit"], "Description": texts}))

    @pytest.fixture
    def bad_row(self, org: SimulatedOrg, rows: Batch) -> Batch:
        return Batch.of(org.leads(1), rows.frame[:1].with_columns(Subject=pl.lit("far too long " * 30)))

    @pytest.fixture
    def target_rows(self, org: SimulatedOrg, connector: Salesforce) -> TargetRows:
        def ask() -> list[tuple[str, dict[str, object]]]:
            found = org.query("SELECT WhoId, Subject, Description FROM Task WHERE Fieldline_Effect__c != null")
            return [(task["WhoId"], {name: task[name] for name in ("Subject", "Description")}) for task in found]

        return ask

"""Who uses a field: found in what a flow reads, looks up and writes, in the words of its systems."""

from typing import Any

import pytest

from fieldline_core.flow import Flow, ModelPin, Release
from fieldline_core.signature import Signature, Tensor
from fieldline_mappings import MappingDocument, compile_mapping
from fieldline_server.usage import Use, field_use

SIGNATURE = Signature(
    inputs=(Tensor(name="x", dtype="float32", shape=(None, 2)),), outputs=(Tensor(name="p", dtype="float32", shape=(None, 1)),)
)
PLAN = compile_mapping(
    MappingDocument.model_validate(
        {
            "mapping": "m",
            "record": {"Account.Industry": "text", "Orders": {"Amount": "number"}},
            "features": [{"field": "Employees"}, {"name": "spent", "formula": "SUM(Orders.Amount)"}],
            "fields": [{"name": "score", "formula": "p"}, {"name": "branch", "formula": "UPPER(Account.Industry)"}],
        }
    ),
    SIGNATURE,
)
TABLE = {"table": "sales.Lead", "key": ["LeadId"], "where": "Status = 'open' AND l.Region = ?"}
SQL = {"sql": "SELECT LeadId, Employees FROM Lead", "key": "LeadId"}


def use(field: str, query: dict[str, Any] | None = TABLE, **more: Any) -> Use | None:
    """How the flow that reads by this query uses a field; without one, it takes messages."""
    source = {"source": {"connection": "crm", "query": query}} if query else {"trigger": {"webhook": "hooks", "key": "data.id"}}
    flow = Flow.model_validate({"flow": "f", "mapping": "m", "models": ["m"], **source, **more})
    return field_use(Release(1, 1, "d", flow, "a", (ModelPin("m", 1, "d", "cpu"),)), PLAN, field)


def places(field: str, query: dict[str, Any] | None = TABLE, **more: Any) -> tuple[str, ...]:
    found = use(field, query, **more)
    return found.places if found else ()


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("employees", ("reads Employees",)),
        ("Lead.Employees", ("reads Employees",)),
        ("sales.lead.EMPLOYEES", ("reads Employees",)),
        ("Contact.Employees", ()),
        ("Account.Industry", ("reads Account.Industry",)),
        ("Lead.Account.Industry", ("reads Account.Industry",)),
        ("Industry", ("reads Account.Industry",)),
        ("Lead.Industry", ()),
        ("LeadId", ("source.query.key",)),
        ("Lead.Status", ("source.query.where",)),
        ("Region", ("source.query.where",)),
        ("Stat", ()),
        ("Lead", ()),
    ],
)
def test_a_field_is_known_by_its_name_and_its_table(field: str, expected: tuple[str, ...]) -> None:
    assert places(field) == expected


def test_a_query_of_ones_own_may_read_any_table() -> None:
    assert places("Lead.Employees", SQL) == ("reads Employees", "source.query.sql")
    assert places("Contact.Employees", SQL) == ("reads Employees", "source.query.sql")


def test_messages_have_no_table() -> None:
    assert places("Lead.Employees", None) == ("reads Employees",)
    assert places("DATA.ID", None) == ("trigger.key",)


def test_child_rows_are_known_by_their_list_and_by_their_table() -> None:
    lookups = [{"name": "Orders", "connection": "erp", "query": {"table": "sales_order", "key": "lead"}, "by": "Number"}]
    for field in ("Orders.Amount", "sales_order.amount", "amount"):
        assert places(field, lookups=lookups) == ("reads Orders.Amount",)
    assert places("Lead.Amount", lookups=lookups) == ()
    assert places("sales_order.lead", lookups=lookups) == ("lookups.Orders.query.key",)
    assert places("Lead.Number", lookups=lookups) == ("lookups.Orders.by",)


def test_what_is_written_is_the_targets_field_and_not_what_fills_it() -> None:
    writes = [{"name": "back", "connection": "crm", "target": {"table": "Lead", "fields": {"Rating": "score"}}}]
    assert places("Lead.Rating", writes=writes) == ("writes.back.target.fields",)
    assert places("Contact.Rating", writes=writes) == ()
    assert places("score", writes=writes) == ()


def test_what_depends_on_a_field_is_named() -> None:
    found = use("Amount")
    assert found
    assert (found.features, found.fields) == (("spent",), ("score",))
    found = use("Industry")
    assert found
    assert (found.features, found.fields) == ((), ("branch",))

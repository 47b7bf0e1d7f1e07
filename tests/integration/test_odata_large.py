"""A service with fifty entity sets: what it has is read from `$metadata`, and never assumed."""

from collections.abc import Iterator

import pytest
from tests.odata_connections import Shop, connected
from tests.odata_large import SETS, common, keys, large

from fieldline_connectors.odata import Odata, OdataQuery, OdataTarget
from fieldline_core.schema import Entity, FieldType

LINES, HEAD = {2: "to_Lines", 4: "_Lines"}, {2: "to_Head", 4: "_Head"}


@pytest.fixture(params=[2, 4])
def shop(request: pytest.FixtureRequest) -> Shop:
    found = Shop(request.param, ())
    documents = {"common/$metadata": common(), "$metadata": large(request.param)}
    kind = {"content-type": "application/xml"}
    found.answers += [
        {"on": f"GET {name}", "status": 200, "headers": kind, "body": text.encode()} for name, text in documents.items()
    ]
    return found


@pytest.fixture
def connector(shop: Shop) -> Iterator[Odata]:
    with connected(shop) as connector:
        yield connector


def entity(connector: Odata, name: str) -> Entity:
    found = connector.discover().entity(name)
    assert found is not None
    return found


def test_fifty_sets_are_discovered_with_one_question(connector: Odata, shop: Shop) -> None:
    found = connector.discover()
    assert {each.name for each in found.entities} == {f"A_Thing{number}" for number in range(SETS)}
    assert [target for _, target, _, _ in shop.seen] == ["$metadata", *(["common/$metadata"] if shop.version == 4 else [])]
    assert {each.label for each in found.entities} == {f"Things {number}" for number in range(SETS)}


def test_keys_types_labels_and_what_may_be_written_are_those_of_each_set(connector: Odata, shop: Shop) -> None:
    for number in (0, 3):
        fields = {field.name: field for field in entity(connector, f"A_Thing{number}").fields}
        assert tuple(name for name, field in fields.items() if field.key) == keys(number)
        assert (fields["Amount"].type, fields["Amount"].label) == (FieldType.DECIMAL, "Amount")
        assert fields["Field0"].updatable == (number % 2 == 0)
        # The base type's own, four levels of complex types, and nothing that holds bytes or shapes.
        assert fields["ChangedAt"].type is FieldType.DATETIME
        assert fields["Place.Inner.Inner.Inner.City"].type is FieldType.TEXT
        assert "Place.Inner.Inner.Inner.Inner.City" not in fields
        assert not fields.keys() & {"Photo", "Where", "Tags", "Nobody"}
        assert fields[LINES[shop.version]].type is FieldType.LIST
        assert HEAD[shop.version] not in fields
        if shop.version == 4:
            assert (fields["Weight.Value"].type, fields["Weight.Unit"].length) == (FieldType.DECIMAL, 3)
    kind = connector._client.service.entity_set("A_Thing7").property("Amount")
    assert (kind.precision, kind.scale) == (15, 3)


def test_queries_and_writes_are_checked_against_it_without_another_question(connector: Odata, shop: Shop) -> None:
    head, lines = HEAD[shop.version], LINES[shop.version]
    good = OdataQuery(
        entity_set="A_Thing49", fields=("Field1", f"{head}.Field2"), expand={lines: ("Field3",)}, changed_at="ChangedAt"
    )
    assert list(connector.check_query(good)) == []
    wrong = {
        "entity_set": OdataQuery(entity_set="A_Thing50"), "changed_at": OdataQuery(entity_set="A_Thing1", changed_at="Field1"),
        "": OdataQuery(entity_set="A_Thing1", fields=(f"{lines}.Field1",)),
    }  # fmt: skip
    for path, query in wrong.items():
        assert [found.path for found in connector.check_query(query)] == [path]
    fields = {"Field2": "amount", "Field3": "flag"}
    assert list(connector.check_target(OdataTarget(entity_set="A_Thing2", fields=fields), {"amount": FieldType.DECIMAL})) == []
    (mistyped,) = connector.check_target(OdataTarget(entity_set="A_Thing2", fields=fields), {"flag": FieldType.DATE})
    assert (mistyped.path, mistyped.message) == ("fields.Field3", "it takes a boolean, and the mapping gives a date")
    (unknown,) = connector.check_target(OdataTarget(entity_set="A_Thing2", fields={"Feild2": "amount"}), {})
    assert (unknown.path, unknown.suggestion) == ("fields.Feild2", "Did you mean 'Field2'?")
    (closed,) = connector.check_target(OdataTarget(entity_set="A_Thing1", fields=fields), {})
    assert "does not let A_Thing1 be changed" in closed.message
    (repeats,) = connector.check_target(OdataTarget(operation="create", entity_set="A_Thing2", key="Field0", fields=fields), {})
    assert (repeats.severity, repeats.path) == ("warning", "marker")
    assert all("$metadata" in target for _, target, _, _ in shop.seen)

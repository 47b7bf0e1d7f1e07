"""A view gives the rows that the standard describes, within bounds, and complaints in the author's words."""

import gzip
import io
import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fieldline_connectors.fhir.views import FrameMaker, Partial, Reader, View, compile_view, parse_view
from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.schema import FieldType

PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "name": [{"family": "Smith", "given": ["John", "James"]}, {"family": "Jones", "given": ["Jane"]}],
    "contact": [],
}
ANSWERS = {
    "resourceType": "QuestionnaireResponse",
    "id": "q1",
    "item": [
        {"linkId": "1", "item": [{"linkId": "1.1"}]},
        {"linkId": "2", "answer": [{"item": [{"linkId": "2.1", "answer": [{"item": [{"linkId": "2.1.1"}]}]}]}]},
    ],
}


def view(resource: str, *select: Any, **more: Any) -> View:
    return compile_view(parse_view({"resource": resource, "select": [*select], **more}))


def column(name: str, path: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "path": path, **more}


def test_repeat_follows_its_paths_to_any_depth() -> None:
    found = view(
        "QuestionnaireResponse", {"repeat": ["item", "answer.item"], "column": [column("id", "linkId"), column("n", "%rowIndex")]}
    )
    assert found.rows(ANSWERS) == [("1", 0), ("1.1", 1), ("2", 2), ("2.1", 3), ("2.1.1", 4)]


def test_each_iteration_counts_its_own_rows() -> None:
    union = {"unionAll": [
        {"forEach": "given", "column": [column("m", "%rowIndex"), column("value", "$this")]},
        {"column": [column("m", "%rowIndex"), column("value", "family")]},
    ]}  # fmt: skip
    found = view("Patient", {"forEach": "name", "column": [column("n", "%rowIndex")], "select": [union]})
    assert found.rows(PATIENT) == [(0, 0, "John"), (0, 1, "James"), (0, 0, "Smith"), (1, 0, "Jane"), (1, 1, "Jones")]


def test_the_row_for_nothing_is_empty_but_for_its_number() -> None:
    found = view("Patient", {"column": [column("id", "id"), column("top", "%rowIndex")]}, {
        "forEachOrNull": "contact",
        "column": [column("n", "%rowIndex"), column("c", "'x'"), column("all", "telecom", collection=True)],
    })  # fmt: skip
    assert found.rows(PATIENT) == [("p1", 0, 0, None, None)]


def test_a_resource_of_another_type_gives_no_row() -> None:
    assert view("Patient", {"column": [column("id", "id")]}).rows({"resourceType": "Observation", "id": "1"}) == ()


def test_a_view_in_yaml_is_the_view_in_json() -> None:
    written = "resource: Patient\nselect:\n  - column:\n      - {name: id, path: id}\n"
    assert parse_view(written) == parse_view(
        json.dumps({"resource": "Patient", "select": [{"column": [{"name": "id", "path": "id"}]}]})
    )


def test_what_describes_a_view_changes_nothing() -> None:
    told = {"resourceType": "http://hl7.org/fhir/uv/sql-on-fhir/StructureDefinition/ViewDefinition", "status": "draft", "name": "a"}
    plain = {"resource": "Patient", "select": [{"column": [column("id", "id", type="id")]}]}
    assert parse_view({**plain, **told}) == parse_view(plain)


@pytest.mark.parametrize(
    ("definition", "complaint"),
    [
        ({}, "view.resource: Field required"),
        ({"resource": "Patient", "select": []}, "view.select"),
        ({"resource": "Patient", "select": [{"colum": []}]}, r"view.select\[0\].colum: Extra inputs"),
        ({"resource": "Patient", "select": [{"forEach": "a", "repeat": ["b"]}]}, "write one of `forEach`"),
        ({"resource": "Patient", "select": [{"column": [column("a b", "id")]}]}, r"column\[0\].name"),
        ({"resource": "Patient", "select": [{"column": [column("a", "id")]}], "constant": [{"name": "c"}]}, "has one value"),
        ({"resource": "Patient", "select": [{"column": [column("a", "id"), column("a", "id")]}]}, "a stands there twice"),
        ({"resource": "Patient", "select": [{"column": [column("a", "id.")]}]}, "column a: `id.` is no FHIRPath"),
        ({"resource": "Patient", "select": [{"unionAll": [{"column": [column(name, "id")]} for name in "ab"]}]}, "same columns"),
        ("resource: [", "neither JSON nor YAML"),
        ("- 1", "view"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(definition: Any, complaint: str) -> None:
    with pytest.raises(Misconfigured, match=complaint):
        compile_view(parse_view(definition))


def test_a_view_nested_too_deep_is_refused() -> None:
    inner: dict[str, Any] = {"column": [column("a", "id")]}
    for _ in range(100):
        inner = {"select": [inner]}
    with pytest.raises(Misconfigured, match="nested deeper"):
        view("Patient", inner)


def test_a_second_value_without_collection_is_an_error_that_holds_no_value() -> None:
    with pytest.raises(Misconfigured, match=r"column family `name.family` gives 2 values") as caught:
        view("Patient", {"column": [column("family", "name.family")]}).rows(PATIENT)
    assert "Smith" not in str(caught.value)


def test_one_resource_gives_a_bounded_number_of_rows() -> None:
    many = {"resourceType": "Patient", "name": [{"family": "x"}] * 1000}
    each = [{"forEach": "name", "column": [column(name, "family")]} for name in "ab"]
    with pytest.raises(Rejected, match="more than 100,000 rows"):
        view("Patient", *each).rows(many)


@pytest.mark.parametrize("path", ["$this", "%resource.item"])
def test_a_repeat_without_end_is_stopped(path: str) -> None:
    with pytest.raises((Misconfigured, Rejected)):
        view("QuestionnaireResponse", {"repeat": [path], "column": [column("id", "linkId")]}).rows(ANSWERS)


def test_columns_have_the_types_of_a_batch() -> None:
    found = view("Observation", {"column": [
        column("id", "getResourceKey()"), column("patient", "subject.getReferenceKey(Patient)"),
        column("at", "effective.ofType(dateTime)"), column("day", "issued", type="date"),
        column("value", "value.ofType(Quantity).value", type="decimal"), column("whole", "component.count()"),
        column("known", "value.exists()"), column("code", "code"),
        column("codes", "code.coding.code", type="code", collection=True),
    ]})  # fmt: skip
    maker = FrameMaker(found.columns)
    resource = {
        "resourceType": "Observation", "id": "o1", "subject": {"reference": "Patient/p1"}, "issued": "2020-01",
        "effectiveDateTime": "2020-01-02T03:04:05+01:00", "valueQuantity": {"value": 120}, "code": {"coding": [{"code": "a"}]},
    }  # fmt: skip
    frame = maker.frame(found.rows(resource))
    expected: dict[str, Any] = {
        "id": "o1", "patient": "p1", "at": datetime(2020, 1, 2, 2, 4, 5), "day": None, "value": 120.0, "whole": 0, "known": True,  # noqa: DTZ001
        "code": '{"coding":[{"code":"a"}]}', "codes": [{"value": "a"}],
    }  # fmt: skip
    assert frame.rows(named=True) == [expected]
    assert maker.frame([]).schema == frame.schema
    assert maker.types["codes"] == {"value": FieldType.TEXT}
    assert frame.schema["at"] == pl.Datetime("us")


def test_a_partial_date_is_blank_or_refused_as_asked() -> None:
    found = view("Patient", {"column": [column("born", "birthDate"), column("first", "birthDate.lowBoundary()")]})
    rows = found.rows({"resourceType": "Patient", "birthDate": "1970-06"})
    assert FrameMaker(found.columns).frame(rows).rows() == [(None, date(1970, 6, 1))]
    with pytest.raises(Rejected, match="column born holds a date without"):
        FrameMaker(found.columns, partial=Partial.REFUSE).frame(rows)


def test_a_date_time_without_a_zone_is_in_the_connection_s() -> None:
    found = view("Patient", {"column": [column("at", "when", type="dateTime")]})
    frame = FrameMaker(found.columns, zone="Europe/Berlin").frame([("2020-07-01",), ("2020-07-01T12:00:00Z",)])
    assert frame["at"].to_list() == [datetime(2020, 6, 30, 22), datetime(2020, 7, 1, 12)]  # noqa: DTZ001


def test_a_value_of_another_type_than_its_column_s_is_told_without_the_value() -> None:
    found = view("Patient", {"column": [column("n", "gender", type="integer")]})
    with pytest.raises(Misconfigured, match="column n holds values that are no integer") as caught:
        FrameMaker(found.columns).frame(found.rows({"resourceType": "Patient", "gender": "female"}))
    assert "female" not in str(caught.value)


BUNDLE = json.dumps({
    "resourceType": "Bundle", "type": "transaction", "entry": [
        {"fullUrl": "urn:uuid:a", "resource": {"id": "p1", "resourceType": "Patient"}},
        {"fullUrl": "urn:uuid:b", "resource": {"resourceType": "Observation", "id": "o1", "subject": {"reference": "urn:uuid:a"}}},
        {"request": {"method": "DELETE"}},
    ],
}).encode()  # fmt: skip


def test_an_address_inside_a_bundle_is_followed() -> None:
    found = view("Observation", {"column": [column("patient", "subject.getReferenceKey(Patient)")]})
    assert found.references
    reader = Reader({"Observation"}, references=True)
    assert [row for resource, references in reader.bundle(BUNDLE) for row in found.rows(resource, references)] == [("p1",)]


def test_only_resources_of_the_wanted_types_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(BUNDLE))
    assert [resource["id"] for resource, _ in Reader({"Patient"}).file(tmp_path / "a.json.gz")] == ["p1"]


def test_ndjson_is_read_line_by_line() -> None:
    lines = io.BytesIO(b'{"resourceType":"Patient","id":"1"}\n\n{"resourceType":"Device"}\n{"id":"2","resourceType":"Patient"}')
    assert [resource["id"] for resource, _ in Reader({"Patient"}).lines(lines)] == ["1", "2"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"resourceType":"Bundle","entry":{}}', b'{"resourceType":"Patient","a":' + b"[" * 5000]
)
def test_what_is_no_resource_is_rejected(data: bytes) -> None:
    with pytest.raises(Rejected, match="no JSON of FHIR resources"):
        assert [*Reader({"Patient"}).bundle(data)] != []


def test_numbers_keep_their_digits_where_a_view_counts_them() -> None:
    found = view("Observation", {"column": [column("low", "value.ofType(Quantity).value.lowBoundary()", type="decimal")]})
    data = b'{"resourceType":"Observation","valueQuantity":{"value":2.50}}'
    assert [row for one, _ in Reader({"Observation"}, digits=found.digits).bundle(data) for row in found.rows(one)] == [(2.495,)]

"""FHIRPath expressions give what the specification says, or say what is wrong with them."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_connectors.fhir.path import PathError, Scope, Written, compile_path

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "active": True,
    "birthDate": "1970-06",
    "_birthDate": {"extension": [{"url": "urn:time", "valueDateTime": "1970-06-03T04:05:06Z"}]},
    "extension": [
        {"url": "urn:race", "extension": [{"url": "omb", "valueCoding": {"code": "2106-3"}}]},
        {"url": "urn:sex", "valueCode": "F"},
    ],
    "name": [{"family": "Block", "use": "usual"}, {"family": "Smith", "given": ["Ann", None, "Lee"], "use": "official"}],
    "multipleBirthInteger": 2,
    "link": [{"other": {"reference": "Patient/p1"}}, {"other": {"reference": "http://ehr.example/fhir/Person/7/_history/3"}}],
    "height": 1.8,
}


def values(text: str, node: Any = PATIENT, **constants: Any) -> list[Any]:
    return [*compile_path(text, constants, resource="Patient").evaluate(node, Scope(node, {"urn:uuid:1": ("Patient", "p9")}))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Patient.name.family", ["Block", "Smith"]),
        ("name[1].given", ["Ann", "Lee"]),
        ("name[9].given", []),
        ("name.where(use = 'official').given.first()", ["Ann"]),
        ("name.given.join(', ')", ["Ann, Lee"]),
        ("name.exists(use = 'old')", [False]),
        ("name.all(family.exists())", [True]),
        ("address.empty()", [True]),
        ("multipleBirth", [2]),
        ("multipleBirth.ofType(integer) + 1", [3]),
        ("multipleBirth.ofType(boolean)", []),
        ("multipleBirth is integer", [True]),
        ("(multipleBirth as integer) * 2", [4]),
        ("extension('urn:sex').value.ofType(code)", ["F"]),
        ("Patient.extension('urn:sex').value.ofType(code)", ["F"]),
        ("extension('urn:race').extension('omb').value.ofType(Coding).code", ["2106-3"]),
        ("birthDate.extension('urn:time').value.ofType(dateTime)", ["1970-06-03T04:05:06Z"]),
        ("name.given.substring(0, 1)", None),
        ("name.last().given.first().substring(0, 1)", ["A"]),
        ("iif(active, 'yes', 'no')", ["yes"]),
        ("'it\\'s'", ["it's"]),
        ("name.`family`.first()", ["Block"]),
        ("%wanted", ["official"]),
        ("%rowIndex", [0]),
        ("name.count() // how many", [2]),
    ],
)
def test_an_expression_gives_its_values(text: str, expected: list[Any] | None) -> None:
    if expected is None:
        with pytest.raises(PathError, match="choose one"):
            values(text, wanted="official")
    else:
        assert values(text, wanted="official") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true and {}", []), ("false and {}", [False]), ("true or {}", [True]), ("false or {}", []), ("true xor true", [False]),
        ("{} implies true", [True]), ("{}.not()", []), ("false.not()", [True]), ("name.foo = 1", []), ("1 = 1.0", [True]),
        ("active = 1", [False]), ("'a' != 'b'", [True]), ("'A b' ~ 'a  B'", [True]), ("2 in (1 | 2)", [True]),
        ("(1 | 2) contains 3", [False]), ("1 + 2 * 3", [7]), ("7 div 2", [3]), ("7 mod 2", [1]), ("7 / 2", [3.5]), ("1 / 0", []),
        ("1.8 + 0.1", [1.9]), ("'a' + 'b'", ["ab"]), ("'a' & {}", ["a"]), ("-(1 + 1)", [-2]), ("2.5 > 2", [True]),
    ],
)  # fmt: skip
def test_an_operator_knows_three_truths(text: str, expected: list[Any]) -> None:
    assert values(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("birthDate < @1980", [True]),
        ("birthDate = @1970-06-01", []),
        ("birthDate < @1970-06-15", []),
        ("@2015-02-07T13:28:17.239+02:00 = @2015-02-07T11:28:17.239Z", [True]),
        ("@2015-02-07T00:30:00+02:00 < @2015-02-06T23:00:00Z", [True]),
        ("@T12:30 > @T12:05", [True]),
    ],
)
def test_dates_are_compared_as_far_as_they_are_written(text: str, expected: list[Any]) -> None:
    assert values(text) == expected


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("birthDate", "1970-06-01", "1970-06-30"),
        ("'2020-02'", "2020-02-01T00:00:00.000+14:00", "2020-02-29T23:59:59.999-12:00"),
        ("@2010-10-10T12:34:56+01:00", "2010-10-10T12:34:56.000+01:00", "2010-10-10T12:34:56.999+01:00"),
        ("@T12:34", "12:34:00.000", "12:34:59.999"),
        ("1.0", 0.95, 1.05),
        ("1.50", 1.495, 1.505),
        ("-1.0", -1.05, -0.95),
        ("{}", None, None),
    ],
)
def test_a_boundary_is_the_first_or_last_that_is_meant(text: str, low: Any, high: Any) -> None:
    found = [values(f"({text}).lowBoundary()"), values(f"({text}).highBoundary()")] if text != "birthDate" else None
    found = found or [values("birthDate.lowBoundary()"), values("birthDate.highBoundary()")]
    assert found == [[each] if each is not None else [] for each in (low, high)]


def test_a_period_has_the_boundaries_of_its_ends() -> None:
    node = {"period": {"start": "2020-01", "end": "2020-02"}}
    assert values("period.lowBoundary()", node) == ["2020-01-01T00:00:00.000+14:00"]
    assert values("period.highBoundary()", node) == ["2020-02-29T23:59:59.999-12:00"]


def test_the_digits_of_a_number_count_where_it_is_read_as_it_is_written() -> None:
    assert values("value.lowBoundary()", {"value": Written("2.50")}) == [2.495]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("getResourceKey()", ["p1"]),
        ("link.other.getReferenceKey()", ["p1", "7"]),
        ("link.other.getReferenceKey(Patient)", ["p1"]),
        ("link.other.getReferenceKey('Person')", ["7"]),
        ("link.other.getReferenceKey(Device)", []),
    ],
)
def test_a_reference_has_the_key_of_what_it_points_to(text: str, expected: list[str]) -> None:
    assert values(text) == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [("urn:uuid:1", ["p9"]), ("urn:uuid:2", []), ("#inside", []), ("Patient?identifier=5", []), ("p1", [])],
)
def test_a_reference_that_cannot_be_followed_has_no_key(reference: str, expected: list[str]) -> None:
    assert values("subject.getReferenceKey(Patient)", {"subject": {"reference": reference}}) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "it is empty"),
        ("@@", "not expected at character 1"),
        ("name.(", "not expected at character 6"),
        ("(name", "ends too early"),
        ("name.frist()", "Did you mean 'first'"),
        ("name.first(1)", "takes no argument, not 1"),
        ("%missing", "has no constant `missing`"),
        ("@2020-13-01 = @2020", "is no date or time"),
        ("value.ofType(1)", "takes the name of a type"),
        ("name" + ".name" * 900, "at most 4000"),
        ("(" * 500 + "1" + ")" * 500 + ".first()" * 70, "nested deeper"),
    ],
)
def test_an_expression_that_cannot_be_read_says_why(text: str, complaint: str) -> None:
    with pytest.raises(PathError, match=complaint.replace("(", r"\(")):
        compile_path(text, {})


@given(st.text(alphabet="ab.()[]'=<>@%-+*/|&,01 TZ:{}$", max_size=40))
def test_whatever_is_written_gives_values_or_a_path_error(text: str) -> None:
    with suppress(PathError):
        values(text)

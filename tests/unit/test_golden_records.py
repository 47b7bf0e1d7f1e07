"""Golden records: what is told of one that fails, and what counts as the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_core.errors import Misconfigured
from fieldline_core.signature import Signature, Tensor
from fieldline_mappings import MappingDocument
from fieldline_mappings.golden import Failure, run_golden, same

MAPPING: dict[str, Any] = {
    "mapping": "leads",
    "record": {"due": "date", "size": "integer", "sector": "text", "lines": {"amount": "number"}},
    "features": [
        {"field": "size", "if_blank": 0},
        {"name": "ratio", "formula": "100 / size"},
        {"name": "total", "formula": "SUM(lines.amount)", "if_blank": 0},
        {"name": "sector", "field": "sector", "type": "text", "categories": ["tech", "food"], "if_unknown": "other"},
    ],
    "fields": [
        {"name": "risk", "formula": "ROUND(p, 2)"},
        {"name": "level", "formula": 'IF(p >= 0.7, "high", "low")'},
        {"name": "kind", "formula": "label"},
    ],
}
RECORD = {"size": 4, "sector": "tech", "lines": [{"amount": 1.5}, {"amount": 2}]}
SIGNATURE = Signature(
    inputs=(Tensor(name="x", dtype="float32", shape=(None, 5)),),
    outputs=(Tensor(name="p", dtype="float32", shape=(None, 1)), Tensor(name="label", dtype="string", shape=(None,))),
)


def failures(golden: dict[str, Any], signature: Signature | None = None, **changes: Any) -> list[Failure]:
    document = MappingDocument.model_validate({**MAPPING, **changes, "tests": [{"name": "one", "record": RECORD, **golden}]})
    (outcome,) = run_golden(document, signature)
    return list(outcome.failures)


@pytest.mark.parametrize("signature", [None, SIGNATURE], ids=["of no model", "of a known model"])
def test_a_record_that_is_as_it_says_has_no_failure(signature: Signature | None) -> None:
    features = {"size": 4, "ratio": 25, "total": 3.5, "sector=tech": True, "sector=food": 0}
    fields = {"risk": 0.7, "level": "high", "kind": "a"}
    assert failures({"features": features, "outputs": {"p": 0.7, "label": "a"}, "fields": fields}, signature) == []


def test_a_feature_and_a_field_that_differ_are_told_with_both_values() -> None:
    found = failures({"features": {"ratio": 24, "size": 4}, "outputs": {"p": 0.2}, "fields": {"level": "high", "risk": 0.2}})
    assert found == [Failure("feature", "ratio", 24, 25.0), Failure("field", "level", "high", "low")]


def test_what_is_not_listed_is_not_looked_at() -> None:
    assert failures({}) == []
    assert failures({"outputs": {"p": 1}, "fields": {"level": "high"}}) == []


def test_a_name_that_is_not_there_is_told_with_the_nearest_one() -> None:
    (feature,) = failures({"features": {"ration": 25}})
    assert feature.note == "there is no such feature. Did you mean 'ratio'?"
    (field,) = failures({"outputs": {"p": 1}, "fields": {"levl": "high"}})
    assert field.note == "there is no such field. Did you mean 'level'?"
    (output,) = failures({"outputs": {"pp": 1}}, SIGNATURE)
    assert (output.part, output.note) == ("test", "the model has no output 'pp'. Did you mean 'p'?")


def test_a_field_of_outputs_that_the_record_does_not_give_is_told() -> None:
    (unknown,) = failures({"fields": {"level": "high"}})
    assert (unknown.part, unknown.name) == ("field", "level")
    assert "p" in unknown.note
    (missing,) = failures({"outputs": {"label": "a"}, "fields": {"level": "high"}}, SIGNATURE)
    assert missing.note == "the record gives no output 'p'"


def test_a_record_may_be_expected_to_be_held_and_why() -> None:
    record = {"record": {**RECORD, "size": 0}}
    assert failures({**record, "held": "Division by zero"}) == []
    (other,) = failures({**record, "held": "unknown sector"})
    assert (other.part, other.expected) == ("held", "unknown sector")
    assert "division by zero" in other.given
    (never,) = failures({"held": "division by zero"})
    assert (never.part, never.given) == ("held", None)


def test_a_record_that_is_held_unexpectedly_says_which_feature_and_why() -> None:
    held, feature = failures({"record": {**RECORD, "size": 0}, "features": {"ratio": 1, "size": 0}})
    assert (held.part, held.expected) == ("held", None)
    assert (feature.part, feature.name, feature.given) == ("feature", "ratio", None)
    assert "division by zero" in feature.note


def test_a_field_that_cannot_be_computed_holds_the_record() -> None:
    fields = [{"name": "inverse", "formula": "1 / p"}]
    assert failures({"outputs": {"p": 0}, "held": "division by zero"}, fields=fields) == []


def test_a_mapping_that_asks_what_day_it_is_needs_a_moment() -> None:
    features = [{"name": "days", "formula": "DAYS_SINCE(due)"}]
    record = {"record": {"due": "2026-03-01"}, "features": {"days": 9}}
    (missing,) = failures(record, features=features)
    assert (missing.part, missing.name) == ("test", "now")
    assert failures({**record, "now": "2026-03-10T12:00:00Z"}, features=features) == []


def test_a_date_as_yaml_reads_it_is_a_date_of_the_record() -> None:
    import datetime

    features = [{"name": "year", "formula": "YEAR(due)"}]
    assert failures({"record": {"due": datetime.date(2026, 3, 1)}, "features": {"year": 2026}}, features=features) == []


def test_a_mapping_that_is_wrong_is_refused_with_its_findings() -> None:
    with pytest.raises(Misconfigured, match="sise"):
        failures({}, features=[{"name": "f", "formula": "sise + 1"}])


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text() | st.booleans() | st.none())
def test_a_value_is_the_same_as_itself(value: Any) -> None:
    assert same(value, value)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1, 1.0, True), (1, True, True), (0.1 + 0.2, 0.3, True), (1.0, 1.000001, False), (None, 0, False), ("1", 1, False),
        (2**60, 2**60 + 1, False), (0.0, 1e-300, False), ("a", "a", True), (None, None, True),
    ],
)  # fmt: skip
def test_numbers_are_the_same_up_to_a_billionth(one: Any, other: Any, expected: bool) -> None:
    assert same(one, other) is expected
    assert same(other, one) is expected

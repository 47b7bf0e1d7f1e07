"""A model's answers into fields to write, by formulas over answers, features and the record."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from fieldline_core.batch import Batch, Sifted
from fieldline_core.errors import Misconfigured
from fieldline_core.schema import FieldType
from fieldline_core.signature import Signature, Tensor
from fieldline_mappings import CompiledPlan, MappingDocument, compile_mapping

OUTPUTS = {"p": "float32", "label": "int64", "said": "string", "sure": "bool", "exact": "float64"}
CLOCK = datetime(2025, 1, 1, tzinfo=UTC)
LEVEL = 'IF(p >= 0.7, "Hot", IF(p >= 0.3, "Warm", "Cold"))'


def plan_of(*formulas: str, **rest: Any) -> CompiledPlan:
    fields = [{"name": f"f{number}" if number else "f", "formula": formula} for number, formula in enumerate(formulas)]
    document = MappingDocument.model_validate({"mapping": "m", "features": [{"field": "a"}], "fields": fields, **rest})
    outputs = tuple(Tensor(name=name, dtype=dtype, shape=(None,)) for name, dtype in OUTPUTS.items())
    return compile_mapping(document, Signature(inputs=(Tensor(name="x", dtype="float32", shape=(None, None)),), outputs=outputs))


def write(plan: CompiledPlan, record: dict[str, Any] | None = None, **outputs: Any) -> Sifted:
    frame = pl.DataFrame(outputs)
    given = pl.DataFrame(record or {"a": [1.0] * frame.height})
    return plan.fields(Batch.of([str(row) for row in range(frame.height)], given), frame, CLOCK)


def float32(*values: float | None) -> pl.Series:
    return pl.Series(values, dtype=pl.Float32)


@pytest.mark.parametrize(
    ("formula", "outputs", "type", "expected"),
    [
        ("ROUND(p, 4)", {"p": float32(0.123456, 0.99999)}, FieldType.NUMBER, [0.1235, 1.0]),
        ("ROUND(exact * 100, 1)", {"exact": [0.1225, -0.1225]}, FieldType.NUMBER, [12.3, -12.3]),
        ("ROUND(p * 100)", {"p": float32(0.125, 0.5)}, FieldType.INTEGER, [13, 50]),
        ("p", {"p": float32(0.7, 0.1)}, FieldType.NUMBER, [0.7, 0.1]),
        ("label", {"label": [1, 0]}, FieldType.INTEGER, [1, 0]),
        ("said", {"said": ["x", "y"]}, FieldType.TEXT, ["x", "y"]),
        ("sure", {"sure": [True, False]}, FieldType.BOOLEAN, [True, False]),
        ('CASE(label, 0, "stays", 1, "leaves", NULL)', {"label": [1, 0, 7]}, FieldType.TEXT, ["leaves", "stays", None]),
        ('IF(sure, "yes", "no")', {"sure": [True, False]}, FieldType.TEXT, ["yes", "no"]),
        ('UPPER(said) & "!"', {"said": ["a", "b"]}, FieldType.TEXT, ["A!", "B!"]),
        ("TODAY() + label", {"label": [1, 2]}, FieldType.DATE, [date(2025, 1, 2), date(2025, 1, 3)]),
    ],
)
def test_an_answer_becomes_a_field_of_its_type(formula: str, outputs: Any, type: FieldType, expected: list[Any]) -> None:
    plan = plan_of(formula)
    sifted = write(plan, **outputs)
    assert plan.fields_written() == {"f": type}
    assert sifted.frame["f"].to_list() == expected
    assert not sifted.held


def test_a_bound_is_compared_with_the_decimal_that_the_model_s_number_is_printed_as() -> None:
    assert write(plan_of(LEVEL), p=float32(0.7, 0.69, 0.3, 0.29)).frame["f"].to_list() == ["Hot", "Warm", "Warm", "Cold"]


def test_an_answer_that_cannot_be_computed_holds_its_row_alone() -> None:
    held = write(plan_of("1 / label", "LN(p)"), p=float32(0.5, -1.0, 0.5, 0.5), label=[1, 1, 0, 1]).held
    assert held == {
        1: "field 'f1': logarithm of zero or of a negative number in LN(p)", 2: "field 'f': division by zero in 1 / label",
    }  # fmt: skip


@pytest.mark.parametrize("formula", ["p", "ROUND(p)", LEVEL, "exact * 2"])
def test_an_answer_that_is_no_number_is_never_written(formula: str) -> None:
    nothing = [float("nan"), float("inf"), float("-inf")]
    sifted = write(plan_of(formula), p=float32(*nothing), exact=nothing)
    assert all(row in sifted.held for row in range(3)), sifted


def test_a_blank_answer_writes_a_blank() -> None:
    sifted = write(plan_of("p * 2", LEVEL), p=float32(None, 0.5))
    assert sifted.frame.rows() == [(None, "Cold"), (1.0, "Warm")]
    assert not sifted.held


def test_a_field_is_made_of_features_and_of_the_record_too() -> None:
    features = [{"field": "a", "name": "age", "if_blank": 4, "clip": [0, 10]}, {"name": "next", "formula": "age + 1"}]
    plan = plan_of("p * next", 'who & " is " & TEXT(a)', features=features, record={"who": "text"})
    sifted = write(plan, {"a": [None, 99.0], "who": ["Ann", None]}, p=float32(0.5, 2.0))
    assert sifted.frame.rows() == [(2.5, "Ann is "), (22.0, " is 99")]


def test_an_output_hides_a_field_and_a_feature_of_the_same_name() -> None:
    features = [{"field": "p"}, {"name": "label", "formula": "p + 1"}, {"name": "both", "formula": "label * 2"}]
    plan = plan_of("p", "label", "both", features=features)
    sifted = write(plan, {"p": [9.0]}, p=float32(0.5), label=[7])
    assert sifted.frame.row(0) == (0.5, 7, 20.0)
    assert plan.fields_read() == {"p": FieldType.NUMBER}


def test_an_amount_that_is_only_passed_on_stays_the_decimal_that_it_was() -> None:
    plan = plan_of("total", "key", "total + 0", record={"total": "decimal", "key": "text"})
    given = {"total": pl.Series([Decimal("12345678901234567.10"), None]), "key": ["9007199254740993", "0"]}
    sifted = write(plan, given, p=float32(0, 0))
    assert plan.fields_written()["f"] is FieldType.DECIMAL
    assert sifted.frame["f"].to_list() == ["12345678901234567.10", None]
    assert sifted.frame["f1"].to_list() == ["9007199254740993", "0"]
    assert sifted.frame["f2"].to_list() == [12345678901234567.10, None]


def test_a_key_that_is_only_passed_on_keeps_all_its_digits() -> None:
    plan = plan_of("key", "label", record={"key": "integer"})
    sifted = write(plan, {"key": ["9007199254740993", "x"]}, label=[2**53 + 1, 0])
    assert sifted.frame.row(0) == (9007199254740993, 2**53 + 1)
    assert sifted.held == {1: "field 'f': field 'key' is not a whole number"}


def test_an_amount_that_is_none_or_not_there_is_not_passed_on() -> None:
    plan = plan_of("total", record={"total": "decimal"})
    assert write(plan, {"total": ["12.50", " ", "much"]}, p=[0.0] * 3).held == {2: "field 'f': field 'total' is not a number"}
    assert write(plan, p=[0.0]).frame["f"].to_list() == [None]


def test_a_whole_number_that_is_too_large_holds_its_row() -> None:
    assert write(plan_of("FLOOR(exact)"), exact=[1e300, 2.5]).held == {0: "field 'f' is too large for a whole number"}


def test_the_reason_is_a_text_over_answers_features_and_record() -> None:
    plan = plan_of(LEVEL, record={"who": "text"}, reason='who & " has " & TEXT(a) & ": " & TEXT(ROUND(p, 1))')
    sifted = write(plan, {"a": [3.0], "who": ["Ann"]}, p=float32(0.72))
    assert sifted.frame.row(0, named=True) == {"f": "Hot", "reason": "Ann has 3: 0.7"}
    assert plan.fields_written() == {"f": FieldType.TEXT, "reason": FieldType.TEXT}


def test_the_time_of_day_follows_the_decision_s_clock_and_zone() -> None:
    plan = plan_of("HOUR(TIMENOW())", "p", timezone="Europe/Berlin")
    assert write(plan, p=float32(0.5)).frame["f"].to_list() == [1]


def test_an_output_that_the_model_did_not_give_is_named() -> None:
    with pytest.raises(Misconfigured, match="gave no output 'p', only q"):
        write(plan_of("p"), q=[1.0])

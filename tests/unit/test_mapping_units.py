"""Numbers reach a model in the unit that it was trained on, and a value in any other unit that does not convert is held back."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.unit.test_mapping_formulas import CLOCK, plan_of

from fieldline_core.batch import Sifted
from fieldline_core.errors import Misconfigured
from fieldline_core.pipeline.records import batch_of
from fieldline_mappings import CompiledPlan, MappingDocument
from fieldline_mappings.units import codes, conversions


def converted(number: float, unit: str, wanted: str) -> float | None:
    found = conversions(wanted).get(unit)
    return None if found is None else number * found.times / found.over + found.plus


@pytest.mark.parametrize(
    ("number", "unit", "wanted", "expected"),
    [
        (16, "kPa", "mm[Hg]", 16 / 0.133322), (98.6, "[degF]", "Cel", 37), (37, "Cel", "[degF]", 98.6), (310.15, "K", "Cel", 37),
        (180, "[lb_av]", "kg", 81.6466266), (70, "[in_i]", "cm", 177.8), (5.4, "10*3/uL", "10*9/L", 5.4),
        (60, "{beats}/min", "/min", 60),
        (40, "U/L", "ukat/L", 2 / 3), (1, "k[IU]/L", "[IU]/mL", 1), (30, "mg/g", "ug/mg", 30), (2, "mmol/(24.h)", "mmol/d", 2),
        (1, "kcal", "kJ", 4.184), (20, "ug/kg/min", "mg/kg/h", 1.2), (1, "mL", "cm3", 1), (100, "mg/dL", "g/L", 1),
    ],
)  # fmt: skip
def test_a_number_is_converted_exactly(number: float, unit: str, wanted: str, expected: float) -> None:
    assert converted(number, unit, wanted) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("unit", "wanted"),
    [
        ("mg/dL", "mmol/L"), ("mL/min/{1.73_m2}", "mL/min"), ("%", "mmol/mol"), ("mg/g", "%"), ("meq/L", "mmol/L"),
        ("{score}", "1"),
        ("[IU]/L", "U/L"), ("kg", "cm"), ("mmHg", "mm[Hg]"), ("Cel", "1"),
    ],
)  # fmt: skip
def test_what_depends_on_the_substance_or_is_another_quantity_does_not_convert(unit: str, wanted: str) -> None:
    assert converted(1, unit, wanted) is None


@given(st.sampled_from(sorted(codes())))
def test_each_unit_converts_to_itself_and_back_from_all_others(wanted: str) -> None:
    assert conversions(wanted)[wanted] == (1, 1, 0)
    for unit, found in conversions(wanted).items():
        back = conversions(unit)[wanted]
        assert Fraction(found.times) / Fraction(found.over) * Fraction(back.times) / Fraction(back.over) == 1


def test_a_feature_in_a_unit_converts_its_field() -> None:
    plan = plan_of({"name": "weight", "field": "weight", "unit": "kg", "unit_field": "weight unit"})
    records: list[dict[str, Any]] = [
        {"weight": 70, "weight unit": "kg"}, {"weight": 154, "weight unit": "[lb_av]"}, {"weight": 70, "weight unit": "kgs"},
        {"weight": 70, "weight unit": None},
    ]  # fmt: skip
    sifted = _sifted(plan, records)
    assert [*sifted.frame["weight"]][:2] == pytest.approx([70, 69.85322498])
    assert sorted(sifted.held) == [2, 3]
    assert "does not convert to kg" in sifted.held[2]
    assert "kgs" not in sifted.held[2]


def test_a_value_in_a_list_is_converted_and_other_rows_do_not_matter() -> None:
    record: dict[str, Any] = {"Observations": {"value": "number", "unit": "text", "date": "date", "code": "text"}}
    formula = 'LATEST(CONVERT(Observations.value, Observations.unit, "mm[Hg]"), Observations.date, code = "8480-6")'
    plan = plan_of({"name": "systolic", "formula": formula}, record=record)
    pressure = {"value": 16.0, "unit": "kPa", "date": "2026-01-02", "code": "8480-6"}
    other = {"value": 80.0, "unit": "boxes", "date": "2026-01-03", "code": "29463-7"}
    sifted = _sifted(plan, [{"Observations": [pressure, other]}, {"Observations": [{**pressure, "unit": "bars"}]}])
    assert sifted.frame["systolic"][0] == pytest.approx(120.010200866)
    assert [*sifted.held] == [1]


@pytest.mark.parametrize("wrong", [{"unit": "kg"}, {"unit_field": "u"}, {"unit": "kg", "unit_field": "u", "type": "text"}])
def test_a_unit_goes_with_a_number_and_the_field_of_its_unit(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="unit"):
        MappingDocument.model_validate(
            {"mapping": "m", "features": [{"field": "w", **wrong}], "fields": [{"name": "a", "formula": "y"}]}
        )


def test_a_unit_that_is_not_known_is_told_with_the_nearest() -> None:
    with pytest.raises(Misconfigured, match=r"features\[0\].unit: there is no unit 'mmHg'. Did you mean 'mm\[Hg\]'?"):
        plan_of({"field": "p", "unit": "mmHg", "unit_field": "u"})


def _sifted(plan: CompiledPlan, records: list[dict[str, Any]]) -> Sifted:
    batch, _ = batch_of([(str(number), record) for number, record in enumerate(records)], plan.fields_read())
    return plan.features(batch, CLOCK)

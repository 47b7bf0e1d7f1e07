"""A model's answers into fields to write."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from fieldline_core.batch import Batch, Sifted
from fieldline_core.errors import Misconfigured
from fieldline_core.schema import FieldType
from fieldline_core.signature import Signature, Tensor
from fieldline_mappings import CompiledPlan, MappingDocument, compile_mapping

OUTPUTS = {"p": "float32", "label": "int64", "said": "string", "sure": "bool", "exact": "float64"}


def plan_of(**field: Any) -> CompiledPlan:
    document = MappingDocument.model_validate({"mapping": "m", "features": [{"field": "a"}], "fields": [{"name": "f", **field}]})
    outputs = tuple(Tensor(name=name, dtype=dtype, shape=(None,)) for name, dtype in OUTPUTS.items())
    return compile_mapping(document, Signature(inputs=(Tensor(name="x", dtype="float32", shape=(None, 1)),), outputs=outputs))


def write(plan: CompiledPlan, **outputs: Any) -> Sifted:
    frame = pl.DataFrame(outputs)
    batch = Batch.of([str(row) for row in range(frame.height)], pl.DataFrame({"a": [1.0] * frame.height}))
    return plan.fields(batch, frame, datetime(2025, 1, 1, tzinfo=UTC))


def float32(*values: float | None) -> pl.Series:
    return pl.Series(values, dtype=pl.Float32)


@pytest.mark.parametrize(
    ("field", "values", "type", "expected"),
    [
        ({"output": "p", "round": 4}, float32(0.123456, 0.99999), FieldType.NUMBER, [0.1235, 1.0]),
        ({"output": "exact", "scale": 100, "round": 1}, [0.1225, -0.1225], FieldType.NUMBER, [12.3, -12.3]),
        ({"output": "p", "scale": 100, "round": 0}, float32(0.125, 0.5), FieldType.INTEGER, [13, 50]),
        ({"output": "label"}, [1, 0], FieldType.INTEGER, [1, 0]),
        ({"output": "said"}, ["x", "y"], FieldType.TEXT, ["x", "y"]),
        ({"output": "sure"}, [True, False], FieldType.BOOLEAN, [True, False]),
        ({"output": "label", "labels": {0: "stays", "1": "leaves"}}, [1, 0], FieldType.TEXT, ["leaves", "stays"]),
        ({"output": "p", "labels": {0: "stays", 1: "leaves"}}, float32(1.0, 0.0), FieldType.TEXT, ["leaves", "stays"]),
        ({"output": "said", "labels": {"a": "A"}}, ["a", "a"], FieldType.TEXT, ["A", "A"]),
        ({"output": "sure", "labels": {True: "yes", False: "no"}}, [True, False], FieldType.TEXT, ["yes", "no"]),
    ],
)
def test_an_answer_becomes_a_field_of_its_type(field: dict[str, Any], values: Any, type: FieldType, expected: list[Any]) -> None:
    plan = plan_of(**field)
    sifted = write(plan, **{field["output"]: values})
    assert plan.fields_written() == {"f": type}
    assert sifted.frame["f"].to_list() == expected
    assert not sifted.held


def test_the_highest_threshold_that_is_reached_wins_in_the_models_own_precision() -> None:
    thresholds = [{"at": 0.3, "label": "Warm"}, {"at": 0.7, "label": "Hot"}]
    plan = plan_of(output="p", thresholds=thresholds, otherwise="Cold")
    assert write(plan, p=float32(0.7, 0.69, 0.3, 0.29)).frame["f"].to_list() == ["Hot", "Warm", "Warm", "Cold"]


def test_an_answer_that_cannot_be_written_holds_its_row_alone() -> None:
    for field in ({"output": "p", "scale": 1e308}, {"output": "p", "thresholds": [{"at": 0, "label": "x"}], "otherwise": "y"}):
        held = write(plan_of(**field), p=float32(0.5, float("nan"), None, float("inf"))).held
        assert list(held) == [1, 2, 3]
        assert held[1].startswith("field 'f': the model's output 'p' is no number")


def test_an_answer_without_a_label_holds_its_row() -> None:
    held = write(plan_of(output="label", labels={0: "stays"}), label=[0, 7]).held
    assert held == {1: "field 'f': the model's output 'label' is not among its labels"}


def test_an_output_that_the_model_did_not_give_is_named() -> None:
    with pytest.raises(Misconfigured, match="gave no output 'p', only q"):
        write(plan_of(output="p"), q=[1.0])

"""What is found before anything runs: in the mapping, against the model's signature, against the source's fields."""

from typing import Any

import pytest

from fieldline_core.errors import Misconfigured
from fieldline_core.findings import Severity
from fieldline_core.schema import Entity, Field, FieldType
from fieldline_core.signature import Signature, Tensor
from fieldline_mappings import MappingDocument, compile_mapping, lint_mapping


def mapping(*features: dict[str, Any], fields: Any = ({"name": "score", "output": "p[1]"},), **rest: Any) -> MappingDocument:
    return MappingDocument.model_validate({"mapping": "m", "features": features, "fields": fields, **rest})


def model(*inputs: tuple[str, str, tuple[int | None, ...]], outputs: tuple[Tensor, ...] = ()) -> Signature:
    given = outputs or (Tensor(name="label", dtype="int64", shape=(None,)), Tensor(name="p", dtype="float32", shape=(None, 2)))
    return Signature(inputs=tuple(Tensor(name=name, dtype=dtype, shape=shape) for name, dtype, shape in inputs), outputs=given)


ONE, TWO = (model(("x", "float32", (None, width))) for width in (1, 2))
AB = model(("a", "float32", (None, 1)), ("b", "float32", (None, 1)))
A = [{"field": "a"}]


def out(name: str, **rest: Any) -> dict[str, Any]:
    return {"fields": [{"name": "s", "output": name, **rest}]}


@pytest.mark.parametrize(
    ("features", "rest", "signature", "rule", "words"),
    [
        ([{"field": "a"}, {"field": "b"}], {}, ONE, "wrong-width", "takes 1 values for each row, the features give 2 (a, b)"),
        ([{"field": "a", "type": "text"}], {}, ONE, "wrong-type", "List its `categories`"),
        (A, {}, model(("x", "int64", (None, 1))), "wrong-type", "Use `type: integer`"),
        (A, {}, model(("x", "string", (None, 1))), "wrong-type", "Use `type: text`"),
        (A, {}, model(("x", "float32", (None, 3, 8, 8))), "unfit-input", "? by 3 by 8 by 8"),
        (A, {}, model(("x", "complex64", (None, 1))), "unfit-input", "complex64"),
        (A, {"inputs": {"y": ["a"]}}, ONE, "unknown-input", "no input 'y'"),
        (A, {"inputs": {"x": ["aa"]}}, ONE, "unknown-feature", "Did you mean 'a'?"),
        (A, {}, AB, "unfilled-input", "input 'b'"),
        ([{"field": "a"}, {"field": "a"}], {}, TWO, "duplicate-name", "two features 'a'"),
        ([{"field": "a"}, {"field": "a", "name": "b", "type": "boolean"}], {}, TWO, "two-types", "number"),
        (A, out("p[2]"), ONE, "unknown-output", "Did you mean 'p["),
        (A, out("q"), ONE, "unknown-output", "There are label, p[0], p[1]"),
        (A, out("label", labels={"yes": "x"}), ONE, "wrong-type", "never 'yes'"),
        (A, {"fields": out("p[0]")["fields"] * 2}, ONE, "duplicate-name", "twice"),
    ],
)
def test_what_does_not_fit_is_found_and_keeps_the_mapping_from_compiling(
    features: list[dict[str, Any]], rest: dict[str, Any], signature: Signature, rule: str, words: str
) -> None:
    document = mapping(*features, **rest)
    found = [finding for finding in lint_mapping(document, signature) if finding.rule == rule]
    assert words in found[0].words
    with pytest.raises(Misconfigured, match="mapping 'm' does not fit the model"):
        compile_mapping(document, signature)


def test_thresholds_on_text_are_refused() -> None:
    said = Tensor(name="said", dtype="string", shape=(None,))
    document = mapping({"field": "a"}, **out("said", thresholds=[{"at": 1, "label": "x"}], otherwise="y"))
    assert "only numbers have thresholds" in lint_mapping(document, model(("x", "float32", (None, 1)), outputs=(said,)))[0].message


def test_a_feature_that_fills_nothing_is_only_a_warning() -> None:
    document = mapping({"field": "a"}, {"field": "b"}, inputs={"x": ["a"]})
    assert [(finding.rule, finding.severity) for finding in lint_mapping(document, ONE)] == [("unused-feature", Severity.WARNING)]
    compile_mapping(document, ONE)


def test_fields_are_checked_against_what_was_discovered() -> None:
    discovered = (Field(name="AnnualRevenue", type=FieldType.NUMBER), Field(name="Tags", type=FieldType.LIST))
    year = {"field": "AnnualRevenue", "type": "date", "as": "year"}
    features = [{"field": "annualrevenue"}, {"field": "Owner.Tier"}, {"field": "Tags"}, year]
    found = lint_mapping(mapping(*features), None, Entity(name="Account", fields=discovered))
    assert [(finding.rule, finding.path, finding.severity) for finding in found] == [
        ("unknown-field", "features[0].field", Severity.ERROR),
        ("unknown-field", "features[1].field", Severity.WARNING),
        ("unreadable-type", "features[2].type", Severity.ERROR),
        ("unreadable-type", "features[3].type", Severity.ERROR),
    ]
    assert found[0].suggestion == "Did you mean 'AnnualRevenue'?"


def test_a_model_with_several_inputs_takes_features_of_the_same_name() -> None:
    signature = model(("b", "string", (None, 1)), ("a", "int64", (None,)))
    plan = compile_mapping(mapping({"field": "a", "type": "integer"}, {"field": "b", "type": "text"}), signature)
    assert plan.fields_read() == {"a": FieldType.INTEGER, "b": FieldType.TEXT}


def test_the_digest_follows_the_document_and_the_signature() -> None:
    plans = [
        compile_mapping(mapping({"field": "a"}), ONE),
        compile_mapping(mapping({"field": "a"}), ONE),
        compile_mapping(mapping({"field": "b"}), ONE),
        compile_mapping(mapping({"field": "a"}), model(("y", "float32", (None, 1)))),
    ]
    assert plans[0].digest == plans[1].digest
    assert len({plan.digest for plan in plans}) == 3


def test_a_field_that_gives_days_and_moments_is_read_as_a_moment() -> None:
    day = {"field": "t", "name": "d", "type": "date", "as": "year"}
    hour = {"field": "t", "name": "h", "type": "datetime", "as": "hour"}
    for features in ((day, hour), (hour, day)):
        plan = compile_mapping(mapping(*features), model(("x", "float32", (None, 2))))
        assert plan.fields_read() == {"t": FieldType.DATETIME}


def test_outputs_of_unknown_width_are_checked_when_they_are_there() -> None:
    loose = (Tensor(name="p", dtype="float32", shape=(None, None)),)
    signature = model(("x", "float32", (None, 1)), outputs=loose)
    assert signature.output_columns() == ("p[…]",)
    assert compile_mapping(mapping({"field": "a"}), signature).fields_written() == {"score": FieldType.NUMBER}
    assert lint_mapping(mapping({"field": "a"}, fields=[{"name": "s", "output": "p[x]"}]), signature)[0].rule == "unknown-output"

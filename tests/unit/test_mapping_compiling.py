"""What is found before anything runs: in the mapping, against the model's signature, against the source's fields."""

from typing import Any

import pytest

from fieldline_core.errors import Misconfigured
from fieldline_core.findings import Severity
from fieldline_core.schema import Entity, Field, FieldType
from fieldline_core.signature import Signature, Tensor
from fieldline_mappings import MappingDocument, compile_mapping, lint_mapping


def mapping(*features: dict[str, Any], fields: Any = ({"name": "score", "formula": "p[1]"},), **rest: Any) -> MappingDocument:
    return MappingDocument.model_validate({"mapping": "m", "features": features, "fields": fields, **rest})


def model(*inputs: tuple[str, str, tuple[int | None, ...]], outputs: tuple[Tensor, ...] = ()) -> Signature:
    given = outputs or (Tensor(name="label", dtype="int64", shape=(None,)), Tensor(name="p", dtype="float32", shape=(None, 2)))
    return Signature(inputs=tuple(Tensor(name=name, dtype=dtype, shape=shape) for name, dtype, shape in inputs), outputs=given)


ONE, TWO = (model(("x", "float32", (None, width))) for width in (1, 2))
AB = model(("a", "float32", (None, 1)), ("b", "float32", (None, 1)))
A = [{"field": "a"}]


def out(formula: str) -> dict[str, Any]:
    return {"fields": [{"name": "s", "formula": formula}]}


def by(formula: str, **rest: Any) -> list[dict[str, Any]]:
    return [{"name": "f", "formula": formula, **rest}]


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
        (A, out("p[2]"), ONE, "unknown-field", "Did you mean 'p["),
        (A, out("q"), ONE, "unknown-field", "there is no field 'q'"),
        (A, out("IF(label, 1, 0)"), ONE, "wrong-type", "Compare it: label > 0."),
        (A, {"fields": out("p[0]")["fields"] * 2}, ONE, "duplicate-name", "twice"),
        (A, {"fields": [{"name": "reason", "formula": "label"}], "reason": '"so"'}, ONE, "duplicate-name", "the field another"),
        (A, {"reason": "p[1]"}, ONE, "wrong-type", "the reason is a text"),
        (by("a + 1"), {}, ONE, "unknown-field", "there is no field 'a'"),
        (by("a + "), {"record": {"a": "number"}}, ONE, "formula-syntax", "a value is missing"),
        (by("a + 1"), {"record": {"a": "text"}}, ONE, "wrong-type", "VALUE(a)"),
        (by("d"), {"record": {"d": "date"}}, ONE, "wrong-type", "DAYS_SINCE(d)"),
        ([{"field": "d"}], {"record": {"d": "date"}}, ONE, "wrong-type", "DAYS_SINCE(d)"),
        ([{"field": "L"}], {"record": {"L": {"x": "number"}}}, ONE, "list", "COUNT(L)"),
        (by("a > 1", type="number"), {"record": {"a": "number"}}, ONE, "wrong-type", "Write `type: boolean`"),
        (by("g", name="f") + by("1", name="g"), {}, TWO, "unknown-field", "'g'"),
        (by("a", if_blank="x"), {"record": {"a": "number"}}, ONE, "wrong-type", "Write a number, hold or flag."),
        ([{"field": "a", "if_blank": "zero"}], {}, ONE, "wrong-type", "Write a number, hold or flag."),
        (by("a", check={"max_length": 3}), {"record": {"a": "number"}}, ONE, "wrong-type", "`check.max_length` takes texts"),
        (by("a", check={"one_of": ["x"]}), {"record": {"a": "number"}}, ONE, "wrong-type", "`check.one_of` takes"),
        (by("LEFT(a, 1)", clip=[0, 1]), {"record": {"a": "text"}}, ONE, "wrong-type", "`clip` takes numbers"),
        ([{"field": "a", "type": "boolean", "check": {"at_least": 1}}], {}, ONE, "wrong-type", "`check.at_least` takes numbers"),
        ([{"field": "a", "type": "integer", "clip": [0, 1.5]}], {}, ONE, "wrong-type", "`clip` takes whole numbers"),
        (by('LOOKUP("risk", a)'), {"record": {"a": "text"}}, ONE, "unknown-table", "List it under `tables`"),
        (by('LOOKUP("rsk", a)'), {"record": {"a": "text"}, "tables": {"risk": {"x": 1}}}, ONE, "unknown-table", "mean 'risk'?"),
        (by('LOOKUP("risk", a)'), {"record": {"a": "number"}, "tables": {"risk": {"x": 1}}}, ONE, "wrong-type", "TEXT(a)"),
        (by("L.x + 1"), {"record": {"L": {"x": "number"}}}, ONE, "list", "SUM(L."),
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


def test_a_finding_in_a_formula_says_at_which_character_it_is() -> None:
    (found,) = lint_mapping(mapping(*by("1 + IF(a > 1, b, 0)"), record={"a": "number"}), ONE)
    assert (found.path, found.offset) == ("features[0].formula", 14)


def test_formulas_of_fields_are_parsed_even_where_no_model_is_known() -> None:
    assert [finding.rule for finding in lint_mapping(mapping({"field": "a"}, **out("IF(score > 1")))] == ["formula-syntax"]
    assert lint_mapping(mapping({"field": "a"}, **out("score > 1"))) == []


def test_a_feature_that_fills_nothing_is_only_a_warning() -> None:
    document = mapping({"field": "a"}, {"field": "b"}, inputs={"x": ["a"]})
    assert [(finding.rule, finding.severity) for finding in lint_mapping(document, ONE)] == [("unused-feature", Severity.WARNING)]
    compile_mapping(document, ONE)


def test_fields_are_checked_against_what_was_discovered() -> None:
    discovered = (Field(name="AnnualRevenue", type=FieldType.NUMBER), Field(name="Tags", type=FieldType.LIST))
    features = [{"field": "annual"}, {"field": "Owner.Tier"}, {"field": "Tags"}, *by("YEAR(AnnualRevenue)")]
    found = lint_mapping(mapping(*features, record={"AnnualRevenue": "date"}), None, Entity(name="Account", fields=discovered))
    assert {(finding.rule, finding.path, finding.severity) for finding in found} == {
        ("unknown-field", "features[0].field", Severity.ERROR),
        ("unknown-field", "features[1].field", Severity.WARNING),
        ("unreadable-type", "features[2].field", Severity.ERROR),
        ("unreadable-type", "record.AnnualRevenue", Severity.ERROR),
    }
    (misspelt,) = [finding for finding in found if finding.path == "features[0].field"]
    assert misspelt.suggestion == "Did you mean 'AnnualRevenue'?"


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


def test_a_field_is_read_as_the_type_that_is_listed_for_it() -> None:
    record = {"t": "datetime", "n": "integer", "s": "text"}
    features = [*by("YEAR(DATEVALUE(t))"), {"field": "n"}, {"field": "s", "type": "text", "categories": ["x"]}]
    plan = compile_mapping(mapping(*features, record=record), model(("x", "float32", (None, 3))))
    assert plan.fields_read() == {name: FieldType(type) for name, type in record.items()}
    assert [column.kind for column in plan.columns] == ["number", "integer", "flag"]


def test_outputs_of_unknown_width_are_checked_when_they_are_there() -> None:
    loose = (Tensor(name="p", dtype="float32", shape=(None, None)),)
    signature = model(("x", "float32", (None, 1)), outputs=loose)
    assert signature.output_columns() == ("p[…]",)
    assert compile_mapping(mapping({"field": "a"}), signature).fields_written() == {"score": FieldType.NUMBER}
    assert lint_mapping(mapping({"field": "a"}, **out("p[1] + q")), signature)[0].rule == "unknown-field"

"""What editors are offered is what the language takes: functions with their arguments, operators, words, and a mapping's names."""

import re
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from itertools import product
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_core.batch import Batch
from fieldline_core.errors import Misconfigured
from fieldline_core.signature import Signature, Tensor
from fieldline_mappings import MappingDocument, compile_mapping
from fieldline_mappings.completion import (
    FormulaFunction,
    FormulaName,
    FormulaParameter,
    completion,
    functions,
    functions_named,
    operators,
    words,
)
from fieldline_mappings.formula import FUNCTIONS, Checker, FormulaError, Scope, Slot, Type
from fieldline_mappings.formula.functions import AGGREGATES
from fieldline_mappings.formula.functions.rows import EXAMPLE

ORDERS = {"amount": "number", "placed": "date", "state": "text"}
MODEL = Signature(
    inputs=(Tensor(name="x", dtype="float32", shape=(None, None)),),
    outputs=(
        Tensor(name="score", dtype="float32", shape=(None,)), Tensor(name="probabilities", dtype="float32", shape=(None, 2)),
        Tensor(name="label", dtype="string", shape=(None,)), Tensor(name="rest", dtype="int64", shape=(None, None)),
    ),
)  # fmt: skip
PLAIN = [function for function in functions() if function.group != "aggregates"]
CONSTANTS = {Type.TEXT: '"risk"', Type.NUMBER: "1"}


def mapping(**parts: Any) -> MappingDocument:
    given = {"mapping": "m", "features": [{"field": "a"}], "fields": [{"name": "f", "formula": "score"}], **parts}
    return MappingDocument.model_validate(given)


def named(document: MappingDocument, signature: Signature | None = None) -> dict[tuple[str, str], FormulaName]:
    return {(each.kind, each.name): each for each in completion(document, signature).names}


def only(name: str) -> FormulaFunction:
    (found,) = functions_named(name)
    return found


def test_every_function_is_offered_once_and_operators_stand_apart() -> None:
    offered = [function.name for function in functions()]
    operating = {function.name for function in FUNCTIONS.values() if function.group == "operators"}
    assert sorted(offered) == sorted([*(FUNCTIONS.keys() - operating), *AGGREGATES])
    assert all(function.about.endswith(".") and function.example and function.answer for function in functions())


def test_every_operator_of_the_grammar_is_offered() -> None:
    grammar = files("fieldline_mappings.formula").joinpath("grammar.lark").read_text()
    terminals = re.findall(r"^(?:OR|AND|EQUALITY|RELATION|ADD|POWER|MULTIPLY|BANG): .*", grammar, re.MULTILINE)
    signs = re.findall(r'"([^"]+)"', "\n".join(terminals))
    assert {operator.sign for operator in operators()} == {*signs, "NOT"}


def test_an_operator_says_what_it_does_and_how_tight_it_binds() -> None:
    by_usage = {operator.usage: operator for operator in operators()}
    assert (by_usage["a & b"].example, by_usage["a & b"].answer) == ('"a" & "b"', "ab")
    assert by_usage["a == b"].about == by_usage["a = b"].about
    assert by_usage["a || b"].binds < by_usage["a + b"].binds < by_usage["a * b"].binds < by_usage["-a"].binds


def test_every_word_is_a_value_of_its_type() -> None:
    checker = Checker(Scope())
    assert [checker.parts[checker.check(word.name)].type for word in words()] == [word.type for word in words()]
    assert [word.name for word in words()] == ["TRUE", "FALSE", "NULL", "$System.OriginDateTime"]


@pytest.mark.parametrize("name", AGGREGATES)
def test_an_example_over_child_rows_gives_what_is_said(name: str) -> None:
    function = functions_named(name)[-1]
    document = mapping(record={"Orders": ORDERS}, fields=[{"name": "answer", "formula": function.example}])
    plan = compile_mapping(document, MODEL)
    batch = Batch.of(["one"], pl.DataFrame({"a": [1.0], **{name: [list(rows)] for name, rows in function.record.items()}}))
    written = plan.fields(batch, pl.DataFrame({"score": [1.0]}), None)
    (given,) = written.frame["answer"].to_list()
    assert (f"{given:g}" if isinstance(given, float) else str(given)) == function.answer
    assert not written.held


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("ROUND", "ROUND(number: number, [places: number]) → number"),
        ("AND", "AND(condition: boolean, [condition…: boolean]) → boolean"),
        ("CASE", "CASE(expression: any value, value…: any value, then…: any value, else: any value) → any value"),
        ("IFS", "IFS(condition…: boolean, then…: any value, else: any value) → any value"),
        ("ADDMONTHS", "ADDMONTHS(date: date or datetime, months: number) → date or datetime"),
        ("TODAY", "TODAY() → date"),
        ("SUM", "SUM(list.number: number, [condition: boolean]) → number"),
        (
            "LATEST",
            "LATEST(list.field: any value, list.date: number or date or datetime or time, [condition: boolean]) → any value",
        ),
    ],
)
def test_a_signature_says_what_is_taken_and_given(name: str, signature: str) -> None:
    assert only(name).signature == signature


def test_an_argument_that_is_written_as_a_constant_says_so() -> None:
    assert [parameter.constant for parameter in only("LOOKUP").parameters] == [True, False, False]
    assert [parameter.constant for parameter in only("BUCKET").parameters] == [False, True]


@pytest.mark.parametrize("function", PLAIN, ids=lambda function: function.name)
def test_a_call_with_the_arguments_that_are_offered_has_as_many_as_it_takes(function: FormulaFunction) -> None:
    needed = sum(not parameter.optional for parameter in function.parameters)
    repeated = sum(parameter.repeated for parameter in function.parameters)
    counts = [needed, len(function.parameters), *(len(function.parameters) + times * repeated for times in (1, 2, 3))]
    assert all(FUNCTIONS[function.name].takes(count) for count in counts)
    assert repeated or not FUNCTIONS[function.name].takes(len(function.parameters) + 1)


@pytest.mark.parametrize("function", PLAIN, ids=lambda function: function.name)
def test_arguments_of_the_types_that_are_offered_give_the_types_that_are_said(function: FormulaFunction) -> None:
    given = set(results(function))
    assert given <= set(function.results)
    # Only its table says what LOOKUP gives, and CONVERT takes a unit, not any text.
    assert given == set(function.results) or function.name in ("LOOKUP", "CONVERT")


def results(function: FormulaFunction) -> Iterator[Type]:
    """The types of all calls with one value for each argument that the check takes."""
    scope = Scope({f"a_{type.name.lower()}": Slot(f"a_{type.name}", type) for type in Type})
    checker = Checker(scope, {"risk": (Type.TEXT, Type.NUMBER)})
    for count in {sum(not each.optional for each in function.parameters), len(function.parameters)}:
        for arguments in product(*map(values, function.parameters[:count])):
            # Two arguments may be of types that do not go together.
            with suppress(FormulaError):
                yield checker.parts[checker.check(f"{function.name}({', '.join(arguments)})")].type


def values(parameter: FormulaParameter) -> list[str]:
    """A value of each type that an argument takes."""
    return [CONSTANTS[type] if parameter.constant else f"a_{type.name}" for type in parameter.types]


@pytest.mark.parametrize(
    ("name", "said"),
    [("rounde", "Did you mean 'ROUND'?"), ("vlookup", "Write LOOKUP("), ("lates", "Did you mean 'LATEST'?"), ("qq", "shows all")],
)
def test_an_unknown_function_gives_the_one_that_is_meant(name: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=re.escape(said)):
        functions_named(name)


def test_a_function_that_also_goes_over_child_rows_has_two_forms() -> None:
    assert [form.group for form in functions_named("max")] == ["mathematics", "aggregates"]
    assert functions_named("max")[1].record == EXAMPLE


def test_a_mapping_offers_its_fields_lists_features_and_tables() -> None:
    document = mapping(
        record={"Amount": "decimal", "Signed on": "date", "Orders": ORDERS},
        tables={"risk": {"Banking": 0.2}, 'say "hi"': {1: "x"}},
        features=[{"field": "Amount"}, {"name": "days", "formula": "DAYS_SINCE(`Signed on`)"}, {"field": "vip", "type": "boolean"}],
    )
    offered = {(name.kind, name.written): (name.type, name.key_type, name.position) for name in completion(document).names}
    assert offered == {
        ("field", "Amount"): (Type.NUMBER, None, None), ("field", "`Signed on`"): (Type.DATE, None, None),
        ("field", "vip"): (Type.BOOLEAN, None, None), ("list", "Orders"): (Type.ROWS, None, None),
        ("child field", "Orders.amount"): (Type.NUMBER, None, None), ("child field", "Orders.placed"): (Type.DATE, None, None),
        ("child field", "Orders.state"): (Type.TEXT, None, None), ("feature", "days"): (Type.NUMBER, None, 1),
        ("table", '"risk"'): (Type.NUMBER, Type.TEXT, None), ("table", r'"say \"hi\""'): (Type.TEXT, Type.NUMBER, None),
    }  # fmt: skip


def test_a_feature_that_no_formula_can_name_is_not_offered() -> None:
    features = [{"name": "wrong", "formula": "nothing + 1"}, {"name": "tick`ed", "formula": "1"}, {"name": "$a", "formula": "1"}]
    assert completion(mapping(features=features)).names == ()


def test_outputs_are_offered_where_the_model_is_known() -> None:
    document = mapping(features=[{"name": "score", "formula": "1"}])
    assert named(document).keys() == {("feature", "score")}
    offered = named(document, MODEL)
    assert {name: each.type for (kind, name), each in offered.items() if kind == "output"} == {
        "score": Type.NUMBER, "probabilities[0]": Type.NUMBER, "probabilities[1]": Type.NUMBER, "label": Type.TEXT,
        "rest": Type.NUMBER,
    }  # fmt: skip
    assert ("feature", "score") in offered


def test_without_a_mapping_the_language_alone_is_offered() -> None:
    offered = completion()
    assert offered.names == ()
    assert (offered.functions, offered.operators, offered.words) == (functions(), operators(), words())


NAMES = st.text(st.characters(exclude_characters="."), min_size=1, max_size=8) | st.sampled_from(
    ["null", "not", "a b", "Ä", "x[1]", "1st", "a`b", "$x", "/* a */", "SUM"]
)
KINDS = st.sampled_from(["text", "number", "integer", "decimal", "boolean", "date", "datetime", "time"])


@given(record=st.dictionaries(NAMES, KINDS | st.dictionaries(NAMES, KINDS, min_size=1, max_size=3), max_size=6))
def test_whatever_is_offered_can_be_written_in_a_formula(record: dict[str, Any]) -> None:
    document = mapping(record=record, features=[{"name": "own", "formula": "1"}])
    checker = Checker(Scope.of(document.record_types))
    for name in completion(document).names:
        if name.kind == "field":
            assert checker.parts[checker.check(name.written)].type is name.type
        elif name.kind in ("list", "child field"):
            checker.check(f"COUNT({name.written})")

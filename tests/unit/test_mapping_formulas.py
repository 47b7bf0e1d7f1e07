"""Features by formula: what they may name, what keeps a row back, and what a mapping reads from the source."""

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from fieldline_core.batch import Batch, Sifted
from fieldline_core.pipeline.records import batch_of
from fieldline_core.schema import FieldType
from fieldline_core.signature import Signature, Tensor
from fieldline_mappings import CompiledPlan, MappingDocument, compile_mapping, explain

CLOCK = datetime(2026, 3, 1, 12, tzinfo=UTC)
ITEMS = {"Items": {"price": "number", "sold": "date", "kind": "text"}}
ROWS: list[list[dict[str, Any]] | None] = [
    [{"price": 10.0, "sold": "2026-02-01", "kind": "a"}, {"price": 32.5, "sold": "2026-02-20", "kind": "b"}],
    [{"price": None, "sold": "2026-01-01", "kind": "b"}],
    [],
    None,
]


def plan_of(*features: Any, dtype: str = "float64", **rest: Any) -> CompiledPlan:
    """A plan of features; one given as text is a formula, named f0, f1 … by its position."""
    named = [
        {"name": f"f{place}", "formula": feature} if isinstance(feature, str) else feature for place, feature in enumerate(features)
    ]
    fields = {"fields": [{"name": "s", "formula": "p"}]}
    document = MappingDocument.model_validate({"mapping": "m", "features": named, **fields, **rest})
    outputs = (Tensor(name="p", dtype="float32", shape=(None, 1)),)
    return compile_mapping(document, Signature(inputs=(Tensor(name="x", dtype=dtype, shape=(None, None)),), outputs=outputs))


def made(plan: CompiledPlan, frame: pl.DataFrame | None = None, **columns: Any) -> Sifted:
    frame = pl.DataFrame(columns) if frame is None else frame
    return plan.features(Batch.of([str(row) for row in range(frame.height)], frame), CLOCK)


def values(formula: str, blanks: str = "blank", types: dict[str, Any] | None = None, **columns: Any) -> list[Any]:
    """What a formula over number fields gives for each row; a reason where the row is held back."""
    record = types or dict.fromkeys(columns, "number")
    sifted = made(plan_of(formula, record=record, blanks=blanks), **columns)
    return [sifted.held.get(row, value) for row, value in enumerate(sifted.frame.to_series().to_list())]


def test_a_formula_is_computed_from_the_fields_that_are_listed() -> None:
    assert values("a / b + 1", a=[3.0, 1.0], b=[2.0, 4.0]) == [2.5, 1.25]
    types = {"Account.tier": "text", "big": "boolean"}
    given = {"Account.tier": ["gold", None], "big": ["yes", "no"]}
    assert values('IF(big && account.TIER = "gold", 1, 0)', types=types, **given) == [1, 0]


def test_a_blank_makes_the_result_blank_or_counts_as_zero() -> None:
    assert values("a + b", a=[1.0], b=[None]) == ["feature 'f0' is blank"]
    assert values("a + b", "zero", a=[1.0], b=[None]) == [1.0]
    assert values("IF(ISBLANK(a), 7, a)", a=[None, 2.0]) == [7.0, 2.0]


def test_blanks_are_zero_in_formulas_only() -> None:
    fields = {"field": "a", "if_blank": 9}, {"field": "k", "type": "integer", "if_blank": 8}
    sifted = made(plan_of(*fields, "a + 1", "k", record={"a": "number", "k": "integer"}, blanks="zero"), a=[None], k=[None])
    assert (sifted.frame.row(0), sifted.held) == ((9.0, 8, 1.0, 0), {})


def test_an_error_is_never_filled_as_a_blank_is() -> None:
    feature = {"name": "rate", "formula": "a / b", "if_blank": 5}
    sifted = made(plan_of(feature, record={"a": "number", "b": "number"}), a=["4", "4", "", "four"], b=["2", "0", "2", "2"])
    assert sifted.frame["rate"].to_list()[::2] == [2.0, 5.0]
    assert sifted.held == {1: "feature 'rate': division by zero in a / b", 3: "feature 'rate': field 'a' is not a number"}


def test_an_error_that_is_caught_or_not_taken_holds_nothing_back() -> None:
    assert values("IFERROR(a / b, -1)", a=[4.0], b=[0.0]) == [-1]
    assert values("IF(b = 0, 0, a / b)", a=[4.0, 4.0], b=[0.0, 2.0]) == [0.0, 2.0]


@pytest.mark.parametrize(
    ("check", "given", "reason"),
    [
        ({"at_least": 0}, [0.0, -0.5, None], "is less than 0"),
        ({"at_most": 1.5}, [1.5, 2.0, None], "is more than 1.5"),
        ({"one_of": [1, 2]}, [2.0, 3.0, None], "is not one of the 2 values allowed"),
        ({"one_of": ["a", "b"]}, ["a", "c", None], "is not one of the 2 values allowed"),
        ({"max_length": 2}, ["äö", "abc", None], "is longer than 2 characters"),
    ],
)
def test_a_value_that_does_not_meet_its_check_holds_its_row(check: dict[str, Any], given: list[Any], reason: str) -> None:
    kind = "text" if isinstance(given[0], str) else "number"
    categories = {"categories": ["a", "c", "äö", "abc"]} if kind == "text" else {}
    fill = "a" if kind == "text" else 0
    sifted = made(plan_of({"field": "f", "type": kind, "check": check, "if_blank": fill, **categories}), f=given)
    assert sifted.held == {1: f"feature 'f': field 'f' {reason}"}


def test_whole_numbers_are_checked_and_clipped_too() -> None:
    feature = {"field": "f", "type": "integer", "check": {"one_of": [1, 7], "at_least": 0.5}, "clip": [2, 5]}
    sifted = made(plan_of(feature), f=["1", "7", "3", "0"])
    assert sifted.frame["f"].to_list()[:2] == [2, 5]
    assert sorted(sifted.held) == [2, 3]


@pytest.mark.parametrize(("encode", "given"), [("onehot", [(0, 1), (1, 0), (0, 0)]), ("index", [(1,), (0,), (-1,)])])
def test_a_whole_number_by_formula_has_categories(encode: str, given: list[tuple[int, ...]]) -> None:
    month = {"name": "month", "formula": "MONTH(d)", "type": "integer", "categories": [1, 2], "encode": encode}
    days = ["2026-02-01", "2026-01-31", "2026-03-01"]
    known = plan_of({**month, "if_unknown": "other"}, record={"d": "date"})
    assert made(known, d=days).frame.rows() == given
    assert made(plan_of(month, record={"d": "date"}), d=days).held == {2: "feature 'month' is not one of its 2 categories"}


def test_a_whole_number_stays_one_when_it_is_clipped() -> None:
    clipped = {"clip": [2, 5]}
    both = {"field": "f", "type": "integer", **clipped}, {"name": "g", "formula": "f + 0", "type": "integer", **clipped}
    plan = plan_of(*both, dtype="int64")
    assert plan.tensors(made(plan, f=["1", "9"]).frame)["x"].tolist() == [[2, 2], [5, 5]]


def test_a_number_is_clipped_after_it_was_checked_and_its_blank_filled() -> None:
    feature = {"field": "f", "clip": [0, 10], "check": {"at_most": 100}, "if_blank": 50}
    sifted = made(plan_of(feature), f=[-3.0, 4.5, 99.0, 101.0, None])
    assert sifted.frame["f"].to_list()[:3] == [0.0, 4.5, 10.0]
    assert sifted.frame["f"].to_list()[4] == 10.0
    assert sifted.held == {3: "feature 'f': field 'f' is more than 100"}


def test_a_feature_names_those_above_it_as_the_model_is_given_them() -> None:
    above = {"name": "ratio", "formula": "a / b", "if_blank": 0, "clip": [0, 2]}
    plan = plan_of(above, "RATIO + 1", record={"a": "number", "b": "number"})
    sifted = made(plan, a=[6.0, None, 1.0], b=[2.0, 1.0, 0.0])
    assert sifted.frame.rows()[:2] == [(2.0, 3.0), (0.0, 1.0)]
    assert sifted.held == {2: "feature 'ratio': division by zero in a / b; feature 'f1': division by zero in a / b"}


def test_a_field_of_the_record_keeps_its_name_where_a_feature_has_it_too() -> None:
    plan = plan_of({"name": "a", "formula": "b * 2"}, "a", record={"a": "number", "b": "number"})
    assert made(plan, a=[1.0], b=[5.0]).frame.row(0) == (10.0, 1.0)


def test_what_a_formula_gives_is_the_feature_s_type() -> None:
    half = {"name": "half", "formula": "a / 2", "type": "integer"}
    plan = plan_of("a > 1", half, {"field": "key"}, record={"a": "number", "key": "integer"})
    sifted = made(plan, a=[4.0, 3.0], key=["7", "8"])
    assert sifted.frame.row(0) == (1, 2, 7)
    assert sifted.held == {1: "feature 'half' is not a whole number"}


@pytest.mark.parametrize("feature", [{"field": "key", "type": "integer"}, {"name": "key", "formula": "key"}])
def test_a_key_of_19_digits_reaches_the_model_as_it_is(feature: dict[str, Any]) -> None:
    keys = ["9007199254740993", "-1234567890123456789"]
    plan = plan_of(feature, dtype="int64", record={"key": "integer"})
    assert plan.tensors(made(plan, key=keys).frame)["x"].tolist() == [[int(key)] for key in keys]


def test_a_lookup_table_is_part_of_the_mapping() -> None:
    tables = {"Risk": {"Banking": 0.25, "Retail": 0.5}, "zone": {1: "north", 2: "south"}}
    features = ['LOOKUP("risk", industry, 1)', {"name": "north", "formula": 'LOOKUP("zone", zone) = "north"'}]
    plan = plan_of(*features, tables=tables, record={"industry": "text", "zone": "number"})
    sifted = made(plan, industry=["Retail", "Mining", None], zone=[1.0, 2.0, 3.0])
    assert sifted.frame.rows()[:2] == [(0.5, 1), (1.0, 0)]
    assert sifted.held == {2: "feature 'f0' is blank; feature 'north': the table zone has no such key in LOOKUP(\"zone\", zone)"}


def test_a_table_keeps_its_numbers_when_the_mapping_is_stored() -> None:
    document = plan_of('LOOKUP("zone", a)', record={"a": "number"}, tables={"zone": {2: 0.5, 1: 1.5}}).document
    assert MappingDocument.model_validate(json.loads(document.model_dump_json())) == document


FORMULAS = {
    "COUNT(Items)": [2.0, 1.0, 0.0, 0.0],
    "SUM(Items.price)": [42.5, 0.0, 0.0, 0.0],
    'COUNT(Items, kind = "b" && price > least)': [1.0, 0.0, 0.0, 0.0],
    "BLANKVALUE(AVG(Items.price), -1)": [21.25, -1.0, -1.0, -1.0],
    "BLANKVALUE(DAYS_SINCE(MAX(Items.sold)), -1)": [9.0, 59.0, -1.0, -1.0],
    'IF(LATEST(Items.kind, Items.sold) = "b", 1, 0)': [1.0, 1.0, 0.0, 0.0],
}


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "rows"])
def test_child_rows_come_as_a_list_column_or_as_json(as_json: bool) -> None:
    plan = plan_of(*FORMULAS, record={**ITEMS, "least": "number"})
    struct = pl.Struct({"price": pl.Float64, "sold": pl.String, "kind": pl.String})
    lists = pl.Series("Items", [json.dumps(rows) if rows is not None else None for rows in ROWS] if as_json else ROWS,
                      dtype=pl.String if as_json else pl.List(struct))  # fmt: skip
    sifted = made(plan, pl.DataFrame([lists, pl.Series("least", [20.0] * 4)]))
    assert not sifted.held
    assert [sifted.frame[f"f{place}"].to_list() for place in range(len(FORMULAS))] == list(FORMULAS.values())


def test_child_rows_of_an_event_are_read_and_a_list_that_is_none_holds_its_row() -> None:
    plan = plan_of("SUM(Items.price)", record=ITEMS)
    assert plan.fields_read() == {"Items": {"price": FieldType.NUMBER}}
    records = [{"Items": [{"price": "1.5", "sold": "x"}]}, {"Items": "none"}, {"Items": [1]}, {}]
    given, held = batch_of([(str(row), record) for row, record in enumerate(records)], plan.fields_read())
    assert held == dict.fromkeys((1, 2), "the field Items is not a list of rows")
    assert plan.features(given, CLOCK).frame["f0"].to_list() == [1.5, 0.0, 0.0, 0.0]
    broken = made(plan, Items=['{"price": 1}', "[", '[{"price": "much"}]'])
    assert broken.held == {
        0: "feature 'f0': Items is not a list of rows", 1: "feature 'f0': Items is not a list of rows",
        2: "feature 'f0': field 'price' is not a number",
    }  # fmt: skip


def test_each_feature_and_field_is_traced_to_the_fields_it_depends_on() -> None:
    spent = {"name": "spent", "formula": "SUM(Items.price, sold > since) + twice"}
    features = [{"field": "a"}, {"name": "twice", "formula": "a * 2"}, spent]
    record = {**ITEMS, "since": "date", "who": "text", "unused": "number"}
    fields = [{"name": "s", "formula": "p"}, {"name": "copy", "formula": "who"}, {"name": "sum", "formula": "twice + COUNT(Items)"}]
    plan = plan_of(*features, record=record, fields=fields)
    assert plan.lineage() == {
        "a": ("a",), "twice": ("a",), "spent": ("Items.price", "Items.sold", "a", "since"),
        "s": ("Items.price", "Items.sold", "a", "since"), "copy": ("who",), "sum": ("Items", "a"),
    }  # fmt: skip


def test_only_the_fields_that_something_depends_on_are_asked_for() -> None:
    record = {**ITEMS, "since": "date", "unused": "number", "id": "integer"}
    fields = [{"name": "s", "formula": "TEXT(id) & TEXT(p)"}]
    plan = plan_of({"field": "a"}, "SUM(Items.price, sold > since)", record=record, fields=fields)
    assert plan.fields_read() == {
        "Items": {"price": FieldType.NUMBER, "sold": FieldType.DATE}, "since": FieldType.DATE, "a": FieldType.NUMBER,
        "id": FieldType.INTEGER,
    }  # fmt: skip


def test_a_plan_says_whether_its_features_depend_on_the_clock() -> None:
    assert plan_of("DAYS_SINCE(d)", record={"d": "date"}).uses_clock
    assert not plan_of({"field": "a"}, fields=[{"name": "s", "formula": "NOW()"}]).uses_clock


def test_the_preview_of_a_constant_has_no_steps() -> None:
    ((cell,),) = explain(plan_of("1"), Batch.of(["1"], pl.DataFrame({"a": [1.0]})), CLOCK)
    assert (cell["steps"], cell["computed"], cell["value"]) == ([], 1.0, 1.0)


def test_the_preview_goes_through_a_formula_step_by_step() -> None:
    plan = plan_of("SUM(Items.price) / days", record={**ITEMS, "days": "number"})
    given = Batch.of(["1", "2"], pl.DataFrame({"Items": [json.dumps(ROWS[0])] * 2, "days": [2.0, 0.0]}))
    first, second = explain(plan, given, CLOCK)
    assert [(step["part"], step["value"]) for step in first[0]["steps"]] == [
        ("SUM(Items.price)", 42.5), ("days", 2.0), ("SUM(Items.price) / days", 21.25),
    ]  # fmt: skip
    assert (first[0]["value"], first[0]["note"]) == (21.25, "")
    assert (second[0]["value"], second[0]["note"]) == (None, "feature 'f0': division by zero in SUM(Items.price) / days")

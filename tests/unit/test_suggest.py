"""A source written down as a mapping: its record, proposals for a model's inputs, features added to a file."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fieldline_core.errors import Misconfigured
from fieldline_core.schema import Entity, Field, FieldType
from fieldline_mappings import MappingDocument
from fieldline_mappings.inserting import features_indent, with_features
from fieldline_mappings.suggest import Wanted, mapping_text, plain, propose, record_block

LEAD = Entity(
    name="Lead",
    fields=(
        Field(name="Id", type=FieldType.TEXT, key=True),
        Field(name="AnnualRevenue", type=FieldType.DECIMAL, label="Annual Revenue"),
        Field(name="NumberOfEmployees", type=FieldType.INTEGER, label="Employees"),
        Field(name="LeadSource", type=FieldType.TEXT, label="Lead Source"),
        Field(name="CreatedDate", type=FieldType.DATETIME, label="Created Date"),
        Field(name="Score_2__c", type=FieldType.NUMBER, label="Fit score"),
        Field(name="Opportunities", type=FieldType.LIST, label="Opportunities"),
    ),
)


def fields(*inputs: str, text: bool = False) -> list[str | None]:
    return [found.field.name if found.field else None for found in propose([Wanted(each, text) for each in inputs], LEAD)]


def test_a_field_is_proposed_by_name_by_label_or_by_its_words_in_another_order() -> None:
    assert fields("annual_revenue", "employees", "source_lead", "fit_score") == [
        "AnnualRevenue", "NumberOfEmployees", "LeadSource", "Score_2__c",
    ]  # fmt: skip


def test_a_name_within_another_is_enough() -> None:
    assert fields("revenue", "score") == ["AnnualRevenue", "Score_2__c"]


def test_nothing_is_proposed_where_nothing_fits() -> None:
    assert fields("wind_speed", "opportunities") == [None, None]


def test_a_field_is_proposed_once_where_it_fits_best() -> None:
    assert fields("revenue_annual_total", "annual_revenue") == [None, "AnnualRevenue"]


def test_the_proposals_are_a_mapping_that_can_be_read() -> None:
    proposals = propose([Wanted("annual_revenue"), Wanted("created_date"), Wanted("lead_source"), Wanted("wind")], LEAD)
    text = mapping_text("leads", proposals, ["probabilities[0]", "label"])
    document = MappingDocument.model_validate(yaml.safe_load(text))
    assert document.record == {"AnnualRevenue": "decimal", "CreatedDate": "datetime", "LeadSource": "text"}
    assert [(each.name, each.field, each.formula) for each in document.features] == [
        ("annual_revenue", "AnnualRevenue", None), ("created_date", None, "DAYS_SINCE(CreatedDate)"),
        ("lead_source", "LeadSource", None),
    ]  # fmt: skip
    assert [each.formula for each in document.fields] == ["probabilities[0]", "label"]
    assert "  # wind: no field of the source fits" in text
    assert "# 1.00, Annual Revenue" in text
    assert "list its categories" in text


def test_a_record_has_the_types_and_the_labels() -> None:
    text = record_block(LEAD.fields)
    assert "  AnnualRevenue: decimal  # Annual Revenue\n" in text
    assert "  # Opportunities: {…}" in text
    assert set(yaml.safe_load(text)["record"]) == {field.name for field in LEAD.fields} - {"Opportunities"}


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(NAMES, NAMES)
def test_any_name_and_label_make_yaml_that_says_the_same(name: str, label: str) -> None:
    entity = Entity(name="E", fields=(Field(name=name, type=FieldType.NUMBER, label=label),))
    assert yaml.safe_load(record_block(entity.fields)) == {"record": {name: "number"}}
    made = yaml.safe_load(mapping_text("m", propose([Wanted(name), Wanted("other")], entity), [name]))
    assert made["fields"] == [{"name": name, "formula": name}]


@given(NAMES)
def test_a_text_is_one_scalar(text: str) -> None:
    assert yaml.safe_load(f"- {{a: {plain(text)}}}") == [{"a": text}]


FILE = """# ours
mapping: leads   # the leads
features:
    - {field: a}   # first

    # about b
    - field: b
      type: text
      categories:
        - x
        - y   # the last
    # what follows
fields:
  - {name: f, formula: p}
"""


def test_features_are_added_behind_the_last_one_and_nothing_else_changes() -> None:
    made = with_features(FILE, [f"{features_indent(FILE)}- {{field: c}}"])
    assert made == FILE.replace("        - y   # the last\n", "        - y   # the last\n    - {field: c}\n")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_the_line_endings_stay_and_a_missing_one_is_added(ending: str) -> None:
    text = ending.join(["mapping: m", "fields: [{name: f, formula: p}]", "features:", "- {field: a}"])
    assert with_features(text, ["- {field: b}"]) == f"{text}{ending}- {{field: b}}{ending}"


def test_a_formula_of_several_lines_is_left_whole() -> None:
    text = "mapping: m\nfeatures:\n- name: a\n  formula: |\n    b +\n    c\nfields: []\n"
    assert with_features(text, ["- {field: d}"]) == text.replace("    c\n", "    c\n- {field: d}\n")


def test_the_mapping_among_other_documents_is_found() -> None:
    text = "connection: c\nconnector: memory\n---\nmapping: m\nfeatures:\n- {field: a}\n---\nflow: f\nmapping: m\nfeatures: 1\n"
    assert with_features(text, ["- {field: b}"]).index("- {field: b}") == text.index("---\nflow")


@pytest.mark.parametrize("text", ["mapping: m\nfeatures: [{field: a}]\n", "mapping: m\nfeatures: []\n", "mapping: m\n", "flow: f"])
def test_features_that_are_not_lines_are_left_to_the_person(text: str) -> None:
    with pytest.raises(Misconfigured, match="add them by hand"):
        with_features(text, ["- {field: b}"])

"""What two versions of a mapping differ in: in their meaning, and in nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_mappings import MappingDocument, digest
from fieldline_mappings.difference import Change, differences

BASE: dict[str, Any] = {
    "mapping": "leads",
    "record": {"Opportunities": {"Amount": "number", "StageName": "text"}, "Created": "date", "Name": "text"},
    "tables": {"sectors": {"Banking": 3, "Energy": 5}},
    "features": [
        {"field": "Employees", "type": "integer"},
        {"name": "won", "formula": 'SUM(Opportunities.Amount, StageName = "Closed Won")'},
        {"name": "per_head", "formula": "won / Employees", "check": {"at_least": 0}},
        {"field": "Source", "type": "text", "categories": ["Web", "Fair"]},
        {"name": "age", "formula": "DAYS_SINCE(Created)"},
        {"name": "sector", "formula": 'LOOKUP("sectors", Source)'},
    ],
    "fields": [{"name": "score", "formula": "ROUND(p * 100)"}, {"name": "note", "formula": "UPPER(Name)"}],
}


def version(**parts: Any) -> MappingDocument:
    return MappingDocument.model_validate({**BASE, **parts})


def with_feature(name: str, /, **parts: Any) -> MappingDocument:
    """The mapping where one feature is otherwise; None takes a key away."""

    def changed(feature: dict[str, Any]) -> dict[str, Any]:
        own = {**feature, **parts} if name in (feature.get("name"), feature.get("field")) else feature
        return {key: value for key, value in own.items() if value is not None}

    return version(features=[changed(feature) for feature in BASE["features"]])


def only(new: MappingDocument) -> Change:
    (change,) = differences(version(), new)
    return change


def test_a_version_does_not_differ_from_itself() -> None:
    assert differences(version(), version()) == []


@pytest.mark.parametrize(
    "formula",
    [
        'sum( opportunities.AMOUNT ,stagename="Closed Won")',
        'SUM(Opportunities.Amount, /* this year, too */ (StageName == "Closed Won"))',
        "SUM(Opportunities.Amount, StageName = 'Closed Won')",
    ],
)
def test_spaces_comments_brackets_and_the_case_of_names_are_no_change(formula: str) -> None:
    assert differences(version(), with_feature("won", formula=formula)) == []


def test_a_formula_that_only_names_a_field_is_that_field() -> None:
    features = [{"name": "size", "field": "Employees"}, {"name": "size", "formula": "employees"}]
    old, new = (version(record={**BASE["record"], "Employees": "number"}, features=[each]) for each in features)
    assert differences(old, new) == []


def test_a_fields_own_spelling_counts() -> None:
    assert "feature-field" in {
        change.kind for change in differences(version(), with_feature("Source", field="SOURCE", name="Source"))
    }


def test_golden_records_are_no_change() -> None:
    assert differences(version(), version(tests=[{"name": "one", "record": {"Employees": 3}}])) == []


def test_the_order_of_written_fields_is_no_change() -> None:
    assert differences(version(), version(fields=BASE["fields"][::-1])) == []


def test_another_formula_is_shown_old_and_new_and_touches_what_follows_from_it() -> None:
    change = only(with_feature("won", formula="SUM(Opportunities.Amount)"))
    assert (change.kind, change.name) == ("feature-formula", "won")
    assert (change.old, change.new) == (BASE["features"][1]["formula"], "SUM(Opportunities.Amount)")
    assert change.features == ("won", "per_head")
    assert change.fields == ("score",), "the note comes from the record, whatever the model says"


def test_the_case_of_a_text_in_a_formula_is_a_change() -> None:
    assert only(with_feature("won", formula='SUM(Opportunities.Amount, StageName = "closed won")')).kind == "feature-formula"


@pytest.mark.parametrize(
    ("name", "parts", "kind", "words"),
    [
        (
            "Employees",
            {"if_blank": 0},
            "feature-blank",
            "'Employees' is blank: it is taken as 0 now (before: its row is set aside)",
        ),
        ("Employees", {"type": None}, "feature-type", "'Employees' is number now (before: integer)"),
        ("Employees", {"clip": [0, 9]}, "feature-clip", "between 0 and 9 now (before: not clipped)"),
        ("per_head", {"check": {"at_least": 1}}, "feature-check", "at least 1 now (before: at least 0)"),
        ("Source", {"categories": ["Web", "Phone"]}, "feature-categories", "'Phone' added; 'Fair' removed"),
        ("Source", {"categories": ["Fair", "Web"]}, "feature-categories", "others stand in another order"),
        ("Source", {"encode": "index"}, "feature-encoding", "index now (before: onehot)"),
        ("Source", {"if_unknown": "other"}, "feature-unknown", "it counts as none of them now"),
        ("Source", {"field": "Origin", "name": "Source"}, "feature-field", "taken from another field"),
        ("won", {"label": "Won so far"}, "feature-label", "'Won so far'"),
    ],
)
def test_each_rule_of_a_feature_is_told_in_a_sentence(name: str, parts: dict[str, Any], kind: str, words: str) -> None:
    changes = {change.kind: change for change in differences(version(), with_feature(name, **parts))}
    assert kind in changes
    assert words in changes[kind].sentence


def test_a_feature_follows_from_its_field_whatever_the_case_of_the_name() -> None:
    old, new = (version(record={**BASE["record"], "EMPLOYEES": type}) for type in ("number", "integer"))
    (change,) = differences(old, new)
    assert (change.kind, change.features) == ("record-type", ("Employees", "per_head"))


def test_a_label_touches_nothing() -> None:
    change = only(with_feature("won", label="Won so far"))
    assert (change.features, change.fields) == ((), ())


def test_features_come_and_go_with_their_formulas() -> None:
    new = version(features=[*BASE["features"][:5], {"name": "twice", "formula": "age * 2"}])
    added, removed = differences(version(), new)
    assert (added.kind, added.name, added.new) == ("feature-added", "twice", "age * 2")
    assert (removed.kind, removed.name, removed.old) == ("feature-removed", "sector", 'LOOKUP("sectors", Source)')


def test_the_feature_that_moved_is_named_and_not_those_that_made_room() -> None:
    first, *others = BASE["features"]
    change = only(version(features=[*others, first], record={**BASE["record"], "Employees": "integer"}))
    assert (change.kind, change.name) == ("feature-moved", "Employees")
    assert "from place 1 to 6" in change.sentence


def test_the_order_of_features_does_not_matter_where_inputs_list_them() -> None:
    inputs = {"a": ["Employees", "won"], "b": ["per_head", "Source", "age", "sector"]}
    old = version(inputs=inputs)
    assert (
        differences(old, version(inputs=inputs, features=[BASE["features"][4], *BASE["features"][:4], BASE["features"][5]])) == []
    )
    (change,) = differences(old, version(inputs={**inputs, "b": ["per_head", "Source=Web", "age", "sector"]}))
    assert (change.kind, change.name) == ("input", "b")
    assert "Source" in change.features


def test_a_tables_rows_are_counted_and_the_first_are_shown() -> None:
    change = only(version(tables={"sectors": {"Banking": 4, "Retail": 1}}))
    assert (
        change.sentence
        == "In the table 'sectors': 1 row added ('Retail': 1), 1 row changed ('Banking': 3 → 4), 1 row removed ('Energy')."
    )
    assert (change.features, change.fields) == (("sector",), ("score",))
    many = only(version(tables={"sectors": {**BASE["tables"]["sectors"], **{f"s{n}": n for n in range(2000)}}}))
    assert "2,000 rows added ('s0': 0, 's1': 1, 's2': 2 and 1,997 more)" in many.sentence


def test_another_time_zone_touches_what_reckons_with_days() -> None:
    change = only(version(timezone="Europe/Berlin"))
    assert (change.kind, change.features, change.fields) == ("timezone", ("age",), ("score",))


def test_blanks_as_zero_touches_what_reads_numbers() -> None:
    change = only(version(blanks="zero"))
    assert (change.kind, change.features) == ("blanks", ("Employees", "won", "per_head"))


def test_a_fields_type_in_the_record_touches_what_reads_it() -> None:
    change = only(version(record={**BASE["record"], "Opportunities": {"Amount": "decimal", "StageName": "text"}}))
    assert (change.kind, change.name, change.features) == ("record-type", "Opportunities.Amount", ("won", "per_head"))


def test_written_fields_and_the_reason_come_go_and_change() -> None:
    new = version(fields=[{"name": "score", "formula": "p"}, {"name": "more", "formula": "p"}], reason='"because of " & TEXT(won)')
    kinds = [(change.kind, change.name, change.fields) for change in differences(version(), new)]
    assert kinds == [
        ("field-formula", "score", ("score",)), ("field-added", "more", ("more",)), ("field-added", "reason", ("reason",)),
        ("field-removed", "note", ("note",)),
    ]  # fmt: skip


def test_a_formula_that_cannot_be_read_is_compared_as_text() -> None:
    assert only(with_feature("age", formula="DAYS_SINCE(")).new == "DAYS_SINCE("


def test_long_chains_of_operators_are_compared() -> None:
    old, new = (with_feature("age", formula="+".join(["1"] * count)) for count in (1998, 1999))
    assert [change.kind for change in differences(old, new)] == ["feature-formula"]


@given(st.permutations(range(12)))
def test_the_features_that_did_not_move_keep_their_order(order: list[int]) -> None:
    features = [{"name": f"f{number}", "field": "x"} for number in range(12)]
    moved = {change.name for change in differences(version(features=features), version(features=[features[n] for n in order]))}
    assert bool(moved) == (list(order) != sorted(order))
    kept = [number for number in order if f"f{number}" not in moved]
    assert kept == sorted(kept)


PARTS: dict[str, list[Any]] = {
    "timezone": ["UTC", "Asia/Tokyo"],
    "blanks": ["blank", "zero"],
    "tables": [{}, {"t": {"a": 1}}, {"t": {"a": 2}}, {"t": {"1": "x"}}, {"t": {1: "x"}}],
    "record": [{}, {"d": "date"}, {"x": "integer"}, {"d": "datetime", "rows": {"n": "number"}}, {"rows": {"n": "decimal"}}],
    "inputs": [{}, {"i": ["x"]}, {"i": ["x", "y"]}],
    "reason": [None, '"so"', "TEXT(x)"],
}
FEATURE: dict[str, list[Any]] = {
    "formula": ["x", "x + 1", "1 + x"],
    "type": [None, "number", "integer"],
    "if_blank": ["hold", "flag", 0, 1],
    "clip": [None, [0, 1], [0, 2]],
    "check": [{}, {"at_least": 0}, {"at_most": 0}, {"one_of": [1, 2]}],
    "label": ["", "Y"],
}


def any_of(parts: dict[str, list[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: st.sampled_from(values) for name, values in parts.items()})


@st.composite
def documents(draw: st.DrawFn) -> MappingDocument:
    features = [{"field": "x"}, {"name": "y", **draw(any_of(FEATURE))}]
    fields = [{"name": "s", "formula": draw(st.sampled_from(["p", "p * 2"])), "label": draw(st.sampled_from(["", "S"]))}]
    return MappingDocument.model_validate({"mapping": "m", "features": features, "fields": fields, **draw(any_of(PARTS))})


@given(documents(), documents())
def test_versions_differ_where_their_digests_do_and_each_change_goes_back(old: MappingDocument, new: MappingDocument) -> None:
    forth, back = differences(old, new), differences(new, old)
    assert bool(forth) == bool(back) == (digest(old) != digest(new))
    assert {(change.name, change.features, change.fields) for change in forth if change.kind.startswith("feature-")} == {
        (change.name, change.features, change.fields) for change in back if change.kind.startswith("feature-")
    }

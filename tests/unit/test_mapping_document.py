"""A mapping document: what is accepted, and how refusals are said and placed."""

from pathlib import Path

import pytest

from fieldline_core.findings import Finding
from fieldline_core.schema import FieldType
from fieldline_core.validation import validate
from fieldline_core.yaml_source import MAX_BYTES, parse
from fieldline_mappings import MappingDocument, digest
from fieldline_mappings.reference import reference

HEAD = "mapping: churn\nfields: [{name: score, formula: p}]\nfeatures:\n"


def read(text: str) -> tuple[MappingDocument | None, list[Finding]]:
    sources, findings = parse(text, "churn.yaml")
    return (None, findings) if findings else validate(MappingDocument, sources[0])


def only(text: str) -> str:
    document, findings = read(text)
    assert document is None
    assert len(findings) == 1, findings
    return str(findings[0])


def good(text: str) -> MappingDocument:
    document, findings = read(text)
    assert document, findings
    return document


def test_a_misspelt_word_is_named_with_its_place_and_a_suggestion() -> None:
    text = only(HEAD + "  - {field: a}\n  - field: b\n    type: numbr\n")
    assert text.startswith("churn.yaml:6:5: error: features[1].type: 'numbr' is not one of number, integer, text")
    assert "Did you mean 'number'?" in text


def test_an_unknown_key_is_named_with_the_nearest_known_one() -> None:
    assert only(HEAD + "  - {field: a, lable: A}\n").startswith(
        "churn.yaml:4:16: error: features[0].lable: this key is unknown. Did you mean 'label'?"
    )


def test_a_missing_key_is_placed_where_it_should_stand() -> None:
    text = "mapping: churn\nfeatures: [{field: a}]\nfields:\n  - {name: score}\n"
    assert "churn.yaml:4:5: error: fields[0].formula: this key is missing" in only(text)


def test_every_fault_is_told_at_once() -> None:
    features = "features: [{field: a, type: b}, {feld: c}]"
    _, findings = read(f"mapping: x\nfields: []\n{features}\ntimezone: Europe/Berlim\nblanks: null\n")
    paths = {finding.path for finding in findings}
    assert paths == {"fields", "features[0].type", "features[1].feld", "timezone", "blanks"}
    assert any("Did you mean 'Europe/Berlin'?" in finding.message for finding in findings)


def test_words_that_yaml_takes_for_something_else_are_asked_for_in_quotes() -> None:
    named = "mapping: x\nfeatures: [{field: a}]\nfields: [{name: no, formula: o}]\n"
    assert "fields[0].name: text is expected. Write it in quotes." in only(named)
    assert "write them in quotes" in only(HEAD + "  - {field: a, type: text, categories: [1, 2]}\n")


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        ("{type: text}", "from a `field` or by a `formula`"),
        ("{field: a, formula: a + 1}", "give one of the two"),
        ("{formula: a + 1}", "has a `name`"),
        ("{field: a, type: date}", "list `a: date` under `record`, and write DAYS_SINCE(a) or YEAR(a)"),
        ("{field: a, type: time}", "a time reaches the model by a formula"),
        ("{field: a, categories: [1]}", "go with `type: text` and `type: integer`"),
        ("{field: a, type: text, encode: onehot}", "needs `categories`"),
        ("{field: a, type: text, if_unknown: other}", "needs `categories`"),
        ("{field: a, type: text, encode: text, categories: [b]}", "without categories"),
        ("{field: a, type: text, categories: [b, b]}", "twice"),
        ("{field: a, type: text, categories: ['b ']}", "no spaces around"),
        ("{field: a, type: text, categories: ['']}", "not empty"),
        ("{field: a, type: text, categories: [b], if_blank: c}", "one of the categories"),
        ("{field: a, type: integer, if_blank: 1.5}", "a whole number"),
        ("{field: a, type: number, if_blank: zero}", "a number"),
        ("{field: a, type: boolean, if_blank: 0}", "true or false"),
        ("{field: a, type: integer, if_blank: 99999999999999999999}", "a whole number"),
        ("{field: a, clip: [9, 1]}", "the smaller one"),
        ("{field: a, type: text, clip: [1, 9]}", "goes with numbers"),
        ("{field: a, clip: [1]}", "clip"),
        ("{field: a, check: {atleast: 0}}", "Did you mean 'at_least'?"),
        ("{field: a, check: {max_length: 0}}", "max_length"),
    ],
)
def test_a_feature_that_contradicts_itself_is_refused(feature: str, words: str) -> None:
    assert words in only(f"{HEAD}  - {feature}\n")


REST = "features: [{field: a}]\nfields: [{name: n, formula: o}]\n"


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("record: {signed: dat}", "Did you mean 'date'?"),
        ("record: {Items: {price: numbr}}", "Did you mean 'number'?"),
        ("record: {Items: {price: {deep: number}}}", "record.Items"),
        ("tables: {risk: {}}", "tables.risk"),
        ("tables: {risk: {1: 0.2, '2': 0.3}}", "the keys of a table are all texts or all numbers"),
        ("tables: {risk: {a: 0.2, b: high}}", "the values of a table are all texts or all numbers"),
        ("tables: {risk: {a: .inf}}", "tables.risk"),
        ("tests: [{name: x, record: {}, now: 2026-01-01T00:00:00}]", "tests[0].now"),
        ("blanks: none", "'none' is not one of blank, zero"),
    ],
)
def test_a_part_that_cannot_be_meant_is_named(part: str, words: str) -> None:
    document, findings = read(f"mapping: x\n{part}\n{REST}")
    assert document is None
    assert words in "\n".join(map(str, findings))


def test_the_fields_of_a_record_are_those_listed_and_those_that_features_name() -> None:
    features = "features: [{field: a}, {field: SIGNED}, {field: b, type: text}]"
    record = "record: {signed: date, Items: {price: decimal}}"
    document = good(f"mapping: x\n{record}\n{features}\nfields: [{{name: n, formula: o}}]\n")
    assert document.record_types == {
        "signed": FieldType.DATE, "Items": {"price": FieldType.DECIMAL}, "a": FieldType.NUMBER, "b": FieldType.TEXT,
    }  # fmt: skip


def test_the_reason_is_written_like_a_field_under_its_own_name() -> None:
    document = good(f"mapping: x\n{REST}reason: '\"because\"'\n")
    assert [(field.name, field.formula) for field in document.written] == [("n", "o"), ("reason", '"because"')]


def test_the_digest_is_of_the_meaning_not_of_the_writing() -> None:
    brief = good(HEAD + "  - {field: a}\n")
    feature = "features:\n- name: a\n  if_blank: hold\n  field: a\n"
    wordy = good(f"# comment\n{feature}timezone: UTC\n{HEAD.removesuffix('features:' + chr(10))}")
    other = good(HEAD + "  - {field: a, if_blank: 0}\n")
    assert digest(brief) == digest(wordy) != digest(other)


def test_golden_records_are_no_part_of_the_digest_but_tables_are() -> None:
    golden = "tests: [{name: x, record: {a: 1}, features: {a: 1}}]\n"
    plain, tested = (good(f"mapping: x\n{REST}{rest}") for rest in ("", golden))
    one, other = (good(f"mapping: x\n{REST}tables: {{risk: {{Banking: {value}}}}}\n") for value in (0.2, 0.3))
    assert digest(plain) == digest(tested)
    assert len({digest(document) for document in (plain, one, other)}) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x [1]\nb: *x\n", "2:4: error: aliases"),
        ("a: 1\nb: 2\na: 3\n", "3:1: error: the key 'a' stands here twice"),
        ("[" * 60 + "]" * 60, "50 levels deep"),
        ("- a\n" * 60_000, "50000 parts long"),
        ("a: 2024-13-45\n", "1:4: error: a: this looks like a number or a date, but is none"),
        ("a: " + "1" * 5000 + "\n", "this number is too long"),
        ("a: !!python/object:os.system {}\n", "tags (!name) are not read"),
        ("a: !!python/name:os.system x\n", "could not determine a constructor"),
        ("? [a, b]\n: 1\n", "a key is a word or a number"),
        ("a: [1\n", "this is not YAML"),
        ("a: \x00\n", "this is not YAML"),
        ("a: b: c\n", "1:5: error: this is not YAML"),
    ],
)
def test_yaml_is_read_within_bounds(text: str, words: str) -> None:
    sources, findings = parse(text, "f.yaml")
    assert not sources
    assert words in str(findings[0])


@pytest.mark.parametrize("formula", ['"a" & "b"', "[a] + 1", 'a & ": " & b'])
def test_a_formula_that_yaml_takes_for_its_own_signs_is_told_where_to_go(formula: str) -> None:
    _, (finding,) = parse(f"mapping: m\nfeatures:\n  - name: x\n    formula: {formula}\nfields: []\n")
    assert finding.suggestion == "A formula with quotes, brackets or colons goes on the line below, indented, after `formula: |`."


@pytest.mark.parametrize(("word", "here"), [("currency", "decimal"), ("String", "text"), ("picklist", "text"), ("int", "integer")])
def test_a_type_by_another_systems_name_is_told_its_name_here(word: str, here: str) -> None:
    text = f"mapping: x\nrecord: {{rows: {{a: {word}}}}}\n{REST}"
    (finding,) = validate(MappingDocument, parse(text)[0][0])[1]
    assert (finding.path, finding.message) == ("record.rows.a", f"{word!r} is called {here} here: write `{here}`")


def test_a_text_that_is_too_long_is_not_looked_at() -> None:
    assert "at most 1000000 are read" in parse("#" * (MAX_BYTES + 1))[1][0].message


def test_several_documents_keep_their_own_places() -> None:
    sources, findings = parse("a: 1\n---\n\nb: [2, {c: 3}]\n")
    assert not findings
    assert [source.data for source in sources] == [{"a": 1}, {"b": [2, {"c": 3}]}]
    assert sources[1].place("b[1].c") == (4, 9)
    assert sources[1].place("b[1].missing.deeper") == (4, 8)


def test_bytes_that_are_no_text_are_a_finding() -> None:
    assert parse(b"a: \xff\xfe\xfa")[1][0].rule == "yaml"


def test_the_reference_page_is_the_code_s_own() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "mapping.md"
    assert page.read_text() == reference()

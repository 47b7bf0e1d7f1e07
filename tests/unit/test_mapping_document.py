"""A mapping document: what is accepted, and how refusals are said and placed."""

from pathlib import Path

import pytest

from fieldline_core.findings import Finding
from fieldline_core.validation import validate
from fieldline_core.yaml_source import MAX_BYTES, parse
from fieldline_mappings import MappingDocument, digest
from fieldline_mappings.reference import reference

HEAD = "mapping: churn\nfields: [{name: score, output: p}]\nfeatures:\n"


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
    assert "churn.yaml:4:5: error: features[0].field: this key is missing" in only(HEAD + "  - {type: text}\n")


def test_every_fault_is_told_at_once() -> None:
    _, findings = read("mapping: x\nfields: []\nfeatures: [{field: a, type: b}, {feld: c}]\ntimezone: Europe/Berlim\n")
    paths = {finding.path for finding in findings}
    assert paths == {"fields", "features[0].type", "features[1].feld", "features[1].field", "timezone"}
    assert any("Did you mean 'Europe/Berlin'?" in finding.message for finding in findings)


def test_words_that_yaml_takes_for_something_else_are_asked_for_in_quotes() -> None:
    labels = "mapping: x\nfeatures: [{field: a}]\nfields: [{name: n, output: o, labels: {0: no}}]\n"
    assert "fields[0].labels.0: text is expected. Write it in quotes." in only(labels)
    assert "write them in quotes" in only(HEAD + "  - {field: a, type: text, categories: [1, 2]}\n")


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        ("{field: a, type: date}", "write it as `as:`"),
        ("{field: a, type: date, as: hour}", "days_ago, year, month, day, weekday"),
        ("{field: a, as: year}", "goes with date"),
        ("{field: a, categories: [1]}", "go with text and integer"),
        ("{field: a, type: text, encode: onehot}", "needs `categories`"),
        ("{field: a, type: text, if_unknown: other}", "needs `categories`"),
        ("{field: a, type: text, encode: text, categories: [b]}", "without categories"),
        ("{field: a, type: text, categories: [b, b]}", "twice"),
        ("{field: a, type: text, categories: ['b ']}", "no spaces around"),
        ("{field: a, type: text, categories: ['']}", "not empty"),
        ("{field: a, type: text, categories: [b], if_blank: c}", "one of the categories"),
        ("{field: a, type: integer, if_blank: 1.5}", "a whole number"),
        ("{field: a, if_blank: zero}", "a number"),
        ("{field: a, type: boolean, if_blank: 0}", "true or false"),
        ("{field: a, type: integer, if_blank: 99999999999999999999}", "a whole number"),
    ],
)
def test_a_feature_that_contradicts_itself_is_refused(feature: str, words: str) -> None:
    assert words in only(f"{HEAD}  - {feature}\n")


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("{name: n, output: o, round: 2, labels: {a: b}}", "either a number"),
        ("{name: n, output: o, thresholds: [{at: 1, label: x}]}", "go together"),
        ("{name: n, output: o, thresholds: [{at: 1, label: x}, {at: 1, label: y}], otherwise: z}", "same value"),
    ],
)
def test_an_output_field_is_one_thing(field: str, words: str) -> None:
    assert words in only(f"mapping: x\nfeatures: [{{field: a}}]\nfields: [{field}]\n")


def test_the_digest_is_of_the_meaning_not_of_the_writing() -> None:
    brief = good(HEAD + "  - {field: a}\n")
    feature = "features:\n- name: a\n  if_blank: hold\n  field: a\n"
    wordy = good(f"# comment\n{feature}timezone: UTC\n{HEAD.removesuffix('features:' + chr(10))}")
    other = good(HEAD + "  - {field: a, if_blank: 0}\n")
    assert digest(brief) == digest(wordy) != digest(other)


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

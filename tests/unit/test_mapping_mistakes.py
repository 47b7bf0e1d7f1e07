"""Each mistake of the table is answered with its rule, its place, its words and what to do, as `fieldline lint` gives them."""

import re

import pytest
from tests.mistakes import FILE, LEAD, Mistake, mistakes

from fieldline_core.findings import Finding
from fieldline_mappings import lint_mapping
from fieldline_mappings.formula.functions import AGGREGATES
from fieldline_mappings.formula.habits import BETWEEN_VALUES, INSTEAD
from fieldline_mappings.formula.library import FUNCTIONS
from fieldline_server.lint import read_pieces

MISTAKES = [each for found in mistakes().values() for each in found]


def lint(mistake: Mistake) -> list[Finding]:
    """What lint finds, as the command line runs it."""
    pieces, findings = read_pieces({FILE: mistake.document})
    return findings + [piece.source.locate(each) for piece in pieces for each in lint_mapping(piece.document, mistake.model, LEAD)]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.title)
def test_a_mistake_is_named_with_its_place_and_what_to_do(mistake: Mistake) -> None:
    assert [str(found) for found in lint(mistake)] == [str(mistake.finding)]


def test_every_answer_says_what_to_do() -> None:
    in_itself = re.compile("Did you mean|is not one of|: ")
    assert [each.title for each in MISTAKES if not each.finding.suggestion and not in_itself.search(each.finding.message)] == []


def test_the_table_holds_each_mistake_once() -> None:
    assert len({(each.document, each.model) for each in MISTAKES}) == len({each.title for each in MISTAKES}) == len(MISTAKES) >= 30


def test_what_is_advised_instead_of_another_systems_function_is_there() -> None:
    assert set(INSTEAD) & {*FUNCTIONS, *AGGREGATES} == set()
    named = {name for words in (*INSTEAD.values(), *BETWEEN_VALUES.values()) for name in re.findall(r"\b[A-Z][A-Z0-9_]+\b", words)}
    assert named - {*FUNCTIONS, *AGGREGATES} == set()

"""The formula language gives the answers of Salesforce's own engine, and a page lists where it does not."""

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conformance.formulas import Failure, read, run

PAGE = Path(__file__).resolve().parents[2] / "docs/explanation/formulas.md"


class Answers(NamedTuple):
    """How many rows there are, and those with another answer."""

    rows: int
    failures: list[Failure]

    @property
    def failed(self) -> set[tuple[str, int]]:
        """The rows that fail in one of the two modes."""
        return {(failure.case, failure.number) for failure in self.failures}


@pytest.fixture(scope="module")
def answers(shared: Path) -> Answers:
    counts, failures = 0, list[Failure]()
    for case in read(shared / "corpora/salesforce-formulas/cases.jsonl"):
        rows, failed = run(case)
        counts += rows
        failures += failed
    return Answers(counts, failures)


def test_nearly_all_answers_are_those_of_the_engine(answers: Answers) -> None:
    assert answers.rows > 2500
    assert len(answers.failed) <= 0.03 * answers.rows, "\n".join(map(str, answers.failures))


def test_every_case_with_another_answer_is_listed_with_its_reason(answers: Answers) -> None:
    page = PAGE.read_text()
    assert sorted({failure.case for failure in answers.failures if f"`{failure.case}`" not in page}) == []


def test_the_page_counts_the_rows_that_give_the_engine_s_answer(answers: Answers) -> None:
    assert f"{answers.rows - len(answers.failed):,} rows give the engine's answer" in PAGE.read_text()

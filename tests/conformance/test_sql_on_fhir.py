"""Views give the rows of the standard's own cases."""

from pathlib import Path

from tests.conformance.sql_on_fhir import read


def test_every_given_case_of_the_standard_passes(shared: Path) -> None:
    cases = [case for path in sorted((shared / "corpora/sql-on-fhir").glob("*.json")) for case in read(path)]
    assert len(cases) >= 95
    assert [f"{case.file}: {case.title}: {case.fault}" for case in cases if case.fault is not None] == []

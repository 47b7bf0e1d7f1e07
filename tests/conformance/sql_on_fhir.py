"""Runs files of SQL on FHIR cases and says which give other rows than the standard's.

Usage: python tests/conformance/sql_on_fhir.py FILE.json…

Each file has `resources` and `tests`; a test has a `view` and what it must give: `expect` (rows, in any order),
`expectColumns`, `expectCount` or `expectError`. Its close: `N passed, N failed`.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldline_connectors.fhir.path import Written
from fieldline_connectors.fhir.views import compile_view, parse_view
from fieldline_core.errors import FieldlineError


@dataclass(frozen=True, slots=True)
class Case:
    """One test of a file."""

    file: str
    title: str
    resources: Sequence[Any]
    test: Mapping[str, Any]

    @property
    def fault(self) -> str | None:
        """What is wrong with our answer; None where nothing is."""
        try:
            view = compile_view(parse_view(self.test["view"]))
            names = [column.name for column in view.columns]
            rows = [dict(zip(names, row, strict=True)) for resource in self.resources for row in view.rows(resource)]
        except FieldlineError as error:
            return None if self.test.get("expectError") else f"refused: {error}"
        if self.test.get("expectError"):
            return f"an error is expected, given {rows}"
        if "expectColumns" in self.test and names != self.test["expectColumns"]:
            return f"expected the columns {self.test['expectColumns']}, given {names}"
        if "expectCount" in self.test and len(rows) != self.test["expectCount"]:
            return f"expected {self.test['expectCount']} rows, given {len(rows)}"
        if "expect" in self.test and not _same(self.test["expect"], rows):
            return f"expected {self.test['expect']}, given {rows}"
        return None


def _same(expected: Sequence[Any], given: Sequence[Any]) -> bool:
    """Whether the rows are the same, in any order."""
    left = [_plain(row) for row in given]
    for row in expected:
        if (plain := _plain(row)) not in left:
            return False
        left.remove(plain)
    return not left


def _plain(value: Any) -> Any:
    """The value with its type beside it, so that true is not 1."""
    match value:
        case bool():
            return ("boolean", value)
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
    return value


def read(path: Path) -> Iterator[Case]:
    """The cases of a file."""
    found = json.loads(path.read_text(encoding="utf-8"), parse_float=Written)
    for test in found["tests"]:
        yield Case(path.stem, test.get("title", ""), found.get("resources", []), test)


def main(paths: Sequence[Path]) -> int:
    """Prints each failure and the count."""
    passed, failed = 0, 0
    for case in (case for path in paths for case in read(path)):
        fault = case.fault
        passed, failed = passed + (fault is None), failed + (fault is not None)
        if fault is not None:
            print(f"{case.file}: {case.title}: {fault}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))

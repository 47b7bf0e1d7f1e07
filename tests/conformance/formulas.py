"""Runs a file of formula cases and says which give another answer than Salesforce's engine.

Usage: python tests/conformance/formulas.py FILE.jsonl

Each line is a case: `name`, `formula`, `returns`, `fields` (name and type) and `rows` with `input` and the expected answers
`blank_as_zero` and `blank_as_blank`, each {"value": …} or {"error": true}. A row passes where both answers are right. Its close:
`N passed, N failed`.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import polars as pl

from fieldline_core.schema import POLARS_TYPES, FieldType
from fieldline_mappings.formula import Checker, FormulaError, Program, Scope, Settings

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MODES = {"blank_as_zero": True, "blank_as_blank": False}
TINY = 1e-30
"""The engine's decimals end after some 32 places, where ours, binary, go on to 1e-308: below this both are zero."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A row with another answer than the expected one, in one mode."""

    case: str
    formula: str
    mode: str
    number: int
    row: list[Any]
    expected: Any
    given: Any

    def __str__(self) -> str:
        return f"{self.case}: {self.formula} on {self.row} ({self.mode}): expected {self.expected}, given {self.given}"


def run(case: Mapping[str, Any]) -> tuple[int, list[Failure]]:
    """How many rows the case has, and the failures."""
    failures: list[Failure] = []
    for mode, zero_blanks in MODES.items():
        given = _answers(case, zero_blanks)
        for number, (row, answer) in enumerate(zip(case["rows"], given, strict=True)):
            if not _right(row[mode], answer, case["returns"]):
                failures.append(Failure(case["name"], case["formula"], mode, number, row["input"], row[mode], answer))
    return len(case["rows"]), failures


def _answers(case: Mapping[str, Any], zero_blanks: bool) -> list[dict[str, Any]]:
    record = {field["name"]: FieldType(field["type"]) for field in case["fields"]}
    checker = Checker(Scope.of(record))
    try:
        root = checker.check(case["formula"])
    except FormulaError as error:
        return [{"refused": f"{error.message} {error.suggestion}"}] * len(case["rows"])
    columns = {
        name: pl.Series(name, [_value(row["input"][place], type) for row in case["rows"]], dtype=POLARS_TYPES[type])
        for place, (name, type) in enumerate(record.items())
    }
    frame = pl.DataFrame(columns) if columns else pl.DataFrame({"row": range(len(case["rows"]))})
    program = Program(checker.parts, frame.schema, Settings(zero_blanks=zero_blanks))
    term = program.context(case["formula"]).settled(program.term(root))
    wanted = {"value": term.value, "error": pl.lit(None, pl.UInt16) if term.error is None else term.error}
    answers = program.evaluate(program.read(frame, NOW), wanted)
    words = program.reasons.words
    return [{"error": words[error - 1]} if error else {"value": value} for value, error in answers.rows()]


def _value(given: Any, type: FieldType) -> Any:
    match given, type:
        case str(), FieldType.DATE:
            return date.fromisoformat(given)
        case str(), FieldType.DATETIME:
            return datetime.fromisoformat(given)
        case str(), FieldType.TIME:
            return time.fromisoformat(given)
    return given


def _right(expected: Mapping[str, Any], answer: Mapping[str, Any], returns: str) -> bool:
    if "error" in expected or "value" not in answer:
        return "error" in expected and "error" in answer
    wanted, given = expected["value"], answer["value"]
    if returns == "text":
        # The engine's test bench trims its answers.
        return (wanted or "").strip() == (given or "").strip()
    if wanted is None or given is None:
        return wanted is given
    match returns:
        case "number":
            return isinstance(given, float) and math.isclose(given, wanted, rel_tol=1e-9, abs_tol=TINY)
        case "date":
            return _value(wanted, FieldType.DATE) == (given.date() if isinstance(given, datetime) else given)
        case "datetime" | "time":
            return bool(_value(wanted, FieldType(returns)) == given)
    return bool(wanted == given)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The cases of a file."""
    with path.open(encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.strip())


def main(path: Path) -> int:
    """Prints each failure and the count; a row fails once, whatever the number of modes."""
    total, failed = 0, 0
    for case in read(path):
        rows, failures = run(case)
        total += rows
        failed += len({failure.number for failure in failures})
        for failure in failures:
            print(failure)
    print(f"{total - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

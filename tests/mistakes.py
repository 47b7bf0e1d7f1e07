"""The table of mistakes in mappings: what somebody wrote, what is said of it, and the page of the documentation that shows both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fieldline_core.findings import Finding
from fieldline_core.schema import Entity, Field, FieldType
from fieldline_core.signature import Signature, Tensor

FILE = "leads.yaml"
RECORD = """\
record:
  AnnualRevenue: number
  NumberOfEmployees: integer
  Industry: text
  CreatedDate: date
  LastActivity: datetime
  IsActive: boolean
  Opportunities: {Amount: number, StageName: text, CloseDate: date}
tables:
  Risk: {Banking: 0.2, Energy: 0.5}
"""
FIELDS = """\
fields:
  - name: Score
    formula: ROUND(probability * 100, 0)
"""
_COLUMNS = {
    "AnnualRevenue": FieldType.NUMBER, "NumberOfEmployees": FieldType.INTEGER, "Industry": FieldType.TEXT, "Rating": FieldType.TEXT,
    "Website": FieldType.TEXT, "CreatedDate": FieldType.DATE, "LastActivity": FieldType.DATETIME, "IsActive": FieldType.BOOLEAN,
}  # fmt: skip
LEAD = Entity(name="Lead", fields=tuple(Field(name=name, type=type) for name, type in _COLUMNS.items()))
"""What the source holds."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """What somebody wrote, and what is said of it."""

    title: str
    document: str
    """The whole mapping."""
    shown: Sequence[str]
    """The lines that matter, with `^` below the place."""
    finding: Finding
    model: Signature


def mistakes() -> Mapping[str, list[Mistake]]:
    """All mistakes, by heading."""
    table = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    return {heading: [_mistake(entry) for entry in entries] for heading, entries in table.items()}


def _mistake(entry: Mapping[str, Any]) -> Mistake:
    marked = _marked(entry)
    mark = next(place for place, line in enumerate(marked) if line.strip() == "^")
    text = "".join(f"{line}\n" for place, line in enumerate(marked) if place != mark)
    before = "mapping: lead-score\n" + ("" if "document" in entry else f"{RECORD}features:\n")
    finding = Finding(
        entry["rule"], entry.get("path", "features[0].formula"), entry["message"], entry.get("suggestion", ""),
        before.count("\n") + mark, marked[mark].index("^") + 1, file=FILE,
    )  # fmt: skip
    fields = "" if "\nfields:" in text else FIELDS
    return Mistake(entry["title"], f"{before}{text}{fields}", marked, finding, _model(entry.get("inputs", {"x": ("float32", 1)})))


def _marked(entry: Mapping[str, Any]) -> list[str]:
    if "formula" not in entry:
        return str(entry.get("features") or entry["document"]).splitlines()
    written, mark = entry["formula"].splitlines()
    written *= entry.get("times", 1)
    return ["  - name: feature", f"    formula: {written}", f"             {mark}"]


def _model(inputs: Mapping[str, tuple[str, int]]) -> Signature:
    tensors = tuple(Tensor(name=name, dtype=dtype, shape=(None, width)) for name, (dtype, width) in inputs.items())
    return Signature(inputs=tensors, outputs=(Tensor(name="probability", dtype="float32", shape=(None, 1)),))


def page() -> str:
    """The page in Markdown."""
    lines = [
        "# Mistakes in mappings, and what is said of them", "",
        "Made from `tests/mistakes.yaml` by `tools/make_reference.py`; a test holds each of them to its words and its place.", "",
        "`fieldline lint` names the place and says what to do. Below, `^` stands under the place. The mappings are of leads; where",
        "only features are shown, they begin with:", "", "```yaml", *RECORD.splitlines(), "```", "",
        "The model takes one number and gives a `probability`, if nothing else is said.",
    ]  # fmt: skip
    for heading, found in mistakes().items():
        lines += ["", f"## {heading}"]
        for each in found:
            shown = [line if len(line) <= 100 else f"{line[:97]}…" for line in each.shown]
            lines += ["", f"### {each.title}", "", "```text", *shown, "", each.finding.words, "```"]
    return "\n".join(lines) + "\n"

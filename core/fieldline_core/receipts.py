"""What a target answered to one slice, row by row; partial failure is a value, not an exception."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self


class Outcome(StrEnum):
    """What became of one row at its target."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    CHANGED_BY_PERSON = "changed_by_person"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class RowReceipt:
    """The outcome of one row, with the reason where it was not written (no values of the record in it)."""

    outcome: Outcome
    reason: str = ""


OVERTAKEN = RowReceipt(Outcome.SUPERSEDED, "a newer decision on this record stands")
TOUCHED = RowReceipt(
    Outcome.CHANGED_BY_PERSON, "somebody changed other fields of the record since it was read; it is read and decided on again"
)
"""The receipt of a row whose own fields nobody changed, though its record is not what was read: the engine reads it again."""


@dataclass(frozen=True, slots=True)
class Receipts:
    """The outcomes of `rows` rows: `usual`, but for the positions in `others`.

    `detail` says what the target answered as a whole (job id, status), without secrets and without record values.
    """

    rows: int
    usual: Outcome = Outcome.WRITTEN
    others: Mapping[int, RowReceipt] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, row: int) -> RowReceipt:
        return self.others.get(row) or RowReceipt(self.usual)

    def count(self, outcome: Outcome) -> int:
        """How many rows have that outcome."""
        exceptions = sum(receipt.outcome is outcome for receipt in self.others.values())
        return exceptions + (self.rows - len(self.others) if outcome is self.usual else 0)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads."""
        others = {str(row): [receipt.outcome, receipt.reason] for row, receipt in self.others.items()}
        return {"rows": self.rows, "usual": self.usual, "others": others, "detail": dict(self.detail)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The receipts written by `to_json`."""
        others = {int(row): RowReceipt(Outcome(outcome), reason) for row, (outcome, reason) in data["others"].items()}
        return cls(data["rows"], Outcome(data["usual"]), others, data["detail"])


@dataclass(frozen=True, slots=True)
class Pending:
    """A write that goes on at the target (a bulk job): ask again with `handle` after `poll_after_s` seconds."""

    handle: Mapping[str, Any]
    poll_after_s: float = 5.0

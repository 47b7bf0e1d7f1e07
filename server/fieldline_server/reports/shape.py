"""The one shape of every report: what it is, what was asked, and rows that each name their entry in the log."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldline_server.reports.reading import Reader

FORMAT = "fieldline-report/1"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a record, a flow, and the time from `since` to before `until`."""

    key: str | None = None
    flow: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the log."""

    position: int
    event_id: int
    at: datetime
    event: str
    actor: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a report: its values by column, and the entry that it rests on."""

    entry: Entry | None
    """None where the thing is kept outside of the log."""
    values: Mapping[str, Any]
    """By column; what is left out is null."""
    resource: Mapping[str, Any] | None = None
    """The line as a FHIR resource, in the report that consists of those."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A report that can be made."""

    name: str
    title: str
    basis: str
    """The provisions that ask for these records."""
    produces: str
    """What it is, in one sentence."""
    limits: tuple[str, ...]
    """What it is not, and what a person has to add."""
    columns: Mapping[str, str]
    """Each column with what it holds."""
    rows: Callable[["Reader"], Iterator[Row]]
    takes: frozenset[str] = frozenset({"since", "until"})
    """What may be asked: `key`, `flow`, `since`, `until`."""
    needs: frozenset[str] = frozenset()
    """What must be given."""
    days: int | None = None
    """How far back it looks where it is not said; None: as far as the log."""
    resources: bool = False
    """Whether its lines are FHIR resources."""

    def as_json(self) -> dict[str, Any]:
        """What it is, for a listing."""
        return {
            "kind": self.name, "title": self.title, "basis": self.basis, "produces": self.produces, "limits": list(self.limits),
            "needs": sorted(self.needs), "takes": sorted(self.takes), "columns": dict(self.columns),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """A report whose rows are read while it is written."""

    kind: Kind
    question: Question
    """With both ends of its period."""
    made_at: datetime
    made_by: str
    log: str
    """The name of the log."""
    log_size: int
    rows: Iterator[Row]

    def line(self, row: Row) -> dict[str, Any]:
        """A row by column, its place in the log first."""
        position, event = (row.entry.position, row.entry.event_id) if row.entry is not None else (None, None)
        return {"position": position, "event_id": event, **{name: row.values.get(name) for name in self.kind.columns}}

    def head(self) -> dict[str, Any]:
        """All but the rows."""
        asked, about = self.question, self.kind.as_json()
        ends = (("since", asked.since), ("until", asked.until))
        period = {name: at.isoformat() for name, at in ends if at is not None} if "since" in self.kind.takes else None
        return {
            "format": FORMAT, **{name: about[name] for name in ("kind", "title", "basis", "produces", "limits")},
            "made_at": self.made_at.isoformat(), "made_by": self.made_by, "log": {"name": self.log, "size": self.log_size},
            "period": period, "parameters": {"key": asked.key, "flow": asked.flow}, "columns": about["columns"],
        }  # fmt: skip

"""What a check of somebody's configuration found: typed, placed, in words that say what to do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

Location = tuple[str | int, ...]
"""The way to a part of a document: keys and positions, from its root."""


class Severity(StrEnum):
    """Whether the configuration can be used as it is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found; `line` and `column` count from 1, and are 0 where the place is unknown."""

    rule: str
    path: str
    message: str
    suggestion: str = ""
    line: int = 0
    column: int = 0
    severity: Severity = Severity.ERROR
    file: str = ""
    offset: int | None = None
    """Where in the text at `path` it is, in characters from its beginning."""

    @property
    def words(self) -> str:
        """The path, the message and the suggestion in one sentence or two."""
        return " ".join(part for part in (f"{self.path}:" if self.path else "", self.message, self.suggestion) if part)

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return f"{place}: {self.severity}: {self.words} [{self.rule}]" if place else f"{self.severity}: {self.words} [{self.rule}]"


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that keep the configuration from being used."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def path_text(location: Sequence[str | int]) -> str:
    """A location as people write it: `features[3].type`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'x'?` for the nearest known word, or nothing where none is near."""
    by_lower_case = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), by_lower_case, n=1, cutoff=0.6)
    return f"Did you mean {by_lower_case[near[0]]!r}?" if near else ""


__all__ = ["Finding", "Location", "Severity", "did_you_mean", "errors", "path_text"]

"""The qualifiers of a search line: what each is called, and what its value is."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fieldline_core.events import EVENTS
from fieldline_core.findings import did_you_mean
from fieldline_core.zones import OUTCOMES

_AGO = re.compile(r"([1-9][0-9]{0,4})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_DECISION = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,9}))?")
_VERSION = re.compile(r"[0-9a-f]{8,64}|[0-9]{1,7}")


class Unreadable(ValueError):
    """A value that its qualifier does not take; the message says what it takes."""


def _score(text: str) -> tuple[float, float]:
    first, dots, last = text.partition("..")
    try:
        low, high = (float(first) if first else -math.inf, float(last) if last else math.inf) if dots else (float(text),) * 2
    except ValueError:
        low = high = math.nan
    if math.isnan(low) or math.isnan(high) or text == "..":
        raise Unreadable(f"{text!r} is no range of numbers: write it as 0.7..0.9, 0.7.. or ..0.3")
    if low > high:
        raise Unreadable(f"{text!r} is empty: the smaller number comes first")
    return low, high


def _outcome(text: str) -> str:
    return _known(text, "outcome", OUTCOMES)


def _action(text: str) -> str:
    return _known(text, "audit event", EVENTS)


def _known(text: str, what: str, names: Iterable[str]) -> str:
    if text not in names:
        raise Unreadable(f"there is no {what} {text!r}. {did_you_mean(text, names) or 'There are ' + ', '.join(names)}")
    return text


def _decision(text: str) -> tuple[int, int | None]:
    found = _DECISION.fullmatch(text)
    if not found:
        raise Unreadable(f"{text!r} is no decision: it is written as 812-17 (its chunk and its row there), as a found one shows it")
    return int(found[1]), None if found[2] is None else int(found[2])


def _versioned(text: str) -> tuple[str, str]:
    name, _, version = text.partition("@")
    version = version.removeprefix("sha256:")
    if (version and not _VERSION.fullmatch(version)) or not (name or version) or text.endswith("@"):
        raise Unreadable(f"{text!r} is no name with a version: write churn, churn@3 or churn@9f86d081 (how its digest begins)")
    return name, version


def _moment(text: str, *, end: bool) -> datetime | timedelta:
    if ago := _AGO.fullmatch(text):
        return timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        # A day is meant as a whole.
        return moment + timedelta(days=1) if end and len(text) <= 10 else moment
    except (ValueError, OverflowError):
        raise Unreadable(f"{text!r} is no time: write 2026-11-01, 2026-11-01T14:30 (both UTC) or 7d, 12h, 30m ago") from None


def _text(text: str) -> str:
    return text


Read = Callable[[str], Any]
QUALIFIERS: Mapping[str, Read] = {
    "record": _text, "decision": _decision, "flow": _text, "model": _versioned, "mapping": _versioned, "outcome": _outcome,
    "score": _score, "action": _action, "actor": _text, "since": lambda text: _moment(text, end=False),
    "until": lambda text: _moment(text, end=True),
}  # fmt: skip
"""Each qualifier with what reads its value."""
TIMES = ("since", "until")
DECISIONS = ("record", "decision", "flow", "model", "mapping", "outcome", "score", *TIMES)
EVENTS_TOO = ("action", "actor", "record", "decision", "flow", "model", "mapping", *TIMES)
ONCE = ("decision", "score", *TIMES)
MEANT = {
    "key": "record", "id": "decision", "event": "action", "by": "actor", "user": "actor", "who": "actor", "from": "since",
    "after": "since", "to": "until", "before": "until", "result": "outcome", "status": "outcome",
}  # fmt: skip
"""What people write who know another tool, and what that is called here."""

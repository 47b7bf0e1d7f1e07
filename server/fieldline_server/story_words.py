"""The sentences of a decision's story."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from fieldline_core.receipts import Outcome

_MOST_SHOWN = 200
_SAID = {
    Outcome.WRITTEN: "took it",
    Outcome.UNCHANGED: "already held it",
    Outcome.REFUSED: "refused it",
    Outcome.UNKNOWN: "may or may not have taken it",
    Outcome.CHANGED_BY_PERSON: "was left alone",
    Outcome.SUPERSEDED: "was left alone",
}


def shown(value: Any) -> str:
    """A value in a sentence."""
    text = "blank" if value is None else "yes" if value is True else "no" if value is False else str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def counted(number: int, thing: str) -> str:
    """A number of things."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def summary(decision: Mapping[str, Any], waits: bool) -> str:
    """The decision in one sentence."""
    if decision["held"]:
        return f"The record was held back: {decision['held']['reason']}."
    gave = ", ".join(f"{name} = {shown(value)}" for name, value in list(decision["fields"].items())[:4]) or "no field"
    ends = {f"{write['write']}/{write['target']}": _end(write) for write in decision["writes"]}
    where = "; ".join(ends.values()) or ("it is still to be written" if waits else "nothing was written")
    return f"The decision was {gave}; {where}."


def _end(write: Mapping[str, Any]) -> str:
    if "undo" in write:
        back = write["outcome"] == Outcome.WRITTEN
        return f"{write['target']} got back what it held before" if back else f"at {write['target']} the undo left it alone"
    return f"{write['target']} {_SAID[Outcome(write['outcome'])]}"


def came_in(reads: str, chunk: Mapping[str, Any] | None) -> str:
    """How the record came in."""
    from_where = f" from {reads}" if reads else ""
    if chunk is None:
        return f"The record was taken in{from_where}. By which run is no longer kept."
    by, run = chunk["requested_by"], chunk["run"]
    match chunk["kind"]:
        case "events" if chunk["replay_of"] is not None:
            return f"The record was read again{from_where}: somebody had changed it before the decision on it was written."
        case "batch":
            return f"Run {run}, asked for by {by}, read the record{from_where}."
        case "replay":
            return f"Run {run}, asked for by {by}, took the record again, which had been set aside."
        case _ if by.startswith("webhook:"):
            what = f"named the record, which was then read{from_where}" if reads else "brought the record"
            return f"A signed message of {by.removeprefix('webhook:')} {what}."
    return "A caller handed the record over and waited for the answer."


def wrote(write: Mapping[str, Any], asked: Mapping[str, Any] | None) -> str:
    """What a target answered, or got back."""
    outcome, target, reason = Outcome(write["outcome"]), write["target"], write["reason"]
    why = f": {reason}" if reason else ""
    if "undo" in write:
        by = f", which {asked['actor']} asked for ({asked['detail']['why']})," if asked else ""
        what = f"put back what {target} held before" if outcome is Outcome.WRITTEN else f"did not change {target}{why}"
        return f"The undo of run {write['undo']}{by} {what}."
    tries = f" at attempt {write['attempt']}" if outcome in (Outcome.WRITTEN, Outcome.REFUSED, Outcome.UNKNOWN) else ""
    return f"The write {write['write']} to {target}: it {_SAID[outcome]}{tries}{why}."


def waiting_words(effect: Mapping[str, Any]) -> str:
    """A write that has not ended."""
    begun = "is under way" if effect["state"] == "submitted" else "waits"
    tried = f" after {counted(effect['attempts'], 'attempt')}" if effect["attempts"] else ""
    why = f": {effect['last_error']}" if effect["last_error"] else ""
    return f"The write {effect['write']} to {effect['target']} {begun}{tried}{why}."


def told_letter(letter: Mapping[str, Any]) -> str:
    """What became of a dead letter."""
    name = f"dead letter {letter['id']}"
    match letter["state"]:
        case "open":
            return f"It waits as {name} for a person to act: {letter['reason']}."
        case "replayed":
            again = f" in run {letter['replay_run']}" if letter["replay_run"] else ""
            return f"{letter['ended_by']} had {name} run again{again}{_because(letter['ended_why'])}."
    return f"{letter['ended_by']} discarded {name}{_because(letter['ended_why'])}."


def _because(why: str | None) -> str:
    return f", because: {why}" if why else ""


def sealed_words(links: Sequence[Any]) -> str:
    """Whether all of it is in the log and under a checkpoint."""
    waiting = [link for link in links if link.checkpoint is None]
    if not links or len(waiting) == len(links):
        return "It is durable, not yet sealed: the next checkpoint of the log will cover it."
    places = ", ".join(str(link.position) for link in links if link.checkpoint is not None)
    size = max(link.checkpoint for link in links if link.checkpoint is not None)
    noun = "entry" if len(links) - len(waiting) == 1 else "entries"
    said = f"The log holds it as {noun} {places}, under the signed checkpoint at size {size:,}"
    return f"{said}; {counted(len(waiting), 'receipt')} durable, not yet sealed." if waiting else f"{said}."


def acted(act: Mapping[str, Any], flow: str) -> tuple[str, str]:
    """What somebody did that the decision rests on: a word, and a sentence."""
    detail, actor = act["detail"], act["actor"]
    match act["event"]:
        case "model.imported":
            return "imported", f"{actor} imported the model {detail.get('model', '')}."
        case "model.alias_moved":
            return "chosen", f"{actor} made {detail.get('model', '')} the {detail.get('alias', 'chosen')} model."
    if detail.get("kind") == "release":
        return "published", f"{actor} published the flow {flow} with this mapping and model (release {detail['release'][:12]})."
    changes = detail.get("changes") or ()
    more = f", with {counted(len(changes), 'change')} to the version before" if changes else ""
    return "published", f"{actor} wrote and published the mapping {detail.get('name', '')} ({detail.get('digest', '')[:12]}){more}."


def erased_words(act: Mapping[str, Any]) -> str:
    """An erasure."""
    detail = act["detail"]
    despite = f", despite its retention class, because: {detail['despite']}" if detail.get("despite") else ""
    until = str(detail.get("key_backups_until", ""))
    backups = f" Backups of the keys may open it until {_day(until)}." if until else ""
    decisions = counted(int(detail.get("decisions", 0)), "decision")
    return f"{act['actor']} erased the record ({detail['why']}){despite}: {decisions}, with all that belongs to them.{backups}"


def _day(text: str) -> str:
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d")
    except ValueError:
        return text

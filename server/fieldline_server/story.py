"""One decision as a story: what came in, what became of it, where it went, and who answers for that; told from plain facts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fieldline_server.story_words import (
    acted,
    came_in,
    counted,
    erased_words,
    sealed_words,
    shown,
    summary,
    told_letter,
    waiting_words,
    wrote,
)


class Told(BaseModel):
    """Base of a story's parts."""

    model_config = ConfigDict(frozen=True)


class Fact(Told):
    """A value with its name."""

    name: str
    value: Any = Field(description="As the evidence holds it; null is blank.")
    about: str = Field("", description="Where it comes from: a formula, source fields, a label.")


class EntryLink(Told):
    """Where the log says so."""

    event: int = Field(description="The audit event's id.")
    position: int | None = Field(description="Its entry in the log; null while it waits for one.")
    checkpoint: int | None = Field(description="How many entries the first checkpoint counts that covers it; null: not yet sealed.")
    sealed_at: datetime | None


class Step(Told):
    """One thing that happened."""

    step: str = Field(description="`received`, `mapped`, `scored`, `decided`, `written`, `sealed` and others.")
    at: datetime | None
    words: str
    facts: list[Fact] = []
    entry: EntryLink | None = None


class Story(Told):
    """How a decision came about, step by step in the order of time, and who answers for it."""

    decision: str | None = Field(description="As `fieldline decisions` shows it; null where only the erasure is known.")
    key: str | None = Field(description="The record's key; null where it was erased.")
    flow: str
    release: str
    summary: str
    steps: list[Step]
    people: list[Step] = Field(description="Who published the mapping and the model, and who approved that.")


@dataclass(frozen=True, slots=True)
class Lineage:
    """What the pinned mapping says of its features and of the fields that it gives."""

    features: Mapping[str, tuple[str, str, Sequence[str]]]
    """Name -> label, formula (or the field that is taken as it is), source fields."""
    fields: Mapping[str, tuple[str, Sequence[str]]]
    """Name -> formula, and the steps and target fields that it goes to."""


@dataclass(frozen=True, slots=True)
class Known:
    """All that is known of a decision: `decision` as it is found, writes with `at` and `event`; audit events as rows."""

    decision: Mapping[str, Any]
    event: int
    entries: Mapping[int, EntryLink]
    reads: str = ""
    """The connection that the record was read from; empty where it came by itself."""
    lineage: Lineage | None = None
    chunk: Mapping[str, Any] | None = None
    waiting: Sequence[Mapping[str, Any]] = ()
    letters: Sequence[Mapping[str, Any]] = ()
    acts: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Erased:
    """What is still known of an erased decision, or of a record all of whose decisions were erased."""

    decision: str | None = None
    header: Mapping[str, Any] = field(default_factory=dict)
    recorded_at: datetime | None = None
    commitment: str = ""
    event: int = 0
    erasures: Sequence[Mapping[str, Any]] = ()
    entries: Mapping[int, EntryLink] = field(default_factory=dict)


def tell(known: Known) -> Story:
    """The story of a decision."""
    decision = known.decision
    return Story(
        decision=decision["decision"], key=decision["key"], flow=decision["flow"], release=decision["release"],
        summary=summary(decision, bool(known.waiting)), steps=[*_decided(known), *_written(known), _sealed(known)],
        people=list(_people(known)),
    )  # fmt: skip


def tell_erased(known: Erased) -> Story:
    """The story of what was erased: what its commitment still says, when and why it was erased, and which entry certifies it."""
    steps: list[Step] = []
    if known.commitment:
        words = "A decision was recorded. What it was is gone; its commitment stays, so that all proofs still hold."
        facts = [Fact(name="commitment", value=known.commitment, about="the salted hash of the erased row, a leaf of its batch")]
        steps.append(_step("recorded", known.recorded_at, words, facts, known.entries.get(known.event)))
    for act in known.erasures:
        facts = [Fact(name=name, value=value) for name, value in act["detail"].items() if name != "key_hash"]
        steps.append(_step("erased", act["at"], erased_words(act), facts, known.entries.get(act["id"])))
    if not known.erasures:
        steps.append(_step("erased", None, "The row was erased. Its certificate is found by the record's key."))
    flow = known.header.get("flow") or ", ".join(known.erasures[0]["detail"]["flows"] if known.erasures else ())
    said = "This was erased: nothing of the record is left here, and the log says so."
    return Story(decision=known.decision, key=None, flow=flow, release=known.header.get("release", ""), summary=said, steps=steps,
                 people=[])  # fmt: skip


def _step(name: str, at: datetime | None, words: str, facts: Sequence[Fact] = (), entry: EntryLink | None = None) -> Step:
    return Step(step=name, at=at, words=words, facts=list(facts), entry=entry)


def _decided(known: Known) -> Iterator[Step]:
    """From the record to the decision."""
    decision, entry = known.decision, known.entries.get(known.event)
    clock, recorded = (datetime.fromisoformat(decision[name]) for name in ("clock", "recorded_at"))
    held = decision["held"] or {"stage": "", "reason": ""}
    source = [Fact(name=name, value=value) for name, value in decision["source"].items()]
    received = known.chunk["received_at"] if known.chunk else None
    yield _step("received", received, came_in(known.reads, known.chunk), source)
    if held["stage"] != "accept":
        features = list(_features(known))
        words = f"The mapping {decision['mapping'][:12]} made {counted(len(features), 'feature')} of the record."
        yield _step("mapped", clock, words, features)
    if decision["outputs"] and any(value is not None for value in decision["outputs"].values()):
        outputs = [Fact(name=name, value=value) for name, value in decision["outputs"].items()]
        models = " and ".join(f"{model['name']}@{model['version']}" for model in decision["models"])
        runtime = [Fact(name=name, value=value, about="what computed") for name, value in decision["runtime"].items()]
        said = ", ".join(f"{fact.name} = {shown(fact.value)}" for fact in outputs[:5])
        yield _step("scored", clock, f"The model {models} said {said}.", [*outputs, *runtime])
    if held["stage"]:
        yield _step("held back", recorded, f"The record was held back, and nothing was decided on it: {held['reason']}.", (), entry)
    else:
        yield _step("decided", recorded, "From what the model said, the mapping gave these fields.", list(_fields(known)), entry)
    for letter in known.letters:
        yield _step("set aside", letter["ended_at"] or letter["created_at"], told_letter(letter))


def _features(known: Known) -> Iterator[Fact]:
    source = known.decision["source"]
    for name, value in known.decision["features"].items():
        label, formula, fields = known.lineage.features.get(name, ("", "", ())) if known.lineage else ("", "", ())
        read = ", ".join(f"{each} {shown(source[each])}" if each in source else each for each in fields)
        about = "; ".join(filter(None, (label, f"= {formula}" if formula else "", f"from {read}" if read else "")))
        yield Fact(name=name, value=value, about=about)


def _fields(known: Known) -> Iterator[Fact]:
    for name, value in known.decision["fields"].items():
        formula, places = known.lineage.fields.get(name, ("", ())) if known.lineage else ("", ())
        about = "; ".join(filter(None, (f"= {formula}" if formula else "", f"goes to {', '.join(places)}" if places else "")))
        yield Fact(name=name, value=value, about=about)


def _written(known: Known) -> Iterator[Step]:
    asked = {str(act["detail"].get("run")): act for act in known.acts if act["event"] == "undo.requested"}
    for write in known.decision["writes"]:
        after = write["put_back"] if "undo" in write else _sent(known, write)
        names = [*write["before"], *(name for name in after if name not in write["before"])]
        facts = [Fact(name=name, value=after.get(name), about=_was(write["before"], name)) for name in names]
        name = "put back" if "undo" in write else "written"
        words = wrote(write, asked.get(str(write.get("undo"))))
        yield _step(name, write["at"], words, facts, known.entries.get(write["event"]))
    if not known.decision["held"]:
        for each in known.waiting:
            yield _step("waiting", each["due_at"], waiting_words(each))


def _sent(known: Known, write: Mapping[str, Any]) -> dict[str, Any]:
    """What was sent, by field of the target."""
    fields, lineage = known.decision["fields"], known.lineage
    begins = f"{write['write']}."
    places = {place.removeprefix(begins): name for name in fields for place in (lineage.fields[name][1] if lineage else ())
              if place.startswith(begins)}  # fmt: skip
    return {place: fields[name] for place, name in places.items()} or dict(fields)


def _was(before: Mapping[str, Any], name: str) -> str:
    return f"before: {shown(before[name])}" if name in before else ""


def _sealed(known: Known) -> Step:
    events = {known.event, *(write["event"] for write in known.decision["writes"])}
    links = [known.entries[event] for event in sorted(events) if event in known.entries]
    open_ones = [link for link in links if link.checkpoint is None]
    last = max((link.sealed_at for link in links if link.sealed_at), default=None)
    return _step("sealed", None if open_ones else last, sealed_words(links), (), known.entries.get(known.event))


def _people(known: Known) -> Iterator[Step]:
    for act in known.acts:
        if act["event"] != "undo.requested":
            name, words = acted(act, known.decision["flow"])
            yield _step(name, act["at"], words, (), known.entries.get(act["id"]))
    yield _step("approved", None, "No approval is recorded.")

"""What a flow is: the user's sentence, as one document; and the release that pins everything it means."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from fieldline_core.admission import TargetLimits
from fieldline_core.cds import RECORD, Cds
from fieldline_core.ports import Document
from fieldline_core.retry import RetryPolicy

NAME = re.compile(r"^[a-z][a-z0-9]*([-_][a-z0-9]+)*$")


def _name(value: str) -> str:
    if len(value) > 63 or not NAME.match(value):
        raise ValueError(
            "a name is written in lower case letters, digits, '-' and '_', starts with a letter, and has at most 63 of them"
        )
    return value


Name = Annotated[str, AfterValidator(_name)]


class Connection(Document):
    """A connection to one system."""

    connection: Name
    """The connection's name."""
    connector: str
    """Which connector it uses, for example `odbc`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The connector's own settings."""
    limits: TargetLimits = TargetLimits()
    """How hard the system may be pressed by writes."""


class SourceStep(Document):
    """Where records are read."""

    connection: Name
    """The connection that is read."""
    query: dict[str, Any]
    """What is read, in the connector's own terms."""


class LookupStep(Document):
    """Rows that belong to each record, as a list that the mapping's formulas count and sum over."""

    name: str = Field(min_length=1, max_length=200)
    """The list's name in the mapping's `record`."""
    connection: Name
    """The connection that is read."""
    query: dict[str, Any]
    """What is read, in the connector's own terms; its key is what names the record (the foreign key)."""
    by: str | None = Field(None, min_length=1, max_length=200)
    """The record's field that the rows are found by; the record's key where it is left out."""


class WriteStep(Document):
    """Where answers go."""

    name: Name
    """The step's name, part of each effect's key."""
    connection: Name
    """The connection that is written to."""
    target: dict[str, Any]
    """What is written, in the connector's own terms."""
    retry: RetryPolicy = RetryPolicy()
    """How often and how long to try again."""


class Trigger(Document):
    """What makes the flow run: nothing (by hand), a schedule, a webhook, CDS Hooks, or changes in the system that it reads."""

    schedule: str | None = None
    """A cron expression in UTC, for example `0 6 * * *`."""
    every: str | None = Field(None, pattern=r"^[1-9][0-9]{0,5}(s|m|h|d)$")
    """An interval, for example `15m`."""
    webhook: Name | None = None
    """The connection whose signed messages are records, or name them."""
    key: str | None = None
    """Path of the record's key in the message's body, for example `data.id`."""
    changes: dict[str, Any] | None = None
    """Which changes of the source are listened to, in the connector's own terms; a schedule may stand beside it."""
    cds: Cds | None = None
    """The service of CDS Hooks that the flow is; a schedule or changes may stand beside it."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if sum(way is not None for way in (self.schedule, self.every, self.webhook)) > 1:
            raise ValueError("a trigger is one of schedule, every and webhook")
        if self.webhook is not None and self.changes is not None:
            raise ValueError("a trigger is a webhook or changes, not both")
        if self.webhook is not None and self.cds is not None:
            raise ValueError("a trigger is a webhook or cds, not both")
        if (self.webhook is None) != (self.key is None):
            raise ValueError("a webhook trigger says which path of the body is the record's key (key: data.id)")
        return self


RetentionClass: TypeAlias = Literal["standard", "high_risk", "health"]
FLOOR_DAYS: Mapping[RetentionClass, int] = {"standard": 0, "high_risk": 183, "health": 2192}
"""How many days decisions of a class are kept, whoever asks for their erasure: none, six months (AI Act), six years (HIPAA)."""


class Retention(Document):
    """How long decisions are kept at least."""

    class_: RetentionClass = Field("standard", alias="class")
    """`standard` (no floor), `high_risk` (183 days) or `health` (6 years): before that, erasing takes a legal basis."""


class Guards(Document):
    """Bounds on what a flow may change."""

    max_changed_per_hour: int | None = Field(None, ge=1)
    """Rows that may be written in an hour; beyond it the flow pauses and says so."""


class Flow(Document):
    """One sentence: when this happens, read that, map it, score it, write the answer there."""

    flow: Name
    """The flow's name."""
    trigger: Trigger = Trigger()
    """What makes it run."""
    source: SourceStep | None = None
    """Where records are read; a webhook flow without one takes the message itself as the record."""
    lookups: list[LookupStep] = Field(default_factory=list, max_length=16)
    """Rows that belong to the records, read when they are scored."""
    mapping: Name
    """The mapping from records to the model's inputs, and from its outputs to fields."""
    models: list[str] = Field(min_length=1, max_length=1)
    """The model: `name`, `name@champion`, or `name@3`."""
    writes: list[WriteStep] = Field(default_factory=list, max_length=16)
    """Where answers are written; none keeps the decisions only."""
    retry: RetryPolicy = RetryPolicy()
    """How often reading and scoring are tried again."""
    guards: Guards = Guards()
    """Bounds on what the flow may change."""
    retention: Retention = Retention()
    """How long its decisions are kept at least."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.source is None and self.trigger.webhook is None:
            raise ValueError("a flow reads from a source, or is triggered by a webhook")
        if self.source is None and self.trigger.changes is not None:
            raise ValueError("a flow that listens to changes reads the changed records back: give it a source")
        if self.trigger.cds is not None and RECORD in {lookup.name for lookup in self.lookups}:
            raise ValueError(f"a flow that answers CDS Hooks has no list of the name {RECORD!r}: so the record itself is fetched")
        names = [write.name for write in self.writes]
        if len(names) != len(set(names)):
            raise ValueError("each write has a name of its own")
        lists = [lookup.name.lower() for lookup in self.lookups]
        if len(lists) != len(set(lists)):
            raise ValueError("each lookup has a name of its own")
        return self

    def connections(self) -> set[str]:
        """The names of the connections that the flow uses."""
        used = {write.connection for write in self.writes} | {lookup.connection for lookup in self.lookups}
        return (
            used
            | ({self.source.connection} if self.source else set())
            | ({self.trigger.webhook} if self.trigger.webhook else set())
        )


@dataclass(frozen=True, slots=True)
class ModelPin:
    """The very model of a release."""

    name: str
    version: int
    digest: str
    device: str


@dataclass(frozen=True, slots=True)
class Release:
    """What a decision is pinned to: flow, mapping and model, each by digest, under one digest."""

    id: int
    flow_id: int
    digest: str
    flow: Flow
    mapping_digest: str
    models: tuple[ModelPin, ...]

    @property
    def queue(self) -> str:
        """The queue on which the release is scored."""
        return "gpu" if any(model.device == "cuda" for model in self.models) else "cpu"


def digest_of(body: Mapping[str, Any]) -> str:
    """SHA-256 of a document's canonical JSON, in hexadecimal."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def release_body(flow: Flow, mapping_digest: str, models: tuple[ModelPin, ...]) -> dict[str, Any]:
    """The JSON whose digest names the release."""
    pins = [{"name": m.name, "version": m.version, "digest": m.digest, "device": m.device} for m in models]
    return {"schema": 1, "flow": flow.model_dump(mode="json", by_alias=True), "mapping": mapping_digest, "models": pins}


def release_from(id: int, flow_id: int, digest: str, body: Mapping[str, Any]) -> Release:
    """The release kept under that body."""
    pins = tuple(ModelPin(**pin) for pin in body["models"])
    return Release(id, flow_id, digest, Flow.model_validate(body["flow"]), body["mapping"], pins)


def effect_key(release_digest: str, chunk_id: int, write_name: str, number: int, content: bytes) -> str:
    """The key of an effect, made once and the same at every attempt: 64 hexadecimal digits.

    `content` is a hash of the slice, keyed by the installation: a store that is made anew, or restored from a backup, gives out
    chunk ids again, and another slice must never be taken for the repeat of an earlier one.
    """
    return hashlib.sha256(f"fieldline|1|{release_digest}|{chunk_id}|{write_name}|{number}|{content.hex()}".encode()).hexdigest()

"""What routes answer, and what they take: the shapes that the OpenAPI document describes."""

from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

T = TypeVar("T")


class Taken(BaseModel):
    """What a caller sends: closed, so that a misspelt name is refused and not ignored."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Items(BaseModel, Generic[T]):
    """Some things; `next` is what to give as `before` (or `after`) for more, null where there are no more."""

    items: list[T]
    next: int | None = None


class FlowView(BaseModel):
    """A flow with its current release."""

    name: str
    release: str | None
    paused_at: datetime | None
    paused_by: str | None
    paused_reason: str | None
    schedule: str | None
    next_at: datetime | None
    body: dict[str, Any] | None
    dead_letters: int | None = None
    last_scored_at: datetime | None = None


class RunView(BaseModel):
    """A run with the counts of its rows."""

    id: int
    flow: str
    kind: str
    state: str
    reason: str | None
    requested_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    exhausted: bool
    rows_read: int
    duplicates: int
    release: str
    rows: int
    scored: int
    held: int
    skipped: int
    written: int
    refused: int
    left_alone: int
    open_chunks: int
    dead: int


class ChunkView(BaseModel):
    """A chunk of a run."""

    id: int
    run_id: int
    flow: str
    state: str
    rows: int
    scored: int
    held: int
    skipped: int
    written: int
    refused: int
    left_alone: int
    attempts: int
    open_effects: int
    lease_owner: str | None
    due_at: datetime
    received_at: datetime
    scored_at: datetime | None
    done_at: datetime | None
    last_error: str | None
    replay_of: int | None


class EffectView(BaseModel):
    """A slice that is written, or was."""

    id: int
    chunk_id: int
    write: str
    target: str
    key: str
    state: str
    rows: int
    attempts: int
    created_at: datetime
    finished_at: datetime | None
    due_at: datetime
    last_error: str | None


class DeadLetterView(BaseModel):
    """A row that was set aside, without its record."""

    id: int
    flow: str
    run_id: int
    chunk_id: int
    effect_id: int | None
    stage: str
    state: str
    reason: str
    created_at: datetime
    ended_at: datetime | None
    ended_by: str | None
    ended_why: str | None
    replay_run: int | None


class DeadLetterRecord(DeadLetterView):
    """A row that was set aside, with its record."""

    key: str
    record: dict[str, Any]


class CauseView(BaseModel):
    """Open dead letters of one cause."""

    flow: str
    stage: str
    reason: str
    count: int
    first_at: datetime
    last_at: datetime
    example: int


class ModelView(BaseModel):
    """One version of a model."""

    name: str
    version: int
    digest: str
    device: str
    fallback: bool
    aliases: list[str]
    signature: dict[str, Any]
    facts: dict[str, Any]


class ConnectionView(BaseModel):
    """A connection, without its settings."""

    name: str
    connector: str
    digest: str
    published_at: datetime
    published_by: str


class CheckView(BaseModel):
    """Whether a connection can be used now."""

    connection: str
    reachable: bool
    problem: str | None


class TargetView(BaseModel):
    """A target's limits and its circuit breaker."""

    name: str
    rate_per_s: float | None
    burst: float | None
    concurrency: int
    breaker: str
    failures: int
    retry_at: datetime | None
    reason: str | None


class WritesView(BaseModel):
    """Whether and why write-backs are stopped."""

    paused_at: datetime | None
    paused_by: str | None
    reason: str | None


class KeyView(BaseModel):
    """An API key, without its secret."""

    id: str
    label: str
    scopes: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewKeyView(KeyView):
    """An API key with the text that is shown this once."""

    key: str


class LogKeyView(BaseModel):
    """The public key of the log."""

    name: str
    id: str = Field(description="Eight hexadecimal digits that tell it from other keys of this name.")
    vkey: str = Field(description="The key as verifiers take it (C2SP signed-note).")


class AuditEventView(BaseModel):
    """One audit event."""

    id: int
    event: str
    actor: str
    at: datetime
    detail: dict[str, Any]
    position: int | None = Field(description="Its place in the log; null until it is sealed there.")


class FindingView(BaseModel):
    """One thing that a check of documents found."""

    rule: str
    severity: str
    path: str
    message: str
    suggestion: str
    line: int
    column: int


class AppliedView(BaseModel):
    """What applying documents did, or would do."""

    documents: list[dict[str, str]]
    findings: list[FindingView]


class AnswerView(BaseModel):
    """What one record was answered; `decision` is what its evidence is found by, together with the key."""

    key: str
    fields: dict[str, Any] | None
    outputs: dict[str, Any] | None
    held: str | None
    decision: dict[str, str]


class RunRequest(Taken):
    """What kind of run is wanted."""

    row_limit: int | None = Field(None, ge=1, le=1_000_000_000)
    """Most rows to read: a trial."""
    rescore: bool = False
    """Whether records are decided anew that have not changed."""


class Reason(Taken):
    """Why something is done."""

    reason: str = Field(min_length=1, max_length=500)
    """In the words of the person, for the audit."""


class Letters(Taken):
    """Which open dead letters of a flow: these, or all of one reason."""

    ids: list[int] | None = Field(None, min_length=1, max_length=10_000)
    """Their numbers."""
    reason: str | None = Field(None, min_length=1, max_length=500)
    """The reason that they share, as the list of causes has it."""
    why: str = Field("", max_length=500)
    """Why, in the words of the person, for the audit."""

    @model_validator(mode="after")
    def _one_way(self) -> "Letters":
        if (self.ids is None) == (self.reason is None):
            raise ValueError("give ids or reason")
        return self


class Replay(Letters):
    """Dead letters to run again."""

    edits: dict[str, str | int | float | bool | None] | None = Field(None, min_length=1, max_length=1000)
    """New values for fields of one dead letter."""
    anew: bool = False
    """Whether to decide anew also on those whose write may have arrived: a person has looked, and it did not."""


class RecordToScore(Taken):
    """A record under its key."""

    key: str = Field(min_length=1, max_length=1024)
    """The record's key in its system."""
    record: dict[str, Any]
    """Its fields."""


class RecordsToScore(Taken):
    """Records to score while the caller waits."""

    records: list[RecordToScore] = Field(min_length=1, max_length=256)
    """The records, each key once."""


class AliasVersion(Taken):
    """The version that an alias is to name."""

    version: int = Field(ge=1)
    """Number of the version."""


class NewKey(Taken):
    """The API key that is wanted."""

    label: str = Field(min_length=1, max_length=100)
    """What it is for."""
    scopes: list[str] = Field(min_length=1, max_length=20)
    """What it may do."""
    days: int | None = Field(None, ge=1, le=3650)
    """How long it stays in force; for ever if left out."""

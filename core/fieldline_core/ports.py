"""What the engine asks of connectors, mappings and models; a class offers what it defines."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Protocol, Self, TypeAlias, runtime_checkable

import polars as pl
from pydantic import BaseModel, ConfigDict

from fieldline_core.batch import Batch, Held, Sifted
from fieldline_core.findings import Finding
from fieldline_core.messages import Change, Cursor, Delivery, Event, Heard, HookRequest, Reply, Subscribed
from fieldline_core.receipts import OVERTAKEN, Pending, Receipts, RowReceipt
from fieldline_core.schema import Catalog, FieldType

Wanted: TypeAlias = Mapping[str, "FieldType | Mapping[str, FieldType]"]
"""Fields of a record (paths such as `customer.tier`), each with its type; a list of child rows with those of its rows' fields."""

Texts: TypeAlias = Mapping[str, frozenset[str] | None]
"""Fields of a mapping that are texts, each with all that it can be, or None where that cannot be told."""

Tensors: TypeAlias = Mapping[str, Any]
"""Input name -> numpy array, rows first."""


class Dedupe(StrEnum):
    """How a repeat of one write operation is made harmless."""

    NATIVE = "native"
    LEDGER = "ledger"
    QUERY = "query"
    NONE = "none"


class Document(BaseModel):
    """Base of every piece of configuration that people write: closed, frozen, each field described."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ConnectorConfig(Document):
    """Base of a connector's settings: its reference page, its form and its lint."""


class Query(Document):
    """Base of what a connector is asked to read, in its system's own language."""

    @property
    def incremental(self) -> bool:
        """Whether a run goes on where the last one stopped, and may meet a record twice."""
        return False

    @property
    def repeats(self) -> bool:
        """Whether one run may meet a record twice."""
        return self.incremental

    @property
    def prepared(self) -> bool:
        """Whether the system always has to prepare what is read, which takes it minutes or hours."""
        return False

    def reading(self, fields: Collection[str]) -> Self:
        """The same query asking for these fields only, where the system can."""
        return self


class Target(Document):
    """Base of one write operation of a connector."""

    fields: Mapping[str, str]
    """Field of the target -> field of the mapping that fills it."""

    def overwrites(self, query: Query) -> tuple[str, ...]:
        """What `query` reads from the very records that this operation writes, to be compared before it writes: its own fields,
        and such as tell of any other change."""
        return ()

    def reading(self) -> Query | None:
        """What reads the fields that this operation writes, by the same keys; None where its connector cannot say."""
        return None

    def existing(self) -> Self:
        """The same operation on records that are there, which adds none."""
        return self


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows that were read, and the cursor that goes on behind them.

    Where the system has begun to prepare what is to be read, and is not ready, a page without rows says so: `after` names the work,
    and is to be read on from in `again_s` seconds. Such a page is the last of its reading.

    `left` is said by a last page where the system still keeps what it prepared, though all was read: it is to be given up later.
    `ends` is said by a last page behind which a reading would begin anew: that all was read is stored with it.
    """

    batch: Batch
    after: Cursor
    again_s: float | None = None
    left: bool = False
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Slice:
    """What one write call sends: frozen when scored, the same bytes at every attempt.

    `effect_key` is the same at every attempt (64 hexadecimal digits); `fence` grows with each claim.
    `before` holds, in the columns of `batch.frame` that were read, the values as they were read.
    `overtaken` are the positions of rows that a newer decision has overtaken: they are not written, and their receipt says
    SUPERSEDED, unless the slice was written before. `made_at` is when it was frozen, with a zone: the same at every attempt.
    """

    effect_key: str
    fence: int
    target: Target
    batch: Batch
    before: pl.DataFrame | None = None
    overtaken: frozenset[int] = frozenset()
    made_at: datetime | None = None

    def overtaken_receipts(self) -> dict[int, RowReceipt]:
        """The receipts of the rows that are not to be written."""
        return dict.fromkeys(sorted(self.overtaken), OVERTAKEN)


class Topic(Document):
    """Base of what is listened to, in its system's own language."""

    def beside(self, writes: Sequence[Target]) -> Self:
        """The same topic for a flow that writes this itself, which is no change to it."""
        return self


class Connector(Protocol):
    """A connection to one system; `Config` describes its settings."""

    name: ClassVar[str]
    Config: ClassVar[type[ConnectorConfig]]

    def check(self) -> None:
        """Returns where the system can be reached and accepts us; raises Misconfigured or Unavailable."""

    def close(self) -> None:
        """Releases what the connection holds."""


@runtime_checkable
class Discovers(Protocol):
    """Says what the system holds."""

    def discover(self) -> Catalog:
        """Entities, fields, types, labels and sample values."""
        ...


@runtime_checkable
class Source(Protocol):
    """Reads records in pages that can be resumed."""

    Query: ClassVar[type[Query]]

    def read(self, query: Any, after: Cursor | None, limit: int) -> Iterator[Page]:
        """Pages of at most `limit` rows behind `after`, in a stable order; never the whole result in memory."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """Has its system prepare what is read, which the system keeps until it is read or given up; cursors name it as their `job`."""

    def abandon(self, after: Cursor) -> None:
        """Gives up what the system prepares or keeps for a reading that stopped there; nothing where that is nothing."""


@runtime_checkable
class Lookup(Protocol):
    """Reads records by key."""

    def lookup(self, query: Any, keys: Sequence[str]) -> Batch:
        """The records with these keys, in any order; keys that are not there are left out."""
        ...


@runtime_checkable
class Children(Protocol):
    """Reads the rows that belong to records."""

    def children(self, query: Any, keys: Sequence[str]) -> Batch:
        """The rows whose key, as the query names it, is one of these, in any order; several may have the same."""
        ...


@runtime_checkable
class Sink(Protocol):
    """Writes a slice, and says how a repeat is made harmless."""

    Target: ClassVar[type[Target]]

    def dedupe(self, target: Any) -> Dedupe:
        """How a repeat of this operation is made harmless."""
        ...

    def max_rows(self, target: Any) -> int:
        """The most rows that one call of this operation takes."""
        ...

    def write(self, slice: Slice) -> Receipts | Pending:
        """Writes the slice, or says that it was written before.

        Raises Unavailable(sent=True) where it may or may not have been written, Unavailable where it surely was not,
        Rejected where the target refuses all of it for good, Misconfigured where a person must act.
        """
        ...


@runtime_checkable
class Checks(Protocol):
    """Holds what somebody means to read or write against what the system says of itself, before anything runs."""

    def check_query(self, query: Any) -> Iterator[Finding]:
        """What keeps the query from being read, with paths below it."""
        ...

    def check_target(self, target: Any, given: Mapping[str, FieldType]) -> Iterator[Finding]:
        """What keeps the operation from writing fields of these types, with paths below it; `given` may be empty: not known."""
        ...


@runtime_checkable
class ChecksTexts(Protocol):
    """Says of texts that are written whether the system takes them."""

    def check_texts(self, target: Any, texts: Texts) -> Iterator[Finding]:
        """What the system refuses of these texts, with paths below the operation."""
        ...


@runtime_checkable
class Polls(Protocol):
    """Asks after a write that answered Pending."""

    def poll(self, slice: Slice, handle: Mapping[str, Any]) -> Receipts | Pending:
        """The receipts, or Pending again."""
        ...


@runtime_checkable
class Hook(Protocol):
    """Verifies inbound messages."""

    def receive(self, request: HookRequest) -> Delivery:
        """The events of a verified message; raises Rejected where it is malformed, forged or too old."""
        ...


class Shared(Protocol):
    """A few small values that all threads and processes of one connection have in common, sealed where they are kept."""

    def update(self, name: str, change: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """The new value, made from the old one under a lock; None where there is none."""
        ...


@runtime_checkable
class Shares(Protocol):
    """Has something in common with the same connection in other processes: a login, a count."""

    def share(self, shared: Shared) -> None:
        """Takes the place where it is kept; called once, before the connection is used."""
        ...


@runtime_checkable
class Feed(Protocol):
    """Says what changes, as it changes."""

    Topic: ClassVar[type[Topic]]

    def listen(self, topic: Any, after: Cursor | None, stopped: Callable[[], bool]) -> Iterator[Heard]:
        """What changes behind `after`, until `stopped`, which is asked each second.

        Where `after` is None, that is from now on, and the first thing heard is the cursor of now. What we wrote ourselves is left
        out where the system marks it. Raises Unavailable where the system is away, Misconfigured where a person must act.
        """
        ...


@runtime_checkable
class Subscribes(Protocol):
    """Has its system send messages to a flow's hook that say what changes."""

    Topic: ClassVar[type[Topic]]

    def subscribe(self, topic: Any, flow: str, place: Cursor | None) -> Subscribed:
        """Makes, renews or asks again for the subscription that tells this flow, where that is needed; `place` is None at first.

        It is empty where the flow listened to something else before: what changes until this one tells is then missed. A place
        may be that of another topic, whose subscription is to tell of this one from now on.
        Raises Unavailable where the system is away, Misconfigured where a person must act.
        """
        ...

    def unsubscribe(self, topic: Any, flow: str, place: Cursor | None) -> str:
        """Has the flow told no more, and says what was done; what is not there any more is left alone, and nothing is said.

        `place` is None where nobody knows whether there is a subscription: one that tells this flow is then looked for. Raises
        Unavailable where the system is away, Misconfigured where it refuses.
        """
        ...

    def check_topic(self, topic: Any, query: Any) -> Iterator[Finding]:
        """What keeps the system from telling what the query's records need, with paths below the topic."""
        ...

    def told(self, topic: Any, request: HookRequest) -> Callable[[Cursor | None], Heard]:
        """What a message says, once its sender is known, as what is heard behind a place; that is pure, and asked under a lock.

        Raises Rejected where the message is malformed or forged.
        """
        ...


class Plan(Protocol):
    """A mapping, compiled against the model's signature and the source's fields; pure."""

    digest: str
    uses_clock: bool

    def fields_read(self) -> Wanted:
        """Each source field that the plan needs, and its type."""
        ...

    def fields_written(self) -> Mapping[str, FieldType]:
        """Each field that the plan gives from the model's outputs, and its type."""
        ...

    def texts_written(self) -> Texts:
        """Each text that the plan gives, with all that it can be where its formula chooses among fixed ones."""
        ...

    def features(self, batch: Batch, clock: datetime) -> Sifted:
        """The features of all rows, in the mapping's order, and the rows held back; `clock` is UTC."""
        ...

    def tensors(self, features: pl.DataFrame) -> Tensors:
        """The model's inputs from features of which none is held."""
        ...

    def fields(self, batch: Batch, outputs: pl.DataFrame, clock: datetime) -> Sifted:
        """The fields to write, from the model's outputs of the same rows."""
        ...


class Model(Protocol):
    """A loaded model version."""

    digest: str

    def run(self, tensors: Tensors, timeout_s: float) -> Sifted:
        """The outputs, a column for each number: `name`, or `name[0]`, `name[1]` … where an output has several.

        Rows whose outputs are not finite are held; raises Rejected where the run fails or exceeds the time limit.
        """
        ...


__all__ = [
    "Batch", "Catalog", "Change", "Checks", "ChecksTexts", "Children", "Connector", "ConnectorConfig", "Cursor", "Dedupe",
    "Delivery", "Discovers", "Document", "Event", "Feed", "FieldType", "Heard", "Held", "Hook", "HookRequest", "Lookup",
    "Model", "Page", "Pending", "Plan", "Polls", "Prepares", "Query", "Receipts", "Reply", "Shared", "Shares", "Sifted", "Sink",
    "Slice", "Source", "Subscribed", "Subscribes", "Target", "Tensors", "Texts", "Topic", "Wanted",
]  # fmt: skip

"""What systems send by themselves: messages, the events and changes that these bring, and how a subscription to them stands."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

Cursor: TypeAlias = Mapping[str, Any]
"""Where a read goes on: a JSON object that only its connector understands."""


@dataclass(frozen=True, slots=True)
class HookRequest:
    """An inbound HTTP request, bounded but not yet trusted; header names are lower case."""

    headers: Mapping[str, str]
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """A verified inbound message: `id` is unique for its sender, `body` is a JSON document in UTF-8."""

    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """A record that has changed; `id` is unique in its topic, `fields` are those that changed, none where the system is silent."""

    id: str
    key: str
    fields: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Heard:
    """Changes in their order, and the cursor that goes on behind them; `gap` says that some before them were missed."""

    changes: Sequence[Change]
    after: Cursor
    gap: bool = False


@dataclass(frozen=True, slots=True)
class Subscribed:
    """How a subscription stands, once it was looked after.

    `place` is what it is known by; it is looked after again in `again_s`. `gap` says that changes may have been missed, `did` what
    was done at the system, and `problem` why it tells nothing at present. `said` is what the system answered when it was asked how
    much it has told, as what is heard behind a place.
    """

    place: Cursor
    again_s: float
    gap: bool = False
    did: str = ""
    problem: str = ""
    said: Callable[[Cursor | None], Heard] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a sender wants to be told when its message is stored, where that is not our own JSON."""

    body: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one verified message brings: its events, each stored before the message is acknowledged."""

    events: tuple[Event, ...]
    reply: Reply | None = None


__all__ = ["Change", "Cursor", "Delivery", "Event", "Heard", "HookRequest", "Reply", "Subscribed"]

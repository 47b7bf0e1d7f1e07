"""The event bus of an org: its platform events, its channels, its limits, and which topics there are.

Change events and platform events are kept in one log, the org's feed: a platform event is a change of kind EVENT whose object is
the event's name, and whose record id is the id that its publisher gave it.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from fieldline_simulators.salesforce.errors import ApiError
from fieldline_simulators.salesforce.pubsub_avro import GAPS, Schema, change_event, change_schema, event_schema

if TYPE_CHECKING:
    from fieldline_simulators.salesforce.access import Actor
    from fieldline_simulators.salesforce.org import Org

EVENT = "EVENT"
#: What a change of too many records in one transaction names instead of them.
EVERY_RECORD = "000000000000000AAA"
MOST_CLIENTS = 48
TYPES = frozenset({"string", "textarea", "double", "boolean", "date", "datetime"})


@dataclass(frozen=True, slots=True)
class Topic:
    """What can be subscribed to: the objects and events whose entries in the log belong to it."""

    name: str
    members: frozenset[str] | None
    schema: Schema | None
    can_publish: bool


@dataclass(slots=True)
class Bus:
    """What an administrator has set up; the limits are the ones that a real org has, and can be set for a test."""

    #: Platform events by name, each with its fields and their types.
    events: dict[str, dict[str, str]] = field(
        default_factory=lambda: {"Score_Requested__e": {"Record_Id__c": "string", "Reason__c": "string"}}
    )
    #: Channels such as `Sales__chn`, each with the objects or the events that it carries.
    channels: dict[str, list[str]] = field(default_factory=dict)
    #: After so long without an event, a subscriber is told that the stream lives.
    keepalive_s: float = 270.0
    #: After so long without a request, a publisher's stream is closed.
    idle_s: float = 70.0
    #: How many streams there may be at once.
    clients: int = MOST_CLIENTS
    #: How many events may be delivered, to all subscribers together; a real org counts over 24 hours.
    deliveries: int = 50_000
    delivered: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For the store and for the page."""
        return asdict(self)

    def topic(self, org: "Org", name: str) -> Topic | None:
        """The topic of this name; None where there is none."""
        _, root, leaf = name.split("/") if name.count("/") == 2 and name.startswith("/") else ("", "", "")
        if root == "data":
            return self._data_topic(org, name, leaf)
        if root == "event" and leaf in self.events:
            return Topic(name, frozenset({leaf}), event_schema(leaf, self.events[leaf]), can_publish=True)
        if root == "event" and leaf in self.channels:
            return Topic(name, frozenset(self.channels[leaf]), None, can_publish=False)
        return None

    def schema_of(self, org: "Org", member: str) -> Schema:
        """The schema of what an object's or an event's entries in the log are told with."""
        return event_schema(member, self.events[member]) if member in self.events else change_schema(org.kind(member))

    def schema(self, org: "Org", schema_id: str) -> Schema | None:
        """The schema of this fingerprint."""
        made = (self.schema_of(org, each) for each in (*self.events, *_tracked(org)))
        return next((each for each in made if each.id == schema_id), None)

    def _data_topic(self, org: "Org", name: str, leaf: str) -> Topic | None:
        if leaf == "ChangeEvents":
            return Topic(name, frozenset(_tracked(org)), None, can_publish=False)
        if leaf in self.channels:
            return Topic(name, frozenset(self.channels[leaf]), None, can_publish=False)
        found = next((each for each in _tracked(org) if change_event(each) == leaf), None)
        return Topic(name, frozenset({found}), change_schema(org.kind(found)), can_publish=False) if found else None


def publish(org: "Org", actor: "Actor", name: str, events: Sequence[tuple[str, Mapping[str, Any]]]) -> list[int]:
    """Writes platform events to the log, each with its id; returns their positions."""
    with org.lock:
        with org.transaction(actor) as tx:
            tx.drafts += [(name, event_id, EVENT, dict(values)) for event_id, values in events]
        latest = org.feed.latest
    return list(range(latest - len(events) + 1, latest + 1))


def tell_gap(org: "Org", object_name: str, kind: str, record_ids: Sequence[str]) -> None:
    """Writes a gap event: something happened to these records, and the org cannot say what."""
    if kind not in GAPS:
        raise ApiError("SIMULATOR", f"kind is one of {', '.join(GAPS)}")
    found = org.kind(object_name).name
    ids = [EVERY_RECORD] if kind == "GAP_OVERFLOW" else list(record_ids)
    if not ids:
        raise ApiError("SIMULATOR", "ids are the records' ids; only GAP_OVERFLOW goes without")
    with org.transaction(org.administrator()) as tx:
        tx.drafts.append((found, ids[0], kind, {"recordIds": ids}))


def new_event_id() -> str:
    """An id for an event that came without."""
    return str(uuid.uuid4())


def replay_id(position: int) -> bytes:
    """The position as clients keep it: ten bytes, of which the last two say nothing."""
    return position.to_bytes(8, "big") + bytes(2)


def read_replay_id(given: bytes) -> int | None:
    """The position of a replay id, with or without its last two bytes; None where it is none."""
    return int.from_bytes(given[:8], "big") if len(given) in (8, 10) and not any(given[8:]) else None


def _tracked(org: "Org") -> list[str]:
    return [name for name in org.schema.objects if name != "Organization"]

"""Whose changes a message tells of: read of the server, never of the message."""

import re
from collections.abc import Collection, Mapping
from contextlib import suppress

from fieldline_connectors.fhir.notices import Keys, Notice, Told
from fieldline_connectors.fhir.subscription import AT_ONCE, Resource, resources
from fieldline_connectors.fhir.topic import FhirTopic
from fieldline_connectors.fhir.wire import Wire
from fieldline_core.errors import Rejected

_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")


def records_of(wire: Wire, topic: FhirTopic, notice: Notice) -> Keys:
    """Whose changes a message tells of: read of the server, never of the message."""
    if topic.record is None:
        # Another type than the one that is asked for is no record of the flow: what it stands for is not known.
        named = [each for each in notice.events if each.focus.startswith(f"{topic.type}/")]
        return {each.focus: None if each.gone else each.focus.partition("/")[2] for each in named}
    keys: dict[str, str | None] = {}
    for type, ids in _by_type(notice.events).items():
        for start in range(0, len(ids), AT_ONCE):
            with suppress(Rejected):
                for each in resources(wire, type, [("_id", ",".join(ids[start : start + AT_ONCE]))]):
                    keys |= _key(each, topic.record, ids, topic.ours)
    return keys


def _key(resource: Resource, element: str, asked: Collection[str], ours: Collection[str]) -> dict[str, str | None]:
    """The record that a resource belongs to; none where the flow wrote it itself, and nothing where it does not say."""
    if resource["id"] not in asked:
        return {}
    focus = f"{resource.get('resourceType')}/{resource['id']}"
    identifiers = resource.get("identifier")
    systems = [each.get("system") for each in identifiers if isinstance(each, dict)] if isinstance(identifiers, list) else []
    if any(system in ours for system in systems):
        return {focus: None}
    reference = resource.get(element)
    named = reference.get("reference") if isinstance(reference, dict) else None
    key = named.partition("/_history/")[0].rpartition("/")[2] if isinstance(named, str) else ""
    return {focus: key} if _ID.fullmatch(key) else {}


def _by_type(events: tuple[Told, ...]) -> Mapping[str, list[str]]:
    """The ids of the changed resources, each once; of what is gone nobody can read whose it was."""
    ids: dict[str, dict[str, None]] = {}
    for event in events:
        if event.focus and not event.gone:
            type, _, id = event.focus.partition("/")
            ids.setdefault(type, {})[id] = None
    return {type: list(found) for type, found in ids.items()}

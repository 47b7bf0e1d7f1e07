"""What a path leads to: a set, one record, the records behind a navigation, or one property."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fieldline_simulators.sap.calls import Call, decoded
from fieldline_simulators.sap.errors import Refused, malformed, no_entity, not_found
from fieldline_simulators.sap.expressions import literal
from fieldline_simulators.sap.extractors import TOKEN
from fieldline_simulators.sap.model import EntitySet, Navigation, Property, Row
from fieldline_simulators.sap.store import Record, Store

_SEGMENT = re.compile(r"(\w{1,128})(?:\((.*)\))?", re.DOTALL)
_PART = re.compile(r"\s*(?:(\w{1,128})\s*=)?\s*((?:[a-z]{0,14}'(?:[^']|'')*')|[^',]+)\s*(,|$)", re.DOTALL)
_MOST_SEGMENTS = 6


@dataclass(frozen=True, slots=True)
class Resource:
    """Where a path ends. `record` is none for a collection, and where a key names nothing."""

    entity_set: EntitySet
    one: bool = False
    record: Record | None = None
    #: The values that a new record must have to be found here.
    given: Row | None = None
    #: Those of an alternate key that names no record yet.
    alternate: Row | None = None
    property: Property | None = None
    #: `$value`, `$count` or nothing.
    tail: str = ""
    #: The delta link behind which it stands.
    since: str = ""

    def present(self) -> Record:
        """The record; raises Refused where there is none."""
        if self.record is None:
            raise no_entity(self.entity_set.name)
        return self.record


def follower(store: Store) -> Callable[[EntitySet, str], tuple[EntitySet, Callable[[Row], Row | None]]]:
    """How expressions go to one record of another set."""

    def follow(entity_set: EntitySet, name: str) -> tuple[EntitySet, Callable[[Row], Row | None]]:
        navigation = entity_set.navigation(name)
        if navigation is None:
            raise not_found(name)
        if navigation.many:
            raise malformed(f"'{name}' leads to many records", name)

        def of(row: Row) -> Row | None:
            found = related(store, navigation, row)
            return found[0].row if found else None

        return store.model.by_set[navigation.target], of

    return follow


def related(store: Store, navigation: Navigation, row: Row) -> list[Record]:
    """The records behind a navigation."""
    target = store.model.by_set[navigation.target]
    wanted = {theirs: row[own] for own, theirs in navigation.on}
    if set(target.keys) == set(wanted):
        found = store.get(target, target.key_of(wanted))
        return [found] if found else []
    return [each for each in store.all(target) if all(each.row[name] == value for name, value in wanted.items())]


def resolve(store: Store, call: Call) -> Resource:
    """Where the path of a call leads; raises Refused."""
    segments = [decoded(each) for each in call.path.strip("/").split("/")]
    if len(segments) > _MOST_SEGMENTS:
        raise malformed("The path is too long")
    found = _start(store, segments[0], v4=call.v4)
    for segment in segments[1:]:
        found = _step(store, found, segment, v4=call.v4)
    return found


def _start(store: Store, segment: str, *, v4: bool) -> Resource:
    name, predicate = _split(segment)
    entity_set = store.model.by_set.get(name)
    if entity_set is None:
        raise not_found(name)
    return Resource(entity_set) if predicate is None else _named(store, entity_set, predicate, v4=v4)


def _split(segment: str) -> tuple[str, str | None]:
    found = _SEGMENT.fullmatch(segment)
    if not found:
        raise not_found(segment[:60])
    return found[1], found[2]


def _named(store: Store, entity_set: EntitySet, predicate: str, *, v4: bool) -> Resource:
    names, values = _predicate(entity_set, predicate, v4=v4)
    if set(names) == set(entity_set.keys):
        key = entity_set.key_of(dict(zip(names, values, strict=True)))
        return Resource(entity_set, one=True, record=store.get(entity_set, key))
    fitting = [each for each in store.all(entity_set) if all(each.row[n] == v for n, v in zip(names, values, strict=True))]
    alternate = dict(zip(names, values, strict=True))
    return Resource(entity_set, one=True, record=fitting[0] if fitting else None, alternate=alternate)


def _predicate(entity_set: EntitySet, text: str, *, v4: bool) -> tuple[list[str], list[Any]]:
    parts: list[tuple[str | None, str]] = []
    at = 0
    while at < len(text) or not parts:
        found = _PART.match(text, at)
        if not found:
            raise malformed(f"Invalid key predicate '({text[:60]})'")
        parts.append((found[1], found[2]))
        at = found.end()
    names = [name or entity_set.keys[0] for name, _ in parts]
    unnamed = [name for name, _ in parts if not name]
    known = [set(entity_set.keys), *({each} for each in entity_set.alternate)]
    if set(names) not in known or len(set(names)) < len(names) or (unnamed and len(entity_set.keys) > 1):
        raise malformed(f"The number or names of key properties do not fit '{entity_set.name}'")
    return names, [literal(entity_set.by_name[name], value, v4=v4) for name, (_, value) in zip(names, parts, strict=True)]


def _step(store: Store, at: Resource, segment: str, *, v4: bool) -> Resource:
    if segment in ("$value", "$count"):
        return _tail(at, segment)
    if at.tail or at.property or not at.one:
        raise not_found(segment[:60])
    name, predicate = _split(segment)
    navigation = at.entity_set.navigation(name)
    if navigation is None:
        if name not in at.entity_set.by_name or predicate is not None:
            raise not_found(name)
        return Resource(at.entity_set, one=True, record=at.present(), property=at.entity_set.by_name[name])
    if navigation.changes:
        return Resource(store.model.by_set[navigation.target], since=at.present().row[TOKEN])
    found, target = related(store, navigation, at.present().row), store.model.by_set[navigation.target]
    if not navigation.many:
        return Resource(target, one=True, record=found[0] if found else None)
    if predicate is None:
        return Resource(target, given={theirs: at.present().row[own] for own, theirs in navigation.on})
    named = _named(store, target, predicate, v4=v4)
    return named if named.record in found else Resource(target, one=True)


def _tail(at: Resource, segment: str) -> Resource:
    fits = at.property is not None if segment == "$value" else not at.one
    if not fits or at.tail:
        raise Refused(400, "/IWBEP/CM_MGW_RT/025", f"'{segment}' does not fit here")
    return Resource(at.entity_set, at.one, at.record, at.given, property=at.property, tail=segment)

"""`$select` and `$expand`: which properties and which records behind navigations an answer shows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from fieldline_simulators.sap.calls import Call
from fieldline_simulators.sap.errors import malformed, not_found
from fieldline_simulators.sap.model import EntitySet, Property, Row
from fieldline_simulators.sap.store import Store
from fieldline_simulators.sap.values import instant, shown

_DEEPEST = 5
_MOST = 40
_INNER = frozenset({"$select", "$filter", "$orderby", "$top", "$skip", "$expand"})
_ITEM = re.compile(r"(\w{1,128})(?:\((.*)\))?", re.DOTALL)


@dataclass(slots=True)
class Shape:
    """What is shown of each record of a set."""

    entity_set: EntitySet
    properties: Sequence[Property]
    expanded: dict[str, "Shape"] = field(default_factory=dict)
    #: The options in the parentheses behind a navigation of V4.
    options: Mapping[str, str] = field(default_factory=dict)
    #: Whether V2 shows links to what is not expanded.
    links: bool = True


def shape_of(store: Store, entity_set: EntitySet, call: Call) -> Shape:
    """What a call asks to see; raises Refused."""
    select, expand = call.options.get("$select"), call.options.get("$expand", "")
    if call.v4:
        return _of_v4(store, entity_set, select, expand, 0)
    paths = [each.strip().split("/") for each in select.split(",")] if select is not None else [["*"]]
    wanted = [each.strip().split("/") for each in expand.split(",")] if expand else []
    if len(paths) > 1_000 or len(wanted) > _MOST or any(len(each) > _DEEPEST for each in wanted):
        raise malformed("$select or $expand is too long")
    return _of_v2(store, entity_set, paths, wanted)


def _of_v2(store: Store, entity_set: EntitySet, paths: list[list[str]], wanted: list[list[str]]) -> Shape:
    whole = not paths or ["*"] in paths
    names = [each[0] for each in paths if len(each) == 1 and each != ["*"]]
    shape = Shape(entity_set, _chosen(entity_set, None if whole else names), links=whole)
    for name in dict.fromkeys(each[0] for each in wanted):
        target = _target(store, entity_set, name)
        below = [each[1:] for each in paths if each[0] == name and len(each) > 1]
        if whole or name in names or below:
            shape.expanded[name] = _of_v2(store, target, below, [each[1:] for each in wanted if each[0] == name and len(each) > 1])
    return shape


def _of_v4(store: Store, entity_set: EntitySet, select: str | None, expand: str, depth: int) -> Shape:
    if depth > _DEEPEST:
        raise malformed("$expand is nested too deeply")
    names = None if select is None or select.strip() == "*" else [each.strip() for each in select.split(",")]
    shape = Shape(entity_set, _chosen(entity_set, names))
    for item in _divided(expand, ","):
        found = _ITEM.fullmatch(item.strip())
        if not found:
            raise malformed(f"Invalid $expand '{item[:60]}'")
        options = dict(each.strip().partition("=")[::2] for each in _divided(found[2] or "", ";"))
        if unknown := [name for name in options if name not in _INNER]:
            raise malformed(f"Option '{unknown[0][:60]}' is not valid in $expand")
        target = _target(store, entity_set, found[1])
        inner = _of_v4(store, target, options.get("$select"), options.get("$expand", ""), depth + 1)
        inner.options = options
        shape.expanded[found[1]] = inner
    return shape


def _divided(text: str, separator: str) -> list[str]:
    """The parts of a list, where what stands in parentheses or quotes belongs together."""
    parts, depth, quoted, start = [], 0, False, 0
    for at, sign in enumerate(text):
        quoted ^= sign == "'"
        depth += 0 if quoted else (sign == "(") - (sign == ")")
        if sign == separator and not depth and not quoted:
            parts.append(text[start:at])
            start = at + 1
    if depth or quoted:
        raise malformed("Parentheses or quotes do not match")
    found = [*parts, text[start:]] if text else []
    if len(found) > _MOST:
        raise malformed("$expand is too long")
    return found


def _target(store: Store, entity_set: EntitySet, name: str) -> EntitySet:
    navigation = entity_set.navigation(name)
    if navigation is None:
        raise not_found(name[:60])
    return store.model.by_set[navigation.target]


def _chosen(entity_set: EntitySet, names: list[str] | None) -> Sequence[Property]:
    if names is None:
        return entity_set.properties
    for name in names:
        if name not in entity_set.by_name and entity_set.navigation(name) is None:
            raise not_found(name[:60])
    # A key is always there.
    return [each for each in entity_set.properties if each.name in names or each.name in entity_set.keys]


def key_text(entity_set: EntitySet, row: Row, *, v4: bool) -> str:
    """The key predicate of a row, as it stands in an address."""
    kinds = entity_set.by_name
    if len(entity_set.keys) == 1:
        name = entity_set.keys[0]
        return _quoted(kinds[name], row[name], v4=v4)
    return ",".join(f"{name}={_quoted(kinds[name], row[name], v4=v4)}" for name in entity_set.keys)


def _quoted(kind: Property, value: Any, *, v4: bool) -> str:
    if kind.type == "String":
        return "'" + quote(value.replace("'", "''"), safe="'") + "'"
    if v4:
        return quote(str(shown(kind, value, v4=True, exact=True)), safe=":")
    match kind.type:
        case "Guid":
            return f"guid'{value}'"
        case "Date":
            return f"datetime'{value.isoformat()}T00%3A00%3A00'"
        case "DateTimeOffset":
            return f"datetimeoffset'{quote(instant(value))}'"
        case "TimeOfDay":
            return f"time'{shown(kind, value, v4=False)}'"
    suffix = {"Decimal": "M", "Int64": "L", "Double": "d"}.get(kind.type, "")
    return f"{str(value).lower() if kind.type == 'Boolean' else shown(kind, value, v4=False)}{suffix}"

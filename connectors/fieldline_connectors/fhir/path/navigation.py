"""Steps through a resource: elements by name, choices of types, extensions."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from fieldline_connectors.fhir.path.r4 import CHOICES, TYPES
from fieldline_connectors.fhir.path.scope import Scope
from fieldline_connectors.fhir.path.values import is_number

Items: TypeAlias = Sequence[Any]
Evaluate: TypeAlias = Callable[[Any, Scope], Items]
"""An expression, compiled: the items that it gives for one element. What it returns is never changed."""

NOTHING: Items = ()
_NONE: list[Any] = []
_SCALARS = {"boolean": bool, "integer": int, "positiveint": int, "unsignedint": int, "integer64": int}


def this(node: Any, scope: Scope) -> Items:
    """The element itself."""
    return (node,)


def members(names: Sequence[str]) -> Evaluate:
    """The elements at the end of a path of names, from the element on which it stands."""
    if any(name in CHOICES for name in names):
        return _through_choices(tuple(names))
    path = tuple(names)
    if len(path) == 1:
        return _member(path[0])

    def walk(node: Any, scope: Scope) -> Items:
        for position, name in enumerate(path):
            if type(node) is list:
                return _spread(node, path[position:])
            if type(node) is not dict or (node := node.get(name)) is None:
                return NOTHING
        return _items(node)

    return walk


def _member(name: str) -> Evaluate:
    def member(node: Any, scope: Scope) -> Items:
        if type(node) is not dict or (found := node.get(name)) is None:
            return NOTHING
        return _items(found)

    return member


def _items(found: Any) -> Items:
    if type(found) is not list:
        return (found,)
    return [item for item in found if item is not None] if None in found else found


def _spread(nodes: Items, path: Sequence[str]) -> Items:
    for name in path:
        nodes = [item for node in nodes if type(node) is dict for item in _items(node.get(name, _NONE))]
    return nodes


def _through_choices(path: Sequence[str]) -> Evaluate:
    if len(path) == 1:
        name = path[0]
        return lambda node, scope: _choice(node, name) if type(node) is dict else NOTHING

    def walk(node: Any, scope: Scope) -> Items:
        nodes: Items = (node,)
        for name in path:
            nodes = [item for each in nodes if type(each) is dict for item in _choice(each, name)]
        return nodes

    return walk


def _choice(node: dict[str, Any], name: str) -> Items:
    found = node.get(name)
    if found is None and name in CHOICES:
        found = next((value for key, value in node.items() if key.startswith(name) and key[len(name) :] in TYPES), None)
    return NOTHING if found is None else _items(found)


def typed_member(base: Evaluate, name: str, type_: str) -> Evaluate:
    """The element `name` of each item where it has this type: `value.ofType(Quantity)` is `valueQuantity`."""
    key = name + type_[:1].upper() + type_[1:]
    others = of_type(type_)

    def typed(node: Any, scope: Scope) -> Items:
        out: list[Any] = []
        for item in base(node, scope):
            if type(item) is dict:
                found = item.get(key)
                out += _items(found) if found is not None else [one for one in _items(item.get(name, _NONE)) if others(one)]
        return out

    return typed


def of_type(name: str) -> Callable[[Any], bool]:
    """Whether a value may be of this type, told from the value alone."""
    lower = name.lower()
    if lower in _SCALARS:
        scalar = _SCALARS[lower]
        return lambda value: type(value) is scalar
    if lower == "decimal":
        return lambda value: is_number(value)
    if name[:1].islower() or name in ("String", "Date", "DateTime", "Time"):
        return lambda value: isinstance(value, str)
    if name in TYPES:
        return lambda value: isinstance(value, dict) and "resourceType" not in value
    return lambda value: isinstance(value, dict) and value.get("resourceType") == name


def extensions(base: Evaluate, name: str | None, url: str) -> Evaluate:
    """The extensions of that address on each item, or on each element `name` of it: those of a plain value stand under `_name`."""
    beside = f"_{name}"

    def on_elements(items: Items) -> list[Any]:
        return [
            extension
            for item in items
            if type(item) is dict
            for extension in _items(item.get("extension", _NONE))
            if type(extension) is dict and extension.get("url") == url
        ]

    def found(node: Any, scope: Scope) -> Items:
        items = base(node, scope)
        if name is None:
            return on_elements(items)
        elements = [one for item in items if type(item) is dict for one in _choice(item, name)]
        return on_elements(elements) + on_elements(
            [one for item in items if type(item) is dict for one in _items(item.get(beside, _NONE))]
        )

    return found


def resource_key(node: Any) -> str | None:
    """The key of a resource: its id."""
    found = node.get("id") if type(node) is dict and "resourceType" in node else None
    return found if isinstance(found, str) else None


def reference_key(node: Any, wanted: str | None, scope: Scope) -> str | None:
    """The key of the resource that a reference points to; None where it is of another type, or what it names is not known."""
    address = node.get("reference") if type(node) is dict else None
    if not isinstance(address, str) or "#" in address or "?" in address:
        return None
    if address in scope.references:
        type_, key = scope.references[address]
    elif address.startswith("urn:"):
        return None
    else:
        type_, _, key = address.partition("/_history/")[0].rpartition("/")
        type_ = type_.rpartition("/")[2]
    if not key or not type_ or (wanted is not None and wanted != type_):
        return None
    return key

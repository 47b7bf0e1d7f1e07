"""Conditions in the language of `$filter`, and which records they find by key."""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from fieldline_connectors.odata.literals import Unfit, fitted
from fieldline_connectors.odata.metadata import Property
from fieldline_connectors.odata.selection import Selection
from fieldline_connectors.odata.service import Client, path
from fieldline_core.batch import key_parts
from fieldline_core.schema import FieldType

_LONGEST_FILTER = 1_500
_IN_ORDER = (FieldType.TEXT, FieldType.INTEGER, FieldType.DECIMAL, FieldType.DATE, FieldType.DATETIME)


def name_of(kind: Property) -> str:
    """A property's name in a condition."""
    return kind.name.replace(".", "/")


def all_of(*conditions: str | None) -> str:
    """The condition that all of these hold; empty where there is none."""
    found = [condition for condition in conditions if condition]
    return found[0] if len(found) == 1 else " and ".join(f"({condition})" for condition in found)


def equal(client: Client, keys: Sequence[Property], values: Sequence[Any]) -> str:
    """The condition that a record has this key."""
    return " and ".join(f"{name_of(kind)} eq {client.literal(kind, value)}" for kind, value in zip(keys, values, strict=True))


def behind(client: Client, keys: Sequence[Property], values: Sequence[Any]) -> str:
    """The condition that a record comes after this key, in the order of its parts."""
    steps = []
    for place, (kind, value) in enumerate(zip(keys, values, strict=True)):
        step = f"{name_of(kind)} gt {client.literal(kind, value)}"
        steps.append(f"{equal(client, keys[:place], values[:place])} and {step}" if place else step)
    return steps[0] if len(steps) == 1 else " or ".join(f"({step})" for step in steps)


def ordered(keys: Sequence[Property], version4: bool) -> bool:
    """Whether records can be asked for in the order of this key, and behind one; a GUID of V2 has no order to rely on."""
    guids = any(kind.edm == "Edm.Guid" for kind in keys)
    return all(kind.filterable and kind.sortable and kind.type in _IN_ORDER for kind in keys) and (version4 or not guids)


def values_of(key: str, kinds: Sequence[Property]) -> list[Any] | None:
    """The parts of a key in their types; None where no record can have that key."""
    try:
        return [fitted(kind, part) for kind, part in zip(kinds, key_parts(key, len(kinds)), strict=True)]
    except (Unfit, ValueError):
        return None


def questions(client: Client, selection: Selection, keys: Sequence[str], own: str | None) -> list[str]:
    """The paths that find the records with these keys, together; each with as many keys as its address can hold."""
    kinds = [column.kind for column in selection.keys]
    wanted = [values for key in dict.fromkeys(keys) if (values := values_of(key, kinds)) is not None]
    if _one_by_one(kinds, selection, own):
        name = selection.entity_set.name
        return [path(f"{name}{client.predicate(kinds, values)}", selection.options) for values in wanted]
    return [
        path(selection.entity_set.name, [*selection.options, ("$filter", all_of(own, condition))])
        for condition in _joined(client, kinds, wanted)
    ]


def _one_by_one(kinds: Sequence[Property], selection: Selection, own: str | None) -> bool:
    """Whether each record is asked for by its address: many services of SAP cannot compare keys of several parts at once."""
    primary = tuple(kind.name for kind in kinds) == selection.entity_set.type.keys
    return primary and not own and (len(kinds) > 1 or not all(kind.filterable for kind in kinds))


def _joined(client: Client, kinds: Sequence[Property], wanted: Sequence[Sequence[Any]]) -> Iterator[str]:
    texts: list[str] = []
    size = 0
    for values in wanted:
        text = equal(client, kinds, values)
        text = f"({text})" if len(kinds) > 1 else text
        length = len(quote(text)) + 8
        if texts and size + length > _LONGEST_FILTER:
            yield " or ".join(texts)
            texts, size = [], 0
        texts.append(text)
        size += length
    if texts:
        yield " or ".join(texts)

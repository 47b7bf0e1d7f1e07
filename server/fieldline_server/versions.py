"""The published versions of a mapping: listed, found by the beginning of their digest, and compared."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from fieldline_core.errors import Misconfigured
from fieldline_core.findings import did_you_mean
from fieldline_core.store import Row, Store
from fieldline_mappings import MappingDocument
from fieldline_mappings.difference import differences

SHOWN = 12
"""Digits of a digest that are shown where people choose by them."""


def versions(store: Store, mapping: str) -> list[Row]:
    """All versions of a mapping, newest first, with the releases that use each; raises Misconfigured where there is none."""
    with store.transaction("versions") as tx:
        found = tx.all("flows.versions", kind="mapping", name=mapping)
        if not found:
            known = [row["name"] for row in tx.all("flows.documents", kind="mapping")]
            raise Misconfigured(f"there is no mapping {mapping!r}. {did_you_mean(mapping, known)}".strip())
    return found


def version(store: Store, reference: str) -> tuple[str, MappingDocument]:
    """The digest and the document that `MAPPING` (the published one) or `MAPPING@DIGEST` (its first digits) means."""
    name, _, prefix = reference.partition("@")
    chosen = [row for row in versions(store, name) if (row["digest"].startswith(prefix) if prefix else row["current"])]
    if not chosen:
        raise Misconfigured(f"the mapping {name!r} has no version {prefix!r}: see 'fieldline versions {name}'")
    if len(chosen) > 1:
        raise Misconfigured(f"{len(chosen)} versions of the mapping {name!r} begin with {prefix!r}: write more of its digest")
    try:
        return chosen[0]["digest"], MappingDocument.model_validate(chosen[0]["body"])
    except ValidationError as error:
        # What an older Fieldline published may be written in words that this one no longer knows.
        first = ".".join(str(part) for part in error.errors()[0]["loc"])
        which = f"the version {chosen[0]['digest'][:SHOWN]} of {name!r}"
        raise Misconfigured(f"{which} is written as this Fieldline no longer reads it, first at {first}") from None


def changed_names(before: Mapping[str, Any], now: MappingDocument) -> list[dict[str, str]]:
    """What changed, by kind and name: for the audit, which holds no values."""
    try:
        old = MappingDocument.model_validate(before)
    except ValidationError:
        return [{"kind": "rewritten", "name": now.mapping}]
    return [{"kind": change.kind, "name": change.name} for change in differences(old, now)]

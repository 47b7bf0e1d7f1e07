"""What a service answers to a question: records, and the links behind them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from fieldline_core.errors import Misconfigured

MODE = "ODQ_CHANGEMODE"
"""Property in which an extractor of SAP says what has become of a record: `D` where it is gone."""

Record: TypeAlias = Mapping[str, Any]
"""One entity as the service writes it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Some records; `more` leads to the next ones, `delta` to what changes from now on."""

    records: Sequence[Record]
    more: str | None = None
    delta: str | None = None


def document(content: bytes, content_type: str, place: str) -> Any:
    """The JSON in a body; a number with a fraction stays the text that it was, unless such numbers come as texts anyway."""
    try:
        if "ieee754compatible=true" in content_type.lower():
            return orjson.loads(content)
        return json.loads(content, parse_float=str)
    except (ValueError, RecursionError):
        # SAP's login page, for one, comes with the status 200.
        raise Misconfigured(
            f"{place}: the service answered {_kind(content_type)} where JSON was asked for: check service_url and login"
        ) from None


def answer_of(found: Any, place: str) -> Answer:
    """The records in a document of V2 (`d`) or V4 (`value`), one or many."""
    if not isinstance(found, dict):
        raise Misconfigured(f"{place}: what the service answered is no OData: check service_url")
    if "d" in found:
        return _of_v2(found["d"])
    if isinstance(found.get("value"), list):
        more = found.get("@odata.nextLink", found.get("@nextLink"))
        delta = found.get("@odata.deltaLink", found.get("@deltaLink"))
        return Answer(found["value"], more, delta)
    return Answer([found])


def _of_v2(inner: Any) -> Answer:
    if isinstance(inner, list):
        return Answer(inner)
    if isinstance(inner, dict) and isinstance(inner.get("results"), list):
        return Answer(inner["results"], inner.get("__next"), inner.get("__delta"))
    return Answer([inner] if isinstance(inner, dict) else [])


def at(record: Any, path: Sequence[str]) -> Any:
    """The value at a path; None where the record leads nowhere, or only to a link."""
    for name in path:
        if not isinstance(record, Mapping):
            return None
        record = record.get(name)
    return record


def rows_at(record: Record, name: str) -> Answer:
    """The child rows that were expanded in a record, and the link to those that did not fit."""
    found = record.get(name)
    if isinstance(found, list):
        return Answer(found, record.get(f"{name}@odata.nextLink", record.get(f"{name}@nextLink")))
    if isinstance(found, Mapping) and isinstance(found.get("results"), list):
        return Answer(found["results"], found.get("__next"))
    return Answer([])


def etag_of(record: Record) -> str | None:
    """The record's version, as it stands in V2's `__metadata` or V4's annotation."""
    metadata = record.get("__metadata")
    found = metadata.get("etag") if isinstance(metadata, Mapping) else record.get("@odata.etag", record.get("@etag"))
    return found if isinstance(found, str) and found else None


def removed(record: Record) -> bool:
    """Whether an entry of a delta says that its record is gone."""
    context = str(record.get("@odata.context", record.get("@context", "")))
    return "@removed" in record or "@odata.removed" in record or "$deletedEntity" in context or record.get(MODE) == "D"


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip()[:60] or "something"

"""Where a search goes on: an opaque text that fits the line it was made for."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Generic, TypeVar

from fieldline_core.errors import Rejected

T = TypeVar("T")
_LONGEST = 400


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """A page of what was found, newest first, and the cursor of the next one; a page may be short, even empty, and not the last."""

    items: Sequence[T]
    next: str | None = None


def write_cursor(line: str, place: Sequence[str | int]) -> str:
    """The cursor of a place in what a line finds."""
    return urlsafe_b64encode(json.dumps([_mark(line), *place], separators=(",", ":")).encode()).decode().rstrip("=")


def read_cursor(line: str, cursor: str, *kinds: type) -> list[Any]:
    """The place of a cursor, with values of these types; raises Rejected where it is not one of this line."""
    try:
        mark, *place = json.loads(urlsafe_b64decode(cursor[:_LONGEST] + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError):
        mark, place = None, []
    if [type(each) for each in place] != list(kinds) or any(isinstance(each, int) and not 0 <= each < 2**63 for each in place):
        raise Rejected("this cursor was not given out here: begin without one")
    if mark != _mark(line):
        raise Rejected("this cursor is that of another search line: begin without one")
    return list(place)


def _mark(line: str) -> str:
    return sha256(" ".join(line.split()).encode(errors="replace")).hexdigest()[:12]

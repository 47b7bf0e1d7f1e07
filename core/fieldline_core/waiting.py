"""Reading on through waits, for whoever has nothing else to do meanwhile; runs give their worker back instead."""

import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

from fieldline_core.errors import FieldlineError
from fieldline_core.ports import Cursor, Page, Prepares


def pages_of(
    source: Any, query: Any, after: Cursor | None, limit: int, wait: Callable[[float], None] = time.sleep
) -> Generator[Page, None, None]:
    """The pages behind `after`; where this stops before their end, what the source prepared for it is given up."""
    begun = after
    try:
        again_s: float | None = 0.0
        while again_s is not None:
            again_s = None
            for page in source.read(query, after, limit):
                after, again_s = page.after, page.again_s
                if again_s is None:
                    yield page
            if again_s is not None:
                wait(again_s)
        begun = after
    finally:
        if after is not None and after is not begun and isinstance(source, Prepares):
            with suppress(FieldlineError):
                source.abandon(after)

"""One hook at every line that has an effect, so that a test can end the process exactly there.

`FIELDLINE_CRASH_TRACE=FILE` appends the name of each site that is passed; `FIELDLINE_CRASH_AT=NAME#N`
ends the process by `os._exit(137)` when NAME is passed for the Nth time; with `FIELDLINE_CRASH_ONCE=FILE` only
the first process that creates FILE dies. Without these variables it does nothing.
"""

import os
from collections import Counter

_AT = os.environ.get("FIELDLINE_CRASH_AT", "")
_TRACE = os.environ.get("FIELDLINE_CRASH_TRACE", "")
_ONCE = os.environ.get("FIELDLINE_CRASH_ONCE", "")
_passed: Counter[str] = Counter()


def point(site: str) -> None:
    """Passes a labelled line; ends the process here when a test asked for it."""
    if not _AT and not _TRACE:
        return
    _passed[site] += 1
    if _TRACE:
        with open(_TRACE, "a") as trace:
            trace.write(f"{site}\n")
    if f"{site}#{_passed[site]}" == _AT and _first():
        os._exit(137)


def _first() -> bool:
    if not _ONCE:
        return True
    try:
        os.close(os.open(_ONCE, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

"""The time zone of a system that gives date-times without one."""

from typing import Annotated, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import AfterValidator


def _known(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone; write a name such as Europe/Berlin") from None
    return name


TimeZone: TypeAlias = Annotated[str, AfterValidator(_known)]
"""Name of a time zone, such as `Europe/Berlin`."""

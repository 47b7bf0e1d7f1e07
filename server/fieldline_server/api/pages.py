"""Lists in pages."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

from fastapi import Path, Query

from fieldline_core.store import Row

_LARGEST = 2**63 - 1

Number: TypeAlias = Annotated[int, Path(ge=1, le=_LARGEST)]
Before: TypeAlias = Annotated[int | None, Query(ge=1, le=_LARGEST, description="Only those with a smaller number.")]
After: TypeAlias = Annotated[int, Query(ge=0, le=_LARGEST, description="Only those with a greater number.")]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=500, description="Most to answer at once.")]


def page(rows: Sequence[Row], limit: int) -> dict[str, Any]:
    """One page, and where the next one begins."""
    return {"items": rows, "next": rows[-1]["id"] if len(rows) == limit else None}

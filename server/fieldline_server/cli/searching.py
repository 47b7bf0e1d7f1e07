"""What commands share that take a search line."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fieldline_server.cli.show import note, show_json

if TYPE_CHECKING:
    from fieldline_core.search import Found

Line = Annotated[list[str] | None, typer.Argument(metavar="[SEARCH]...", help="Qualifiers and texts: docs/reference/search.md.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="Where to go on: the `next` of the page before.")]


def fill(search: "Callable[[int, str | None], Found[Any]]", limit: int, cursor: str | None) -> "Found[Any]":
    """As many as are wanted, by as many pages as that takes: each page looks only so far."""
    from fieldline_core.errors import Rejected
    from fieldline_core.search import Found

    try:
        found = search(limit, cursor)
    except Rejected as error:
        raise typer.BadParameter(str(error)) from None
    while found.next and len(found.items) < limit:
        more = search(limit - len(found.items), found.next)
        found = Found([*found.items, *more.items], more.next)
    return found


def show_found(found: "Found[Any]") -> None:
    """Prints a page as JSON."""
    show_json({"items": list(found.items), "next": found.next})


def note_more(found: "Found[Any]") -> None:
    """Says how to go on, where there is more."""
    if found.next:
        note(f"there may be more: --cursor {found.next}")

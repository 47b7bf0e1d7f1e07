"""Lines of a file that arrives in pieces, each with its place, so that a reading goes on in the midst of a file."""

from collections.abc import Iterable, Iterator

from fieldline_connectors.fhir.views.resources import MAX_LINE
from fieldline_core.errors import Rejected


def behind(pieces: Iterable[bytes], skipped: int) -> Iterator[bytes]:
    """The pieces without their first bytes."""
    for piece in pieces:
        if skipped < len(piece):
            yield piece[skipped:]
        skipped = max(0, skipped - len(piece))


def lines(pieces: Iterable[bytes], place: int) -> Iterator[tuple[int, bytes]]:
    """Each line with the place where it begins, where the first piece begins at `place`; one line is held at a time."""
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        *whole, rest = piece.split(b"\n")
        for end in whole:
            line = b"".join((*parts, end))
            yield place, line
            place += len(line) + 1
            parts, size = [], 0
        parts.append(rest)
        size += len(rest)
        if size > MAX_LINE:
            raise Rejected(f"a line of NDJSON has more than {MAX_LINE:,} bytes")
    if size:
        yield place, b"".join(parts)

"""CSV as the Bulk API 2.0 reads and writes it, as a stream of bytes: nulls are told, texts keep their line breaks."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

NULL = "#N/A"
"""What sets a field to null; an empty cell leaves it as it is."""

_PIECE_BYTES = 64 * 1024
# Long text areas hold 131,072 characters, a little more than the module's own bound.
csv.field_size_limit(1_000_000)


class _Arriving(io.RawIOBase):
    """Bytes that arrive in pieces, as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer with what is there."""
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = piece
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


def rows(pieces: Iterator[bytes]) -> Iterator[list[str]]:
    """The rows of a CSV, its header among them, while it arrives; raises ValueError where it is none in UTF-8."""
    text = io.TextIOWrapper(io.BufferedReader(_Arriving(pieces), _PIECE_BYTES), encoding="utf-8-sig", newline="")
    try:
        yield from (row for row in csv.reader(text, strict=True) if row)
    except (csv.Error, UnicodeDecodeError):
        raise ValueError("what Salesforce sent is no complete CSV in UTF-8") from None


def records(pieces: Iterator[bytes], known: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """The rows as mappings; a page without a header has the `known` columns."""
    arriving = rows(pieces)
    first = next(arriving, None)
    if first is None:
        return
    headed = not known or [name.lower() for name in first] == [name.lower() for name in known]
    names = first if headed and not known else list(known)
    if not headed:
        yield _record(names, first)
    for row in arriving:
        yield _record(names, row)


def _record(names: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    if len(row) != len(names):
        raise ValueError("a row of Salesforce's CSV has another number of columns than its header")
    return dict(zip(names, row, strict=True))


def encoded(changes: Sequence[Mapping[str, str]]) -> Callable[[], Iterator[bytes]]:
    """A function that streams the records as CSV: the union of their columns, empty where a record leaves a field alone."""
    columns = list(dict.fromkeys(name for change in changes for name in change))

    def pieces() -> Iterator[bytes]:
        return _pieces(columns, changes)

    return pieces


def _pieces(columns: Sequence[str], changes: Iterable[Mapping[str, str]]) -> Iterator[bytes]:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    for change in changes:
        writer.writerow([change.get(name, "") for name in columns])
        if out.tell() >= _PIECE_BYTES:
            yield out.getvalue().encode()
            out.seek(0)
            out.truncate()
    yield out.getvalue().encode()

"""CSV of bulk jobs: what clients upload, and what they get back."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

DELIMITERS = {"COMMA": ",", "SEMICOLON": ";", "TAB": "\t", "PIPE": "|", "CARET": "^", "BACKQUOTE": "`"}
LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
#: The most characters of a value.
_LONGEST = 32_000
_NULL = "#N/A"
csv.field_size_limit(1 << 20)


class BadUpload(Exception):
    """The upload as a whole cannot be processed."""


def read_rows(content: bytes, delimiter: str, line_ending: str) -> tuple[list[str], Iterator[list[str]]]:
    """The header, and the lines behind it; raises BadUpload."""
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadUpload("InvalidBatch : The data is not UTF-8") from None
    first, newline, _ = content.partition(b"\n")
    if newline and first.endswith(b"\r") != (line_ending == "CRLF"):
        raise BadUpload(f"ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {line_ending}")
    header, lines = split_rows(content, delimiter, strict=True)
    if not any(header):
        raise BadUpload("InvalidBatch : Failed to parse CSV header. No data")
    return header, lines


def split_rows(content: bytes, delimiter: str, *, strict: bool = False) -> tuple[list[str], Iterator[list[str]]]:
    """The header and the lines as they are, for giving them back."""
    text = content.decode("utf-8-sig", "replace")
    lines = _lines(csv.reader(io.StringIO(text, newline=""), delimiter=DELIMITERS[delimiter], strict=strict))
    return next(lines, []), lines


def _lines(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        for line in reader:
            if line:
                yield line
    except csv.Error as error:
        raise BadUpload(f"InvalidBatch : {error}") from None


def values_of(header: Sequence[str], line: Sequence[str]) -> dict[str, Any]:
    """What a line says to write: an empty cell says nothing, and #N/A empties the field. Raises ValueError."""
    if len(line) != len(header):
        raise ValueError(f"The number of columns in the line ({len(line)}) is not that of the header ({len(header)})")
    if any(len(cell) > _LONGEST for cell in line):
        raise ValueError(f"A value has more than {_LONGEST} characters")
    return {name: None if cell == _NULL else cell for name, cell in zip(header, line, strict=True) if cell != ""}


def write_rows(header: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str, line_ending: str) -> bytes:
    """Rows as CSV, all values quoted."""
    made = io.StringIO()
    writer = csv.writer(made, delimiter=DELIMITERS[delimiter], lineterminator=LINE_ENDINGS[line_ending], quoting=csv.QUOTE_ALL)
    writer.writerow(header)
    writer.writerows(rows)
    return made.getvalue().encode()


def cell(value: Any, kind: str) -> str:
    """A value as results hold it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace("+0000", "Z") if kind == "datetime" else str(value)

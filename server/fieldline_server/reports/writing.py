"""Reports as files: written row by row, so that a long one is never held in memory."""

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from fieldline_core.errors import Misconfigured, Rejected
from fieldline_server.reports.shape import Report, Row

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MOST_ON_A_PAGE = 10_000


def _as_json(report: Report, out: TextIO) -> None:
    if report.kind.resources:
        head = {"resourceType": "Bundle", "type": "collection", "timestamp": report.made_at.isoformat()}
        _array(out, head, "entry", ({"resource": row.resource} for row in report.rows))
    else:
        _array(out, report.head(), "rows", (report.line(row) for row in report.rows))


def _array(out: TextIO, head: Mapping[str, Any], name: str, items: Iterator[Mapping[str, Any]]) -> None:
    """An object whose last member is a list that is written item by item."""
    first = next(items, None)
    if first is None:
        # FHIR knows no empty list.
        out.write(_json({**head, name: []} if name != "entry" else head) + "\n")
        return
    out.write(f'{_json(head)[:-1]},"{name}":[\n{_json(first)}')
    for item in items:
        out.write(f",\n{_json(item)}")
    out.write("\n]}\n")


def _as_lines(report: Report, out: TextIO) -> None:
    for row in report.rows:
        out.write(_json(row.resource if report.kind.resources else report.line(row)) + "\n")


def _as_csv(report: Report, out: TextIO) -> None:
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow(["position", "event_id", *report.kind.columns])
    table.writerows([_cell(value) for value in report.line(row).values()] for row in report.rows)


def _cell(value: Any) -> str:
    """A value for a spreadsheet, which must not take a record's text for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else shown(value)


def _as_page(report: Report, out: TextIO) -> None:
    pages = Environment(
        loader=PackageLoader("fieldline_server"), autoescape=select_autoescape(("html.j2",)), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    pages.filters["shown"] = shown
    lines = (report.line(row) for row in islice(report.rows, _MOST_ON_A_PAGE))

    def more() -> bool:
        """Whether rows are left; asked behind the others, as they are read while the page is written."""
        return next(report.rows, None) is not None

    for part in pages.get_template("report.html.j2").generate(head=report.head(), rows=lines, more=more, most=_MOST_ON_A_PAGE):
        out.write(part)


def shown(value: Any) -> str:
    """A value as text: what is not text as JSON, nothing as nothing."""
    return "" if value is None else value if isinstance(value, str) else _json(value)


FORMATS: Mapping[str, Callable[[Report, TextIO], None]] = {"json": _as_json, "csv": _as_csv, "html": _as_page, "ndjson": _as_lines}
"""How a report is written to an open file, row by row."""
MEDIA_TYPES = {
    "json": "application/json", "csv": "text/csv; charset=utf-8", "html": "text/html; charset=utf-8",
    "ndjson": "application/x-ndjson",
}  # fmt: skip


def media_type(report: Report, format: str) -> str:
    """What a written report is, for HTTP."""
    if report.kind.resources and format in ("json", "ndjson"):
        return f"application/fhir+{format}"
    return MEDIA_TYPES[format]


def write_report(report: Report, format: str, out: Path, most: int | None = None) -> int:
    """Writes a report into a file that is there whole, for its owner only, or not at all; returns the number of its rows.

    Raises Rejected where it has more than `most` of them.
    """
    counted = _Counted(report.rows, most)
    with _written_whole(out) as file:
        FORMATS[format](replace(report, rows=counted), file)
    return counted.count


class _Counted(Iterator[Row]):
    """Rows, counted as they are read."""

    def __init__(self, rows: Iterator[Row], most: int | None) -> None:
        self._rows = rows
        self._most = most
        self.count = 0

    def __next__(self) -> Row:
        row = next(self._rows)
        if self.count == self._most:
            raise Rejected(f"the report has more than {self._most:,} rows: ask for a shorter period, or use 'fieldline report'")
        self.count += 1
        return row


@contextmanager
def _written_whole(out: Path) -> Iterator[TextIO]:
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise Misconfigured(f"{out} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)

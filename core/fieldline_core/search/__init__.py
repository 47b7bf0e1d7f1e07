"""Search: a line with qualifiers, over decisions and over audit events, in pages."""

from fieldline_core.search.cursor import Found
from fieldline_core.search.decisions import search_decisions
from fieldline_core.search.events import search_events
from fieldline_core.search.line import Wanted, quoted, read_line

__all__ = ["Found", "Wanted", "quoted", "read_line", "search_decisions", "search_events"]

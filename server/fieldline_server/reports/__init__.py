"""Reports: what the log and the evidence hold, in the shape that a law or a rule asks for."""

from fieldline_server.reports.making import KINDS, make_report, moment
from fieldline_server.reports.shape import Entry, Kind, Question, Report, Row
from fieldline_server.reports.writing import FORMATS, media_type, write_report

__all__ = ["Entry", "FORMATS", "KINDS", "Kind", "Question", "Report", "Row", "make_report", "media_type", "moment", "write_report"]

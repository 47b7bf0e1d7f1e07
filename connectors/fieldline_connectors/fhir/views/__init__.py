"""Views: SQL on FHIR, compiled once, then rows from resources."""

from fieldline_connectors.fhir.views.compiler import View, compile_view
from fieldline_connectors.fhir.views.definition import ViewDefinition, parse_view
from fieldline_connectors.fhir.views.frame import FrameMaker, Partial
from fieldline_connectors.fhir.views.resources import Reader

__all__ = ["FrameMaker", "Partial", "Reader", "View", "ViewDefinition", "compile_view", "parse_view"]

"""Declarative mappings: records into model inputs, answers into fields."""

from fieldline_mappings.compiling import compile_mapping, lint_mapping
from fieldline_mappings.document import Feature, GoldenRecord, MappingDocument, OutputField, digest
from fieldline_mappings.plan import CompiledPlan
from fieldline_mappings.preview import explain

__all__ = [
    "CompiledPlan", "Feature", "GoldenRecord", "MappingDocument", "OutputField", "compile_mapping", "digest", "explain",
    "lint_mapping",
]  # fmt: skip

"""The formula language: Salesforce's formulas, typed and compiled to Polars expressions."""

from fieldline_mappings.formula.checking import Checker, Part
from fieldline_mappings.formula.functions.models import Table
from fieldline_mappings.formula.library import FUNCTIONS, Function
from fieldline_mappings.formula.program import Program, Settings
from fieldline_mappings.formula.scope import Record, Scope, Slot
from fieldline_mappings.formula.terms import Term
from fieldline_mappings.formula.tree import FormulaError
from fieldline_mappings.formula.types import Type

LANGUAGE = "1"
"""The version of the language: grows when a formula may give another answer than before."""

__all__ = [
    "FUNCTIONS", "LANGUAGE", "Checker", "FormulaError", "Function", "Part", "Program", "Record", "Scope", "Settings", "Slot",
    "Table", "Term", "Type",
]  # fmt: skip

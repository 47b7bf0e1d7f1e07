"""All functions of the formula language; importing this package declares them."""

from fieldline_mappings.formula.functions import calendar, formatting, logic, models, numbers, text, units
from fieldline_mappings.formula.functions.rows import AGGREGATES, Aggregate
from fieldline_mappings.formula.scope import Slot
from fieldline_mappings.formula.types import Type

CONSTANTS = {"$system.origindatetime": Slot("$System.OriginDateTime", Type.DATETIME)}
"""The globals of Salesforce that are constants: this one is the first moment of 1900."""

__all__ = ["AGGREGATES", "CONSTANTS", "Aggregate", "calendar", "formatting", "logic", "models", "numbers", "text", "units"]

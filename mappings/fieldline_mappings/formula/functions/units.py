"""Numbers in one unit from numbers in others."""

import polars as pl

from fieldline_mappings.formula.library import function, number, text
from fieldline_mappings.formula.terms import Context, Term
from fieldline_mappings.formula.types import Type
from fieldline_mappings.units import conversions


@function("CONVERT", "features", [number("number"), text("unit"), text("wanted", literal=True)], Type.NUMBER,
          "The number in the wanted unit; both units are UCUM codes. In a unit that does not convert it cannot be computed.",
          'CONVERT(37, "Cel", "[degF]")', "98.6")  # fmt: skip
def _convert(ctx: Context, term: Term, unit: Term, wanted: Term) -> Term:
    known = conversions(str(wanted.constant))
    term, unit = ctx.share(ctx.settled(term)), ctx.share(ctx.settled(unit))
    times, over, plus = (
        unit.value.replace_strict(list(known), list(numbers), default=None, return_dtype=pl.Float64)
        for numbers in zip(*known.values(), strict=True)
    )
    value = term.value * times / over + plus
    unknown = term.value.is_not_null() & times.is_null()
    return ctx.term(Type.NUMBER, value, term, unit, fails=[(unknown, f"a unit that does not convert to {wanted.constant}")])

"""What a part of a formula becomes: an expression for its value, and one for why a row has none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from fieldline_mappings.formula.columns import Columns
from fieldline_mappings.formula.types import DTYPES, Type

CODE = pl.UInt16()
"""The type of error codes: positions in `Reasons`, counted from 1."""
NOW, TODAY = "now:", "today:"
"""The columns that hold the decision's clock: naive UTC, and the day in the mapping's time zone."""
_GREATEST = 1.79e308
"""The greatest number: greater ones would become infinite when they are rounded to 15 digits."""
_HEAVY = 120
"""A term of this many expressions becomes a column of its own, so that no formula grows without bound when parts are used twice."""


@dataclass(frozen=True, slots=True)
class Term:
    """A value over the rows of a frame.

    `value` is null where the value is blank and where it cannot be computed; `error` (None where there never is one) is the code
    of the reason where it cannot, and null elsewhere.
    """

    type: Type
    value: pl.Expr
    error: pl.Expr | None = None
    constant: Any = None
    """The value of a literal."""
    exact: bool = True
    """Whether a number is as the record or the text gave it; computed ones carry binary noise in their last digits."""
    finite: bool = True
    """Whether a number is known to be neither infinite nor NaN."""
    definite: bool = False
    """Whether a boolean is null only where it cannot be computed."""
    weight: int = 1
    error_weight: int = 0


@dataclass(slots=True)
class Reasons:
    """The reasons of a program, by code."""

    words: list[str] = field(default_factory=list)
    _codes: dict[str, pl.Expr] = field(default_factory=dict)

    def code(self, words: str) -> pl.Expr:
        """The code of this reason, as a constant."""
        if words not in self._codes:
            self.words.append(words)
            self._codes[words] = pl.lit(len(self.words), CODE)
        return self._codes[words]


@dataclass(slots=True)
class Context:
    """Makes the terms of one call: it knows the call's text, the mapping's settings, and where columns are kept."""

    reasons: Reasons
    columns: Columns
    zone: str
    snippet: str
    """The call as it was written, for reasons."""
    tables: Any = None

    def literal(self, value: Any, type: Type) -> Term:
        """A constant."""
        return Term(type, pl.lit(value, DTYPES[type]), constant=value, definite=type is Type.BOOLEAN)

    def term(
        self, type: Type, value: pl.Expr, *args: Term, fails: Sequence[tuple[pl.Expr, str]] = (), exact: bool = False,
        finite: bool = True, definite: bool = False,
    ) -> Term:  # fmt: skip
        """A value that is null where an argument is; `fails` are conditions under which it cannot be computed (null: it can)."""
        errors = [arg.error for arg in args if arg.error is not None]
        errors += [pl.when(failed).then(self.reasons.code(f"{reason} in {self.snippet}")) for failed, reason in fails]
        values, inherited = sum(arg.weight for arg in args), sum(arg.error_weight for arg in args)
        made = Term(
            type, value, _first(errors), exact=exact, finite=finite, definite=definite,
            weight=1 + values + inherited, error_weight=1 + inherited + len(fails) * values if errors else 0,
        )  # fmt: skip
        return self.light(made)

    def light(self, term: Term) -> Term:
        """The term, in columns of its own where it has grown heavy."""
        if term.weight > _HEAVY:
            term = self.share(term)
        if term.error is not None and term.error_weight > _HEAVY:
            term = replace(term, error=self.columns.add(term.error), error_weight=1)
        return term

    def share(self, term: Term) -> Term:
        """The term with its value in a column, to be used more than once."""
        if term.weight == 1:
            return term
        return replace(term, value=self.columns.add(term.value), weight=1)

    def share_error(self, term: Term) -> Term:
        """The term with its error in a column, to be used more than once."""
        if term.error is None or term.error_weight <= 1:
            return term
        return replace(term, error=self.columns.add(term.error), error_weight=1)

    def where_known(self, value: pl.Expr, *args: Term) -> pl.Expr:
        """The value where no argument is in error, and null elsewhere; for values that would not be null by themselves."""
        errors = _first([arg.error for arg in args if arg.error is not None])
        return value if errors is None else pl.when(errors.is_null()).then(value)

    def truth(self, term: Term) -> Term:
        """A boolean that is null only where it cannot be computed: a blank counts as false."""
        if term.definite:
            return term
        value = self.where_known(term.value.fill_null(False), term)
        return replace(term, value=value, definite=True, weight=1 + term.weight + term.error_weight)

    def settled(self, term: Term) -> Term:
        """A number that is neither infinite nor NaN: such a one is an error from here on."""
        if term.finite:
            return term
        term = self.share(term)
        code = self.reasons.code(f"the number is too large or undefined in {self.snippet}")
        # NaN is greater than any number.
        small = term.value.abs() <= _GREATEST
        errors = [each for each in (term.error, pl.when(~small).then(code)) if each is not None]
        return replace(
            term, value=pl.when(small).then(term.value), error=_first(errors), finite=True, weight=3,
            error_weight=term.error_weight + 3,
        )  # fmt: skip

    def snapped(self, term: Term) -> pl.Expr:
        """A number's decimal at 15 digits, where it was computed: 0.1 + 0.2 is 0.3."""
        return term.value if term.exact or term.type is not Type.NUMBER else term.value.round_sig_figs(15)

    def each(self, type: Type, compute: Callable[..., Any], *args: Term, reason: str = "", blanks: bool = False) -> Term:
        """A value that Python computes row by row: `compute` raises ValueError where it cannot.

        It is called where no argument is null; with `blanks`, always, and gets None for a null.
        """
        dtype = DTYPES[type]

        def run(columns: Sequence[pl.Series]) -> pl.Series:
            return pl.Series(_each_row(compute, columns, blanks), dtype=dtype)

        value = pl.map_batches([arg.value for arg in args], run, return_dtype=dtype, is_elementwise=True)
        value = self.where_known(value, *args) if blanks else value
        if not reason:
            return self.term(type, value, *args, exact=True)
        shared = self.share(Term(type, value, weight=2))
        missing = shared.value.is_null()
        for arg in args:
            missing = missing & arg.value.is_not_null() if not blanks else missing
        return self.term(type, shared.value, *args, fails=[(missing, reason)], exact=True)


def _first(errors: Sequence[pl.Expr]) -> pl.Expr | None:
    if not errors:
        return None
    return errors[0] if len(errors) == 1 else pl.coalesce(*errors)


def _each_row(compute: Callable[..., Any], columns: Sequence[pl.Series], blanks: bool) -> list[Any]:
    # A constant comes as a column of one row.
    lists = [column.to_list() for column in columns]
    rows = 0 if any(not values for values in lists) else max(map(len, lists), default=1)
    results: list[Any] = []
    for row in zip(*(values * rows if len(values) == 1 else values for values in lists), strict=True):
        if not blanks and None in row:
            results.append(None)
            continue
        try:
            results.append(compute(*row))
        except (ValueError, ArithmeticError):
            results.append(None)
    return results


def quotient(dividend: pl.Expr, divisor: pl.Expr) -> pl.Expr:
    """One number divided by another; the dividend is best a column, since it is named three times.

    Polars divides several rows by one constant by way of its reciprocal, and one row as it should, which is not the same in the
    last digit. So the divisor is made as many rows as the dividend.
    """
    return dividend / (divisor + (dividend - dividend))

"""Arithmetic and mathematics. Numbers are float64; rounding goes by the decimal text at 15 digits, halves away from zero."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from decimal import Context as Precision

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldline_mappings.formula.functions import calendar
from fieldline_mappings.formula.functions.logic import join
from fieldline_mappings.formula.library import function, number, of
from fieldline_mappings.formula.terms import Context, Term, quotient
from fieldline_mappings.formula.types import Type

_GROUP = "mathematics"
_MOMENTS = (Type.DATE, Type.DATETIME, Type.TIME)
_DIGITS = Precision(prec=700)
"""As many digits as the quotient of any two numbers has."""
_PLACES = 20


def _sum_type(types: Sequence[Type]) -> Type | str:
    match [type for type in types if type is not Type.NULL]:
        case [] | [Type.NUMBER] | [Type.NUMBER, Type.NUMBER]:
            return Type.NUMBER
        case [Type.TEXT] | [Type.TEXT, Type.TEXT]:
            return Type.TEXT
        case [(Type.DATE | Type.DATETIME | Type.TIME) as moment, *rest] if rest in ([], [Type.NUMBER]):
            return moment
        case [Type.NUMBER, (Type.DATE | Type.DATETIME | Type.TIME) as moment]:
            return moment
    return f"'+' adds numbers, adds days to a date, or joins texts: a {types[0]} and a {types[1]} cannot be added."


@function("+", "operators", [of("left"), of("right")], _sum_type,
          "Adds numbers, adds days to a date or a date and time, milliseconds to a time, or joins texts.",
          "1 + 2", "3")  # fmt: skip
def _plus(ctx: Context, left: Term, right: Term) -> Term:
    if Type.TEXT in (left.type, right.type):
        return join(ctx, left, right)
    if left.type in _MOMENTS:
        return calendar.add(ctx, left, right, 1)
    if right.type in _MOMENTS:
        return calendar.add(ctx, right, left, 1)
    left, right = _number(left), _number(right)
    return _arithmetic(ctx, left.value + right.value, left, right)


def _number(term: Term) -> Term:
    return term if term.type is Type.NUMBER else replace(term, type=Type.NUMBER, value=term.value.cast(pl.Float64))


def _difference_type(types: Sequence[Type]) -> Type | str:
    left, right = types
    if left in _MOMENTS and right in (Type.NUMBER, Type.NULL):
        return left
    if right in (left, Type.NULL) and left in (Type.NUMBER, *_MOMENTS):
        return Type.NUMBER
    if left is Type.NULL and right in (Type.NUMBER, Type.NULL, *_MOMENTS):
        return Type.NUMBER
    return f"'-' subtracts numbers, dates from dates, or days from a date: a {right} cannot be taken from a {left}."


@function("-", "operators", [of("left"), of("right")], _difference_type,
          "Subtracts numbers, gives the days between two dates, or goes back by so many days.", "5 - 2", "3")  # fmt: skip
def _minus(ctx: Context, left: Term, right: Term) -> Term:
    if left.type in _MOMENTS and right.type in _MOMENTS:
        return calendar.between(ctx, left, right)
    if left.type in _MOMENTS:
        return calendar.add(ctx, left, right, -1)
    left, right = _number(left), _number(right)
    return _arithmetic(ctx, left.value - right.value, left, right)


def _arithmetic(ctx: Context, value: pl.Expr, *terms: Term) -> Term:
    return ctx.term(Type.NUMBER, value, *terms, finite=False)


@function("NEGATE", "operators", [number("number")], Type.NUMBER, "The number with the other sign, written -a.", "-(2)", "-2")
def _negate(ctx: Context, term: Term) -> Term:
    return ctx.term(Type.NUMBER, -term.value, term, exact=term.exact, finite=term.finite)


@function("*", "operators", [number("left"), number("right")], Type.NUMBER, "Multiplies.", "2 * 3", "6")
def _times(ctx: Context, left: Term, right: Term) -> Term:
    return _arithmetic(ctx, left.value * right.value, left, right)


@function("/", "operators", [number("left"), number("right")], Type.NUMBER, "Divides; dividing by zero cannot be computed.",
          "7 / 2", "3.5")  # fmt: skip
def _divide(ctx: Context, left: Term, right: Term) -> Term:
    left = ctx.share(left)
    if right.constant:
        return _arithmetic(ctx, quotient(left.value, right.value), left, right)
    right = ctx.share(right)
    fails = [((right.value == 0) & left.value.is_not_null(), "division by zero")]
    value = quotient(left.value, pl.when(right.value != 0).then(right.value))
    return ctx.term(Type.NUMBER, value, left, right, fails=fails, finite=False)


@function("^", "operators", [number("base"), number("exponent")], Type.NUMBER,
          "Raises to a whole power; binds looser than * and /, as in Salesforce's engine: 2 * 3 ^ 2 is 36.",
          "2 ^ 10", "1024")  # fmt: skip
def _power(ctx: Context, base: Term, exponent: Term) -> Term:
    # Polars raises a column to a constant by another way than to a column, which is not the same in the last digit.
    reason = "the power is out of range: whole exponents and results up to 10^64 can be computed"
    return replace(ctx.each(Type.NUMBER, _raised, ctx.settled(base), ctx.settled(exponent), reason=reason), exact=False)


def _raised(base: float, exponent: float) -> float:
    # 10^64 is the engine's bound.
    if not exponent.is_integer() or (math.log10(abs(base)) * exponent > 64 if base else exponent < 0):
        raise ValueError
    return math.pow(base, exponent)


def _unary(name: str, about: str, example: str, gives: str, compute: Callable[[pl.Expr], pl.Expr], *, exact: bool = False) -> None:
    def build(ctx: Context, term: Term) -> Term:
        return ctx.term(Type.NUMBER, compute(term.value), term, exact=exact and term.exact, finite=term.finite)

    function(name, _GROUP, [number("number")], Type.NUMBER, about, example, gives)(build)


_unary("ABS", "The number without its sign.", "ABS(-2)", "2", lambda value: value.abs(), exact=True)
_unary("SIGN", "1 for a positive number, -1 for a negative one, 0 for zero.", "SIGN(-3)", "-1", lambda value: value.sign())
_unary("SIN", "The sine of an angle in radians.", "SIN(0)", "0", lambda value: value.sin())
_unary("COS", "The cosine of an angle in radians.", "COS(0)", "1", lambda value: value.cos())
_unary("TAN", "The tangent of an angle in radians.", "TAN(0)", "0", lambda value: value.tan())
_unary("ATAN", "The angle in radians whose tangent is the number.", "ATAN(0)", "0", lambda value: value.arctan())


def _partial(
    name: str, about: str, example: str, gives: str, compute: Callable[[pl.Expr], pl.Expr], allowed: Callable[[pl.Expr], pl.Expr],
    reason: str,
) -> None:  # fmt: skip
    """A function that only some numbers have."""

    def build(ctx: Context, term: Term) -> Term:
        term = ctx.share(ctx.settled(term))
        value = compute(pl.when(allowed(term.value)).then(term.value))
        return ctx.term(Type.NUMBER, value, term, fails=[(~allowed(term.value), reason)])

    function(name, _GROUP, [number("number")], Type.NUMBER, about, example, gives)(build)


_partial("SQRT", "The square root.", "SQRT(9)", "3", lambda value: value.sqrt(), lambda value: value >= 0,
         "square root of a negative number")  # fmt: skip
_partial("LN", "The natural logarithm.", "LN(1)", "0", lambda value: value.log(), lambda value: value > 0,
         "logarithm of zero or of a negative number")  # fmt: skip
_partial("LOG", "The logarithm to base 10.", "LOG(1000)", "3", lambda value: value.log10(), lambda value: value > 0,
         "logarithm of zero or of a negative number")  # fmt: skip
_partial("LOG1P", "The natural logarithm of one more than the number, for amounts that may be zero.", "LOG1P(0)", "0",
         lambda value: value.log1p(), lambda value: value > -1, "logarithm of zero or of a negative number")  # fmt: skip
_partial("EXP", "e raised to the number.", "EXP(0)", "1", lambda value: value.exp(), lambda value: value < 709.7,
         "the number is too large")  # fmt: skip
_partial("ASIN", "The angle in radians whose sine is the number.", "ASIN(0)", "0", lambda value: value.arcsin(),
         lambda value: value.abs() <= 1, "no angle has such a sine")  # fmt: skip
_partial("ACOS", "The angle in radians whose cosine is the number.", "ACOS(1)", "0", lambda value: value.arccos(),
         lambda value: value.abs() <= 1, "no angle has such a cosine")  # fmt: skip


@function("ATAN2", _GROUP, [number("y"), number("x")], Type.NUMBER,
          "The angle in radians of the point (x, y); cannot be computed where one of them is blank.",
          "ATAN2(0, 1)", "0")  # fmt: skip
def _atan2(ctx: Context, y: Term, x: Term) -> Term:
    y, x = ctx.share(ctx.settled(y)), ctx.share(ctx.settled(x))
    missing = y.value.is_null() | x.value.is_null()
    # Plus zero: a number has no negative zero, which would turn the angle.
    return ctx.term(Type.NUMBER, pl.arctan2(y.value + 0.0, x.value + 0.0), y, x, fails=[(missing, "a blank number")])


@function("PI", _GROUP, [], Type.NUMBER, "The number pi.", "ROUND(PI(), 4)", "3.1416")
def _pi(ctx: Context) -> Term:
    return ctx.literal(math.pi, Type.NUMBER)


def _rounds(name: str, about: str, example: str, gives: str, round_: Callable[[pl.Expr], pl.Expr], mode: str) -> None:
    def build(ctx: Context, term: Term, *given: Term) -> Term:
        term, places = ctx.share(ctx.settled(term)), given[0] if given else ctx.literal(0.0, Type.NUMBER)
        if isinstance(places.constant, float) and abs(places.constant) <= _PLACES:
            return ctx.term(Type.NUMBER, _at_places(ctx, term, int(places.constant), round_), term, exact=True)
        term = replace(term, value=ctx.snapped(term), weight=2)
        made = ctx.each(Type.NUMBER, lambda number, wanted: _quantized(number, wanted, mode), term, ctx.settled(places))
        return replace(made, finite=False)

    function(name, _GROUP, [number("number"), number("places", optional=True)], Type.NUMBER, about, example, gives)(build)


def _at_places(ctx: Context, term: Term, places: int, round_: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """Rounded at so many places, at 15 digits: 1.005 is rounded as the decimal that it is written as."""
    scaled = round_((term.value * 10.0**places).round_sig_figs(15))
    if places > 0:
        scaled = ctx.share(Term(Type.NUMBER, scaled, weight=2)).value
        rounded = quotient(scaled, pl.lit(10.0**places))
    else:
        rounded = scaled * 10.0**-places
    # A greater number has no digits there.
    return pl.when(term.value.abs() < 1e15 / 10.0**places).then(rounded).otherwise(ctx.snapped(term))


def _quantized(value: float, places: float, mode: str) -> float:
    """The decimal text of a number, rounded or cut off behind so many places."""
    number, wanted = Decimal(repr(value)), int(max(-400.0, min(places, 400.0)))
    if -int(number.as_tuple().exponent) <= wanted:
        return value
    return float(number.quantize(Decimal(1).scaleb(-wanted), rounding=mode))


def _half_up(value: pl.Expr) -> pl.Expr:
    return value.round(0, mode="half_away_from_zero")


_rounds("ROUND", "The number at so many decimal places (none where left out), halves away from zero; -2 rounds to hundreds.",
        "ROUND(2.345, 2)", "2.35", _half_up, ROUND_HALF_UP)  # fmt: skip
_rounds("TRUNC", "The number cut off behind so many decimal places, or at its decimal point.",
        "TRUNC(2.349, 2)", "2.34", lambda value: value.truncate(0), ROUND_DOWN)  # fmt: skip


def _whole(name: str, about: str, example: str, gives: str, round_: Callable[[pl.Expr], pl.Expr]) -> None:
    def build(ctx: Context, term: Term) -> Term:
        term = ctx.share(ctx.settled(term))
        # At 15 digits, so that (1 / 9) * 9 is 1; a greater number has no digits behind its decimal point.
        snapped = ctx.share(Term(Type.NUMBER, ctx.snapped(term), weight=1 if term.exact else 2)).value
        value = pl.when(snapped.abs() < 1e15).then(round_(snapped)).otherwise(snapped)
        return ctx.term(Type.NUMBER, value, term, exact=True)

    function(name, _GROUP, [number("number")], Type.NUMBER, about, example, gives)(build)


def _away(value: pl.Expr) -> pl.Expr:
    return value.sign() * value.abs().ceil()


_whole("CEILING", "The next whole number away from zero.", "CEILING(-2.5)", "-3", _away)
_whole("FLOOR", "The next whole number towards zero.", "FLOOR(-2.5)", "-2", lambda value: value.truncate(0))
_whole("MCEILING", "The next whole number upwards.", "MCEILING(-2.5)", "-2", lambda value: value.ceil())
_whole("MFLOOR", "The next whole number downwards.", "MFLOOR(-2.5)", "-3", lambda value: value.floor())


@function("MOD", _GROUP, [number("number"), number("divisor")], Type.NUMBER,
          "The remainder of a division, with the sign of the number.", "MOD(7, 3)", "1")  # fmt: skip
def _mod(ctx: Context, term: Term, divisor: Term) -> Term:
    term, divisor = ctx.share(ctx.settled(term)), ctx.share(ctx.settled(divisor))
    # What was computed carries noise in its last digits: a remainder within it is none.
    noise = 0.0 if term.exact and divisor.exact else 2e-15

    def remainders(columns: Sequence[pl.Series]) -> pl.Series:
        return _remainders(columns[0].to_numpy(), columns[1].to_numpy(), noise)

    value = pl.map_batches([term.value, divisor.value], remainders, return_dtype=pl.Float64(), is_elementwise=True)
    fails = [((divisor.value == 0) & term.value.is_not_null(), "division by zero")]
    return ctx.term(Type.NUMBER, value, term, divisor, fails=fails)


def _remainders(numbers: NDArray[np.float64], divisors: NDArray[np.float64], noise: float) -> pl.Series:
    one, other = np.broadcast_arrays(numbers, divisors)
    known = ~np.isnan(one) & ~np.isnan(other) & (other != 0)
    remainders = np.fmod(one, other, out=np.full(one.shape, np.nan), where=known)
    for row in np.flatnonzero(known & ((one != np.trunc(one)) | (other != np.trunc(other)))):
        remainders[row] = float(_DIGITS.remainder(Decimal(repr(float(one[row]))), Decimal(repr(float(other[row])))))
    left = np.abs(remainders)
    remainders[known & (np.minimum(left, np.abs(other) - left) < noise * np.abs(one))] = 0.0
    return pl.Series(remainders, nan_to_null=True)


def _extreme(name: str, about: str, example: str, gives: str, choose: Callable[..., pl.Expr]) -> None:
    def build(ctx: Context, *terms: Term) -> Term:
        settled = [ctx.share(ctx.settled(term)) for term in terms]
        # Polars leaves blanks out; in a formula one blank makes the result blank.
        known = pl.all_horizontal([term.value.is_not_null() for term in settled])
        value = pl.when(known).then(choose(*(term.value for term in settled)))
        return ctx.term(Type.NUMBER, value, *settled, exact=all(term.exact for term in settled))

    params = [number("number"), number("number", repeated=True, optional=True)]
    function(name, _GROUP, params, Type.NUMBER, about, example, gives)(build)


_extreme("MAX", "The greatest of some numbers, or of a field of child rows.", "MAX(1, 3, 2)", "3", pl.max_horizontal)
_extreme("MIN", "The smallest of some numbers, or of a field of child rows.", "MIN(1, 3, 2)", "1", pl.min_horizontal)

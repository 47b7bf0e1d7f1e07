"""Conditions, choices, comparisons and blanks.

A blank in a comparison gives blank, not true or false; AND, OR and IF take blank for false. Texts are the exception: a blank text
is the empty text. Both as in Salesforce's engine.
"""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from fieldline_mappings.formula.library import Param, boolean, function, of
from fieldline_mappings.formula.terms import Context, Term
from fieldline_mappings.formula.types import DTYPES, Type

_GROUP = "logic"
_ORDERED = (Type.NUMBER, Type.DATE, Type.DATETIME, Type.TIME)


@function("AND", _GROUP, [boolean("condition"), boolean("condition", repeated=True, optional=True)], Type.BOOLEAN,
          "True where all conditions are; a && b is the same.", "AND(1 < 2, 2 < 3)", "true")  # fmt: skip
def _and(ctx: Context, *conditions: Term) -> Term:
    return _until(ctx, False, conditions)


@function("OR", _GROUP, [boolean("condition"), boolean("condition", repeated=True, optional=True)], Type.BOOLEAN,
          "True where one condition is; a || b is the same.", "OR(1 > 2, 2 < 3)", "true")  # fmt: skip
def _or(ctx: Context, *conditions: Term) -> Term:
    return _until(ctx, True, conditions)


def _until(ctx: Context, decides: bool, conditions: Sequence[Term]) -> Term:
    """Looks at the conditions in turn until one is `decides`; those behind it are not looked at, so their errors do not count."""
    terms = [ctx.truth(condition) for condition in conditions]
    if all(term.error is None for term in terms):
        values = [term.value for term in terms]
        return ctx.term(Type.BOOLEAN, pl.any_horizontal(values) if decides else pl.all_horizontal(values), *terms, definite=True)
    result = terms[-1]
    for term in reversed(terms[:-1]):
        result = _before(ctx, decides, ctx.share(term), result)
    return result


def _before(ctx: Context, decides: bool, first: Term, second: Term) -> Term:
    decided, left = first.value == decides, first.value == (not decides)
    value = pl.when(decided).then(pl.lit(decides)).when(left).then(second.value)
    made = ctx.term(Type.BOOLEAN, value, first, second, definite=True)
    errors = [] if first.error is None else [first.error]
    errors += [] if second.error is None else [pl.when(left).then(second.error)]
    return ctx.light(replace(made, error=pl.coalesce(*errors) if errors else None))


@function("NOT", _GROUP, [boolean("condition")], Type.BOOLEAN, "True where the condition is false; !a is the same.",
          "NOT(1 > 2)", "true")  # fmt: skip
def _not(ctx: Context, condition: Term) -> Term:
    return ctx.term(Type.BOOLEAN, ~condition.value, condition, definite=condition.definite)


@function("IF", _GROUP, [boolean("condition"), of("then", alike="result"), of("else", alike="result")], None,
          "One value where the condition holds, another where it does not.", 'IF(2 > 1, "more", "less")', "more")  # fmt: skip
def _if(ctx: Context, condition: Term, then: Term, otherwise: Term) -> Term:
    return _choose(ctx, [(condition, then)], otherwise)


def _pairs(count: int) -> list[Param]:
    return [boolean("condition"), of("then", alike="result")] * (count // 2) + [of("else", alike="result")]


@function("IFS", _GROUP, [boolean("condition"), of("then", alike="result"), of("else", alike="result", repeated=True)], None,
          "The value behind the first condition that holds, and the last value where none does.",
          'IFS(1 > 2, "a", 2 > 1, "b", "c")', "b", layout=_pairs, counts=lambda count: count % 2 == 1)  # fmt: skip
def _ifs(ctx: Context, *args: Term) -> Term:
    return _choose(ctx, list(zip(args[:-1:2], args[1:-1:2], strict=True)), args[-1])


def _cases(count: int) -> list[Param]:
    pairs = [of("value", alike="value"), of("then", alike="result")] * ((count - 2) // 2)
    return [of("expression", alike="value"), *pairs, of("else", alike="result")]


@function("CASE", _GROUP, [of("expression", alike="value"), of("value", alike="value"), of("then", alike="result"),
                           of("else", alike="result", repeated=True)], None,
          "The result behind the first value that equals the expression, and the last one where none does.",
          'CASE("b", "a", 1, "b", 2, 0)', "2", layout=_cases, counts=lambda count: count % 2 == 0)  # fmt: skip
def _case(ctx: Context, expression: Term, *args: Term) -> Term:
    expression = ctx.share_error(ctx.share(ctx.settled(expression)))
    if all(arg.constant is not None for arg in args[:-1]) and expression.type in (Type.TEXT, Type.NUMBER):
        return _looked_up(ctx, expression, args)
    tests = [equal(ctx, expression, value) for value in args[:-1:2]]
    return _choose(ctx, list(zip(tests, args[1:-1:2], strict=True)), args[-1])


def _looked_up(ctx: Context, expression: Term, args: Sequence[Term]) -> Term:
    """CASE of constants: one look into a table, where hundreds of comparisons would cost more to make than to compute."""
    values, results, otherwise = pl.Series([arg.constant for arg in args[:-1:2]]), args[1:-1:2], args[-1]
    if expression.type is Type.TEXT:
        keys, key = values, expression.value.fill_null("")
    else:
        keys, key = values if expression.exact else values.round_sig_figs(15), ctx.snapped(expression)
    first = keys.is_first_distinct().to_list()
    listed = [result.constant for result, known in zip(results, first, strict=True) if known]
    type = results[0].type
    found = key.replace_strict(keys.filter(first), pl.Series(listed, dtype=DTYPES[type]), default=None, return_dtype=DTYPES[type])
    found = ctx.share(Term(type, found, weight=2)).value
    made = filled(ctx, ctx.term(type, found, expression, exact=True, finite=True), otherwise, found.is_null())
    return replace(made, definite=otherwise.definite)


def _choose(ctx: Context, pairs: Sequence[tuple[Term, Term]], otherwise: Term) -> Term:
    """The value behind the first condition that holds, with only that value's error, and those of the conditions before."""
    tests = [ctx.truth(test) for test, _ in pairs]
    terms = [*(then for _, then in pairs), otherwise]
    failing = any(term.error is not None for term in (*tests, *terms))
    tests = [ctx.share(test) for test in tests] if failing else tests
    value, error = _either(tests[0], *terms) if len(tests) == 1 else _behind_first(ctx, tests, terms)
    finite, exact = all(term.finite for term in terms), all(term.exact for term in terms)
    definite = all(term.definite for term in terms)
    made = ctx.term(terms[0].type, value, *tests, *terms, exact=exact, finite=finite, definite=definite)
    return ctx.light(replace(made, error=error)) if failing else made


def _either(test: Term, then: Term, otherwise: Term) -> tuple[pl.Expr, pl.Expr]:
    branch = pl.when(test.value).then(then.value)
    value = branch.otherwise(otherwise.value) if test.error is None else branch.when(~test.value).then(otherwise.value)
    error = pl.when(test.value).then(_none(then.error)).when(~test.value).then(_none(otherwise.error)).otherwise(_none(test.error))
    return value, error


def _behind_first(ctx: Context, tests: Sequence[Term], terms: Sequence[Term]) -> tuple[pl.Expr, pl.Expr]:
    # Conditions inside of each other would take Polars a time that grows with the square of their number.
    stops = [test.value if test.error is None else test.value.fill_null(True) for test in tests]
    first = pl.coalesce(*(pl.when(stop).then(pl.lit(place)) for place, stop in enumerate(stops)), pl.lit(len(tests)))
    place = ctx.share(Term(Type.NUMBER, first, weight=2)).value
    reached = [place == number for number in range(len(terms))]
    taken = [here if test.error is None else here & test.value for here, test in zip(reached, tests, strict=False)]
    value = pl.coalesce(*(pl.when(here).then(term.value) for here, term in zip([*taken, reached[-1]], terms, strict=True)))
    errors = [(here, term.error) for here, term in (*zip(reached, tests, strict=False), *zip(reached, terms, strict=True))]
    return value, pl.coalesce(_none(None), *(pl.when(here).then(error) for here, error in errors if error is not None))


def _none(error: pl.Expr | None) -> pl.Expr:
    return pl.lit(None, pl.UInt16) if error is None else error


@function("IFERROR", _GROUP, [of("value", alike="result"), of("otherwise", alike="result")], None,
          "The value, or another one where it cannot be computed.", "IFERROR(1 / 0, -1)", "-1")  # fmt: skip
def _iferror(ctx: Context, value: Term, otherwise: Term) -> Term:
    value = ctx.settled(value)
    if value.error is None:
        return value
    value = ctx.share_error(value)
    assert value.error is not None
    failed = value.error.is_not_null()
    chosen = pl.when(failed).then(otherwise.value).otherwise(value.value)
    made = ctx.term(value.type, chosen, value, otherwise, exact=value.exact and otherwise.exact, finite=otherwise.finite)
    error = None if otherwise.error is None else pl.when(failed).then(otherwise.error)
    return ctx.light(replace(made, error=error, error_weight=0 if error is None else made.error_weight))


def blank(term: Term) -> pl.Expr:
    """Whether a value is blank, or in error; empty text is blank."""
    return (term.value.fill_null("") == "") if term.type is Type.TEXT else term.value.is_null()


@function("ISBLANK", _GROUP, [of("value")], Type.BOOLEAN, "Whether a value is blank.", 'ISBLANK("")', "true")
def _isblank(ctx: Context, value: Term) -> Term:
    return ctx.term(Type.BOOLEAN, ctx.where_known(blank(value), value), value, definite=True)


@function("ISNULL", _GROUP, [of("value")], Type.BOOLEAN,
          "Whether a value is blank; a text never is, as in Salesforce: use ISBLANK.",
          "ISNULL(NULL)", "true")  # fmt: skip
def _isnull(ctx: Context, value: Term) -> Term:
    missing = pl.lit(False) if value.type is Type.TEXT else value.value.is_null()
    return ctx.term(Type.BOOLEAN, ctx.where_known(missing, value), value, definite=True)


@function("BLANKVALUE", _GROUP, [of("value", alike="result"), of("otherwise", alike="result")], None,
          "The value, or another one where it is blank.", 'BLANKVALUE("", "none")', "none")  # fmt: skip
def _blankvalue(ctx: Context, value: Term, otherwise: Term) -> Term:
    value = ctx.share(value)
    return filled(ctx, value, otherwise, blank(value))


@function("NULLVALUE", _GROUP, [of("value", alike="result"), of("otherwise", alike="result")], None,
          "The value, or another one where it is blank; a text is kept as it is, as in Salesforce: use BLANKVALUE.",
          "NULLVALUE(5, 0)", "5")  # fmt: skip
def _nullvalue(ctx: Context, value: Term, otherwise: Term) -> Term:
    if value.type is Type.TEXT:
        return value
    value = ctx.share(value)
    return filled(ctx, value, otherwise, value.value.is_null())


def filled(ctx: Context, value: Term, otherwise: Term, missing: pl.Expr) -> Term:
    """The value, or another one where it is missing."""
    chosen = ctx.where_known(pl.when(missing).then(otherwise.value).otherwise(value.value), value)
    exact, finite = value.exact and otherwise.exact, value.finite and otherwise.finite
    made = ctx.term(value.type, chosen, value, otherwise, exact=exact, finite=finite)
    if otherwise.error is None:
        return made
    # The other value's error counts only where it is used.
    own = [] if value.error is None else [value.error]
    error = pl.coalesce(*own, pl.when(missing).then(otherwise.error))
    return ctx.light(replace(made, error=error))


def _listed(count: int) -> list[Param]:
    return [of("value", alike="value")] * count


@function("IN", _GROUP, [of("value", alike="value"), of("listed", alike="value", repeated=True)], Type.BOOLEAN,
          "Whether a value equals one of those listed; a blank equals none.",
          'IN("b", "a", "b")', "true", layout=_listed)  # fmt: skip
def _in(ctx: Context, value: Term, *listed: Term) -> Term:
    value, listed = ctx.share(ctx.settled(value)), tuple(ctx.settled(each) for each in listed)
    hit = pl.any_horizontal([(_number(value, each) == _number(each, value)).fill_null(False) for each in listed])
    hit = hit & (value.value != "").fill_null(False) if value.type is Type.TEXT else hit
    return ctx.term(Type.BOOLEAN, ctx.where_known(hit, value, *listed), value, *listed, definite=True)


def equal(ctx: Context, left: Term, right: Term) -> Term:
    """Whether two values of one type are equal; blank where one is blank, but for texts."""
    if left.type is Type.TEXT:
        same = left.value.fill_null("") == right.value.fill_null("")
        return ctx.term(Type.BOOLEAN, ctx.where_known(same, left, right), left, right, definite=True)
    left, right = ctx.settled(left), ctx.settled(right)
    return ctx.term(Type.BOOLEAN, _number(left, right) == _number(right, left), left, right)


def _number(term: Term, other: Term) -> pl.Expr:
    # Both are brought to 15 digits where one of them was computed: an exact 17-digit key equals only itself.
    return term.value if term.type is not Type.NUMBER or (term.exact and other.exact) else term.value.round_sig_figs(15)


@function("=", "operators", [of("left", alike="value"), of("right", alike="value")], Type.BOOLEAN,
          "Whether two values are equal; == is the same. Case matters in texts.", '"a" = "a"', "true")  # fmt: skip
def _equals(ctx: Context, left: Term, right: Term) -> Term:
    return equal(ctx, left, right)


@function("<>", "operators", [of("left", alike="value"), of("right", alike="value")], Type.BOOLEAN,
          "Whether two values differ; != is the same.", "1 <> 2", "true")  # fmt: skip
def _differs(ctx: Context, left: Term, right: Term) -> Term:
    same = equal(ctx, left, right)
    return replace(same, value=~same.value)


def _compares(sign: str, about: str, example: str) -> None:
    def build(ctx: Context, left: Term, right: Term) -> Term:
        left, right = ctx.settled(left), ctx.settled(right)
        one, other = _number(left, right), _number(right, left)
        value = {"<": one < other, ">": one > other, "<=": one <= other, ">=": one >= other}[sign]
        return ctx.term(Type.BOOLEAN, value, left, right)

    params = [of("left", *_ORDERED, Type.NULL, alike="value"), of("right", *_ORDERED, Type.NULL, alike="value")]
    function(sign, "operators", params, Type.BOOLEAN, about, example, "true")(build)


_compares("<", "Whether the first is smaller, or earlier.", "1 < 2")
_compares(">", "Whether the first is greater, or later.", "2 > 1")
_compares("<=", "Whether the first is not greater, or not later.", "1 <= 1")
_compares(">=", "Whether the first is not smaller, or not earlier.", "1 >= 1")


def _texts(types: Sequence[Type]) -> Type | str:
    other = next((type for type in types if type not in (Type.TEXT, Type.NULL)), None)
    return Type.TEXT if other is None else f"'&' joins texts, and one side is a {other}."


@function("&", "operators", [of("left"), of("right")], _texts, "Joins two texts; a blank one adds nothing.", '"a" & "b"', "ab")
def _join(ctx: Context, left: Term, right: Term) -> Term:
    return join(ctx, left, right)


def join(ctx: Context, left: Term, right: Term) -> Term:
    """Two texts one after the other."""
    parts = [_text(term).fill_null("") for term in (left, right)]
    return ctx.term(Type.TEXT, ctx.where_known(pl.concat_str(parts), left, right), left, right)


def _text(term: Term) -> pl.Expr:
    return term.value if term.type is Type.TEXT else pl.lit(None, DTYPES[Type.TEXT])

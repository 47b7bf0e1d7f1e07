"""What models need beyond Salesforce's functions: lookup tables, buckets, bounds, scales and hashes."""

from dataclasses import dataclass
from hashlib import blake2b

import polars as pl

from fieldline_mappings.formula.functions.logic import filled
from fieldline_mappings.formula.library import ANY, Param, function, number, text
from fieldline_mappings.formula.terms import Context, Term, quotient
from fieldline_mappings.formula.types import DTYPES, Type

_GROUP = "features"


@dataclass(frozen=True, slots=True)
class Table:
    """A lookup table: keys of one type, values of one type."""

    name: str
    keys: tuple[str | float, ...]
    values: tuple[str | float, ...]

    @property
    def key_type(self) -> Type:
        """The type of its keys."""
        return Type.TEXT if isinstance(self.keys[0], str) else Type.NUMBER

    @property
    def value_type(self) -> Type:
        """The type of its values."""
        return Type.TEXT if isinstance(self.values[0], str) else Type.NUMBER


@function("LOOKUP", _GROUP, [text("table", literal=True), Param("key", ANY), Param("otherwise", ANY, optional=True)], None,
          "The value that a lookup table of the mapping has for a key; without a value for other keys, those cannot be computed.",
          'LOOKUP("risk", "Banking", 0)', "0.2")  # fmt: skip
def _lookup(ctx: Context, name: Term, key: Term, otherwise: Term | None = None) -> Term:
    table = ctx.tables[str(name.constant).lower()]
    key = ctx.share(ctx.settled(key))
    dtype = DTYPES[table.value_type]
    found = ctx.snapped(key).replace_strict(list(table.keys), list(table.values), default=None, return_dtype=dtype)
    found = ctx.share(Term(table.value_type, found, weight=2)).value
    missing = found.is_null() & (key.value != "" if key.type is Type.TEXT else key.value.is_not_null())
    if otherwise is None:
        fails = [(missing, f"the table {table.name} has no such key")]
        return ctx.term(table.value_type, found, key, fails=fails, exact=True)
    return filled(ctx, ctx.term(table.value_type, found, key, exact=True), otherwise, missing)


def _boundaries(count: int) -> list[Param]:
    return [number("number"), *[Param("boundary", frozenset({Type.NUMBER}), literal=True)] * (count - 1)]


@function("BUCKET", _GROUP, [number("number"), number("boundary", repeated=True)], Type.NUMBER,
          "Which bucket a number falls into: 0 below the first boundary, 1 from there to the next, and so on.",
          "BUCKET(15, 10, 20)", "1", layout=_boundaries)  # fmt: skip
def _bucket(ctx: Context, term: Term, *boundaries: Term) -> Term:
    term = ctx.share(ctx.settled(term))
    exact = ctx.snapped(term)
    bounds = sorted(float(boundary.constant) for boundary in boundaries if boundary.constant is not None)
    place = pl.lit(pl.Series(bounds, dtype=pl.Float64)).search_sorted(exact, side="right").cast(pl.Float64)
    # Beside a blank boundary there is no telling.
    known = place if len(bounds) == len(boundaries) else pl.lit(None, pl.Float64)
    return ctx.term(Type.NUMBER, pl.when(exact.is_not_null()).then(known), term, exact=True)


@function("CLIP", _GROUP, [number("number"), number("least"), number("most")], Type.NUMBER,
          "The number, or the bound that it lies beyond.", "CLIP(12, 0, 10)", "10")  # fmt: skip
def _clip(ctx: Context, term: Term, least: Term, most: Term) -> Term:
    term, least, most = ctx.settled(term), ctx.settled(least), ctx.settled(most)
    if isinstance(least.constant, float) and isinstance(most.constant, float) and least.constant <= most.constant:
        return ctx.term(Type.NUMBER, term.value.clip(least.constant, most.constant), term, exact=term.exact)
    term, least, most = ctx.share(term), ctx.share(least), ctx.share(most)
    # Polars leaves blanks out; in a formula one blank makes the result blank.
    known = pl.all_horizontal([each.value.is_not_null() for each in (term, least, most)])
    value = pl.when(known).then(pl.min_horizontal(pl.max_horizontal(term.value, least.value), most.value))
    return ctx.term(Type.NUMBER, value, term, least, most, exact=all(each.exact for each in (term, least, most)))


@function("ZSCORE", _GROUP, [number("number"), number("mean"), number("deviation")], Type.NUMBER,
          "How many standard deviations a number lies above a mean.", "ZSCORE(12, 10, 4)", "0.5")  # fmt: skip
def _zscore(ctx: Context, term: Term, mean: Term, deviation: Term) -> Term:
    deviation = ctx.share(ctx.settled(deviation))
    above = ctx.share(ctx.term(Type.NUMBER, term.value - mean.value, term, mean))
    value = quotient(above.value, pl.when(deviation.value > 0).then(deviation.value))
    fails = [(deviation.value <= 0, "a standard deviation that is not positive")]
    return ctx.term(Type.NUMBER, value, term, mean, deviation, fails=fails, finite=False)


@function("HASH_BUCKET", _GROUP, [text("text"), Param("buckets", frozenset({Type.NUMBER}), literal=True)], Type.NUMBER,
          "A bucket from 0 to one less than their number, always the same for the same text (BLAKE2b, 8 bytes, big-endian).",
          'HASH_BUCKET("Banking", 16)', "15")  # fmt: skip
def _hash_bucket(ctx: Context, words: Term, buckets: Term) -> Term:
    count = max(1, int(buckets.constant or 1))

    def bucket(word: str) -> float:
        return float(int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "big") % count)

    return ctx.each(Type.NUMBER, bucket, words)

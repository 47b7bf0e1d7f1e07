"""A mapping against Polars expressions written by hand for the same 22 features, with the same rules for blanks and errors.

python bench/mapping.py [--rows 1000000] [--rounds 7]

Both run in turn in one process; the values and the rows held back are compared first. Limits: one row 1 ms, a million rows twice
what is written by hand, 200 features compiled in 150 ms, preview of 200 features on 50 records 60 ms.
"""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from fieldline_core.batch import Batch
from fieldline_core.signature import Signature, Tensor
from fieldline_mappings import MappingDocument, compile_mapping
from fieldline_mappings.plan import CompiledPlan
from fieldline_mappings.preview import explain

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
RATINGS, REGIONS = ["Hot", "Warm", "Cold", "Lost"], ["north", "south", "west"]
RISK = {"Banking": 0.2, "Retail": 0.5, "Energy": 0.9}
RECORD = {
    "revenue": "number", "employees": "integer", "deals": "number", "won": "number", "calls": "integer", "score": "number",
    "discount": "number", "industry": "text", "rating": "text", "region": "text", "email": "text", "created": "date", "due": "date",
    "active": "boolean", "newsletter": "boolean",
}  # fmt: skip
FEATURES: list[dict[str, Any]] = [
    {"field": "revenue", "if_blank": 0},
    {"field": "employees", "if_blank": 1},
    {"field": "discount", "if_blank": 0, "clip": [0, 0.5]},
    {"name": "log_revenue", "formula": "LOG1P(revenue)", "if_blank": 0},
    {"name": "per_head", "formula": "revenue / employees", "if_blank": 0},
    {"name": "win_rate", "formula": "IF(deals > 0, won / deals, 0)", "if_blank": 0},
    {"name": "size", "formula": "BUCKET(employees, 10, 50, 250, 1000)", "if_blank": 0},
    {"name": "spend", "formula": "CLIP(revenue, 1000, 500000)", "if_blank": 0},
    {"name": "large", "formula": "IF(revenue > 250000, 1, 0)"},
    {"name": "industry_rank", "formula": 'CASE(industry, "Banking", 3, "Retail", 2, "Energy", 1, 0)'},
    {"field": "rating", "type": "text", "categories": RATINGS, "if_blank": "flag"},
    {"field": "region", "type": "text", "categories": REGIONS, "if_unknown": "other"},
    {"name": "age_days", "formula": "DAYS_SINCE(created)"},
    {"name": "created_month", "formula": "MONTH(created)"},
    {"name": "days_left", "formula": "due - TODAY()", "if_blank": 0},
    {"name": "email_length", "formula": "LEN(email)"},
    {"name": "private_email", "formula": 'CONTAINS(email, "@gmail")'},
    {"name": "risk", "formula": 'LOOKUP("risk", industry, 0.1)', "if_blank": 0},
    {"name": "z_score", "formula": "ZSCORE(score, 50, 12)"},
    {"name": "most_contact", "formula": "MAX(won, calls)", "if_blank": 0},
    {"field": "active", "type": "boolean"},
    {"field": "newsletter", "type": "boolean", "if_blank": False},
]


def document(features: list[dict[str, Any]]) -> MappingDocument:
    """The mapping with these features."""
    used = {name: type for name, type in RECORD.items() if any(name in str(feature) for feature in features)}
    fields = [{"name": "answer", "formula": "ROUND(p * 100, 0)"}]
    return MappingDocument.model_validate(
        {"mapping": "bench", "record": used, "tables": {"risk": RISK}, "features": features, "fields": fields}
    )


def signature(width: int) -> Signature:
    """A model that takes so many numbers."""
    answer = Tensor(name="p", dtype="float32", shape=(None, 1))
    return Signature(inputs=(Tensor(name="x", dtype="float32", shape=(None, width)),), outputs=(answer,))


def many(count: int) -> list[dict[str, Any]]:
    """So many features: those above with other numbers in them, which have no part in common."""
    made: list[dict[str, Any]] = []
    for number in range(count):
        feature = dict(FEATURES[number % len(FEATURES)])
        made.append(feature | {"name": f"{feature.get('name') or feature['field']}_{number}"})
        if "formula" in feature and number >= len(FEATURES):
            made[-1]["formula"] = f"IF(score > {number}, NULL, {feature['formula']})"
    return made


def records(count: int) -> Batch:
    """Records of which about one in fifty has a blank or something that cannot be computed."""
    random = np.random.default_rng(7)

    def blank(values: Any, share: float) -> pl.Series:
        series = values if isinstance(values, pl.Series) else pl.Series(values)
        return series.zip_with(pl.Series(random.random(count) >= share), pl.Series([None], dtype=series.dtype))

    def words(choices: list[str]) -> pl.Series:
        return pl.Series(choices).gather(pl.Series(random.integers(0, len(choices), count)))

    def days(last: int) -> pl.Series:
        return pl.Series(np.datetime64("2025-01-01") + random.integers(0, last, count).astype("timedelta64[D]"))

    deals = random.integers(0, 40, count)
    columns = {
        "revenue": blank(np.where(random.random(count) < 0.002, -5.0, np.round(random.lognormal(11, 2, count), 2)), 0.02),
        "employees": blank(np.where(random.random(count) < 0.002, 0, random.integers(1, 5000, count)), 0.02),
        "deals": pl.Series(deals.astype(float)), "won": blank(np.floor(deals * random.random(count)), 0.01),
        "calls": pl.Series(random.integers(0, 30, count)), "score": blank(np.round(random.normal(50, 12, count), 3), 0.002),
        "discount": blank(np.round(random.random(count), 2), 0.05), "industry": words(["Banking", "Retail", "Energy", "Media"]),
        "rating": blank(words(RATINGS), 0.05), "region": words([*REGIONS, "east"]),
        "email": words(["ada@gmail.com", "bo@firm.example", "cy.long.name@firm.example"]), "created": blank(days(400), 0.002),
        "due": blank(days(900), 0.05), "active": blank(random.random(count) < 0.5, 0.002),
        "newsletter": blank(random.random(count) < 0.3, 0.1),
    }  # fmt: skip
    return Batch.of(pl.Series([str(number) for number in range(count)]), pl.DataFrame(columns))


def by_hand(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """The features, and which rows are held back."""
    col, today = pl.col, pl.lit(NOW.date())
    ratio = pl.when(col("employees") != 0).then(col("revenue") / col("employees"))
    rate = pl.when((col("deals") > 0).fill_null(False)).then(col("won") / col("deals")).otherwise(0.0)
    ranks = pl.when(col("industry") == "Banking").then(3.0).when(col("industry") == "Retail").then(2.0)
    size = sum(((col("employees") >= bound).cast(pl.Float64) for bound in (10, 50, 250, 1000)), pl.lit(0.0))
    # Texts are read without the spaces around them, and empty ones as blank, as from any source.
    frame = frame.with_columns(col(name).str.strip_chars() for name in ("rating", "region"))
    frame = frame.with_columns(pl.when(col(name) != "").then(col(name)) for name in ("rating", "region"))
    known = pl.when(col("revenue") > -1).then(col("revenue").log1p())
    values = frame.select(
        col("revenue").fill_null(0.0),
        col("employees").fill_null(1),
        col("discount").fill_null(0.0).clip(0.0, 0.5),
        log_revenue=known.fill_null(0.0),
        per_head=ratio.fill_null(0.0),
        win_rate=rate.fill_null(0.0),
        size=size.fill_null(0.0),
        spend=col("revenue").clip(1000.0, 500000.0).fill_null(0.0),
        large=pl.when((col("revenue") > 250000).fill_null(False)).then(1.0).otherwise(0.0),
        industry_rank=ranks.when(col("industry") == "Energy").then(1.0).otherwise(0.0),
        **{f"rating={each}": col("rating").eq_missing(pl.lit(each)).cast(pl.UInt8) for each in RATINGS},
        rating_blank=col("rating").is_null().cast(pl.UInt8),
        **{f"region={each}": col("region").eq_missing(pl.lit(each)).cast(pl.UInt8) for each in REGIONS},
        age_days=(today - col("created")).dt.total_days().cast(pl.Float64),
        created_month=col("created").dt.month().cast(pl.Float64),
        days_left=(col("due") - today).dt.total_days().cast(pl.Float64).fill_null(0.0),
        email_length=col("email").str.len_chars().cast(pl.Float64),
        private_email=col("email").str.contains("@gmail", literal=True).cast(pl.UInt8),
        risk=col("industry").replace_strict(list(RISK), list(RISK.values()), default=0.1, return_dtype=pl.Float64),
        z_score=(col("score") - 50) / 12,
        most_contact=pl.when(col("won").is_not_null() & col("calls").is_not_null())
        .then(pl.max_horizontal("won", col("calls").cast(pl.Float64))).fill_null(0.0),
        active=col("active").cast(pl.UInt8),
        newsletter=col("newsletter").fill_null(False).cast(pl.UInt8),
    )  # fmt: skip
    numbers = [name for name, dtype in frame.schema.items() if dtype == pl.Float64]
    masks = frame.select(
        *(~col(name).is_finite() for name in numbers),
        log=(col("revenue") <= -1).fill_null(False),
        zero=(col("employees") == 0) & col("revenue").is_not_null(),
        rating=~col("rating").is_in(RATINGS),
        region=col("region").is_null(),
        **{f"blank {name}": col(name).is_null() for name in ("score", "created", "active", "email")},
    )
    none = pl.repeat(False, frame.height, eager=True)
    held = none
    for mask in masks:
        held = held | mask.fill_null(False) if mask.any() else held
    return values, held


def seconds(run: Callable[[], object]) -> float:
    """How long one run takes."""
    begin = perf_counter()
    run()
    return perf_counter() - begin


def compare(plan: CompiledPlan, batch: Batch, rounds: int, times: int) -> tuple[float, float, float]:
    """The plan's seconds, those by hand, and the median of their ratio; each round runs both `times` times, in turn."""
    pairs = []
    for _ in range(rounds):
        one = seconds(lambda: [plan.features(batch, NOW) for _ in range(times)]) / times
        other = seconds(lambda: [by_hand(batch.frame) for _ in range(times)]) / times
        pairs.append((one, other))
    return min(one for one, _ in pairs), min(other for _, other in pairs), median(one / other for one, other in pairs)


def agree(plan: CompiledPlan, batch: Batch) -> int:
    """How many rows are held back; raises AssertionError where the plan and what is written by hand differ."""
    sifted, (values, held) = plan.features(batch, NOW), by_hand(batch.frame)
    assert set(sifted.held) == set(held.arg_true()), "other rows are held back"
    # Polars divides by a constant by way of its reciprocal, which differs in the last digit.
    assert_frame_equal(sifted.frame.filter(~held), values.filter(~held), check_dtypes=False, rel_tol=1e-15, abs_tol=0)
    return int(held.sum())


def main() -> None:
    """Compares, runs, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    batch = records(args.rows)
    plan = compile_mapping(document(FEATURES), signature(28))
    held = agree(plan, batch)
    print(f"{len(FEATURES)} features in {len(plan.columns)} columns; {held:,} of {args.rows:,} rows held back, by both")
    one = batch.slice(0, 1)
    own, other, ratio = compare(plan, one, args.rounds, 200)
    print(f"1 row: {own * 1000:.2f} ms (limit 1 ms), by hand {other * 1000:.2f} ms: {ratio:.2f} times")
    own, other, ratio = compare(plan, batch, args.rounds, 1)
    print(f"{args.rows:,} rows: {own:.3f} s, by hand {other:.3f} s: {ratio:.2f} times (limit 2)")
    features, fifty = many(200), batch.slice(0, 50)
    width = signature(wide_as(features))
    took = [seconds(lambda: compile_mapping(document(features), width).read(one, NOW)) for _ in range(args.rounds)]
    print(f"200 features compiled and bound: {min(took) * 1000:.0f} ms, median {median(took) * 1000:.0f} ms (limit 150 ms)")
    wide = compile_mapping(document(features), width)
    explain(wide, fifty, NOW)
    took = [seconds(lambda: explain(wide, fifty, NOW)) for _ in range(args.rounds)]
    print(f"preview of 200 features on 50 records: {min(took) * 1000:.0f} ms, median {median(took) * 1000:.0f} ms (limit 60 ms)")


def wide_as(features: list[dict[str, Any]]) -> int:
    """How many columns features give."""
    own = {"rating": len(RATINGS) + 1, "region": len(REGIONS)}
    return sum(own.get(feature.get("field", ""), 1) for feature in features)


if __name__ == "__main__":
    main()

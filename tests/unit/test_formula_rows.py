"""A row gives the same alone as among others, whatever the formula: the same values to the last bit, and the same errors."""

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from functools import cache
from itertools import product
from math import inf, isfinite, nan
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fieldline_core.schema import FieldType
from fieldline_mappings.formula import FUNCTIONS, Checker, FormulaError, Function, Program, Scope, Settings, Type
from fieldline_mappings.formula.functions import AGGREGATES
from fieldline_mappings.formula.functions.models import Table
from fieldline_mappings.formula.library import OPERATORS, Param
from fieldline_mappings.formula.scope import Record
from fieldline_mappings.formula.terms import CODE
from fieldline_mappings.formula.types import OF_FIELD

MANY = 10_000
CHILD: Mapping[str, FieldType] = {
    "amount": FieldType.NUMBER, "pieces": FieldType.INTEGER, "state": FieldType.TEXT, "paid": FieldType.BOOLEAN,
    "at": FieldType.DATETIME, "due": FieldType.DATE, "hour": FieldType.TIME,
}  # fmt: skip
RECORD: Record = {
    "amount": FieldType.NUMBER, "score": FieldType.NUMBER, "count": FieldType.INTEGER, "price": FieldType.DECIMAL,
    "gone": FieldType.NUMBER, "name": FieldType.TEXT, "code": FieldType.TEXT, "active": FieldType.BOOLEAN,
    "flag": FieldType.BOOLEAN, "born": FieldType.DATE, "day": FieldType.DATE, "seen": FieldType.DATETIME,
    "moment": FieldType.DATETIME, "clock": FieldType.TIME, "hour": FieldType.TIME, "orders": CHILD, "calls": CHILD,
}  # fmt: skip
ROWS = pl.Struct({
    "amount": pl.Float64, "pieces": pl.Int64, "state": pl.String, "paid": pl.Boolean, "at": pl.Datetime("us"), "due": pl.Date,
    "hour": pl.Time,
})  # fmt: skip
COLUMNS: dict[str, Any] = {
    "amount": pl.Float64, "score": pl.String, "count": pl.Int64, "price": pl.String, "name": pl.String, "code": pl.String,
    "active": pl.Boolean, "flag": pl.String, "born": pl.Date, "day": pl.String, "seen": pl.Datetime("us"), "moment": pl.String,
    "clock": pl.Time, "hour": pl.String, "orders": pl.List(ROWS), "calls": pl.String,
}  # fmt: skip
"""What is `gone` is no column; a type's second field comes as text."""
SCHEMA = pl.Schema(COLUMNS)
TABLES = {
    "grades": Table("grades", ("a", "b", "Ann"), (1.5, 2.0, -3.0)),
    "names": Table("names", (0.3, 1.0, 49.0), ("low", "one", "")),
}

NUMBERS = st.sampled_from([
    0.0, -0.0, 1.0, -1.0, 2.0, 3.0, 7.0, 10.0, 49.0, 100.0, 0.1, 0.3, -2.5, 1.005, 53.2, 1e-9, 4.35, 1e15,
    123456789012345678.0, 1e22, 1e100, 1e308, 709.7,
    1.7976931348623157e308, -1.7976931348623157e308, 5e-324, 2.2250738585072014e-308,
]) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-1000, 1000).map(lambda cents: cents / 100)  # fmt: skip
TEXTS = st.sampled_from([
    "", " ", "a", "b", "Ann", "Ann Lee;Bo", "abc abc", "a%b_c", "ß", "İi", "12", "-1.5e3", "1e999", "2024-02-29", "2024-02-30",
    "2024-02-29 17:30:00", "2024-03-31T02:30:00", "17:30:00.250", "true", "No", '{"a": [{"b": 5}], "n": null}', "$.a[0].b", "[",
    "0010000000abcde", "nan", "inf", "abc", "tr", "USD", "JPY", "100000",
]) | st.text(max_size=8)  # fmt: skip
DATES = st.dates() | st.sampled_from([date.min, date.max, date(2024, 2, 29), date(1970, 1, 1), date(2011, 12, 30)])
MOMENTS = st.datetimes() | st.sampled_from([
    *map(datetime.fromisoformat, ["0001-01-01", "9999-12-31T23:59:59.999999", "2024-03-10T07:00", "2011-12-30T12:00"]),
])  # fmt: skip
TIMES = st.times() | st.sampled_from([time.min, time.max])
COUNTS = st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 99)


def written(*kinds: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    """Values as texts, and texts that are none."""
    return st.one_of(TEXTS, *(kind.map(str) for kind in kinds))


CHILDREN = st.lists(
    st.fixed_dictionaries({
        "amount": st.none() | NUMBERS | st.sampled_from([nan, inf]), "pieces": st.none() | COUNTS, "state": st.none() | TEXTS,
        "paid": st.none() | st.booleans(), "at": st.none() | MOMENTS, "due": st.none() | DATES, "hour": st.none() | TIMES,
    }),
    max_size=4,
)  # fmt: skip
JSON_CHILDREN = st.lists(
    st.fixed_dictionaries({
        "amount": st.none() | NUMBERS | TEXTS, "pieces": st.none() | COUNTS, "state": st.none() | TEXTS,
        "paid": st.none() | st.booleans() | TEXTS, "at": written(MOMENTS), "due": written(DATES), "hour": written(TIMES),
    }),
    max_size=4,
).map(json.dumps) | st.sampled_from(["", "[]", "{}", "abc", "[1]", '[{}, {"amount": {"a": 1}}]'])  # fmt: skip
VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "amount": NUMBERS | st.sampled_from([nan, inf, -inf]), "score": written(NUMBERS), "count": COUNTS,
    "price": written(st.decimals(places=2)), "name": TEXTS, "code": TEXTS, "active": st.booleans(), "flag": written(st.booleans()),
    "born": DATES, "day": written(DATES), "seen": MOMENTS, "moment": written(MOMENTS), "clock": TIMES, "hour": written(TIMES),
    "orders": CHILDREN, "calls": JSON_CHILDREN,
}  # fmt: skip
RECORDS = st.lists(st.fixed_dictionaries({name: st.none() | values for name, values in VALUES.items()}), min_size=2, max_size=8)


def literal(value: Any) -> str:
    """A value as it is written in a formula."""
    if isinstance(value, str):
        escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
        return f'"{"".join(escapes.get(character, character) for character in value)}"'
    return f"{value:f}" if isinstance(value, float) else str(value)


LITERALS: Mapping[Type, st.SearchStrategy[str]] = {
    Type.NUMBER: NUMBERS.filter(lambda number: abs(number) < 1e20).map(literal),
    Type.TEXT: TEXTS.map(literal),
    Type.BOOLEAN: st.sampled_from(["TRUE", "FALSE"]),
    Type.DATE: DATES.map(lambda day: f"DATE({day.year}, {day.month}, {day.day})"),
    Type.DATETIME: MOMENTS.map(lambda moment: f'DATETIMEVALUE("{moment:%Y-%m-%d %H:%M:%S}")'),
    Type.TIME: TIMES.map(lambda moment: f'TIMEVALUE("{moment:%H:%M:%S}.000")'),
    Type.NULL: st.just("NULL"),
}


def choices(function: Function, count: int) -> list[tuple[Sequence[Param], tuple[Type, ...]]]:
    """The types that so many arguments of a function can have."""
    shape = function.shape(count)
    places = {param.alike or position: param.types - {Type.NULL} for position, param in enumerate(shape)}
    chosen = (dict(zip(places, types, strict=True)) for types in product(*(sorted(types) for types in places.values())))
    return [(shape, tuple(types[param.alike or position] for position, param in enumerate(shape))) for types in chosen]


@cache
def calls(result: Type) -> dict[str, list[tuple[Sequence[Param], tuple[Type, ...]]]]:
    """The functions that can give a type, each with the arguments for which it does."""
    found: dict[str, list[tuple[Sequence[Param], tuple[Type, ...]]]] = {}
    for function in FUNCTIONS.values():
        for count in filter(function.takes, range(function.least, function.least + 4)):
            for shape, types in choices(function, count):
                returns = function.returns(types) if callable(function.returns) else function.returns
                alike = (type for param, type in zip(shape, types, strict=True) if param.alike == "result")
                if (next(alike, result) if returns is None else returns) is result:
                    found.setdefault(function.name, []).append((shape, types))
    return found


def fields(record: Mapping[str, Any], type: Type, prefix: str = "") -> list[str]:
    return [prefix + name for name, kind in record.items() if isinstance(kind, FieldType) and OF_FIELD[kind] is type]


@st.composite
def formulas(draw: st.DrawFn, type: Type, depth: int, rows: str = "", constant: bool = False) -> str:
    """A formula of a type, over records or over the rows of a list; nested up to a depth."""
    if constant or depth == 0 or draw(st.integers(0, 4)) == 0:
        names = [*fields(RECORD, type), *(fields(CHILD, type, f"{rows}.") * 2 if rows else [])]
        return draw(LITERALS[type] if constant or not names else st.sampled_from(names) | LITERALS[type])
    if not rows and draw(st.integers(0, 5)) == 0:
        return draw(aggregates(type, depth))
    name = draw(st.sampled_from(sorted(calls(type))))
    shape, types = draw(st.sampled_from(calls(type)[name]))
    if name == "LOOKUP":
        table = "grades" if type is Type.NUMBER else "names"
        types = (Type.TEXT, *{"grades": (Type.TEXT, Type.NUMBER), "names": (Type.NUMBER, Type.TEXT)}[table][: len(types) - 1])
        return f'LOOKUP("{table}", {", ".join(draw(formulas(each, depth - 1, rows)) for each in types[1:])})'
    if name == "CONVERT":
        number, unit = (draw(formulas(each, depth - 1, rows)) for each in (Type.NUMBER, Type.TEXT))
        return f'CONVERT({number}, {unit}, "kg")'
    blank = draw(st.integers(0, 3 * len(types) + 1))
    args = [
        "NULL" if place == blank and not param.literal else draw(formulas(each, depth - 1, rows, param.literal))
        for place, (param, each) in enumerate(zip(shape, types, strict=True))
    ]
    if name == "NEGATE":
        return f"-({args[0]})"
    return f"({args[0]} {name} {args[1]})" if name in OPERATORS else f"{name}({', '.join(args)})"


@st.composite
def aggregates(draw: st.DrawFn, type: Type, depth: int) -> str:
    """An aggregate over one of the lists."""
    rows = draw(st.sampled_from(["orders", "calls"]))
    fitting = [each for each in AGGREGATES.values() if (each.returns or type) is type and (each.returns or type in each.takes)]
    aggregate = draw(st.sampled_from(fitting))
    value = type if aggregate.returns is None else draw(st.sampled_from(sorted(aggregate.takes)))
    args = [rows if value is Type.ROWS else f"{rows}.{draw(st.sampled_from(fields(CHILD, value)))}"]
    args += [draw(formulas(draw(st.sampled_from(sorted(aggregate.orders))), depth - 1, rows)) for _ in range(aggregate.values - 1)]
    args += [draw(formulas(Type.BOOLEAN, depth - 1, rows) | st.just("NULL"))] if draw(st.booleans()) else []
    return f"{aggregate.name}({', '.join(args)})"


def of_any_type() -> st.SearchStrategy[str]:
    return st.sampled_from(sorted(LITERALS.keys() - {Type.NULL})).flatmap(lambda type: formulas(type, 4))


def checked(texts: Sequence[str]) -> tuple[Checker, list[int]]:
    """The formulas, less those in which a NULL leaves no type to go by."""
    checker = Checker(Scope.of(RECORD), {name: (table.key_type, table.value_type) for name, table in TABLES.items()})
    roots = []
    for text in texts:
        try:
            roots.append(checker.check(text))
        except FormulaError as error:
            if error.rule != "wrong-type":
                raise
    return checker, roots


@pytest.mark.parametrize("text", ["SUM(orders.amount, MAX(orders.amount, 3) > 4)", "SUM(orders.amount, MIN(orders.amount, 5) > 3)"])
def test_max_of_several_values_in_a_row_is_that_of_the_row(text: str) -> None:
    assert len(checked([text])[1]) == 1


class Results:
    """What formulas give for frames of records."""

    def __init__(self, texts: Sequence[str], chosen: Settings) -> None:
        checker, roots = checked(texts)
        assume(roots)
        self.program = Program(checker.parts, SCHEMA, chosen)
        terms = [self.program.context("the formula").settled(self.program.term(root)) for root in roots]
        wanted = {f"value {n}": term.value for n, term in enumerate(terms)}
        wanted |= {f"error {n}": pl.lit(None, CODE) if term.error is None else term.error for n, term in enumerate(terms)}
        self.evaluate = self.program.evaluator(wanted)

    def of(self, frame: pl.DataFrame, clock: pl.Series) -> list[tuple[Any, ...]]:
        """Values and errors of each row."""
        return self.evaluate(self.program.read(frame, clock)).rows()


def check_alike(texts: Sequence[str], records: Sequence[Mapping[str, Any]], chosen: Settings, seed: int) -> None:
    results = Results(texts, chosen)
    frame = pl.DataFrame(records, schema=SCHEMA)
    clock = pl.Series([f"2024-02-29T23:0{n}:00" for n in range(frame.height)]).str.to_datetime(time_unit="us")
    alone = [results.of(frame.slice(n, 1), clock.slice(n, 1))[0] for n in range(frame.height)]
    order = np.random.default_rng(seed).integers(0, frame.height, MANY)
    for row, place in zip(results.of(frame[order], clock.gather(pl.Series(order))), order, strict=True):
        assert row == alone[place]
    for row in alone:
        for value, error in zip(row[: len(row) // 2], row[len(row) // 2 :], strict=True):
            assert value is None or error is None
            assert not isinstance(value, float) or isfinite(value)
    assert results.of(frame.clear(), clock.clear()) == []


@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    texts=st.lists(of_any_type(), min_size=1, max_size=6), records=RECORDS, zero_blanks=st.booleans(),
    zone=st.sampled_from(["UTC", "America/New_York", "Pacific/Apia", "Asia/Kathmandu"]), seed=st.integers(0, 9),
)
def test_one_row_alone_and_the_same_among_ten_thousand_give_the_same(
    texts: list[str], records: list[dict[str, Any]], zero_blanks: bool, zone: str, seed: int
) -> None:
    check_alike(texts, records, Settings(zone, zero_blanks, TABLES), seed)

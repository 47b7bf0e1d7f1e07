"""Lines of version 1, value by value: what `line` writes here without Polars is what every later version has to write again."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from itertools import chain
from struct import pack, unpack
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldline_core.batch import frame_bytes, frame_from_bytes
from fieldline_core.lines import FAR_DAYS, PARTS, header_line, leaf_hashes, row_lines

Column = tuple[str, pl.DataType, list[Any]]
"""The name, the type and the values of a column."""

# == Version 1, without Polars ====================================================================================================


def line(values: dict[str, Any], dtypes: dict[str, pl.DataType]) -> bytes:
    """A row's line: `feature.x` is the member `x` of `features`; members stand in the order of their first columns."""
    members: dict[str, Any] = {}
    for name, value in values.items():
        part, dot, member = name.partition(".")
        if dot:
            members.setdefault(PARTS[part], {})[member] = written(value, dtypes[name])
        else:
            members[name] = written(value, dtypes[name])
    whole = {name: written_object(each) if isinstance(each, dict) else each for name, each in members.items()}
    return written_object(whole).encode()


def written_object(members: dict[str, str]) -> str:
    return "{" + ",".join(f"{written_text(name)}:{value}" for name, value in members.items()) + "}"


def written(value: Any, dtype: pl.DataType) -> str:
    """A value as JSON, without any space."""
    if value is None:
        return "null"
    if isinstance(dtype, pl.Struct):
        return written_object({field.name: written(value[field.name], field.dtype) for field in dtype.fields})  # type: ignore[arg-type]
    if isinstance(dtype, pl.List | pl.Array):
        return "[" + ",".join(written(each, dtype.inner) for each in value) + "]"  # type: ignore[arg-type]
    return WRITTEN[type(dtype)](value, dtype)


def written_text(text: str) -> str:
    """A JSON string: only quotes, backslashes and control characters (below U+0020) are escaped, as shortly as JSON can."""
    short = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
    return '"' + "".join(short.get(each) or (f"\\u{ord(each):04x}" if each < " " else each) for each in text) + '"'


def written_float(value: float, shortest: str, least: int, most: int) -> str:
    """The fewest digits that mean this float and no other; plain where the first digit's power of ten is `least` to `most`.

    Numbers without a fraction end in `.0`, but not those with an exponent, which has a sign: `1e+16`. NaN and infinity are null.
    """
    if value != value or value in (float("inf"), float("-inf")):
        return "null"
    sign, digits, exponent = Decimal(shortest).as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).rstrip("0") or "0"
    power = len(digits) + exponent - 1 if value else 0
    if power > most or power < least:
        body = text[0] + ("." + text[1:] if text[1:] else "") + f"e{power:+d}"
    elif power < 0:
        body = "0." + "0" * (-power - 1) + text
    else:
        body = text[: power + 1].ljust(power + 1, "0") + "." + (text[power + 1 :] or "0")
    return "-" * sign + body


def shortest_float32(value: float) -> str:
    """The closest of the shortest decimals that become this float of 32 bits; of two that are as close, that with an even end."""
    for digits in range(9):
        nearest = Decimal(f"{value:.{digits}e}")
        last = Decimal(1).scaleb(nearest.adjusted() - digits)
        fits = [each for each in (nearest, nearest - last, nearest + last) if unpack("f", pack("f", float(each)))[0] == value]
        if fits:
            return str(min(fits, key=lambda each: abs(each - Decimal(value))))
    raise AssertionError(value)


def fraction(microseconds: int) -> str:
    """No digits, three or six."""
    return f".{microseconds:06d}".removesuffix("000") if microseconds else ""


def written_moment(at: datetime, dtype: Any) -> str:
    """ISO 8601 with a blank in the middle; where the column has a time zone, in UTC with a T and its offset."""
    if dtype.time_zone:
        at = at.astimezone(UTC)
    middle, end = ("T", "+00:00") if dtype.time_zone else (" ", "")
    return f'"{at.date().isoformat()}{middle}{at:%H:%M:%S}{fraction(at.microsecond)}{end}"'


def written_duration(span: timedelta, _: Any) -> str:
    """ISO 8601 in seconds, with as many digits as are needed."""
    microseconds = abs(span) // timedelta(microseconds=1)
    seconds = f"{microseconds // 1_000_000}.{microseconds % 1_000_000:06d}".rstrip("0").rstrip(".")
    return f'"{"-" * (span < timedelta(0))}PT{seconds}S"' if span else '"P0D"'


def quoted(write: Callable[[Any], str]) -> Callable[[Any, Any], str]:
    return lambda value, _: f'"{write(value)}"'


INTEGERS = {
    pl.Int8: 7, pl.Int16: 15, pl.Int32: 31, pl.Int64: 63, pl.UInt8: 8, pl.UInt16: 16, pl.UInt32: 32, pl.UInt64: 64,
}  # fmt: skip
WRITTEN: dict[type, Callable[[Any, Any], str]] = {
    **dict.fromkeys(INTEGERS, lambda value, _: str(value)),
    **dict.fromkeys((pl.String, pl.Categorical, pl.Enum), lambda value, _: written_text(value)),
    pl.Boolean: lambda value, _: "true" if value else "false",
    pl.Float64: lambda value, _: written_float(value, repr(value), -5, 15),
    pl.Float32: lambda value, _: written_float(value, "nan" if value - value else shortest_float32(value), -6, 12),
    pl.Decimal: lambda value, dtype: f'"{value:.{dtype.scale}f}"',
    pl.Binary: quoted(bytes.hex),
    pl.Date: quoted(date.isoformat),
    pl.Time: quoted(lambda value: f"{value:%H:%M:%S}{fraction(value.microsecond)}"),
    pl.Datetime: written_moment,
    pl.Duration: written_duration,
}

# == Any columns ==================================================================================================================

MILLISECOND = timedelta(milliseconds=1)
moment = datetime.fromisoformat
CHOICES = ["yes", "no", 'a "third"', "ü"]
NAMES = st.text(max_size=6) | st.sampled_from(['a"b', "x.y", ".", "", "^.*$", "*", "line\nbreak", "\u2028", "größe", "\\"])
MOMENTS = st.datetimes(moment("1800-01-01"), moment("2200-01-01"))
ZONES = [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/St_Johns")]


def milliseconds(at: datetime) -> datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def zoned(zone: ZoneInfo) -> tuple[pl.DataType, st.SearchStrategy[Any]]:
    return pl.Datetime("us", zone.key), MOMENTS.map(lambda at: at.replace(tzinfo=UTC).astimezone(zone))


SIMPLE: list[tuple[pl.DataType, st.SearchStrategy[Any]]] = [
    *((kind(), st.integers(-(2**bits) if kind.is_signed_integer() else 0, 2**bits - 1)) for kind, bits in INTEGERS.items()),
    (pl.String(), st.text(max_size=12)),
    (pl.Boolean(), st.booleans()),
    (pl.Float64(), st.floats()),
    (pl.Float64(), st.decimals(-(10**18), 10**18, allow_nan=False, places=3).map(float)),
    (pl.Float32(), st.floats(width=32)),
    (pl.Decimal(38, 4), st.decimals(-(10**20), 10**20, allow_nan=False, places=4)),
    (pl.Decimal(12, 0), st.integers(-(10**11), 10**11).map(Decimal)),
    (pl.Date(), st.dates()),
    (pl.Time(), st.times()),
    (pl.Datetime("us"), st.datetimes()),
    (pl.Datetime("ms"), st.datetimes().map(milliseconds)),
    (pl.Datetime("ns"), MOMENTS),
    *map(zoned, ZONES),
    (pl.Duration("us"), st.timedeltas(timedelta(-(10**7)), timedelta(10**7))),
    (pl.Duration("ms"), st.integers(-(10**12), 10**12).map(lambda number: number * MILLISECOND)),
    (pl.Binary(), st.binary(max_size=8)),
    (pl.Enum(CHOICES), st.sampled_from(CHOICES)),
    (pl.Categorical(), st.sampled_from(CHOICES)),
    (pl.Null(), st.none()),
]


@st.composite
def types(draw: st.DrawFn, depth: int = 2) -> tuple[pl.DataType, st.SearchStrategy[Any]]:
    """A type, and values of it."""
    shape = draw(st.sampled_from(["simple", "simple", "list", "array", "struct"])) if depth else "simple"
    if shape == "simple":
        dtype, values = draw(st.sampled_from(SIMPLE))
    elif shape == "struct":
        names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
        fields = {name: draw(types(depth=depth - 1)) for name in names}
        dtype = pl.Struct({name: dtype for name, (dtype, _) in fields.items()})
        values = st.fixed_dictionaries({name: values for name, (_, values) in fields.items()})
    else:
        inner, items = draw(types(depth=depth - 1))
        dtype = pl.List(inner) if shape == "list" else pl.Array(inner, 2)
        values = st.lists(items, max_size=3) if shape == "list" else st.lists(items, min_size=2, max_size=2)
    return dtype, st.none() | values


@st.composite
def columns(draw: st.DrawFn, least_rows: int = 0) -> list[Column]:
    """Columns as a batch's frame may have them: some of each part, some of none."""
    rows = draw(st.integers(least_rows, 4))
    names = st.one_of(st.sampled_from(["key", "outcome", "reason"]), st.builds("{}.{}".format, st.sampled_from([*PARTS]), NAMES))
    drawn = []
    for name in draw(st.lists(names, min_size=1, max_size=6, unique=True)):
        dtype, values = draw(types())
        drawn.append((name, dtype, draw(st.lists(values, min_size=rows, max_size=rows))))
    return drawn


def framed(drawn: list[Column]) -> pl.DataFrame:
    return pl.DataFrame([pl.Series(name, values, dtype=dtype) for name, dtype, values in drawn])


def lines_of(values: list[Any], dtype: Any) -> list[str]:
    """What becomes of the values of a column `x`."""
    return [text.decode().removeprefix('{"x":').removesuffix("}") for text in row_lines(pl.Series("x", values, dtype).to_frame())]


# == Tests ========================================================================================================================


@given(columns())
def test_a_line_is_written_as_version_1_spells_it_out(drawn: list[Column]) -> None:
    dtypes = {name: dtype for name, dtype, _ in drawn}
    rows = zip(*(values for _, _, values in drawn), strict=True)

    assert row_lines(framed(drawn)) == [line(dict(zip(dtypes, row, strict=True)), dtypes) for row in rows]


@given(columns(least_rows=1))
@settings(max_examples=30)
def test_a_row_has_the_same_line_alone_and_among_thousands(drawn: list[Column]) -> None:
    frame = framed(drawn)
    lines = row_lines(frame)
    many = pl.concat([frame] * 500, rechunk=False)

    assert [row_lines(frame.slice(row, 1)) for row in range(frame.height)] == [[each] for each in lines]
    assert row_lines(many) == lines * 500
    assert row_lines(many.rechunk().slice(frame.height * 400 - 1, 1)) == lines[-1:]


@given(columns())
@settings(max_examples=30)
def test_a_line_is_the_same_after_its_frame_was_stored(drawn: list[Column]) -> None:
    assert row_lines(frame_from_bytes(frame_bytes(framed(drawn)))) == row_lines(framed(drawn))


@given(columns())
@settings(max_examples=30)
def test_a_line_is_one_json_object_without_a_newline(drawn: list[Column]) -> None:
    for text in row_lines(framed(drawn)):
        assert b"\n" not in text
        assert isinstance(json.loads(text), dict)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_comes_back_exactly(value: float) -> None:
    (text,) = lines_of([value], pl.Float64)
    assert pack("d", json.loads(text)) == pack("d", value)


EXAMPLES: list[tuple[Any, list[Any], list[str]]] = [
    (pl.String, ['a"b\\c/', "\x00\x1f\x7f\b\t\n\f\r", "é😀\u2028", ""],
     [r'"a\"b\\c/"', '"\\u0000\\u001f\x7f\\b\\t\\n\\f\\r"', '"é😀\u2028"', '""']),
    (pl.Float64, [0.1, 1.0, -0.0, 1e15, 1e16, 1.5e300, 1e-5, 1e-6, 5e-324, 123456789.125, 2.0**-44],
     ["0.1", "1.0", "-0.0", "1000000000000000.0", "1e+16", "1.5e+300", "0.00001", "1e-6", "5e-324", "123456789.125",
      "5.684341886080802e-14"]),
    (pl.Float64, [float("nan"), float("inf"), float("-inf")], ["null"] * 3),
    (pl.Float32, [0.1, 16777216.0, 1e12, 1e13, 1e-6, 1e-7, 1e-45, float("nan")],
     ["0.1", "16777216.0", "1000000000000.0", "1e+13", "0.000001", "1e-7", "1e-45", "null"]),
    (pl.Float16, [1.5, 0.1], ["1.5", "0.099975586"]),
    (pl.Int64, [-(2**63), 0, 2**63 - 1], ["-9223372036854775808", "0", "9223372036854775807"]),
    (pl.UInt64, [2**64 - 1], ["18446744073709551615"]),
    (pl.Int128, [-(2**127)], ["-170141183460469231731687303715884105728"]),
    (pl.UInt128, [2**127], ["170141183460469231731687303715884105728"]),
    (pl.Boolean, [True, False, None], ["true", "false", "null"]),
    (pl.Decimal(10, 2), [Decimal("1.5"), Decimal("-0.05"), Decimal("0")], ['"1.50"', '"-0.05"', '"0.00"']),
    (pl.Date, [date(1, 1, 1), date(2024, 2, 29), date(9999, 12, 31)], ['"0001-01-01"', '"2024-02-29"', '"9999-12-31"']),
    (pl.Time, [time(1, 2, 3), time(1, 2, 3, 4000), time(1, 2, 3, 4)], ['"01:02:03"', '"01:02:03.004"', '"01:02:03.000004"']),
    (pl.Datetime("us"), [moment("2024-01-02 03:04:05"), moment("2024-01-02 03:04:05.000006"), moment("0001-01-01")],
     ['"2024-01-02 03:04:05"', '"2024-01-02 03:04:05.000006"', '"0001-01-01 00:00:00"']),
    (pl.Datetime("us", "Europe/Berlin"), [moment("2100-07-01 12:00:00+00:00")], ['"2100-07-01T12:00:00+00:00"']),
    (pl.Duration("us"), [timedelta(days=1, microseconds=5), timedelta(seconds=-1), timedelta(0)],
     ['"PT86400.000005S"', '"-PT1S"', '"P0D"']),
    (pl.Binary, [b"\x00\xff", b""], ['"00ff"', '""']),
    (pl.List(pl.Binary), [[b"a", None], [], None], ['["61",null]', "[]", "null"]),
    (pl.Array(pl.Float64, 2), [[1.0, None], None], ["[1.0,null]", "null"]),
    (pl.List(pl.Struct({"at": pl.Time, "no": pl.Decimal(5, 1)})), [[{"at": time(1), "no": Decimal(1)}, None], []],
     ['[{"at":"01:00:00","no":"1.0"},null]', "[]"]),
    (pl.Struct({}), [{}], ["{}"]),
    (pl.Null, [None], ["null"]),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "values", "written"), EXAMPLES, ids=lambda each: None if isinstance(each, list) else str(each))
def test_a_value_is_written_as_it_always_was(dtype: Any, values: list[Any], written: list[str]) -> None:
    assert lines_of(values, dtype) == written


@pytest.mark.parametrize(
    ("dtype", "per_day"),
    [(pl.Date(), 1), (pl.Datetime("us"), 86_400 * 10**6), (pl.Datetime("ms", "Europe/Berlin"), 86_400 * 10**3),
     (pl.Duration("ms"), 86_400 * 10**3), (pl.Duration("us"), 86_400 * 10**6)],
    ids=str,
)  # fmt: skip
def test_dates_and_times_that_are_too_far_away_are_null_and_end_nothing(dtype: pl.DataType, per_day: int) -> None:
    most, beyond = FAR_DAYS * per_day, 2**31 - 1 if dtype == pl.Date else 2**63 - 1
    physical = pl.Series([0, most, most + 1, beyond, -most, -most - 1, -beyond], dtype=pl.Int32 if dtype == pl.Date else pl.Int64)

    whole = lines_of(physical.cast(dtype), dtype)  # type: ignore[arg-type]
    lists = lines_of(physical.cast(dtype).reshape((-1, 1)).arr.to_list(), pl.List(dtype))  # type: ignore[arg-type]

    assert [text == "null" for text in whole] == [False, False, True, True, False, True, True]
    assert lists == [f"[{text}]" for text in whole]


def test_nanoseconds_are_written_where_there_are_some() -> None:
    moments = pl.Series([1, 1_000, 1_000_000, 0, 2**63 - 1])

    assert lines_of(moments.cast(pl.Datetime("ns")), pl.Datetime("ns")) == [  # type: ignore[arg-type]
        '"1970-01-01 00:00:00.000000001"', '"1970-01-01 00:00:00.000001"', '"1970-01-01 00:00:00.001"', '"1970-01-01 00:00:00"',
        '"2262-04-11 23:47:16.854775807"',
    ]  # fmt: skip


def test_a_whole_line_reads_as_the_record_it_is_of() -> None:
    frame = pl.DataFrame(
        {"key": ["7"], "source.Größe": [1.5], 'source.a"b': ["x"], "feature.x.y": [2], "output.": [None], "source.last": [True]}
    )
    assert row_lines(frame) == [
        '{"key":"7","source":{"Größe":1.5,"a\\"b":"x","last":true},"features":{"x.y":2},"outputs":{"":null}}'.encode()
    ]


def test_a_frame_without_rows_has_no_lines() -> None:
    assert row_lines(pl.DataFrame(schema={"key": pl.String, "source.a": pl.List(pl.Binary), "held.stage": pl.String})) == []


def test_a_column_of_python_objects_is_refused_and_does_not_end_the_process() -> None:
    with pytest.raises(TypeError, match="Python objects"):
        row_lines(pl.DataFrame([pl.Series("x", [object()], dtype=pl.Object)]))


def test_the_header_is_json_with_its_keys_sorted_and_no_space() -> None:
    assert header_line({"lines": 1, "flow": "größe", "detail": {"b": None, "a": [1, 2]}}) == (
        '{"detail":{"a":[1,2],"b":null},"flow":"größe","lines":1}'.encode()
    )


@given(st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.binary(max_size=20)), max_size=5))
def test_a_commitment_is_the_leaf_hash_of_salt_and_line(salted: list[tuple[bytes, bytes]]) -> None:
    salts, lines = b"".join(salt for salt, _ in salted), [text for _, text in salted]

    assert leaf_hashes(salts, lines) == [sha256(b"\x00" + bytes(chain(salt, text))).digest() for salt, text in salted]


def test_a_missing_salt_is_noticed() -> None:
    with pytest.raises(ValueError, match="longer"):
        leaf_hashes(bytes(16), [b"{}", b"{}"])

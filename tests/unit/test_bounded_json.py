"""JSON from strangers: what is accepted is what `json.loads` gives, and nothing hostile costs time or memory."""

import gzip
import json
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_connectors.bounded import Bounds, TooLarge, bounded_json, unpacked
from fieldline_core.errors import Rejected

PACKED = gzip.compress(b"{}", mtime=0)

KIB = 1024
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
NUMBERS = st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
DOCUMENTS = st.dictionaries(
    TEXTS, st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5))
)


@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 1]))
def test_a_document_is_read_as_json_reads_it(document: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    assert bounded_json(body) == json.loads(body) == document


@given(st.binary(max_size=200) | TEXTS.map(str.encode) | DOCUMENTS.map(lambda document: json.dumps(document).encode()[:-1]))
def test_any_bytes_are_read_as_json_reads_them_or_rejected(body: bytes) -> None:
    try:
        document = bounded_json(body)
    except Rejected:
        return
    assert document == json.loads(body)


@given(st.binary(max_size=60), st.data())
def test_a_broken_document_is_rejected_and_nothing_else_is_raised(noise: bytes, data: st.DataObject) -> None:
    body = b'{"a": [1, {"b": "c\\n"}, -2.5e3, true, null], "d": "\xc3\xa9"}'
    at = data.draw(st.integers(0, len(body)))
    with suppress(Rejected):
        bounded_json(body[:at] + noise + body[at:])


TOO_LARGE = {
    "bytes": b'{"a": "' + b"x" * 1024 * KIB + b'"}',
    "depth of lists": b'{"a": ' + b"[" * 32 + b"]" * 32 + b"}",
    "depth of objects": b'{"a": ' * 33 + b"1" + b"}" * 33,
    "depth without end": b"[" * 1024 * KIB,
    "keys": json.dumps(dict.fromkeys(map(str, range(10_001)))).encode(),
    "keys in many objects": json.dumps({"a": [{"b": 1, "c": 2} for _ in range(5_000)]}).encode(),
    "list": json.dumps({"a": [0] * 10_001}).encode(),
    "values": json.dumps({"a": [[0] * 11 for _ in range(9_500)]}).encode(),
    "text": json.dumps({"a": "x" * (64 * KIB + 1)}).encode(),
    "text by escapes": b'{"a": "' + b"\\u0061" * (64 * KIB + 1) + b'"}',
    "key": json.dumps({"x" * (64 * KIB + 1): 1}).encode(),
    "digits": b'{"a": ' + b"1" * 65 + b"}",
    "digits behind the point": b'{"a": 0.' + b"1" * 65 + b"}",
}


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_a_document_beyond_its_bounds_is_rejected(kind: str) -> None:
    with pytest.raises(TooLarge):
        bounded_json(TOO_LARGE[kind])


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b'"a"', b"1", b"{", b"}", b'{"a"}', b'{"a": }', b"{'a': 1}", b'{"a": 1,}', b'{"a": 1} x', b'{"a": 01}',
        b'{"a": +1}', b'{"a": .5}', b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": 1e999}', b'{"a": -1e999}',
        b'{"a": 1, "a": 1}', b'{"b": {"a": 1, "\\u0061": 2}}', b'{"a": "\\ud800"}', b'{"\\udc00": 1}', b'{"a": "\\u0000"}',
        b'{"a": "\x00"}', b'{"a": "\xff"}', b'{"a": "\xed\xa0\x80"}', b"\xef\xbb\xbf{}", '{"a": 1}'.encode("utf-16"),
        b'{"a": "\n"}', b'/* */{"a": 1}',
    ],
)  # fmt: skip
def test_what_is_not_strict_json_is_rejected(body: bytes) -> None:
    with pytest.raises(Rejected):
        bounded_json(body)


def test_what_reaches_its_bounds_exactly_is_accepted() -> None:
    bounds = Bounds(max_depth=3, max_keys=4, max_list=2, max_text=5, max_digits=20, max_values=20)
    body = b'{"a": [{"b": 12345678901234567890}, 2], "c": "12345", "d": "[[[[" }'
    assert bounded_json(body, bounds) == json.loads(body)


def test_values_are_counted_exactly() -> None:
    assert bounded_json(b'{"a": [1, 2, 3]}', Bounds(max_values=3)) == {"a": [1, 2, 3]}
    with pytest.raises(TooLarge, match="values"):
        bounded_json(b'{"a": [1, 2, 3, 4]}', Bounds(max_values=3))


def test_the_error_names_no_value() -> None:
    for body in (b'{"name": "Smith"', b'{"name": "Smith", "name": 1}', b'{"name": "Smith\\u0000"}'):
        with pytest.raises(Rejected) as caught:
            bounded_json(body)
        assert "Smith" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_packed_body_is_unpacked() -> None:
    body = b'{"a": "some text that is not packed too well"}'
    assert unpacked(gzip.compress(body), "GZIP") == body
    assert unpacked(body, "") == unpacked(body, "identity") == body


@pytest.mark.parametrize("size", [100 * KIB, 16 * 1024 * KIB, 128 * 1024 * KIB])
def test_a_gzip_bomb_is_rejected_before_it_takes_memory(size: int) -> None:
    bomb = gzip.compress(bytes(size), 1)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            unpacked(bomb, "gzip")
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * KIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"not gzip", "gzip"), (PACKED[:-3], "gzip"), (PACKED + b"more", "gzip"),
        (PACKED * 2, "gzip"), (b"", "br"), (b"{}", "deflate"), (b"{}", "gzip, gzip"),
    ],
)  # fmt: skip
def test_a_body_in_another_or_broken_packing_is_rejected(body: bytes, encoding: str) -> None:
    with pytest.raises(Rejected):
        unpacked(body, encoding)

"""JSON from strangers: bounded before it is parsed, strict while it is, and the same value as `json.loads` gives."""

import json
import math
import re
from array import array
from itertools import accumulate
from typing import Any, NoReturn

from pydantic import Field

from fieldline_connectors.inflate import gunzip
from fieldline_core.errors import Rejected
from fieldline_core.ports import Document


class Bounds(Document):
    """How large and how deep an inbound document may be."""

    max_bytes: int = Field(default=1024 * 1024, ge=1, le=64 * 1024 * 1024)
    """Largest body in bytes, packed and unpacked."""
    max_depth: int = Field(default=32, ge=1, le=200)
    """Deepest nesting of objects and lists."""
    max_keys: int = Field(default=10_000, ge=1, le=1_000_000)
    """Most keys in all objects together."""
    max_values: int = Field(default=100_000, ge=1, le=10_000_000)
    """Most values in the whole document."""
    max_list: int = Field(default=10_000, ge=1, le=1_000_000)
    """Most values in one list."""
    max_text: int = Field(default=64 * 1024, ge=1, le=16 * 1024 * 1024)
    """Longest text or key, in characters."""
    max_digits: int = Field(default=64, ge=20, le=400)
    """Longest number, in characters."""
    max_gzip_ratio: int = Field(default=20, ge=1, le=1000)
    """Most times that a packed body may grow when it is unpacked."""


class TooLarge(Rejected):
    """A document exceeds its bounds."""

    code = "too_large"


_DEFAULT = Bounds()
# The closing quote is optional and nothing backtracks: otherwise quotes that never close would cost quadratic time.
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes(1 if byte in b"[{" else 255 for byte in range(256))


def unpacked(body: bytes, encoding: str, bounds: Bounds = _DEFAULT) -> bytes:
    """The body behind a Content-Encoding of `identity` or `gzip`; raises Rejected beyond the bounds."""
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            try:
                return gunzip(body, bounds.max_bytes, bounds.max_gzip_ratio)
            except ValueError as error:
                raise TooLarge(f"the body cannot be unpacked within its bounds: {error}") from None
    raise Rejected("the body has a Content-Encoding other than gzip: send it plain or as gzip")


def bounded_json(body: bytes, bounds: Bounds = _DEFAULT) -> dict[str, Any]:
    """The JSON object in UTF-8 bytes; raises Rejected where it exceeds the bounds, is not strict JSON, or has a key twice."""
    if len(body) > bounds.max_bytes:
        raise TooLarge(f"the body has more than {bounds.max_bytes:,} bytes")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Rejected("the body is not text in UTF-8") from None
    _check_structure(body, bounds)
    try:
        document = _decoder(bounds).decode(text)
    except (ValueError, RecursionError):
        raise Rejected("the body is not JSON") from None
    if not isinstance(document, dict):
        raise Rejected("the body is not a JSON object at its top level")
    _check_values(document, bounds)
    return document


def _check_structure(body: bytes, bounds: Bounds) -> None:
    structure = _TEXT.sub(b"", body)
    if structure.count(b":") > bounds.max_keys:
        raise TooLarge(f"the body has more than {bounds.max_keys:,} keys")
    if structure.count(b",") >= bounds.max_values:
        raise TooLarge(f"the body has more than {bounds.max_values:,} values")
    steps = array("b", structure.translate(_STEPS, _NOT_BRACKETS))
    if max(accumulate(steps), default=0) > bounds.max_depth:
        raise TooLarge(f"the body nests deeper than {bounds.max_depth}")


def _check_values(document: dict[str, Any], bounds: Bounds) -> None:
    waiting: list[Any] = [document]
    while waiting:
        match waiting.pop():
            case dict() as members:
                waiting.extend(members)
                waiting.extend(members.values())
            case list() as members:
                if len(members) > bounds.max_list:
                    raise TooLarge(f"the body has a list of more than {bounds.max_list:,} values")
                waiting.extend(members)
            case str() as text:
                _check_text(text, bounds)


def _check_text(text: str, bounds: Bounds) -> None:
    if len(text) > bounds.max_text:
        raise TooLarge(f"the body has a text of more than {bounds.max_text:,} characters")
    if "\0" in text or not (text.isascii() or _is_unicode(text)):
        raise Rejected("the body has a text with a character that databases cannot store (U+0000 or half a surrogate pair)")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decoder(bounds: Bounds) -> json.JSONDecoder:
    def whole(digits: str) -> int:
        return int(_short(digits, bounds))

    def real(digits: str) -> float:
        number = float(_short(digits, bounds))
        if not math.isfinite(number):
            raise Rejected("the body has a number that is too large")
        return number

    return json.JSONDecoder(object_pairs_hook=_object, parse_int=whole, parse_float=real, parse_constant=_refuse_constant)


def _short(digits: str, bounds: Bounds) -> str:
    if len(digits) > bounds.max_digits:
        raise TooLarge(f"the body has a number of more than {bounds.max_digits} characters")
    return digits


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Rejected("the body has a key twice in one object")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise Rejected("the body has NaN or Infinity, which are not JSON")

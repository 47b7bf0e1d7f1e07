"""Values on their way into an org: how JSON and CSV write them, and when two of them are the same to Salesforce."""

import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from fieldline_connectors.salesforce.bulk_csv import NULL
from fieldline_connectors.salesforce.describe import FieldInfo
from fieldline_connectors.salesforce.records import moment
from fieldline_core.errors import Misconfigured
from fieldline_core.schema import FieldType

_NUMBERS = (FieldType.NUMBER, FieldType.INTEGER)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")


class Unfit(Exception):
    """A value that its field cannot take; the message holds no value."""


def sent(value: Any, field: FieldInfo) -> Any:
    """A value as JSON takes it; raises Unfit where the field cannot."""
    match value:
        case None | "":
            return False if field.type is FieldType.BOOLEAN else None
        case bool():
            plain: Any = value
        case float() if not math.isfinite(value):
            raise Unfit(f"the value for {field.name} is not a finite number")
        case int() | float():
            plain = value
        case datetime():
            plain = f"{value.isoformat(timespec='milliseconds')}Z"
        case date():
            plain = value.isoformat()
        case time():
            plain = f"{value.isoformat(timespec='milliseconds')}Z"
        case str() | Decimal():
            plain = str(value)
        case _:
            raise Misconfigured(f"the mapping gives a list for {field.name}, which takes one value: write a text or a number")
    return _typed(plain, field)


def _typed(plain: Any, field: FieldInfo) -> Any:
    if field.text:
        text = plain if isinstance(plain, str) else str(plain).lower() if isinstance(plain, bool) else f"{plain:.17g}"
        if field.length and len(text) > field.length:
            raise Unfit(
                f"the text is too long for {field.name}, which takes {field.length:,} characters: shorten it in the mapping"
            )
        return text
    if field.type in _NUMBERS and (isinstance(plain, bool) or (isinstance(plain, str) and not _NUMBER.fullmatch(plain))):
        raise Unfit(f"the value for {field.name} is not a number")
    if field.type is FieldType.INTEGER and isinstance(plain, float):
        if not plain.is_integer():
            raise Unfit(f"the value for {field.name} has a fraction, and the field takes whole numbers")
        return int(plain)
    return plain


def cell(value: Any) -> str:
    """A JSON value as a cell of a bulk job's CSV."""
    if value is None:
        return NULL
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def same(left: Any, right: Any, field: FieldInfo) -> bool:
    """Whether two values are the same once the field has stored them: rounded, trimmed, to the second."""
    return bool(_stored(left, field) == _stored(right, field))


def _stored(value: Any, field: FieldInfo) -> Any:
    if value in (None, ""):
        return False if field.type is FieldType.BOOLEAN else None
    try:
        return _CANONICAL.get(field.type, _text)(value, field)
    except (ValueError, InvalidOperation, TypeError):
        return value


def _number(value: Any, field: FieldInfo) -> Decimal:
    return Decimal(str(value)).quantize(Decimal(1).scaleb(-field.scale), ROUND_HALF_UP)


def _moment(value: Any, _: FieldInfo) -> datetime:
    return (value if isinstance(value, datetime) else moment(str(value))).replace(microsecond=0)


def _date(value: Any, _: FieldInfo) -> str:
    return str(value)[:10]


def _time(value: Any, _: FieldInfo) -> time:
    return value if isinstance(value, time) else time.fromisoformat(str(value).removesuffix("Z"))


def _boolean(value: Any, _: FieldInfo) -> bool:
    return value if isinstance(value, bool) else str(value).lower() in ("true", "1")


def _text(value: Any, field: FieldInfo) -> Any:
    plain = value if isinstance(value, str) else str(sent(value, field))
    text = plain.replace("\r\n", "\n").strip()
    return frozenset(text.split(";")) if field.kind == "multipicklist" else text or None


_CANONICAL: Mapping[FieldType, Any] = {
    FieldType.NUMBER: _number,
    FieldType.INTEGER: _number,
    FieldType.DATETIME: _moment,
    FieldType.DATE: _date,
    FieldType.TIME: _time,
    FieldType.BOOLEAN: _boolean,
}

"""Values in Python's types, in the JSON of V2 and V4, and as literals of an address."""

import math
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from fieldline_simulators.sap.errors import Refused, malformed
from fieldline_simulators.sap.model import Property

BARE = "\ufdd0"
"""What stands before a text that JSON is to show as a number, with all its digits."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = re.compile(r"/Date\((-?\d{1,15})([+-]\d{1,4})?\)/")
_DURATION = re.compile(r"PT(?:(\d{1,2})H)?(?:(\d{1,2})M)?(?:(\d{1,2})(?:\.(\d{1,6})\d*)?S)?")
_NUMBER = re.compile(r"[+-]?\d{1,400}(\.\d{1,400})?([eE][+-]?\d{1,3})?")
_BITS = {"Byte": (0, 255), "Int16": (-(2**15), 2**15 - 1), "Int32": (-(2**31), 2**31 - 1), "Int64": (-(2**63), 2**63 - 1)}
_AS_TEXT = ("Decimal", "Int64", "Double")


def shown(kind: Property, value: Any, *, v4: bool, exact: bool = False) -> Any:
    """A value in JSON; `exact` is V4's IEEE754Compatible, where long numbers are texts as they always are in V2."""
    if value is None:
        return None
    match kind.type:
        case "Decimal":
            text = format(value, "f")
            return text if exact or not v4 else f"{BARE}{text}"
        case "Int64":
            return str(value) if exact or not v4 else value
        case "Double":
            return value if v4 else repr(value)
        case "Guid":
            return str(value)
        case "Date":
            return value.isoformat() if v4 else f"/Date({_ms(datetime(value.year, value.month, value.day, tzinfo=UTC))})/"
        case "DateTimeOffset":
            return instant(value) if v4 else f"/Date({_ms(value)}+0000)/"
        case "TimeOfDay":
            return value.isoformat() if v4 else f"PT{value:%H}H{value:%M}M{value:%S}S"
    return value


def instant(moment: datetime) -> str:
    """A time in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def taken(kind: Property, value: Any, *, v4: bool) -> Any:
    """A value of a request's JSON; raises Refused where the property cannot hold it."""
    if value is None:
        if not kind.nullable:
            raise malformed(f"Property '{kind.name}' must not be null", kind.name)
        return None
    try:
        return checked(kind, _taken(kind, value, v4=v4))
    except (ValueError, TypeError, OverflowError, InvalidOperation):
        raise malformed(f"Property '{kind.name}' has an invalid value for type Edm.{kind.type}", kind.name) from None


def _taken(kind: Property, value: Any, *, v4: bool) -> Any:
    match kind.type:
        case "String" if isinstance(value, str):
            return value
        case "Boolean" if isinstance(value, bool):
            return value
        case "Byte" | "Int16" | "Int32" | "Int64" if _numeric(value, text=kind.type == "Int64"):
            return int(str(value))
        # V2 wants a decimal as a text; so does this V4, as numbers of JSON lose digits on their way.
        case "Decimal" if _numeric(value, text=True) and (v4 or isinstance(value, str)):
            return number(str(value))
        case "Double" if _numeric(value, text=not v4) and math.isfinite(float(value)):
            return float(value)
        case "Guid" | "Date" | "DateTimeOffset" | "TimeOfDay" if isinstance(value, str):
            return _text(kind.type, value, v4=v4)
    raise ValueError(kind.name)


def _numeric(value: Any, *, text: bool) -> bool:
    return (isinstance(value, int | float) and not isinstance(value, bool)) or (text and isinstance(value, str))


def _text(kind: str, text: str, *, v4: bool) -> Any:
    if kind == "Guid":
        return UUID(text)
    if v4:
        return parsed(kind, text)
    if kind == "TimeOfDay":
        return duration(text)
    found = _MS.fullmatch(text)
    if not found:
        raise ValueError(text)
    moment = _EPOCH + timedelta(milliseconds=int(found[1]))
    return moment.date() if kind == "Date" else moment


def parsed(kind: str, text: str) -> Any:
    """A date, a time of day or a moment, as V4 writes it."""
    if kind == "Date":
        return date.fromisoformat(text)
    if kind == "TimeOfDay":
        return _plain(time.fromisoformat(text))
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no zone")
    return moment.astimezone(UTC)


def _plain(found: time) -> time:
    if found.tzinfo is not None:
        raise ValueError("a zone")
    return found


def duration(text: str) -> time:
    """A time of day, as V2 writes it."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError(text)
    return time(int(found[1] or 0), int(found[2] or 0), int(found[3] or 0), int((found[4] or "0").ljust(6, "0")))


def number(text: str) -> Decimal:
    """An exact number; raises ValueError."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return Decimal(text)


def checked(kind: Property, value: Any) -> Any:
    """The value in the property's own precision; raises Refused where it does not fit."""
    if isinstance(value, str) and kind.length is not None and len(value) > kind.length:
        raise Refused(400, "/IWBEP/CM_MGW_RT/022", f"Property '{kind.name}' is longer than {kind.length}", kind.name)
    if kind.type in _BITS and not _BITS[kind.type][0] <= value <= _BITS[kind.type][1]:
        raise ValueError(kind.name)
    if isinstance(value, Decimal):
        return _fitted(kind, value)
    # Moments are kept to the millisecond, whatever their type promises.
    return value.replace(microsecond=value.microsecond // 1000 * 1000) if isinstance(value, datetime) else value


def _fitted(kind: Property, value: Decimal) -> Decimal:
    if value.adjusted() > 60 or value.adjusted() < -60:
        raise ValueError(kind.name)
    scale = kind.scale or 0
    if value and kind.precision is not None and value.adjusted() + 1 > kind.precision - scale:
        raise Refused(400, "/IWBEP/CM_MGW_RT/023", f"Property '{kind.name}' has more than {kind.precision} digits", kind.name)
    if kind.scale is None:
        return value
    rounded = Decimal(format(value, f".{kind.scale}f"))
    if rounded != value:
        raise Refused(400, "/IWBEP/CM_MGW_RT/024", f"Property '{kind.name}' has more than {kind.scale} decimals", kind.name)
    return rounded

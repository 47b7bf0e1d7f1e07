"""Values of one type as they stand in an address, in a body, and in a key's text: V2 and V4, both ways, decimals exact."""

import math
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from fieldline_connectors.odata.metadata import Property
from fieldline_core.schema import FieldType

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
_MS = re.compile(r"/?Date\((-?\d{1,15})([+-]\d{1,4})?\)/?")
_DURATION = re.compile(r"(-)?P(?:(\d{1,4})D)?(?:T(?:(\d{1,3})H)?(?:(\d{1,3})M)?(?:(\d{1,3})(?:\.(\d{1,12}))?S)?)?")
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_NAIVE = "Edm.DateTime"
_EXACT = Context(prec=1_000)


class Unfit(ValueError):
    """A value that a property cannot hold; its text says why, without the value."""


def read(kind: Property, value: Any, zone: str = "UTC") -> Any:
    """A value of an answer as it travels in a batch: dates and times in UTC without a zone, decimals as their exact text."""
    if value is None or (value == "" and kind.type is not FieldType.TEXT):
        return None
    try:
        return _read(kind, value, zone)
    except (ValueError, OverflowError, InvalidOperation):
        raise Unfit(f"{kind.name} holds a value that is no {kind.edm}") from None


def _read(kind: Property, value: Any, zone: str) -> Any:
    match kind.type:
        case FieldType.TEXT:
            return str(UUID(str(value))) if kind.edm == "Edm.Guid" else str(value)
        case FieldType.BOOLEAN:
            return value if isinstance(value, bool) else str(value).lower() in ("true", "1")
        case FieldType.INTEGER:
            return int(value)
        case FieldType.DECIMAL:
            return plain(Decimal(str(value)))
        case FieldType.NUMBER:
            return float(value)
        case FieldType.DATE:
            return _moment(kind, str(value), "UTC").date()
        case FieldType.TIME:
            return _time(str(value))
    return _moment(kind, str(value), zone)


def plain(number: Decimal) -> str:
    """An exact number without an exponent."""
    if not number.is_finite() or abs(number.adjusted()) > 400:
        raise ValueError("no number")
    return format(number, "f")


def _moment(kind: Property, text: str, zone: str) -> datetime:
    if found := _MS.fullmatch(text):
        # The offset only says in which zone it was written: the milliseconds are those of UTC.
        moment, naive = _EPOCH + timedelta(milliseconds=int(found[1])), kind.edm == _NAIVE
    else:
        parsed = datetime.fromisoformat(text)
        moment = parsed.astimezone(UTC).replace(tzinfo=None) if parsed.tzinfo else parsed
        naive = kind.edm == _NAIVE and parsed.tzinfo is None
    return moment.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None) if naive and zone != "UTC" else moment


def _time(text: str) -> time:
    found = _DURATION.fullmatch(text)
    if not found or found[1]:
        return time.fromisoformat(text)
    micros = int((found[6] or "0").ljust(6, "0")[:6])
    return time(int(found[3] or 0), int(found[4] or 0), int(found[5] or 0), micros)


def fitted(kind: Property, value: Any) -> Any:
    """A value of a batch in the property's own type and precision; raises Unfit where it cannot hold it."""
    if value is None:
        if not kind.nullable:
            raise Unfit(f"{kind.name} must not be empty")
        return None
    try:
        return _fitted(kind, value)
    except Unfit:
        raise
    except (ValueError, OverflowError, InvalidOperation, TypeError):
        raise Unfit(f"the value for {kind.name} is no {kind.edm}") from None


def _fitted(kind: Property, value: Any) -> Any:
    match kind.type:
        case FieldType.TEXT:
            text = str(UUID(str(value))) if kind.edm == "Edm.Guid" else _text(value)
            if kind.length is not None and len(text) > kind.length:
                raise Unfit(f"the text for {kind.name} is longer than its {kind.length} characters")
            return text
        case FieldType.BOOLEAN:
            return _boolean(value)
        case FieldType.INTEGER:
            return _integer(kind, value)
        case FieldType.DECIMAL:
            return _decimal(kind, value)
        case FieldType.NUMBER:
            number = float(value)
            if not math.isfinite(number):
                raise Unfit(f"the value for {kind.name} is not a finite number")
            return number
        case FieldType.DATE:
            return value.date() if isinstance(value, datetime) else value if isinstance(value, date) else date.fromisoformat(value)
        case FieldType.TIME:
            return value if isinstance(value, time) else time.fromisoformat(value)
    return _datetime(kind, value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "1", "1.0"):
        return True
    if str(value).lower() in ("false", "0", "0.0"):
        return False
    raise ValueError("no boolean")


def _integer(kind: Property, value: Any) -> int:
    bits = {"Edm.Byte": (0, 255), "Edm.SByte": (-128, 127), "Edm.Int16": (-(2**15), 2**15 - 1), "Edm.Int32": (-(2**31), 2**31 - 1)}
    low, high = bits.get(kind.edm, (-(2**63), 2**63 - 1))
    number = Decimal(int(value) if isinstance(value, bool) else str(value))
    if number != number.to_integral_value():
        raise Unfit(f"the value for {kind.name} has a fraction, and the property takes whole numbers")
    if not low <= number <= high:
        raise Unfit(f"the number for {kind.name} is too large for {kind.edm}")
    return int(number)


def _decimal(kind: Property, value: Any) -> Decimal:
    text = str(int(value) if isinstance(value, bool) else value)
    if not _DECIMAL.fullmatch(text):
        raise Unfit(f"the value for {kind.name} is not a {'finite ' if isinstance(value, float) else ''}number")
    number = Decimal(text)
    places = Decimal(1).scaleb(-(kind.scale or 0))
    if kind.scale is not None and number != number.quantize(places, context=_EXACT):
        # A float is as long as it happens to be and may be rounded; an exact number is what it is.
        if not isinstance(value, float):
            raise Unfit(f"the number for {kind.name} has more than {kind.scale} decimal places")
        number = number.quantize(places, context=_EXACT)
    if kind.precision is not None and number and number.adjusted() + 1 > kind.precision - (kind.scale or 0):
        raise Unfit(f"the number for {kind.name} has more than {kind.precision} digits")
    return number


def _datetime(kind: Property, value: Any) -> datetime:
    parsed = datetime.fromisoformat(value) if isinstance(value, str) else value
    moment = parsed if isinstance(parsed, datetime) else datetime(parsed.year, parsed.month, parsed.day)  # noqa: DTZ001
    moment = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    return moment


def shown(kind: Property, value: Any, zone: str, v4: bool) -> Any:
    """A fitted value as it stands in the JSON of a request."""
    match value:
        case None | bool():
            return value
        case Decimal():
            return plain(value)
        case int():
            return str(value) if kind.edm == "Edm.Int64" else value
        case float():
            return value if v4 else repr(value)
        case datetime():
            return _iso(value) if v4 else f"/Date({_milliseconds(_local(kind, value, zone))})/"
        case date():
            return value.isoformat() if v4 else f"/Date({_milliseconds(datetime(value.year, value.month, value.day))})/"  # noqa: DTZ001
        case time():
            return value.isoformat() if v4 else _duration(value)
    return value


def literal(kind: Property, value: Any, zone: str, v4: bool) -> str:
    """A fitted value as it stands in an address: in a key and in a condition."""
    if value is None:
        return "null"
    if kind.edm in ("Edm.String", "Edm.Duration"):
        return f"'{value}'" if "'" not in value else "'" + value.replace("'", "''") + "'"
    if v4:
        return _iso(value) if isinstance(value, datetime) else _bare(value)
    match kind.edm:
        case "Edm.Guid":
            return f"guid'{value}'"
        case "Edm.Decimal":
            return f"{_bare(value)}M"
        case "Edm.Int64":
            return f"{value}L"
        case "Edm.Double":
            return f"{value!r}d"
        case "Edm.Single":
            return f"{value!r}f"
        case "Edm.Time":
            return f"time'{_duration(value)}'"
        case "Edm.DateTimeOffset":
            return f"datetimeoffset'{_iso(value)}'"
        case "Edm.DateTime":
            moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001
            local = _local(kind, moment, zone) if isinstance(value, datetime) else moment
            return f"datetime'{local.isoformat()}'"
    return _bare(value)


def key_part(kind: Property, value: Any) -> str:
    """A value that was read as a part of a record's key, from which `fitted` makes the same value again."""
    return value.isoformat() if isinstance(value, date | time) else _bare(value)


def _bare(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Decimal():
            return plain(value)
        case date() | time():
            return value.isoformat()
    return str(value)


def _iso(value: datetime) -> str:
    return f"{value.isoformat()}Z"


def _local(kind: Property, value: datetime, zone: str) -> datetime:
    if kind.edm != _NAIVE or zone == "UTC":
        return value
    return value.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def _milliseconds(value: datetime) -> int:
    return (value - _EPOCH) // timedelta(milliseconds=1)


def _duration(value: time) -> str:
    fraction = f".{value.microsecond:06}".rstrip("0") if value.microsecond else ""
    return f"PT{value.hour:02}H{value.minute:02}M{value.second:02}{fraction}S"


def holds(kind: Property, held: Any, wanted: Any) -> bool:
    """Whether a property holds a fitted value, for a system that keeps times less exactly than we do."""
    if held is None or wanted is None:
        # In a system without nulls an empty text is none.
        return held in (None, "") and wanted in (None, "")
    match wanted:
        case Decimal():
            return Decimal(held) == wanted
        case float():
            return math.isclose(held, wanted, rel_tol=1e-6 if kind.edm == "Edm.Single" else 1e-15)
        case datetime():
            # Services that declare seven digits keep three all the same.
            exact = timedelta(seconds=1) if kind.precision == 0 else timedelta(milliseconds=1)
            return bool(abs(held - wanted) < exact)
        case time():
            return bool(held.replace(microsecond=0) == wanted.replace(microsecond=0))
        case str():
            return bool(held.rstrip() == wanted.rstrip())
    return bool(held == wanted)

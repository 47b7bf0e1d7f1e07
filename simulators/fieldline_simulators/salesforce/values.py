"""Values as the org keeps them: what a client sends is read, checked against its field, and brought into one form.

Times are kept as text of one length in UTC, so that they sort and compare as text.
"""

import math
import re
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from fieldline_simulators.salesforce.errors import ApiError
from fieldline_simulators.salesforce.ids import full_id, is_id
from fieldline_simulators.salesforce.schema import NUMBERS, TEXTS, Field

_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def timestamp(moment: datetime) -> str:
    """A time as answers hold it: the org keeps whole seconds, and shows milliseconds all the same."""
    return f"{moment.astimezone(UTC).isoformat(timespec='seconds')[:19]}.000+0000"


def read_time(text: str) -> datetime:
    """The moment that a text of ISO 8601 says; without an offset it is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_value(field: Field, raw: Any, *, from_csv: bool = False) -> Any:
    """The value as it is kept; raises the error that Salesforce answers where it does not fit the field."""
    if raw is None or raw == "":
        return False if field.type == "boolean" else None
    if field.type in TEXTS:
        return _text(field, raw, from_csv)
    if field.type in NUMBERS:
        return _number(field, raw, from_csv)
    reader = {"boolean": _truth, "date": _date, "datetime": _datetime, "reference": _reference}.get(field.type)
    return reader(field, raw, from_csv) if reader else raw


def _misfit(field: Field, raw: Any, from_csv: bool) -> ApiError:
    if from_csv:
        return ApiError("INVALID_TYPE_ON_FIELD_IN_RECORD", f"{field.title}: value not of required type: {raw}", [field.name])
    kind = "VALUE_STRING" if isinstance(raw, str) else "START_OBJECT" if isinstance(raw, dict | list) else "VALUE_NUMBER"
    wanted = {"currency": "double", "percent": "double", "reference": "string"}.get(field.type, field.type)
    return ApiError(
        "JSON_PARSER_ERROR",
        f"Cannot deserialize instance of {wanted} from {kind} value {raw} or request may be missing a required field at "
        "[line:1, column:2]",
    )


def _text(field: Field, raw: Any, from_csv: bool) -> str:
    if isinstance(raw, dict | list):
        raise _misfit(field, raw, from_csv)
    words = str(raw).lower() if isinstance(raw, bool) else str(raw)
    chosen = words.split(";") if field.type == "multipicklist" else [words]
    if field.restricted and not set(chosen) <= set(field.values):
        message = f"{field.title}: bad value for restricted picklist field: {words}"
        raise ApiError("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, [field.name])
    if len(words) > (field.length or 255):
        raise ApiError("STRING_TOO_LONG", f"{field.title}: data value too large: {words} (max length={field.length})", [field.name])
    if field.type == "email" and not _EMAIL.fullmatch(words):
        raise ApiError("INVALID_EMAIL_ADDRESS", f"{field.title}: invalid email address: {words}", [field.name])
    return words


def _number(field: Field, raw: Any, from_csv: bool) -> int | float:
    try:
        value = math.nan if isinstance(raw, bool) else float(raw)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or (field.type == "int" and value != int(value)):
        raise _misfit(field, raw, from_csv)
    if abs(value) >= 10 ** (field.precision - field.scale):
        raise ApiError(
            "NUMBER_OUTSIDE_VALID_RANGE", f"{field.title}: value outside of valid range on numeric field: {raw}", [field.name]
        )
    if field.type == "int":
        return int(value)
    return float(Decimal(repr(value)).quantize(Decimal(1).scaleb(-field.scale), ROUND_HALF_UP))


def _truth(field: Field, raw: Any, from_csv: bool) -> bool:
    value = raw if isinstance(raw, bool) else _TRUTHS.get(str(raw).lower())
    if value is None:
        raise _misfit(field, raw, from_csv)
    return value


def _date(field: Field, raw: Any, from_csv: bool) -> str:
    try:
        text = str(raw)
        return date.fromisoformat(text[:10] if _DATETIME.fullmatch(text) else text).isoformat()
    except ValueError:
        raise _misfit(field, raw, from_csv) from None


def _datetime(field: Field, raw: Any, from_csv: bool) -> str:
    try:
        if not _DATETIME.fullmatch(str(raw)):
            return timestamp(datetime.combine(date.fromisoformat(str(raw)), datetime.min.time(), UTC))
        return timestamp(read_time(str(raw)))
    except ValueError:
        raise _misfit(field, raw, from_csv) from None


def _reference(field: Field, raw: Any, from_csv: bool) -> str:
    if not is_id(raw):
        raise ApiError("MALFORMED_ID", f"{field.title}: id value of incorrect type: {raw}", [field.name])
    return full_id(raw)

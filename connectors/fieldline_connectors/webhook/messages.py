"""What is sent for a slice: the same bytes and the same id at every attempt."""

import base64
import math
import re
from collections.abc import Container, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx
import orjson

from fieldline_connectors.bounded import bounded_json
from fieldline_connectors.webhook.signatures import standard_signature
from fieldline_core.batch import Batch
from fieldline_core.errors import Rejected
from fieldline_core.receipts import Outcome, RowReceipt
from fieldline_core.secret import Secret

_OPTIONS = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
# Words only: a receiver that quotes a record's values back must not bring them into receipts and logs.
_WORDS = re.compile(r"[A-Za-z][A-Za-z _.,-]{0,119}")


def records(batch: Batch, left_out: Container[int] = ()) -> tuple[list[dict[str, Any]], dict[int, RowReceipt]]:
    """The rows that JSON can hold, but for those left out, and a receipt for each that it cannot hold."""
    rows: Iterable[dict[str, Any]] = batch.frame.rows(named=True) if batch.frame.width else ({} for _ in range(len(batch)))
    sendable: list[dict[str, Any]] = []
    refused: dict[int, RowReceipt] = {}
    for position, (key, fields) in enumerate(zip(batch.keys, rows, strict=True)):
        if position in left_out:
            continue
        if _finite(fields):
            sendable.append({"key": key, "fields": fields})
        else:
            refused[position] = RowReceipt(Outcome.REFUSED, "a number is not finite, which JSON cannot hold")
    return sendable, refused


def message(event: str, rows: list[dict[str, Any]]) -> bytes:
    """The body of one message; it holds no time of sending, so that a repeat is the same message."""
    return orjson.dumps({"type": event, "data": {"records": rows}}, default=_plain, option=_OPTIONS)


def message_id(effect_key: str) -> str:
    """The id by which a receiver recognises a repeat."""
    return f"fl_{effect_key}"


def headers(secrets: Iterable[Secret], effect_key: str, sent_at: datetime, body: bytes) -> dict[str, str]:
    """The headers of one attempt, signed by every secret."""
    name, timestamp = message_id(effect_key), str(int(sent_at.timestamp()))
    content = f"{name}.{timestamp}.".encode() + body
    return {
        "content-type": "application/json",
        "idempotency-key": name,
        "webhook-id": name,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(standard_signature(secret, content) for secret in secrets),
    }


def refusals(response: httpx.Response) -> Mapping[str, str]:
    """Key -> reason, of the records that an accepting receiver names in `refused`; none where it answers otherwise."""
    try:
        named = bounded_json(response.content).get("refused", ())
    except Rejected:
        return {}
    entries = [entry for entry in named if isinstance(entry, dict)] if isinstance(named, list) else []
    return {str(entry.get("key")): _in_words(entry.get("reason")) for entry in entries}


def _in_words(reason: Any) -> str:
    plain = isinstance(reason, str) and _WORDS.fullmatch(reason)
    return f"the receiver refused it: {reason}" if plain else "the receiver refused it"


def _finite(value: Any) -> bool:
    match value:
        case float():
            return math.isfinite(value)
        case dict():
            return all(map(_finite, value.values()))
        case list():
            return all(map(_finite, value))
    return True


def _plain(value: Any) -> str:
    match value:
        case Decimal():
            return format(value, "f")
        case bytes():
            return base64.b64encode(value).decode()
    raise TypeError(f"a webhook cannot hold a {type(value).__name__}")

"""What a service's refusal means, from bodies of V2, V4, XML, plain text and HTML: one sentence, without values of a record.

Messages of SAP name records ("Material 4711 is locked by MILLER"), so what stands in quotes or holds a digit is left out,
and so are the values of the row in question.
"""

import html
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import ParseError

import httpx
import orjson
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from fieldline_connectors.http import answer, reason, wait_asked
from fieldline_connectors.masking import MASK, joined, without
from fieldline_core.errors import FieldlineError, Misconfigured, Rejected, Unavailable

_LONGEST = 300
_MOST_BODY = 256 * 1024
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|„[^“”]*[“”]|“[^”]*”|«[^»]*»")
_HOLDS_A_VALUE = re.compile(r"\S*[\d@]\S*")
_BY_SOMEBODY = re.compile(r"\b(by|durch|von|user|Benutzer) (?!the |a |an |den |die |das |another |anderen )\S+", re.IGNORECASE)
_LITERAL = re.compile(r"'((?:[^']|'')*)'")
_IN_JSON = re.compile(r':\s*"([^"\\]{2,200})"')
_TAGS = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]{0,2000}>", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]{0,200}>(.{0,500}?)</title>", re.DOTALL | re.IGNORECASE)
_LOCKED = re.compile(r"\block(ed)?\b|\bgesperrt\b|deadlock|being processed by|wird .*bearbeitet", re.IGNORECASE)
BUSY_STATUS = (408, 425, 429, 502, 503, 504)
"""Statuses that say something of the service, and may be others a little later."""
_LOCKED_STATUS = 423
_THROTTLED: Mapping[str, str] = {
    "0x80072322": "more than 6,000 requests in five minutes",
    "0x80072321": "more than 20 minutes of computing in five minutes",
    "0x80072326": "more than 52 requests at once",
}
"""Dataverse's codes of its service protection limits."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One refusal: the service's code, and its words as it wrote them (not to be shown)."""

    status: int
    code: str
    words: str

    @property
    def busy(self) -> bool:
        """Whether it may work a little later: a lock, a limit, a gateway."""
        return self.status in (*BUSY_STATUS, _LOCKED_STATUS) or bool(_LOCKED.search(self.words))

    def sentence(self, values: Collection[str] = ()) -> str:
        """Why, in one sentence without a value of a record, with status and code at the end."""
        words = masked(self.words, values) or "the service gives no reason"
        code = re.sub(r"[^\w/.:-]", "", self.code)[:60]
        return f"{words} [{self.status}{' ' + code if code else ''}]"


def fault(status: int, content_type: str, body: bytes) -> Fault:
    """The refusal in a body of whatever kind."""
    text = body[:_MOST_BODY].decode("utf-8", "replace").strip()
    found = _from_json(text) if text.startswith("{") else _from_xml(text) if text.startswith("<") else None
    if found is None:
        looks_html = "html" in content_type.lower() or text[:200].lower().lstrip("\ufeff").startswith(("<!doctype", "<html"))
        found = ("", _from_html(text) if looks_html else text)
    return Fault(status, found[0], " ".join(found[1].split())[:2_000])


def masked(words: str, values: Collection[str] = ()) -> str:
    """The words without what may be a value of a record, in one line."""
    words = _HOLDS_A_VALUE.sub(MASK, _QUOTED.sub(MASK, without(words, values)))
    return joined(_BY_SOMEBODY.sub(rf"\1 {MASK}", words)).strip(" .;:")[:_LONGEST]


def _from_json(text: str) -> tuple[str, str] | None:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    error = document.get("error", document.get("odata.error")) if isinstance(document, dict) else None
    if not isinstance(error, Mapping):
        return None
    words = list(dict.fromkeys(filter(None, (_message(error), *map(_message, _details(error))))))
    # The outer sentence of SAP is often just "An exception occurred": the inner ones say which.
    return str(error.get("code") or ""), "; ".join(words[:4])


def _details(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    inner = error.get("innererror")
    lists = (error.get("details"), inner.get("errordetails") if isinstance(inner, Mapping) else None)
    for found in lists:
        for entry in found if isinstance(found, list) else ():
            if isinstance(entry, Mapping) and entry.get("severity", "error") in ("error", "abort"):
                yield entry


def _message(entry: Mapping[str, Any]) -> str:
    message = entry.get("message")
    text = message.get("value") if isinstance(message, Mapping) else message
    return text.strip() if isinstance(text, str) else ""


def _from_xml(text: str) -> tuple[str, str] | None:
    try:
        root = fromstring(text, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError):
        return None
    if root.tag.rpartition("}")[2] != "error":
        return None
    texts: dict[str, list[str]] = {}
    for element in root.iter():
        texts.setdefault(element.tag.rpartition("}")[2], []).append((element.text or "").strip())
    words = list(dict.fromkeys(filter(None, texts.get("message", []))))
    return texts.get("code", [""])[0], "; ".join(words[:4])


def _from_html(text: str) -> str:
    title = _TITLE.search(text)
    return html.unescape(_TAGS.sub(" ", title[1] if title else text))


def fault_of(response: httpx.Response) -> Fault:
    """The refusal in an answer."""
    return fault(response.status_code, response.headers.get("content-type", ""), response.content)


def _asked(request: httpx.Request) -> list[str]:
    """The values in a request: those in its address, as keys and conditions write them, and those of its body."""
    address = unquote(request.url.raw_path.decode("ascii", "replace"))
    body = request.content[:_MOST_BODY].decode("utf-8", "replace")
    return [*(value.replace("''", "'") for value in _LITERAL.findall(address)), *_IN_JSON.findall(body)]


def translated(response: httpx.Response, place: str, *, reading: bool, values: Collection[str] = ()) -> FieldlineError:
    """The error that a refused request as a whole means; what was refused while reading is for a person to mend.

    `values` are those of a record that cannot be found in the request.
    """
    found = fault_of(response)
    said = found.sentence([*_asked(response.request), *values])
    match response.status_code:
        case 401:
            return Misconfigured(f"{place}: the service does not let us in: check the login and `sap_client`: {said}")
        case 403:
            return Misconfigured(f"{place}: the user may not do this: give it the authorisation: {said}")
        case 404 | 405 | 410:
            return Misconfigured(f"{place}: it is not there: check service_url, and that the service is active: {said}")
        case 413:
            return Misconfigured(f"{place}: the request is too large for the server: lower batch_rows, or raise its limit: {said}")
        case 429 | 503:
            words = _THROTTLED.get(found.code.lower(), "the service asks us to slow down")
            wait = wait_asked(response)
            # A server that names a time to come back has not begun; a gateway that just fails may have passed it on.
            sent = response.status_code == 503 and wait is None and not reading
            return Unavailable(f"{place}: {words}: {said}", wait, sent=sent)
        case 428:
            return Misconfigured(f"{place}: the service wants an ETag, and gave none when the record was read: {said}")
    try:
        answer(response)
    except Unavailable as error:
        return Unavailable(f"{place}: {said}", error.retry_after, sent=error.sent and not reading)
    except FieldlineError as error:
        if response.status_code < 400:
            return type(error)(f"{place}: {error}")
        return Misconfigured(f"{place}: {said}") if reading else Rejected(f"{place}: {said}")
    return Unavailable(f"{place}: {reason(response)}", sent=not reading)


def unsent(error: Unavailable) -> Unavailable:
    """The error of a question: whatever became of it, nothing was changed."""
    return type(error)(str(error), error.retry_after)


def after_others(error: FieldlineError) -> FieldlineError:
    """The error as it stands where something of the same write has arrived before it."""
    if isinstance(error, Unavailable):
        return type(error)(str(error), error.retry_after, sent=True)
    return Misconfigured(str(error), sent=True) if isinstance(error, Misconfigured) else Unavailable(str(error), sent=True)

"""Outbound messages: SOAP from a workflow or flow, which says that records have changed."""

import hmac
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import orjson
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from fieldline_connectors.bounded import TooLarge
from fieldline_connectors.salesforce.config import OutboundMessages
from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.ports import Delivery, Event, HookRequest, Reply

_SOAP = "{http://schemas.xmlsoap.org/soap/envelope/}"
_OUTBOUND = "{http://soap.sforce.com/2005/09/outbound}"
_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_ID = "{urn:sobject.enterprise.soap.sforce.com}Id"
_MOST = 100
_ACK = Reply(
    b'<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
    b'<notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack></notificationsResponse>'
    b"</soapenv:Body></soapenv:Envelope>",
    "text/xml",
)


class NotOurs(Rejected):
    """A message does not come from the org that it claims to come from."""

    code = "forged"


def delivery(request: HookRequest, settings: OutboundMessages | None) -> Delivery:
    """The events of a message; one acknowledgement covers all of them, so it goes out when all are stored."""
    if settings is None:
        raise Misconfigured("this connection takes no outbound messages: give it `outbound_messages`")
    shown = request.headers.get(settings.proxy_header, "").encode()
    if not hmac.compare_digest(shown, settings.proxy_secret.reveal().encode()):
        raise NotOurs(f"the message does not carry the header {settings.proxy_header} that the proxy sets")
    if len(request.body) > settings.max_bytes:
        raise TooLarge(f"the message has more than {settings.max_bytes:,} bytes")
    message = _parsed(request.body).find(f"{_SOAP}Body/{_OUTBOUND}notifications")
    if message is None:
        raise Rejected("the message is no outbound message of Salesforce")
    if _text(message, f"{_OUTBOUND}OrganizationId")[:15] != settings.organization_id[:15]:
        raise NotOurs("the message comes from another org than `organization_id`")
    events = {event.id: event for event in _events(message)}
    if not 1 <= len(events) <= _MOST:
        raise Rejected(f"an outbound message has 1 to {_MOST} notifications")
    return Delivery(tuple(events.values()), _ACK)


def _parsed(body: bytes) -> Element:
    try:
        root: Element = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        raise Rejected("the message is no plain XML") from None
    return root


def _events(message: Element) -> Iterator[Event]:
    """One event for each record; its values are left out, because they may be older than the record's own by now."""
    for notification in message.findall(f"{_OUTBOUND}Notification"):
        record = notification.find(f"{_OUTBOUND}sObject")
        if record is None:
            raise Rejected("a notification names no record")
        object_name = record.get(_TYPE, "").rpartition(":")[2]
        body: dict[str, Any] = {"id": _text(record, _ID), "object": object_name}
        yield Event(_text(notification, f"{_OUTBOUND}Id"), orjson.dumps(body))


def _text(element: Element, path: str) -> str:
    text = (element.findtext(path) or "").strip()
    if not text.isalnum() or not text.isascii() or len(text) not in (15, 18):
        raise Rejected(f"the message has no proper {path.rpartition('}')[2]}")
    return text

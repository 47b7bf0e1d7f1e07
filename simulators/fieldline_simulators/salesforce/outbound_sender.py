"""Sends an org's outbound messages by SOAP, one after the other, and reads their acknowledgements."""

import re
import ssl
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError
from xml.sax.saxutils import escape, quoteattr

import httpx
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from fieldline_simulators.salesforce.faults import Fault
from fieldline_simulators.salesforce.outbound import Line, Notification
from fieldline_simulators.salesforce.schema import Row

if TYPE_CHECKING:
    from fieldline_simulators.salesforce.org import Org

_VERSION = "64.0"
_SOAP = "{http://schemas.xmlsoap.org/soap/envelope/}"
_OUTBOUND = "{http://soap.sforce.com/2005/09/outbound}"
_ACK = f"{_SOAP}Body/{_OUTBOUND}notificationsResponse/{_OUTBOUND}Ack"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000\+0000")
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TIMEOUT_S = 60.0
_MOST_BYTES = 100_000
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n <soapenv:Body>\n'
    '  <notifications xmlns="http://soap.sforce.com/2005/09/outbound">\n'
)
_FOOT = "  </notifications>\n </soapenv:Body>\n</soapenv:Envelope>"


class Sender:
    """A thread that sends until it is closed."""

    def __init__(self, org: "Org", url: str) -> None:
        self._org, self._url, self._closed = org, url, False
        org.feed.on_append(self._hear)
        self._thread = threading.Thread(target=self._run, name="outbound", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; a message under way is not waited for."""
        self._closed = True
        self._org.outbound.stir()
        self._thread.join(timeout=1)

    def _hear(self) -> None:
        if self._org.outbound.lines:
            self._org.outbound.stir()

    def _run(self) -> None:
        org, outbound = self._org, self._org.outbound
        while not self._closed:
            with org.lock:
                taken, due = outbound.take(org, org.now()), outbound.next_due()
                if taken:
                    body, message = envelope(org, self._url, *taken), taken[0].message
                    faults = org.faults.of_call("POST", f"/_sim/outbound/{message.name}", message.object, "outbound")
            if taken:
                self._tell(*taken, body, faults)
            else:
                outbound.wait(max(0.0, (due - org.now()).total_seconds()) if due else None)

    def _tell(self, line: Line, batch: list[Notification], body: str, faults: list[Fault]) -> None:
        error = _lost(each for each in faults if not each.after_commit) or _post(line, body)
        error = _lost(each for each in faults if each.after_commit) or error
        with self._org.lock:
            if self._closed:
                return
            self._org.outbound.settle(line, batch, error, self._org.now())
            self._org.save()


def envelope(org: "Org", url: str, line: Line, batch: list[Notification]) -> str:
    """The message, with the records as they are now."""
    message = line.message
    facts = {
        "OrganizationId": org.org_id, "ActionId": message.action_id, "SessionId": None,
        "EnterpriseUrl": f"{url}/services/Soap/c/{_VERSION}/{org.org_id[:15]}",
        "PartnerUrl": f"{url}/services/Soap/u/{_VERSION}/{org.org_id[:15]}",
    }  # fmt: skip
    head = "".join(
        f"   <{name}>{escape(value)}</{name}>\n" if value else f'   <{name} xsi:nil="true"/>\n' for name, value in facts.items()
    )
    rows = ((each, org.row_of(each.record_id) or {"Id": each.record_id}) for each in batch)
    return _HEAD + head + "".join(_notification(each, message.object, message.fields, row) for each, row in rows) + _FOOT


def _notification(notification: Notification, object_name: str, fields: list[str], row: Row) -> str:
    told = "".join(
        f"     <sf:{name}>{escape(_text(row[name]))}</sf:{name}>\n"
        for name in dict.fromkeys(("Id", *fields))
        if row.get(name) is not None and not isinstance(row[name], dict)
    )
    kind = quoteattr(f"sf:{object_name}")
    return (
        f"   <Notification>\n    <Id>{notification.id}</Id>\n"
        f'    <sObject xsi:type={kind} xmlns:sf="urn:sobject.enterprise.soap.sforce.com">\n{told}    </sObject>\n'
        "   </Notification>\n"
    )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = _NOT_IN_XML.sub("", str(value))
    return text.removesuffix("+0000") + "Z" if _TIME.fullmatch(text) else text


def _lost(faults: Iterable[Fault]) -> str:
    """What is lost by faults, in words; empty where nothing is."""
    for fault in faults:
        if fault.kind != "slow":
            return f"fault: {fault.kind}"
        time.sleep(fault.seconds)
    return ""


def _post(line: Line, body: str) -> str:
    """Sends a message; what went wrong, in words, or nothing where it was acknowledged."""
    message = line.message
    verify = ssl.create_default_context(cadata=message.authority) if message.authority else ssl.create_default_context()
    headers = {**message.headers, "Content-Type": "text/xml; charset=utf-8", "SOAPAction": '""'}
    try:
        with httpx.Client(verify=verify, trust_env=False, timeout=_TIMEOUT_S) as client:
            answer = client.post(message.url, content=body.encode(), headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return type(error).__name__
    if answer.status_code != httpx.codes.OK:
        return f"HTTP {answer.status_code}"
    return "" if acknowledged(answer.content) else "no Ack"


def acknowledged(body: bytes) -> bool:
    """Whether an answer says that the message has arrived."""
    try:
        return (fromstring(body[:_MOST_BYTES], forbid_dtd=True).findtext(_ACK) or "").strip() == "true"
    except (ParseError, DefusedXmlException, ValueError):
        return False

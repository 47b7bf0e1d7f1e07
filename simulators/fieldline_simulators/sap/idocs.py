"""The inbound port of IDocs: XML is checked and stored, and posted only when somebody says so."""

from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from fieldline_simulators.sap.errors import Refused
from fieldline_simulators.sap.faults import Faults
from fieldline_simulators.sap.model import EntitySet, Property, Row
from fieldline_simulators.sap.store import Store
from fieldline_simulators.serving import Reply

PATHS = ("/sap/bc/idoc_xml", "/sap/bc/srt/idoc")
MOST_BYTES = 4_000_000
_MOST_CONTENT = 4_000
READY, POSTED, FAILED = "64", "53", "51"

IDOCS = EntitySet(
    "Z_IDocStatus",
    (
        Property("Docnum", label="IDoc number", length=16, nullable=False),
        Property("Status", label="Status of IDoc", length=2),
        Property("StatusText", label="Text of the status", length=200),
        Property("Mestyp", label="Message type", length=30),
        Property("Idoctp", label="Basic type", length=30),
        Property("Sndprn", label="Partner number of sender", length=10),
        Property("RefDocnum", label="Number given by the sender", length=70),
        Property("LastChangeDateTime", "DateTimeOffset", label="Changed at"),
        Property("Content", label="Beginning of the message it came in", length=_MOST_CONTENT, filterable=False),
    ),
    ("Docnum",), label="Inbound IDocs", creatable=False, updatable=False, deletable=False, changed_at="LastChangeDateTime",
)  # fmt: skip
"""What became of the IDocs that were accepted."""

_TEXTS = {
    READY: "IDoc ready to be transferred to application",
    POSTED: "Application document posted",
    FAILED: "Application document not posted",
}
_FIRST = 4_711_000


def accept(store: Store, faults: Faults, body: bytes, content_type: str, *, posted: bool) -> Reply:
    """Stores the IDocs of a document; raises Refused. Accepted is not posted: unless they are at once, they wait with status 64."""
    if "xml" not in content_type.lower():
        raise Refused(415, "E0/415", "The inbound port takes text/xml", page=True)
    controls = _controls(body)
    text = body[: 4 * _MOST_CONTENT].decode("utf-8", "replace")[:_MOST_CONTENT]
    with store.atomic():
        for control in controls:
            faults.of_record(IDOCS.name, _reference(control), "POST")
            number = _FIRST + store.count(IDOCS.name)
            store.put(IDOCS, _row(str(number).zfill(16), POSTED if posted else READY, control, text))
    page = b"<html><head><title>IDoc-XML-inbound</title></head><body>IDoc-XML-inbound ok</body></html>"
    return Reply(200, page, {"Content-Type": "text/html;charset=utf-8"})


def set_status(store: Store, number: str, status: str, text: str = "") -> Row:
    """Gives an IDoc another status, as the application does that posts it; raises Refused."""
    found = store.get(IDOCS, (number,))
    if found is None or not (status.isdecimal() and len(status) == 2):
        raise Refused(404, "E0/078", "There is no IDoc of this number, or no such status")
    with store.atomic():
        return store.put(IDOCS, {**found.row, "Status": status, "StatusText": (text or _TEXTS.get(status, ""))[:200]}).row


def _controls(body: bytes) -> list[Element]:
    if len(body) > MOST_BYTES:
        raise Refused(413, "E0/413", "The document is too large", page=True)
    try:
        root: Element = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        raise Refused(400, "E0/400", "The document is no XML that can be read", page=True) from None
    found = [control for idoc in root.iter("IDOC") for control in idoc if control.tag == "EDI_DC40"]
    if not found or not all((each.findtext("MESTYP") or "").strip() for each in found):
        raise Refused(400, "E0/160", "The document holds no IDoc with a control record (EDI_DC40) and a message type", page=True)
    return found


def _reference(control: Element) -> str:
    """The number by which the sender knows the IDoc."""
    return next((found for name in ("DOCNUM", "ARCKEY") if (found := (control.findtext(name) or "").strip())), "")[:70]


def _row(number: str, status: str, control: Element, text: str) -> Row:
    def said(name: str, length: int) -> str:
        return (control.findtext(name) or "").strip()[:length]

    row: dict[str, Any] = {
        "Docnum": number, "Status": status, "StatusText": _TEXTS[status],
        "Mestyp": said("MESTYP", 30), "Idoctp": said("IDOCTYP", 30), "Sndprn": said("SNDPRN", 10),
        "RefDocnum": _reference(control), "LastChangeDateTime": None, "Content": text,
    }  # fmt: skip
    return row

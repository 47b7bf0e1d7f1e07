"""IDocs as XML: read into a record whose segments are lists of child rows."""

from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from fieldline_connectors.bounded import Bounds, TooLarge
from fieldline_core.errors import Rejected

CONTROL = "EDI_DC40"
"""The control record of an IDoc."""


def documents_of(body: bytes, bounds: Bounds) -> list[dict[str, Any]]:
    """The IDocs in an XML document: of each its DOCNUM, the control record, and under each segment's name a list of its rows.

    A row has the fields of its segment, SEGNUM (its place) and PSGNUM (that of the segment around it, 0 for none). `first`
    has the first row of each segment, for what occurs once.
    """
    root = _parsed(body, bounds)
    if not len(root) or any(element.tag != "IDOC" for element in root):
        raise Rejected("the body is no message of IDocs: a root with the name of the type, and an element IDOC for each")
    return [_record(root.tag, idoc) for idoc in root]


def _record(message: str, idoc: Element) -> dict[str, Any]:
    control = next((element for element in idoc if element.tag == CONTROL), None)
    number = (control.findtext("DOCNUM") or "").strip() if control is not None else ""
    if control is None or not number:
        raise Rejected(f"the IDoc has no DOCNUM in its {CONTROL}")
    record: dict[str, Any] = {"DOCNUM": number, "MESSAGE": message, CONTROL: _fields(control)}
    rows: dict[str, list[dict[str, Any]]] = {}
    waiting = [(element, 0) for element in reversed(idoc) if element.tag != CONTROL]
    count = 0
    while waiting:
        segment, parent = waiting.pop()
        count += 1
        rows.setdefault(segment.tag, []).append({**_fields(segment), "SEGNUM": count, "PSGNUM": parent})
        waiting += [(inner, count) for inner in reversed(segment) if _is_segment(inner)]
    if taken := rows.keys() & {*record, "first"}:
        raise Rejected(f"the IDoc has a segment of the name {min(taken)}, which no segment can have")
    return {**record, **rows, "first": {name: found[0] for name, found in rows.items()}}


def _fields(segment: Element) -> dict[str, str]:
    return {field.tag: (field.text or "").strip() for field in segment if not _is_segment(field)}


def _is_segment(element: Element) -> bool:
    return "SEGMENT" in element.attrib or len(element) > 0


def _parsed(body: bytes, bounds: Bounds) -> Element:
    try:
        root: Element = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        raise Rejected("the body is no XML of an IDoc (a DTD or entities are not allowed)") from None
    waiting, count = [(root, 1)], 0
    while waiting:
        element, depth = waiting.pop()
        count += 1
        if depth > bounds.max_depth or count > bounds.max_values or len(element) > bounds.max_list:
            raise TooLarge("the IDoc nests deeper or has more elements than its bounds allow")
        if len(element.text or "") > bounds.max_text:
            raise TooLarge(f"the IDoc has a field of more than {bounds.max_text:,} characters")
        waiting += [(inner, depth + 1) for inner in element]
    return root

"""The template of an IDoc that is sent: its control record and segments, and where the fields of a mapping go in them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Self, TypeAlias
from xml.etree.ElementTree import Element, SubElement, tostring
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from fieldline_connectors.odata.idoc import CONTROL
from fieldline_connectors.odata.literals import Unfit, plain
from fieldline_core.ports import Document

# Lengths of EDI_DC40; the other fields of a control record are ours or SAP's to fill.
_LENGTHS: Mapping[str, int] = {
    "CIMTYP": 30, "MESTYP": 30, "MESCOD": 3, "MESFCT": 3, "STD": 1, "STDVRS": 6, "STDMES": 6, "TEST": 1, "SERIAL": 20,
    "SNDPOR": 10, "SNDPRT": 2, "SNDPFC": 2, "SNDPRN": 10, "SNDSAD": 21, "SNDLAD": 70,
    "RCVPOR": 10, "RCVPRT": 2, "RCVPFC": 2, "RCVPRN": 10, "RCVSAD": 21, "RCVLAD": 70,
}  # fmt: skip
_CONTROL_RECORD = {
    "MESTYP": "ORDERS", "SNDPOR": "FIELDLINE", "SNDPRT": "LS", "SNDPRN": "FIELDLINE", "RCVPRT": "LS", "RCVPRN": "S4CLNT100",
}  # fmt: skip
_NEEDED = ("MESTYP", "SNDPOR", "SNDPRT", "SNDPRN", "RCVPRT", "RCVPRN")
_SEGMENT = re.compile(r"(/[A-Z0-9]{1,8}/)?[A-Z][A-Z0-9_]{0,29}")
_PATH = re.compile(r"\w{1,40}\.[A-Z][A-Z0-9_]{0,29}", re.ASCII)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_ODATA = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
_MOST_SEGMENTS = 200
_SEGMENT_DATA = 1_000


def _named(name: str) -> str:
    if not _SEGMENT.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an IDoc: capitals, digits and _, such as E1EDK01 or Z1TEXT")
    return name


def _printable(text: str) -> str:
    if _CONTROLS.search(text):
        raise ValueError("a text of an IDoc holds no line break or other control character")
    return text


IdocName: TypeAlias = Annotated[str, AfterValidator(_named)]
"""The name of an IDoc type, a segment or a field, as WE60 shows it."""

IdocText: TypeAlias = Annotated[str, AfterValidator(_printable), Field(max_length=_SEGMENT_DATA)]
"""A fixed value."""


class IdocStatus(Document):
    """Where the status of an IDoc can be read by OData: a view of yours on EDIDC, since SAP ships no such service."""

    entity_set: str = Field(pattern=_ODATA)
    """Entity set of the service with one record for each IDoc."""
    reference: str = Field("ARCKEY", pattern=_ODATA)
    """Property with the ARCKEY of its control record, which can be filtered by."""
    status: str = Field("STATUS", pattern=_ODATA)
    """Property with its status, such as 53 (posted)."""
    asks: int = Field(10, ge=1, le=1_000)
    """How often the status is asked for, five seconds to a minute apart, before it is given as unknown."""


class IdocPort(Document):
    """Where SAP takes IDocs."""

    path: str = Field("/sap/bc/idoc_xml", pattern=r"^(/[A-Za-z0-9_-]{1,60}){1,8}$")
    """Path of the service (SICF) on the host of `service_url`; no CSRF token is asked of it."""
    status: IdocStatus | None = None
    """How it is seen whether an IDoc has arrived and was posted; without it that is unknown, and an IDoc may be sent twice."""


class Segment(Document):
    """One segment of each IDoc, with those below it."""

    segment: IdocName
    """Name of the segment, such as `E1EDK01`; one of a namespace is written `/ABC/Z1TEXT`."""
    name: str | None = Field(None, pattern=r"^[A-Za-z0-9_]{1,40}$")
    """What it is called in `fields` and `key`, where a segment occurs more than once."""
    values: dict[IdocName, IdocText] = Field(default_factory=dict, max_length=200)
    """Fields that are always the same."""
    lengths: dict[IdocName, int] = Field(default_factory=dict, max_length=200)
    """Longest text of a field, as WE60 shows it: what is longer is refused, because SAP may cut it."""
    segments: tuple["Segment", ...] = Field((), max_length=_MOST_SEGMENTS)
    """Segments below it, in their order."""

    @property
    def called(self) -> str:
        """Its name in `fields` and `key`."""
        return self.name or self.segment.rpartition("/")[2]

    def all(self) -> Iterator["Segment"]:
        """It, and all below it."""
        yield self
        for each in self.segments:
            yield from each.all()


class Idoc(Document):
    """What each IDoc looks like; SAP's partner profile (WE20) must know its sender."""

    type: IdocName
    """Basic type, such as `ORDERS05`."""
    control: dict[str, IdocText] = Field(examples=[_CONTROL_RECORD])
    """Fields of the control record: message type, sender and receiver. ARCKEY takes the key of the write operation."""
    segments: tuple[Segment, ...] = Field(min_length=1, max_length=_MOST_SEGMENTS)
    """Segments in their order."""
    rows_per_message: int = Field(50, ge=1, le=500)
    """Most IDocs in one message."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if missing := [name for name in _NEEDED if not self.control.get(name)]:
            raise ValueError(f"control lacks {', '.join(missing)}")
        for name, text in self.control.items():
            if name not in _LENGTHS:
                raise ValueError(f"control takes no {name}; it takes {', '.join(sorted(_LENGTHS))}")
            if len(text) > _LENGTHS[name]:
                raise ValueError(f"{name} of the control record has at most {_LENGTHS[name]} characters")
        named = self.by_name()
        if len(named) < sum(1 for _ in self._all()):
            raise ValueError("a segment occurs twice: give each a `name`, by which `fields` and `key` can tell them apart")
        if len(named) > _MOST_SEGMENTS:
            raise ValueError(f"an IDoc has at most {_MOST_SEGMENTS} segments here")
        return self

    def by_name(self) -> dict[str, Segment]:
        """The segments by what they are called."""
        return {segment.called: segment for segment in self._all()}

    def misplaced(self, places: Sequence[str]) -> list[str]:
        """The places that the template does not have, or fills already."""
        found = self.by_name()
        parts = {place: place.partition(".") for place in places if _PATH.fullmatch(place)}
        return [each for each in places if each not in parts or (at := parts[each])[0] not in found or at[2] in found[at[0]].values]

    def _all(self) -> Iterator[Segment]:
        for each in self.segments:
            yield from each.all()

    def xml(self, mark: str, client: str | None, values: Mapping[str, str]) -> bytes:
        """One IDoc with these texts in their places; raises Unfit where one is too long for its segment."""
        root = Element("IDOC", BEGIN="1")
        fields = {
            "TABNAM": CONTROL, **({"MANDT": client} if client else {}), "DIRECT": "2", "IDOCTYP": self.type, **self.control,
            "ARCKEY": mark,
        }  # fmt: skip
        _add(root, CONTROL, fields)
        for segment in self.segments:
            _grow(root, segment, values)
        written: bytes = tostring(root, encoding="utf-8")
        return written

    def message(self, idocs: Sequence[bytes]) -> bytes:
        """Some IDocs as one XML document."""
        name = _xml_name(self.type).encode()
        return b"<?xml version='1.0' encoding='utf-8'?>\n<%b>%b</%b>" % (name, b"".join(idocs), name)


def _grow(parent: Element, segment: Segment, values: Mapping[str, str]) -> None:
    own = {place.partition(".")[2]: text for place, text in values.items() if place.partition(".")[0] == segment.called}
    for name, text in own.items():
        if len(text) > (most := segment.lengths.get(name, _SEGMENT_DATA)):
            raise Unfit(f"the text for {segment.called}.{name} is longer than its {most} characters")
    fields = {**segment.values, **own}
    if sum(map(len, fields.values())) > _SEGMENT_DATA:
        raise Unfit(f"the segment {segment.called} has more than {_SEGMENT_DATA:,} characters")
    element = _add(parent, segment.segment, fields)
    for each in segment.segments:
        _grow(element, each, values)


def _add(parent: Element, name: str, fields: Mapping[str, str]) -> Element:
    element = SubElement(parent, _xml_name(name), SEGMENT="1")
    for field, text in fields.items():
        SubElement(element, _xml_name(field)).text = text
    return element


def _xml_name(name: str) -> str:
    # The slashes of a namespace stand like this in SAP's XML.
    return name.replace("/", "_-")


def text_of(place: str, value: Any, zone: str) -> str | None:
    """A value as an IDoc has it: dates as 20260504, times as 101500, true as X, false as an empty one; None where there is none."""
    match value:
        case None | "":
            return None
        case bool():
            return "X" if value else ""
        case float() | Decimal():
            return _number(place, value)
        case datetime():
            return value.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).strftime("%Y%m%d%H%M%S")
        case date():
            return value.strftime("%Y%m%d")
        case time():
            return value.strftime("%H%M%S")
    text = str(value)
    if _CONTROLS.search(text):
        raise Unfit(f"the text for {place} holds a line break or another control character: take it out in the mapping")
    return text


def _number(place: str, value: float | Decimal) -> str:
    try:
        return plain(Decimal(repr(value) if isinstance(value, float) else value))
    except (ValueError, ArithmeticError):
        raise Unfit(f"the value for {place} is not a finite number") from None

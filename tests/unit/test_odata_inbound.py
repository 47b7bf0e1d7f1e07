"""Messages of a system: IDocs become records with child rows, CloudEvents name records."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from fieldline_connectors.bounded import Bounds
from fieldline_connectors.odata import Odata, OdataConfig
from fieldline_connectors.odata.idoc import documents_of
from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.ports import HookRequest
from fieldline_core.secret import Secret

NOW = datetime(2026, 5, 4, tzinfo=UTC)
IDOC = """<IDOC BEGIN="1"><EDI_DC40 SEGMENT="1"><MANDT>100</MANDT><DOCNUM>{number}</DOCNUM><MESTYP>ORDERS</MESTYP></EDI_DC40>
<E1EDK01 SEGMENT="1"><BELNR>4500000001</BELNR><CURCY>EUR</CURCY></E1EDK01>
<E1EDP01 SEGMENT="1"><POSEX>10</POSEX><MENGE>5.000</MENGE><E1EDP19 SEGMENT="1"><IDTNR>M-1</IDTNR></E1EDP19></E1EDP01>
<E1EDP01 SEGMENT="1"><POSEX>20</POSEX><MENGE>1.000</MENGE></E1EDP01></IDOC>"""
ORDER = f"<?xml version='1.0' encoding='utf-8'?><ORDERS05>{IDOC.format(number='0000000000000471')}</ORDERS05>".encode()


def receiving(accepts: str) -> Odata:
    inbound = {"accepts": accepts, "user": "SAP", "password": Secret("the password")}
    return Odata(OdataConfig.model_validate({"service_url": "https://s4.example/api", "inbound": inbound}))


def request(body: bytes, **headers: str) -> HookRequest:
    login = "Basic " + base64.b64encode(b"SAP:the password").decode()
    return HookRequest({"authorization": login, **{name.replace("_", "-"): value for name, value in headers.items()}}, body, NOW)


def test_an_idoc_is_a_record_whose_segments_are_child_rows() -> None:
    events = receiving("idoc").receive(request(ORDER)).events
    assert [event.id for event in events] == ["100.0000000000000471"]
    record = json.loads(events[0].body)
    assert record["DOCNUM"] == "0000000000000471"
    assert record["EDI_DC40"]["MESTYP"] == "ORDERS"
    assert record["first"]["E1EDK01"]["CURCY"] == "EUR"
    first = {"POSEX": "10", "MENGE": "5.000", "SEGNUM": 2, "PSGNUM": 0}
    assert record["E1EDP01"] == [first, {"POSEX": "20", "MENGE": "1.000", "SEGNUM": 4, "PSGNUM": 0}]
    assert record["E1EDP19"] == [{"IDTNR": "M-1", "SEGNUM": 3, "PSGNUM": 2}]


def test_several_idocs_in_one_message_are_several_events() -> None:
    body = f"<ORDERS05>{IDOC.format(number='1')}{IDOC.format(number='2')}</ORDERS05>".encode()
    assert [event.id for event in receiving("idoc").receive(request(body)).events] == ["100.1", "100.2"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<ORDERS05/>", b"<ORDERS05><OTHER/></ORDERS05>", b"<ORDERS05><IDOC/></ORDERS05>", ORDER[:-20],
        b"<ORDERS05><IDOC><EDI_DC40><DOCNUM> </DOCNUM></EDI_DC40></IDOC></ORDERS05>",
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><ORDERS05>&b;</ORDERS05>',
        b'<!DOCTYPE x SYSTEM "http://169.254.169.254/"><ORDERS05/>',
        b"<ORDERS05><IDOC>" + b"<a>" * 100 + b"</a>" * 100 + b"</IDOC></ORDERS05>",
        ORDER.replace(b"E1EDK01", b"first"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_idoc_is_rejected(body: bytes) -> None:
    with pytest.raises(Rejected):
        receiving("idoc").receive(request(body))


def test_an_idoc_keeps_its_bounds() -> None:
    for bounds in (Bounds(max_values=10), Bounds(max_text=5), Bounds(max_depth=3)):
        with pytest.raises(Rejected):
            documents_of(ORDER, bounds)


EVENT: dict[str, Any] = {"specversion": "1.0", "id": "e1", "source": "/s4/100", "type": "sap.s4.BusinessPartner.Changed.v1",
                         "data": {"BusinessPartner": "4711"}}  # fmt: skip


def test_an_event_is_known_by_its_source_and_id_in_both_forms() -> None:
    whole = receiving("cloudevents").receive(request(json.dumps(EVENT).encode())).events[0]
    headers = {f"ce_{name}": str(EVENT[name]) for name in ("specversion", "id", "source", "type")}
    parted = receiving("cloudevents").receive(request(json.dumps(EVENT["data"]).encode(), **headers)).events[0]
    assert whole.id == parted.id == "/s4/100#e1"
    assert json.loads(whole.body) == json.loads(parted.body) == EVENT


@pytest.mark.parametrize("missing", ["specversion", "id", "source", "type"])
def test_an_event_without_one_of_its_attributes_is_rejected(missing: str) -> None:
    body = json.dumps({name: value for name, value in EVENT.items() if name != missing}).encode()
    with pytest.raises(Rejected, match=r"CloudEvent 1\.0"):
        receiving("cloudevents").receive(request(body))


def test_a_connection_without_inbound_takes_no_messages_and_one_without_a_secret_cannot_be_made() -> None:
    with pytest.raises(Misconfigured, match="give it `inbound`"):
        Odata(OdataConfig.model_validate({"service_url": "https://s4.example/api"})).receive(request(ORDER))
    for inbound in ({}, {"user": "SAP"}, {"user": "SAP", "password": Secret("x"), "tokens": [Secret("y" * 20)]}):
        with pytest.raises(ValidationError, match="anybody could send"):
            OdataConfig.model_validate({"service_url": "https://s4.example/api", "inbound": {"accepts": "idoc", **inbound}})

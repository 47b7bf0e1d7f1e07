"""Refusals in every form that SAP and others give them: one sentence, and no value of a record."""

import json
from typing import Any

import httpx
import pytest

from fieldline_connectors.odata.errors import fault, masked, translated
from fieldline_core.errors import Unavailable

HTML = "<!DOCTYPE html><html><head><title>Logon Error Message</title><style>b {}</style></head><p>client 999</p></html>"


def as_json(error: Any) -> bytes:
    return json.dumps({"error": error}).encode()


def test_v2_says_its_outer_and_inner_messages_once() -> None:
    words = "Tax number is wrong"
    details = [{"code": "BUP/123", "message": words, "severity": "error"}, {"message": "saved", "severity": "info"}]
    body = as_json({"code": "BUP/123", "message": {"lang": "en", "value": words}, "innererror": {"errordetails": details}})
    assert fault(400, "application/json", body).sentence() == "Tax number is wrong [400 BUP/123]"


def test_v4_says_its_message_and_details() -> None:
    details = [{"message": "Too high", "target": "planned"}]
    body = as_json({"code": "ASSERT_RANGE", "message": "Check the input", "details": details})
    assert fault(400, "application/json", body).sentence() == "Check the input; Too high [400 ASSERT_RANGE]"


def test_v2_says_it_in_xml_too() -> None:
    body = b'<error xmlns="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"><code>SY/530</code>\
<message xml:lang="en">Resource not found</message></error>'
    assert fault(404, "application/xml", body).sentence() == "Resource not found [404 SY/530]"


def test_html_is_told_by_its_title_and_text_by_itself() -> None:
    assert fault(401, "text/html", HTML.encode()).sentence() == "Logon Error Message [401]"
    assert fault(403, "text/plain", b"CSRF token validation failed\n").sentence() == "CSRF token validation failed [403]"
    assert fault(500, "", b"").sentence() == "the service gives no reason [500]"
    assert fault(500, "text/html", b"<html><script>var x=1;</script><p>Dump</p></html>").sentence() == "Dump [500]"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("Partner 4711 does not exist", "Partner … does not exist"),
        ("Value 'Miller' is not allowed", "Value … is not allowed"),
        ("Order is locked by MILLER", "Order is locked by …"),
        ("Auftrag wird von Müller bearbeitet", "Auftrag wird von … bearbeitet"),
        ("Mail zoe@example.org is wrong", "Mail … is wrong"),
        ("Zoë Miller is no partner", "… is no partner"),
        ("Locked by the user", "Locked by the user"),
    ],
)
def test_what_may_be_a_value_of_a_record_is_left_out(words: str, shown: str) -> None:
    assert masked(words, ["Zoë Miller", "x"]) == shown


def test_what_we_asked_for_or_sent_is_left_out_of_what_a_service_says_of_it() -> None:
    address = "https://s4/api/Partners?$filter=name%20eq%20'Zo%C3%AB%20O''Hara'"
    request = httpx.Request("PATCH", address, content=b'{"name": "Miller Stahlbau", "currency":"USD"}')
    words = b"Partner Hara of MILLER has the name Zo\xc3\xab; currency USD is not known to stahlbau"
    error = translated(httpx.Response(400, content=words, request=request), "s4, api", reading=False)
    assert str(error) == "s4, api: Partner … of … has the name …; currency … is not known to … [400]"


def test_values_that_the_request_does_not_show_are_left_out_where_they_are_given() -> None:
    request = httpx.Request("POST", "https://s4/sap/bc/idoc_xml", content=b"<ORDERS05/>")
    answer = httpx.Response(500, content=b"Customer Miller Ltd does not exist", request=request)
    error = translated(answer, "s4", reading=False, values=["Miller Ltd"])
    assert str(error) == "s4: Customer … does not exist [500]"


@pytest.mark.parametrize(
    ("status", "headers", "reading", "sent"),
    [(503, {}, False, True), (503, {"retry-after": "3"}, False, False), (503, {}, True, False), (429, {}, False, False)],
)
def test_a_gateway_that_names_no_time_to_come_back_may_have_passed_a_write_on(
    status: int, headers: dict[str, str], reading: bool, sent: bool
) -> None:
    answer = httpx.Response(status, headers=headers, request=httpx.Request("POST", "https://s4/api"))
    error = translated(answer, "s4", reading=reading)
    assert isinstance(error, Unavailable)
    assert error.sent is sent


def test_locks_and_limits_are_told_from_refusals() -> None:
    assert fault(400, "text/plain", b"Order 1 is locked by MILLER").busy
    assert fault(429, "text/plain", b"").busy
    assert not fault(400, "text/plain", b"The blocked stock is too high").busy


def test_a_hostile_body_is_a_sentence_like_any_other() -> None:
    for body in (b"{" * 10_000, b"<" * 10_000, b"\xff\xfe", b'<!DOCTYPE x [<!ENTITY a "a">]><error>&a;</error>', b'{"error": []}'):
        assert fault(400, "application/json", body).sentence().endswith("[400]")

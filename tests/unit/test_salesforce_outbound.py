"""Outbound messages: only what the proxy vouches for and the org has sent is taken, and nothing in it is believed but the Ids."""

import json
from datetime import UTC, datetime

import pytest
from tests.salesforce_org import MESSAGE

from fieldline_connectors.salesforce.config import OutboundMessages
from fieldline_connectors.salesforce.outbound import delivery
from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.ports import HookRequest
from fieldline_core.secret import Secret

SETTINGS = OutboundMessages(organization_id="00D000000000001", proxy_secret=Secret("proxy-secret"))


def request(body: bytes, secret: str = "proxy-secret") -> HookRequest:
    return HookRequest({"x-client-verified": secret}, body, datetime.now(UTC))


def test_each_notification_is_an_event_that_names_a_record() -> None:
    found = delivery(request(MESSAGE), SETTINGS)
    assert [(event.id, json.loads(event.body)) for event in found.events] == [
        ("04l000000000001AAA", {"id": "00Q000000000001EAA", "object": "Lead"}),
        ("04l000000000002AAA", {"id": "00Q000000000002EAA", "object": "Lead"}),
    ]
    assert found.reply is not None
    assert b"<Ack>true</Ack>" in found.reply.body
    assert found.reply.media_type == "text/xml"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"00D000000000001EAA", b"00D000000000002EAA"), (b"<Id>04l000000000001AAA</Id>", b""), (b"00Q000000000001EAA", b"../../x"),
        (b"soap.sforce.com/2005/09/outbound", b"example.com"),
        (b"<soapenv:Envelope", b"<!DOCTYPE x [<!ENTITY a 'b'>]><soapenv:Envelope"),
    ],
)  # fmt: skip
def test_what_the_org_would_not_send_is_rejected(old: bytes, new: bytes) -> None:
    with pytest.raises(Rejected):
        delivery(request(MESSAGE.replace(old, new, 1)), SETTINGS)


def test_without_the_proxys_word_nothing_is_taken() -> None:
    for secret in ("", "proxy-secre", "wrong"):
        with pytest.raises(Rejected):
            delivery(request(MESSAGE, secret), SETTINGS)
    with pytest.raises(Misconfigured, match="outbound_messages"):
        delivery(request(MESSAGE), None)

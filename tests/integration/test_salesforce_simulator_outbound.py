"""The simulated org's outbound messages, as whoever receives them sees them."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from defusedxml.ElementTree import fromstring
from tests.salesforce_calls import Calls, calls

from fieldline_simulators.salesforce import Options, running

pytestmark = pytest.mark.soak

ENVELOPE = (
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body><notificationsResponse '
    'xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>{}</Ack></notificationsResponse></soapenv:Body></soapenv:Envelope>'
)
ACK, NO_ACK = (200, ENVELOPE.format("true")), (200, ENVELOPE.format("false"))
OUTBOUND, RECORD = "{http://soap.sforce.com/2005/09/outbound}", "{urn:sobject.enterprise.soap.sforce.com}"


class Receiver(ThreadingHTTPServer):
    """Answers messages as it is told to, with an acknowledgement when it is told nothing."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, str]] = []
        self.got: SimpleQueue[tuple[dict[str, str], bytes]] = SimpleQueue()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def message(self) -> Element:
        """The next message's `notifications`."""
        return notifications(self.got.get(timeout=30)[1])


def notifications(body: bytes) -> Element:
    """What the envelope holds."""
    found: Element | None = fromstring(body).find(f".//{OUTBOUND}notifications")
    assert found is not None
    return found


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status, answer = self.server.answers.pop(0) if self.server.answers else ACK
        self.send_response(status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())
        self.server.got.put(({name.lower(): value for name, value in self.headers.items()}, body))

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def org(receiver: Receiver) -> Iterator[Calls]:
    with calls(leads=0) as made:
        define(made, receiver)
        yield made


def define(org: Calls, receiver: Receiver, **changed: Any) -> None:
    """Has the org tell of its leads; what fails is sent again only when the test says so."""
    asked = {"object": "Lead", "url": receiver.url, "fields": ["Company", "Title", "IsConverted", "CreatedDate"], "retry_s": 3600}
    assert org("PUT", "/_sim/outbound/leads", {**asked, **changed}).status_code == 204


def state(org: Calls) -> dict[str, Any]:
    """What became of the messages."""
    return dict(org("GET", "/_sim/outbound").json()[0])


def until(org: Calls, name: str, count: int) -> dict[str, Any]:
    """The state once so much has been counted."""
    while (found := state(org))[name] != count:
        pass
    return found


def ids(message: Element) -> list[str | None]:
    """The ids of the notifications."""
    return [each.findtext(f"{OUTBOUND}Id") for each in message.findall(f"{OUTBOUND}Notification")]


def records(message: Element) -> list[dict[str, str | None]]:
    """The records as the message tells them."""
    found = message.findall(f"{OUTBOUND}Notification/{OUTBOUND}sObject")
    return [{field.tag.removeprefix(RECORD): field.text for field in each} for each in found]


def test_a_change_is_told_by_soap(org: Calls, receiver: Receiver) -> None:
    define(org, receiver, headers={"x-proxy": "secret"})
    lead = org.create(Company="A & B <Ltd>")
    headers, body = receiver.got.get(timeout=30)
    assert (headers["content-type"], headers["soapaction"], headers["x-proxy"]) == ("text/xml; charset=utf-8", '""', "secret")
    message = notifications(body)
    assert message.findtext(f"{OUTBOUND}OrganizationId") == org.server.org.org_id
    assert [each.tag.removeprefix(OUTBOUND) for each in message] == [
        "OrganizationId", "ActionId", "SessionId", "EnterpriseUrl", "PartnerUrl", "Notification",
    ]  # fmt: skip
    (record,) = records(message)
    assert str(record.pop("CreatedDate")).endswith(".000Z")
    assert record == {"Id": lead, "Company": "A & B <Ltd>", "IsConverted": "false"}
    assert b'xsi:type="sf:Lead"' in body
    assert until(org, "acknowledged", 1)["waiting"] == 0
    assert "headers" not in state(org)


REFUSALS = [(500, ""), NO_ACK, (200, "<html/>"), (200, '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'), (302, "")]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_is_not_acknowledged_comes_again_with_the_values_of_then(
    org: Calls, receiver: Receiver, refusal: tuple[int, str]
) -> None:
    receiver.answers = [refusal]
    lead = org.create(Title="first")
    first = receiver.message()
    assert until(org, "failed", 1)["waiting"] == 1
    org("PATCH", f"sobjects/Lead/{lead}", {"Title": "second"})
    second = receiver.message()
    assert org("POST", "/_sim/outbound/retry", {}).json()["due"] >= 1
    again = receiver.message()
    assert (records(first)[0]["Title"], records(again)[0]["Title"]) == ("first", "second")
    assert ids(first) == ids(again) != ids(second)
    assert until(org, "acknowledged", 2)["waiting"] == 0


def test_one_acknowledgement_covers_a_hundred(org: Calls, receiver: Receiver) -> None:
    leads = [{"attributes": {"type": "Lead"}, "LastName": f"L{n}", "Company": "C"} for n in range(130)]
    org("POST", "composite/sobjects", {"allOrNone": True, "records": leads})
    sizes = [len(ids(receiver.message())) for _ in range(2)]
    assert (sizes, until(org, "acknowledged", 130)["waiting"]) == ([100, 30], 0)


def test_duplicates_have_the_same_id(org: Calls, receiver: Receiver) -> None:
    org.faults({"kind": "drop", "operation": "outbound", "after_commit": True})
    org.create()
    first = ids(receiver.message())
    until(org, "failed", 1)
    org("POST", "/_sim/outbound/retry", {})
    assert ids(receiver.message()) == first
    until(org, "acknowledged", 1)
    org("POST", "/_sim/outbound/retry", {"again": True})
    assert ids(receiver.message()) == first


def test_only_the_changes_that_were_asked_for_are_told(org: Calls, receiver: Receiver) -> None:
    define(org, receiver, kinds=["UPDATE"])
    lead = org.create()
    org.create("Account", Name="A")
    org("PATCH", f"sobjects/Lead/{lead}", {"Title": "x"})
    assert [each["Title"] for each in records(receiver.message())] == ["x"]
    assert org("PUT", "/_sim/outbound/x", {"object": "Lead", "url": "http://x", "fields": ["Nope"]}).status_code == 400
    assert org("DELETE", "/_sim/outbound/leads").status_code == 204
    assert org("GET", "/_sim/outbound").json() == []


def test_what_was_not_acknowledged_outlives_the_org(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [(503, "")]
    options = Options(leads=0, state=tmp_path / "org.db")
    with running(options) as server:
        org = Calls(server)
        define(org, receiver)
        org.create()
        first = ids(receiver.message())
        until(org, "failed", 1)
        org.http.close()
    with running(options):
        assert ids(receiver.message()) == first

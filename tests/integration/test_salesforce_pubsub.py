"""Listening to an org: what is asked of the Pub/Sub API, what is heard, and what each refusal means."""

import base64
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import pytest
from tests.salesforce_bus import ORG, TOPIC, Bus, change, serving

from fieldline_connectors.salesforce import Salesforce, SalesforceTopic, pubsub_line
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.ports import Cursor, Heard
from fieldline_simulators.certificate import make_tls_files

LEADS = SalesforceTopic(object="Lead")
IDS = [f"00Q00000000000{number}EAA" for number in range(1, 10)]
Listen = Callable[..., Iterator[Heard]]


@pytest.fixture
def bus() -> Iterator[Bus]:
    with serving() as bus:
        yield bus


@pytest.fixture
def salesforce(bus: Bus) -> Iterator[Salesforce]:
    connector = Salesforce(bus.config())
    yield connector
    connector.close()


def never() -> bool:
    return False


def keys(heard: Heard) -> list[str]:
    return [change.key for change in heard.changes]


def after(place: int, topic: str = TOPIC) -> Cursor:
    return {"topic": topic, "replay_id": base64.b64encode(place.to_bytes(8, "big")).decode()}


def test_listening_begins_now_and_each_change_is_heard_once(bus: Bus, salesforce: Salesforce) -> None:
    bus.put(change("CREATE", IDS[0]))
    feed = salesforce.listen(LEADS, None, never)
    first = next(feed)
    assert (first.changes, first.after, first.gap) == ([], after(1), False)
    bus.put(change("UPDATE", IDS[1], IDS[2]), change("UNDELETE", IDS[3]))
    second = next(feed)
    assert (keys(second), second.after) == (IDS[1:4], after(3))
    assert len({each.id for each in second.changes}) == 3


def test_every_call_carries_the_session_and_the_org(bus: Bus, salesforce: Salesforce) -> None:
    bus.put(change("CREATE", IDS[0]))
    feed = salesforce.listen(LEADS, after(0), never)
    next(feed), next(feed)
    assert [method for method, _ in bus.asked] == ["GetTopic", "Subscribe", "GetSchema"]
    for _, metadata in bus.asked:
        expected = {"accesstoken": "token-1", "instanceurl": bus.script.url, "tenantid": ORG}
        assert expected.items() <= metadata.items()


def test_more_is_asked_for_only_when_what_came_has_been_taken(bus: Bus, salesforce: Salesforce) -> None:
    bus.put(*(change("CREATE", id) for id in IDS[:4]))
    feed = salesforce.listen(LEADS, after(0), never)
    next(feed)
    assert keys(next(feed)) == IDS[:2]
    assert [fetch.num_requested for fetch in bus.fetches] == [100]
    assert keys(next(feed)) == IDS[2:4]
    assert [fetch.num_requested for fetch in bus.fetches] == [100, 2]


def test_what_we_wrote_and_what_was_deleted_only_moves_the_place_on(bus: Bus, salesforce: Salesforce) -> None:
    ours = "com/salesforce/api/rest/64.0;client=fieldline"
    bus.put(change("UPDATE", IDS[0], origin=ours), change("DELETE", IDS[1]))
    feed = salesforce.listen(LEADS, after(0), never)
    next(feed)
    assert next(feed) == Heard([], after(2))


@pytest.mark.parametrize("lost", [after(99), {"topic": TOPIC, "replay_id": "not base64"}, after(0, "/data/Other")])
def test_a_place_that_is_lost_is_a_gap_that_ends_at_the_newest_place(bus: Bus, salesforce: Salesforce, lost: Cursor) -> None:
    bus.put(change("CREATE", IDS[0]))
    feed = salesforce.listen(LEADS, lost, never)
    assert next(feed) == Heard([], after(1), gap=True)
    bus.put(change("CREATE", IDS[1]))
    assert (keys(heard := next(feed)), heard.gap) == ([IDS[1]], False)


@pytest.mark.parametrize("payload", [change("GAP_OVERFLOW", "000000000000000AAA"), change("UPDATE", "001*"), b"\xff" * 40, b""])
def test_an_event_that_names_no_records_or_cannot_be_read_is_a_gap(bus: Bus, salesforce: Salesforce, payload: bytes) -> None:
    bus.put(payload, change("CREATE", IDS[1]))
    feed = salesforce.listen(LEADS, after(0), never)
    next(feed)
    heard = next(feed)
    assert (keys(heard), heard.after, heard.gap) == ([IDS[1]], after(2), True)


def test_a_session_that_ended_is_renewed_while_listening_goes_on(bus: Bus, salesforce: Salesforce) -> None:
    bus.refuse = lambda _, metadata: (
        (grpc.StatusCode.UNAUTHENTICATED, "service.auth.error") if metadata["accesstoken"] == "token-1" else None
    )
    assert next(salesforce.listen(LEADS, after(0), never)).after == after(0)
    assert len(bus.script.logins) == 2


def test_a_session_that_is_refused_right_away_is_not_renewed_for_ever(bus: Bus, salesforce: Salesforce) -> None:
    bus.refuse = lambda method, _: (grpc.StatusCode.UNAUTHENTICATED, "service.auth.error") if method == "Subscribe" else None
    with pytest.raises(Misconfigured, match="scope api"):
        next(salesforce.listen(LEADS, None, never))
    assert len(bus.script.logins) == 2


@pytest.mark.parametrize("status", ["UNAVAILABLE", "INTERNAL", "UNKNOWN", "ABORTED"])
def test_an_org_that_is_away_is_tried_later(bus: Bus, salesforce: Salesforce, status: str) -> None:
    bus.refuse = lambda *_: (grpc.StatusCode[status], "service.unavailable")
    with pytest.raises(Unavailable) as raised:
        next(salesforce.listen(LEADS, None, never))
    assert "Jane" not in str(raised.value)


def test_a_user_who_may_not_listen_is_told_what_to_permit(bus: Bus, salesforce: Salesforce) -> None:
    bus.can_subscribe = False
    with pytest.raises(Misconfigured, match="View All Records"):
        next(salesforce.listen(LEADS, None, never))


def test_a_server_that_is_not_there_is_unavailable(bus: Bus) -> None:
    connector = Salesforce(bus.config().model_copy(update={"pubsub_url": bus.script.config(url="http://127.0.0.1:1").url}))
    with pytest.raises(Unavailable):
        next(connector.listen(LEADS, None, never))
    connector.close()


def test_listening_ends_when_it_is_told_to_while_nothing_happens(salesforce: Salesforce) -> None:
    told = Event()
    for heard in salesforce.listen(LEADS, None, told.is_set):
        assert not heard.changes
        told.set()


def test_a_connection_that_is_closed_ends_its_listening(salesforce: Salesforce) -> None:
    feed = salesforce.listen(LEADS, None, never)
    next(feed)
    salesforce.close()
    with pytest.raises(Unavailable, match="closed"):
        next(feed)


def test_a_server_that_falls_silent_is_left(salesforce: Salesforce, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub_line, "_SILENT_S", 0.0)
    with pytest.raises(Unavailable, match="silent"):
        list(salesforce.listen(LEADS, None, never))


@pytest.mark.parametrize("private", [[], [{"host": "127.0.0.1", "network": "10.0.0.0/8"}]])
def test_an_address_that_is_not_allowed_is_never_connected_to(bus: Bus, private: list[Any]) -> None:
    config = bus.config()
    allowed = bus.script.config(allow_private=private).allow_private
    url = type(config.pubsub_url)(f"https://127.0.0.1:{bus.port}")
    with pytest.raises(Misconfigured, match="not public"):
        pubsub_line.open_channel(config.model_copy(update={"allow_private": allowed, "pubsub_url": url}))
    with pytest.raises(Misconfigured, match="must begin with https"):
        pubsub_line.open_channel(config.model_copy(update={"allow_private": ()}))


def tls_bus(directory: Path, host: str) -> Any:
    files = make_tls_files(directory, (host,))
    return serving(grpc.ssl_server_credentials([(files.key.read_bytes(), files.certificate.read_bytes())]))


def over_tls(bus: Bus, ca_file: Path | None) -> Salesforce:
    private = [{"host": host, "network": "127.0.0.0/8"} for host in ("127.0.0.1", "localhost")]
    url = {"pubsub_url": type(bus.config().pubsub_url)(f"https://localhost:{bus.port}"), "ca_file": ca_file}
    return Salesforce(bus.config(allow_private=private).model_copy(update=url))


def test_the_name_in_the_certificate_counts_though_the_address_was_looked_up_before(tmp_path: Path) -> None:
    with tls_bus(tmp_path, "localhost") as bus:
        connector = over_tls(bus, tmp_path / "ca.pem")
        assert next(connector.listen(LEADS, after(0), never)).after == after(0)
        connector.close()


@pytest.mark.parametrize(("host", "trusted"), [("localhost", False), ("api.pubsub.example", True)])
def test_a_certificate_that_is_not_trusted_or_of_another_host_is_refused(tmp_path: Path, host: str, trusted: bool) -> None:
    with tls_bus(tmp_path, host) as bus:
        connector = over_tls(bus, tmp_path / "ca.pem" if trusted else None)
        with pytest.raises(Misconfigured, match="certificate"):
            next(connector.listen(LEADS, None, never))
        connector.close()


def test_a_connection_that_listens_to_nothing_loads_no_grpc() -> None:
    code = "import sys, fieldline_connectors.salesforce as s; assert not {'grpc', 'fastavro', 'google.protobuf'} & set(sys.modules)"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)

"""The simulated org's Pub/Sub API, asked by a plain gRPC client."""

import json
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.command import Command
from tests.salesforce_calls import DATA, Calls
from tests.salesforce_pubsub import CUSTOM, EARLIEST, Bus, ended, status

from fieldline_simulators.salesforce import RESTRICTED, Options, Simulator, make_tls_files, running
from fieldline_simulators.salesforce import pubsub_wire as wire
from fieldline_simulators.salesforce.pubsub_bus import replay_id

pytestmark = pytest.mark.soak

LEADS = "/data/LeadChangeEvent"
SCORES = "/event/Score_Requested__e"
_NAMES = "object url fields kinds headers authority retry_s Lead CREATE http://x GAP_UPDATE ids kind Record_Id__c"
WORDS = st.sampled_from(_NAMES.split())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner)
)
PUTS = ("/_sim/bus", "/_sim/events/A__e", "/_sim/channels/A__chn", "/_sim/outbound/a")
POSTS = ("/_sim/events/Score_Requested__e", "/_sim/gaps", "/_sim/outbound/retry", "sobjects/Score_Requested__e")
TARGETS = st.tuples(st.just("PUT"), st.sampled_from(PUTS)) | st.tuples(st.just("POST"), st.sampled_from(POSTS))
CORRUPTED = ("INVALID_ARGUMENT", "subscription.fetch.replayid.corrupted")


@pytest.fixture
def org() -> Iterator[Calls]:
    with running(Options(leads=0), pubsub_port=0) as server:
        calls = Calls(server)
        yield calls
        calls.http.close()


@pytest.fixture
def channel(org: Calls) -> Iterator[grpc.Channel]:
    assert org.server.pubsub is not None
    with grpc.insecure_channel(org.server.pubsub.endpoint) as made:
        yield made


@pytest.fixture
def bus(org: Calls, channel: grpc.Channel) -> Bus:
    return Bus(org.server, org.token, channel)


def names(bus: Bus, event: dict[str, Any], bitmaps: str) -> set[str]:
    """The fields that a list of bitmaps names, read bit by bit."""
    fields = bus.schema(event["schema_id"])["fields"]
    found = set()
    for each in event["ChangeEventHeader"][bitmaps]:
        parent, _, bits = each.rpartition("-")
        own = fields if not parent else next(kind for kind in fields[int(parent)]["type"] if isinstance(kind, dict))["fields"]
        prefix = f"{fields[int(parent)]['name']}." if parent else ""
        found |= {prefix + field["name"] for at, field in enumerate(own) if int(bits, 16) >> at & 1}
    return found


def test_a_change_is_told_with_what_changed(org: Calls, bus: Bus) -> None:
    with bus.subscribe(LEADS, EARLIEST) as stream:
        lead = org.create(LastName="Lind", Company="Alpine", Title="CEO", AnnualRevenue=12, Email="a@b.example")
        (made,) = stream.events()
        org("PATCH", f"sobjects/Lead/{lead}", {"FirstName": "Eva", "Title": None, "City": "Bern", "Rating": "Hot"})
        (changed,) = stream.events()
        org("DELETE", f"sobjects/Lead/{lead}")
        (gone,) = stream.events()
    header = made["ChangeEventHeader"]
    assert (header["entityName"], header["recordIds"], header["changeType"]) == ("Lead", [lead], "CREATE")
    assert (header["changedFields"], header["nulledFields"], header["diffFields"], made["id"]) == ([], [], [], "")
    assert (made["Company"], made["AnnualRevenue"], made["Name"]["LastName"]) == ("Alpine", 12.0, "Lind")
    assert made["CreatedDate"] == header["commitTimestamp"] // 1000 * 1000
    assert names(bus, changed, "changedFields") >= {"Name.FirstName", "Address.City", "Title", "Rating", "LastModifiedDate"}
    assert names(bus, changed, "nulledFields") == {"Title"}
    assert (changed["Company"], changed["Name"]["FirstName"], changed["Name"]["LastName"]) == (None, "Eva", None)
    assert (gone["ChangeEventHeader"]["changeType"], gone["Company"]) == ("DELETE", None)
    assert made["replay_id"] < changed["replay_id"] < gone["replay_id"]


def test_the_origin_of_a_change_names_its_client(org: Calls, bus: Bus) -> None:
    with bus.subscribe(LEADS, EARLIEST) as stream:
        org("POST", "sobjects/Lead", {"LastName": "L", "Company": "C"}, sforce_call_options="client=fieldline")
        (event,) = stream.events()
    assert event["ChangeEventHeader"]["changeOrigin"] == "com/salesforce/api/rest/64.0;client=fieldline"


def test_changes_of_one_transaction_are_told_as_one(org: Calls, bus: Bus) -> None:
    leads = [{"attributes": {"type": "Lead"}, "LastName": f"L{n}", "Company": "C"} for n in range(3)]
    with bus.subscribe(LEADS, EARLIEST) as stream:
        org("POST", "composite/sobjects", {"allOrNone": True, "records": leads})
        headers = [each["ChangeEventHeader"] for each in stream.events(3)]
    assert len({header["transactionKey"] for header in headers}) == len({header["commitNumber"] for header in headers}) == 1
    assert [header["sequenceNumber"] for header in headers] == [1, 2, 3]


def test_records_that_change_alike_in_one_transaction_are_told_in_one_event(org: Calls, bus: Bus) -> None:
    ids = [org.create() for _ in range(3)]
    titles = zip(ids, ("same", "same", "other"), strict=True)
    records = [{"attributes": {"type": "Lead"}, "id": each, "Title": title} for each, title in titles]
    with bus.subscribe(LEADS, EARLIEST) as stream:
        stream.events(3)
        org("PATCH", "composite/sobjects", {"allOrNone": True, "records": records})
        both, other = stream.events(2)
    assert (both["ChangeEventHeader"]["recordIds"], other["ChangeEventHeader"]["recordIds"]) == (ids[:2], ids[2:])


def test_no_more_events_come_than_were_asked_for(org: Calls, bus: Bus) -> None:
    for _ in range(5):
        org.create()
    with bus.subscribe(LEADS, EARLIEST, count=2) as stream:
        first = stream.response()
        assert (len(first.events), first.pending_num_requested) == (2, 0)
        stream.more(200)
        second = stream.response()
        assert (len(second.events), second.pending_num_requested) == (3, 97)
        org("PUT", "/_sim/bus", {"keepalive_s": 0.01})
        stream.more(50)
        while (pending := stream.response().pending_num_requested) == 97:
            pass
        assert pending == 100


def test_a_subscription_goes_on_behind_a_replay_id(org: Calls, bus: Bus) -> None:
    ids = [org.create() for _ in range(4)]
    with bus.subscribe(LEADS, EARLIEST) as stream:
        events = stream.events(4)
    assert [each["ChangeEventHeader"]["recordIds"] for each in events] == [[each] for each in ids]
    with bus.subscribe(LEADS, CUSTOM, events[1]["replay_id"]) as stream:
        assert [each["replay_id"] for each in stream.events(2)] == [each["replay_id"] for each in events[2:]]
    with bus.subscribe(LEADS, CUSTOM, events[1]["replay_id"][:8]) as stream:
        assert len(stream.events(2)) == 2


def test_a_stream_of_what_is_new_gives_signs_of_life_until_there_is_something(org: Calls, bus: Bus) -> None:
    org("PUT", "/_sim/bus", {"keepalive_s": 0.01})
    org.create("Account", Name="Other")
    with bus.subscribe(LEADS) as stream:
        alive = stream.response()
        assert (len(alive.events), alive.latest_replay_id) == (0, replay_id(org.server.org.feed.latest))
        assert alive.pending_num_requested == 10
        lead = org.create()
        assert stream.events()[0]["ChangeEventHeader"]["recordIds"] == [lead]


def test_a_replay_id_that_is_none_or_too_old_is_refused(org: Calls, bus: Bus) -> None:
    for _ in range(3):
        org.create()
    with bus.subscribe(LEADS, EARLIEST) as stream:
        old, _, new = [each["replay_id"] for each in stream.events(3)]
    latest = org.server.org.feed.latest
    assert org("POST", "/_sim/changes/forget", {"until": latest - 1}).status_code == 204
    assert bus.refused(LEADS, CUSTOM, old) == CORRUPTED
    assert bus.refused(LEADS, CUSTOM, b"\xff" * 8) == CORRUPTED
    assert bus.refused(LEADS, CUSTOM, b"no") == CORRUPTED
    assert bus.refused(LEADS, CUSTOM) == ("INVALID_ARGUMENT", "subscription.fetch.replayid.validation.failed")
    with bus.subscribe(LEADS, EARLIEST) as stream:
        assert [each["replay_id"] for each in stream.events()] == [new]


def test_what_makes_no_sense_is_refused(org: Calls, bus: Bus) -> None:
    assert bus.refused(LEADS, count=0) == ("INVALID_ARGUMENT", "subscription.fetch.requested.events.invalid")
    assert bus.refused("/data/NopeChangeEvent")[0] == bus.refused("nonsense")[0] == "NOT_FOUND"
    with bus.subscribe(LEADS) as stream:
        stream.more(1, "/data/AccountChangeEvent")
        assert ended(stream)[0] == "INVALID_ARGUMENT"
    with pytest.raises(grpc.RpcError) as refused:
        bus.schema("nope")
    assert status(refused.value)[0] == "NOT_FOUND"


@pytest.mark.parametrize("wrong", [{"accesstoken": "no"}, {"tenantid": "00D000000000009"}, {"instanceurl": ""}])
def test_a_call_without_a_session_is_refused(org: Calls, channel: grpc.Channel, wrong: dict[str, str]) -> None:
    stranger = Bus(org.server, org.token, channel, **wrong)
    assert stranger.refused(LEADS) == ("UNAUTHENTICATED", "service.auth.error")
    with pytest.raises(grpc.RpcError) as refused:
        stranger.topic(LEADS)
    assert status(refused.value) == ("UNAUTHENTICATED", "service.auth.error")


def test_a_session_that_ends_ends_its_streams(org: Calls, bus: Bus) -> None:
    with bus.subscribe(LEADS, EARLIEST) as stream:
        org.create()
        stream.events()
        org("DELETE", "/_sim/sessions")
        stream.more(1)
        assert ended(stream) == ("UNAUTHENTICATED", "service.auth.error")


def test_a_field_that_the_user_must_not_see_is_not_told(org: Calls, channel: grpc.Channel) -> None:
    org("PUT", f"/_sim/users/{RESTRICTED}/access", {"fields": {"Lead.Title": "hidden"}})
    restricted = Calls(org.server, RESTRICTED)
    bus = Bus(org.server, restricted.token, channel)
    with bus.subscribe(LEADS, EARLIEST) as stream:
        lead = org.create(Title="CEO")
        org("PATCH", f"sobjects/Lead/{lead}", {"Title": "CTO"})
        events = stream.events(2)
    restricted.http.close()
    assert [each["Title"] for each in events] == [None, None]
    assert names(bus, events[1], "changedFields") <= {"LastModifiedDate", "LastModifiedById"}


def test_gaps_name_the_records_and_nothing_else(org: Calls, bus: Bus) -> None:
    lead = org.create()
    with bus.subscribe(LEADS, EARLIEST) as stream:
        stream.events()
        org("POST", "/_sim/gaps", {"object": "Lead", "kind": "GAP_UPDATE", "ids": [lead, "00Q*"]})
        (gap,) = stream.events()
        org("POST", "/_sim/gaps", {"object": "Lead", "kind": "GAP_OVERFLOW"})
        (overflow,) = stream.events()
    assert (gap["ChangeEventHeader"]["changeType"], gap["ChangeEventHeader"]["recordIds"]) == ("GAP_UPDATE", [lead, "00Q*"])
    assert (gap["Company"], overflow["ChangeEventHeader"]["recordIds"]) == (None, ["000000000000000AAA"])
    assert org("POST", "/_sim/gaps", {"object": "Lead", "kind": "UPDATE", "ids": [lead]}).status_code == 400


def test_a_platform_event_goes_from_its_publisher_to_its_subscriber(org: Calls, bus: Bus) -> None:
    with bus.subscribe(SCORES, EARLIEST) as stream:
        result = bus.publish(SCORES, {"Record_Id__c": "00Q1", "Reason__c": None}, id="mine").results[0]
        (event,) = stream.events()
        assert (result.correlation_key, result.replay_id, result.error.msg) == ("mine", event["replay_id"], "")
        assert (event["id"], event["Record_Id__c"], event["Reason__c"]) == ("mine", "00Q1", None)
        answer = org("POST", f"{DATA}/sobjects/Score_Requested__e", {"Record_Id__c": "00Q2"})
        assert (answer.status_code, answer.json()["errors"][0]["statusCode"]) == (201, "OPERATION_ENQUEUED")
        (event,) = stream.events()
        assert (event["id"], event["Record_Id__c"]) == (answer.json()["errors"][0]["message"], "00Q2")


def test_an_event_that_cannot_be_read_fails_alone(org: Calls, bus: Bus) -> None:
    result = bus.publish(SCORES, {"Record_Id__c": "1", "Reason__c": ""}, payload=b"\xff").results[0]
    assert (result.error.code, result.error.msg) == (1, "The payload cannot be read by the topic's schema.")
    assert "is not the topic's" in bus.publish(SCORES, {"Record_Id__c": "1", "Reason__c": ""}, schema_id="x").results[0].error.msg
    call = bus.method("unary_unary", "Publish", wire.PublishRequest, wire.PublishResponse)
    with pytest.raises(grpc.RpcError) as refused:
        call(wire.PublishRequest(topic_name=LEADS, events=[wire.ProducerEvent()]), metadata=bus.metadata)
    assert status(refused.value)[0] == "PERMISSION_DENIED"
    assert not bus.topic(LEADS).can_publish


def test_a_publishing_stream_answers_each_batch_and_ends_when_idle(org: Calls, bus: Bus) -> None:
    org("PUT", "/_sim/bus", {"idle_s": 0.2})
    call = bus.method("stream_stream", "PublishStream", wire.PublishRequest, wire.PublishResponse)
    done = call(iter([wire.PublishRequest(topic_name=SCORES, events=[wire.ProducerEvent(id="a")])]), metadata=bus.metadata)
    assert [each.results[0].correlation_key for each in done] == ["a"]
    with pytest.raises(grpc.RpcError) as idle:
        next(call(iter(SimpleQueue[Any]().get, None), metadata=bus.metadata))
    assert status(idle.value)[0] == "ABORTED"


def test_the_answer_to_a_publisher_can_be_lost(org: Calls, bus: Bus) -> None:
    org.faults({"kind": "drop", "path": "*/Publish", "after_commit": True})
    with pytest.raises(grpc.RpcError) as lost:
        bus.publish(SCORES, {"Record_Id__c": "1", "Reason__c": None})
    assert status(lost.value) == ("UNAVAILABLE", "")
    with bus.subscribe(SCORES, EARLIEST) as stream:
        assert stream.events()[0]["Record_Id__c"] == "1"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(target=TARGETS, value=VALUES, payload=st.binary(max_size=40))
def test_nonsense_is_answered(org: Calls, bus: Bus, target: tuple[str, str], value: Any, payload: bytes) -> None:
    assert org(*target, value).status_code < 500
    assert len(bus.publish(SCORES, {"Record_Id__c": "", "Reason__c": ""}, payload=payload).results) == 1
    org("PUT", "/_sim/bus", {"clients": 5, "deliveries": 10**9})
    org.create()
    with bus.subscribe("/data/ChangeEvents", EARLIEST) as stream:
        assert stream.events()


def test_channels_carry_several_objects(org: Calls, bus: Bus) -> None:
    org("PUT", "/_sim/channels/Sales__chn", ["Account", "Opportunity"])
    org("PUT", "/_sim/events/Won__e", {"At__c": "datetime"})
    org.create("Account", Name="A")
    org.create()
    org.create("Web_Visit__c", Name="V")
    org("POST", "/_sim/events/Won__e", {"At__c": "2026-01-01T00:00:00Z"})

    def entities(topic: str, count: int = 1) -> list[str]:
        with bus.subscribe(topic, EARLIEST) as stream:
            return [each["ChangeEventHeader"]["entityName"] for each in stream.events(count)]

    assert entities("/data/ChangeEvents", 3) == ["Account", "Lead", "Web_Visit__c"]
    assert entities("/data/Sales__chn") == ["Account"]
    assert entities("/data/Web_Visit__ChangeEvent") == ["Web_Visit__c"]
    with bus.subscribe("/event/Won__e", EARLIEST) as stream:
        assert stream.events()[0]["At__c"] == 1767225600000


def test_limits_and_faults_end_streams_as_in_a_real_org(org: Calls, bus: Bus) -> None:
    org.create()
    org("PUT", "/_sim/bus", {"deliveries": 1, "delivered": 1})
    assert bus.refused(LEADS, EARLIEST) == ("RESOURCE_EXHAUSTED", "subscription.limit.exceeded")
    org("PUT", "/_sim/bus", {"deliveries": 100, "clients": 0})
    assert bus.refused(LEADS) == ("RESOURCE_EXHAUSTED", "concurrent.client.limit.exceeded")
    org("PUT", "/_sim/bus", {"clients": 5})
    org.faults({"kind": "drop", "path": "/eventbus.v1.PubSub/Subscribe/deliver"}, {"kind": "status", "path": "*/GetTopic"})
    assert bus.refused(LEADS, EARLIEST) == ("UNAVAILABLE", "")
    with pytest.raises(grpc.RpcError) as refused:
        bus.topic(LEADS)
    assert status(refused.value) == ("UNAVAILABLE", "service.unavailable")
    with bus.subscribe(LEADS, EARLIEST) as stream:
        assert len(stream.events()) == 1


def test_a_new_field_makes_a_new_schema(org: Calls, bus: Bus) -> None:
    before = bus.topic(LEADS).schema_id
    org("POST", "/_sim/fields", {"object": "Lead", "name": "More__c", "type": "date"})
    with bus.subscribe(LEADS, EARLIEST) as stream:
        org.create(More__c="2026-01-02")
        (event,) = stream.events()
    assert (event["schema_id"] == before, event["More__c"]) == (False, 1767312000000)


def test_a_published_event_is_checked_as_it_comes(org: Calls) -> None:
    org("PUT", "/_sim/events/Won__e", {"At__c": "datetime", "Words__c": "string"})
    refusals = [{"At__c": "soon"}, {"Nope__c": 1}, {"Words__c": "x" * 256}, {"Words__c": {"a": 1}}]
    codes = [org("POST", "sobjects/Won__e", each).json()[0]["errorCode"] for each in refusals]
    assert codes == ["JSON_PARSER_ERROR", "INVALID_FIELD", "STRING_TOO_LONG", "JSON_PARSER_ERROR"]
    assert org("PUT", "/_sim/events/Won__e", {"At__c": "double"}).status_code == 400
    assert org("POST", "sobjects/Lost__e", {}).status_code == 404


def test_the_command_serves_the_api_with_its_test_authority(tmp_path: Path) -> None:
    log = tmp_path / "said"
    command = Command(tmp_path).start("simulate", "salesforce", "--leads", "0", "--https", "--keys", "keys", "--json", log=log)
    try:
        while not log.read_text().endswith("\n"):
            assert command.poll() is None, log.read_text()
        facts = json.loads(log.read_text())
        trust = grpc.ssl_channel_credentials((tmp_path / facts["authority"]).read_bytes())
        call = wire.TopicRequest(topic_name=LEADS).SerializeToString()
        with grpc.secure_channel(facts["pubsub"], trust) as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(f"/{wire.SERVICE}/GetTopic")(call)
        assert status(refused.value) == ("UNAUTHENTICATED", "service.auth.error")
    finally:
        command.terminate()
        command.wait()
    assert command.returncode == 0


def test_events_outlive_the_org_in_its_file(tmp_path: Path) -> None:
    options, tls = Options(leads=0, state=tmp_path / "org.db"), make_tls_files(tmp_path / "tls")
    trust = grpc.ssl_channel_credentials(tls.authority.read_bytes())
    seen: list[list[dict[str, Any]]] = []
    for _ in range(2):
        with running(options, tls, pubsub_port=0) as server:
            assert server.pubsub is not None
            with grpc.secure_channel(server.pubsub.endpoint, trust) as channel:
                bus = Bus(server, session(server), channel)
                if not seen:
                    bus.publish(SCORES, {"Record_Id__c": "1", "Reason__c": None})
                with bus.subscribe(SCORES, EARLIEST) as stream:
                    seen.append(stream.events())
    assert seen[0] == seen[1]


def session(server: Simulator) -> str:
    """A session that is begun inside the org."""
    org = server.org
    with org.lock:
        return org.sessions.begin(org.org_id, org.administrator().user_id, org.now())

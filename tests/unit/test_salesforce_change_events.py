"""What events say: fields behind bitmaps, whose change it was, and which topics and refusals there are."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.salesforce_bus import LEAD, avro, change

from fieldline_connectors.salesforce import SalesforceTopic
from fieldline_connectors.salesforce.pubsub_errors import PlaceLost, Refusal, SessionEnded, meaning
from fieldline_connectors.salesforce.pubsub_events import ChangeSchema, KeySchema, Told
from fieldline_connectors.salesforce.pubsub_messages import FetchRequest, FetchResponse, TopicInfo
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.ports import Change

LEADS = ChangeSchema(json.dumps(LEAD))
ID, OTHER = "00Q000000000001EAA", "00Q000000000002EAA"
EVENT = {
    "type": "record", "name": "Done__e", "namespace": "com.sforce.eventbus", "fields": [
        {"name": "CreatedDate", "type": "long"}, {"name": "Lead_Id__c", "type": ["null", "string"]},
        {"name": "Text__c", "type": ["null", "string"]},
    ],
}  # fmt: skip


def told(payload: bytes) -> Told:
    return LEADS.told(payload, b"\x07", "fieldline")


def fields(*bitmaps: str, **more: Any) -> set[str]:
    return set(told(change("UPDATE", ID, changed=bitmaps, **more)).changes[0].fields)


@pytest.mark.parametrize(
    ("bitmaps", "names"),
    [
        (["0x04"], {"Company"}),
        (["0x24"], {"Company"}),
        (["0x44"], {"Company", "Fieldline_Score__c"}),
        (["0x40", "1-0x6"], {"Fieldline_Score__c", "FirstName", "LastName"}),
        (["1-0x4"], {"LastName"}),
        (["3-0x2", "4-0x3"], {"City", "Other_Street", "Other_City"}),
        (["0x20"], set()),
        ([], set()),
        (["0x80"], set()),
        (["99-0x1"], set()),
        (["2-0x1"], set()),
        (["Company"], set()),
        (["0x"], set()),
        (["0x04", "nonsense"], set()),
    ],
)
def test_bitmaps_name_the_fields_that_changed_and_none_where_they_cannot_be_read(bitmaps: list[str], names: set[str]) -> None:
    assert fields(*bitmaps) == names


def test_fields_that_were_emptied_or_changed_by_a_difference_count_as_changed() -> None:
    assert fields("0x04", nulledFields=["1-0x2"], diffFields=["0x40"]) == {"Company", "FirstName", "Fieldline_Score__c"}


@given(st.sets(st.sampled_from([2, 6]), min_size=1), st.sets(st.integers(0, 2), min_size=1))
def test_every_set_of_fields_survives_its_bitmap(whole: set[int], parts: set[int]) -> None:
    found = fields(f"0x{sum(1 << place for place in whole):08X}", f"1-0x{sum(1 << place for place in parts):X}")
    names = [field["name"] for field in LEAD["fields"]]
    assert found == {names[place] for place in whole} | {["Salutation", "FirstName", "LastName"][place] for place in parts}


@pytest.mark.parametrize("kind", ["CREATE", "UNDELETE", "GAP_CREATE", "GAP_UPDATE", "GAP_UNDELETE", "SNAPSHOT"])
def test_a_record_that_came_or_may_have_changed_anywhere_is_a_change_of_all_fields(kind: str) -> None:
    moment = f"{1_700_000_000_000:x}"
    expected = tuple(Change(f"07.{moment}.{id}", id) for id in (ID, OTHER))
    assert told(change(kind, ID, OTHER, changed=["0x04"])) == Told(expected)


@pytest.mark.parametrize("kind", ["DELETE", "GAP_DELETE"])
def test_a_record_that_is_gone_is_no_change(kind: str) -> None:
    assert told(change(kind, ID)) == Told()


@pytest.mark.parametrize(
    ("origin", "ours"),
    [
        ("com/salesforce/api/rest/64.0;client=fieldline", True),
        ("com/salesforce/api/soap/64.0;client=fieldline;x=y", True),
        ("com/salesforce/api/rest/64.0;client=fieldline2", False),
        ("com/salesforce/api/rest/64.0;client=other", False),
        ("client=fieldline", False),
        ("com/salesforce/api/rest/64.0", False),
        ("", False),
    ],
)
def test_what_was_written_under_our_client_name_is_left_out(origin: str, ours: bool) -> None:
    assert bool(told(change("UPDATE", ID, changed=["0x04"], origin=origin)).changes) != ours


def test_a_gap_event_is_never_taken_for_ours() -> None:
    assert told(change("GAP_UPDATE", ID, origin="com/salesforce/api/rest/64.0;client=fieldline")).changes


@given(st.binary(max_size=300))
def test_no_payload_breaks_the_reader(payload: bytes) -> None:
    assert isinstance(told(payload), Told)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"fields": 1}', '{"type": "record", "name": "X", "fields": []}', json.dumps(EVENT)],
)
def test_a_schema_that_is_no_change_event_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        ChangeSchema(text)


_json = st.recursive(
    st.none() | st.integers() | st.sampled_from(["record", "string", "ChangeEventHeader", "Key__c", "array", "enum"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "name", "items", "fields"]), inner),
    max_leaves=12,
)


@given(_json, st.binary(max_size=40))
def test_no_schema_breaks_the_reader(kind: Any, payload: bytes) -> None:
    fields = [{"name": "ChangeEventHeader", "type": kind}, {"name": "Key__c", "type": kind}]
    text = json.dumps({"type": "record", "name": "X", "fields": fields})
    with suppress(ValueError):
        assert isinstance(ChangeSchema(text).told(payload, b"\x07", "fieldline"), Told)
    with suppress(ValueError):
        assert isinstance(KeySchema(text, "Key__c", "/event/X__e").told(payload, "e1"), Told)


def test_a_platform_event_names_its_record() -> None:
    schema = KeySchema(json.dumps(EVENT), "lead_id__C", "/event/Done__e")
    assert schema.told(avro(EVENT, {"CreatedDate": 1, "Lead_Id__c": ID}), "e1") == Told((Change("e1", ID),))
    assert schema.told(avro(EVENT, {"CreatedDate": 1}), "e2") == Told()
    assert schema.told(b"", "e3") == Told(gap=True)


def test_a_key_that_the_platform_event_lacks_says_so() -> None:
    with pytest.raises(Misconfigured, match="/event/Done__e has no field Other__c"):
        KeySchema(json.dumps(EVENT), "Other__c", "/event/Done__e")


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({"object": "Lead"}, "/data/LeadChangeEvent"),
        ({"object": "Car__c"}, "/data/Car__ChangeEvent"),
        ({"object": "ns__Car__c"}, "/data/ns__Car__ChangeEvent"),
        ({"channel": "/event/Done__e", "key": "Lead_Id__c"}, "/event/Done__e"),
        ({"channel": "/event/Some__chn", "key": "Lead_Id__c"}, "/event/Some__chn"),
    ],
)
def test_each_topic_has_its_address(given: dict[str, str], address: str) -> None:
    assert SalesforceTopic.model_validate(given).address == address


@pytest.mark.parametrize(
    "given",
    [
        {}, {"object": "Lead", "channel": "/event/Done__e", "key": "K"}, {"channel": "/event/Done__e"},
        {"object": "Lead", "key": "Id"},
        {"channel": "/data/ChangeEvents", "key": "K"}, {"object": "Le ad"}, {"objekt": "Lead"},
    ],
)  # fmt: skip
def test_a_topic_that_says_too_little_or_too_much_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        SalesforceTopic.model_validate(given)


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        ("NOT_FOUND", "topic.not.found", Misconfigured, "Setup > Change Data Capture"),
        ("INVALID_ARGUMENT", "topic.validation.failed", Misconfigured, "check the API name"),
        ("INVALID_ARGUMENT", "other", Misconfigured, "refuses to let us listen"),
        ("PERMISSION_DENIED", "", Misconfigured, "View All Records"),
        ("INVALID_ARGUMENT", "service.auth.headers.invalid", Misconfigured, "pubsub_url"),
        ("UNIMPLEMENTED", "", Misconfigured, "check `pubsub_url`"),
        ("RESOURCE_EXHAUSTED", "subscription.limit.exceeded", Unavailable, "as many events as it allows in a day"),
        ("RESOURCE_EXHAUSTED", "concurrent.client.limit.exceeded", Unavailable, "as many listeners"),
        ("RESOURCE_EXHAUSTED", "", Unavailable, "max_answer_bytes"),
        ("UNAVAILABLE", "", Unavailable, "[UNAVAILABLE]"),
        ("DEADLINE_EXCEEDED", "", Unavailable, "[DEADLINE_EXCEEDED]"),
        ("OUT_OF_RANGE", "replay", PlaceLost, ""),
        ("UNAUTHENTICATED", "service.auth.error", SessionEnded, ""),
        ("INVALID_ARGUMENT", "subscription.fetch.replayid.corrupted", PlaceLost, ""),
        ("INVALID_ARGUMENT", "subscription.fetch.replayid.validation.failed", PlaceLost, ""),
    ],
)
def test_a_refusal_says_who_has_to_do_what(status: str, code: str, kind: type[Exception], words: str) -> None:
    whole = f"sfdc.platform.eventbus.grpc.{code}" if code else ""
    error = meaning(Refusal(status, whole, f"Jane Doe 00Q000000000001EAA {code}"), "api.example", "/data/LeadChangeEvent")
    assert type(error) is kind
    assert words in str(error)
    assert "Jane" not in str(error)


def test_messages_stand_on_the_wire_as_salesforces_definition_says() -> None:
    request = FetchRequest(topic_name="t", replay_preset=2, replay_id=b"r", num_requested=5)
    assert request.SerializeToString() == b"\x0a\x01t\x10\x02\x1a\x01r\x20\x05"
    answer = FetchResponse.FromString(b"\x0a\x0e\x0a\x09\x0a\x01i\x12\x01s\x1a\x01p\x12\x01r\x12\x01l\x1a\x01x\x20\x05")
    event = answer.events[0]
    assert (event.event.id, event.event.schema_id, event.event.payload, event.replay_id) == ("i", "s", b"p", b"r")
    assert (answer.latest_replay_id, answer.pending_num_requested) == (b"l", 5)
    info = TopicInfo.FromString(b"\x0a\x01t\x12\x01g\x18\x01\x20\x01\x2a\x01s\x32\x01x")
    assert (info.can_subscribe, info.schema_id) == (True, "s")

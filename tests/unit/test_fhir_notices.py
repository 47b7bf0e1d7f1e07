"""Messages of Subscriptions: what they say is taken once, in whatever order, and what they do not say is read."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldline_connectors.bounded import TooLarge
from fieldline_connectors.fhir import Fhir, FhirConfig
from fieldline_connectors.fhir.notices import NotTheServer, heard, notice_of
from fieldline_connectors.fhir.topic import FhirTopic, Notifications
from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.ports import Cursor, HookRequest
from fieldline_core.secret import Secret

SETTINGS = Notifications.model_validate(
    {"public_url": "https://us.example", "secrets": [Secret("s" * 16), Secret("older secret of ours")]}
)
AT = datetime(2026, 6, 1, tzinfo=UTC)
TWICE = ((1, "Observation/7"), (2, "Observation/7"))
WORDS = ["Bundle", "history", "Parameters", "SubscriptionStatus", "heartbeat", "event-notification"]
NAMES = [
    "resourceType", "type", "entry", "resource", "parameter", "notificationEvent", "name", "part", "focus", "eventNumber",
    "valueString", "request", "url", "id", "meta", "eventsSinceSubscriptionStart",
]  # fmt: skip
LEAVES = st.none() | st.integers() | st.text(max_size=9) | st.sampled_from(WORDS)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6))
TOPIC = FhirTopic(criteria="Observation?code=8480-6")


def request(document: Any, secret: str = "s" * 16, **more: Any) -> HookRequest:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return HookRequest({"x-fieldline-subscription": secret}, body, more.get("at", AT))


def notification(
    kind: str, count: int, *events: tuple[int, str], r4b: bool = False, methods: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A message of the Backport guide, as the guide's examples for R4 (Parameters) or R4B (SubscriptionStatus) write it."""
    entries = [{"request": {"method": m, "url": f}} for m, (_, f) in zip(methods, events, strict=False)]
    if r4b:
        root = "https://ehr.example/r4"
        status = {
            "resourceType": "SubscriptionStatus", "type": kind, "subscription": {"reference": "Subscription/s"},
            "eventsSinceSubscriptionStart": str(count), "notificationEvent": [
                {"eventNumber": str(n), "timestamp": f"t{n}", "focus": {"reference": f"{root}/{f}"}} for n, f in events
            ],
        }  # fmt: skip
        return {"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}, *entries]}
    parts = [
        {"name": "notification-event", "part": [
            {"name": "event-number", "valueString": str(n)}, {"name": "timestamp", "valueInstant": f"t{n}"},
            *([{"name": "focus", "valueReference": {"reference": f}}] if f else []),
        ]} for n, f in events
    ]  # fmt: skip
    status = {"resourceType": "Parameters", "parameter": [
        {"name": "subscription", "valueReference": {"reference": "Subscription/s"}}, {"name": "type", "valueCode": kind},
        {"name": "events-since-subscription-start", "valueString": str(count)}, *parts,
    ]}  # fmt: skip
    return {"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}, *entries]}


def told(document: Any, after: Cursor | None, **more: Any) -> Any:
    """What a connector makes of a message behind a place; it asks nobody."""
    connector = Fhir(FhirConfig.model_validate({"base_url": "http://127.0.0.1:9/fhir", "notifications": SETTINGS}))
    return connector.told(TOPIC, request(document, **more))(after)


@pytest.mark.parametrize("r4b", [False, True])
def test_a_handshake_counts_and_an_event_names_what_changed(r4b: bool) -> None:
    begun = told(notification("handshake", 0, r4b=r4b), None)
    assert (begun.changes, begun.gap) == ((), False)
    next_ = told(notification("event-notification", 1, (1, "Observation/7"), r4b=r4b), begun.after)
    assert [change.key for change in next_.changes] == ["7"]
    assert not next_.gap
    assert not told(notification("heartbeat", 1, r4b=r4b), next_.after).gap
    assert told(notification("heartbeat", 2, r4b=r4b), next_.after).gap


@pytest.mark.parametrize(
    ("message", "keys", "gap"),
    [
        (b"", [], True),
        ({}, [], True),
        ({"resourceType": "Observation", "id": "7", "status": "a lie", "meta": {"versionId": "3"}}, ["7"], False),
        ({"resourceType": "Encounter", "id": "7"}, [], True),
        (notification("event-notification", 1, (1, "")), [], True),
        (notification("event-notification", 1), [], True),
        (notification("event-notification", 1, (1, "Observation/7/_history/2"), methods=("DELETE",)), [], False),
        (notification("event-notification", 2, *TWICE, methods=("DELETE", "PUT")), ["7", "7"], False),
    ],
)
def test_what_a_message_does_not_say_is_read(message: Any, keys: list[str], gap: bool) -> None:
    found = told(message, None)
    assert ([change.key for change in found.changes], found.gap) == (keys, gap)


def test_the_same_version_is_one_change_and_without_versions_each_message_is() -> None:
    versioned: dict[str, Any] = {"resourceType": "Observation", "id": "7", "meta": {"versionId": "3"}}
    later = datetime(2026, 6, 2, tzinfo=UTC)
    ids = [told(versioned, None, at=at).changes[0].id for at in (AT, later)]
    assert ids[0] == ids[1]
    bare = {"resourceType": "Observation", "id": "7"}
    assert len({ids[0], *(told(bare, None, at=at).changes[0].id for at in (AT, later))}) == 3


@given(st.data())
def test_every_changed_resource_is_read_whatever_becomes_of_the_messages(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    ids = data.draw(st.lists(st.sampled_from("abcd"), min_size=count, max_size=count))
    sent = data.draw(st.lists(st.lists(st.integers(1, count), min_size=1, max_size=3, unique=True), max_size=20))
    place: Cursor | None = data.draw(st.sampled_from([None, {"numbers": [["Subscription/s", 0]]}]))
    read: set[int] = set()
    taken: set[str] = set()
    for numbers in [*sent, None]:
        kind, newest = ("heartbeat", count) if numbers is None else ("event-notification", max(numbers))
        message = notification(kind, newest, *((n, f"Observation/{ids[n - 1]}-{n}") for n in numbers or ()))
        found = heard(notice_of(request(message), SETTINGS), {f"Observation/{id}-{n}": id for n, id in enumerate(ids, 1)}, place)
        place = found.after
        taken |= {change.id for change in found.changes}
        read |= set(numbers or ())
        if found.gap:
            # A run sees every change that the server had counted by then.
            read |= set(range(1, newest + 1))
    assert read == set(range(1, count + 1))
    assert len(taken) == len({n for numbers in sent for n in numbers})
    assert place == {"numbers": [["Subscription/s", count]]}


def test_of_many_subscriptions_the_one_heard_longest_ago_is_forgotten() -> None:
    place: Cursor | None = None
    for name in ("z", "a", "y", "b", "z", "x"):
        message = notification("handshake", 3, r4b=True)
        message["entry"][0]["resource"]["subscription"]["reference"] = f"Subscription/{name}"
        place = told(message, place).after
    assert place is not None
    assert [each[0] for each in place["numbers"]] == [f"Subscription/{name}" for name in ("y", "b", "z", "x")]


@given(st.binary(max_size=200) | TREES)
def test_nonsense_is_refused_or_heard_and_never_an_error_of_ours(document: Any) -> None:
    try:
        told(document, None)
    except Rejected:
        return


@given(st.data())
def test_a_notification_with_one_part_of_nonsense_is_refused_or_heard(data: st.DataObject) -> None:
    message: Any = notification("event-notification", 1, *TWICE, r4b=data.draw(st.booleans()), methods=("PUT", "DELETE"))
    inside = message
    while isinstance(inside, dict | list) and inside:
        place = data.draw(st.sampled_from(list(inside) if isinstance(inside, dict) else range(len(inside))))
        if data.draw(st.integers(0, 3)) == 0 or not isinstance(inside[place], dict | list):
            inside[place] = data.draw(TREES)
            break
        inside = inside[place]
    try:
        told(message, None)
    except Rejected:
        return


def test_a_message_must_show_the_secret_before_anything_looks_inside_it() -> None:
    for shown in ("", "s" * 15, "s" * 17, "é" * 16):
        with pytest.raises(NotTheServer) as error:
            notice_of(request(b"rubbish", shown), SETTINGS)
        assert "sss" not in str(error.value)
    assert notice_of(request({}, "older secret of ours"), SETTINGS).kind == "rest-hook"
    with pytest.raises(Misconfigured, match="longer"):
        notice_of(request({}, "short"), SETTINGS.model_copy(update={"secrets": (Secret("short"),)}))
    with pytest.raises(Misconfigured, match="notifications"):
        notice_of(request({}), None)


def test_what_is_no_notification_is_refused_with_a_word() -> None:
    many = notification("event-notification", 1, *((n, "Observation/7") for n in range(1, 1_002)))
    for message, kind, words in (
        ({"resourceType": "Bundle", "type": "searchset"}, Rejected, "no notification"),
        (notification("query-status", 1), Rejected, "no handshake"),
        ({"resourceType": "Observation"}, Rejected, "neither a resource"),
        (b"<Observation/>", Rejected, "not JSON"),
        (many, TooLarge, "1,000 events"),
        (b" " * 2_000_000, TooLarge, "bytes"),
    ):
        with pytest.raises(kind, match=words):
            told(message, None)

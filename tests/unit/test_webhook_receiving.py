"""Inbound webhooks: the genuine ones get in, and nothing else does."""

import base64
import gzip
import random
import string
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fieldline_connectors.bounded import TooLarge
from fieldline_connectors.webhook import Forged, Webhook, WebhookConfig
from fieldline_connectors.webhook.signatures import hmac_holds
from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.ports import HookRequest
from fieldline_core.secret import Secret
from fieldline_simulators import webhook_signing as signing

PLAIN, OTHER = "a plain secret of some length", "another secret of some length"
SHARED = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SHARED_BEFORE = "whsec_" + base64.b64encode(bytes(range(24))).decode()
PRIVATE, PUBLIC = signing.new_key_pair(bytes(range(32)))
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
AT_S = int(NOW.timestamp())
BODY = b'{"id": "evt_1", "data": {"name": "Zo\xc3\xab"}}'


def webhook(scheme: str = "standard", *secrets: str, **settings: Any) -> Webhook:
    inbound = {"scheme": scheme, "secrets": tuple(map(Secret, secrets)), **settings}
    return Webhook(WebhookConfig.model_validate({"inbound": inbound}))


def request(headers: dict[str, str], body: bytes = BODY) -> HookRequest:
    return HookRequest(headers, body, NOW)


STANDARD = webhook("standard", SHARED, PUBLIC)


@given(
    st.binary(min_size=24, max_size=64),
    st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    st.dictionaries(st.text("ab"), st.integers()),
)
def test_what_a_sender_signs_is_received(key: bytes, message_id: str, document: dict[str, int]) -> None:
    body = str(document).replace("'", '"').encode()
    secret = "whsec_" + base64.b64encode(key).decode()
    event = webhook("standard", secret).receive(request(signing.standard(secret, message_id, AT_S, body), body)).events[0]
    assert (event.id, event.body) == (message_id, body)


@given(st.integers(0, 10_000), st.integers(1, 255), st.sampled_from([SHARED, PRIVATE]))
def test_one_changed_bit_anywhere_is_refused(place: int, change: int, secret: str) -> None:
    headers = signing.standard(secret, "msg_1", AT_S, BODY)
    changed = bytearray(BODY)
    changed[place % len(BODY)] ^= change
    with pytest.raises(Forged):
        STANDARD.receive(request(headers, bytes(changed)))


@given(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text(max_size=40), st.booleans())
def test_a_changed_header_is_refused(name: str, text: str, longer: bool) -> None:
    headers = signing.standard(SHARED, "msg_1", AT_S, BODY)
    changed = headers[name] + text if longer else text
    assume(headers[name] not in changed.split(" "))
    with pytest.raises(Rejected):
        STANDARD.receive(request({**headers, name: changed}))


def test_the_published_examples_of_other_people_are_received() -> None:
    secret, message_id = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    sent_at = datetime.fromtimestamp(1614265330, UTC)
    assert webhook("standard", secret).receive(HookRequest(headers, b'{"test": 2432232314}', sent_at)).events[0].id == message_id
    github_example = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert hmac_holds([Secret("It's a Secret to Everybody")], b"Hello, World!", [github_example], "sha256", "hex")


def test_a_secret_may_come_without_its_padding() -> None:
    assert webhook("standard", SHARED.rstrip("=")).receive(request(signing.standard(SHARED, "m", AT_S, BODY))).events[0].id == "m"


def test_several_secrets_hold_while_one_is_changed() -> None:
    rotating = webhook("standard", SHARED_BEFORE, SHARED)
    for secret in (SHARED_BEFORE, SHARED):
        assert rotating.receive(request(signing.standard(secret, "m", AT_S, BODY))).events[0].id == "m"
    with pytest.raises(Forged):
        webhook("standard", SHARED_BEFORE).receive(request(signing.standard(SHARED, "m", AT_S, BODY)))


def test_one_good_signature_among_others_suffices() -> None:
    headers = signing.standard(SHARED, "m", AT_S, BODY)
    several = f"v1,AAAA v2,unknown v1a,%%% {headers['webhook-signature']}"
    assert STANDARD.receive(request({**headers, "webhook-signature": several})).events[0].id == "m"


def test_a_signature_of_one_kind_is_no_signature_of_the_other() -> None:
    headers = signing.standard(PRIVATE, "m", AT_S, BODY)
    with pytest.raises(Forged):
        webhook("standard", PUBLIC).receive(
            request({**headers, "webhook-signature": headers["webhook-signature"].replace("v1a,", "v1,")})
        )
    public_as_shared = "whsec_" + PUBLIC.removeprefix("whpk_")
    with pytest.raises(Forged):
        webhook("standard", PUBLIC).receive(request(signing.standard(public_as_shared, "m", AT_S, BODY)))


@pytest.mark.parametrize(("shift_s", "accepted"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
def test_messages_are_five_minutes_old_at_most(shift_s: int, accepted: bool) -> None:
    signed = {
        "standard": (STANDARD, signing.standard(SHARED, "m", AT_S + shift_s, BODY)),
        "stripe": (webhook("stripe", PLAIN), signing.stripe(PLAIN, AT_S + shift_s, BODY)),
    }
    for receiver, headers in signed.values():
        if accepted:
            assert receiver.receive(request(headers)).events[0].body == BODY
        else:
            with pytest.raises(Forged, match="300 s"):
                receiver.receive(request(headers))


def test_an_id_with_a_dot_is_refused_though_it_is_signed() -> None:
    with pytest.raises(Forged, match="dot"):
        STANDARD.receive(request(signing.standard(SHARED, "a.b", AT_S, BODY)))


def test_a_forgery_is_refused_before_anything_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    for parser in ("bounded_json", "unpacked"):
        monkeypatch.setattr(f"fieldline_connectors.webhook.connector.{parser}", lambda *_: pytest.fail("parsed"))
    with pytest.raises(Forged):
        STANDARD.receive(request(signing.standard(SHARED_BEFORE, "m", AT_S, BODY)))


def test_a_body_beyond_its_bounds_is_refused_before_its_signature_is_computed() -> None:
    with pytest.raises(TooLarge):
        STANDARD.receive(request({}, bytes(1024 * 1024 + 1)))


def test_a_packed_body_is_verified_as_it_was_sent() -> None:
    packed = gzip.compress(BODY)
    headers = {**signing.standard(SHARED, "m", AT_S, packed), "content-encoding": "gzip"}
    assert STANDARD.receive(request(headers, packed)).events[0].body == BODY
    bomb = gzip.compress(b'{"a": "' + b" " * 900_000 + b'"}')
    headers = {**signing.standard(SHARED, "m", AT_S, bomb), "content-encoding": "gzip"}
    with pytest.raises(Rejected, match="unpacked"):
        STANDARD.receive(request(headers, bomb))


def test_github_gives_the_id_in_a_header() -> None:
    event = webhook("github", OTHER, PLAIN).receive(request(signing.github(PLAIN, "delivery-1", BODY))).events[0]
    assert event.id == "delivery-1"


def test_stripe_gives_the_id_in_the_body() -> None:
    assert webhook("stripe", PLAIN).receive(request(signing.stripe(PLAIN, AT_S, BODY))).events[0].id == "evt_1"
    for body in (b"{}", b'{"id": true}', b'{"id": null}', b'{"id": ""}', b'{"id": "a b"}', b'{"id": ["x"]}'):
        with pytest.raises(Rejected):
            webhook("stripe", PLAIN).receive(request(signing.stripe(PLAIN, AT_S, body), body))


def test_a_message_without_id_is_known_by_its_body() -> None:
    shopify = webhook("hmac", PLAIN, signature_header="x-shopify-hmac-sha256", encoding="base64")
    first, second = (shopify.receive(request(signing.shopify(PLAIN, event, BODY))).events[0].id for event in "ab")
    assert first == second
    assert first.startswith("sha256:")


def test_an_id_deep_in_the_body_is_found() -> None:
    body = b'{"meta": {"event": {"number": 17}}}'
    settings = {"signature_header": "x-shopify-hmac-sha256", "encoding": "base64", "id_path": "meta.event.number"}
    assert webhook("hmac", PLAIN, **settings).receive(request(signing.shopify(PLAIN, "e", body), body)).events[0].id == "17"


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "whsec_AAAA", "whsec_%%%", "no prefix, but long enough", "whpk_" + base64.b64encode(bytes(31)).decode(), PRIVATE,
     "whsec_" + base64.b64encode(bytes(65)).decode()],
)  # fmt: skip
def test_a_useless_secret_is_a_matter_for_a_person(secret: str) -> None:
    with pytest.raises(Misconfigured, match="webhook secret") as caught:
        webhook("standard", secret).receive(request(signing.standard(SHARED, "m", AT_S, BODY)))
    assert len(secret) < 7 or secret not in str(caught.value)


@pytest.mark.parametrize(("scheme", "secret"), [("standard", PLAIN), ("github", "short"), ("stripe", "")])
def test_the_check_finds_a_useless_secret_before_any_message_comes(scheme: str, secret: str) -> None:
    with pytest.raises(Misconfigured, match="webhook secret"):
        webhook(scheme, secret).check()
    missing = {"scheme": scheme, "secrets": [{"secret": "env:FIELDLINE_TEST_NO_SUCH_SECRET"}]}
    with pytest.raises(Misconfigured, match="FIELDLINE_TEST_NO_SUCH_SECRET"):
        Webhook(WebhookConfig.model_validate({"inbound": missing})).check()


def test_a_short_plain_secret_is_a_matter_for_a_person() -> None:
    with pytest.raises(Misconfigured, match="fewer than 16 bytes"):
        webhook("github", "short").receive(request(signing.github("short", "d", BODY)))


@pytest.mark.parametrize(
    "settings",
    [
        {"inbound": None}, {"url": "https://a.example/"}, {"inbound": {"scheme": "standard", "secrets": []}},
        {"inbound": {"scheme": "hmac", "secrets": [{"secret": "env:X"}], "signature_header": "x", "signed": "{timestamp}"}},
        {"inbound": {"scheme": "hmac", "secrets": [{"secret": "env:X"}], "signature_header": "x", "signed": "{timestamp}{body}"}},
        {"inbound": {"scheme": "hmac", "secrets": [{"secret": "env:X"}], "signature_header": "x", "timestamp_header": "t"}},
        {"inbound": {"scheme": "hmac", "secrets": [{"secret": "env:X"}], "signature_header": "x", "signed": "{id}{body}"}},
        {"inbound": {"scheme": "hmac", "secrets": ["a literal secret"], "signature_header": "x"}},
        {"inbound": {"scheme": "morse", "secrets": [{"secret": "env:X"}]}},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        WebhookConfig.model_validate(settings)


GITHUB, STRIPE = webhook("github", PLAIN), webhook("stripe", PLAIN)
SLACK_HEADERS = {"signature_header": "x-slack-signature", "timestamp_header": "x-slack-request-timestamp"}
SLACK = webhook("hmac", PLAIN, prefix="v0=", signed="v0:{timestamp}:{body}", **SLACK_HEADERS)


def hostile_to_others(chance: random.Random) -> tuple[Webhook, HookRequest]:
    """A request that is not genuine, to a receiver of GitHub, Stripe or Slack."""
    noise, shift_s = chance.randbytes(chance.randrange(1, 100)), chance.choice([-1, 1]) * chance.randrange(301, 10**8)
    stripe, slack = signing.stripe(PLAIN, AT_S, BODY), signing.slack(PLAIN, AT_S, BODY)
    changes = [
        (GITHUB, request(signing.github(OTHER, "d", BODY))),
        (GITHUB, request(signing.github(PLAIN, "d", BODY), BODY + noise)),
        (GITHUB, request({**signing.github(PLAIN, "d", BODY), "x-github-delivery": noise.decode("latin-1") + " "})),
        (GITHUB, request({**signing.github(PLAIN, "d", BODY), "x-hub-signature-256": noise.decode("latin-1")})),
        (STRIPE, request(signing.stripe(PLAIN, max(0, AT_S + shift_s), BODY))),
        (STRIPE, request({"stripe-signature": stripe["stripe-signature"].replace("t=", f"t={chance.randrange(1, 9)}")})),
        (STRIPE, request({"stripe-signature": stripe["stripe-signature"].replace("v1=", "v0=")})),
        (STRIPE, request({"stripe-signature": noise.decode("latin-1")})),
        (SLACK, request({**slack, "x-slack-request-timestamp": str(AT_S + chance.randrange(1, 300))})),
        (SLACK, request({**slack, "x-slack-signature": slack["x-slack-signature"].removeprefix("v0=")})),
        (SLACK, request(signing.slack(PLAIN, AT_S, noise), noise)),
    ]
    return chance.choice(changes)


def hostile(chance: random.Random) -> tuple[Webhook, HookRequest]:
    """A request that is not genuine in one of many ways."""
    noise = chance.randbytes(chance.randrange(200))
    secret, wrong = SHARED, SHARED_BEFORE
    body = chance.choice([BODY, noise, b"[" * 5000, b'{"a": 1, "a": 2}', b'{"a": NaN}', b"{}"])
    good = signing.standard(secret, "msg_1", AT_S, BODY)
    text = "".join(chance.choices(string.printable, k=chance.randrange(1, 60)))
    changes: list[Callable[[], HookRequest]] = [
        lambda: request(signing.standard(wrong, "msg_1", AT_S, body), body),
        lambda: request({name: value for name, value in good.items() if name != chance.choice(sorted(good))}, BODY + noise + b" "),
        lambda: request(good, BODY + noise + b"!"),
        lambda: request({**good, "webhook-id": text}),
        lambda: request({**good, "webhook-timestamp": text + "x"}),
        lambda: request({**good, "webhook-signature": chance.choice(["v1,", "v1a,", "", "v0,"]) + text}),
        lambda: request({**good, "webhook-signature": " ".join(["v1,AAAA"] * chance.randrange(2, 2000))}),
        lambda: replace(request(good), received_at=NOW + timedelta(seconds=chance.choice([-1, 1]) * chance.randrange(301, 10**8))),
        lambda: request(signing.standard(secret, "msg.1", AT_S, BODY)),
        lambda: request(signing.standard(secret, "msg_1", AT_S, b"\xff" + noise), b"\xff" + noise),
        lambda: request(signing.standard(secret, "msg_1", AT_S, b"[" * 5000), b"[" * 5000),
        lambda: request(signing.standard(secret, "msg_1", AT_S, b'{"a":1,"a":2}'), b'{"a":1,"a":2}'),
        lambda: request({**signing.standard(secret, "msg_1", AT_S, noise), "content-encoding": "gzip"}, noise),
        lambda: request({}, body),
        lambda: request(signing.github(PLAIN, "d", BODY)),
    ]
    return STANDARD, chance.choice(changes)()


def test_ten_thousand_hostile_messages_are_rejected_and_nothing_stays_behind() -> None:
    chance = random.Random(20260504)
    accepted = 0
    tracemalloc.start()
    try:
        for number in range(10_000):
            if number == 1_000:
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
            receiver, message = hostile_to_others(chance) if number % 3 == 0 else hostile(chance)
            try:
                receiver.receive(message)
                accepted += 1
            except Rejected:
                continue
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert accepted == 0
    assert after - before < 256 * 1024
    assert peak - before < 16 * 1024 * 1024

"""The webhook connector keeps the contract, in each way of signing and against a receiver that verifies."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from fieldline_connectors.testing import ConnectorContract, HookContract, Sign, TargetRows, sample_rows
from fieldline_connectors.webhook import Webhook, WebhookConfig, WebhookTarget
from fieldline_core.batch import Batch
from fieldline_core.ports import HookRequest
from fieldline_core.secret import Secret
from fieldline_simulators import webhook_signing as signing
from fieldline_simulators.webhook_receiver import Receiver, running

LOOPBACK = ({"host": "127.0.0.1", "network": "127.0.0.0/8"},)
PLAIN = "a plain secret of some length"
SHARED = "whsec_" + base64.b64encode(bytes(range(32))).decode()
PRIVATE, PUBLIC = signing.new_key_pair(bytes(range(32)))
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
AT_S = int(NOW.timestamp())


def receiving(**inbound: Any) -> Webhook:
    return Webhook(WebhookConfig.model_validate({"inbound": inbound}))


def request(headers: dict[str, str], body: bytes) -> HookRequest:
    return HookRequest(headers, body, NOW)


class TestWebhook(ConnectorContract):
    connector_class = Webhook

    @pytest.fixture
    def receiver(self) -> Iterator[Receiver]:
        with running(SHARED) as receiver:
            yield receiver

    @pytest.fixture
    def connector(self, receiver: Receiver) -> Iterator[Webhook]:
        inbound = {"scheme": "standard", "secrets": (Secret(SHARED),)}
        secrets = (Secret(PRIVATE), Secret(SHARED))
        outbound = {"url": receiver.url, "signing_secrets": secrets, "receiver_dedupes": True, "allow_private": LOOPBACK}
        webhook = Webhook(WebhookConfig.model_validate({"inbound": inbound, **outbound}))
        yield webhook
        webhook.close()

    @pytest.fixture
    def unreachable(self) -> Webhook:
        outbound = {"url": "http://127.0.0.1:1/hook", "signing_secrets": (Secret(SHARED),), "allow_private": LOOPBACK}
        return Webhook(WebhookConfig.model_validate(outbound))

    @pytest.fixture
    def target(self) -> WebhookTarget:
        return WebhookTarget(fields={name: name for name in sample_rows().frame.columns})

    @pytest.fixture
    def rows(self) -> Batch:
        return sample_rows()

    @pytest.fixture
    def bad_row(self, rows: Batch) -> Batch:
        return Batch.of(["bad"], rows.frame[:1].with_columns(score=pl.lit(float("nan"))))

    @pytest.fixture
    def target_rows(self, receiver: Receiver) -> TargetRows:
        def received() -> list[tuple[str, dict[str, Any]]]:
            messages = receiver.inbox.messages.values()
            return [(row["key"], row["fields"]) for message in messages for row in message["body"]["data"]["records"]]

        return received

    @pytest.fixture
    def sign(self) -> Sign:
        return lambda body: request(signing.standard(SHARED, "msg_1", AT_S, body), body)


class TestEd25519(HookContract):
    connector_class = Webhook

    @pytest.fixture
    def connector(self) -> Webhook:
        return receiving(scheme="standard", secrets=(Secret(SHARED), Secret(PUBLIC)))

    @pytest.fixture
    def sign(self) -> Sign:
        return lambda body: request(signing.standard(PRIVATE, "msg_1", AT_S, body), body)


class TestGitHub(HookContract):
    connector_class = Webhook
    signs_time = False

    @pytest.fixture
    def connector(self) -> Webhook:
        return receiving(scheme="github", secrets=(Secret("an old secret, going out"), Secret(PLAIN)))

    @pytest.fixture
    def sign(self) -> Sign:
        return lambda body: request(signing.github(PLAIN, "72d3162e-cc78-11e3-81ab-4c9367dc0958", body), body)


class TestStripe(HookContract):
    connector_class = Webhook

    @pytest.fixture
    def connector(self) -> Webhook:
        return receiving(scheme="stripe", secrets=(Secret(PLAIN),))

    @pytest.fixture
    def sign(self) -> Sign:
        return lambda body: request(signing.stripe(PLAIN, AT_S, body), body)


class TestSlack(HookContract):
    connector_class = Webhook

    @pytest.fixture
    def connector(self) -> Webhook:
        headers = {"signature_header": "x-slack-signature", "timestamp_header": "x-slack-request-timestamp"}
        return receiving(scheme="hmac", secrets=(Secret(PLAIN),), prefix="v0=", signed="v0:{timestamp}:{body}", **headers)

    @pytest.fixture
    def sign(self) -> Sign:
        return lambda body: request(signing.slack(PLAIN, AT_S, body), body)


class TestShopify(HookContract):
    connector_class = Webhook
    signs_time = False

    @pytest.fixture
    def connector(self) -> Webhook:
        headers = {"signature_header": "x-shopify-hmac-sha256", "id_header": "x-shopify-event-id"}
        return receiving(scheme="hmac", secrets=(Secret(PLAIN),), encoding="base64", **headers)

    @pytest.fixture
    def sign(self) -> Sign:
        return lambda body: request(signing.shopify(PLAIN, "98880550-7158-44d4-b7cd-2c97c8a091b5", body), body)

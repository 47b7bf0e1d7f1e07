"""Receives signed events, and sends answers as signed events."""

from datetime import UTC, datetime
from functools import cached_property
from typing import ClassVar, Self

import httpx
from pydantic import Field, HttpUrl, model_validator

from fieldline_connectors.bounded import Bounds, TooLarge, bounded_json, unpacked
from fieldline_connectors.http import HttpConfig, answer, guarded_client, reason
from fieldline_connectors.webhook import messages
from fieldline_connectors.webhook.schemes import Scheme, id_in_body
from fieldline_connectors.webhook.signatures import check_secrets
from fieldline_core import crash
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Dedupe, Delivery, Event, HookRequest, Slice, Target
from fieldline_core.receipts import Outcome, Receipts, RowReceipt
from fieldline_core.secret import Secret

RETRY_SCHEDULE_S: tuple[float, ...] = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
"""The wait before each attempt, the first included, as Standard Webhooks recommends: about three days in all."""


class WebhookConfig(HttpConfig):
    """Settings of a webhook: `inbound` to receive, `url` to send, or both."""

    inbound: Scheme | None = None
    """How inbound messages are signed."""
    bounds: Bounds = Bounds()
    """How large inbound messages may be."""
    url: HttpUrl | None = None
    """Where messages are sent to."""
    signing_secrets: tuple[Secret, ...] = Field(default=(), max_length=5)
    """Secrets that sign what is sent: `whsec_` (shared) or `whsk_` (private key); several while one is being changed."""
    receiver_dedupes: bool = False
    """Whether the receiver ignores a `webhook-id` that it has seen; if not, a repeat after a broken connection may count twice."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.inbound is None and self.url is None:
            raise ValueError("give inbound to receive messages, url to send them, or both")
        if self.url is not None and not self.signing_secrets:
            raise ValueError("what is sent is always signed: give signing_secrets beside url")
        return self


class WebhookTarget(Target):
    """Sends rows to the webhook's address."""

    event: str = Field(default="records.scored", pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$", max_length=128)
    """Name of the event, which receivers select by."""
    rows_per_message: int = Field(default=100, ge=1, le=1000)
    """Most rows in one message."""


class Webhook:
    """Signed events, in by the scheme of their sender and out by Standard Webhooks 1.0."""

    name = "webhook"
    Config = WebhookConfig
    Target = WebhookTarget
    retry_delays_s: ClassVar[tuple[float, ...]] = RETRY_SCHEDULE_S[1:]
    """Waits before the second, third … attempt, for a retry policy."""

    def __init__(self, config: WebhookConfig) -> None:
        self.config = config

    def check(self) -> None:
        """Returns where the secrets can be had and the receiver answers; what it answers matters only where it is gone."""
        if self.config.inbound:
            check_secrets(self.config.inbound.secrets, standard=self.config.inbound.scheme == "standard")
        if self.config.url:
            messages.headers(self.config.signing_secrets, "check", datetime.now(UTC), b"")
            _refuse_gone(self._client.options(str(self.config.url)))

    def close(self) -> None:
        """Closes the connections to the receiver."""
        if "_client" in self.__dict__:
            self._client.close()
            del self._client

    def receive(self, request: HookRequest) -> Delivery:
        """The verified event: its signature is checked over the raw bytes before anything looks inside them."""
        scheme, bounds = self.config.inbound, self.config.bounds
        if scheme is None:
            raise Misconfigured("this webhook only sends: give its connection `inbound` to receive messages")
        if len(request.body) > bounds.max_bytes:
            raise TooLarge(f"the body has more than {bounds.max_bytes:,} bytes")
        event_id = scheme.verify(request)
        body = unpacked(request.body, request.headers.get("content-encoding", ""), bounds)
        document = bounded_json(body, bounds)
        return Delivery((Event(event_id or id_in_body(scheme, document, body), body),))

    def dedupe(self, target: WebhookTarget) -> Dedupe:
        """NATIVE where the receiver recognises ids; otherwise a message may come twice."""
        return Dedupe.NATIVE if self.config.receiver_dedupes else Dedupe.NONE

    def max_rows(self, target: WebhookTarget) -> int:
        """The most rows of one message."""
        return target.rows_per_message

    def write(self, slice: Slice) -> Receipts:
        """Sends the rows as one message; rows that the receiver names in its answer are refused, the others written."""
        rows, refused = messages.records(slice.batch, slice.overtaken)
        refused |= slice.overtaken_receipts()
        if not rows:
            return Receipts(len(slice.batch), others=refused)
        assert isinstance(slice.target, WebhookTarget)
        response = self._send(slice, messages.message(slice.target.event, rows))
        named = messages.refusals(response)
        for position, key in enumerate(slice.batch.keys if named else ()):
            if key in named and position not in slice.overtaken:
                refused[position] = RowReceipt(Outcome.REFUSED, named[key])
        detail = {"status": response.status_code, "message": messages.message_id(slice.effect_key)}
        return Receipts(len(slice.batch), others=refused, detail=detail)

    def _send(self, slice: Slice, body: bytes) -> httpx.Response:
        if self.config.url is None:
            raise Misconfigured("this webhook only receives: give its connection `url` and `signing_secrets` to send messages")
        headers = messages.headers(self.config.signing_secrets, slice.effect_key, datetime.now(UTC), body)
        crash.point("webhook.send:before")
        response = self._client.post(str(self.config.url), content=body, headers=headers)
        crash.point("webhook.send:after")
        return answer(_refuse_gone(response))

    @cached_property
    def _client(self) -> httpx.Client:
        return guarded_client(self.config)


def _refuse_gone(response: httpx.Response) -> httpx.Response:
    match response.status_code:
        case 410:
            raise Misconfigured(f"{reason(response)}: the endpoint is gone and disabled; give the connection its new address")
        case 404 | 405 if response.request.method != "OPTIONS":
            raise Misconfigured(f"{reason(response)}: no webhook is received there; correct the address of the connection")
    return response

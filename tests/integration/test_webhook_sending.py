"""Outbound webhooks against a receiver that verifies, and that fails in every way a receiver can."""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from fieldline_connectors.webhook import RETRY_SCHEDULE_S, Webhook, WebhookConfig, WebhookTarget
from fieldline_core.batch import Batch
from fieldline_core.errors import FieldlineError, Misconfigured, Rejected, Unavailable
from fieldline_core.ports import Dedupe, Slice
from fieldline_core.receipts import Outcome
from fieldline_core.secret import Secret
from fieldline_simulators import webhook_signing as signing
from fieldline_simulators.webhook_receiver import Inbox, Receiver, running
from fieldline_simulators.webhook_sender import send_all

SHARED = "whsec_" + base64.b64encode(bytes(range(32))).decode()
PRIVATE, PUBLIC = signing.new_key_pair(bytes(range(32)))
ROWS = Batch.of(["a", "b", "c"], pl.DataFrame({"score": [0.25, 0.5, 1.0], "name": ["Smith", "Zoë", None]}))
TARGET = WebhookTarget(fields={"score": "score", "name": "name"}, event="customer.scored")
EFFECT = "e" * 64


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running(SHARED) as receiver:
        yield receiver


@pytest.fixture
def webhook(receiver: Receiver) -> Iterator[Webhook]:
    webhook = sending(receiver.url)
    yield webhook
    webhook.close()


def sending(url: str, secret: str = SHARED, **settings: Any) -> Webhook:
    allowed = [{"host": "127.0.0.1", "network": "127.0.0.0/8"}]
    outbound = {"url": url, "signing_secrets": [Secret(secret)], "allow_private": allowed, "timeout_s": 2.0, "total_timeout_s": 2.0}
    return Webhook(WebhookConfig.model_validate({**outbound, **settings}))


def slice_of(batch: Batch = ROWS, effect_key: str = EFFECT, fence: int = 1) -> Slice:
    return Slice(effect_key, fence, TARGET, batch)


def test_rows_arrive_as_one_signed_message(webhook: Webhook, receiver: Receiver) -> None:
    receipts = webhook.write(slice_of())
    [message] = receiver.inbox.messages.values()
    assert message["id"] == f"fl_{EFFECT}"
    assert message["body"]["type"] == "customer.scored"
    assert message["body"]["data"]["records"][1] == {"key": "b", "fields": {"score": 0.5, "name": "Zoë"}}
    assert receipts.count(Outcome.WRITTEN) == 3
    assert receipts.detail == {"status": 200, "message": f"fl_{EFFECT}"}
    assert receiver.inbox.attempts[0]["idempotency-key"] == f"fl_{EFFECT}"


def test_a_private_key_signs_too() -> None:
    with running(PUBLIC) as receiver:
        webhook = sending(receiver.url, PRIVATE)
        assert webhook.write(slice_of()).rows == 3
        webhook.close()


def test_every_attempt_has_the_same_id_and_the_same_bytes(webhook: Webhook, receiver: Receiver) -> None:
    receiver.inbox.faults[:] = [{"kind": "drop"}, {"kind": "status", "status": 503}]
    for _ in range(2):
        with pytest.raises(Unavailable):
            webhook.write(slice_of())
    webhook.write(slice_of(fence=2))
    assert {attempt["webhook-id"] for attempt in receiver.inbox.attempts} == {f"fl_{EFFECT}"}
    assert [attempt["became"] for attempt in receiver.inbox.attempts] == ["stored", "failed", "repeated"]


def test_values_are_written_as_json_writes_them(webhook: Webhook, receiver: Receiver) -> None:
    columns = {
        "at": [datetime.fromisoformat("2026-05-04T03:02:01")],
        "day": [date(2026, 5, 4)],
        "amount": ["12.50"],
        "lines": [[{"sku": "x", "count": 2}]],
        "raw": [b"\x00\xff"],
    }
    webhook.write(slice_of(Batch.of(["a"], pl.DataFrame(columns))))
    [message] = receiver.inbox.messages.values()
    assert message["body"]["data"]["records"][0]["fields"] == {
        "at": "2026-05-04T03:02:01Z", "day": "2026-05-04", "amount": "12.50", "lines": [{"sku": "x", "count": 2}], "raw": "AP8=",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["drop", "hold", "truncate", "drip"])
def test_an_answer_that_breaks_off_leaves_it_open_whether_it_was_written(webhook: Webhook, receiver: Receiver, kind: str) -> None:
    receiver.inbox.faults[:] = [{"kind": kind}]
    with pytest.raises(Unavailable) as caught:
        webhook.write(slice_of())
    assert caught.value.sent
    assert list(receiver.inbox.messages) == [f"fl_{EFFECT}"]
    assert webhook.write(slice_of(fence=2)).count(Outcome.WRITTEN) == 3
    assert len(receiver.inbox.messages) == 1


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ({"status": 410}, Misconfigured, "gone and disabled"),
        ({"status": 404}, Misconfigured, "correct the address"),
        ({"status": 302, "location": "http://127.0.0.1:1/"}, Misconfigured, "redirect"),
        ({"status": 401}, Misconfigured, "credentials"),
        ({"status": 400}, Rejected, "400"),
        ({"status": 429, "retry_after": 7}, Unavailable, "429"),
        ({"status": 500}, Unavailable, "500"),
    ],
)
def test_a_refusal_means_what_its_status_means(
    webhook: Webhook, receiver: Receiver, fault: dict[str, Any], error: type[FieldlineError], message: str
) -> None:
    receiver.inbox.faults[:] = [{"kind": "status", **fault}]
    with pytest.raises(error, match=message) as caught:
        webhook.write(slice_of())
    assert getattr(caught.value, "retry_after", None) == fault.get("retry_after")
    assert len(receiver.inbox.attempts) == 1


def test_a_receiver_can_refuse_single_rows(webhook: Webhook, receiver: Receiver) -> None:
    receiver.inbox.faults[:] = [{"kind": "refuse", "keys": ["b", "nobody"], "reason": "no such customer"}]
    receipts = webhook.write(slice_of())
    assert [receipts[row].outcome for row in range(3)] == [Outcome.WRITTEN, Outcome.REFUSED, Outcome.WRITTEN]
    assert receipts[1].reason == "the receiver refused it: no such customer"


def test_a_receiver_cannot_bring_values_into_receipts(webhook: Webhook, receiver: Receiver) -> None:
    receiver.inbox.faults[:] = [{"kind": "refuse", "keys": ["b"], "reason": "iban DE89370400440532013000"}]
    assert webhook.write(slice_of())[1].reason == "the receiver refused it"


def test_rows_that_json_cannot_hold_are_not_sent(webhook: Webhook, receiver: Receiver) -> None:
    broken = Batch.of(["x", "y"], pl.DataFrame({"score": [float("nan"), float("inf")]}))
    assert webhook.write(slice_of(broken)).count(Outcome.REFUSED) == 2
    assert receiver.inbox.attempts == []


def test_one_connection_serves_many_messages(webhook: Webhook, receiver: Receiver) -> None:
    for number in range(5):
        webhook.write(slice_of(effect_key=f"{number}" * 64))
    assert len(receiver.inbox.messages) == 5


def test_it_says_whether_a_repeat_is_harmless(receiver: Receiver) -> None:
    assert sending(receiver.url).dedupe(TARGET) is Dedupe.NONE
    assert sending(receiver.url, receiver_dedupes=True).dedupe(TARGET) is Dedupe.NATIVE


def test_attempts_go_on_for_three_days() -> None:
    assert RETRY_SCHEDULE_S[:3] == (0, 5, 300)
    assert Webhook.retry_delays_s == RETRY_SCHEDULE_S[1:]
    assert 70 < sum(RETRY_SCHEDULE_S) / 3600 < 80


def test_each_half_says_what_it_lacks(receiver: Receiver) -> None:
    inbound_only = Webhook(WebhookConfig.model_validate({"inbound": {"scheme": "github", "secrets": [Secret(SHARED)]}}))
    with pytest.raises(Misconfigured, match="only receives"):
        inbound_only.write(slice_of())
    inbound_only.check()


def test_another_body_under_the_same_id_is_a_conflict(webhook: Webhook, receiver: Receiver) -> None:
    webhook.write(slice_of())
    with pytest.raises(Rejected, match="409"):
        webhook.write(slice_of(ROWS.slice(0, 1)))


def test_a_receiver_remembers_over_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "received.jsonl"
    for attempts in (["stored"], ["repeated"]):
        with running(SHARED, file) as receiver:
            webhook = sending(receiver.url)
            webhook.write(slice_of())
            webhook.close()
            assert [attempt["became"] for attempt in receiver.inbox.attempts] == attempts
    assert len(Inbox(SHARED, file).messages) == 1


def test_the_sender_and_the_receiver_run_as_programs(tmp_path: Path) -> None:
    port_file, events = tmp_path / "port", tmp_path / "events.jsonl"
    events.write_text("".join(json.dumps({"id": f"e{number}", "n": number}) + "\n" for number in range(3)))
    program = [sys.executable, "-m", "fieldline_simulators.webhook_receiver", "--port-file", str(port_file), "--secret", SHARED]
    process = subprocess.Popen(program)
    try:
        while not port_file.exists():
            assert process.poll() is None
            time.sleep(0.01)
        url = f"http://127.0.0.1:{port_file.read_text()}"
        arguments = ["--url", f"{url}/hook", "--secret", SHARED, "--file", str(events)]
        sent = subprocess.run(
            [sys.executable, "-m", "fieldline_simulators.webhook_sender", *arguments], capture_output=True, check=True
        )
        assert json.loads(sent.stdout) == {"200": 3}
        received = httpx.get(f"{url}/received", trust_env=False).json()
        assert [message["id"] for message in received["messages"]] == ["e0", "e1", "e2"]
    finally:
        process.kill()
        process.wait()


def test_the_sender_repeats_until_it_is_heard(receiver: Receiver) -> None:
    receiver.inbox.faults[:] = [{"kind": "status", "status": 503}, {"kind": "drop"}]
    assert send_all(receiver.url, "standard", SHARED, [b'{"id": "x"}']) == {200: 1}
    assert [attempt["became"] for attempt in receiver.inbox.attempts] == ["failed", "stored", "repeated"]

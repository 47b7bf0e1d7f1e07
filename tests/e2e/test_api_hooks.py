"""Signed events over loopback HTTP: stored once before they are acknowledged, and nothing else gets in."""

import asyncio
import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.api import Served, Template, client_of, problem, served, signed
from tests.conftest import Eventually

from fieldline_connectors.webhook import Webhook
from fieldline_core.ports import Delivery, Event
from fieldline_core.settings import Settings
from fieldline_core.store import Store
from fieldline_server.run_file import PORT_FILE

FORGED = 10_000
SERVE = "from fieldline_core.settings import Settings; from fieldline_server.api import serve; serve(Settings())"


@pytest.fixture
def api(template: Template, tmp_path: Path) -> Iterator[Served]:
    with served(template, tmp_path, max_waiting_events=3) as here:
        yield here


def stored(store: Store) -> list[Any]:
    with store.transaction("test") as tx:
        return tx.connection.execute(b"SELECT id, sender, event_id FROM inbox ORDER BY id").fetchall()


def test_an_event_is_stored_once_however_often_it_comes(api: Served, client: httpx.Client) -> None:
    first = client.post("/hooks/triage", **signed("m1", {"id": "k", "a": 1}))
    again = client.post("/hooks/triage", **signed("m1", {"id": "k", "a": 1}))
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json() == again.json() == {"events": [stored(api.engine.store)[0]["id"]]}
    assert len(stored(api.engine.store)) == 1


def test_an_event_that_is_refused_keeps_none_of_its_message_from_being_stored(
    api: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (Event("e1", b'{"a": 1}'), Event("e2", b'{"id": "k", "a": 1}'))
    monkeypatch.setattr(Webhook, "receive", lambda self, request: Delivery(given))
    refused = client.post("/hooks/triage", **signed("m1", {"id": "k", "a": 1}))
    assert 400 <= refused.status_code < 500
    assert [row["event_id"] for row in stored(api.engine.store)] == ["e2"]


def test_another_message_under_a_known_id_is_a_conflict_and_a_security_event(api: Served, client: httpx.Client) -> None:
    client.post("/hooks/triage", **signed("m1", {"id": "k", "a": 1}))
    problem(client.post("/hooks/triage", **signed("m1", {"id": "k", "a": 2})), 409, "conflict")
    assert len(api.events("hook.conflict")) == len(stored(api.engine.store)) == 1


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        ({"content": b"{}"}, 401, "forged"),
        (signed("m", {"id": "k"}, secret="whsec_" + "A" * 44), 401, "forged"),
        (signed("m", {"id": "k"}, at_s=time.time() - 600), 401, "forged"),
        (signed("m", b"[" * 100), 413, "too_large"),
        (signed("m", b"{"), 422, "rejected"),
        (signed("m", b'{"id": "k", "id": "l"}'), 422, "rejected"),
        (signed("m", b'{"id": NaN}'), 422, "rejected"),
        (signed("m", {"a": 1}), 422, "rejected"),
        (signed("m", {"id": ["k"]}), 422, "rejected"),
        (signed("m", b" " * 1_048_577), 413, "too_large"),
    ],
)
def test_what_is_no_sound_message_of_its_sender_is_refused(
    call: dict[str, Any], status: int, code: str, api: Served, client: httpx.Client
) -> None:
    problem(client.post("/hooks/triage", **call), status, code)
    assert stored(api.engine.store) == []
    assert f'fieldline_hook_events_total{{flow="triage",outcome="{code}"}} 1.0' in client.get("/metrics").text


def test_a_body_that_unpacks_to_far_more_is_refused(api: Served, client: httpx.Client) -> None:
    call = signed("m", gzip.compress(b" " * 50_000_000))
    problem(client.post("/hooks/triage", **{**call, "headers": {**call["headers"], "content-encoding": "gzip"}}), 413, "too_large")


def test_a_body_without_an_end_is_refused_before_it_is_held(client: httpx.Client) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 200 * 65536:
            sent += 65536
            yield b" " * 65536

    try:
        problem(client.post("/hooks/triage", content=endless()), 413, "too_large")
    except httpx.TransportError:
        # The server may hang up while we still send.
        assert sent < 200 * 65536


@pytest.mark.parametrize("flow", ["nightly", "none", "Triage", "x" * 500])
def test_where_no_webhook_is_expected_nothing_more_is_said(flow: str, client: httpx.Client) -> None:
    assert problem(client.post(f"/hooks/{flow}", **signed("m", {"id": "k"})), 404, "not_found")["detail"] == "there is no such flow"


def test_the_sender_is_told_to_wait_while_too_many_events_do(api: Served, client: httpx.Client) -> None:
    for number in range(3):
        assert client.post("/hooks/triage", **signed(f"m{number}", {"id": "k"})).status_code == 202
    api.app.state.backend.intake._counted_at = float("-inf")
    full = client.post("/hooks/triage", **signed("m3", {"id": "k"}))
    problem(full, 429, "too_many")
    assert int(full.headers["retry-after"]) > 0
    assert len(stored(api.engine.store)) == 3


def test_a_webhook_whose_secret_is_missing_can_be_sent_again_and_says_no_more(client: httpx.Client, template: Template) -> None:
    secret = template.folder / "webhook.secret"
    secret.rename(kept := secret.with_suffix(".away"))
    refused = client.post("/hooks/triage", **signed("m", {"id": "k"}))
    kept.rename(secret)
    assert "secret" not in problem(refused, 503, "unavailable")["detail"]


def test_an_outage_of_the_database_is_told_as_one(api: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.post("/hooks/triage", **signed("m0", {"id": "k"}))
    monkeypatch.setattr(api.engine.store, "_pool", Store("postgresql://nobody@127.0.0.1:1/none", connections=1)._pool)
    api.engine.store._pool.timeout = 0.1
    problem(client.post("/hooks/triage", **signed("m1", {"id": "k"})), 503, "unavailable")


def test_refused_messages_are_counted_in_one_audit_event_a_minute(api: Served) -> None:
    with client_of(api) as client:
        for _ in range(5):
            client.post("/hooks/triage", content=b"{}")
        assert [row["detail"]["count"] for row in api.events("hook.rejected")] == [1]
    assert next(row["detail"] for row in api.events("hook.rejected")) == {"flow": "triage", "count": 4, "reasons": {"forged": 4}}


@contextmanager
def server(settings: Settings, eventually: Eventually) -> Iterator[tuple[int, int]]:
    """`fieldline api` in a process of its own; its number and its port."""
    environment = {
        "FIELDLINE_DATABASE_URL": settings.database_url.get_secret_value(),
        "FIELDLINE_DATA_DIRECTORY": str(settings.data_directory),
        "FIELDLINE_KEY_FILE": str(settings.key_file),
        "FIELDLINE_API_PORT": "0",
    }
    process = subprocess.Popen([sys.executable, "-c", SERVE], env={**os.environ, **environment})
    try:
        file = settings.data_directory / PORT_FILE
        assert eventually(lambda: file.exists() or process.poll() is not None)
        yield process.pid, int(file.read_text())
        process.terminate()
        assert process.wait(120) == 0
        assert not file.exists()
    finally:
        process.kill()
        process.wait()


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def good_of(number: int, body: bytes) -> tuple[bytes, dict[str, str]]:
    """A message of its sender, whatever it holds."""
    call = signed(f"m{number}", body)
    return call["content"], call["headers"]


def wrong(number: int, chance: random.Random) -> tuple[bytes, dict[str, str]]:
    """A message that is malformed, or not from its sender, in one of many ways."""
    record = {"id": f"k{number}", "a": chance.random(), "note": "x" * chance.randrange(200)}
    good = signed(f"m{number}", record)
    body, headers = good["content"], dict(good["headers"])
    match number % 10:
        case 0:
            body = bytes(chance.randrange(256) for _ in range(chance.randrange(300)))
        case 1:
            body = body[: chance.randrange(len(body))]
        case 2:
            headers["webhook-signature"] = headers["webhook-signature"][:-4] + chance.choice(["AAA=", "", "====", "v1,v1"])
        case 3:
            headers.pop(chance.choice(list(headers)))
        case 4:
            headers = signed(f"m{number}", record, at_s=chance.choice([0, -5, 1e9, time.time() + 1e5]))["headers"]
        case 5:
            return good_of(
                number, b'{"id": "k", "a": ' + chance.choice([b"NaN", b"[" * 500, b'"\xff"', b"1e999", b"}", b'"\\u0000"'])
            )
        case 6:
            headers = {name: chance.choice(["", "v1,", " ", "0", value * 90]) for name, value in headers.items()}
        case 7:
            return good_of(number, chance.choice([b"", b"null", b"[]", b"7", b'"id"', b'{"a": 1}', b'{"id": {}}']))
        case 8:
            headers = signed(f"m{number}", record, secret="whsec_" + "Zm9yZ2VkIGZvcmdlZCBmb3JnZWQ=")["headers"]
        case _:
            headers["content-encoding"] = chance.choice(["gzip", "br", "gzip, gzip", "deflate"])
    return body, headers


async def post_all(port: int, messages: Iterator[tuple[bytes, dict[str, str]]]) -> Counter[int]:
    """Posts all messages over a few connections, and counts the statuses."""
    statuses: Counter[int] = Counter()

    async def post_some() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body, headers in messages:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = f"POST /hooks/triage HTTP/1.1\r\nhost: here\r\n{lines}content-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            json.loads(await reader.readexactly(int(length.split(b":")[1])))
            statuses[int(answer.split(b" ", 2)[1])] += 1
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(post_some() for _ in range(6)))
    return statuses


def test_ten_thousand_malformed_or_forged_messages_are_refused_in_flat_memory(api: Served, eventually: Eventually) -> None:
    chance = random.Random(4711)
    with server(api.engine.settings, eventually) as (pid, port):
        asyncio.run(post_all(port, (wrong(number, chance) for number in range(500))))
        before = resident_bytes(pid)
        statuses = asyncio.run(post_all(port, (wrong(number, chance) for number in range(FORGED))))
        grown = resident_bytes(pid) - before
        assert statuses.total() == FORGED
        assert set(statuses) <= {401, 413, 422}, statuses
        assert grown < 50_000_000
        good = signed("good", {"id": "k"})
        assert asyncio.run(post_all(port, iter([(good["content"], good["headers"])]))) == {202: 1}
    assert [row["event_id"] for row in stored(api.engine.store)] == ["good"]

"""The relay: what it rings for, and that one bad flow, target or broker does not keep it from the others."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.conftest import Eventually
from tests.engines import Bench, answers, documents, put

from fieldline_connectors import memory
from fieldline_core.errors import Unavailable
from fieldline_core.pipeline import manage, retention, schedule
from fieldline_core.pipeline.relay import Relay, Verb
from fieldline_core.ports import Slice
from fieldline_core.receipts import Receipts
from fieldline_server.broker import Bell
from fieldline_server.wiring import open_engine


def change_connector(bench: Bench, name: str) -> None:
    """Somebody published the connection anew, for another connector, past the check of its flows."""
    body = """jsonb_build_object('connection', %s::text, 'connector', 'webhook', 'settings', '{}'::jsonb)"""
    bench.all(f"UPDATE document SET body = {body} WHERE kind = 'connection' AND name = %s RETURNING 1", name, name)


def intend(bench: Bench, name: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores rows of a flow, one effect each, and leaves them unwritten."""
    monkeypatch.setattr(memory.Memory, "max_rows", lambda self, target: 1)
    put(name, {f"k{i:03}": (1.0, 0.0) for i in range(rows)})
    bench.apply(documents(name))
    manage.request_run(bench.engine, name, "test")
    bench.all("UPDATE tenant SET paused_at = now(), paused_by = 'test', writes_paused = 'test' RETURNING 1")
    bench.drain()
    bench.all("UPDATE tenant SET paused_at = NULL, paused_by = NULL, writes_paused = NULL RETURNING 1")


def rung(bench: Bench) -> list[str]:
    """The targets of the writes that one round rings for."""
    bench.relay.round()
    ids = [id for _, verb, id in bench.hints if verb == "write"]
    bench.hints = []
    return [row["target"] for row in bench.all("SELECT target FROM effect WHERE id = ANY(%s) ORDER BY id", ids)]


def test_a_flow_whose_query_is_no_longer_valid_pauses_and_the_others_run(bench: Bench) -> None:
    for name in ("broken", "sound"):
        put(name, {"x": (1.0, 0.0)})
        bench.apply(documents(name, trigger={"every": "1h"}))
    change_connector(bench, "broken")
    bench.all("UPDATE flow SET next_at = now() RETURNING 1")

    bench.drain()

    assert answers("sound") == {"x": 2.0}
    (flow,) = bench.all("SELECT name, paused_by, paused_reason FROM flow WHERE paused_at IS NOT NULL")
    assert (flow["name"], flow["paused_by"]) == ("broken", "engine")
    assert "schedule" in flow["paused_reason"]
    (event,) = bench.all("SELECT actor, detail FROM audit_outbox WHERE event = 'flow.paused'")
    assert (event["actor"], event["detail"]["flow"]) == ("engine", "broken")


def test_events_of_a_release_that_cannot_be_read_pause_their_flow_only(bench: Bench) -> None:
    for name in ("unreadable", "sound"):
        put(name, {"x": (1.0, 0.0)})
        bench.apply(documents(name, trigger={"every": "1h"}))
    bench.all("""UPDATE release SET body = jsonb_set(body, '{flow}', '{"flow": "unreadable"}')
        WHERE flow_id = (SELECT id FROM flow WHERE name = 'unreadable') RETURNING 1""")
    bench.all("""INSERT INTO inbox (tenant_id, flow_id, release_id, sender, event_id, body, body_hash)
        SELECT 1, id, release_id, 'sender', 'e1', '', '' FROM flow WHERE name = 'unreadable' RETURNING 1""")
    # Another process remembers no release.
    engine = open_engine(bench.engine.settings, "relay", connections=2)
    manage.request_run(bench.engine, "sound", "test")

    assert Relay(engine, lambda queue, verb, id: True).round() == 1

    engine.store.close()
    assert [row["name"] for row in bench.all("SELECT name FROM flow WHERE paused_at IS NOT NULL")] == ["unreadable"]


def test_the_relay_goes_on_after_an_unexpected_exception(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    rounds: list[int] = []

    def fails_once(self: Relay) -> int:
        rounds.append(1)
        if len(rounds) == 1:
            raise KeyError("nobody expected this")
        return 0

    monkeypatch.setattr(Relay, "round", fails_once)
    thread = threading.Thread(target=bench.relay.run)
    thread.start()
    try:
        eventually(lambda: len(rounds) > 1)
    finally:
        bench.relay.stop()
        thread.join()


def test_work_is_rung_for_although_the_sweep_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put("swept", {"x": (1.0, 0.0)})
    bench.apply(documents("swept"))
    manage.request_run(bench.engine, "swept", "test")

    def fails(self: Relay) -> None:
        raise KeyError("nobody expected this")

    monkeypatch.setattr(Relay, "_sweep", fails)
    with pytest.raises(KeyError):
        bench.relay.round()

    assert [verb for _, verb, _ in bench.hints] == ["read"]


def test_a_schedule_keeps_its_time_however_late_the_relay_is(bench: Bench) -> None:
    put("late", {"x": (1.0, 0.0)})
    bench.apply(documents("late", trigger={"every": "1h"}))
    bench.all("UPDATE flow SET next_at = now() - interval '150 minutes' RETURNING 1")
    (before,) = bench.all("SELECT next_at FROM flow")

    schedule.fire_schedules(bench.engine)

    (after,) = bench.all("SELECT next_at FROM flow")
    assert (after["next_at"] - before["next_at"]).total_seconds() == 3 * 3600


def test_a_cron_schedule_is_in_utc_whatever_the_zone_of_the_session(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", "America/New_York")
    bench = Bench(database_url, tmp_path)
    bench.import_linear(tmp_path)
    bench.apply(documents("daily", trigger={"schedule": "0 6 * * *"}))

    (flow,) = bench.all("SELECT next_at FROM flow")
    (zone,) = bench.all("SHOW timezone")
    bench.close()

    assert flow["next_at"].astimezone(UTC).hour == 6
    assert zone["TimeZone"] == "UTC"
    assert schedule.next_time("0 6 * * *", datetime.fromisoformat("2026-03-01T00:30:00-05:00")).astimezone(UTC).hour == 6


def test_a_target_that_is_down_takes_no_room_and_its_work_is_not_put_off(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    intend(bench, "down", 20, monkeypatch)
    intend(bench, "up", 3, monkeypatch)
    bench.all("UPDATE target SET breaker = 'open', retry_at = now() + interval '1 hour' WHERE name = 'down' RETURNING 1")
    (due,) = bench.all("SELECT max(due_at) AS at FROM effect WHERE target = 'down'")

    bench.drain()

    assert answers("up") == {f"k{i:03}": 2.0 for i in range(3)}
    assert bench.all("SELECT max(due_at) AS at FROM effect WHERE target = 'down'") == [due]
    bench.all("UPDATE target SET retry_at = now() WHERE name = 'down' RETURNING 1")
    assert rung(bench) == ["down"]
    bench.drain()
    assert len(answers("down")) == 20


def test_each_target_is_rung_for_as_often_as_it_is_free(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(database_url, tmp_path, resend_s=60)
    bench.import_linear(tmp_path)
    intend(bench, "narrow", 20, monkeypatch)
    intend(bench, "wide", 20, monkeypatch)
    bench.all("UPDATE target SET concurrency = CASE name WHEN 'narrow' THEN 2 ELSE 4 END RETURNING 1")

    assert rung(bench) == ["narrow"] * 2 + ["wide"] * 4
    assert rung(bench) == []

    lease = "lease_owner = 'other', lease_until = now() + interval '1 minute'"
    bench.all(f"UPDATE effect SET {lease} WHERE sent_at IS NOT NULL RETURNING 1")
    assert rung(bench) == []
    bench.all("UPDATE effect SET lease_owner = NULL, lease_until = NULL WHERE lease_owner IS NOT NULL RETURNING 1")
    bench.close()


def test_a_target_whose_rate_is_used_up_is_not_rung_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    intend(bench, "slow", 5, monkeypatch)
    bench.all("UPDATE target SET rate_per_s = 0.0001, burst = 10, tokens = 2, refilled_at = now() RETURNING 1")

    assert rung(bench) == ["slow"] * 2
    bench.all("UPDATE target SET tokens = 0, refilled_at = now() RETURNING 1")
    assert rung(bench) == []


def test_a_worker_has_not_stalled_while_a_target_takes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    intend(bench, "quiet", 1, monkeypatch)
    bench.all("UPDATE effect SET due_at = now() - interval '1 hour' RETURNING 1")
    bench.all("UPDATE worker SET started_at = now() - interval '1 hour', claimed_at = NULL RETURNING 1")

    def stalled() -> bool:
        with bench.engine.store.transaction("stalled") as tx:
            row = tx.one("relay.stalled", id="worker", stall_s=60)
        return bool(row and row["yes"])

    assert stalled()
    bench.all("UPDATE target SET breaker = 'open', retry_at = now() + interval '1 hour' RETURNING 1")
    assert not stalled()
    bench.drain()
    bench.all("UPDATE target SET retry_at = now() RETURNING 1")
    bench.all("UPDATE effect SET due_at = now() RETURNING 1")


def test_ringing_stops_at_the_first_lost_hint_and_the_rest_is_rung_for_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    intend(bench, "lost", 4, monkeypatch)
    rings: list[int] = []
    working = False

    def half_open(queue: str, verb: Verb, id: int) -> bool:
        rings.append(id)
        return working or len(rings) == 1

    relay = Relay(bench.engine, half_open)

    assert relay.round() == 1
    assert len(rings) == 2
    assert len(bench.all("SELECT 1 FROM effect WHERE sent_at IS NULL")) == 3
    working = True
    relay._rings_at = 0.0
    relay.round()
    assert set(rings) == {row["id"] for row in bench.all("SELECT id FROM effect")}


def test_a_round_prunes_one_batch_and_rings_meanwhile(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put("old", {f"k{i:03}": (1.0, 0.0) for i in range(3)})
    bench.apply(documents("old"))
    for _ in range(5):
        manage.request_run(bench.engine, "old", "test", rescore=True)
        bench.drain()
    ago = "now() - interval '100 days'"
    bench.all(f"UPDATE chunk SET done_at = {ago} RETURNING 1")
    bench.all(f"UPDATE run SET finished_at = {ago} RETURNING 1")
    manage.request_run(bench.engine, "old", "test")
    monkeypatch.setattr(retention, "_BATCH", 2)

    def left() -> int:
        return sum(len(bench.all(f"SELECT 1 FROM {table}")) for table in ("effect", "chunk", "run"))

    before = left()
    bench.relay._pruned_at = float("-inf")
    assert bench.relay.round() == 1
    assert 0 < before - left() <= 2
    bench.hints = []
    for _ in range(50):
        bench.relay.round()

    assert left() == 1
    removed = bench.all("SELECT sum((detail->>t)::int) AS n FROM audit_outbox, unnest(ARRAY['effects', 'chunks', 'runs']) t "
                        "WHERE event = 'retention.applied'")  # fmt: skip
    assert removed[0]["n"] == before - 1


def test_ended_dead_letters_and_lost_workers_go_after_their_time(bench: Bench) -> None:
    put("letters", {"bad": (None, 1.0), "worse": (None, 2.0), "open": (None, 3.0)})
    bench.apply(documents("letters"))
    manage.request_run(bench.engine, "letters", "test")
    bench.drain()
    first, second, third = (row["id"] for row in bench.all("SELECT id FROM dead_letter ORDER BY id"))
    bench.all("UPDATE dead_letter SET created_at = now() - interval '100 days' RETURNING 1")
    bench.all("UPDATE dead_letter SET state = 'discarded', ended_at = now() - interval '31 days' WHERE id = %s RETURNING 1", first)
    bench.all("UPDATE dead_letter SET state = 'replayed', ended_at = now() WHERE id = %s RETURNING 1", second)
    bench.all("INSERT INTO worker (id, queues, slots, seen_at) VALUES ('gone', '{cpu}', 1, now() - interval '2 days') RETURNING 1")

    bench.relay._pruned_at = float("-inf")
    for _ in range(20):
        bench.relay.round()

    assert [row["id"] for row in bench.all("SELECT id FROM dead_letter ORDER BY id")] == [second, third]
    assert [row["id"] for row in bench.all("SELECT id FROM worker")] == ["worker"]


def test_a_target_that_answers_again_after_its_breaker_opened_gets_everything(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = memory.Memory.write
    away = True

    def answers_later(self: memory.Memory, slice: Slice) -> Receipts:
        if away:
            raise Unavailable("the target is away")
        return write(self, slice)

    intend(bench, "returns", 30, monkeypatch)
    monkeypatch.setattr(memory.Memory, "write", answers_later)
    bench.drain()
    assert bench.all("SELECT breaker FROM target")[0]["breaker"] == "open"

    away = False
    manage.retry_target(bench.engine, "test", "returns")
    bench.drain()

    assert len(answers("returns")) == 30


def test_a_bell_says_whether_the_broker_took_the_hint(redis_url: str) -> None:
    assert Bell(redis_url)("write", "write", 1) is True
    # Nothing listens on port 1.
    assert Bell("redis://127.0.0.1:1/0")("write", "write", 1) is False

"""Searching: decisions and audit events by what a line asks for, page by page."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.engines import Bench, documents, put

from fieldline_core.errors import Rejected
from fieldline_core.pipeline.erase import erase
from fieldline_core.pipeline.manage import pause_flow, request_run, resume_flow
from fieldline_core.pipeline.sequence import seal_all
from fieldline_core.search import search_decisions, search_events
from fieldline_core.store.migrate import migrations
from fieldline_server.embedded import Postgres

KEYS = [f"k{number:02}" for number in range(30)]


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(database_url, tmp_path, chunk_rows=10)
    bench.import_linear(tmp_path)
    yield bench
    bench.close()


def decide(bench: Bench, name: str, rows: Mapping[str, tuple[float | None, float | None]], **flow: Any) -> None:
    """A flow's decisions on these records: the score is 2a - b."""
    put(name, rows)
    bench.apply(documents(name, **flow))
    request_run(bench.engine, name, "cli:test")
    bench.drain()


def found(bench: Bench, line: str, limit: int = 100) -> list[str]:
    """The keys of all decisions that a line finds, page by page."""
    keys, cursor = [], None
    while True:
        page = search_decisions(bench.engine, line, "cli:test", limit, cursor)
        keys += [each["key"] for each in page.items]
        assert len(page.items) <= limit
        if page.next is None:
            return keys
        cursor = page.next


def events(bench: Bench, line: str) -> list[str]:
    """The types of the events that a line finds."""
    return [each["event"] for each in search_events(bench.engine, line, 500).items]


def test_a_range_of_scores_is_exact_at_both_ends_whatever_the_pages(bench: Bench) -> None:
    decide(bench, "range", {key: (number / 20, 0.0) for number, key in enumerate(KEYS)})
    for limit in (1, 3, 100):
        assert sorted(found(bench, "flow:range score:0.7..0.9", limit)) == KEYS[7:10]
    assert sorted(found(bench, "flow:range score:2.5..")) == KEYS[25:]
    assert found(bench, "flow:range score:0.7") == ["k07"], "as it is shown, though no float is 0.7"
    assert found(bench, "flow:range score:5..") == []


def test_batches_that_cannot_hold_it_are_not_opened(bench: Bench) -> None:
    decide(bench, "closed", {key: (number / 20, 0.0) for number, key in enumerate(KEYS)})
    newest = "(SELECT max(id) FROM evidence WHERE kind = 'decisions')"
    bench.all(f"UPDATE evidence SET body = '\\x00' WHERE kind = 'decisions' AND id <> {newest} RETURNING id")
    assert sorted(found(bench, "score:2.5.. outcome:scored")) == KEYS[25:]


def test_a_batch_without_a_zone_or_with_another_s_is_opened(bench: Bench) -> None:
    decide(bench, "old", {key: (number / 20, 0.0) for number, key in enumerate(KEYS)})
    bench.all("UPDATE evidence SET zone = NULL WHERE id %% 2 = 0 RETURNING id")
    bench.all("UPDATE evidence SET zone = '\\x00' WHERE id %% 2 = 1 RETURNING id")
    assert sorted(found(bench, "score:0.7..0.9 outcome:written")) == KEYS[7:10]


def test_pages_stay_as_they_are_while_new_decisions_come(bench: Bench) -> None:
    decide(bench, "stable", dict.fromkeys(KEYS, (1.0, 0.0)))
    whole = found(bench, "flow:stable")
    first = search_decisions(bench.engine, "flow:stable", "cli:test", 7)
    decide(bench, "stable", {f"new{number}": (1.0, 0.0) for number in range(5)})
    second = search_decisions(bench.engine, "flow:stable", "cli:test", 7, first.next)
    assert [each["key"] for each in [*first.items, *second.items]] == whole[:14]
    assert sorted(whole) == KEYS
    with pytest.raises(Rejected, match="another search line"):
        search_decisions(bench.engine, "flow:other", "cli:test", 7, first.next)


def test_outcomes_are_those_of_the_decision_and_of_the_target(bench: Bench) -> None:
    decide(bench, "outcome", {"good": (1.0, 0.0), "bad": (None, 0.0)})
    assert found(bench, "outcome:held") == ["bad"]
    assert found(bench, "outcome:scored") == found(bench, "outcome:written") == ["good"]
    assert sorted(found(bench, "outcome:held outcome:written")) == ["bad", "good"]
    assert found(bench, "outcome:refused") == []


def test_what_was_erased_is_not_found(bench: Bench) -> None:
    decide(bench, "gone", {key: (number / 20, 0.0) for number, key in enumerate(KEYS)})
    erase(bench.engine, "k08", "cli:test", "asked")
    assert sorted(found(bench, "score:0.7..0.9")) == ["k07", "k09"]
    assert found(bench, "record:k08") == []
    assert "k08" not in found(bench, "flow:gone")
    zones = bench.all("SELECT zone FROM evidence")
    assert all(zone["zone"] is not None for zone in zones)


def test_releases_are_found_by_flow_model_and_mapping(bench: Bench) -> None:
    decide(bench, "one", {"a": (1.0, 0.0)})
    decide(bench, "two", {"a": (2.0, 0.0), "b": (2.0, 0.0)})
    (decision,) = search_decisions(bench.engine, "record:a flow:one", "cli:test").items
    assert decision["outputs"] == {"score": 2.0}
    version, digest = decision["models"][0]["digest"][:20], decision["mapping"][:12]
    for line in (f"model:linear@{version}", "model:linear@1", "model:linear flow:one flow:two"):
        assert sorted(found(bench, line)) == ["a", "a", "b"], line
    for line in ("mapping:one", f"mapping:@{digest}", f"mapping:one@{digest} record:a", f"decision:{decision['decision']}"):
        assert found(bench, line) == ["a"], line
    for line in ("model:linear@2", "model:other", "mapping:one flow:two", f"decision:{decision['decision']} flow:two"):
        assert found(bench, line) == [], line
    with pytest.raises(Rejected, match="Did you mean 'two'"):
        found(bench, "flow:tow")


def test_times_narrow(bench: Bench) -> None:
    decide(bench, "time", {"a": (1.0, 0.0)})
    bench.all("UPDATE evidence SET created_at = '2026-03-05 23:59:59Z' RETURNING id")
    assert found(bench, "since:2026-03-05 until:2026-03-05") == found(bench, "record:a since:2026-03-05T23:00") == ["a"]
    assert found(bench, "until:2026-03-04") == found(bench, "since:2026-03-06") == found(bench, "record:a until:2026-03-04") == []


def test_whoever_looks_is_recorded_with_what_was_seen_and_no_key(bench: Bench) -> None:
    decide(bench, "seen", {"anna": (1.0, 0.0), "bert": (0.1, 0.0)})
    search_decisions(bench.engine, "flow:seen score:1..", "cli:eve")
    (viewed,) = search_events(bench.engine, "action:decision.viewed").items
    anna = bench.engine.keyring.hash_key("anna").hex
    assert (viewed["actor"], viewed["detail"]["search"]) == ("cli:eve", {"flow": ["seen"], "score": ["1.0", "inf"]})
    assert viewed["detail"]["key_hashes"] == [anna]
    assert events(bench, "record:anna actor:eve") == ["decision.viewed"], "found by the record that was seen"
    assert events(bench, "record:bert") == []


@pytest.mark.parametrize("sealed", [False, True])
def test_events_are_found_by_what_they_say(bench: Bench, sealed: bool) -> None:
    decide(bench, "said", {"a": (1.0, 0.0)})
    pause_flow(bench.engine, "said", "cli:anna", "The customer's  Müller asked\nfor a stop (case 12e5f0)")
    resume_flow(bench.engine, "said", "bert")
    if sealed:
        seal_all(bench.engine)
    for line in ("customer stop", '"müller asked for"', "12e5f0", "12e5", "pau", '"flow paused" actor:anna', "case flow:said"):
        assert events(bench, line) == ["flow.paused"], line
    for line in (
        "customer resumed",
        '"asked müller"',
        "ustomer",
        "customer actor:bert",
        "stop until:2026-01-01",
        "stop flow:other",
    ):
        assert events(bench, line) == [], line
    assert events(bench, "flow:said actor:bert") == ["flow.resumed"]
    assert set(events(bench, "flow:said")) >= {"decisions.recorded", "receipts.recorded", "flow.paused", "run.requested"}
    assert events(bench, "mapping:said") == ["config.published"]
    (decision,) = search_decisions(bench.engine, "record:a", "x").items
    assert set(events(bench, f"decision:{decision['decision']}")) == {"decisions.recorded", "receipts.recorded"}


def test_events_come_in_pages_that_stay(bench: Bench) -> None:
    decide(bench, "paged", {"a": (1.0, 0.0)})
    for number in range(5):
        pause_flow(bench.engine, "paged", "cli:anna", f"stop {number}")
        resume_flow(bench.engine, "paged", "cli:anna")
        seal_all(bench.engine)
    line = "actor:anna stop"
    first = search_events(bench.engine, line, 2)
    pause_flow(bench.engine, "paged", "cli:anna", "stop 5")
    second = search_events(bench.engine, line, 2, first.next)
    third = search_events(bench.engine, line, 2, second.next)
    reasons = [each["detail"]["reason"] for page in (first, second, third) for each in page.items]
    assert reasons == ["stop 4", "stop 3", "stop 2", "stop 1", "stop 0"]
    assert third.next is None


def test_evidence_of_an_earlier_version_that_still_runs_names_its_release(bench: Bench) -> None:
    decide(bench, "earlier", {"a": (1.0, 0.0)})
    (row,) = bench.all("SELECT release_id, event_id FROM evidence WHERE kind = 'decisions'")
    (event,) = bench.all("INSERT INTO audit_outbox (tenant_id, event, actor, detail) SELECT 1, event, actor, detail"
                         " FROM audit_outbox WHERE id = %s RETURNING id", row["event_id"])  # fmt: skip
    (again,) = bench.all("INSERT INTO evidence (tenant_id, kind, event_id, chunk_id, rows, body)"
                         " VALUES (1, 'decisions', %s, 0, 0, '') RETURNING release_id", event["id"])  # fmt: skip
    assert row["release_id"] == again["release_id"] is not None


def test_words_and_flows_are_looked_up_in_an_index(bench: Bench) -> None:
    bench.all("INSERT INTO log_entry (tenant_id, position, id, event, actor, at, leaf) SELECT 1, n, n, CASE mod(n, 100)"
              " WHEN 0 THEN 'flow.paused' ELSE 'decisions.recorded' END, 'engine', now(), json_build_object('detail',"
              " json_build_object('flow', 'f' || mod(n, 997), 'reason', 'because ' || n))::text"
              " FROM generate_series(1, 20000) n RETURNING id")  # fmt: skip
    with bench.engine.store.transaction("test") as tx:
        tx.connection.execute(b"ANALYZE log_entry")
    by_words = "EXPLAIN SELECT * FROM audit_event WHERE tenant_id = 1 AND NOT bulk AND words @@ 'xbecause & x500:*'::tsquery"
    by_flow = "EXPLAIN SELECT * FROM audit_event WHERE tenant_id = 1 AND detail ->> 'flow' = ANY('{f3}') ORDER BY id DESC LIMIT 50"
    assert "log_entry_words" in str(bench.all(by_words))
    assert "log_entry_flow" in str(bench.all(by_flow))


def test_evidence_that_was_there_before_gets_its_release(postgres: Postgres) -> None:
    url = postgres.create_database("before_search")
    earlier = [text for name, text in migrations() if name < "0005"]
    leaf = json.dumps({"detail": {"flow": "f", "release": "abc"}})
    with psycopg.connect(url, autocommit=True) as store:
        for text in earlier:
            store.execute(text.encode())
        store.execute("INSERT INTO flow (tenant_id, name) VALUES (1, 'f')")
        store.execute("INSERT INTO release (tenant_id, flow_id, digest, body) VALUES (1, 1, 'abc', '{}')")
        store.execute("INSERT INTO log_entry (tenant_id, position, id, event, actor, at, leaf)"
                      " VALUES (1, 0, 1, 'decisions.recorded', '', now(), %s)", [leaf])  # fmt: skip
        store.execute("INSERT INTO audit_outbox (id, tenant_id, event, actor, detail) OVERRIDING SYSTEM VALUE"
                      " VALUES (2, 1, 'decisions.recorded', '', jsonb_build_object('release', 'abc'))")  # fmt: skip
        store.execute("INSERT INTO evidence (tenant_id, kind, event_id, chunk_id, rows, body)"
                      " SELECT 1, 'decisions', event, 1, 1, '' FROM generate_series(1, 2) event")  # fmt: skip
        for text in (text for name, text in migrations() if name.startswith("0005")):
            store.execute(text.encode())
        assert store.execute("SELECT release_id FROM evidence").fetchall() == [(1,), (1,)]
    postgres.drop_database("before_search")

"""Five thousand records, real processes, and something that breaks every few seconds."""

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.engines import Bench
from tests.processes import Fleet, Proxy

from fieldline_core.errors import Unavailable
from fieldline_core.pipeline.accept import accept
from fieldline_core.pipeline.invariants import check_invariants
from fieldline_core.pipeline.manage import current_release, request_run
from fieldline_core.ports import Event
from fieldline_core.store import migrate
from fieldline_server.embedded import Postgres, Redis

pytestmark = pytest.mark.soak

FAULTS = 66
PARTS = 22
ROWS = 2500
EVENTS = 2500
LEASE_S = 3.0
WITHIN_S = 300.0
RETRY = {"first_s": 0.2, "longest_s": 3.0, "max_attempts": 1000}
# Writes that take their time, so that most faults meet some of them half done.
SLOW_TABLE = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$;
CREATE TRIGGER slow AFTER INSERT ON predictions FOR EACH STATEMENT EXECUTE FUNCTION slow()"""
WORKERS = ("worker-1", "worker-2")


def value(key: str) -> tuple[float, float]:
    """The fields `a` and `b` of a record."""
    number = int(key[1:])
    return float(number % 97), number / 4


KEYS = [f"r{i:04}" for i in range(ROWS)] + [f"h{i:04}" for i in range(EVENTS)]
EXPECTED = {key: 2 * value(key)[0] - value(key)[1] for key in KEYS}


def documents(erp: Postgres, password: Path, secret: Path) -> list[dict[str, Any]]:
    """One flow for each part of a table, and one for events; all write to the same system."""
    address, _, login = erp.odbc.partition(";Uid=")
    settings = {"connection_string": f"{address};BoolsAsChar=0", "user": login.partition(";")[0],
                "password": {"secret": f"file:{password}"}}  # fmt: skip
    back = {"operation": "update", "table": "orders", "key": "id", "fields": {"score": "score"}}
    added = {"operation": "insert", "table": "predictions", "key": "id", "fields": {"score": "score"}}

    def write(name: str, target: dict[str, Any]) -> dict[str, Any]:
        return {"name": name, "connection": "erp", "target": target, "retry": RETRY}

    common = {"mapping": "m", "models": ["linear"], "retry": RETRY}
    inbound = {"inbound": {"scheme": "standard", "secrets": [{"secret": f"file:{secret}"}]}}
    return [
        {"connection": "erp", "connector": "odbc", "settings": settings},
        {"connection": "sender", "connector": "webhook", "settings": inbound},
        {"mapping": "m", "features": [{"field": "a"}, {"field": "b"}], "fields": [{"name": "score", "formula": "score"}]},
        {"flow": "events", "trigger": {"webhook": "sender", "key": "id"}, "writes": [write("added", added)], **common},
        *(
            {"flow": f"part-{part}", "writes": [write("back", back), write("added", added)], **common, "source": {
                "connection": "erp", "query": {"table": "orders", "key": "id", "where": "part = ?", "params": [part]}}}
            for part in range(PARTS)
        ),
    ]  # fmt: skip


class Soak:
    """The installation under test, its systems, and the ways to break them."""

    def __init__(self, directory: Path, stack: ExitStack, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.frozen: list[tuple[float, int]] = []
        self.store = stack.enter_context(Postgres(directory / "store", fsync=False))
        self.erp = stack.enter_context(Postgres(directory / "erp", fsync=False))
        self.redis = stack.enter_context(Redis(directory / "redis"))
        self.way = Proxy(self.redis.url)
        stack.callback(self.way.close)
        migrate(self.store.url)
        self._fill_erp()
        self.bench = Bench(self.store.url, directory / "data")
        stack.callback(self.bench.close)
        self.bench.import_linear(directory)
        password, secret = directory / "password", directory / "secret"
        password.write_text(self.erp.database("postgres").password)
        secret.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        self.bench.apply("\n---\n".join(map(json.dumps, documents(self.erp, password, secret))))
        self.bench.all("DELETE FROM worker RETURNING 1")
        self.fleet = Fleet(directory, {
            "FIELDLINE_DATABASE_URL": self.store.url, "FIELDLINE_DATA_DIRECTORY": str(directory / "data"),
            "FIELDLINE_BROKER_URL": self.way.url, "FIELDLINE_LEASE_S": str(LEASE_S), "FIELDLINE_RESEND_S": "2",
            "FIELDLINE_STALL_S": "20", "FIELDLINE_CHUNK_ROWS": "5", "FIELDLINE_MAX_EVENTS_IN_CHUNK": "5",
            # So many deaths of one slice are no sign of poison here.
            "FIELDLINE_MAX_CRASHES": "20",
        })  # fmt: skip
        stack.callback(self.fleet.close)
        self.fleet.add("relay", "relay")
        for name in WORKERS:
            self.fleet.add(name, "worker", "-c", "2")

    def _fill_erp(self) -> None:
        with psycopg.connect(self.erp.url) as connection:
            connection.execute("CREATE TABLE orders (id text PRIMARY KEY, part int, a float8, b float8, score float8)")
            connection.execute("CREATE TABLE predictions (id text, score float8)")
            connection.execute(SLOW_TABLE)
            rows = [(key, number % PARTS, *value(key)) for number, key in enumerate(EXPECTED) if key.startswith("r")]
            connection.cursor().executemany("INSERT INTO orders VALUES (%s, %s, %s, %s)", rows)

    def faults(self) -> list[Callable[[], None]]:
        """The ways to break something."""
        return [self.kill_worker, self.kill_celery, self.kill_child, self.freeze_child, self.kill_relay, self.empty_broker,
                self.silence_broker, self.stop_store, self.stop_erp]  # fmt: skip

    def break_something(self, fault: Callable[[], None]) -> None:
        """Does it, and counts it where there was something to break."""
        with suppress(ProcessLookupError, IndexError):
            fault()
            self.done[fault.__name__] += 1

    def mend(self) -> None:
        """Starts again what was killed, and wakes who was frozen for longer than a lease."""
        self.fleet.mend()
        for due, pid in [each for each in self.frozen if each[0] < time.monotonic()]:
            self.frozen.remove((due, pid))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def kill_worker(self) -> None:
        self.fleet.kill(self.chance.choice(WORKERS))

    def kill_celery(self) -> None:
        os.kill(self.chance.choice(self.fleet.parts(self.chance.choice(WORKERS))), signal.SIGKILL)

    def kill_child(self) -> None:
        os.kill(self._child(), signal.SIGKILL)

    def freeze_child(self) -> None:
        pid = self._child()
        os.kill(pid, signal.SIGSTOP)
        self.frozen.append((time.monotonic() + LEASE_S * self.chance.uniform(1.2, 3), pid))

    def kill_relay(self) -> None:
        self.fleet.kill("relay")

    def empty_broker(self) -> None:
        self.redis.kill()
        self.redis.start()

    def silence_broker(self) -> None:
        self.way.fall_silent()

    def stop_store(self) -> None:
        self.store.kill_immediately()
        self.store.start()

    def stop_erp(self) -> None:
        self.erp.kill_immediately()
        self.erp.start()

    def _child(self) -> int:
        return self.chance.choice([pid for name in WORKERS for pid in self.fleet.slots(name)])

    def send(self, keys: list[str]) -> None:
        """Sends events as a sender does: again, until they are acknowledged."""
        release = patiently(lambda: current_release(self.bench.engine, "events"))
        for key in keys:
            a, b = value(key)
            event = Event(f"e-{key}", json.dumps({"id": key, "a": a, "b": b}).encode())
            patiently(partial(accept, self.bench.engine, release, "sender", event))

    def evidence(self) -> dict[int, str]:
        """What was decided so far, by chunk."""
        rows = patiently(lambda: self.bench.all("SELECT chunk_id, md5(body) AS digest FROM evidence WHERE kind = 'decisions'"))
        return {row["chunk_id"]: row["digest"] for row in rows}

    def open(self) -> int:
        """How much is still to be done."""
        sql = """SELECT (SELECT count(*) FROM run WHERE kind = 'batch' AND state IN ('queued', 'running'))
            + (SELECT count(*) FROM chunk WHERE state IN ('read', 'scored'))
            + (SELECT count(*) FROM inbox WHERE chunk_id IS NULL) AS n"""
        return int(patiently(lambda: self.bench.all(sql))[0]["n"])

    def asked(self, sql: str) -> list[Any]:
        """Rows of the system that is written to."""
        with psycopg.connect(self.erp.url) as connection:
            return connection.execute(sql.encode()).fetchall()


def patiently(act: Callable[[], Any]) -> Any:
    """What the act gives, as soon as the store answers."""
    while True:
        try:
            return act()
        except Unavailable:
            time.sleep(0.1)


@pytest.fixture
def soak(server_directory: Path) -> Iterator[Soak]:
    seed = int(os.environ.get("SOAK_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    directory = server_directory / f"soak-{seed}"
    directory.mkdir(mode=0o755)
    (directory / "data").mkdir()
    with ExitStack() as stack:
        made = Soak(directory, stack, seed)
        yield made
        print(made.fleet.logs())


def run_under_faults(soak: Soak) -> list[dict[int, str]]:
    """Feeds the work in portions, breaks something after each one, and waits for the end; what was decided, as time went by."""
    deck: list[Callable[[], None]] = []
    seen: list[dict[int, str]] = []
    events = [key for key in EXPECTED if key.startswith("h")]
    portion = -(-EVENTS // FAULTS)
    parts = iter(range(PARTS))
    while soak.done.total() < FAULTS:
        soak.send(events[:portion])
        del events[:portion]
        if soak.done.total() % 3 == 0 and (part := next(parts, None)) is not None:
            patiently(partial(request_run, soak.bench.engine, f"part-{part}", "test"))
        deck = deck or soak.chance.sample(soak.faults(), len(soak.faults()))
        time.sleep(soak.chance.uniform(0, 1))
        soak.break_something(deck.pop())
        time.sleep(soak.chance.uniform(0.2, 3))
        soak.mend()
        seen.append(soak.evidence())
    for part in parts:
        patiently(partial(request_run, soak.bench.engine, f"part-{part}", "test"))
    soak.send(events)
    deadline = time.monotonic() + WITHIN_S
    while (soak.open() or soak.frozen) and time.monotonic() < deadline:
        time.sleep(0.5)
        soak.mend()
    # Whoever woke up late has tried to write by then.
    soak.fleet.stop()
    return seen


def test_nothing_is_lost_doubled_or_changed_whatever_breaks(soak: Soak, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    seen = run_under_faults(soak)
    effects = soak.bench.all("SELECT key, state, fence FROM effect")
    claims = [row["fence"] for row in [*effects, *soak.bench.all("SELECT fence FROM chunk")]]
    with capsys.disabled():
        print(f"\nSOAK_SEED={soak.seed}: {soak.done.total()} faults in {time.monotonic() - began:.0f} s")
        print(f"{sum(fence > 1 for fence in claims)} of {len(claims)} chunks and effects were claimed more than once")
        print(dict(sorted(soak.done.items())))

    assert soak.open() == 0
    assert check_invariants(soak.bench.engine.store) == []
    assert soak.bench.all("SELECT DISTINCT stage, reason FROM dead_letter") == []
    assert {effect["state"] for effect in effects} == {"confirmed"}
    written = soak.asked("SELECT id, score FROM predictions")
    assert {key: times for key, times in Counter(key for key, _ in written).items() if times > 1} == {}
    assert dict(written) == EXPECTED
    assert {key: score for key, score in soak.asked("SELECT id, score FROM orders") if score != EXPECTED[key]} == {}
    assert {row[0] for row in soak.asked("SELECT effect_key FROM fieldline_effect")} == {effect["key"] for effect in effects}
    last = soak.evidence()
    assert [chunk for before in seen for chunk in before if last[chunk] != before[chunk]] == []
    assert soak.bench.all("SELECT 1 FROM run WHERE kind = 'batch' AND state <> 'succeeded'") == []

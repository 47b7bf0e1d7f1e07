"""The crash matrix: a flow is driven, ended at one crash point, driven again, and everything is counted."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import psycopg

from fieldline_core.ledger import hash_leaf, open_checkpoint, root_of
from fieldline_core.pipeline.invariants import check_invariants
from fieldline_core.pipeline.manage import request_run
from fieldline_core.pipeline.prove import SealedLog
from fieldline_server.embedded import Postgres
from fieldline_simulators import webhook_receiver
from tests.engines import Bench
from tests.faults import CRASHED, Drivers, drivers

ROWS = 30
LEASE_S = 0.6
SLOW = "r15"
"""The record whose writing takes long enough for its lease to be renewed."""
EXPECTED = {f"r{i:02}": 2.0 * i - i / 2 for i in range(ROWS)}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SLOW_TABLE = f"""
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    -- A sequence remembers what a rolled back transaction did: the first try is put off, so that leases are given back.
    IF nextval('tries') = 1 THEN RAISE SQLSTATE '40001'; END IF;
    PERFORM pg_sleep({0.6 * LEASE_S});
    RETURN NEW;
END $$;
CREATE TRIGGER slow BEFORE INSERT ON predictions FOR EACH ROW WHEN (NEW.id = '{SLOW}') EXECUTE FUNCTION slow()"""
_RETRY = {"first_s": 0.05, "longest_s": 0.2}
_MAPPING = {"mapping": "m", "features": [{"field": "a"}, {"field": "b"}], "fields": [{"name": "score", "formula": "score"}]}
_RECORDS = {f"r{i:02}": {"id": f"r{i:02}", "a": float(i), "b": i / 2} for i in range(ROWS)}
_MOST_CRASHES = 40
# A cell waits, mostly for the lease of the process that died.
_SIDE_BY_SIDE = 3
_numbers = count(1)


class Sink(Protocol):
    """A flow into one system, in a cell of its own."""

    expected: Mapping[str, float]
    rows: int
    """Records that the flow reads."""

    def documents(self) -> list[dict[str, Any]]:
        """Connections, mapping and flow."""
        ...

    def begin(self, bench: Bench) -> dict[str, str]:
        """Asks for the work; what the driver's environment needs for it."""
        ...

    def written(self) -> list[tuple[str, float]]:
        """Every answer that arrived, as often as it counts there, by key."""
        ...

    def problems(self, effects: Set[str]) -> list[str]:
        """What else is wrong in the system, which was to see each of these effects once."""
        ...


@dataclass(frozen=True)
class Ground:
    """Where cells are made: a server, a store with a model in it, and a folder."""

    postgres: Postgres
    store_template: str
    erp_template: str
    directory: Path

    def copy(self, template: str, name: str, stack: ExitStack) -> str:
        """Makes a database like the template and returns its URL; it is dropped with the stack."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            # By files and not through the log, the default, takes a third of the time.
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY".encode())
        stack.callback(self.postgres.drop_database, name)
        return self.postgres.database(name).url

    def secret(self, cell: str, value: str) -> Path:
        """A file with a secret that no other cell writes: while it is written it is empty for those who read it."""
        file = self.directory / f"{cell}.secret"
        file.write_text(value)
        return file


@dataclass(frozen=True)
class Cell:
    """One way to die; without a site, none."""

    site: str = ""
    passing: int = 1

    def __str__(self) -> str:
        return f"{self.site}#{self.passing}"


class OdbcSink:
    """A table that is updated, and one that a prediction is added to for each decision, both through ODBC."""

    expected: Mapping[str, float] = EXPECTED
    rows = ROWS

    def __init__(self, ground: Ground, name: str, stack: ExitStack) -> None:
        ground.copy(ground.erp_template, name, stack)
        self._database = ground.postgres.database(name)
        self._password = ground.secret(name, self._database.password)

    def documents(self) -> list[dict[str, Any]]:
        """A flow from the table `orders` back to it and to `predictions`."""
        address, _, login = self._database.odbc.partition(";Uid=")
        settings = {"connection_string": f"{address};BoolsAsChar=0", "user": login.partition(";")[0],
                    "password": {"secret": f"file:{self._password}"}}  # fmt: skip
        back = {"operation": "update", "table": "orders", "key": "id", "fields": {"score": "score"}}
        added = {"operation": "insert", "table": "predictions", "key": "id", "fields": {"score": "score"}, "written_at": "at"}
        # First the one that counts double where it is repeated, so that the first passing of each site concerns it.
        writes = [{"name": name, "connection": "erp", "target": target, "retry": _RETRY}
                  for name, target in (("added", added), ("back", back))]  # fmt: skip
        flow = {"flow": "f", "source": {"connection": "erp", "query": {"table": "orders", "key": "id"}}, "mapping": "m",
                "models": ["linear"], "writes": writes, "retry": _RETRY}  # fmt: skip
        return [{"connection": "erp", "connector": "odbc", "settings": settings}, _MAPPING, flow]

    def begin(self, bench: Bench) -> dict[str, str]:
        """Asks for a run."""
        request_run(bench.engine, "f", "test")
        return {}

    def written(self) -> list[tuple[str, float]]:
        """The predictions, each counted as often as it is there."""
        return self.ask("SELECT id, score FROM predictions")

    def problems(self, effects: Set[str]) -> list[str]:
        """Whether the updates arrived, and whether each effect left one row in the ledger."""
        updated = {key: score for key, score in self.ask("SELECT id, score FROM orders") if score is not None}
        ledger = {row[0] for row in self.ask("SELECT effect_key FROM fieldline_effect")}
        found = [] if updated == self.expected else [f"{len(updated.items() ^ self.expected.items())} updates are wrong"]
        return found if ledger == effects else [*found, "the ledger differs from the effects"]

    @property
    def url(self) -> str:
        """The database, for the test itself."""
        return self._database.url

    def ask(self, sql: str) -> list[Any]:
        """Rows of the database."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql.encode()).fetchall()


class WebhookSink:
    """Events that are accepted, scored, and sent on as signed messages to a receiver that ignores repeats."""

    expected: Mapping[str, float] = EXPECTED
    rows = ROWS

    def __init__(self, ground: Ground, name: str, stack: ExitStack) -> None:
        self._receiver = stack.enter_context(webhook_receiver.running(SECRET))
        take = self._receiver.inbox.take

        def slowly(headers: dict[str, str], body: bytes) -> tuple[int, str]:
            # One slow message, so that a lease is renewed while it is sent.
            time.sleep(0.6 * LEASE_S if SLOW.encode() in body else 0)
            return take(headers, body)

        self._receiver.inbox.take = slowly  # type: ignore[method-assign]
        self._events = ground.directory / f"{name}.events"
        self._secret = ground.secret(name, SECRET)

    def documents(self) -> list[dict[str, Any]]:
        """A flow from events to messages."""
        secret = {"secret": f"file:{self._secret}"}
        inbound = {"inbound": {"scheme": "standard", "secrets": [secret]}}
        outbound = {"url": self._receiver.url, "signing_secrets": [secret], "receiver_dedupes": True,
                    "allow_private": [{"host": "127.0.0.1", "network": "127.0.0.0/8"}]}  # fmt: skip
        write = {"name": "out", "connection": "receiver", "target": {"fields": {"score": "score"}}, "retry": _RETRY}
        flow = {"flow": "f", "trigger": {"webhook": "sender", "key": "id"}, "mapping": "m", "models": ["linear"],
                "writes": [write], "retry": _RETRY}  # fmt: skip
        connections = {"sender": inbound, "receiver": outbound}
        return [
            *({"connection": name, "connector": "webhook", "settings": settings} for name, settings in connections.items()),
            _MAPPING, flow,
        ]  # fmt: skip

    def begin(self, bench: Bench) -> dict[str, str]:
        """Hands the events to the sender."""
        self._events.write_text(json.dumps(["f", {f"e{key}": body for key, body in _RECORDS.items()}]))
        return {"EVENTS": str(self._events)}

    def written(self) -> list[tuple[str, float]]:
        """The records of all messages that the receiver counts."""
        records = [record for message in self._receiver.inbox.messages.values() for record in message["body"]["data"]["records"]]
        return [(record["key"], record["fields"]["score"]) for record in records]

    def problems(self, effects: Set[str]) -> list[str]:
        """Whether every attempt was signed and the same as the first one, and each effect is one message."""
        became = Counter(attempt["became"] for attempt in self._receiver.inbox.attempts)
        odd = {name: number for name, number in became.items() if name not in ("stored", "repeated")}
        found = [f"attempts were {odd}"] if odd else []
        same = self._receiver.inbox.messages.keys() == {f"fl_{key}" for key in effects}
        return found if same else [*found, "the messages differ from the effects"]


class PoisonedSink(OdbcSink):
    """The same where one row ends each process that scores it, until it stands alone and is set aside."""

    expected: Mapping[str, float] = {key: score for key, score in EXPECTED.items() if key != "r13"}

    def begin(self, bench: Bench) -> dict[str, str]:
        """Asks for a run, and tells the driver of the row."""
        return super().begin(bench) | {"POISON": "r13", "FIELDLINE_MAX_CRASHES": "1"}


# How often these are passed depends on the time that the rest takes; the relay's rounds are two at least.
_TIMED = ("lease.", "relay.sweep.", "schedule.", "document.")
_ROUNDS = ("relay.slots.", "relay.waiting.", "relay.announce.", "sequence.")


def _surely_passed(site: str, times: int) -> int:
    return 1 if site.startswith(_TIMED) else min(2, times) if site.startswith(_ROUNDS) else times


def every_site(passed: Counter[str]) -> list[Cell]:
    """Each site at its first passing, and those that are passed often in the midst of them, too."""
    later = [Cell(site, sure // 2 + 1) for site, times in passed.items() if (sure := _surely_passed(site, times)) > 1]
    return [Cell(site) for site in passed] + later


def every_passing(passed: Counter[str]) -> list[Cell]:
    """Each site at each passing."""
    return [Cell(site, n + 1) for site, times in passed.items() for n in range(_surely_passed(site, times))]


def settings_aside(passed: Counter[str]) -> list[Cell]:
    """The sites at which work is halved and set aside; each process passes them anew."""
    return [Cell(site) for site in passed if site.startswith(("split.", "bury."))]


def sends_and_receipts(passed: Counter[str]) -> list[Cell]:
    """The sites of accepting, deciding, sending and noting the answer."""
    topics = ("accept.", "gather.", "score.commit", "write.claim", "write.webhook", "webhook.", "receive.")
    return [cell for cell in every_site(passed) if cell.site.startswith(topics)]


MakeSink = Callable[[Ground, str, ExitStack], Sink]


def prepare_ground(postgres: Postgres, migrated: str, directory: Path) -> Ground:
    """Makes the databases that every cell copies."""
    name = f"ground_{os.getpid()}_{next(_numbers)}"
    store, erp = f"{name}_store", f"{name}_erp"
    bench = Bench(postgres.create_database(store, template=migrated), directory)
    bench.import_linear(directory)
    bench.all("DELETE FROM worker RETURNING 1")
    bench.close()
    with psycopg.connect(postgres.create_database(erp), autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (id text PRIMARY KEY, a float8, b float8, score float8)")
        connection.execute("CREATE TABLE predictions (id text, score float8, at timestamp)")
        connection.cursor().executemany(
            "INSERT INTO orders VALUES (%s, %s, %s)", [(key, record["a"], record["b"]) for key, record in _RECORDS.items()]
        )
        connection.execute("CREATE SEQUENCE tries")
        connection.execute(SLOW_TABLE.encode())
    return Ground(postgres, store, erp, directory)


@dataclass(frozen=True)
class Field:
    """A store and a system of its own, and how a process reaches them."""

    bench: Bench
    sink: Sink
    environment: dict[str, str]


@contextmanager
def field(ground: Ground, make: MakeSink) -> Iterator[Field]:
    """A flow into a system that nobody has touched, with its work asked for."""
    name = f"field_{os.getpid()}_{next(_numbers)}"
    with ExitStack() as stack:
        url = ground.copy(ground.store_template, name, stack)
        sink = make(ground, f"{name}_erp", stack)
        bench = Bench(url, ground.directory)
        stack.callback(bench.close)
        bench.apply("\n---\n".join(map(json.dumps, sink.documents())))
        bench.all("DELETE FROM worker RETURNING 1")
        environment = {
            **sink.begin(bench), "FIELDLINE_DATABASE_URL": url, "FIELDLINE_DATA_DIRECTORY": str(ground.directory / name),
            "FIELDLINE_KEY_FILE": str(ground.directory / "wrapping.key"), "FIELDLINE_LEASE_S": str(LEASE_S),
            "FIELDLINE_RESEND_S": "0.05", "FIELDLINE_CHUNK_ROWS": "10", "FIELDLINE_MAX_EVENTS_IN_CHUNK": "10",
            "FIELDLINE_MAX_WAITING_CHUNKS": "2",
        }  # fmt: skip
        yield Field(bench, sink, environment)


def run_cell(ground: Ground, make: MakeSink, cell: Cell, driver: Drivers, trace: Path | None = None) -> list[str]:
    """Everything that is wrong after the flow died as the cell says and was driven to its end."""
    with field(ground, make) as at:
        died = ground.directory / f"died-{next(_numbers)}"
        crash = {"FIELDLINE_CRASH_AT": str(cell), "FIELDLINE_CRASH_ONCE": str(died)}
        how = {"FIELDLINE_CRASH_TRACE": str(trace)} if trace else crash
        seen: list[Mapping[Any, str]] = []
        while (status := driver.drive({**at.environment, **how})) == CRASHED and len(seen) < _MOST_CRASHES:
            seen.append(decided(at.bench))
        found = [f"the driver ended with {status}"] if status else []
        if cell.site and not died.exists():
            found.append("the crash point was not passed")
        return found + problems(at, seen)


def sites(ground: Ground, make: MakeSink, driver: Drivers) -> Counter[str]:
    """The crash points that a run without a crash passes, and how often."""
    trace = ground.directory / f"trace-{next(_numbers)}"
    assert run_cell(ground, make, Cell(), driver, trace) == []
    return Counter(trace.read_text().splitlines())


def run_matrix(ground: Ground, make: MakeSink, cells: Callable[[Counter[str]], Sequence[Cell]]) -> dict[str, list[str]]:
    """Runs the cells that are chosen among the sites, some side by side; what is wrong, by cell."""
    free: SimpleQueue[Drivers] = SimpleQueue()
    with drivers(_SIDE_BY_SIDE) as made, ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        for driver in made:
            free.put(driver)

        def run(cell: Cell) -> tuple[str, list[str]]:
            driver = free.get()
            try:
                return str(cell), run_cell(ground, make, cell, driver)
            finally:
                free.put(driver)

        chosen = cells(sites(ground, make, made[0]))
        return {name: problems for name, problems in pool.map(run, chosen) if problems}


def decided(bench: Bench) -> Mapping[Any, str]:
    """What must never change again: evidence, and the effects that were frozen."""
    rows = bench.all("SELECT kind, chunk_id, effect_id, md5(body) AS digest FROM evidence ORDER BY id")
    effects = {row["key"]: str(row["chunk_id"]) for row in bench.all("SELECT key, chunk_id FROM effect")}
    return {(row["kind"], row["chunk_id"], row["effect_id"]): row["digest"] for row in rows} | effects


def problems(at: Field, seen: Sequence[Mapping[Any, str]] = ()) -> list[str]:
    """Everything that is wrong at the end of a flow's work, of which this was seen on the way."""
    bench, expected = at.bench, at.sink.expected
    found = [f"{violation.rule}: {violation.count}" for violation in check_invariants(bench.engine.store)]
    written = at.sink.written()
    if doubled := {key: times for key, times in Counter(key for key, _ in written).items() if times > 1}:
        found.append(f"doubled: {doubled}")
    if lost := expected.keys() - dict(written):
        found.append(f"lost: {sorted(lost)}")
    found += [f"{key} is {score}" for key, score in written if expected.get(key) != score]
    last = decided(bench)
    if changed := {str(key) for before in seen for key, digest in before.items() if last.get(key) != digest}:
        found.append(f"changed: {sorted(changed)}")
    effects = {row["key"] for row in bench.all("SELECT key FROM effect WHERE state = 'confirmed'")}
    counted = {
        "decisions": ("SELECT count(*) AS n FROM decision", len(expected)),
        "effects": ("SELECT count(*) AS n FROM effect", len(effects)),
        "receipts": ("SELECT count(*) AS n FROM evidence WHERE kind = 'receipts'", len(effects)),
        "dead letters": ("SELECT count(*) AS n FROM dead_letter", at.sink.rows - len(expected)),
        "runs that have not succeeded": ("SELECT count(*) AS n FROM run WHERE kind = 'batch' AND state <> 'succeeded'", 0),
    }
    for what, (sql, right) in counted.items():
        if (number := bench.all(sql)[0]["n"]) != right:
            found.append(f"{number} {what}, not {right}")
    return found + _unsealed(bench) + at.sink.problems(effects)


def _unsealed(bench: Bench) -> list[str]:
    """Whether all that was recorded is in the log, each once, and each record that was taken in is in one entry."""
    counted: list[tuple[int, int]] = []
    for row in bench.all("SELECT leaf::jsonb -> 'detail' -> 'intake' AS intake FROM log_entry WHERE event <> 'log.counted'"):
        if row["intake"]:
            counted.append((row["intake"]["from"], row["intake"]["from"] + row["intake"]["rows"]))
    counted.sort()
    found = [] if [begin for begin, _ in counted] == [0, *(end for _, end in counted[:-1])] else [f"the intake is {counted}"]
    if counted and counted[-1][1] != (received := bench.all("SELECT received FROM intake")[0]["received"]):
        found.append(f"{received} records were taken in, and the log ends with {counted[-1][1]}")
    with bench.engine.store.transaction("tree") as tx:
        log = SealedLog(tx)
        leaves = [hash_leaf(row["leaf"].encode()) for row in bench.all("SELECT leaf FROM log_entry ORDER BY position")]
        if open_checkpoint(log.note, log.key).checkpoint.root != root_of(leaves):
            found.append("the entries do not give the root of the checkpoint")
    waiting = bench.all("SELECT count(*) AS n FROM audit_outbox")[0]["n"]
    return found + ([f"{waiting} events are not in the log"] if waiting else [])

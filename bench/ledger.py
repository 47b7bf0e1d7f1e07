"""What sealing costs: a batch sealed beside the same batch only encrypted, events on their way into the log, and proofs.

python bench/ledger.py [--rows 10000] [--rounds 7] [--seconds 10] [--producers 8]

Limits: a row hashed about twice by SHA-256, and one durable transaction for each event (what bare INSERTs reach is printed).
Aims: 2,000 sealed events a second with a checkpoint lag under 1 s, a proof from ten million rows under 50 ms.
"""

import argparse
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import Queue
from statistics import median
from time import perf_counter, sleep

import numpy as np
import polars as pl
import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from fieldline_core.events import record
from fieldline_core.evidence import Envelope, Sealed, seal, unseal
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.prove import SealedLog, part_of_batch
from fieldline_core.pipeline.sequence import Sequencer, seal_all
from fieldline_core.settings import Settings
from fieldline_core.store import TENANT, migrate
from fieldline_server.embedded import Postgres
from fieldline_server.wiring import open_engine

BATCHES = 1000


def batch(rows: int) -> Envelope:
    """Decisions as the engine's benchmark has them: 12 columns read, 28 features, an output and two fields."""
    random = np.random.default_rng(7)
    columns = {"key": pl.Series([str(number) for number in range(rows)])}
    columns |= {f"source.column_{n}": pl.Series(np.round(random.lognormal(5, 2, rows), 2)) for n in range(10)}
    columns |= {f"source.text_{n}": pl.Series(random.choice(["Banking", "Retail", "Energy"], rows)) for n in range(2)}
    columns |= {f"feature.feature_{n}": pl.Series(random.normal(0, 1, rows)) for n in range(14)}
    columns |= {f"feature.flag_{n}": pl.Series(random.integers(0, 2, rows).astype(np.uint8)) for n in range(14)}
    columns |= {"output.score": pl.Series(random.random(rows).astype(np.float32)), "field.score": pl.Series(random.random(rows))}
    columns |= {"field.rating": pl.Series(random.choice(["Hot", "Cold"], rows))}
    return Envelope.of({"flow": "bench", "release": "00" * 32}, pl.DataFrame(columns))


def seconds(run: Callable[[], object]) -> float:
    """How long one run takes."""
    begin = perf_counter()
    run()
    return perf_counter() - begin


def cost(engine: Engine, envelope: Envelope, rounds: int) -> None:
    """Prints what a row costs, sealed and only encrypted, in turn."""
    cipher, rows = AESGCM(os.urandom(32)), envelope.frame.height
    plain, sealed = [], []
    for _ in range(rounds):
        plain.append(seconds(lambda: cipher.encrypt(os.urandom(12), envelope.to_bytes(), b"")))
        sealed.append(seconds(lambda: seal(engine.keyring, "decisions", envelope)))
    one, other = min(plain) / rows * 1e6, min(sealed) / rows * 1e6
    print(f"a row of {rows:,}: encrypted {one:.1f} us, sealed {other:.1f} us; lines and commitments cost {other - one:.1f} us")


def flow(engine: Engine, seconds_long: float, producers: int) -> None:
    """Prints how many events a second are sealed, and how long they wait, while several producers record without a pause."""
    bare = _limit(engine, seconds_long / 2, producers)
    ends, sequencer = perf_counter() + seconds_long, Sequencer(engine)

    def produce() -> None:
        with engine.store.transaction("bench") as tx:
            record(tx, "decisions.recorded", "engine", {"flow": "bench", "chunk": 1, "scored": 0, "held": 0})

    sequencing = threading.Thread(target=sequencer.run)
    sequencing.start()
    lags: list[float] = []
    counted = _counted(produce, ends, producers, lambda: lags.extend(_lags(engine, ends)))
    sequencer.stop()
    sequencing.join()
    seal_all(engine)
    lags.sort()
    print(
        f"{counted / seconds_long:,.0f} events/s recorded by {producers} producers and sealed (aim 2,000); "
        f"bare INSERTs reach {bare:,.0f}/s here; the oldest one waited {median(lags):.2f} s, at worst {lags[-1]:.2f} s (aim 1 s)"
    )


def _limit(engine: Engine, seconds_long: float, producers: int) -> float:
    """Durable transactions of one INSERT that PostgreSQL does in a second for so many connections."""
    connections = Queue[psycopg.Connection]()
    for _ in range(producers):
        connections.put(psycopg.connect(engine.store.url, autocommit=True))
    with psycopg.connect(engine.store.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, detail text)")

    def insert() -> None:
        connection = connections.get()
        connection.execute("INSERT INTO bare (detail) VALUES ('about as long as what an event says of a batch of decisions')")
        connections.put(connection)

    return _counted(insert, perf_counter() + seconds_long, producers, lambda: None) / seconds_long


def _counted(act: Callable[[], None], ends: float, producers: int, meanwhile: Callable[[], None]) -> int:
    """How often several threads have acted when the time is over."""
    counts = [0] * producers

    def repeat(number: int) -> None:
        while perf_counter() < ends:
            act()
            counts[number] += 1

    threads = [threading.Thread(target=repeat, args=(number,)) for number in range(producers)]
    for thread in threads:
        thread.start()
    meanwhile()
    for thread in threads:
        thread.join()
    return sum(counts)


def _lags(engine: Engine, ends: float) -> Iterator[float]:
    while perf_counter() < ends:
        with engine.store.transaction("lag") as tx:
            row = tx.one("log.waiting")
        yield max(0.0, float(row["oldest_s"])) if row else 0.0
        sleep(0.05)


def proof(engine: Engine, sealed: Sealed, rounds: int) -> None:
    """Prints how long the proof of one row takes: its line, its place in its batch, and its batch's place in the log."""
    detail = {"flow": "bench", "scored": sealed.rows, "held": 0, "batch": sealed.batch}
    with engine.store.transaction("fill") as tx:
        one = {"tenant": TENANT, "event": "decisions.recorded", "actor": "engine", "detail": Jsonb(detail)}
        tx.many("audit.add", [one] * BATCHES)
        event = record(tx, "decisions.recorded", "engine", detail)
    seal_all(engine)
    stored = {"kind": sealed.kind, "body": sealed.body, "wrapped": sealed.key}

    def prove(row: int) -> None:
        with engine.store.transaction("prove") as tx:
            log = SealedLog(tx)
            place = log.position(event)
            list(log.entries(place, place + 1))
        list(part_of_batch(unseal(engine.keyring, stored), [row]))

    took = [1000 * seconds(partial(prove, row)) for row in range(1, sealed.rows, sealed.rows // rounds)]
    print(f"a proof from {BATCHES * sealed.rows:,} rows: {median(took):.1f} ms, at worst {max(took):.1f} ms (aim 50 ms)")


@contextmanager
def opened(connections: int) -> Iterator[Engine]:
    """An engine on a PostgreSQL of its own that writes through to the disk."""
    with tempfile.TemporaryDirectory(prefix="fieldline-bench-") as folder:
        Path(folder).chmod(0o755)
        with Postgres(Path(folder) / "postgres") as server:
            migrate(server.create_database("ledger"))
            settings = Settings(database_url=SecretStr(server.database("ledger").url), data_directory=Path(folder) / "data")
            engine = open_engine(settings, "bench", connections=connections)
            yield engine
            engine.store.close()


def main() -> None:
    """Runs, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--producers", type=int, default=8)
    args = parser.parse_args()
    with opened(args.producers + 3) as engine:
        envelope = batch(args.rows)
        cost(engine, envelope, args.rounds)
        flow(engine, args.seconds, args.producers)
        proof(engine, seal(engine.keyring, "decisions", envelope), args.rounds)


if __name__ == "__main__":
    main()

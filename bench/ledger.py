"""What sealing costs: a batch sealed beside the same batch only encrypted, events on their way into the log, and proofs.

python bench/ledger.py [--rows 10000] [--rounds 7] [--seconds 10]

Limits: a row hashed about twice by SHA-256, and one durable transaction for each event. Aims: 2,000 sealed events a second with a
checkpoint lag under 1 s, a proof from ten million rows under 50 ms.
"""

import argparse
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

import numpy as np
import polars as pl
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

PRODUCERS = 4
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


def flow(engine: Engine, seconds_long: float) -> None:
    """Prints how many events a second are sealed, and how long they wait, while several producers record without a pause."""
    ends, sequencer = perf_counter() + seconds_long, Sequencer(engine)
    counts = [0] * PRODUCERS

    def produce(number: int) -> None:
        while perf_counter() < ends:
            with engine.store.transaction("bench") as tx:
                record(tx, "decisions.recorded", "engine", {"flow": "bench", "chunk": counts[number], "scored": 0, "held": 0})
            counts[number] += 1

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(PRODUCERS)]
    threads.append(threading.Thread(target=sequencer.run))
    for thread in threads:
        thread.start()
    lags = list(_lags(engine, ends))
    sequencer.stop()
    for thread in threads:
        thread.join()
    seal_all(engine)
    lags.sort()
    print(f"{sum(counts) / seconds_long:,.0f} events/s recorded by {PRODUCERS} producers and sealed (aim 2,000); "
          f"the oldest one waited {median(lags):.2f} s, at worst {lags[-1]:.2f} s (aim 1 s)")  # fmt: skip


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
def opened() -> Iterator[Engine]:
    """An engine on a PostgreSQL of its own that writes through to the disk."""
    with tempfile.TemporaryDirectory(prefix="fieldline-bench-") as folder:
        Path(folder).chmod(0o755)
        with Postgres(Path(folder) / "postgres") as server:
            migrate(server.create_database("ledger"))
            settings = Settings(database_url=SecretStr(server.database("ledger").url), data_directory=Path(folder) / "data")
            engine = open_engine(settings, "bench", connections=PRODUCERS + 3)
            yield engine
            engine.store.close()


def main() -> None:
    """Runs, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    with opened() as engine:
        envelope = batch(args.rows)
        cost(engine, envelope, args.rounds)
        flow(engine, args.seconds)
        proof(engine, seal(engine.keyring, "decisions", envelope), args.rounds)


if __name__ == "__main__":
    main()

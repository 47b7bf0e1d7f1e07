"""How long it takes to find one record's decision among ten million, and a page of a range of scores.

python bench/find.py [--rows 10000000] [--rounds 300]

The index of decisions is filled by PostgreSQL with keys made of numbers; the batches behind it, of 10,000 rows each, are one
real one again and again, and one among them whose scores lie in the range that is looked for. Aim: under 50 ms for a key.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
from ledger import batch, opened, seconds
from psycopg.types.json import Jsonb

from fieldline_core.evidence import Envelope, Sealed, seal
from fieldline_core.pipeline.engine import Engine
from fieldline_core.search import search_decisions

ROWS = 10_000
_HEADER = {"mapping": "0" * 64, "models": [], "clock": "2026-11-01T00:00:00+00:00", "runtime": {}}
_RELEASE = {"schema": 1, "flow": {"mapping": "bench"}, "mapping": "0" * 64, "models": []}


def fill(engine: Engine, envelope: Envelope, batches: int) -> None:
    """Batches of decisions, and the index of their rows; the records of the first batch have real keys."""
    usual = seal(engine.keyring, "decisions", envelope)
    other = envelope.frame.with_columns(pl.col("output.score") + 2.0)
    rare = seal(engine.keyring, "decisions", Envelope.of(dict(envelope.header), other))
    with engine.store.transaction("fill") as tx:
        run = tx.connection.execute
        run(b"INSERT INTO flow (tenant_id, name) VALUES (1, 'bench')")
        run(b"INSERT INTO release (tenant_id, flow_id, digest, body) VALUES (1, 1, 'bench', %s)", [Jsonb(_RELEASE)])
    for chunk in range(1, batches + 1):
        _put(engine, chunk, rare if chunk == batches // 2 else usual)
    with engine.store.transaction("fill.keys") as tx:
        run = tx.connection.execute
        run(b"INSERT INTO decision (tenant_id, key_hash, seq, chunk_id, flow_id, release_id, row_no, source_digest)"
            b" SELECT 1, md5(n::text)::uuid, n, 1 + n / %s, 1, 1, n %% %s, n FROM generate_series(0, %s) n",
            [ROWS, ROWS, batches * ROWS - 1])  # fmt: skip
        hashes = [engine.keyring.hash_key(key) for key in envelope.frame["key"]]
        run(b"UPDATE decision SET key_hash = h.hash FROM unnest(%s::uuid[]) WITH ORDINALITY h (hash, n)"
            b" WHERE chunk_id = 1 AND row_no = h.n - 1", [hashes])  # fmt: skip
        run(b"ANALYZE")


def _put(engine: Engine, chunk: int, sealed: Sealed) -> None:
    with engine.store.transaction("fill.batch") as tx:
        tx.run("evidence.add", kind="decisions", event=chunk, chunk=chunk, effect=None, release=1, rows=sealed.rows,
               zone=sealed.zone, body=sealed.body, wrapped=sealed.key)  # fmt: skip


def measure(name: str, took_s: Sequence[float], aim: str = "") -> None:
    """Prints the median and the 99th percentile."""
    print(f"{name}: p50 {1000 * np.quantile(took_s, 0.5):.1f} ms, p99 {1000 * np.quantile(took_s, 0.99):.1f} ms{aim}")


def main() -> None:
    """Fills, runs, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=300)
    args = parser.parse_args()
    with opened(4) as engine:
        made = batch(ROWS)
        envelope = replace(made, header={**made.header, **_HEADER})
        took = seconds(partial(fill, engine, envelope, args.rows // ROWS))
        print(f"{args.rows:,} decisions in {args.rows // ROWS:,} batches, filled in {took:.0f} s")

        def look(line: str) -> float:
            return seconds(partial(search_decisions, engine, line, "bench", 20))

        look("record:0")
        keys = np.random.default_rng(7).integers(0, ROWS, args.rounds)
        measure("a key", [look(f"record:{key}") for key in keys], " (aim 50 ms)")
        measure("a key that is not there", [look(f"record:no-{key}") for key in keys])
        measure("20 of a flow", [look("flow:bench") for _ in range(20)])
        measure("20 of a range of scores that one batch holds", [look("flow:bench score:2.. outcome:scored") for _ in range(20)])


if __name__ == "__main__":
    main()

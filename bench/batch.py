"""A million rows through ODBC, 22 features, a boosted model, and back: Fieldline beside the hand-written script, interleaved.

python bench/batch.py [--rows 1000000] [--rounds 2]
"""

import argparse
import json
import subprocess
import sys
import time
from statistics import median

from installation import HERE, Installation, execute, installation, peak_rss_mb, wait_for_run

from fieldline_core.pipeline.manage import request_run


def by_hand(made: Installation, rows: int, *more: str) -> dict[str, float]:
    """The script's figures."""
    argv = [sys.executable, str(HERE / "odbc_by_hand.py"), "--connect", made.erp.odbc, "--model", str(HERE / "model.onnx")]
    out = subprocess.run([*argv, "--rows", str(rows), *more], check=True, capture_output=True, text=True).stdout
    figures: dict[str, float] = json.loads(out)
    return figures


def ours(made: Installation, rows: int, workers: int) -> dict[str, float]:
    """Fieldline's figures with so many worker processes; every decision is recorded."""
    relay = made.start("relay")
    worker = made.start("worker", "--queues", "cpu,write", "--concurrency", str(workers))
    warm(made)
    start = time.perf_counter()
    run = wait_for_run(made, request_run(made.engine, "customers", "bench", rescore=True))
    total = time.perf_counter() - start
    if run["written"] != rows:
        raise SystemExit(f"{run['written']} of {rows} rows were written: {run}")
    figures = {"rows_per_s": round(rows / total), "peak_rss_mb": peak_rss_mb(worker.pid), "relay_rss_mb": peak_rss_mb(relay.pid)}
    made.stop()
    spent = made.stages()
    for log in made.directory.glob("worker-*.log"):
        log.unlink()
    return figures | {f"{stage}_rows_per_s": round(rows / seconds) for stage, seconds in spent.items()}


def warm(made: Installation) -> None:
    """A first small run, as an installation that is up has had: imports, connections and the model are loaded."""
    wait_for_run(made, request_run(made.engine, "customers", "bench", row_limit=20_000, rescore=True))
    for log in made.directory.glob("worker-*.log"):
        log.write_text("")


def fresh(made: Installation) -> None:
    """The table as it was before: without scores and without dead rows."""
    execute(made.erp.url, "UPDATE customers SET score = NULL", "VACUUM FULL ANALYZE customers", "CHECKPOINT")


def main() -> None:
    """Runs the rounds and prints each, then the medians and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"by hand": [], "1 worker": [], "2 workers": []}
    with installation() as made:
        by_hand(made, args.rows, "--setup")
        made.apply(HERE / "batch.yaml", {"customers": HERE / "model.onnx"})
        for _ in range(args.rounds):
            for name in found:
                fresh(made)
                figures = by_hand(made, args.rows) if name == "by hand" else ours(made, args.rows, int(name[0]))
                found[name].append(figures)
                print(name, json.dumps(figures), flush=True)
    base = median(figures["rows_per_s"] for figures in found["by hand"])
    for name, rounds in found.items():
        rate = median(figures["rows_per_s"] for figures in rounds)
        print(f"{name}: {rate:,.0f} rows/s, {rate / base:.2f} of the hand-written script")


if __name__ == "__main__":
    main()

"""Leads of a simulated Salesforce org: read, scored, written back by bulk jobs; rows/s, memory of the worker, API calls used.

python bench/salesforce.py [--leads 50000]

The fewest calls: one COUNT, a page of 2,000 leads each, and for each slice that is written the look at what stands there (2,000 Ids
each) and the job's five: create, upload, close, ask once, fetch the results.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from math import ceil
from typing import Any

import httpx
import yaml
from installation import HERE, Installation, installation, peak_rss_mb, wait_for_run

from fieldline_core.pipeline.manage import request_run
from fieldline_server.apply import apply
from fieldline_server.wiring import Wiring

EXAMPLE = HERE.parent / "examples/lead-scoring"
PAGE = 2_000
JOB_CALLS = 5


def main() -> None:
    """Runs the flow over an org of its own, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leads", type=int, default=50_000)
    args = parser.parse_args()
    with installation() as made:
        org = _org(made, args.leads)
        _apply(made, org)
        made.start("relay")
        worker = made.start("worker", "--queues", "cpu,write", "-c", "1")
        before, begun = _calls(org), time.perf_counter()
        run = wait_for_run(made, request_run(made.engine, "lead-scoring", "bench"))
        took_s, rss_mb = time.perf_counter() - begun, peak_rss_mb(worker.pid)
        _print(made, run, took_s, rss_mb, _calls(org) - before)


def _org(made: Installation, leads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "fieldline_server", "simulate", "salesforce", "--json", "--leads", str(leads)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=made.environment)
    made.processes.append(process)
    assert process.stdout is not None
    facts: dict[str, Any] = json.loads(process.stdout.readline())
    return facts


def _apply(made: Installation, org: dict[str, Any]) -> None:
    parts = made.engine.parts
    assert isinstance(parts, Wiring)
    parts.registry.import_model(EXAMPLE / "model.onnx", "lead-scoring", "bench")
    documents = list(yaml.safe_load_all((EXAMPLE / "flow.yaml").read_text()))
    os.environ["CRM_CLIENT_SECRET"] = made.environment["CRM_CLIENT_SECRET"] = org["client_secret"]
    documents[0]["settings"] |= {
        "url": org["url"], "allow_private": [{"host": "localhost", "network": "127.0.0.0/8"}], "bulk_poll_s": 0.2,
        "login": {**documents[0]["settings"]["login"], "client_id": org["client_id"]},
    }  # fmt: skip
    documents[2]["trigger"] = {}
    done = apply(made.engine, parts.registry, {"flow.yaml": yaml.safe_dump_all(documents)}, "bench")
    if errors := [finding for finding in done.findings if finding.severity == "error"]:
        raise SystemExit("\n".join(map(str, errors)))


def _calls(org: dict[str, Any]) -> int:
    return int(httpx.get(f"{org['url']}/_sim/status", trust_env=False).json()["api_calls"]["used"])


def _print(made: Installation, run: dict[str, Any], took_s: float, rss_mb: int, calls: int) -> None:
    with made.engine.store.transaction("bench") as tx:
        slices = [row["rows"] for row in tx.connection.execute("SELECT rows FROM effect WHERE state = 'confirmed'").fetchall()]
    rows = int(run["rows"])
    fewest = 1 + ceil(rows / PAGE) + sum(ceil(each / PAGE) + JOB_CALLS for each in slices)
    print(f"{rows:,} leads read, {run['scored']:,} scored, {run['written']:,} written: {took_s:.1f} s, {rows / took_s:,.0f} rows/s")
    print(f"API calls: {calls:,}; the fewest possible {fewest:,} ({calls / fewest:.2f} times), {len(slices)} slices")
    print(f"peak memory of the worker and its children: {rss_mb} MB")


if __name__ == "__main__":
    main()

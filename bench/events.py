"""From signed POST to written-back value, at 20 events/s; then 500 events/s for a minute, and the backlog drained.

    python bench/events.py [--seconds 60]

The ERP's clock stamps each row as it is inserted (its commit follows); ERP, sender and Fieldline share one machine and one clock.
"""

import argparse
import http.client
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from statistics import median, quantiles

import psycopg
from installation import HERE, Installation, execute, installation

from fieldline_simulators.webhook_signing import standard

SECRET = "whsec_" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
TABLE = "CREATE TABLE answers (id text PRIMARY KEY, score double precision, at timestamptz DEFAULT clock_timestamp())"


def record(number: int) -> dict[str, object]:
    """One event's record; values differ from event to event."""
    chance = random.Random(number)
    return {
        "id": f"E{number:08}", "revenue": round(chance.random() * 1e7, 2), "employees": chance.randrange(5000),
        "tenure_months": chance.randrange(60), "monthly_charge": round(chance.random() * 200, 2),
        "paperless": chance.random() < 0.5,
        "created_at": f"202{chance.randrange(6)}-0{chance.randrange(1, 10)}-1{chance.randrange(10)}T08:00:00",
        "last_contact": f"2025-0{chance.randrange(1, 10)}-11", "industry": chance.choice(["Technology", "Finance", "Health", None]),
        "state": chance.choice(["CA", "NY", "TX", "IL"]),
    }  # fmt: skip


def send(
    port: int, numbers: Iterator[int], start: float, rate_per_s: float, sent: dict[int, float], statuses: "Counter[int]"
) -> None:
    """Posts events on one connection, each at its time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for number in numbers:
        body = json.dumps(record(number)).encode()
        time.sleep(max(0.0, start + len(sent) / rate_per_s - time.time()))
        sent[number] = time.time()
        headers = standard(SECRET, f"m{number}", int(time.time()), body)
        connection.request("POST", "/hooks/events", body, {**headers, "content-type": "application/json"})
        response = connection.getresponse()
        response.read()
        statuses[response.status] += 1


def load(port: int, first: int, count: int, rate_per_s: float, senders: int) -> tuple[dict[int, float], "Counter[int]"]:
    """Posts `count` events at a steady rate; returns when each was sent, and the answers' statuses."""
    sent: dict[int, float] = {}
    statuses: Counter[int] = Counter()
    numbers = iter(range(first, first + count))
    lock = threading.Lock()

    def next_numbers() -> Iterator[int]:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            yield number

    start = time.time()
    threads = [
        threading.Thread(target=send, args=(port, next_numbers(), start, rate_per_s, sent, statuses)) for _ in range(senders)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sent, statuses


def written(made: Installation, first: int, count: int, limit_s: float = 600.0) -> dict[int, float]:
    """When each of the events was written, as soon as all are."""
    deadline = time.monotonic() + limit_s
    with psycopg.connect(made.erp.url, autocommit=True) as connection:
        while True:
            query = "SELECT substr(id, 2)::int, extract(epoch FROM at)::float FROM answers WHERE id >= %s AND id < %s"
            rows = connection.execute(query, (f"E{first:08}", f"E{first + count:08}")).fetchall()
            if len(rows) == count:
                return dict(rows)
            if time.monotonic() > deadline:
                raise SystemExit(f"{len(rows)} of {count} events were written within {limit_s:g} s")
            time.sleep(0.5)


def main() -> None:
    """Runs both loads and prints their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    args = parser.parse_args()
    os.environ["SENDER_SECRET"] = SECRET
    with installation() as made:
        execute(made.erp.url, TABLE)
        made.apply(HERE / "events.yaml", {"customers": HERE / "model.onnx"})
        for argv in (("relay",), ("worker", "--queues", "cpu,write", "--concurrency", "2"), ("api",)):
            made.start(*argv)
        port = made.api_port()
        load(port, 0, 40, 20.0, 2)
        written(made, 0, 40)

        count = 20 * args.seconds
        sent, statuses = load(port, 1000, count, 20.0, 4)
        done = written(made, 1000, count)
        waits_ms = [(done[number] - at) * 1000 for number, at in sent.items()]
        p99 = quantiles(waits_ms, n=100)[98]
        print(f"20 events/s: {dict(statuses)}; POST to written: median {median(waits_ms):.0f} ms, p99 {p99:.0f} ms")

        count = 500 * args.seconds
        begin = time.time()
        sent, statuses = load(port, 1_000_000, count, 500.0, 8)
        ended = time.time()
        done = written(made, 1_000_000, count)
        rate, drained_s = count / (ended - begin), max(done.values()) - ended
        print(f"500 events/s asked, {rate:.0f}/s for {ended - begin:.0f} s: {dict(statuses)}; drained {drained_s:.1f} s later")


if __name__ == "__main__":
    main()

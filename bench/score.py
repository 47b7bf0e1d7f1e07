"""Synchronous score of one record over HTTP on loopback: median and p99, one caller after another.

python bench/score.py [--calls 3000]
"""

import argparse
import http.client
import json
import os
import time
from statistics import median, quantiles

from events import SECRET, TABLE, record
from installation import HERE, execute, installation

from fieldline_server.keys import ensure_admin_key


def main() -> None:
    """Calls, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=3000)
    args = parser.parse_args()
    os.environ["SENDER_SECRET"] = SECRET
    with installation() as made:
        execute(made.erp.url, TABLE)
        made.apply(HERE / "score.yaml", {"customers": HERE / "model.onnx"})
        key = ensure_admin_key(made.engine)
        made.start("api")
        connection = http.client.HTTPConnection("127.0.0.1", made.api_port(), timeout=30)
        waits_ms = []
        for number in range(args.calls + 100):
            body = json.dumps({"records": [{"key": f"E{number}", "record": record(number)}]})
            begin = time.perf_counter()
            headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
            connection.request("POST", "/v1/flows/score/score", body, headers)
            response = connection.getresponse()
            answer = response.read()
            waits_ms.append((time.perf_counter() - begin) * 1000)
            if response.status != 200:
                raise SystemExit(f"{response.status}: {answer!r}")
        # The first calls load the model and compile the mapping.
        waits_ms = waits_ms[100:]
        p99 = quantiles(waits_ms, n=100)[98]
        print(f"score of one record: median {median(waits_ms):.2f} ms, p99 {p99:.2f} ms of {len(waits_ms)} calls")


if __name__ == "__main__":
    main()

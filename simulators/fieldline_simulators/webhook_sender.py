"""A sender of webhooks: signs JSON documents, one to a line, and posts them until they are accepted."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path

import httpx

from fieldline_simulators import webhook_signing

SIGNERS: dict[str, Callable[[str, str, int, bytes], dict[str, str]]] = {
    "standard": webhook_signing.standard,
    "github": lambda secret, message_id, at_s, body: webhook_signing.github(secret, message_id, body),
    "stripe": lambda secret, message_id, at_s, body: webhook_signing.stripe(secret, at_s, body),
    "slack": lambda secret, message_id, at_s, body: webhook_signing.slack(secret, at_s, body),
    "shopify": lambda secret, message_id, at_s, body: webhook_signing.shopify(secret, message_id, body),
}
"""Scheme -> the headers for a secret, an id, a time in seconds and a body."""

_WAITS_S = (0.0, 0.2, 1.0, 5.0)


def send(client: httpx.Client, url: str, scheme: str, secret: str, message_id: str, body: bytes) -> int:
    """Posts one message, again where the receiver is busy or silent; gives the last status, 0 for none."""
    status = 0
    for wait_s in _WAITS_S:
        time.sleep(wait_s)
        headers = SIGNERS[scheme](secret, message_id, int(time.time()), body)
        try:
            status = client.post(url, content=body, headers={"content-type": "application/json", **headers}).status_code
        except httpx.TransportError:
            status = 0
        if status and status < 500 and status != 429:
            return status
    return status


def send_all(url: str, scheme: str, secret: str, bodies: Iterable[bytes], rate_per_s: float = 0.0) -> dict[int, int]:
    """Posts every document, at most so many a second, and counts the statuses."""
    statuses: dict[int, int] = {}
    begun = time.monotonic()
    with httpx.Client(timeout=10, trust_env=False) as client:
        for number, body in zip(count(1), bodies, strict=False):
            status = send(client, url, scheme, secret, _message_id(body, number), body)
            statuses[status] = statuses.get(status, 0) + 1
            if rate_per_s:
                time.sleep(max(0.0, begun + number / rate_per_s - time.monotonic()))
    return statuses


def _message_id(body: bytes, number: int) -> str:
    given = json.loads(body).get("id")
    return str(given) if given else f"event-{number}"


def main() -> None:
    """Sends a file or standard input."""
    parser = argparse.ArgumentParser(description="Sends signed webhooks, one JSON document to a line.")
    parser.add_argument("--url", required=True, help="where to send them")
    parser.add_argument("--scheme", choices=sorted(SIGNERS), default="standard", help="how to sign them")
    parser.add_argument("--secret", required=True, help="the secret to sign with")
    parser.add_argument("--file", type=Path, help="the documents; standard input if left out")
    parser.add_argument("--rate", type=float, default=0.0, help="most messages a second; 0 for as fast as possible")
    options = parser.parse_args()
    lines = options.file.read_bytes().splitlines() if options.file else sys.stdin.buffer
    statuses = send_all(options.url, options.scheme, options.secret, (line.strip() for line in lines), options.rate)
    sys.stdout.write(json.dumps(statuses) + "\n")
    sys.exit(0 if all(200 <= status < 300 for status in statuses) else 1)


if __name__ == "__main__":
    main()

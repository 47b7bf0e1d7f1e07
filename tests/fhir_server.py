"""A simulated FHIR server for tests, and somebody who takes what its subscriptions send."""

import json
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from fieldline_simulators.fhir import FIXED_TOKEN, Options, Simulator, running

LOINC = "http://loinc.org"
WITHIN_S = 30.0


@dataclass
class Server:
    """A simulator and a client of it that may do everything."""

    simulator: Simulator
    fhir: httpx.Client
    root: httpx.Client

    def find(self, type: str, **parameters: str) -> list[str]:
        """The ids of all matches over all pages, in order."""
        answer = self.fhir.get(f"/{type}", params=parameters)
        assert answer.status_code == 200, answer.text
        found: list[str] = []
        while True:
            bundle = answer.json()
            found += [each["resource"]["id"] for each in bundle.get("entry", ()) if each["search"]["mode"] == "match"]
            following = [link["url"] for link in bundle.get("link", ()) if link["relation"] == "next"]
            if not following:
                return found
            answer = self.fhir.get(following[0])

    def create(self, resource: dict[str, Any], **headers: str) -> httpx.Response:
        """POST of a resource; underscores in the names of headers stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.fhir.post(f"/{resource['resourceType']}", json=resource, headers=named)

    def together(self, count: int, method: str, url: str, **given: Any) -> list[int]:
        """The statuses of so many equal requests at once."""
        barrier = threading.Barrier(count)

        def ask(_: int) -> int:
            with httpx.Client(base_url=self.fhir.base_url, headers=self.fhir.headers, trust_env=False, timeout=60) as client:
                barrier.wait()
                return client.request(method, url, **given).status_code

        with ThreadPoolExecutor(count) as threads:
            return list(threads.map(ask, range(count)))


@contextmanager
def fhir_server(profile: str = "medplum", **options: Any) -> Iterator[Server]:
    """A server of its own with a few patients."""
    with running(Options(profile=profile, **{"patients": 12, **options})) as simulator:
        headers = {"Authorization": f"Bearer {FIXED_TOKEN}"}
        fhir = httpx.Client(base_url=simulator.fhir_url, headers=headers, trust_env=False, timeout=60)
        with fhir, httpx.Client(base_url=simulator.url, trust_env=False, timeout=60) as root:
            yield Server(simulator, fhir, root)


@dataclass
class Taken:
    """One call that a subscriber got."""

    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass
class Subscriber:
    """An HTTP endpoint that answers with the statuses that are set, then with 200."""

    url: str
    calls: "queue.Queue[Taken]" = field(default_factory=queue.Queue)
    statuses: list[int] = field(default_factory=list)

    def next(self) -> Taken:
        """The next call; fails where none comes."""
        return self.calls.get(timeout=WITHIN_S)


@contextmanager
def subscriber() -> Iterator[Subscriber]:
    """A subscriber that listens."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(made.statuses.pop(0) if made.statuses else 200)
            self.send_header("content-length", "0")
            self.end_headers()
            made.calls.put(Taken({name.lower(): value for name, value in self.headers.items()}, body))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Subscriber(f"http://127.0.0.1:{server.server_port}/hook")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def observation(code: str = "39156-5", value: float = 31.5, patient: str = "study-001", **more: Any) -> dict[str, Any]:
    """An observation to write."""
    return {
        "resourceType": "Observation", "status": "final", "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": {"reference": f"Patient/{patient}"}, "effectiveDateTime": "2026-06-01T10:00:00Z",
        "valueQuantity": {"value": value, "unit": "kg/m2", "system": "http://unitsofmeasure.org", "code": "kg/m2"}, **more,
    }  # fmt: skip


def named(value: str) -> list[dict[str, str]]:
    """An identifier by which a resource is found again."""
    return [{"system": "urn:test", "value": value}]

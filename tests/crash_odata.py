"""An OData service as the target of the crash matrix: notes that would count double, and customers that are updated."""

import json
import time
import uuid
from collections.abc import Mapping, Set
from contextlib import ExitStack
from typing import Any

from fieldline_core.pipeline.manage import request_run
from tests.crash_matrix import LEASE_S, Ground
from tests.engines import Bench
from tests.odata_connections import LOOPBACK
from tests.odata_language import Kind
from tests.odata_service import Answer, Shop, serving

_RETRY = {"first_s": 0.05, "longest_s": 0.2}
_ROWS = 20


class _NumberingShop(Shop):
    """Gives what is added a key of its own, so that what is added twice is there twice; one addition takes long."""

    slow = True

    def create(self, name: str, body: bytes) -> Answer:
        """Adds a record."""
        if self.slow:
            # Once, so that a lease is renewed while it is written.
            self.slow = False
            time.sleep(0.6 * LEASE_S)
        return super().create(name, json.dumps({**json.loads(body), "ID": str(uuid.uuid4())}).encode())


class OdataSink:
    """A flow that reads customers, adds a note to each and updates them, in changesets of some."""

    rows = _ROWS
    version = 2
    settings: Mapping[str, Any] = {"changeset_rows": 3, "batch_rows": 6}
    expected: Mapping[str, float] = {f"C{number:02}": 1.5 * number for number in range(_ROWS)}

    def __init__(self, ground: Ground, name: str, stack: ExitStack) -> None:
        customers = Kind({"ID": "String", "a": "Double", "b": "Double", "score": "Double"})
        notes = Kind({"ID": "String", "mark": 'String MaxLength="64"', "customer": "String", "score": "Double"})
        self._shop = _NumberingShop(self.version, {"Customers": customers, "Notes": notes}, page=7)
        for number, key in enumerate(self.expected):
            self._shop.put("Customers", ID=key, a=float(number), b=number / 2)
        self._root = stack.enter_context(serving(self._shop))
        self._password = ground.directory / "service.password"
        self._password.write_text("the password")

    def documents(self) -> list[dict[str, Any]]:
        """A flow from the customers back to them, and to notes."""
        settings = {
            "service_url": self._root, "preset": "sap", "allow_private": list(LOOPBACK), "max_concurrent": 2, "total_timeout_s": 5,
            "login": {"flow": "basic", "user": "tech", "password": {"secret": f"file:{self._password}"}}, **self.settings,
        }  # fmt: skip
        mapping = {"mapping": "m", "features": [{"field": "a"}, {"field": "b"}], "fields": [{"name": "score", "formula": "score"}]}
        added = {"operation": "create", "entity_set": "Notes", "key": "customer", "marker": "mark", "fields": {"score": "score"}}
        back = {"operation": "update", "entity_set": "Customers", "fields": {"score": "score"}}
        # First the one that counts double where it is repeated, so that the first passing of each site concerns it.
        writes = [{"name": name, "connection": "s4", "target": target, "retry": dict(_RETRY)}
                  for name, target in (("added", added), ("back", back))]  # fmt: skip
        flow = {"flow": "f", "source": {"connection": "s4", "query": {"entity_set": "Customers"}}, "mapping": "m",
                "models": ["linear"], "writes": writes, "retry": dict(_RETRY)}  # fmt: skip
        return [{"connection": "s4", "connector": "odata", "settings": settings}, mapping, flow]

    def begin(self, bench: Bench) -> dict[str, str]:
        """Asks for a run."""
        bench.close_connections()
        request_run(bench.engine, "f", "test")
        return {}

    def written(self) -> list[tuple[str, float]]:
        """The notes, each counted as often as it is there."""
        with self._shop.lock:
            return [(note["customer"], note["score"]) for note in self._shop.rows["Notes"].values()]

    def problems(self, effects: Set[str]) -> list[str]:
        """Whether the updates arrived, and only what was due was changed."""
        with self._shop.lock:
            updated = {key: row["score"] for key, row in self._shop.rows["Customers"].items()}
            again = [key for (name, key), version in self._shop.versions.items() if name == "Customers" and version > 2]
        found = [] if updated == self.expected else [f"{len(updated.items() ^ self.expected.items())} updates are wrong"]
        return found + ([f"changed more than once: {again}"] if again else [])


class OdataV4Sink(OdataSink):
    """The same in V4, with each change in a request of its own."""

    version = 4
    settings: Mapping[str, Any] = {"batch": "none"}

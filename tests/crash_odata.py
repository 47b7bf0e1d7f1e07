"""An OData service as the target of the crash matrix: notes that would count double, and customers that are updated."""

from collections.abc import Mapping, Set
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fieldline_core.pipeline.manage import request_run
from fieldline_simulators import sap
from tests.crash_matrix import LEASE_S, Ground
from tests.engines import Bench
from tests.odata_connections import LOOPBACK, Shop, serving

RETRY = {"first_s": 0.05, "longest_s": 0.2}
_ROWS = 20


CUSTOMERS = sap.EntitySet(
    "Customers",
    (sap.Property("ID", nullable=False), *(sap.Property(name, "Double") for name in ("a", "b", "score"))),
    ("ID",),
)  # fmt: skip
"""Customers that are scored."""
_NOTES = sap.EntitySet(
    "Notes",
    # Each has a key of its own, so that what is added twice is there twice.
    (sap.Property("ID", "Guid", nullable=False), sap.Property("mark", length=64), sap.Property("customer"),
     sap.Property("score", "Double")),
    ("ID",), numbered="ID",
)  # fmt: skip


def scored_customers(root: str, password: Path, more: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The documents of a connection to the service, and of a mapping that scores its customers."""
    settings = {
        "service_url": root, "preset": "sap", "allow_private": list(LOOPBACK), "max_concurrent": 2, "total_timeout_s": 5,
        "login": {"flow": "basic", "user": sap.USER, "password": {"secret": f"file:{password}"}}, **more,
    }  # fmt: skip
    mapping = {"mapping": "m", "features": [{"field": "a"}, {"field": "b"}], "fields": [{"name": "score", "formula": "score"}]}
    return [{"connection": "s4", "connector": "odata", "settings": settings}, mapping]


class OdataSink:
    """A flow that reads customers, adds a note to each and updates them, in changesets of some."""

    rows = _ROWS
    version = 2
    settings: Mapping[str, Any] = {"changeset_rows": 3, "batch_rows": 6}
    expected: Mapping[str, float] = {f"C{number:02}": 1.5 * number for number in range(_ROWS)}

    def __init__(self, ground: Ground, name: str, stack: ExitStack) -> None:
        self._shop = Shop(self.version, (CUSTOMERS, _NOTES), page=7)
        for number, key in enumerate(self.expected):
            self._shop.put("Customers", ID=key, a=float(number), b=number / 2)
        self._root = stack.enter_context(serving(self._shop))
        self._password = ground.secret(name, sap.PASSWORD)

    def documents(self) -> list[dict[str, Any]]:
        """A flow from the customers back to them, and to notes."""
        added = {"operation": "create", "entity_set": "Notes", "key": "customer", "marker": "mark", "fields": {"score": "score"}}
        back = {"operation": "update", "entity_set": "Customers", "fields": {"score": "score"}}
        # First the one that counts double where it is repeated, so that the first passing of each site concerns it.
        writes = [{"name": name, "connection": "s4", "target": target, "retry": dict(RETRY)}
                  for name, target in (("added", added), ("back", back))]  # fmt: skip
        flow = {"flow": "f", "source": {"connection": "s4", "query": {"entity_set": "Customers"}}, "mapping": "m",
                "models": ["linear"], "writes": writes, "retry": dict(RETRY)}  # fmt: skip
        return [*scored_customers(self._root, self._password, self.settings), flow]

    def begin(self, bench: Bench) -> dict[str, str]:
        """Asks for a run, in which one write is slow, so that a lease is renewed meanwhile."""
        bench.close_connections()
        self._shop.system.faults.set([{"kind": "slow", "method": "POST", "nth": 3, "seconds": 0.6 * LEASE_S}])
        request_run(bench.engine, "f", "test")
        return {}

    def written(self) -> list[tuple[str, float]]:
        """The notes, each counted as often as it is there."""
        return [(note["customer"], note["score"]) for note in self._shop.rows("Notes").values()]

    def problems(self, effects: Set[str]) -> list[str]:
        """Whether the updates arrived, and only what was due was changed."""
        updated = {key: row["score"] for key, row in self._shop.rows("Customers").items()}
        again = [key for key, version in zip(updated, self._shop.versions("Customers"), strict=True) if version > 2]
        found = [] if updated == self.expected else [f"{len(updated.items() ^ self.expected.items())} updates are wrong"]
        return found + ([f"changed more than once: {again}"] if again else [])


class OdataV4Sink(OdataSink):
    """The same in V4, with each change in a request of its own."""

    version = 4
    settings: Mapping[str, Any] = {"batch": "none"}

"""Metrics for Prometheus: what this process does, and how the store stands when it is asked."""

import threading
import time
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fieldline_core.errors import FieldlineError
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.invariants import RULES, check_invariants
from fieldline_core.store import Row

PACKAGE = "fieldline_server"
_INVARIANTS_EVERY_S = 60.0
_STORE_EVERY_S = 5.0
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts of one API process; labels hold names of routes, flows and outcomes, never anything of a record."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram("fieldline_http_request_seconds", "Requests by route and status.",
                                  ("method", "route", "status"), buckets=_SECONDS, registry=self.registry)  # fmt: skip
        self.hooks = Counter("fieldline_hook_events", "Inbound webhooks by what became of them.", ("flow", "outcome"),
                             registry=self.registry)  # fmt: skip
        self.scored = Histogram("fieldline_score_seconds", "Synchronous scoring, from request to answer, without the network.",
                                ("flow",), buckets=_SECONDS, registry=self.registry)  # fmt: skip
        self.joined = Histogram("fieldline_score_batch_records", "Records of waiting callers that were scored together.",
                                buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256), registry=self.registry)  # fmt: skip

    def watch(self, engine: Engine) -> None:
        """Adds the state of the store."""
        self.registry.register(StoreState(engine))

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


_FAMILIES: Sequence[tuple[str, str, str, tuple[str, ...], str]] = (
    ("chunks", "fieldline_chunks", "Chunks that wait for scoring (read) or for their writes (scored).", ("queue", "state"), "n"),
    ("effects", "fieldline_effects", "Writes by state; unknown ones wait for a person.", ("state",), "n"),
    ("dead_letters", "fieldline_dead_letters_open", "Rows set aside that wait for a person.", ("flow",), "n"),
    ("events", "fieldline_events_waiting", "Accepted events that wait to be gathered.", (), "n"),
    ("oldest", "fieldline_oldest_due_seconds", "How long the oldest claimable work has been due.", ("kind",), "seconds"),
    ("log", "fieldline_log_waiting", "Events that are recorded and not sealed in the log yet.", (), "n"),
    ("log", "fieldline_log_lag_seconds", "How long the oldest of them has waited.", (), "oldest_s"),
    ("witnesses", "fieldline_witness_lag_seconds", "Since when there are entries that a witness lacks.", ("witness",), "lag_s"),
    ("witnesses", "fieldline_witness_refuses", "1 where a witness has seen another log.", ("witness",), "refuses"),
    ("workers", "fieldline_workers", "Workers seen in the last half minute.", ("queue",), "workers"),
    ("workers", "fieldline_worker_slots", "Slots of these workers.", ("queue",), "slots"),
    ("paused", "fieldline_flow_paused", "1 where the flow is paused.", ("flow",), "n"),
    ("writes_paused", "fieldline_writes_paused", "1 where all write-backs are paused.", (), "n"),
    ("targets", "fieldline_target_breaker_open", "1 where the target's circuit breaker is not closed.", ("target",), "n"),
)
"""Query, metric, help, labels (columns of the query) and the column of the value."""


class StoreState(Collector):
    """Gauges over the store, read when they are asked for, at most every few seconds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._read_at = self._checked_at = float("-inf")
        self._gauges: list[Metric] = []
        self._violations: Metric = _violation_gauge({})

    def describe(self) -> list[Metric]:
        """Nothing: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The gauges; `fieldline_store_up` alone where the database is away."""
        up = GaugeMetricFamily("fieldline_store_up", "1 where the database answered.")
        try:
            with self._lock:
                self._refresh()
                gauges = [*self._gauges, self._violations]
            up.add_metric([], 1)
        except FieldlineError:
            gauges = []
            up.add_metric([], 0)
        yield up
        yield from gauges

    def _refresh(self) -> None:
        now_s = time.monotonic()
        if now_s - self._read_at >= _STORE_EVERY_S:
            with self._engine.store.transaction("metrics", PACKAGE) as tx:
                rows = {query: tx.all(f"metrics.{query}") for query in {family[0] for family in _FAMILIES}}
            self._gauges = [_gauge(name, text, labels, value, rows[query]) for query, name, text, labels, value in _FAMILIES]
            self._read_at = now_s
        # The invariants are counted over whole tables: once a minute is enough.
        if now_s - self._checked_at >= _INVARIANTS_EVERY_S:
            self._violations = _violation_gauge({each.rule: each.count for each in check_invariants(self._engine.store)})
            self._checked_at = now_s


def _gauge(name: str, text: str, labels: Sequence[str], value: str, rows: Sequence[Row]) -> Metric:
    gauge = GaugeMetricFamily(name, text, labels=labels)
    for row in rows:
        gauge.add_metric([str(row[label]) for label in labels], float(row[value]))
    return gauge


def _violation_gauge(counts: dict[str, int]) -> Metric:
    gauge = GaugeMetricFamily("fieldline_invariant_violations", "What must never be, and is; 0 is right.", labels=("rule",))
    for rule in RULES:
        gauge.add_metric([rule], counts.get(rule, 0))
    return gauge

"""Writing into simulated charts: connections, operations, slices, and what a chart holds afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import polars as pl

from fieldline_connectors.fhir import Fhir, FhirConfig, FhirTarget
from fieldline_core.batch import Batch
from fieldline_core.ports import Slice
from fieldline_core.receipts import Outcome, Receipts
from fieldline_core.secret import Secret
from fieldline_simulators.fhir import FIXED_TOKEN
from tests.fhir_server import Server

CODE = {"system": "urn:fieldline:demo", "code": "progression", "display": "Progression of diabetes"}
FIELDS = {"prediction": "risk", "reason": "why", "model": "decision.model", "at": "decision.clock"}
Risks: TypeAlias = Mapping[str, float | str | None]
SYSTEM = "urn:fieldline:decision"
AT = datetime(2026, 6, 1, 10, 30)  # noqa: DTZ001 (as frames have it: without a zone, in UTC)


def settings(root: str, **more: Any) -> FhirConfig:
    """A connection's settings for a simulated server."""
    private = [{"host": urlsplit(root).hostname, "network": "127.0.0.0/8"}]
    login = {"flow": "bearer", "token": Secret(FIXED_TOKEN)}
    return FhirConfig.model_validate({"base_url": root, "allow_private": private, "login": login, **more})


@contextmanager
def connected(server: Server, **more: Any) -> Iterator[Fhir]:
    """A connector that is closed in the end."""
    connector = Fhir(settings(server.simulator.fhir_url, **more))
    try:
        yield connector
    finally:
        connector.close()


def target_of(**more: Any) -> FhirTarget:
    """An operation that writes the probabilities of the demo."""
    return FhirTarget.model_validate({"code": CODE, "fields": FIELDS, **more})


def batch_of(risks: Risks, why: str | None = "glucose is high") -> Batch:
    """Decisions on patients, all made at once."""
    count = len(risks)
    columns = {"prediction": list(risks.values()), "reason": [why] * count, "model": ["progression@3"] * count, "at": [AT] * count}
    return Batch.of(list(risks), pl.DataFrame(columns, schema_overrides={"reason": pl.String, "at": pl.Datetime("us")}))


def slice_of(target: FhirTarget, risks: Risks, effect: str = "first", fence: int = 1, **more: Any) -> Slice:
    """The same decisions as a slice."""
    return Slice(sha256(effect.encode()).hexdigest(), fence, target, batch_of(risks, **more))


def outcomes(receipts: Receipts) -> list[Outcome]:
    """The outcome of each row."""
    return [receipts[row].outcome for row in range(receipts.rows)]


def chart(server: Server, type: str) -> list[dict[str, Any]]:
    """All resources of a type that we wrote, as the server's store has them, past its API."""
    store = server.simulator.ehr.store
    with store.lock:
        every = list(store.all(type))
    return [each for each in every if any(found.get("system") == SYSTEM for found in each.get("identifier", []))]


def fail(server: Server, *faults: dict[str, Any]) -> None:
    """Sets the faults of the server."""
    assert server.root.put("/_sim/faults", json=list(faults)).status_code == 200

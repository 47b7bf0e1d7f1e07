"""An EHR as the target of the crash matrix: observations that would count double, and ones that are kept for each patient."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from threading import Lock
from typing import Any

from fieldline_core.pipeline.manage import request_run
from fieldline_simulators.fhir import FIXED_TOKEN
from tests.crash_matrix import LEASE_S, Cell, Ground, every_site
from tests.engines import Bench
from tests.fhir_server import LOINC, fhir_server
from tests.fhir_writing import SYSTEM, fail

_RETRY = {"first_s": 0.05, "longest_s": 0.2}
_AGE = "30525-0"
_starting = Lock()
_VIEW = {"resource": "Observation", "select": [{"column": [
    {"name": "patient", "path": "subject.getReferenceKey(Patient)"},
    {"name": "a", "path": "value.ofType(Quantity).value", "type": "decimal"},
]}]}  # fmt: skip


class FhirSink:
    """A flow that reads the age of patients, adds an observation to each chart and keeps another one up to date there."""

    rows = 20
    profile = "medplum"

    def __init__(self, ground: Ground, name: str, stack: ExitStack) -> None:
        # FastAPI silences warnings while it is set up, which two threads at once undo for each other.
        with _starting:
            self._server = stack.enter_context(fhir_server(self.profile, patients=self.rows))
        ages = {_patient(each): each["valueQuantity"]["value"] for each in self._observations() if _code(each) == _AGE}
        self.expected: Mapping[str, float] = {patient: 1.5 * float(age) for patient, age in ages.items()}
        assert len(self.expected) == self.rows
        self._token = ground.secret(name, FIXED_TOKEN)

    def documents(self) -> list[dict[str, Any]]:
        """A flow from the charts back into them."""
        private = [{"host": host, "network": "127.0.0.0/8"} for host in ("localhost", "127.0.0.1")]
        settings = {
            "base_url": self._server.simulator.fhir_url, "allow_private": private, "max_concurrent": 2, "total_timeout_s": 5,
            "login": {"flow": "bearer", "token": {"secret": f"file:{self._token}"}},
        }  # fmt: skip
        mapping = {"mapping": "m", "features": [{"field": "a"}, {"name": "b", "formula": "a / 2"}],
                   "fields": [{"name": "score", "formula": "score"}]}  # fmt: skip
        query = {"view": _VIEW, "key": "patient", "by": "patient", "parameters": {"code": f"{LOINC}|{_AGE}"}}
        # First the one that counts double where it is repeated, so that the first passing of each site concerns it.
        writes = [{"name": name, "connection": "ehr", "retry": dict(_RETRY), "target": {
            "operation": operation, "resource": "Observation", "kind": "quantity", "unit": "{score}",
            "code": {"system": "urn:crash", "code": name, "display": name}, "fields": {"prediction": "score"},
        }} for name, operation in (("added", "create"), ("kept", "upsert"))]  # fmt: skip
        flow = {"flow": "f", "source": {"connection": "ehr", "query": query}, "mapping": "m", "models": ["linear"],
                "writes": writes, "retry": dict(_RETRY)}  # fmt: skip
        return [{"connection": "ehr", "connector": "fhir", "settings": settings}, mapping, flow]

    def begin(self, bench: Bench) -> dict[str, str]:
        """Asks for a run, in which one write is slow, so that a lease is renewed meanwhile."""
        bench.close_connections()
        fail(self._server, {"kind": "slow", "method": "POST", "path": "/fhir*", "nth": 1, "times": 1, "seconds": 0.6 * LEASE_S})
        request_run(bench.engine, "f", "test")
        return {}

    def written(self) -> list[tuple[str, float]]:
        """The observations that were added, each as often as it is there."""
        return list(self._ours("added"))

    def problems(self, effects: Set[str]) -> list[str]:
        """Whether each patient has the other observation once, as it should be."""
        kept = Counter(self._ours("kept"))
        return [] if kept == Counter(self.expected.items()) else [f"{kept - Counter(self.expected.items())} are kept"]

    def _ours(self, code: str) -> Iterator[tuple[str, float]]:
        for each in self._observations():
            ours = any(found.get("system") == SYSTEM for found in each.get("identifier", []))
            if ours and _code(each) == code and each["status"] != "entered-in-error":
                yield _patient(each), float(each["valueQuantity"]["value"])

    def _observations(self) -> list[dict[str, Any]]:
        store = self._server.simulator.ehr.store
        with store.lock:
            return list(store.all("Observation"))


class EpicSink(FhirSink):
    """The same into a server that takes no bundles, no conditions and no deletion: each resource travels by itself."""

    profile = "epic"
    rows = 12


def sends_and_receipts(passed: Counter[str]) -> Sequence[Cell]:
    """The sites of sending, of taking the answer, and of what processes have in common."""
    topics = ("fhir.send", "odata.send", "write.fhir.", "write.odata.", "shared.")
    sent = {site: times for site, times in passed.items() if ".send" in site and times > 4}
    quarters = [Cell(site, times * part // 4 + 1) for site, times in sent.items() for part in (1, 3)]
    return [cell for cell in [*every_site(passed), *quarters] if cell.site.startswith(topics)]


def _patient(observation: Mapping[str, Any]) -> str:
    return str(observation["subject"]["reference"]).rpartition("/")[2]


def _code(observation: Mapping[str, Any]) -> str:
    return str(observation["code"]["coding"][0]["code"])

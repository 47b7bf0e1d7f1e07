"""The inbound port of an SAP system as the target of the crash matrix: IDocs that would be posted twice where they come twice."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from contextlib import ExitStack
from typing import Any

import pytest

from fieldline_core.pipeline.manage import request_run
from fieldline_simulators import sap
from fieldline_simulators.sap.idocs import IDOCS
from tests.crash_fhir import sends_and_receipts
from tests.crash_matrix import LEASE_S, Cell, Ground, every_site
from tests.crash_odata import CUSTOMERS, RETRY, scored_customers
from tests.engines import Bench
from tests.odata_connections import Shop, serving

_CONTROL = {"MESTYP": "DEBMAS", "SNDPOR": "FL", "SNDPRT": "LS", "SNDPRN": "FL", "RCVPRT": "LS", "RCVPRN": "S4"}


class IdocSink:
    """A flow that reads customers and sends an IDoc for each, whose status is asked for: a repeat is seen by its ARCKEY."""

    rows = 12
    idocs: Mapping[str, Any] = {"status": {"entity_set": IDOCS.name, "reference": "RefDocnum", "status": "Status"}}
    expected: Mapping[str, float] = {f"C{number:02}": 1.5 * number for number in range(rows)}

    def __init__(self, ground: Ground, name: str, stack: ExitStack) -> None:
        self._shop = Shop(2, (CUSTOMERS, IDOCS), page=7, posts_idocs=True)
        for number, key in enumerate(self.expected):
            self._shop.put("Customers", ID=key, a=float(number), b=number / 2)
        self._root = stack.enter_context(serving(self._shop))
        self._password = ground.secret(name, sap.PASSWORD)

    def documents(self) -> list[dict[str, Any]]:
        """A flow from the customers to the port."""
        return scored_customers(self._root, self._password, {"idocs": self.idocs})

    def flow(self) -> dict[str, Any]:
        """The flow itself."""
        idoc = {"type": "DEBMAS07", "control": _CONTROL, "segments": [{"segment": "E1KNA1M"}], "rows_per_message": 4}
        target = {"operation": "idoc", "idoc": idoc, "key": "E1KNA1M.KUNNR", "fields": {"E1KNA1M.SCORE": "score"}}
        return {"flow": "f", "source": {"connection": "s4", "query": {"entity_set": "Customers"}}, "mapping": "m",
                "models": ["linear"], "writes": [{"name": "out", "connection": "s4", "target": target, "retry": dict(RETRY)}],
                "retry": dict(RETRY)}  # fmt: skip

    def begin(self, bench: Bench) -> dict[str, str]:
        """Asks for a run, in which one message is slow, so that a lease is renewed meanwhile."""
        bench.apply(json.dumps(self.flow()))
        return self.run(bench)

    def run(self, bench: Bench) -> dict[str, str]:
        """Asks for the run."""
        bench.close_connections()
        self._shop.system.faults.set([{"kind": "slow", "method": "POST", "path": "*idoc_xml", "seconds": 0.6 * LEASE_S}])
        request_run(bench.engine, "f", "test")
        return {}

    def written(self) -> list[tuple[str, float]]:
        """The IDocs that arrived, each as often as it did."""
        return [self._answer(idoc) for idoc in self._shop.idocs]

    def problems(self, effects: Set[str]) -> list[str]:
        """Whether each IDoc has a number of its own by which it is found again."""
        marks = {idoc.findtext("EDI_DC40/ARCKEY") for idoc in self._shop.idocs}
        return [] if len(marks) == self.rows else [f"{len(marks)} numbers for {self.rows} IDocs"]

    def _answer(self, idoc: Any) -> tuple[str, float]:
        return str(idoc.findtext("E1KNA1M/KUNNR")), float(idoc.findtext("E1KNA1M/SCORE"))


class BlindIdocSink(IdocSink):
    """The same where no status can be asked for: the operation says that a worker which dies may send an IDoc twice."""

    idocs: Mapping[str, Any] = {}

    def begin(self, bench: Bench) -> dict[str, str]:
        """Says what a repeat may do, and asks for a run."""
        with pytest.raises(AssertionError, match="may send an IDoc twice"):
            bench.apply(json.dumps(self.flow()))
        return self.run(bench)

    def written(self) -> list[tuple[str, float]]:
        """The IDocs that arrived; one that came again is known by its ARCKEY."""
        return list({idoc.findtext("EDI_DC40/ARCKEY"): self._answer(idoc) for idoc in self._shop.idocs}.values())

    def problems(self, effects: Set[str]) -> list[str]:
        """The same, and whether no more came twice than the one whose worker died."""
        came = Counter((idoc.findtext("EDI_DC40/ARCKEY"), *self._answer(idoc)) for idoc in self._shop.idocs)
        again = sum(came.values()) - len(came)
        return [*super().problems(effects), *([f"{again} IDocs came again"] if again > 1 else [])]


def sends_and_polls(passed: Counter[str]) -> Sequence[Cell]:
    """The sites of sending, of asking what became of it, and of noting both."""
    noted = [cell for cell in every_site(passed) if cell.site.startswith(("write.submitted", "receive"))]
    return [*sends_and_receipts(passed), *noted]

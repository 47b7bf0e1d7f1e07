"""A Salesforce org as the target of the crash matrix: tasks that would count double, and leads that are updated."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from contextlib import ExitStack
from typing import Any

from fieldline_core.pipeline.manage import request_run
from tests.crash_matrix import LEASE_S, ROWS, Cell, Ground, every_site
from tests.engines import Bench
from tests.salesforce_org import simulated_org

_MARK = "Fieldline_Effect__c"
_COMPANY = "Crash Ltd"


class SalesforceSink:
    """A flow that reads leads, adds a task to each and updates them, by collections."""

    rows = ROWS
    settings: Mapping[str, Any] = {}
    retry: Mapping[str, Any] = {"first_s": 0.05, "longest_s": 0.2}
    # One slow call, so that a lease is renewed while it runs.
    faults: Sequence[Mapping[str, Any]] = (
        {"kind": "slow", "path": "*composite/sobjects*", "nth": 4, "times": 1, "seconds": 0.6 * LEASE_S},
    )

    def __init__(self, ground: Ground, name: str, stack: ExitStack) -> None:
        self._org = org = stack.enter_context(simulated_org(leads=1))
        org.admin("PUT", "/_sim/rules", [])
        for object, field in (("Lead", "A__c"), ("Lead", "B__c"), ("Task", "Score__c")):
            org.admin("POST", "/_sim/fields", {"object": object, "name": field, "type": "double", "precision": 18, "scale": 4})
        org.admin("POST", "/_sim/fields", {"object": "Task", "name": _MARK, "type": "string", "length": 64})
        records = [{"LastName": f"L{i}", "Company": _COMPANY, "A__c": float(i), "B__c": i / 2} for i in range(self.rows)]
        leads = org.create_all("Lead", records)
        self.expected: Mapping[str, float] = {lead: 2.0 * i - i / 2 for i, lead in enumerate(leads)}
        self._secret = ground.secret(name, "app-secret")

    def documents(self) -> list[dict[str, Any]]:
        """A flow from the leads of a company back to them, and to tasks."""
        settings = self._org.config(**self.settings).model_dump(mode="json", exclude_defaults=True)
        settings["login"]["client_secret"] = {"secret": f"file:{self._secret}"}
        mapping = {"mapping": "m", "features": [{"name": "a", "field": "A__c"}, {"name": "b", "field": "B__c"}],
                   "fields": [{"name": "score", "formula": "score"}]}  # fmt: skip
        added = {"operation": "create", "object": "Task", "key": "WhoId", "marker": _MARK, "fields": {"Score__c": "score"},
                 "constants": {"Subject": "Call"}}  # fmt: skip
        back = {"object": "Lead", "fields": {"Fieldline_Score__c": "score"}}
        # First the one that counts double where it is repeated, so that the first passing of each site concerns it.
        writes = [{"name": name, "connection": "crm", "target": target, "retry": dict(self.retry)}
                  for name, target in (("added", added), ("back", back))]  # fmt: skip
        query = {"soql": f"SELECT Id FROM Lead WHERE Company = '{_COMPANY}'"}
        flow = {"flow": "f", "source": {"connection": "crm", "query": query}, "mapping": "m", "models": ["linear"],
                "writes": writes, "retry": dict(self.retry)}  # fmt: skip
        return [{"connection": "crm", "connector": "salesforce", "settings": settings}, mapping, flow]

    def begin(self, bench: Bench) -> dict[str, str]:
        """Asks for a run, from which on the org fails."""
        self._org.faults(*self.faults)
        for _, _, connector in bench.engine.parts._connectors.values():  # type: ignore[attr-defined]
            connector.close()
        request_run(bench.engine, "f", "test")
        return {}

    def written(self) -> list[tuple[str, float]]:
        """The tasks, each counted as often as it is there."""
        return [
            (task["WhoId"], task["Score__c"]) for task in self._org.query(f"SELECT WhoId, Score__c FROM Task WHERE {_MARK} != null")
        ]

    def calm(self) -> None:
        """Has the org fail no more."""
        self._org.faults()

    def problems(self, effects: Set[str]) -> list[str]:
        """Whether the updates arrived."""
        found = self._org.query("SELECT Id, Fieldline_Score__c FROM Lead WHERE Fieldline_Score__c != null")
        updated = {lead["Id"]: lead["Fieldline_Score__c"] for lead in found if lead["Id"] in self.expected}
        return [] if updated == self.expected else [f"{len(updated.items() ^ self.expected.items())} updates are wrong"]


class SalesforceBulkSink(SalesforceSink):
    """The same with bulk jobs for the updates and for reading."""

    settings: Mapping[str, Any] = {"bulk_write_from": 5, "bulk_read_from": 5, "bulk_poll_s": 0.02}


def own_sites(passed: Counter[str]) -> Sequence[Cell]:
    """The sites of sending, of jobs that are stored and started, and of what processes have in common."""
    topics = ("salesforce.", "read.wait.", "write.salesforce.", "write.submitted.", "shared.")
    return [cell for cell in every_site(passed) if cell.site.startswith(topics)]

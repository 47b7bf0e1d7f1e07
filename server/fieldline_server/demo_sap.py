"""The planner's side of the demo: a simulated SAP system, in a process of its own, beside the ERP that is reached by ODBC."""

import json
import os
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import httpx
import yaml

from fieldline_server.demo_systems import BIKES, example_documents, with_stored_secrets
from fieldline_server.processes import Child, Program

FORECAST = "bike-demand-odata"
SHARED_MODELS: Mapping[str, str] = {FORECAST: BIKES}
"""Flows whose model is that of another example."""
_HOURS = 500
_PLANNING = "Z_MaterialPlanningHour"
_TIMEOUT_S = 30.0


class Sap:
    """A system with a material's planning table, whose page shows a forecast as it arrives."""

    flows: ClassVar[tuple[str, ...]] = (FORECAST,)

    def __init__(self, directory: Path, examples: Path, rows: int | None, *, alone: bool) -> None:
        self._log = directory / "sap.log"
        self._examples = examples
        self._hours = min(_HOURS, rows or _HOURS)
        self._alone = alone
        self._child: Child | None = None

    def start(self) -> None:
        """Starts the system, with the first hours of the example's table."""
        argv = [sys.executable, "-m", "fieldline_server", "simulate", "sap", "--json", "--hours", str(self._hours)]
        argv += ["--records", str(self._examples / BIKES / "records.csv")]
        # What it leaves when it is killed lies in the demo's own folder, and goes with that.
        env = {**os.environ, "TMPDIR": str(self._log.parent / "tmp")}
        self._child = Child(Program("simulated SAP", argv, env, ready=self._announced), self._log)
        self._child.wait_until_ready()

    def stop(self) -> None:
        """Ends the system."""
        if self._child:
            self._child.stop(grace_s=2.0)

    def _announced(self) -> bool:
        return self._log.exists() and self._log.read_text().endswith("\n")

    @cached_property
    def _facts(self) -> Mapping[str, Any]:
        facts: Mapping[str, Any] = json.loads(self._log.read_text().splitlines()[-1])
        return facts

    @property
    def url(self) -> str:
        """The system's page."""
        return str(self._facts["url"])

    @property
    def secrets(self) -> Mapping[str, str]:
        """What the example's documents refer to, by the names that they have in the environment."""
        return {"SAP_PASSWORD": str(self._facts["password"])}

    @property
    def records(self) -> int:
        """How many hours the planning table has."""
        return int(self._facts["records"][_PLANNING])

    def documents(self, flow: str) -> str:
        """The example's second form, with the address of this system; with the mapping where the first form is not there."""
        first_form = example_documents(self._examples, BIKES) if self._alone else []
        mapping = [document for document in first_form if "mapping" in document and "flow" not in document]
        documents = [*mapping, *yaml.safe_load_all((self._examples / BIKES / "flow-odata.yaml").read_text())]
        for document in documents:
            if document.get("connector") == "odata":
                document["settings"] |= {
                    "service_url": self._facts["v2_url"].rstrip("/"),
                    "login": {**document["settings"]["login"], "user": self._facts["user"]},
                    "allow_private": [{"host": "localhost", "network": "127.0.0.0/8"}],
                }
        return with_stored_secrets(documents)

    def written(self, flow: str) -> int:
        """How many hours really have a forecast."""
        login = httpx.BasicAuth(self._facts["user"], self._facts["password"])
        place = f"{self._facts['v4_url']}{_PLANNING}/$count"
        with httpx.Client(auth=login, trust_env=False, timeout=_TIMEOUT_S) as client:
            return int(client.get(place, params={"$filter": "PlannedDemandQuantity ne null"}).raise_for_status().text)

"""The planner's side of the demo: a simulated SAP system, in a process of its own, beside the ERP that is reached by ODBC."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import httpx
import yaml

from fieldline_server.demo_simulator import Simulator
from fieldline_server.demo_systems import BIKES, example_documents, with_stored_secrets

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
        self._examples = examples
        self._alone = alone
        records = str(examples / BIKES / "records.csv")
        options = ("--hours", str(min(_HOURS, rows or _HOURS)), "--records", records)
        self._simulator = Simulator("sap", *options, log=directory / "sap.log")

    def start(self) -> None:
        """Starts the system, with the first hours of the example's table."""
        self._simulator.start()

    def stop(self) -> None:
        """Ends the system."""
        self._simulator.stop()

    @property
    def url(self) -> str:
        """The system's page."""
        return str(self._simulator.facts["url"])

    @property
    def secrets(self) -> Mapping[str, str]:
        """What the example's documents refer to, by the names that they have in the environment."""
        return {"SAP_PASSWORD": str(self._simulator.facts["password"])}

    @property
    def records(self) -> int:
        """How many hours the planning table has."""
        return int(self._simulator.facts["records"][_PLANNING])

    def documents(self, flow: str) -> str:
        """The example's second form, with the address of this system; with the mapping where the first form is not there."""
        first_form = example_documents(self._examples, BIKES) if self._alone else []
        mapping = [document for document in first_form if "mapping" in document and "flow" not in document]
        documents = [*mapping, *yaml.safe_load_all((self._examples / BIKES / "flow-odata.yaml").read_text())]
        for document in documents:
            if document.get("connector") == "odata":
                document["settings"] |= {
                    "service_url": self._simulator.facts["v2_url"].rstrip("/"),
                    "login": {**document["settings"]["login"], "user": self._simulator.facts["user"]},
                    "allow_private": [{"host": "localhost", "network": "127.0.0.0/8"}],
                }
        return with_stored_secrets(documents)

    def written(self, flow: str) -> int:
        """How many hours really have a forecast."""
        login = httpx.BasicAuth(self._simulator.facts["user"], self._simulator.facts["password"])
        place = f"{self._simulator.facts['v4_url']}{_PLANNING}/$count"
        with httpx.Client(auth=login, trust_env=False, timeout=_TIMEOUT_S) as client:
            return int(client.get(place, params={"$filter": "PlannedDemandQuantity ne null"}).raise_for_status().text)

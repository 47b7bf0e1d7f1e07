"""The sales department's side of the demo: a simulated Salesforce org, in a process of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fieldline_server.demo_simulator import Simulator
from fieldline_server.demo_systems import example_documents, with_stored_secrets

if TYPE_CHECKING:
    from fieldline_simulators.salesforce.visitor import Visitor

LEADS = "lead-scoring"
_LEADS = 1000
_OPEN = "FROM Lead WHERE IsConverted = false"


class Org:
    """An org with open leads, whose page shows a score as it arrives."""

    flows: ClassVar[tuple[str, ...]] = (LEADS,)

    def __init__(self, directory: Path, examples: Path, rows: int | None) -> None:
        self._examples = examples
        self._leads = min(_LEADS, rows or _LEADS)
        self._visitor: Visitor | None = None
        self._simulator = Simulator("salesforce", "--leads", str(self._leads), log=directory / "salesforce.log")

    def start(self) -> None:
        """Starts the org, with its API and its change events."""
        self._simulator.start()
        from fieldline_simulators.salesforce.visitor import Visitor

        self._visitor = Visitor(self.url)

    def stop(self) -> None:
        """Ends the org."""
        if self._visitor:
            self._visitor.close()
        self._simulator.stop()

    @property
    def url(self) -> str:
        """The org's address, and that of its page."""
        return str(self._simulator.facts["url"])

    @property
    def secrets(self) -> Mapping[str, str]:
        """What the example's documents refer to, by the names that they have in the environment."""
        return {"CRM_CLIENT_SECRET": str(self._simulator.facts["client_secret"])}

    @property
    def records(self) -> int:
        """How many open leads the org has."""
        return len(self._found(f"SELECT Id {_OPEN}"))

    def documents(self, flow: str) -> str:
        """The example's documents, with the address of this org."""
        documents = example_documents(self._examples, flow)
        for document in documents:
            if document.get("connector") == "salesforce":
                document["settings"] |= {
                    "url": self.url, "pubsub_url": f"http://{self._simulator.facts['pubsub']}",
                    "login": {**document["settings"]["login"], "client_id": self._simulator.facts["client_id"]},
                    "allow_private": [{"host": "localhost", "network": "127.0.0.0/8"}],
                }  # fmt: skip
        return with_stored_secrets(documents)

    def written(self, flow: str) -> int:
        """How many leads really have a score."""
        return len(self._found("SELECT Id FROM Lead WHERE Fieldline_Score__c != null"))

    def first_lead(self) -> str:
        """The Id of an open lead that is thought to be a student."""
        return str(self._found(f"SELECT Id {_OPEN} AND Title = 'Student' ORDER BY Id LIMIT 1")[0]["Id"])

    def reason(self, lead: str) -> str | None:
        """Why a lead has its score, by its own field."""
        found = self._found(f"SELECT Fieldline_Reason__c FROM Lead WHERE Id = '{lead}'")  # noqa: S608
        reason: str | None = found[0]["Fieldline_Reason__c"]
        return reason

    def promote(self, lead: str) -> None:
        """A sales person learns that the lead is the chief executive, and writes it down."""
        assert self._visitor is not None
        self._visitor.edit("Lead", lead, Title="CEO")

    def _found(self, soql: str) -> list[dict[str, Any]]:
        assert self._visitor is not None
        return self._visitor.query(soql)

"""The clinic's side of the demo: a simulated EHR, in a process of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple
from urllib.parse import urlencode

import httpx

from fieldline_server.demo import CountsDiffer
from fieldline_server.demo_simulator import Simulator
from fieldline_server.demo_systems import example_documents, with_stored_secrets

PATIENTS = "diabetes"
_PATIENT = "study-001"
_OURS = "https://fieldline.example/diabetes-study/prediction|progression"
_TIMEOUT_S = 30.0


class Shown(NamedTuple):
    """The card that the EHR was answered with, and how long that took."""

    summary: str
    elapsed_ms: float


class Ehr:
    """An EHR with the patients of a study, whose page shows an answer as it arrives, and which asks for cards."""

    flows: ClassVar[tuple[str, ...]] = (PATIENTS,)

    def __init__(self, directory: Path, examples: Path, rows: int | None) -> None:
        self._examples = examples
        self._client = httpx.Client(trust_env=False, timeout=_TIMEOUT_S)
        self.api_url = ""
        """Where Fieldline's API is, once it is known: the EHR's tokens are made for that address."""
        options = () if rows is None else ("--patients", str(rows))
        self._simulator = Simulator("fhir", *options, log=directory / "ehr.log")

    def start(self) -> None:
        """Starts the EHR."""
        self._simulator.start()

    def stop(self) -> None:
        """Ends the EHR."""
        self._client.close()
        self._simulator.stop()

    @property
    def url(self) -> str:
        """The EHR's address, and that of the page of its charts."""
        return str(self._simulator.facts["url"])

    @property
    def cards_url(self) -> str:
        """The page of the EHR that asks for a patient's card at once."""
        return f"{self._simulator.facts['cds_page']}?{urlencode({'patient': _PATIENT, 'service': self._service})}"

    @property
    def secrets(self) -> Mapping[str, str]:
        """What the example's documents refer to, by the names that they have in the environment."""
        return {"EHR_PRIVATE_KEY": Path(self._simulator.facts["app_key"]).read_text()}

    @property
    def records(self) -> int:
        """How many patients the EHR has."""
        return int(self._simulator.facts["patients"])

    def documents(self, flow: str) -> str:
        """The example's documents, with the addresses of this EHR and of the API that it calls."""
        documents = example_documents(self._examples, flow)
        for document in documents:
            if document.get("connector") == "fhir":
                document["settings"] |= {
                    "base_url": self._simulator.facts["fhir_url"],
                    "allow_private": [{"host": "localhost", "network": "127.0.0.0/8"}],
                }  # fmt: skip
            if service := document.get("trigger", {}).get("cds"):
                service |= {"url": self.api_url, "clients": [{"issuer": self.url, "keys": f"{self.url}/cds/jwks.json"}]}
        return with_stored_secrets(documents)

    def written(self, flow: str) -> int:
        """How many patients really have an answer in their chart."""
        answer = self._client.get(
            f"{self._simulator.facts['fhir_url']}/Observation", params={"code": _OURS, "_summary": "count"},
            headers={"authorization": f"Bearer {self._simulator.facts['token']}"},
        )  # fmt: skip
        return int(answer.raise_for_status().json()["total"])

    def first_patient(self) -> str:
        """The id of the study's first patient, whose diabetes progressed fast."""
        return _PATIENT

    def open_chart(self) -> Shown:
        """A clinician opens that patient's chart, and the EHR asks for the card; raises CountsDiffer where there is none."""
        order = {"service_url": self._service, "patient": _PATIENT}
        told = self._client.post(f"{self.url}/_sim/cds/call", json=order).raise_for_status().json()
        cards = (told["answer"] or {}).get("cards", []) if told["status"] == 200 else []
        if len(cards) != 1:
            raise CountsDiffer(f"{PATIENTS}: the EHR asked for a card and got none (status {told['status']}): {told['answer']}")
        return Shown(cards[0]["summary"], told["elapsed_ms"])

    @property
    def _service(self) -> str:
        return f"{self.api_url}/cds-services/{PATIENTS}"

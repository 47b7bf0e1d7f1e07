"""A hospital for tests: a simulated EHR, and flows over the API that answer its CDS Hooks."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt

from fieldline_core.flow import Release
from fieldline_core.pipeline.manage import current_release
from fieldline_server.apply import apply
from fieldline_simulators.fhir import FIXED_TOKEN
from fieldline_simulators.fhir.cds import KEY_ID
from tests.api import Served, Template, client_of, served
from tests.fhir_server import fhir_server

PATIENT = "study-001"
DOCUMENTS = """
connection: ehr
connector: fhir
settings:
  base_url: {ehr}/fhir
  login: {{flow: bearer, token: {{secret: "file:{token}"}}}}
  allow_private: [{{host: 127.0.0.1, network: 127.0.0.0/8}}]
---
mapping: progression
record:
  born: text
  Observations: {{code: text, value: number, unit: text, date: datetime}}
features:
  - {{name: bmi, formula: 'LATEST(CONVERT(Observations.value, Observations.unit, "kg/m2"), Observations.date, code = "39156-5")'}}
  - {{name: pressure, formula: 'LATEST(Observations.value, Observations.date, code = "8478-0")'}}
fields:
  - {{name: summary, formula: '"Score " & TEXT(ROUND(score, 1)) & " of " & born'}}
  - {{name: indicator, formula: 'IF(score > -40, "warning", IF(score > -43, "info", ""))'}}
reason: '"Mean blood pressure and **body mass index**"'
---
flow: progression
trigger:
  cds:
    hook: patient-view
    title: Progression
    description: How far diabetes may progress in a year.
    url: {api}
    clients: [{{issuer: "{ehr}", keys: "{ehr}/cds/jwks.json"}}]
    card:
      summary: summary
      indicator: indicator
      detail: reason
      source: Diabetes study
      override_reasons: [{{code: known, system: "https://fieldline.example/reasons", display: Known already}}]
source:
  connection: ehr
  query:
    view:
      resource: Patient
      select: [{{column: [{{name: id, path: getResourceKey()}}, {{name: born, path: birthDate, type: string}}]}}]
lookups:
  - name: Observations
    connection: ehr
    query:
      view:
        resource: Observation
        select:
          - column:
              - {{name: patient, path: subject.getReferenceKey(Patient)}}
              - {{name: code, path: code.coding.first().code}}
              - {{name: value, path: value.ofType(Quantity).value, type: decimal}}
              - {{name: unit, path: value.ofType(Quantity).code}}
              - {{name: date, path: effective.ofType(dateTime), type: dateTime}}
      key: patient
      by: patient
      parameters: {{code: "http://loinc.org|39156-5,http://loinc.org|8478-0"}}
mapping: progression
models: [triage]
"""
SUGGESTIONS = """      suggestions:
        - label: Draft a control visit
          description: Drafts a visit in three months.
          create:
            resourceType: ServiceRequest
            status: draft
            intent: proposal
            subject: {reference: "Patient/${patient}"}
            code: {text: Control visit}
            note: [{text: "${summary}"}]
"""


@dataclass(frozen=True)
class Hospital:
    """An EHR that calls, and what it calls."""

    api: Served
    client: httpx.Client
    ehr: httpx.Client
    signing: Any
    """The EHR's private key."""

    @property
    def root(self) -> str:
        """Where the EHR is, and what its tokens say in `iss`."""
        return str(self.ehr.base_url).rstrip("/")

    @property
    def service(self) -> str:
        """The address of the service."""
        return f"{str(self.client.base_url).rstrip('/')}/cds-services/progression"

    @property
    def release(self) -> Release:
        """What the service decides by."""
        return current_release(self.api.engine, "progression")

    def claims(self, **more: Any) -> dict[str, Any]:
        """What a sound token says; None leaves a claim out."""
        now = int(time.time())
        sound = {"iss": self.root, "aud": self.service, "iat": now, "exp": now + 300, "jti": str(uuid.uuid4())}
        return {name: value for name, value in {**sound, **more}.items() if value is not None}

    def header(self, **more: Any) -> dict[str, Any]:
        """The header of a sound token."""
        return {"kid": KEY_ID, "jku": f"{self.root}/cds/jwks.json", **more}

    def signed(self, **more: Any) -> dict[str, str]:
        """The headers of a call that the EHR signed."""
        return bearer(jwt.encode(self.claims(**more), self.signing, algorithm="ES384", headers=self.header()))

    def body(self, patient: str = PATIENT, **more: Any) -> dict[str, Any]:
        """A call with all that the service asks to have fetched."""
        fetched = {
            "record": self.ehr.get(f"/fhir/Patient/{patient}").json(),
            "Observations": self.ehr.get("/fhir/Observation", params={"patient": patient, "_count": 100}).json(),
        }
        made = {"hook": "patient-view", "hookInstance": str(uuid.uuid4()), "fhirServer": f"{self.root}/fhir",
                "context": {"patientId": patient, "userId": "Practitioner/1"}, "prefetch": fetched}  # fmt: skip
        return {name: value for name, value in {**made, **more}.items() if value is not None}

    def call(self, body: dict[str, Any]) -> httpx.Response:
        """A call that the EHR signed."""
        return self.client.post(self.service, json=body, headers=self.signed())


def bearer(token: str) -> dict[str, str]:
    """The header of a request with a token."""
    return {"authorization": f"Bearer {token}"}


@contextmanager
def hospital(template: Template, folder: Path) -> Iterator[Hospital]:
    """A hospital of a few patients; its services are `progression` (when a chart is opened) and `ordering`."""
    token = folder / "ehr.token"
    token.write_text(FIXED_TOKEN)
    with served(template, folder) as api, client_of(api) as client, fhir_server(patients=4) as server:
        ehr_url = server.simulator.url.replace("localhost", "127.0.0.1")
        text = DOCUMENTS.format(ehr=ehr_url, api=str(client.base_url).rstrip("/"), token=token)
        service = text.rpartition("---")[2]
        ordering = service.replace("flow: progression", "flow: ordering").replace("hook: patient-view", "hook: order-select")
        ordering = ordering.replace("      override_reasons:", f"{SUGGESTIONS}      override_reasons:")
        texts = {"cds.yaml": f"{text}---{ordering}"}
        done = apply(api.engine, api.app.state.backend.registry, texts, "test")
        assert not done.findings, done.findings
        with httpx.Client(base_url=ehr_url, headers=bearer(FIXED_TOKEN), timeout=30, trust_env=False) as ehr:
            yield Hospital(api, client, ehr, server.simulator.ehr.cds._key)
        api.engine.parts.connector("ehr").close()

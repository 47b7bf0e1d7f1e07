"""A simulated org for tests: its settings, its administrator, and what its records hold when it is asked directly."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from fieldline_connectors.salesforce import SalesforceConfig
from fieldline_core.secret import Secret
from fieldline_simulators.salesforce.org import Options
from fieldline_simulators.salesforce.seed import INTEGRATION
from fieldline_simulators.salesforce.server import Simulator, running

MESSAGE = b"""<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <soapenv:Body><notifications xmlns="http://soap.sforce.com/2005/09/outbound">
  <OrganizationId>00D000000000001EAA</OrganizationId><ActionId>04k000000000001AAA</ActionId><SessionId xsi:nil="true"/>
  <Notification><Id>04l000000000001AAA</Id>
   <sObject xsi:type="sf:Lead" xmlns:sf="urn:sobject.enterprise.soap.sforce.com"><sf:Id>00Q000000000001EAA</sf:Id></sObject>
  </Notification>
  <Notification><Id>04l000000000002AAA</Id>
   <sObject xsi:type="sf:Lead" xmlns:sf="urn:sobject.enterprise.soap.sforce.com"><sf:Id>00Q000000000002EAA</sf:Id></sObject>
  </Notification>
 </notifications></soapenv:Body>
</soapenv:Envelope>"""
"""An outbound message about two leads."""
_numbers = itertools.count(1)


class SimulatedOrg:
    """One org of the simulator, with an app that Fieldline signs in by."""

    def __init__(self, simulator: Simulator) -> None:
        self.url = simulator.url.replace("localhost", "127.0.0.1")
        self._pubsub = {"pubsub_url": f"http://{simulator.pubsub.endpoint}"} if simulator.pubsub else {}
        self._client = httpx.Client(base_url=self.url, trust_env=False, timeout=60)
        self.user = INTEGRATION
        self.admin("PUT", "/_sim/apps/fieldline", {"client_secret": "app-secret", "run_as": self.user})
        token = self.admin("POST", "/_sim/sessions", {"username": self.user}).json()["access_token"]
        self._client.headers["authorization"] = f"Bearer {token}"

    def config(self, **settings: Any) -> SalesforceConfig:
        """Settings of a connection to this org."""
        given = {
            "url": self.url, "bulk_poll_s": 0.01, **self._pubsub,
            "allow_private": [{"host": name, "network": "127.0.0.0/8"} for name in ("127.0.0.1", "localhost")],
            "login": {"flow": "client_credentials", "client_id": "fieldline", "client_secret": Secret("app-secret")}, **settings,
        }  # fmt: skip
        return SalesforceConfig.model_validate(given)

    def admin(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Does what only the org's administrator can."""
        answer = self._client.request(method, path, json=body)
        answer.raise_for_status()
        return answer

    def status(self) -> dict[str, Any]:
        """What is in the org."""
        found: dict[str, Any] = self.admin("GET", "/_sim/status").json()
        return found

    def faults(self, *orders: Mapping[str, Any]) -> None:
        """Has the org fail as ordered from now on, and in no other way."""
        self.admin("PUT", "/_sim/faults", list(orders))

    def query(self, soql: str) -> list[dict[str, Any]]:
        """The records that a query finds, asked directly."""
        answer = self.admin("GET", f"/services/data/v64.0/query?{httpx.QueryParams({'q': soql})}").json()
        found = list(answer["records"])
        while not answer["done"]:
            answer = self.admin("GET", answer["nextRecordsUrl"]).json()
            found += answer["records"]
        return found

    def create(self, object: str, **fields: Any) -> str:
        """Makes a record and answers its Id."""
        made = self.admin("POST", f"/services/data/v64.0/sobjects/{object}", fields).json()
        return str(made["id"])

    def edit(self, object: str, id: str, **fields: Any) -> None:
        """Changes a record as a person does."""
        self.admin("PATCH", f"/_sim/records/{object}/{id}", fields)

    def leads(self, count: int) -> list[str]:
        """Makes so many leads of a company of their own, and answers their Ids."""
        number = next(_numbers)
        company = f"Company {number}"
        return self.create_all("Lead", [{"Company": company, "LastName": f"Person {row:05}"} for row in range(count)])

    def create_all(self, object: str, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Makes many records and answers their Ids."""
        made: list[str] = []
        typed = [{"attributes": {"type": object}, **record} for record in records]
        for start in range(0, len(typed), 200):
            piece = {"allOrNone": False, "records": typed[start : start + 200]}
            made += [result["id"] for result in self.admin("POST", "/services/data/v64.0/composite/sobjects", piece).json()]
        return made

    def calls(self) -> int:
        """API calls that the org has counted."""
        return int(self.status()["api_calls"]["used"])

    def close(self) -> None:
        """Closes the connections to the org."""
        self._client.close()


@contextmanager
def simulated_org(leads: int = 20, *, pubsub: bool = False, **options: Any) -> Iterator[SimulatedOrg]:
    """An org of its own."""
    with running(Options(leads=leads, **options), pubsub_port=0 if pubsub else None) as simulator:
        org = SimulatedOrg(simulator)
        try:
            yield org
        finally:
            org.close()

"""Plain calls to the simulated org, as a client without a library would make them."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx

from fieldline_simulators.salesforce import INTEGRATION, Options, Simulator, running

DATA = "/services/data/v64.0"


class Calls:
    """A client of one org, logged in as one user."""

    def __init__(self, server: Simulator, user: str = INTEGRATION, **headers: str) -> None:
        self.server = server
        self.http = httpx.Client(base_url=server.url, trust_env=False, timeout=60)
        self.token = self.http.post("/_sim/sessions", json={"username": user}).json()["access_token"]
        self.http.headers.update({"authorization": f"Bearer {self.token}", **headers})

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """What is answered; a path without a root is one of the API's version."""
        url = path if path.startswith("/") else f"{DATA}/{path}"
        content = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
        kind = {} if "content_type" in headers or content is None else {"content-type": "application/json"}
        return self.http.request(
            method, url, content=content, headers={**kind, **{k.replace("_", "-"): v for k, v in headers.items()}}
        )

    def query(self, soql: str, *, everything: bool = False) -> list[dict[str, Any]]:
        """The records of a query's first page, without their attributes."""
        answer = self.http.get(f"{DATA}/{'queryAll' if everything else 'query'}", params={"q": soql})
        assert answer.status_code == 200, answer.text
        return [{name: value for name, value in row.items() if name != "attributes"} for row in answer.json()["records"]]

    def refused(self, soql: str) -> tuple[str, str]:
        """The code and the last line of the message with which a query is refused."""
        answer = self.http.get(f"{DATA}/query", params={"q": soql})
        assert answer.status_code == 400, answer.text
        return answer.json()[0]["errorCode"], answer.json()[0]["message"].splitlines()[-1]

    def create(self, object: str = "Lead", **values: Any) -> str:
        """The id of a new record."""
        given = {"LastName": "Test", "Company": "Test"} if object == "Lead" else {}
        answer = self("POST", f"sobjects/{object}", {**given, **values})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def faults(self, *orders: dict[str, Any]) -> None:
        """Has the org fail."""
        assert self("PUT", "/_sim/faults", list(orders)).status_code == 200

    def upload(self, csv: str, **job: str) -> str:
        """The id of a bulk job that has been given its data and let go."""
        made = self("POST", "jobs/ingest", {"object": "Lead", **job}).json()["id"]
        assert self("PUT", f"jobs/ingest/{made}/batches", csv, content_type="text/csv").status_code == 201
        assert self("PATCH", f"jobs/ingest/{made}", {"state": "UploadComplete"}).json()["state"] == "UploadComplete"
        return str(made)

    def ended(self, job: str, kind: str = "ingest") -> dict[str, Any]:
        """The job once it has ended."""
        while (found := self("GET", f"jobs/{kind}/{job}").json())["state"] not in ("JobComplete", "Failed", "Aborted"):
            pass
        return dict(found)


@contextmanager
def calls(leads: int = 12, **options: Any) -> Iterator[Calls]:
    """An org of its own, and a client."""
    with running(Options(leads=leads, **options)) as server:
        made = Calls(server)
        with closing(made.http):
            yield made

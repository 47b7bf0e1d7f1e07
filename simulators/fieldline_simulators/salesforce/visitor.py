"""A person at the page of a running org: looks at its records, and changes them by hand."""

from typing import Any

import httpx

from fieldline_simulators.salesforce.seed import ADMINISTRATOR

_TIMEOUT_S = 60.0


class Visitor:
    """Looks and changes until it is closed; the org's page asks nobody who they are."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=_TIMEOUT_S)
        session = self._asked("POST", "/_sim/sessions", {"username": ADMINISTRATOR})
        self._client.headers["authorization"] = f"Bearer {session['access_token']}"

    def query(self, soql: str) -> list[dict[str, Any]]:
        """The records that a query finds."""
        answer = self._asked("GET", f"/services/data/v64.0/query?{httpx.QueryParams({'q': soql})}")
        found = list(answer["records"])
        while not answer["done"]:
            answer = self._asked("GET", answer["nextRecordsUrl"])
            found += answer["records"]
        return found

    def edit(self, object: str, record_id: str, **fields: Any) -> None:
        """Changes a record as the page does."""
        self._client.request("PATCH", f"/_sim/records/{object}/{record_id}", json=fields).raise_for_status()

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _asked(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = self._client.request(method, path, json=body)
        answer.raise_for_status()
        given: dict[str, Any] = answer.json()
        return given

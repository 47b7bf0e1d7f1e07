"""A client of CDS Hooks: calls a service for a patient, with what it asks to have fetched before, and signs each call."""

import re
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from fieldline_simulators.fhir.outcomes import Refusal
from fieldline_simulators.fhir.parameters import TYPES
from fieldline_simulators.fhir.search import Searching
from fieldline_simulators.fhir.store import stamp

Document = dict[str, Any]

KEY_ID = "fieldline-simulator"
_LIVES_S, _TIMEOUT_S = 300, 10
_TOKEN = re.compile(r"\{\{context\.(\w+)\}\}")
_MOST_IN_PREFETCH = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a service answered, and how long it took."""

    status: int
    answer: Any
    request: Document
    elapsed_ms: float


class CdsClient:
    """Calls services of others; its key lives as long as it does."""

    def __init__(self, searching: Searching) -> None:
        self.searching = searching
        self._key = ec.generate_private_key(ec.SECP384R1())
        self._http = httpx.Client(trust_env=False, timeout=_TIMEOUT_S)

    def jwks(self) -> Document:
        """The public key, by which services check our calls."""
        public = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": KEY_ID, "use": "sig", "alg": "ES384"}]}

    def token(self, audience: str, root_url: str, lives_s: int = _LIVES_S) -> str:
        """A signed token for one call."""
        now = int(time.time())
        claims = {"iss": root_url, "aud": audience, "iat": now, "exp": now + lives_s, "jti": str(uuid.uuid4())}
        return jwt.encode(claims, self._key, algorithm="ES384", headers={"kid": KEY_ID, "jku": f"{root_url}/cds/jwks.json"})

    def services(self, service_url: str) -> list[Document]:
        """What the server of a service offers."""
        return list(self._asked("GET", _discovery_url(service_url)).json().get("services", ()))

    def call(
        self, service_url: str, patient: str, root_url: str, *, access: Document | None = None, prefetch: bool = True
    ) -> Outcome:  # fmt: skip
        """Calls a service for a patient; with a token, the service may read more."""
        service_url = service_url.rstrip("/")
        service = next((each for each in self.services(service_url) if each["id"] == service_url.rpartition("/")[2]), None)
        if service is None:
            raise Refusal(404, "not-found", f"{_discovery_url(service_url)} does not name this service")
        context = _context(service["hook"], patient)
        base_url = f"{root_url}/fhir"
        body: Document = {"hook": service["hook"], "hookInstance": str(uuid.uuid4()), "fhirServer": base_url, "context": context}
        if access:
            body["fhirAuthorization"] = {**access, "token_type": "Bearer", "subject": "cds-service"}
        if prefetch:
            body["prefetch"] = {name: self._fetch(query, context, base_url) for name, query in service.get("prefetch", {}).items()}
        start = time.perf_counter()
        answer = self._asked("POST", service_url, body, self.token(service_url, root_url))
        return Outcome(answer.status_code, _json(answer), body, (time.perf_counter() - start) * 1000)

    def feedback(self, service_url: str, feedback: Document, root_url: str) -> Outcome:
        """Tells a service what became of a card."""
        service_url = service_url.rstrip("/")
        body = {"feedback": [{**feedback, "outcomeTimestamp": stamp(datetime.now(UTC))}]}
        start = time.perf_counter()
        url = f"{service_url}/feedback"
        answer = self._asked("POST", url, body, self.token(url, root_url))
        return Outcome(answer.status_code, _json(answer), body, (time.perf_counter() - start) * 1000)

    def close(self) -> None:
        """Closes connections."""
        self._http.close()

    def _fetch(self, query: str, context: Document, base_url: str) -> Document | None:
        filled = _TOKEN.sub(lambda match: str(context.get(match[1], "")), query)
        path, _, criteria = filled.partition("?")
        type, _, id = path.partition("/")
        if type not in TYPES:
            return None
        with self.searching.store.lock:
            if id:
                return self.searching.store.resource(type, id)
            pairs = parse_qsl(criteria)
            found = self.searching.find(type, pairs).matches
        count = min(int(dict(pairs).get("_count", _MOST_IN_PREFETCH)), _MOST_IN_PREFETCH)
        entries = [{"fullUrl": f"{base_url}/{type}/{each['id']}", "resource": each} for each in found[:count]]
        return {"resourceType": "Bundle", "type": "searchset", "total": len(found), **({"entry": entries} if entries else {})}

    def _asked(self, method: str, url: str, body: Document | None = None, token: str = "") -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            return self._http.request(method, url, json=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Refusal(502, "transient", f"{url} does not answer: {error}") from None


def _discovery_url(service_url: str) -> str:
    return service_url.rstrip("/").rpartition("/")[0]


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return answer.text[:2000] or None


def _context(hook: str, patient: str) -> Document:
    made: Document = {"userId": "Practitioner/simulated", "patientId": patient}
    if hook in ("order-select", "order-sign"):
        order = {
            "resourceType": "ServiceRequest", "id": "draft", "status": "draft", "intent": "order",
            "code": {"text": "Fasting glucose"}, "subject": {"reference": f"Patient/{patient}"},
        }  # fmt: skip
        made["draftOrders"] = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": order}]}
    if hook == "order-select":
        made["selections"] = ["ServiceRequest/draft"]
    return made

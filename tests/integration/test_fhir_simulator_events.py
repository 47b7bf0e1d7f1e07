"""The simulated FHIR server exports, calls its subscribers back, and calls CDS services."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import jwt
import pytest
from fhir.resources.R4B import get_fhir_model_class
from tests.fhir_server import WITHIN_S, Server, fhir_server, observation, subscriber

from fieldline_simulators.fhir import TOPICS

pytestmark = pytest.mark.soak

ASYNC = {"Prefer": "respond-async", "Accept": "application/fhir+json"}
GUIDE = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with fhir_server(retry_after_s=(0.0, 0.0)) as made:
        yield made


def exported(server: Server, url: str) -> tuple[str, dict[str, Any]]:
    begun = server.fhir.get(url, headers=ASYNC)
    assert begun.status_code == 202, begun.text
    place = begun.headers["content-location"]
    assert server.fhir.get(place).status_code == 202
    manifest = server.fhir.get(place)
    assert manifest.status_code == 200
    return place, manifest.json()


@pytest.mark.parametrize(
    ("url", "types"),
    [
        ("/$export?_type=Patient,Observation,Group", {"Patient": 12, "Observation": 120, "Group": 1}),
        ("/Patient/$export", {"Patient": 12, "Observation": 120}),
        ("/Group/diabetes-study/$export?_type=Patient", {"Patient": 12}),
        ("/$export?_since=2100-01-01T00:00:00Z", {}),
    ],
)
def test_an_export_gives_a_resource_in_each_line(server: Server, url: str, types: dict[str, int]) -> None:
    place, manifest = exported(server, url)
    assert manifest["requiresAccessToken"] is False
    counted: dict[str, int] = {}
    for each in manifest["output"]:
        lines = httpx.get(each["url"], trust_env=False).text.splitlines()
        assert {json.loads(line)["resourceType"] for line in lines} == {each["type"]}
        counted[each["type"]] = counted.get(each["type"], 0) + len(lines)
    assert counted == types
    assert server.fhir.delete(place).status_code == 202
    assert server.fhir.get(place).status_code == 404


def test_an_export_elsewhere_says_when_and_wants_a_token() -> None:
    with fhir_server("epic", patients=1) as epic:
        begun = epic.fhir.get("/Group/diabetes-study/$export", headers=ASYNC)
        polled = epic.fhir.get(begun.headers["content-location"])
        assert (polled.status_code, polled.headers["retry-after"]) == (202, "1")
        manifest = epic.fhir.get(begun.headers["content-location"]).json()
        assert manifest["requiresAccessToken"] is True
        assert httpx.get(manifest["output"][0]["url"], trust_env=False).status_code == 401
        assert epic.fhir.get("/$export", headers=ASYNC).status_code == 404


def rest_hook(endpoint: str, criteria: str, status: str = "active", **channel: Any) -> dict[str, Any]:
    return {
        "resourceType": "Subscription", "status": status, "reason": "test", "criteria": criteria,
        "channel": {"type": "rest-hook", "endpoint": endpoint, "payload": "application/fhir+json", **channel},
    }  # fmt: skip


def test_a_rest_hook_gets_each_change_signed_and_again_after_a_failure(server: Server) -> None:
    secret = {"url": "https://www.medplum.com/fhir/StructureDefinition/subscription-secret", "valueString": "hush"}
    with subscriber() as hook:
        hook.statuses = [500, 500]
        asked = {**rest_hook(hook.url, "Observation?code=39156-5", header=["X-Own: yes"]), "extension": [secret]}
        subscription = server.create(asked).json()["id"]
        server.create(observation(code="8478-0"))
        made = server.create(observation()).json()
        taken = [hook.next() for _ in range(3)]
        assert [each.json()["id"] for each in taken] == [made["id"]] * 3
        assert taken[0].headers["x-own"] == "yes"
        assert taken[0].headers["x-signature"] == hmac.new(b"hush", taken[0].body, hashlib.sha256).hexdigest()
        server.fhir.delete(f"/Observation/{made['id']}")
        assert hook.next().headers["x-medplum-deleted-resource"] == f"Observation/{made['id']}"
        server.fhir.delete(f"/Subscription/{subscription}")


def test_a_requested_rest_hook_stays_silent_and_any_criteria_are_taken(server: Server) -> None:
    with subscriber() as hook:
        silent = [
            server.create(rest_hook(hook.url, "Observation", status="requested")),
            server.create(rest_hook(hook.url, "rubbish?of=the worst")),
            server.create(rest_hook(hook.url, "Observation?colour=blue")),
        ]
        last = server.create(rest_hook(hook.url, "Flag"))
        assert [each.status_code for each in (*silent, last)] == [201] * 4
        server.create(observation())
        flag = {"resourceType": "Flag", "status": "active", "code": {"text": "x"}, "subject": {"reference": "Patient/study-001"}}
        server.create(flag)
        # Calls come in order, so what came before the flag's would have come.
        assert hook.next().json()["resourceType"] == "Flag"
        for each in (*silent, last):
            server.fhir.delete(f"/Subscription/{each.json()['id']}")


def topic_subscription(endpoint: str, content: str) -> dict[str, Any]:
    made = rest_hook(endpoint, f"{TOPICS}Observation", status="requested")
    made["meta"] = {"profile": [f"{GUIDE}/backport-subscription"]}
    made["_criteria"] = {"extension": [{"url": f"{GUIDE}/backport-filter-criteria", "valueString": "Observation?code=39156-5"}]}
    made["channel"]["_payload"] = {"extension": [{"url": f"{GUIDE}/backport-payload-content", "valueCode": content}]}
    return made


def told(bundle: dict[str, Any]) -> dict[str, Any]:
    get_fhir_model_class("Bundle").model_validate(bundle)
    status = bundle["entry"][0]["resource"]
    values = {each["name"]: next((v for n, v in each.items() if n.startswith("value")), None) for each in status["parameter"]}
    parts = [each["part"] for each in status["parameter"] if each["name"] == "notification-event"]
    return {
        "type": values["type"],
        "count": values["events-since-subscription-start"],
        "numbers": [each[0]["valueString"] for each in parts],
    }


def test_a_topic_greets_numbers_its_events_and_shows_gaps(server: Server) -> None:
    with subscriber() as hook:
        id = server.create(topic_subscription(hook.url, "id-only")).json()["id"]
        assert told(hook.next().json())["type"] == "handshake"
        active = server.simulator.ehr.store
        waited = threading.Event()
        active.watchers.append(lambda versions: waited.set())
        if server.fhir.get(f"/Subscription/{id}").json()["status"] == "requested":
            assert waited.wait(WITHIN_S)
        made = server.create(observation()).json()
        first = hook.next().json()
        assert told(first) == {"type": "event-notification", "count": "1", "numbers": ["1"]}
        assert first["entry"][1]["request"]["url"] == "Observation"
        assert f"Observation/{made['id']}" in first["entry"][1]["fullUrl"]
        assert "resource" not in first["entry"][1]
        server.root.post(f"/_sim/subscriptions/{id}/gap", params={"events": 2})
        for _ in range(3):
            server.create(observation())
        assert told(hook.next().json())["numbers"] == ["4"]
        server.root.post(f"/_sim/subscriptions/{id}/heartbeat")
        assert told(hook.next().json()) == {"type": "heartbeat", "count": "4", "numbers": []}
        status = server.fhir.get(f"/Subscription/{id}/$status").json()
        assert (status["type"], told(status)["count"]) == ("searchset", "4")
        missed = server.fhir.get(f"/Subscription/{id}/$events", params={"eventsSinceNumber": "2", "eventsUntilNumber": "3"}).json()
        assert told(missed)["numbers"] == ["2", "3"]


def test_a_subscriber_that_fails_the_handshake_is_not_called_again(server: Server) -> None:
    changed = threading.Event()
    server.simulator.ehr.store.watchers.append(lambda versions: [changed.set() for each in versions if each.number > 1])
    with subscriber() as hook:
        hook.statuses = [500]
        id = server.create(topic_subscription(hook.url, "empty")).json()["id"]
        assert changed.wait(WITHIN_S)
        assert server.fhir.get(f"/Subscription/{id}").json()["status"] == "error"


@contextmanager
def cds_service() -> Iterator[tuple[str, list[tuple[str, dict[str, str], Any]]]]:
    """A CDS service with one flow, and what it was sent."""
    seen: list[tuple[str, dict[str, str], Any]] = []
    flow = {"id": "flow", "hook": "patient-view", "description": "x", "prefetch": {
        "patient": "Patient/{{context.patientId}}", "bmi": "Observation?patient={{context.patientId}}&code=http://loinc.org|39156-5",
    }}  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        def answer(self, document: Any) -> None:
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.answer({"services": [flow]})

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, sent))
            self.answer({"cards": [{"uuid": "1", "summary": "High", "indicator": "warning", "source": {"label": "x"}}]})

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}/cds-services/flow", seen
        listening.shutdown()
        thread.join()


def test_a_cds_service_is_called_with_prefetch_and_a_signature(server: Server) -> None:
    with cds_service() as (url, seen):
        made = server.root.post("/_sim/cds/call", json={"service_url": url, "patient": "study-003"}).json()
        feedback = {"service_url": url, "feedback": {"card": "1", "outcome": "accepted"}}
        assert server.root.post("/_sim/cds/feedback", json=feedback).json()["status"] == 200
    assert made["answer"]["cards"][0]["summary"] == "High"
    (_, headers, sent), (path, _, told_back) = seen
    assert sent["context"]["patientId"] == sent["prefetch"]["patient"]["id"] == "study-003"
    assert [each["resource"]["id"] for each in sent["prefetch"]["bmi"]["entry"]] == ["study-003-bmi"]
    allowed = {"Authorization": f"Bearer {sent['fhirAuthorization']['access_token']}"}
    assert httpx.get(f"{sent['fhirServer']}/Patient/study-003", headers=allowed, trust_env=False).status_code == 200
    assert httpx.delete(f"{sent['fhirServer']}/Patient/study-003", headers=allowed, trust_env=False).status_code == 403
    assert (path, told_back["feedback"][0]["outcome"]) == ("/cds-services/flow/feedback", "accepted")
    token = headers["authorization"].removeprefix("Bearer ")
    header = jwt.get_unverified_header(token)
    keys = server.root.get("/cds/jwks.json").json()["keys"]
    claims = jwt.decode(token, jwt.PyJWK(keys[0]).key, algorithms=["ES384"], audience=url, issuer=server.simulator.url)
    assert header["kid"] == keys[0]["kid"]
    assert (header["jku"], claims["exp"] - claims["iat"]) == (f"{server.simulator.url}/cds/jwks.json", 300)
    assert "d" not in keys[0]


def test_a_cds_service_that_does_not_answer_is_said_so(server: Server) -> None:
    answer = server.root.post(
        "/_sim/cds/call", json={"service_url": "http://127.0.0.1:1/cds-services/flow", "patient": "study-003"}
    )
    assert (answer.status_code, "does not answer" in answer.text) == (502, True)


def test_the_page_shows_what_was_written_and_not_what_was_there(server: Server) -> None:
    written = {
        "resourceType": "RiskAssessment", "status": "final", "subject": {"reference": "Patient/study-005"},
        "prediction": [{"outcome": {"text": "Progression"}, "probabilityDecimal": 0.7}],
    }  # fmt: skip
    server.create(written)
    shown = server.root.get("/_sim/chart", params={"search": "study-005"}).json()["patients"][0]
    assert [(each["type"], each["what"]) for each in shown["written"]] == [("RiskAssessment", "Progression; 0.7")]
    for path, words in (("/", "Simulated chart"), ("/cds", "Cards of a CDS service"), ("/page.css", "font")):
        assert words in server.root.get(path).text

"""Subscriptions of an EHR make a flow score what has changed there: by messages that name it, and by runs where they do not."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import yaml
from tests.conftest import Eventually
from tests.engines import Bench, decisions_on
from tests.fhir_server import LOINC, Server, fhir_server, subscriber
from tests.fhir_writing import connected, fail

from fieldline_connectors.fhir import Fhir
from fieldline_connectors.fhir.topic import FhirTopic
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.pipeline.invariants import check_invariants
from fieldline_core.pipeline.leave import leave
from fieldline_core.pipeline.listen import Listener
from fieldline_core.ports import Cursor, HookRequest, Subscribed
from fieldline_core.secret import Secret
from fieldline_server.api import create_app, serving
from fieldline_server.apply import apply
from fieldline_simulators.fhir import FIXED_TOKEN, TOPICS

BMI = f"Observation?code={LOINC}|39156-5"
SECRET = "a secret that both sides know"
HEADER = {"x-fieldline-subscription": SECRET}
VIEW = {"resource": "Observation", "select": [{"column": [
    {"name": "patient", "path": "subject.getReferenceKey(Patient)"},
    {"name": "a", "path": "value.ofType(Quantity).value", "type": "decimal"},
    {"name": "b", "path": "value.ofType(Quantity).value", "type": "decimal"},
]}]}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with fhir_server(retry_after_s=(0.0,)) as server:
        yield server


@pytest.fixture
def bench(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("EHR_TOKEN", FIXED_TOKEN)
    monkeypatch.setenv("EHR_SECRET", SECRET)
    made = Bench(database_url, tmp_path)
    made.import_linear(tmp_path)
    yield made
    assert check_invariants(made.engine.store) == []
    with suppress(Misconfigured):
        made.engine.parts.connector("ehr").close()
    made.close()


def documents(root: str, public_url: str, trigger: dict[str, Any] | None = None) -> str:
    """A flow that scores the BMI of patients, and hears of it by a topic where it has no other trigger."""
    settings = {
        "base_url": root, "login": {"flow": "bearer", "token": {"secret": "env:EHR_TOKEN"}},
        "allow_private": [{"host": "localhost", "network": "127.0.0.0/8"}, {"host": "127.0.0.1", "network": "127.0.0.0/8"}],
        "notifications": {"public_url": public_url, "secrets": [{"secret": "env:EHR_SECRET"}]},
    }  # fmt: skip
    query = {"view": VIEW, "key": "patient", "by": "patient", "parameters": {"code": f"{LOINC}|39156-5"}, "changes": True}
    changes = {"criteria": BMI, "topic": f"{TOPICS}Observation", "record": "subject"}
    return yaml.safe_dump_all([
        {"connection": "ehr", "connector": "fhir", "settings": settings},
        {"mapping": "bmi", "features": [{"field": "a"}, {"field": "b"}], "fields": [{"name": "score", "formula": "score"}]},
        {
            "flow": "bmi", "trigger": trigger or {"changes": changes}, "source": {"connection": "ehr", "query": query},
            "mapping": "bmi", "models": ["linear"],
        },
    ])  # fmt: skip


@contextmanager
def api(bench: Bench) -> Iterator[str]:
    """The address of an API over the engine."""
    with serving.listening("127.0.0.1", 0) as listener:
        serves = uvicorn.Server(serving.config(create_app(bench.engine, bench.registry)))
        thread = threading.Thread(target=serves.run, args=([listener],), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        serves.should_exit = True
        thread.join()


@contextmanager
def listening(bench: Bench) -> Iterator[None]:
    row = bench.all("SELECT id, release_id FROM flow WHERE name = 'bmi'")[0]
    listener = Listener(bench.engine, row["id"], row["release_id"])
    listener.start()
    yield
    listener.stop()
    listener.join()


def change(server: Server, patient: str, value: float) -> None:
    """Another BMI of a patient, as a clinician enters it."""
    resource = server.fhir.get(f"/Observation/{patient}-bmi").json()
    resource["valueQuantity"]["value"] = value
    assert server.fhir.put(f"/Observation/{patient}-bmi", json=resource).status_code == 200


def scored(bench: Bench, patient: str) -> list[float]:
    """The BMIs that a patient was scored by, newest first."""
    bench.drain()
    return [float(each["source"]["a"]) for each in decisions_on(bench.engine, patient)]


def test_a_change_in_the_chart_is_scored_and_what_no_message_told_is_read(
    bench: Bench, server: Server, eventually: Eventually
) -> None:
    with api(bench) as address:
        bench.apply(documents(server.simulator.fhir_url, address))
        with listening(bench):
            # The handshake came, the server made the Subscription active, and the listener has its place.
            eventually(lambda: bool(bench.all("SELECT 1 FROM feed WHERE cursor IS NOT NULL AND told IS NOT NULL")))
            (id,) = server.find("Subscription", url=f"{address}/hooks/bmi")
            eventually(lambda: server.fhir.get(f"/Subscription/{id}").json()["status"] == "active")
            change(server, "study-001", 41.5)
            eventually(lambda: len(bench.all("SELECT 1 FROM inbox")) == 1)
            assert scored(bench, "study-001") == [41.5]

            server.root.post(f"/_sim/subscriptions/{id}/gap", params={"events": 1})
            change(server, "study-002", 42.5)
            change(server, "study-003", 43.5)
            eventually(lambda: len(bench.all("SELECT 1 FROM run WHERE kind = 'batch'")) == 1)
            assert (scored(bench, "study-002"), scored(bench, "study-003")) == ([42.5], [43.5])

            server.root.post(f"/_sim/subscriptions/{id}/gap", params={"events": 1})
            change(server, "study-004", 44.5)
            server.root.post(f"/_sim/subscriptions/{id}/heartbeat")
            eventually(lambda: len(bench.all("SELECT 1 FROM run WHERE kind = 'batch'")) == 2)
            assert scored(bench, "study-004")[0] == 44.5
            body = server.fhir.get("/Observation/study-005-bmi").json()
            sent = [
                httpx.put(f"{address}/hooks/bmi/Observation/study-005-bmi", json=body, headers=HEADER, trust_env=False)
                for _ in "12"
            ]
            assert [(each.status_code, each.content) for each in sent] == [(200, b"")] * 2
            assert len(bench.all("SELECT 1 FROM inbox WHERE chunk_id IS NULL")) == 1
            bench.drain()
        for headers, status in (({}, 401), (HEADER, 422)):
            assert httpx.post(f"{address}/hooks/bmi", content=b"<xml/>", headers=headers, trust_env=False).status_code == status
        bench.apply(documents(server.simulator.fhir_url, address, {"every": "1h"}))
        leave(bench.engine, bench.all("SELECT id FROM flow WHERE name = 'bmi'")[0]["id"], None, last=False)
        assert server.find("Subscription", url=f"{address}/hooks/bmi") == []
    assert [row["detail"]["did"] for row in bench.all("SELECT detail FROM audit_outbox WHERE event = 'feed.subscribed'")] == [
        "made"
    ]


def test_what_would_never_be_told_is_said_before_it_is_published(bench: Bench, server: Server) -> None:
    text = documents(server.simulator.fhir_url, "https://us.example").replace("?code=http", "?colour=blue&code=http")
    found = apply(bench.engine, bench.registry, {"t.yaml": text.replace("record: subject", "record: null")}, "test").findings
    assert [(each.path, each.rule) for each in found] == [
        ("trigger.changes.record", "does-not-fit"), ("trigger.changes.criteria", "does-not-fit"),
    ]  # fmt: skip


def looks(connector: Fhir, topic: FhirTopic, place: Cursor | None, count: int) -> tuple[list[Subscribed], Cursor]:
    found = []
    for _ in range(count):
        found.append(connector.subscribe(topic, "bmi", place))
        place = found[-1].place
    assert place is not None
    return found, place


def test_a_server_that_cannot_reach_us_is_asked_again_and_says_so(server: Server, eventually: Eventually) -> None:
    topic = FhirTopic(criteria="Flag?status=active", topic=f"{TOPICS}Flag")
    with subscriber() as hook, connected(server, notifications={"public_url": hook.url, "secrets": [Secret(SECRET)]}) as connector:
        hook.statuses = [500, 500]
        (made,), place = looks(connector, topic, None, 1)
        (id,) = server.find("Subscription", url=f"{hook.url}/hooks/bmi")

        def status() -> str:
            return str(server.fhir.get(f"/Subscription/{id}").json()["status"])

        waits = [made.again_s]
        for count in (2, 1):
            eventually(lambda: status() == "error")
            found, place = looks(connector, topic, place, count)
            assert all("public_url" in each.problem for each in found)
            waits.append(found[-1].again_s)
        assert waits == [5.0, 10.0, 20.0]
        eventually(lambda: status() == "active")
        (well,), place = looks(connector, topic, place, 1)
        assert (well.gap, well.problem) == (True, "")
        messages = [hook.next() for _ in range(3)]
        assert [connector.told(topic, HookRequest(m.headers, m.body, datetime.now(UTC)))(None).gap for m in messages] == [False] * 3
        server.fhir.delete(f"/Subscription/{id}")


def test_a_subscription_is_made_once_and_kept_whatever_becomes_of_it(server: Server) -> None:
    topic = FhirTopic(criteria="Flag")
    with subscriber() as hook, connected(server, notifications={"public_url": hook.url, "secrets": [Secret(SECRET)]}) as connector:

        def mine() -> list[dict[str, Any]]:
            ids = server.find("Subscription", url=f"{hook.url}/hooks/bmi")
            return [server.fhir.get(f"/Subscription/{id}").json() for id in ids]

        # This server never makes a rest-hook active by itself.
        found, place = looks(connector, topic, None, 3)
        assert [each.did for each in found] == ["made", "activated", ""]
        assert not any(each.gap or each.problem for each in found)
        (made,) = mine()
        assert (made["status"], made["channel"]["header"]) == ("active", [f"x-fieldline-subscription: {SECRET}"])

        # A look that died behind its request, and a copy that somebody made.
        server.create({name: value for name, value in made.items() if name not in ("id", "meta")})
        found, place = looks(connector, topic, None, 3)
        assert [each.did for each in found] == ["changed", "activated", ""]
        (kept,) = mine()

        for status in ("error", "off"):
            server.fhir.put(f"/Subscription/{kept['id']}", json={**kept, "status": status})
            found, place = looks(connector, topic, place, 4)
            assert [each.did for each in found] == ["", "asked again", "activated", ""]
            assert status in found[0].problem
            assert [each.gap for each in found] == [False, False, False, True]

        server.fhir.delete(f"/Subscription/{kept['id']}")
        found, place = looks(connector, topic, place, 4)
        assert ([each.did for each in found], found[-1].gap) == (["", "made", "activated", ""], True)
        (kept,) = mine()

        server.fhir.put(f"/Subscription/{kept['id']}", json={**kept, "end": "2026-01-01T00:00:00Z"})
        found, place = looks(connector, topic, place, 3)
        assert [each.did for each in found] == ["renewed", "", ""]
        assert mine()[0]["end"] > made["end"]

        flag = {"resourceType": "Flag", "status": "active", "code": {"text": "x"}, "subject": {"reference": "Patient/study-001"}}
        server.create(flag)
        taken = hook.next()
        assert taken.headers["x-fieldline-subscription"] == SECRET
        heard = connector.told(topic, HookRequest(taken.headers, taken.body, datetime.now(UTC)))(None)
        assert [each.key for each in heard.changes] == [taken.json()["id"]]

        # Another process that had the lead made one as well, before it was fenced off.
        server.create({name: value for name, value in mine()[0].items() if name not in ("id", "meta")})
        assert [each.did for each in looks(connector, topic, place, 1)[0]] == [""]
        assert [each["id"] for each in mine()] == [kept["id"]]

        # Another installation took it for its own: a copy of this one's database, which others call elsewhere.
        elsewhere = {**kept["channel"], "endpoint": "https://staging.example/hooks/bmi"}
        server.fhir.put(f"/Subscription/{kept['id']}", json={**kept, "channel": elsewhere})
        found, place = looks(connector, topic, place, 4)
        assert ([each.did for each in found], found[-1].gap) == (["", "made", "activated", ""], True)
        assert "no longer at the server" in found[0].problem
        assert connector.unsubscribe(topic, "bmi", place) == "taken away"
        assert server.find("Subscription", url=elsewhere["endpoint"]) == [kept["id"]]


def test_a_server_that_deletes_no_subscription_switches_it_off_or_is_told(server: Server) -> None:
    refused = {"kind": "status", "status": 403, "method": "DELETE", "path": "/fhir/Subscription*", "times": 9}
    topic = FhirTopic(criteria="Flag")
    with subscriber() as hook, connected(server, notifications={"public_url": hook.url, "secrets": [Secret(SECRET)]}) as connector:
        _, place = looks(connector, topic, None, 3)
        (id,) = server.find("Subscription", url=f"{hook.url}/hooks/bmi")
        by_hand = server.fhir.get(f"/Subscription/{id}").json() | {"reason": "Our administrator made it"}
        assert server.create({name: value for name, value in by_hand.items() if name not in ("id", "meta")}).status_code == 201
        fail(server, refused, {**refused, "method": "PUT"})
        with pytest.raises(Misconfigured, match="cannot be kept at the server") as caught:
            connector.unsubscribe(topic, "bmi", place)
        assert SECRET not in str(caught.value)
        fail(server, refused)
        assert [connector.unsubscribe(topic, "bmi", place) for _ in "12"] == ["switched off", ""]
        fail(server)
        there = server.find("Subscription", url=f"{hook.url}/hooks/bmi")
        statuses = {id: server.fhir.get(f"/Subscription/{id}").json()["status"] for id in there}
        assert statuses.pop(id) == "off"
        assert list(statuses.values()) == ["active"]
        for each in (id, *statuses):
            server.fhir.delete(f"/Subscription/{each}")


def test_what_a_server_has_counted_and_never_told_is_missed(server: Server, eventually: Eventually) -> None:
    topic = FhirTopic(criteria="Flag", topic=f"{TOPICS}Flag")
    flag = {"resourceType": "Flag", "status": "active", "code": {"text": "x"}, "subject": {"reference": "Patient/study-001"}}
    with subscriber() as hook, connected(server, notifications={"public_url": hook.url, "secrets": [Secret(SECRET)]}) as connector:
        _, place = looks(connector, topic, None, 1)
        (id,) = server.find("Subscription", url=f"{hook.url}/hooks/bmi")
        shook = hook.next()
        told = connector.told(topic, HookRequest(shook.headers, shook.body, datetime.now(UTC)))(None).after
        eventually(lambda: server.fhir.get(f"/Subscription/{id}").json()["status"] == "active")

        def missed(place: Cursor) -> tuple[bool, Cursor]:
            """Whether a look finds that something was missed, by what was told, and its place."""
            nonlocal told
            (found,), place = looks(connector, topic, place, 1)
            assert found.said is not None
            heard = found.said(told)
            told = heard.after
            return heard.gap, place

        _, place = looks(connector, topic, place, 1)
        server.root.post(f"/_sim/subscriptions/{id}/gap", params={"events": 3})
        server.create(flag)
        # It may still be on its way; at the next look it should have come.
        first, place = missed(place)
        second, place = missed(place)
        assert (first, second) == (False, True)
        server.create(flag)
        third, place = missed({**place, "looked_at": "2026-01-01T00:00:00+00:00"})
        fourth, place = missed(place)
        assert (third, fourth, told) == (True, False, {"numbers": [[f"Subscription/{id}", 2]]})
        assert connector.unsubscribe(topic, "bmi", place) == "taken away"


def test_only_what_is_ours_is_taken_away_and_what_cannot_be_keeps_nothing_from_going_on(server: Server) -> None:
    topic = FhirTopic(criteria="Flag")
    with subscriber() as hook, connected(server, notifications={"public_url": hook.url, "secrets": [Secret(SECRET)]}) as connector:

        def made(like: str, **more: Any) -> str:
            """The id of a Subscription like another one."""
            found = {**server.fhir.get(f"/Subscription/{like}").json(), **more}
            return str(server.create({name: value for name, value in found.items() if name not in ("id", "meta")}).json()["id"])

        def there(*ids: str) -> list[bool]:
            return [server.fhir.get(f"/Subscription/{id}").status_code == 200 for id in ids]

        _, place = looks(connector, topic, None, 3)
        channel = server.fhir.get(f"/Subscription/{place['id']}").json()["channel"]
        away = {**channel, "endpoint": "https://other.example/hooks/other"}
        unlike: list[dict[str, Any]] = [{"channel": away, "reason": "Theirs"}, {"channel": away}, {"reason": "By hand"}]
        theirs = [made(place["id"], **each) for each in unlike]

        # The connection leads to another server now, where the id is somebody else's.
        assert connector.unsubscribe(topic, "bmi", {**place, "id": theirs[0]}) == "taken away"
        found, place = looks(connector, topic, {**place, "id": theirs[1]}, 4)
        assert ([each.did for each in found], found[-1].gap) == (["", "made", "activated", ""], True)

        second = made(place["id"])
        fail(server, {"kind": "status", "status": 409, "method": "DELETE", "path": "/fhir/Subscription*", "times": 9})
        assert looks(connector, topic, {**place, "lost": True}, 1)[0][0].gap
        with pytest.raises(Unavailable, match="somebody else changed"):
            connector.unsubscribe(topic, "bmi", place)
        fail(server)
        looks(connector, topic, place, 1)
        assert there(place["id"], second, *theirs) == [True, False, True, True, True]

        # Another topic, and then an administrator's: nothing that changes meanwhile is lost.
        found, changed = looks(connector, FhirTopic(criteria="Flag?status=active"), place, 3)
        assert ([each.did for each in found], [each.gap for each in found]) == (["changed", "activated", ""], [False, False, True])
        assert changed["id"] == place["id"]
        found, given = looks(connector, topic.model_copy(update={"kept_by": "administrator"}), changed, 2)
        assert ([each.did for each in found], [each.gap for each in found], given) == (["taken away", ""], [True, False], {})
        found, place = looks(connector, topic, given, 3)
        assert (found[-1].gap, connector.unsubscribe(topic, "bmi", place)) == (True, "taken away")
        assert there(*theirs) == [True] * 3
        for id in theirs:
            server.fhir.delete(f"/Subscription/{id}")

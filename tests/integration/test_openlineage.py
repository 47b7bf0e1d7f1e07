"""Runs, told to a real OpenLineage receiver: in the shape of its schema, once each, and in nobody's way."""

import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.engines import Bench, documents, put

from fieldline_core.errors import FieldlineError, Misconfigured, Unavailable
from fieldline_core.flow import Connection
from fieldline_core.pipeline.manage import cancel_run, request_run
from fieldline_server.lineage_event import dataset
from fieldline_server.openlineage import Lineage


@dataclass
class Receiver:
    """What came in, and what is answered."""

    url: str = ""
    status: int = 201
    events: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    here = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            here.events.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            here.keys.append(self.headers["authorization"])
            self.send_response(here.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        here.url = f"http://127.0.0.1:{server.server_address[1]}/api/v1/lineage"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield here
        server.shutdown()
        thread.join()


@pytest.fixture
def bench(database_url: str, tmp_path: Path, receiver: Receiver) -> Iterator[Bench]:
    told = {"openlineage_url": receiver.url, "openlineage_network": "127.0.0.0/8", "openlineage_key": "s3cret"}
    bench = Bench(database_url, tmp_path, **told)
    bench.import_linear(tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def lineage(bench: Bench) -> Iterator[Lineage]:
    lineage = Lineage(bench.engine)
    yield lineage
    lineage.close()


def check_shape(event: dict[str, Any]) -> None:
    """Fails where it is no RunEvent of OpenLineage 2-0-2: what its schema requires, and what it says of types."""
    assert event.keys() == {"eventType", "eventTime", "producer", "schemaURL", "run", "job", "inputs", "outputs"}
    assert event["eventType"] in {"START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"}
    assert datetime.fromisoformat(event["eventTime"]).tzinfo
    assert event["schemaURL"].startswith("https://openlineage.io/spec/2-0-2/")
    assert uuid.UUID(event["run"]["runId"])
    assert event["job"].keys() == {"namespace", "name", "facets"}
    facets = [*event["run"]["facets"].values(), *event["job"]["facets"].values()]
    for each in [*event["inputs"], *event["outputs"]]:
        assert {"namespace", "name"} <= each.keys() <= {"namespace", "name", "facets", "inputFacets", "outputFacets"}
        facets += [*each["facets"].values(), *each.get("outputFacets", {}).values()]
        for column in each["facets"].get("columnLineage", {}).get("fields", {}).values():
            assert all({"namespace", "name", "field"} <= origin.keys() for origin in column["inputFields"])
    assert all(facet["_producer"] == event["producer"] and facet["_schemaURL"].startswith("https://") for facet in facets)


def run(bench: Bench, name: str) -> int:
    """A run of a flow, to its end."""
    put(name, {"k1": (1.0, 0.0), "k2": (2.0, 0.0)})
    bench.apply(documents(name))
    number = request_run(bench.engine, name, "test")
    bench.drain()
    return number


def test_a_run_is_told_when_it_begins_and_ends_with_what_it_read_and_wrote(
    bench: Bench, lineage: Lineage, receiver: Receiver
) -> None:
    run(bench, "told")
    assert lineage.round() == 2
    assert lineage.round() == 0, "each once"
    begun, ended = receiver.events
    for event in receiver.events:
        check_shape(event)
    assert (begun["eventType"], ended["eventType"]) == ("START", "COMPLETE")
    assert begun["run"]["runId"] == ended["run"]["runId"]
    assert (ended["job"]["namespace"], ended["job"]["name"]) == ("fieldline", "told")
    (read,), (written,) = ended["inputs"], ended["outputs"]
    assert (read["namespace"], read["name"], written["name"]) == ("fieldline://told", "records", "answers")
    assert written["outputFacets"]["outputStatistics"]["rowCount"] == 2
    origins = written["facets"]["columnLineage"]["fields"]["score"]["inputFields"]
    assert {(each["name"], each["field"]) for each in origins} == {("records", "a"), ("records", "b")}
    assert receiver.keys == ["Bearer s3cret"] * 2


def test_a_cancelled_run_is_told_with_its_reason(bench: Bench, lineage: Lineage, receiver: Receiver) -> None:
    put("stopped", {"k1": (1.0, 0.0)})
    bench.apply(documents("stopped"))
    cancel_run(bench.engine, request_run(bench.engine, "stopped", "test"), "test", "not today")
    lineage.round()
    assert [event["eventType"] for event in receiver.events] == ["START", "ABORT"]
    check_shape(receiver.events[1])
    assert receiver.events[1]["run"]["facets"]["errorMessage"]["message"] == "not today"


@pytest.mark.parametrize(("status", "error"), [(503, Unavailable), (401, Misconfigured)])
def test_an_endpoint_that_does_not_take_it_is_told_later(
    bench: Bench, lineage: Lineage, receiver: Receiver, status: int, error: type[FieldlineError]
) -> None:
    receiver.status = status
    run(bench, "later")
    (row,) = bench.all("SELECT state FROM run WHERE kind = 'batch'")
    assert row["state"] == "succeeded", "nothing waited for the endpoint"
    with pytest.raises(error):
        lineage.round()
    receiver.status = 200
    assert lineage.round() == 2


def test_an_event_that_is_refused_for_good_does_not_keep_the_others(bench: Bench, lineage: Lineage, receiver: Receiver) -> None:
    receiver.status = 422
    run(bench, "refused")
    assert lineage.round() == 2
    receiver.status = 200
    assert lineage.round() == 0


def test_what_was_told_before_a_crash_is_told_again_with_the_same_id(
    bench: Bench, lineage: Lineage, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(name: str) -> None:
        if name == "lineage.send:after":
            raise KeyboardInterrupt

    run(bench, "crashed")
    with monkeypatch.context() as patched:
        patched.setattr("fieldline_server.openlineage.point", die)
        with pytest.raises(KeyboardInterrupt):
            lineage.round()
    lineage.round()
    assert [event["eventType"] for event in receiver.events] == ["START", "START", "COMPLETE"]
    assert len({event["run"]["runId"] for event in receiver.events}) == 1


def test_nobody_is_told_of_two_at_once(bench: Bench, lineage: Lineage, receiver: Receiver, eventually: Any) -> None:
    run(bench, "both")
    other = Lineage(bench.engine)
    threads = [threading.Thread(target=each.run) for each in (lineage, other)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(receiver.events) >= 2)
    for each in (lineage, other):
        each.stop()
    for thread in threads:
        thread.join()
    other.close()
    assert [event["eventType"] for event in receiver.events] == ["START", "COMPLETE"]


@pytest.mark.parametrize(
    ("settings", "table", "named"),
    [
        ("Driver={PostgreSQL Unicode};Servername=e.example;Database=erp", "o", ("postgres://e.example:5432", "erp.public.o")),
        ("Driver=psqlodbcw.so;Server=erp;Port=5433;Database=erp", "sales.orders", ("postgres://erp:5433", "erp.sales.orders")),
        (
            "Driver={ODBC Driver 18 for SQL Server};Server=tcp:erp,1444;Database=erp",
            "orders",
            ("mssql://erp:1444", "erp.dbo.orders"),
        ),
        ("Driver={MariaDB};Server=erp;Database=erp", "orders", ("mysql://erp:3306", "erp.orders")),
        ("Driver={MariaDB};Server=erp;Database=erp", "crm.orders", ("mysql://erp:3306", "crm.orders")),
        ("DSN=erp", "orders", ("fieldline://erp", "orders")),
    ],
)
def test_tables_are_named_as_openlineage_names_them(settings: str, table: str, named: tuple[str, str]) -> None:
    connection = Connection.model_validate({"connection": "erp", "connector": "odbc", "settings": {"connection_string": settings}})
    found = dataset(connection, {"table": table})
    assert (found.namespace, found.name) == named


def test_addresses_are_named_without_their_secrets() -> None:
    settings = {"url": "https://user:word@crm.example:8443/hooks/scores?token=secret"}
    found = dataset(Connection.model_validate({"connection": "crm", "connector": "webhook", "settings": settings}), {})
    assert (found.namespace, found.name) == ("https://crm.example:8443", "/hooks/scores")

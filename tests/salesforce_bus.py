"""A Pub/Sub server that serves what a test puts on it, over a login that the scripted org gives."""

import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from fastavro import parse_schema, schemaless_writer

from fieldline_connectors.salesforce.config import SalesforceConfig
from fieldline_connectors.salesforce.pubsub_messages import (
    CUSTOM,
    FetchRequest,
    FetchResponse,
    SchemaInfo,
    SchemaRequest,
    TopicInfo,
    TopicRequest,
)
from tests.salesforce_script import Script, scripted

ORG = "00D000000000001EAA"
TOPIC = "/data/LeadChangeEvent"
_OPTIONAL_TEXT = ["null", "string"]
_HEADER = {
    "type": "record", "name": "ChangeEventHeader", "namespace": "com.sforce.eventbus", "fields": [
        {"name": "entityName", "type": "string"},
        {"name": "recordIds", "type": {"type": "array", "items": "string"}},
        {"name": "changeType", "type": {"type": "enum", "name": "ChangeType", "symbols": [
            "CREATE", "UPDATE", "DELETE", "UNDELETE", "GAP_CREATE", "GAP_UPDATE", "GAP_DELETE", "GAP_UNDELETE", "GAP_OVERFLOW",
            "SNAPSHOT",
        ]}},
        {"name": "changeOrigin", "type": "string"}, {"name": "transactionKey", "type": "string"},
        {"name": "sequenceNumber", "type": "int"}, {"name": "commitTimestamp", "type": "long"},
        {"name": "commitNumber", "type": "long"}, {"name": "commitUser", "type": "string"},
        {"name": "nulledFields", "type": {"type": "array", "items": "string"}},
        {"name": "diffFields", "type": {"type": "array", "items": "string"}},
        {"name": "changedFields", "type": {"type": "array", "items": "string"}},
    ],
}  # fmt: skip
LEAD = {
    "type": "record", "name": "LeadChangeEvent", "namespace": "com.sforce.eventbus", "fields": [
        {"name": "ChangeEventHeader", "type": _HEADER},
        {"name": "Name", "type": ["null", {"type": "record", "name": "PersonName", "fields": [
            {"name": "Salutation", "type": _OPTIONAL_TEXT}, {"name": "FirstName", "type": _OPTIONAL_TEXT},
            {"name": "LastName", "type": _OPTIONAL_TEXT},
        ]}]},
        {"name": "Company", "type": _OPTIONAL_TEXT},
        {"name": "Address", "type": ["null", {"type": "record", "name": "Address", "fields": [
            {"name": "Street", "type": _OPTIONAL_TEXT}, {"name": "City", "type": _OPTIONAL_TEXT},
        ]}]},
        {"name": "Other_Address", "type": ["null", "com.sforce.eventbus.Address"]},
        {"name": "LastModifiedDate", "type": ["null", "long"]},
        {"name": "Fieldline_Score__c", "type": ["null", "double"]},
    ],
}  # fmt: skip
"""The change events of leads: field 1 Name, 2 Company, 3 Address, 4 Other_Address, 5 LastModifiedDate, 6 Fieldline_Score__c."""
Abort = tuple[grpc.StatusCode, str]


def avro(schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    """The record's payload."""
    out = io.BytesIO()
    schemaless_writer(out, parse_schema(json.loads(json.dumps(schema))), record)
    return out.getvalue()


def change(kind: str, *ids: str, changed: Sequence[str] = (), origin: str = "", **header: Any) -> bytes:
    """The payload of a change event of leads."""
    given = {
        "entityName": "Lead", "recordIds": list(ids), "changeType": kind, "changeOrigin": origin, "transactionKey": "t",
        "sequenceNumber": 1, "commitTimestamp": 1_700_000_000_000, "commitNumber": 1, "commitUser": "005",
        "nulledFields": [], "diffFields": [], "changedFields": list(changed), **header,
    }  # fmt: skip
    return avro(LEAD, {"ChangeEventHeader": given, "Company": "Secret Ltd"})


@dataclass
class Bus:
    """Events by their place, what was asked, and how often to refuse; a replay id is the place in eight bytes."""

    script: Script
    port: int = 0
    schema: dict[str, Any] = field(default_factory=lambda: LEAD)
    can_subscribe: bool = True
    first_place: int = 0
    refuse: Callable[[str, dict[str, str]], Abort | None] = lambda method, metadata: None
    fetches: list[Any] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    events: list[tuple[bytes, str]] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def put(self, *payloads: bytes, id: str = "") -> None:
        """Puts events on the bus."""
        with self.news:
            self.events += [(payload, id) for payload in payloads]
            self.news.notify_all()

    def config(self, **settings: Any) -> SalesforceConfig:
        """Settings of a connection to the scripted org and this server."""
        return self.script.config(pubsub_url=f"http://127.0.0.1:{self.port}", **settings)

    def get_topic(self, request: Any, context: Any) -> Any:
        self._enter("GetTopic", context)
        return TopicInfo(topic_name=request.topic_name, can_subscribe=self.can_subscribe, schema_id="s1")

    def get_schema(self, request: Any, context: Any) -> Any:
        self._enter("GetSchema", context)
        return SchemaInfo(schema_json=json.dumps(self.schema), schema_id=request.schema_id)

    def subscribe(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        first = next(requests)
        self.fetches.append(first)
        self._enter("Subscribe", context)
        place, credit = len(self.events), first.num_requested
        if first.replay_preset == CUSTOM:
            place = int.from_bytes(first.replay_id, "big")
            if not self.first_place <= place <= len(self.events):
                _abort(context, grpc.StatusCode.INVALID_ARGUMENT, "subscription.fetch.replayid.corrupted")
        yield FetchResponse(latest_replay_id=_replay_id(place), pending_num_requested=credit)
        context.add_callback(self._wake)
        while context.is_active():
            with self.news:
                self.news.wait_for(lambda since=place: len(self.events) > since or not context.is_active())
            batch = self.events[place : place + min(credit, 2)]
            if not batch:
                return
            answer = FetchResponse(latest_replay_id=_replay_id(place + len(batch)), pending_num_requested=credit - len(batch))
            for payload, id in batch:
                place += 1
                event = {"id": id, "schema_id": "s1", "payload": payload}
                answer.events.add(event=event, replay_id=_replay_id(place))
            yield answer
            more = next(requests)
            self.fetches.append(more)
            credit += more.num_requested - len(batch)

    def _enter(self, method: str, context: Any) -> None:
        metadata = {entry.key: entry.value for entry in context.invocation_metadata()}
        self.asked.append((method, metadata))
        if found := self.refuse(method, metadata):
            _abort(context, *found)

    def _wake(self) -> None:
        with self.news:
            self.news.notify_all()


def _replay_id(place: int) -> bytes:
    return place.to_bytes(8, "big")


def _abort(context: Any, status: grpc.StatusCode, code: str) -> None:
    context.set_trailing_metadata((("error-code", f"sfdc.platform.eventbus.grpc.{code}"),))
    context.abort(status, "refused: Jane Doe")


def _handlers(bus: Bus) -> Any:
    def unary(answer: Any, request: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(answer, request.FromString, lambda made: made.SerializeToString())

    stream = grpc.stream_stream_rpc_method_handler(bus.subscribe, FetchRequest.FromString, FetchResponse.SerializeToString)
    methods = {
        "GetTopic": unary(bus.get_topic, TopicRequest), "GetSchema": unary(bus.get_schema, SchemaRequest), "Subscribe": stream,
    }  # fmt: skip
    return grpc.method_handlers_generic_handler("eventbus.v1.PubSub", methods)


@contextmanager
def serving(credentials: Any = None) -> Iterator[Bus]:
    """A server of its own on a free port."""
    with scripted() as script, ThreadPoolExecutor(8) as threads:
        script.login = lambda number: (
            200,
            {"access_token": f"token-{number}", "instance_url": script.url, "id": f"https://login.salesforce.com/id/{ORG}/005x"},
        )
        bus = Bus(script)
        server = grpc.server(threads, handlers=(_handlers(bus),))
        address = "127.0.0.1:0"
        bus.port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        server.start()
        try:
            yield bus
        finally:
            server.stop(None).wait()
            bus._wake()

"""A plain subscriber and publisher of the simulated org's Pub/Sub API: gRPC calls and Avro, without a library of Salesforce's."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import fastavro
import grpc

from fieldline_simulators.salesforce import Simulator
from fieldline_simulators.salesforce import pubsub_wire as wire

LATEST, EARLIEST, CUSTOM = wire.LATEST, wire.EARLIEST, wire.CUSTOM


class Stream:
    """One subscription; `more` asks for further events."""

    def __init__(self, bus: "Bus", first: Any) -> None:
        self._bus, self._requests = bus, SimpleQueue[Any]()
        self._requests.put(first)
        self.call = bus.method("stream_stream", "Subscribe", wire.FetchRequest, wire.FetchResponse)(
            iter(self._requests.get, None), metadata=bus.metadata
        )

    def more(self, count: int, topic: str = "") -> None:
        """Asks for further events."""
        self._requests.put(wire.FetchRequest(topic_name=topic, num_requested=count))

    def response(self) -> Any:
        """The next response as it came."""
        return next(self.call)

    def events(self, count: int = 1) -> list[dict[str, Any]]:
        """The next events, however many responses they come in, each with its id and replay id."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            found += [self._read(each) for each in self.response().events]
        return found

    def close(self) -> None:
        """Ends it as a client that goes away."""
        self._requests.put(None)
        self.call.cancel()

    def _read(self, given: Any) -> dict[str, Any]:
        told = {"id": given.event.id, "replay_id": given.replay_id, "schema_id": given.event.schema_id}
        return {**self._bus.decode(given.event), **told}


class Bus:
    """A client of the bus, with a session of one user."""

    def __init__(self, server: Simulator, token: str, channel: grpc.Channel, **metadata: str) -> None:
        given = {"accesstoken": token, "instanceurl": server.url, "tenantid": server.org.org_id, **metadata}
        self._channel, self._schemas = channel, dict[str, Any]()
        self.metadata = tuple(given.items())

    def method(self, shape: str, name: str, asked: Any, told: Any) -> Any:
        """A method of the service."""
        return getattr(self._channel, shape)(
            f"/{wire.SERVICE}/{name}", request_serializer=asked.SerializeToString, response_deserializer=told.FromString
        )

    def topic(self, name: str) -> Any:
        """What GetTopic answers."""
        call = self.method("unary_unary", "GetTopic", wire.TopicRequest, wire.TopicInfo)
        return call(wire.TopicRequest(topic_name=name), metadata=self.metadata)

    def schema(self, schema_id: str) -> Any:
        """The Avro schema of this id."""
        if schema_id not in self._schemas:
            call = self.method("unary_unary", "GetSchema", wire.SchemaRequest, wire.SchemaInfo)
            self._schemas[schema_id] = json.loads(call(wire.SchemaRequest(schema_id=schema_id), metadata=self.metadata).schema_json)
        return self._schemas[schema_id]

    def decode(self, event: Any) -> dict[str, Any]:
        """An event's fields."""
        found: Any = fastavro.schemaless_reader(io.BytesIO(event.payload), self.schema(event.schema_id), None)
        return dict(found)

    def publish(self, topic: str, *records: dict[str, Any], **event: Any) -> Any:
        """What Publish answers to these records."""
        schema_id = self.topic(topic).schema_id
        events = []
        for record in records:
            out = io.BytesIO()
            fastavro.schemaless_writer(out, self.schema(schema_id), {"CreatedDate": 0, "CreatedById": "005", **record})
            events.append(wire.ProducerEvent(**{"id": "", "schema_id": schema_id, "payload": out.getvalue(), **event}))
        call = self.method("unary_unary", "Publish", wire.PublishRequest, wire.PublishResponse)
        return call(wire.PublishRequest(topic_name=topic, events=events), metadata=self.metadata)

    @contextmanager
    def subscribe(self, topic: str, preset: int = LATEST, replay_id: bytes = b"", count: int = 10) -> Iterator[Stream]:
        """A stream that ends with the block."""
        first = wire.FetchRequest(topic_name=topic, replay_preset=preset, replay_id=replay_id, num_requested=count)
        made = Stream(self, first)
        try:
            yield made
        finally:
            made.close()

    def refused(self, topic: str, preset: int = LATEST, replay_id: bytes = b"", count: int = 10) -> tuple[str, str]:
        """The status and the error code that a subscription ends with."""
        with self.subscribe(topic, preset, replay_id, count) as stream:
            return ended(stream)


def ended(stream: Stream) -> tuple[str, str]:
    """The status and the error code that a stream ends with at its next response."""
    try:
        unexpected = stream.response()
    except grpc.RpcError as error:
        return status(error)
    raise AssertionError(f"the stream goes on: {unexpected}")


def status(error: Any) -> tuple[str, str]:
    """The status and the end of the error code of a call that failed."""
    trailers = dict(error.trailing_metadata())
    code = trailers.get("error-code", "").removeprefix("sfdc.platform.eventbus.grpc.")
    assert not code or error.details().endswith(f"rpcId: {trailers['rpc-id']}")
    return error.code().name, code

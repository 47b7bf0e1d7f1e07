"""The Pub/Sub API of an org on a port of its own, by gRPC."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc

from fieldline_simulators.certificate import TlsFiles
from fieldline_simulators.salesforce import pubsub_bus as bus
from fieldline_simulators.salesforce import pubsub_wire as wire
from fieldline_simulators.salesforce.access import Actor
from fieldline_simulators.salesforce.pubsub_avro import Schema
from fieldline_simulators.salesforce.pubsub_bus import Topic
from fieldline_simulators.salesforce.pubsub_call import Refused, Rpc, invalid, too_many_clients
from fieldline_simulators.salesforce.pubsub_stream import CLOSED, ENDED, Mailbox, Subscription

if TYPE_CHECKING:
    from fieldline_simulators.salesforce.org import Org

_MOST_EVENTS = 200
_MOST_EVENT_BYTES = 1_000_000
# Each stream has a thread while it lives, and the other calls need some too.
_THREADS = bus.MOST_CLIENTS + 8
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
)


class PubSub:
    """The server; it ends when it is closed, and its streams with it."""

    def __init__(self, org: "Org", port: int = 0, host: str = "127.0.0.1", tls: TlsFiles | None = None) -> None:
        self._org = org
        self._streams: set[Mailbox] = set()
        self._lock = threading.Lock()
        org.feed.on_append(self._stir)
        self._server = grpc.server(ThreadPoolExecutor(_THREADS, thread_name_prefix="pubsub"), options=_OPTIONS)
        self._server.add_generic_rpc_handlers((self._handlers(),))
        address = f"{host}:{port}"
        self.port: int = (
            self._server.add_secure_port(address, _credentials(tls)) if tls else self._server.add_insecure_port(address)
        )
        self.endpoint = f"{'localhost' if host in ('127.0.0.1', '0.0.0.0') else host}:{self.port}"  # noqa: S104
        self._server.start()

    def close(self) -> None:
        """Ends every call and stops listening."""
        self._server.stop(None).wait()

    def get_topic(self, request: Any, rpc: Rpc) -> Any:
        """What is known of a topic."""
        rpc.actor()
        rpc.meet(request.topic_name)
        topic = self._topic(request.topic_name)
        return wire.TopicInfo(
            topic_name=topic.name, tenant_guid=f"core/simulator/{self._org.org_id}", can_publish=topic.can_publish,
            can_subscribe=True, schema_id=topic.schema.id if topic.schema else "", rpc_id=rpc.id,
        )  # fmt: skip

    def get_schema(self, request: Any, rpc: Rpc) -> Any:
        """A schema by its fingerprint."""
        rpc.actor()
        rpc.meet("")
        with self._org.lock:
            found = self._org.bus.schema(self._org, request.schema_id)
        if found is None:
            raise Refused(grpc.StatusCode.NOT_FOUND, "schema.not.found", f"There is no schema {request.schema_id[:80]}.")
        return wire.SchemaInfo(schema_json=found.json, schema_id=found.id, rpc_id=rpc.id)

    def publish(self, request: Any, rpc: Rpc) -> Any:
        """Publishes platform events."""
        behind = rpc.meet(request.topic_name)
        made = self._publish(request, rpc, rpc.actor())
        rpc.strike(behind)
        return made

    def publish_stream(self, requests: Iterator[Any], rpc: Rpc) -> Iterator[Any]:
        """Publishes platform events, batch by batch, until none has come for a while."""
        with self._stream(requests, rpc) as mailbox:
            topic = ""
            while (request := mailbox.take(self._org.bus.idle_s)) not in (CLOSED, ENDED):
                if isinstance(request, str):
                    continue
                if request is None:
                    raise Refused(grpc.StatusCode.ABORTED, "publish.stream.idle", "No publish request came for too long.")
                topic = topic or request.topic_name
                if request.topic_name not in ("", topic):
                    raise invalid("publish.topic.invalid", "The topic cannot change within a stream.")
                request.topic_name = topic
                yield self.publish(request, rpc)

    def subscribe(self, requests: Iterator[Any], rpc: Rpc) -> Iterator[Any]:
        """Delivers the events of a topic."""
        rpc.actor()
        with self._stream(requests, rpc) as mailbox:
            while isinstance(first := mailbox.take(self._org.bus.idle_s), str) and first not in (CLOSED, ENDED):
                continue
            if first is None or isinstance(first, str):
                return
            rpc.meet(first.topic_name)
            yield from Subscription(rpc, self._topic(first.topic_name), first, mailbox).responses()

    def _topic(self, name: str) -> Topic:
        with self._org.lock:
            found = self._org.bus.topic(self._org, name)
        if found is None:
            raise Refused(grpc.StatusCode.NOT_FOUND, "topic.not.found", f"There is no topic {name[:120]}, or no permission to it.")
        return found

    def _publish(self, request: Any, rpc: Rpc, actor: Actor) -> Any:
        topic = self._topic(request.topic_name)
        if not topic.can_publish or topic.schema is None:
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, "topic.permission.denied", f"{topic.name} takes no events.")
        if not 0 < len(request.events) <= _MOST_EVENTS:
            raise invalid("publish.events.invalid", f"A request has 1 to {_MOST_EVENTS} events.")
        read = [_read_event(topic.schema, each) for each in request.events]
        good = [(each.id or bus.new_event_id(), values) for each, values in read if isinstance(values, dict)]
        positions = iter(bus.publish(self._org, actor, topic.name.rpartition("/")[2], good) if good else ())
        results = [
            wire.PublishResult(correlation_key=each.id, replay_id=bus.replay_id(next(positions)))
            if isinstance(values, dict)
            else wire.PublishResult(correlation_key=each.id, error=wire.Error(code=wire.PUBLISH_ERROR, msg=values))
            for each, values in read
        ]
        return wire.PublishResponse(results=results, schema_id=topic.schema.id, rpc_id=rpc.id)

    @contextmanager
    def _stream(self, requests: Iterator[Any], rpc: Rpc) -> Iterator[Mailbox]:
        with self._lock:
            if len(self._streams) >= self._org.bus.clients:
                raise too_many_clients()
            mailbox = Mailbox(requests, rpc)
            self._streams.add(mailbox)
        try:
            yield mailbox
        finally:
            with self._lock:
                self._streams.discard(mailbox)

    def _stir(self) -> None:
        with self._lock:
            streams = list(self._streams)
        for each in streams:
            each.stir()

    def _handlers(self) -> Any:
        publishing, subscribing = (wire.PublishRequest, wire.PublishResponse), (wire.FetchRequest, wire.FetchResponse)
        return grpc.method_handlers_generic_handler(
            wire.SERVICE,
            {
                "GetTopic": self._unary("GetTopic", self.get_topic, wire.TopicRequest, wire.TopicInfo),
                "GetSchema": self._unary("GetSchema", self.get_schema, wire.SchemaRequest, wire.SchemaInfo),
                "Publish": self._unary("Publish", self.publish, *publishing),
                "PublishStream": self._streaming("PublishStream", self.publish_stream, *publishing),
                "Subscribe": self._streaming("Subscribe", self.subscribe, *subscribing),
            },
        )

    def _unary(self, method: str, answer: Callable[[Any, Rpc], Any], asked: Any, told: Any) -> Any:
        def handle(request: Any, context: Any) -> Any:
            rpc = Rpc(self._org, context, method)
            try:
                return answer(request, rpc)
            except Refused as refused:
                rpc.abort(refused)

        return grpc.unary_unary_rpc_method_handler(handle, asked.FromString, told.SerializeToString)

    def _streaming(self, method: str, answer: Callable[[Iterator[Any], Rpc], Iterator[Any]], asked: Any, told: Any) -> Any:
        def handle(requests: Iterator[Any], context: Any) -> Iterator[Any]:
            rpc = Rpc(self._org, context, method)
            try:
                yield from answer(requests, rpc)
            except Refused as refused:
                rpc.abort(refused)

        return grpc.stream_stream_rpc_method_handler(handle, asked.FromString, told.SerializeToString)


def _read_event(schema: Schema, given: Any) -> tuple[Any, dict[str, Any] | str]:
    """An event with its values, or with what is wrong with it."""
    if given.schema_id != schema.id:
        return given, f"schema {given.schema_id[:80]} is not the topic's"
    if len(given.payload) > _MOST_EVENT_BYTES:
        return given, "The event is larger than 1 MB."
    try:
        values = schema.decode(given.payload)
    # The codec raises whatever the bytes make it stumble over.
    except Exception:
        return given, "The payload cannot be read by the topic's schema."
    return given, {name: value for name, value in values.items() if name not in ("CreatedDate", "CreatedById")}


def _credentials(tls: TlsFiles) -> Any:
    return grpc.ssl_server_credentials([(tls.key.read_bytes(), tls.certificate.read_bytes())])

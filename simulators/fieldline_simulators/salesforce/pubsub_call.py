"""One call of the Pub/Sub API: who makes it, what it may, the faults that it meets, and how it is refused."""

import threading
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from fieldline_simulators.salesforce.access import Actor
from fieldline_simulators.salesforce.faults import Fault
from fieldline_simulators.salesforce.pubsub_wire import SERVICE

if TYPE_CHECKING:
    from fieldline_simulators.salesforce.org import Org

CODES = "sfdc.platform.eventbus.grpc."
_STATUSES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}


class Refused(Exception):
    """A call ends with this status; `code` is the end of Salesforce's own code."""

    def __init__(self, status: Any, code: str, words: str) -> None:
        super().__init__(words)
        self.status, self.code, self.words = status, code, words


def unauthenticated(words: str = "Session expired or invalid") -> Refused:
    """The session is not one, or no longer."""
    return Refused(
        grpc.StatusCode.UNAUTHENTICATED, "service.auth.error", f"An authentication exception occurred. {words}. "
        "Provide valid authentication via metadata headers.",
    )  # fmt: skip


def invalid(code: str, words: str) -> Refused:
    """What was asked does not make sense."""
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, code, words)


def corrupted() -> Refused:
    """A replay id is none, or is older than what is retained."""
    return invalid(
        "subscription.fetch.replayid.corrupted",
        "The Replay ID validation failed. Ensure that the Replay ID is valid, and refers to an event that is within the retention "
        "window.",
    )


def too_many_clients() -> Refused:
    """There are as many streams as there may be."""
    words = "The maximum number of concurrent clients across all topics has been exceeded."
    return Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "concurrent.client.limit.exceeded", words)


def too_many_deliveries() -> Refused:
    """The day's events are delivered."""
    words = "The limit of events that can be delivered to all clients in 24 hours has been exceeded."
    return Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "subscription.limit.exceeded", words)


@dataclass(slots=True)
class Rpc:
    """A call under way."""

    org: "Org"
    context: Any
    method: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        if not self.context.add_callback(self.ended.set):
            self.ended.set()

    def actor(self) -> Actor:
        """The user, who is asked for again at each turn of a stream; raises where the session has ended."""
        given = {each.key: each.value for each in self.context.invocation_metadata()}
        if not str(given.get("instanceurl", "")).startswith(("https://", "http://")):
            raise unauthenticated("instanceurl is missing")
        if str(given.get("tenantid", ""))[:15] != self.org.org_id[:15]:
            raise unauthenticated("tenantid is not this org's")
        with self.org.lock:
            user_id = self.org.sessions.user_of(str(given.get("accesstoken", "")), self.org.now())
            actor = self.org.actor(user_id) if user_id else None
        if actor is None or not actor.access.api_enabled:
            raise unauthenticated()
        return actor

    def meet(self, topic: str, operation: str = "") -> list[Fault]:
        """Lets the faults that come before the effect happen, and returns the ones that come behind it."""
        path = f"/{SERVICE}/{self.method}{f'/{operation}' if operation else ''}"
        with self.org.lock:
            found = self.org.faults.of_call("RPC", path, topic, operation or self.method)
        self.strike(each for each in found if not each.after_commit)
        return [each for each in found if each.after_commit]

    def strike(self, faults: Iterable[Fault]) -> None:
        """Lets faults happen; raises where one ends the call."""
        for fault in faults:
            if fault.kind == "slow":
                self.ended.wait(fault.seconds)
            elif fault.kind == "hold":
                self.ended.wait()
            else:
                raise self._struck(fault)

    def abort(self, refused: Refused) -> NoReturn:
        """Ends the call as Salesforce does: with its code and the call's id in the trailers."""
        trailers = [("rpc-id", self.id), *([("error-code", CODES + refused.code)] if refused.code else [])]
        self.context.set_trailing_metadata(tuple(trailers))
        self.context.abort(refused.status, f"{refused.words} rpcId: {self.id}")
        raise AssertionError("abort raises")

    def _struck(self, fault: Fault) -> Refused:
        if fault.kind == "drop":
            return Refused(grpc.StatusCode.UNAVAILABLE, "", "RST_STREAM closed stream")
        if fault.kind == "total":
            return too_many_deliveries()
        if fault.kind == "concurrent":
            return too_many_clients()
        if fault.kind == "expire":
            token = next((each.value for each in self.context.invocation_metadata() if each.key == "accesstoken"), "")
            with self.org.lock:
                self.org.sessions.end(token)
            return unauthenticated()
        status = _STATUSES.get(fault.status, grpc.StatusCode.UNKNOWN)
        return Refused(status, fault.code or "service.unavailable", fault.message or "The Pub/Sub API service is unavailable.")
